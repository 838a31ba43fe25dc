//! One channel, many subscribers: what a delivery costs and how long it takes.

use crate::carrier::{Carrier, Heard, Transport};
use crate::latency::Histogram;
use crate::launch::{Bridge, Running, Target};
use crate::link;
use crate::processes::{Figures, Processes};
use crate::procfs;
use crate::publish::{Content, Publisher, SessionPublisher};
use crate::report::{LatencyMs, Report};
use crate::setup::{Backend, Session};
use crate::tracker::{Pace, Seen, Tally, Tracker};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections that are being opened at once.
const OPENING_AT_ONCE: usize = 64;
/// How long connections may take to become ready without another one becoming so.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Idle memory is read so long after the last connection became ready.
const SETTLE: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Clone)]
pub struct FanoutOptions {
    /// The server.
    pub target: Target,
    /// How many subscribers, each a user of its own.
    pub subscribers: u32,
    /// TCP connections that they share; servers allow some 128 streams on each.
    pub connections: u32,
    /// How many messages; 0 measures idle memory alone.
    pub messages: u32,
    /// When to publish the next.
    pub pace: Pace,
    /// How subscribers listen.
    pub transport: Transport,
    /// Where subscribers connect; the publisher is always on the server itself.
    pub front: Front,
    /// Bytes of a message's content, 18 to 4,000.
    pub content_bytes: usize,
}

/// Where subscribers connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Front {
    /// To the server itself.
    Server,
    /// To a `chirm-bridge-ws` that is started in front of it: the program of this path, or the one
    /// beside this program.
    Bridge(Option<PathBuf>),
}

/// Measures a fan-out.
pub async fn fanout(options: FanoutOptions) -> Result<Report> {
    ensure!(options.subscribers > 0, "a fan-out needs a subscriber");
    ensure!(
        (1..=options.subscribers).contains(&options.connections),
        "--connections must be 1 to the number of subscribers"
    );
    ensure!(
        !options.transport.is_of_browsers() || options.connections == options.subscribers,
        "a connection by {} has one subscriber: --connections must be left out or {}, as many as \
         --subscribers",
        options.transport.name(),
        options.subscribers
    );
    ensure!(
        options.front == Front::Server || options.transport.is_of_browsers(),
        "--via-bridge is for --transport ws, ws-json and grpc-web: a bridge carries no {}",
        options.transport.name()
    );
    let server = options.target.open().await?;
    let result = measure_with(&options, &server).await;
    server.stop().await?;
    result
}

/// Starts the bridge that is to be in front, and ends it.
async fn measure_with(options: &FanoutOptions, server: &Running) -> Result<Report> {
    let Front::Bridge(binary) = &options.front else {
        return measure(options, server, None).await;
    };
    let bridge = Bridge::start(binary.as_deref(), &server.url).await?;
    let result = measure(options, server, Some(&bridge)).await;
    bridge.stop().await?;
    result
}

