//! Who gets what: topics with their sessions. Each shard is a task that owns its topics and their
//! positions, takes their events from the bus and puts the shared bytes into the sessions'
//! outboxes.

mod shard;

use super::handle::SessionHandle;
use crate::bus::{self, Publication};
use crate::model::{Position, TopicKey};
use crate::store;
use shard::Shard;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for one shard; beyond them callers wait.
const COMMANDS_MAX: usize = 4_096;

/// How a session follows a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    /// It gets the events; else only word of activity.
    pub(super) full: bool,
    /// The user looks at it: it gets what has no position, too.
    pub(super) viewed: bool,
}

/// Why the hub could not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Bus(#[from] bus::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the hub has stopped")]
    Stopped,
}

/// How far an attachment came.
#[derive(Debug)]
pub(super) enum Attached {
    /// What was missed, if little, is in the outbox, and all that follows will be.
    Live,
    /// These were missed; it isn't attached: send them, then attach from the last one's position.
    Behind(Vec<Arc<Publication>>),
    /// What was missed isn't remembered. The topic is at this position now; it isn't attached.
    Gone(Position),
}

pub(super) enum Command {
    Position(TopicKey, oneshot::Sender<Result<Position, Error>>),
    Attach {
        topic: TopicKey,
        session: Arc<SessionHandle>,
        mode: Mode,
        held: Position,
        answer: oneshot::Sender<Result<Attached, Error>>,
    },
    Detach(Vec<TopicKey>, u64),
}

/// Cloneable access to the shards.
#[derive(Clone)]
pub(super) struct Hub {
    shards: Arc<[mpsc::Sender<Command>]>,
}

impl Hub {
    /// Starts the shards' tasks. They end when the last `Hub` is dropped.
    pub(super) fn start(shards: usize, bus: &bus::Handle, store: &store::Handle) -> Self {
        let shards = (0..shards.max(1))
            .map(|_| {
                let (commands, queue) = mpsc::channel(COMMANDS_MAX);
                let shard = Shard::new(bus.topics.clone(), store.clone());
                tokio::spawn(shard.run(queue));
                commands
            })
            .collect();
        Self { shards }
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

    /// Attaches a session that holds `held` of the topic, or changes its mode.
    pub(super) async fn attach(
        &self,
        topic: TopicKey,
        session: Arc<SessionHandle>,
        mode: Mode,
        held: Position,
    ) -> Result<Attached, Error> {
        self.ask(topic, |answer| Command::Attach {
            topic,
            session,
            mode,
            held,
            answer,
        })
        .await
    }

    /// Ends a session's attachments.
    pub(super) async fn detach(&self, topics: impl IntoIterator<Item = TopicKey>, session: u64) {
        let mut by_shard = vec![Vec::new(); self.shards.len()];
        for topic in topics {
            by_shard[self.shard(topic)].push(topic);
        }
        for (shard, topics) in self.shards.iter().zip(by_shard) {
            if !topics.is_empty() {
                // A stopped hub has no attachments left.
                let _ = shard.send(Command::Detach(topics, session)).await;
            }
        }
    }
}
