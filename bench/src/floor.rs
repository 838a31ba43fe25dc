//! The floor: what the same deliveries cost a process that does nothing but write them.

use crate::fanout::{report, run_messages, streams_of};
use crate::launch::Target;
use crate::processes::Processes;
use crate::publish::Publisher;
use crate::report::Report;
use crate::tracker::{Pace, Seen, Tally, Tracker};
use anyhow::{Context, Result, ensure};
use chirm_proto::v1;
use indicatif::ProgressBar;
use prost::Message;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many messages of a burst one coalesced write may hold.
const BURST_MAX: usize = 64;
/// A frame begins with the message's index and the stream's number.
const HEAD_BYTES: usize = 8;

/// What to measure.
#[derive(Clone)]
pub struct FloorOptions {
    /// Only the program to start is of interest: the floor never runs in a server.
    pub target: Target,
    /// How many subscribers.
    pub subscribers: u32,
    /// TCP connections that they share.
    pub connections: u32,
    /// How many messages.
    pub messages: u32,
    /// When to publish the next.
    pub pace: Pace,
    /// Whether all that waits for a connection goes in one write.
    pub coalesce: bool,
    /// Bytes of a message's content; a frame is as large as the server's would be.
    pub content_bytes: usize,
}

/// What the child that writes must know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChildOptions {
    /// Connections to wait for.
    pub(crate) connections: u32,
    /// Frames for each message, over all connections.
    pub(crate) subscribers: u32,
    /// Bytes of a frame.
    pub(crate) frame_bytes: usize,
    /// Whether all that waits for a connection goes in one write.
    pub(crate) coalesce: bool,
}

/// Measures the floor.
pub async fn floor(options: FloorOptions) -> Result<Report> {
    ensure!(options.subscribers > 0, "a fan-out needs a subscriber");
    ensure!(
        (1..=options.subscribers).contains(&options.connections),
        "--connections must be 1 to the number of subscribers"
    );
    chirm_net::raise_open_files(0);
    let child_options = ChildOptions {
        connections: options.connections,
        subscribers: options.subscribers,
        frame_bytes: frame_bytes(options.content_bytes),
        coalesce: options.coalesce,
    };
    let mut child = spawn(&options.target, child_options)?;
    let pid = child.id().context("the floor's child ended at once")?;
    let stdout = child
        .stdout
        .take()
        .context("the floor's child has no stdout")?;
    let address = BufReader::new(stdout).lines().next_line().await?;
    let address = address.context("the floor's child gave no address")?;
    let trigger = TcpStream::connect(&address).await?;
    trigger.set_nodelay(true)?;

    let tracker = Arc::new(Tracker::new(
        options.subscribers,
        options.messages,
        options.pace,
    ));
    let stop = watch::Sender::new(false);
    let mut readers = JoinSet::new();
    // The child accepts in the order in which these connect.
    for streams in streams_of(options.subscribers, options.connections) {
        let socket = TcpStream::connect(&address).await?;
        let share = Share {
            streams,
            frame_bytes: child_options.frame_bytes,
        };
        readers.spawn(read(socket, share, tracker.clone(), stop.subscribe()));
        (0..streams).for_each(|_| tracker.note_ready());
    }
    let bar = ProgressBar::new_spinner();
    let publisher = Publisher::Trigger(trigger);
    let processes = Processes {
        server: Some(pid),
        ..Processes::default()
    };
    let cpu = run_messages(&tracker, options.pace, publisher, processes, &bar).await?;
    bar.finish_and_clear();
    stop.send_replace(true);
    let mut tally = Tally::default();
    while let Some(one) = readers.join_next().await {
        tally.merge(one??);
    }
    child.kill().await?;
    let transport = if options.coalesce {
        "tcp-coalesced"
    } else {
        "tcp"
    };
    let mut report = report("floor", transport, &tracker, &tally);
    report.connections = u64::from(options.connections);
    report.in_flight = options.pace.in_flight();
    report.cpu_s_per_million = cpu.per(tracker.deliveries() as f64 / 1e6).total();
    Ok(report)
}