async fn measure(
    options: &FanoutOptions,
    server: &Running,
    bridge: Option<&Bridge>,
) -> Result<Report> {
    let (url, key) = (server.url.as_str(), server.key.as_str());
    let processes = Processes {
        server: server.pid(),
        bridge: bridge.and_then(Bridge::pid),
    };
    let bar = ProgressBar::new_spinner().with_message("making users and their server");
    bar.enable_steady_tick(Duration::from_millis(200));
    let backend = Backend::new(url, key)?;
    let server_id = backend.create_server("bench").await?;
    let channel_id = backend.create_channel(server_id, "fanout").await?;
    let run: u32 = rand::random();
    let count = u64::from(options.subscribers);
    let users = backend
        .members(server_id, &format!("sub-{run:08x}"), count)
        .await?;
    let sender = backend
        .members(server_id, &format!("pub-{run:08x}"), 1)
        .await?;
    let sender = sender.first().context("the publisher couldn't sign in")?;
    let content = Content::new(options.content_bytes);
    let publisher = SessionPublisher::open(url, &sender.token, channel_id, content.clone()).await?;
    let tracker = Arc::new(Tracker::new(
        options.subscribers,
        options.messages,
        options.pace,
    ));
    let rss = |pid| Ok(procfs::rss_bytes(pid)? as f64);
    let rss_before = processes.read(rss)?;

    bar.set_message("opening connections");
    let mut subscribers = Subscribers {
        tracker: tracker.clone(),
        content,
        tasks: JoinSet::new(),
        stop: watch::Sender::new(false),
    };
    let front = bridge.map_or(url, |bridge| &bridge.url);
    subscribers.open(options, front, channel_id, users).await?;
    tokio::time::sleep(SETTLE).await;
    let rss_idle = processes.read(rss)?;

    bar.set_message("publishing");
    let figures = run_messages(
        &tracker,
        options.pace,
        Publisher::Session(publisher),
        processes,
        &bar,
    );
    let cpu = figures.await?.per(tracker.deliveries() as f64 / 1e6);
    let tally = subscribers.close().await?;
    bar.finish_and_clear();
    for reason in &tally.ended {
        eprintln!("a subscriber's stream ended early: {reason}");
    }
    let mut report = report("fanout", options.transport.name(), &tracker, &tally);
    report.connections = u64::from(options.connections);
    report.in_flight = options.pace.in_flight();
    report.cpu_s_per_million = cpu.total();
    report.cpu_s_per_million_bridge = cpu.bridge;
    let rss = rss_idle
        .since(rss_before)
        .per(f64::from(options.connections));
    report.rss_bytes_per_connection = rss.total();
    report.rss_bytes_per_connection_bridge = rss.bridge;
    Ok(report)
}

/// Publishes all messages. Gives the CPU-seconds that these processes used meanwhile.
pub(crate) async fn run_messages(
    tracker: &Tracker,
    pace: Pace,
    mut publisher: Publisher,
    processes: Processes,
    bar: &ProgressBar,
) -> Result<Figures> {
    if tracker.messages() == 0 {
        return Ok(Figures::default());
    }
    let before = processes.read(procfs::cpu_seconds)?;
    let expected = tracker.expected();
    publisher
        .run(tracker, pace, |deliveries| {
            bar.set_message(format!("{deliveries} of {expected} deliveries"));
        })
        .await?;
    Ok(processes.read(procfs::cpu_seconds)?.since(before))
}

/// What all subscribers together saw. Fields that only the caller knows are empty.
pub(crate) fn report(
    bench: &'static str,
    transport: &'static str,
    tracker: &Tracker,
    tally: &Tally,
) -> Report {
    let deliveries = tracker.deliveries();
    let seconds = tracker.took().as_secs_f64();
    Report {
        bench,
        transport,
        subscribers: None,
        connections: 0,
        messages: u64::from(tracker.messages()),
        in_flight: None,
        deliveries: Some(deliveries),
        deliveries_per_s: (seconds > 0.0).then(|| deliveries as f64 / seconds),
        cpu_s_per_million: None,
        cpu_s_per_million_bridge: None,
        latency_ms: LatencyMs::from(&tally.latency as &Histogram),
        rss_bytes_per_connection: None,
        rss_bytes_per_connection_bridge: None,
        acked_per_s: None,
        lost: Some(tracker.expected() - deliveries),
        duplicated: Some(tally.duplicated),
    }
    .with_subscribers(tracker.ready())
}

/// How many subscribers each connection carries: as evenly as can be.
pub(crate) fn streams_of(subscribers: u32, connections: u32) -> impl Iterator<Item = u32> {
    let (each, more) = (subscribers / connections, subscribers % connections);
    (0..connections).map(move |place| each + u32::from(place < more))
}

/// All subscribers' connections, each a task.
struct Subscribers {
    tracker: Arc<Tracker>,
    content: Content,
    tasks: JoinSet<Result<Tally>>,
    stop: watch::Sender<bool>,
}

