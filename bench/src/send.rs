//! Durable sends: how many are acknowledged a second, and how long one takes.

use crate::latency::Histogram;
use crate::launch::Target;
use crate::link::{self, Link, tag};
use crate::processes::Processes;
use crate::procfs;
use crate::publish::{Content, open_session, refusal, send_request};
use crate::report::{LatencyMs, Report};
use crate::setup::Backend;
use crate::wire::{Incoming, field};
use anyhow::{Result, bail, ensure};
use indicatif::ProgressBar;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Without an acknowledgement for so long the rest counts as lost.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Clone)]
pub struct SendOptions {
    /// The server.
    pub target: Target,
    /// Senders, each with a connection, a user, a server and a channel of its own; 10,000 at most.
    pub connections: u32,
    /// How many sends of each may be unacknowledged at once.
    pub in_flight: u32,
    /// How many messages, all senders together.
    pub messages: u32,
    /// Bytes of a message's content, 18 to 4,000.
    pub content_bytes: usize,
}

/// What the senders share.
struct Shared {
    /// The next message's index.
    next: AtomicU32,
    acked: AtomicU64,
    messages: u32,
    in_flight: u32,
    content: Content,
    start: Barrier,
}

/// Measures durable sends.
pub async fn send(options: SendOptions) -> Result<Report> {
    ensure!(
        (1..=10_000).contains(&options.connections),
        "--connections must be 1 to 10,000"
    );
    ensure!(options.in_flight > 0, "--in-flight must be 1 at least");
    let server = options.target.open().await?;
    let result = measure(&options, &server.url, &server.key, server.pid()).await;
    server.stop().await?;
    result
}

async fn measure(options: &SendOptions, url: &str, key: &str, pid: Option<u32>) -> Result<Report> {
    let bar = ProgressBar::new_spinner().with_message("making users and channels");
    bar.enable_steady_tick(Duration::from_millis(200));
    let backend = Backend::new(url, key)?;
    let run: u32 = rand::random();
    let count = u64::from(options.connections);
    let shared = Arc::new(Shared {
        next: AtomicU32::new(0),
        acked: AtomicU64::new(0),
        messages: options.messages,
        in_flight: options.in_flight,
        content: Content::new(options.content_bytes),
        start: Barrier::new(options.connections as usize + 1),
    });
    let mut senders = JoinSet::new();
    for index in 0..count {
        // Alone in a server of its own: what is measured is sending, not who hears of it.
        let name = format!("sender-{run:08x}-{index}");
        let server_id = backend.create_server(&name).await?;
        let channel_id = backend.create_channel(server_id, "send").await?;
        let user = backend.mint(&name, &name).await?;
        backend.add_member(server_id, user.user_id).await?;
        let mut link = Link::connect(url).await?;
        let stream = open_session(&mut link, &user.token).await?;
        let sender = Sender {
            link,
            stream,
            channel_id,
            open: Vec::new(),
        };
        senders.spawn(sender.run(shared.clone()));
    }
    let processes = Processes {
        server: pid,
        ..Processes::default()
    };
    let cpu_before = processes.read(procfs::cpu_seconds)?;
    shared.start.wait().await;
    let (latency, seconds) = collect(senders, &shared, &bar).await?;
    let cpu = processes.read(procfs::cpu_seconds)?.since(cpu_before);
    bar.finish_and_clear();
    Ok(Report {
        bench: "send",
        transport: "grpc",
        subscribers: None,
        connections: count,
        messages: u64::from(options.messages),
        in_flight: Some(u64::from(options.in_flight)),
        deliveries: None,
        deliveries_per_s: None,
        cpu_s_per_million: cpu.per(latency.len() as f64 / 1e6).total(),
        cpu_s_per_million_bridge: None,
        latency_ms: LatencyMs::from(&latency),
        rss_bytes_per_connection: None,
        rss_bytes_per_connection_bridge: None,
        acked_per_s: (seconds > 0.0).then(|| latency.len() as f64 / seconds),
        lost: Some(u64::from(options.messages) - latency.len()),
        duplicated: None,
    })
}