fn spawn(target: &Target, options: ChildOptions) -> Result<tokio::process::Child> {
    let mut command = tokio::process::Command::new(target.binary()?);
    command.args(["bench", "floor", "--child"]);
    command.args(["--connections", &options.connections.to_string()]);
    command.args(["--subscribers", &options.subscribers.to_string()]);
    command.args(["--frame-bytes", &options.frame_bytes.to_string()]);
    if options.coalesce {
        command.arg("--coalesce");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().context("can't start the floor's child")
}

/// What a delivery takes on an HTTP/2 connection: the frame's header, gRPC's prefix, the event.
fn frame_bytes(content_bytes: usize) -> usize {
    let id = i64::MAX >> 2;
    let message = v1::Message {
        id,
        channel_id: id,
        author_id: id,
        content: "x".repeat(content_bytes),
        nonce: "x".repeat(36),
        ..Default::default()
    };
    let event = v1::Event {
        topic: Some(v1::Topic { kind: 1, id }),
        position: Some(v1::Position {
            epoch: id,
            seq: 1000,
        }),
        event: Some(v1::event::Event::MessageCreated(v1::MessageCreated {
            message: Some(message),
        })),
    };
    let frame = v1::ServerFrame {
        frame: Some(v1::server_frame::Frame::Event(event)),
    };
    9 + 5 + frame.encoded_len()
}

/// What a connection carries.
#[derive(Clone, Copy)]
struct Share {
    /// Frames for each message.
    streams: u32,
    /// Bytes of a frame.
    frame_bytes: usize,
}

async fn read(
    mut socket: TcpStream,
    share: Share,
    tracker: Arc<Tracker>,
    mut stop: watch::Receiver<bool>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut seen: Vec<Seen> = (0..share.streams).map(|_| Seen::default()).collect();
    let mut buffer = bytes::BytesMut::new();
    loop {
        buffer.reserve(4096);
        let count = tokio::select! {
            count = socket.read_buf(&mut buffer) => count?,
            _ = stop.changed() => return Ok(tally),
        };
        if count == 0 {
            // The child ends with its trigger; what it had not written by then counts as lost.
            return Ok(tally);
        }
        while buffer.len() >= share.frame_bytes {
            let frame = buffer.split_to(share.frame_bytes);
            let index = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
            let stream = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            if let Some(seen) = seen.get_mut(stream as usize) {
                tracker.received(index, seen, &mut tally);
            }
        }
    }
}

/// The child: says where it listens, accepts the trigger and all connections, and from then on
/// writes a message to all of them for each byte that the trigger brings. Ends with the trigger.
pub(crate) fn child(options: ChildOptions) -> Result<()> {
    ensure!(
        options.frame_bytes >= HEAD_BYTES,
        "a frame has {HEAD_BYTES} bytes at least"
    );
    chirm_net::raise_open_files(0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut trigger, _) = listener.accept()?;
    let mut sockets = Vec::with_capacity(options.connections as usize);
    let ChildOptions {
        subscribers,
        connections,
        frame_bytes,
        ..
    } = options;
    for streams in streams_of(subscribers, connections) {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(Duration::from_secs(30)))?;
        sockets.push((socket, streams));
    }
    let most = Share {
        streams: subscribers.div_ceil(connections),
        frame_bytes,
    };
    let least = Share {
        streams: subscribers / connections,
        frame_bytes,
    };
    let mut next = 0_u32;
    let mut bytes = [0; BURST_MAX];
    loop {
        let count = trigger.read(&mut bytes)? as u32;
        if count == 0 {
            return Ok(());
        }
        let at_once = if options.coalesce { count } else { 1 };
        for first in (next..next + count).step_by(at_once as usize) {
            let full = frames(most, first..first + at_once);
            let short = frames(least, first..first + at_once);
            for (socket, streams) in &mut sockets {
                let burst = if *streams == most.streams {
                    &full
                } else {
                    &short
                };
                let write_bytes = if options.coalesce {
                    burst.len()
                } else {
                    frame_bytes
                };
                for write in burst.chunks(write_bytes) {
                    socket.write_all(write)?;
                }
            }
        }
        next += count;
    }
}

fn frames(share: Share, indices: std::ops::Range<u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in indices {
        for stream in 0..share.streams {
            let end = bytes.len() + share.frame_bytes;
            bytes.extend_from_slice(&index.to_be_bytes());
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.resize(end, b'.');
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_holds_each_message_for_each_stream() {
        let share = Share {
            streams: 2,
            frame_bytes: 10,
        };
        let burst = frames(share, 3..5);
        assert_eq!(burst.len(), 40);
        let heads: Vec<(u8, u8)> = burst.chunks(10).map(|f| (f[3], f[7])).collect();
        assert_eq!(heads, [(3, 0), (3, 1), (4, 0), (4, 1)]);
    }

    #[test]
    fn a_frame_is_larger_than_its_content() {
        assert!((260..400).contains(&frame_bytes(200)));
    }
}