impl Subscribers {
    /// Opens all connections and waits until each subscriber is ready.
    async fn open(
        &mut self,
        options: &FanoutOptions,
        url: &str,
        channel_id: i64,
        users: Vec<Session>,
    ) -> Result<()> {
        let transport = options.transport;
        let mut rest = users.as_slice();
        let shares = streams_of(options.subscribers, options.connections).map(|streams| {
            let (share, others) = rest.split_at(streams as usize);
            rest = others;
            share.to_vec()
        });
        let links: Vec<Subscriber> = stream::iter(shares.collect::<Vec<_>>())
            .map(|users| async move {
                let carrier = Carrier::open(url, transport, channel_id, &users).await?;
                let seen = (0..carrier.streams()).map(|_| Seen::default()).collect();
                anyhow::Ok(Subscriber { carrier, seen })
            })
            .buffer_unordered(OPENING_AT_ONCE)
            .try_collect()
            .await?;
        for subscriber in links {
            let (tracker, content) = (self.tracker.clone(), self.content.clone());
            self.tasks
                .spawn(subscriber.run(tracker, content, self.stop.subscribe()));
        }
        let mut heard = (0, Instant::now());
        while self.tracker.ready() < users.len() as u64 {
            let ready = self.tracker.ready();
            if ready > heard.0 {
                heard = (ready, Instant::now());
            }
            let late = heard.1.elapsed() > READY_WITHIN;
            ensure!(
                !late,
                "only {ready} of {} subscribers became ready",
                users.len()
            );
            let _ =
                tokio::time::timeout(Duration::from_secs(1), self.tracker.grown.notified()).await;
            if let Some(ended) = self.tasks.try_join_next() {
                let reasons = ended??.ended.join("; ");
                anyhow::bail!("a subscriber ended before it was ready: {reasons}");
            }
        }
        Ok(())
    }

    /// Ends all connections. Gives what they received.
    async fn close(mut self) -> Result<Tally> {
        self.stop.send_replace(true);
        let mut all = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            all.merge(tally??);
        }
        Ok(all)
    }
}

/// One connection with what its streams received.
struct Subscriber {
    carrier: Carrier,
    seen: Vec<Seen>,
}

impl Subscriber {
    async fn run(
        mut self,
        tracker: Arc<Tracker>,
        content: Content,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Tally> {
        let mut tally = Tally::default();
        let first = link::HEARTBEAT_EVERY.mul_f64(rand::random());
        let mut heartbeat = tokio::time::interval_at(Instant::now() + first, link::HEARTBEAT_EVERY);
        let has_heartbeats = self.carrier.has_heartbeats();
        loop {
            let result = tokio::select! {
                result = self.carrier.turn(|stream, heard| {
                    let Some(seen) = self.seen.get_mut(stream) else { return };
                    receive(heard, &tracker, &content, seen, &mut tally);
                }) => result,
                _ = heartbeat.tick(), if has_heartbeats => self.carrier.heartbeat().await,
                _ = stop.changed() => return Ok(tally),
            };
            if let Err(error) = result {
                tally.note_end(error.to_string());
                return Ok(tally);
            }
        }
    }
}

fn receive(
    heard: Heard<'_>,
    tracker: &Tracker,
    content: &Content,
    seen: &mut Seen,
    tally: &mut Tally,
) {
    match heard {
        Heard::Created(bytes) => {
            if let Some(index) = content.index(bytes) {
                tracker.received(index, seen, tally);
            }
        }
        Heard::Ready => tracker.note_ready(),
        Heard::End(reason) => tally.note_end(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_has_a_connection_and_every_connection_a_subscriber() {
        for (subscribers, connections) in [(10, 3), (1000, 300), (7, 7), (8, 1)] {
            let shares: Vec<u32> = streams_of(subscribers, connections).collect();
            assert_eq!(shares.len(), connections as usize);
            assert_eq!(shares.iter().sum::<u32>(), subscribers);
            let (least, most) = (shares.iter().min(), shares.iter().max());
            assert!(least.zip(most).is_some_and(|(l, m)| *l > 0 && m - l <= 1));
        }
    }
}
