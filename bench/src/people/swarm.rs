//! Many sessions on few connections, and what they are told of people.

use crate::link::{self, Link, STREAMS_A_CONNECTION, tag};
use crate::setup::Session;
use crate::wire::Incoming;
use anyhow::{Context, Result, ensure};
use chirm_proto::v1::{self, client_frame::Frame as Sent, server_frame::Frame as Received};
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections that are opened at once.
const OPENING_AT_ONCE: usize = 32;
/// How long all sessions may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What one session was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) presence_frames: AtomicU64,
    pub(super) presences: AtomicU64,
    pub(super) list_frames: AtomicU64,
    pub(super) list_ops: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Microseconds since the swarm began at which it last was told of a member list.
    pub(super) listed_us: AtomicU64,
}

struct Shared {
    began: Instant,
    told: Vec<Told>,
    ready: AtomicU64,
    ended: AtomicU64,
}

/// Sessions, each a user of its own.
pub(super) struct Swarm {
    shared: Arc<Shared>,
    senders: Vec<mpsc::UnboundedSender<(usize, Vec<u8>)>>,
    tasks: JoinSet<()>,
}

impl Swarm {
    /// Connects all at once, and waits until each is ready.
    pub(super) async fn open(url: &str, users: &[Session], intents: &[v1::Intent]) -> Result<Self> {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            told: users.iter().map(|_| Told::default()).collect(),
            ready: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        });
        let intents: Vec<i32> = intents.iter().map(|intent| *intent as i32).collect();
        let links: Vec<Link> = stream::iter(users.chunks(STREAMS_A_CONNECTION))
            .map(|users| open(url, users, &intents))
            .buffered(OPENING_AT_ONCE)
            .try_collect()
            .await?;
        let (mut senders, mut tasks) = (Vec::new(), JoinSet::new());
        for (index, link) in links.into_iter().enumerate() {
            let (sender, frames) = mpsc::unbounded_channel();
            senders.push(sender);
            let first = index * STREAMS_A_CONNECTION;
            let streams = users.len().min(first + STREAMS_A_CONNECTION) - first;
            tasks.spawn(run(link, frames, shared.clone(), first, streams));
        }
        let swarm = Self {
            shared,
            senders,
            tasks,
        };
        let end = Instant::now() + READY_WITHIN;
        while swarm.shared.ready.load(Relaxed) < users.len() as u64 {
            let ready = swarm.shared.ready.load(Relaxed);
            ensure!(
                Instant::now() < end,
                "only {ready} of {} sessions became ready",
                users.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(swarm)
    }

    /// Sends a session's frame.
    pub(super) fn send(&self, session: usize, frame: Sent) -> Result<()> {
        let (connection, stream) = (
            session / STREAMS_A_CONNECTION,
            session % STREAMS_A_CONNECTION,
        );
        let frame = link::client_frame(1, frame);
        let sent = self.senders[connection].send((stream, frame));
        sent.ok().context("a connection ended")
    }

    /// What a session was told.
    pub(super) fn told(&self, session: usize) -> &Told {
        &self.shared.told[session]
    }

    /// The sum of a count over all sessions.
    pub(super) fn sum(&self, count: impl Fn(&Told) -> &AtomicU64) -> u64 {
        self.shared
            .told
            .iter()
            .map(|told| count(told).load(Relaxed))
            .sum()
    }

    /// Since the swarm began, in microseconds.
    pub(super) fn now_us(&self) -> u64 {
        micros(self.shared.began.elapsed())
    }

    /// Ends all; a session that ended before is an error.
    pub(super) async fn close(mut self) -> Result<()> {
        let ended = self.shared.ended.load(Relaxed);
        self.senders.clear();
        while self.tasks.join_next().await.is_some() {}
        ensure!(ended == 0, "{ended} sessions ended early");
        Ok(())
    }
}

async fn open(url: &str, users: &[Session], intents: &[i32]) -> Result<Link> {
    let mut link = Link::connect(url).await?;
    for user in users {
        let stream = link.wire.open(link::SESSION);
        let identify = v1::Identify {
            intents: intents.to_vec(),
            ..link::identify(&user.token, v1::Delivery::Viewed, &[])
        };
        link.wire
            .send(stream, &link::client_frame(0, Sent::Identify(identify)));
    }
    link.flush().await?;
    Ok(link)
}

/// One connection, until no more is sent on it.
async fn run(
    mut link: Link,
    mut frames: mpsc::UnboundedReceiver<(usize, Vec<u8>)>,
    shared: Arc<Shared>,
    first: usize,
    streams: usize,
) {
    let start = Instant::now() + link::HEARTBEAT_EVERY.mul_f64(rand::random());
    let mut heartbeat = tokio::time::interval_at(start, link::HEARTBEAT_EVERY);
    loop {
        let done = tokio::select! {
            turned = link.turn(|stream, incoming| receive(&shared, first + stream, incoming)) => {
                turned
            }
            frame = frames.recv() => {
                let Some((stream, frame)) = frame else { return };
                link.wire.send(stream, &frame);
                while let Ok((stream, frame)) = frames.try_recv() {
                    link.wire.send(stream, &frame);
                }
                link.flush().await
            }
            _ = heartbeat.tick() => {
                let frame = link::heartbeat();
                (0..streams).for_each(|stream| link.wire.send(stream, &frame));
                link.flush().await
            }
        };
        if done.is_err() {
            shared.ended.fetch_add(streams as u64, Relaxed);
            return;
        }
    }
}

fn receive(shared: &Shared, session: usize, incoming: Incoming<'_>) {
    let Some(told) = shared.told.get(session) else {
        return;
    };
    match incoming {
        Incoming::Message([tag::READY, ..]) => {
            shared.ready.fetch_add(1, Relaxed);
        }
        Incoming::Message([tag::CLOSING, ..]) | Incoming::End => {
            shared.ended.fetch_add(1, Relaxed);
        }
        Incoming::Message(frame @ [tag::PRESENCE_CHANGED | tag::MEMBER_LIST_CHANGED, ..]) => {
            told.bytes.fetch_add(frame.len() as u64, Relaxed);
            match v1::ServerFrame::decode(frame)
                .ok()
                .and_then(|frame| frame.frame)
            {
                Some(Received::PresenceChanged(changed)) => {
                    told.presence_frames.fetch_add(1, Relaxed);
                    told.presences
                        .fetch_add(changed.presences.len() as u64, Relaxed);
                }
                Some(Received::MemberListChanged(changed)) => {
                    told.list_frames.fetch_add(1, Relaxed);
                    told.list_ops.fetch_add(changed.ops.len() as u64, Relaxed);
                    told.listed_us
                        .store(micros(shared.began.elapsed()), Relaxed);
                }
                _ => {}
            }
        }
        Incoming::Message(_) => {}
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
