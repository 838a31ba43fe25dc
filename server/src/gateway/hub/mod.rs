//! Who gets what: topics with their sessions. Each shard is a task that owns its topics and their
//! positions, takes their events from the bus and puts the shared bytes into the sessions'
//! outboxes. A shard waits for nothing but its own queues: what the bus and the store remember is
//! read by those who ask, or in tasks of its own.
//!
//! - `shard`: the task.
//! - `topic`: one topic with its sessions.
//! - `past`: what the bus and the store remember.

mod past;
mod shard;
#[cfg(test)]
mod tests;
mod topic;

use super::handle::SessionHandle;
use crate::bus::{self, Publication};
use crate::clock::Clock;
use crate::model::{Position, TopicKey};
use crate::store;
use crate::traces::{FanOut, Traces};
use past::Past;
use shard::Shard;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for one shard; beyond them callers wait.
const COMMANDS_MAX: usize = 4_096;
/// Events of a topic that a shard keeps at hand, beside the bus's ring and never more than that.
const TAIL_EVENTS_MAX: usize = 32;

/// How a session follows a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    /// It gets the events; else only word of activity.
    pub(super) full: bool,
    /// The user looks at it: it gets what has no position, too.
    pub(super) viewed: bool,
}

/// Why the hub could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Error {
    /// The bus or the store can't be read now.
    #[error("{0}")]
    Unavailable(String),
    #[error("the hub has stopped")]
    Stopped,
}

impl From<bus::Error> for Error {
    fn from(error: bus::Error) -> Self {
        Error::Unavailable(error.to_string())
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Error::Unavailable(error.to_string())
    }
}

/// How far an attachment came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attached {
    /// All that follows is, or will be, in the outbox.
    Live {
        /// Missed events that were put into it first.
        replayed: usize,
    },
    /// It isn't attached: what was missed must be sent first.
    Behind {
        /// Where the client is with what its outbox has.
        held: Position,
        /// Where the topic is.
        now: Position,
    },
}

/// A session that wants a topic's events.
pub(super) struct Attach {
    pub(super) topic: TopicKey,
    pub(super) session: Arc<SessionHandle>,
    pub(super) mode: Mode,
    /// Where the client is with what its outbox has.
    pub(super) held: Position,
    /// The bus remembers that position: the shard may be behind it.
    pub(super) confirmed: bool,
    /// Tells this attachment from earlier ones of the same session and topic.
    pub(super) generation: u64,
}

pub(super) enum Command {
    Position(TopicKey, oneshot::Sender<Result<Position, Error>>),
    Attach(Attach, oneshot::Sender<Result<Attached, Error>>),
    Mode(TopicKey, u64, Mode),
    Detach(Vec<TopicKey>, u64, oneshot::Sender<()>),
}

/// What a fan-out is measured with.
#[derive(Clone)]
pub(super) struct Meter {
    clock: Arc<dyn Clock>,
    traces: Traces,
    lag: metrics::Histogram,
}

impl Meter {
    /// Whatever takes metrics has to be there before.
    pub(super) fn new(clock: Arc<dyn Clock>, traces: Traces) -> Self {
        Self {
            clock,
            traces,
            lag: metrics::histogram!("chirm_message_lag_seconds"),
        }
    }

    /// All sessions here have these events.
    fn delivered(&self, events: &[Arc<Publication>], sessions: usize, trace: Option<FanOut>) {
        if let Some(trace) = trace {
            trace.end();
        }
        if sessions == 0 {
            return;
        }
        let now_ms = self.clock.wall_ms();
        for event in events.iter().filter(|event| event.published_ms > 0) {
            // Another node's clock may be ahead of this one's.
            let lag_ms = (now_ms - event.published_ms).max(0);
            self.lag.record(lag_ms as f64 / 1_000.0);
        }
    }
}

/// Cloneable access to the shards.
#[derive(Clone)]
pub(super) struct Hub {
    shards: Arc<[mpsc::Sender<Command>]>,
    past: Past,
}

impl Hub {
    /// Starts the shards' tasks. They end when the last `Hub` is dropped. `ring` is how many events
    /// of a topic can be replayed.
    pub(super) fn start(
        shards: usize,
        bus: &bus::Handle,
        store: Arc<dyn store::Outbox>,
        ring: usize,
        meter: &Meter,
    ) -> Self {
        let tail_max = ring.clamp(1, TAIL_EVENTS_MAX);
        let past = Past::new(bus.topics.clone(), store);
        let shards = (0..shards.max(1))
            .map(|_| {
                let (commands, queue) = mpsc::channel(COMMANDS_MAX);
                tokio::spawn(Shard::new(past.clone(), tail_max, meter.clone()).run(queue));
                commands
            })
            .collect();
        Self { shards, past }
    }

    fn shard(&self, topic: TopicKey) -> usize {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        hasher.hash_one(topic) as usize % self.shards.len()
    }

    async fn ask<T>(
        &self,
        topic: TopicKey,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let shard = &self.shards[self.shard(topic)];
        shard
            .send(command(answer))
            .await
            .map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// The topic's position, after its subscription was confirmed: an event above it will be seen.
    pub(super) async fn position(&self, topic: TopicKey) -> Result<Position, Error> {
        self.ask(topic, |answer| Command::Position(topic, answer))
            .await
    }

    /// Attaches a session to a topic, or changes its mode. Dropped half-way it may have done so:
    /// `detach` then.
    pub(super) async fn attach(&self, attach: Attach) -> Result<Attached, Error> {
        self.ask(attach.topic, |answer| Command::Attach(attach, answer))
            .await
    }

    /// Changes the mode of an attachment, if it is there. Not from activity to events, for which
    /// the position held must be told.
    pub(super) async fn set_mode(&self, topic: TopicKey, session: u64, mode: Mode) {
        let shard = &self.shards[self.shard(topic)];
        // A stopped hub has no attachments left; so below.
        let _ = shard.send(Command::Mode(topic, session, mode)).await;
    }

    /// What came after a position, up to `now` at least, ascending and complete; None if it isn't
    /// remembered.
    pub(super) async fn since(
        &self,
        topic: TopicKey,
        held: Position,
        now: Position,
    ) -> Result<Option<Vec<Arc<Publication>>>, Error> {
        self.past.since(topic, held, now).await
    }

    /// Ends a session's attachments: when it answers, nothing more of them reaches the outbox.
    pub(super) async fn detach(&self, topics: impl IntoIterator<Item = TopicKey>, session: u64) {
        let mut by_shard = vec![Vec::new(); self.shards.len()];
        for topic in topics {
            by_shard[self.shard(topic)].push(topic);
        }
        let mut answers = Vec::new();
        for (shard, topics) in self.shards.iter().zip(by_shard) {
            if !topics.is_empty() {
                let (answer, answered) = oneshot::channel();
                let _ = shard.send(Command::Detach(topics, session, answer)).await;
                answers.push(answered);
            }
        }
        for answer in answers {
            let _ = answer.await;
        }
    }
}