/// Waits for all senders. Gives their latencies, and the seconds from now to the last one's end.
async fn collect(
    mut senders: JoinSet<Result<(Histogram, Instant)>>,
    shared: &Shared,
    bar: &ProgressBar,
) -> Result<(Histogram, f64)> {
    let start = Instant::now();
    let mut latency = Histogram::default();
    let mut last = start;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while !senders.is_empty() {
        tokio::select! {
            Some(ended) = senders.join_next() => {
                let (histogram, ended_at) = ended??;
                latency.merge(&histogram);
                last = last.max(ended_at);
            }
            _ = second.tick() => {
                let acked = shared.acked.load(Ordering::Relaxed);
                bar.set_message(format!("{acked} of {} acknowledged", shared.messages));
            }
        }
    }
    Ok((latency, (last - start).as_secs_f64()))
}

/// One connection that sends to its own channel.
struct Sender {
    link: Link,
    stream: usize,
    channel_id: i64,
    /// The unacknowledged sends: at most `in_flight`.
    open: Vec<(u32, Instant)>,
}

impl Sender {
    /// Sends until all messages were taken. Gives the latencies, and when the last one ended.
    async fn run(mut self, shared: Arc<Shared>) -> Result<(Histogram, Instant)> {
        let mut latency = Histogram::default();
        let mut last = Instant::now();
        let mut heartbeat =
            tokio::time::interval_at(last + link::HEARTBEAT_EVERY, link::HEARTBEAT_EVERY);
        shared.start.wait().await;
        loop {
            self.fill(&shared).await?;
            if self.open.is_empty() {
                return Ok((latency, last));
            }
            let mut refused = None;
            let open = &mut self.open;
            let turn = self.link.turn(|_, incoming| {
                if let Some(call_id) = acknowledged(&incoming)
                    && let Some(place) = open.iter().position(|(id, _)| *id == call_id)
                {
                    last = Instant::now();
                    latency.record(last - open.swap_remove(place).1);
                    shared.acked.fetch_add(1, Ordering::Relaxed);
                } else if let Some(reason) = refusal(&incoming) {
                    refused.get_or_insert(reason);
                }
            });
            tokio::select! {
                result = tokio::time::timeout(STALLED_AFTER, turn) => match result {
                    Ok(result) => result?,
                    Err(_) => return Ok((latency, last)),
                },
                _ = heartbeat.tick() => self.link.wire.send(self.stream, &link::heartbeat()),
            }
            if let Some(reason) = refused {
                bail!("the server refused a send: {reason}");
            }
        }
    }

    async fn fill(&mut self, shared: &Shared) -> Result<()> {
        while self.open.len() < shared.in_flight as usize {
            let index = shared.next.fetch_add(1, Ordering::Relaxed);
            if index >= shared.messages {
                // Keeps the counter from wrapping round, however long the rest takes.
                shared.next.store(shared.messages, Ordering::Relaxed);
                break;
            }
            let request = send_request(self.channel_id, shared.content.of(index));
            self.link
                .wire
                .send(self.stream, &link::client_frame(index + 1, request));
            self.open.push((index + 1, Instant::now()));
        }
        self.link.flush().await
    }
}

/// The call that an encoded `ServerFrame` acknowledges.
fn acknowledged(incoming: &Incoming<'_>) -> Option<u32> {
    let Incoming::Message(frame @ [tag::RESULT, ..]) = incoming else {
        return None;
    };
    let result = field(frame, 4)?;
    field(result, 10)?;
    // call_id is the first field, and a varint.
    let (&key, rest) = result.split_first()?;
    let mut call_id = 0_u32;
    for (place, byte) in rest.iter().take(5).enumerate() {
        call_id |= u32::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (key == 1 << 3).then_some(call_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chirm_proto::{google, v1};
    use prost::Message;

    #[test]
    fn only_a_stored_message_acknowledges() {
        use v1::result::Result as R;
        let frame = |call_id, result| {
            let result = v1::Result {
                call_id,
                result: Some(result),
            };
            v1::ServerFrame {
                frame: Some(v1::server_frame::Frame::Result(result)),
            }
            .encode_to_vec()
        };
        let ok = frame(70_000, R::SendMessage(v1::SendMessageResponse::default()));
        assert_eq!(acknowledged(&Incoming::Message(&ok)), Some(70_000));
        let error = google::rpc::Status {
            code: 9,
            message: "no".into(),
            details: Vec::new(),
        };
        let error = frame(1, R::Error(error));
        assert_eq!(acknowledged(&Incoming::Message(&error)), None);
        assert_eq!(
            refusal(&Incoming::Message(&error)).as_deref(),
            Some("no (code 9)")
        );
        assert_eq!(acknowledged(&Incoming::End), None);
    }
}
