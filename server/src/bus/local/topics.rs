//! Topics at positions, in process.

use super::feed::LocalSubscriber;
use super::ring::{Ring, RingLimits};
use crate::bus::{Delivery, Draft, Error, Feed, Publication, Since, Subscriber, Topics, Transient};
use crate::clock::Clock;
use crate::frames;
use crate::model::{Position, TopicKey, TopicKind, UnixMs};
use crate::mutation;
use crate::store::{OutboxEvent, Relay};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SHARDS: usize = 16;

struct State {
    position: Position,
    ring: Ring,
    subscribers: Vec<Arc<LocalSubscriber>>,
    used_at: Duration,
}

impl State {
    fn at(position: Position, now: Duration) -> Self {
        Self {
            position,
            ring: Ring::default(),
            subscribers: Vec::new(),
            used_at: now,
        }
    }

    fn accept(&mut self, event: Arc<Publication>, limits: &RingLimits, now: Duration) {
        self.used_at = now;
        if event.position != self.position.next() {
            // What is between was never heard: the store may have it, the ring doesn't.
            self.ring.clear();
        }
        self.position = event.position;
        self.ring.push(event.clone(), limits, now);
        for subscriber in &self.subscribers {
            subscriber.deliver(event.topic, Delivery::Event(event.clone()));
        }
    }
}

type Shard = HashMap<TopicKey, State>;

/// Topics at positions, in process. Also the [`Relay`] of the embedded store. Cheap to clone.
#[derive(Clone)]
pub struct LocalTopics(Arc<Inner>);

struct Inner {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    limits: RingLimits,
    clock: Arc<dyn Clock>,
}

impl LocalTopics {
    /// Empty.
    #[must_use]
    pub fn new(limits: RingLimits, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
            hasher: RandomState::new(),
            limits,
            clock,
        }))
    }
}

impl Inner {
    fn shard(&self, topic: TopicKey) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(topic) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn state<'a>(&self, shard: &'a mut Shard, topic: TopicKey) -> &'a mut State {
        if shard.len() >= self.limits.topics / SHARDS && !shard.contains_key(&topic) {
            forget_unused(shard);
        }
        shard
            .entry(topic)
            .or_insert_with(|| State::at(start_of(topic), self.clock.elapsed()))
    }
}

/// A topic's first position: a channel's epoch is drawn here; a server's or user's is the store's,
/// and not known until it says something.
fn start_of(topic: TopicKey) -> Position {
    let epoch = match topic.kind {
        TopicKind::Channel if mutation::on("epoch_kept") => 1,
        TopicKind::Channel => rand::random_range(1..i64::MAX),
        TopicKind::Server | TopicKind::User => 0,
    };
    Position { epoch, seq: 0 }
}

/// Forgets the eighth of the topics that were unused for longest, those with subscribers excepted.
fn forget_unused(shard: &mut Shard) {
    let mut ages: Vec<_> = shard
        .iter()
        .filter(|(_, s)| s.subscribers.is_empty())
        .map(|(k, s)| (s.used_at, *k))
        .collect();
    ages.sort_unstable_by_key(|(at, _)| *at);
    for (_, topic) in ages.iter().take(ages.len().div_ceil(8)) {
        shard.remove(topic);
    }
}

/// The position that an event's frame shows.
fn shown(position: Position) -> Position {
    let seq = match position.seq {
        3.. if mutation::on("seq_repeated") => position.seq - 1,
        3.. if mutation::on("seq_skipped") => position.seq + 1,
        seq => seq,
    };
    Position { seq, ..position }
}

fn publication(event: Draft, position: Position, now: UnixMs) -> Arc<Publication> {
    let frame: Bytes = frames::event_frame(event.topic, shown(position), &event.payload);
    let Draft {
        topic,
        signal,
        message_id,
        ..
    } = event;
    Arc::new(Publication {
        topic,
        position,
        frame,
        signal,
        message_id,
        published_ms: now,
    })
}

#[async_trait]
impl Topics for LocalTopics {
    async fn publish(&self, draft: Draft) -> Result<Position, Error> {
        let mut shard = self.0.shard(draft.topic);
        let state = self.0.state(&mut shard, draft.topic);
        let position = state.position.next();
        state.accept(
            publication(draft, position, self.0.clock.wall_ms()),
            &self.0.limits,
            self.0.clock.elapsed(),
        );
        Ok(position)
    }

    async fn position(&self, topic: TopicKey) -> Result<Position, Error> {
        let mut shard = self.0.shard(topic);
        Ok(self.0.state(&mut shard, topic).position)
    }

    async fn since(&self, topic: TopicKey, position: Position) -> Result<Since, Error> {
        let mut shard = self.0.shard(topic);
        let state = self.0.state(&mut shard, topic);
        state.ring.trim(&self.0.limits, self.0.clock.elapsed());
        if position.epoch != state.position.epoch || position.seq > state.position.seq {
            return Ok(Since::Gone);
        }
        Ok(match state.ring.above(position.seq, state.position.seq) {
            Some(events) => Since::Events(events),
            None => Since::Gone,
        })
    }

    async fn announce(&self, transient: Transient) -> Result<(), Error> {
        let topic = TopicKey::channel(transient.channel);
        let transient = Arc::new(transient);
        if let Some(state) = self.0.shard(topic).get(&topic) {
            for subscriber in &state.subscribers {
                subscriber.announce(transient.clone());
            }
        }
        Ok(())
    }

    async fn trim(&self) -> Result<(), Error> {
        let now = self.0.clock.elapsed();
        for shard in &self.0.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for state in shard.values_mut() {
                state.ring.trim(&self.0.limits, now);
            }
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn subscriber(&self) -> (Arc<dyn Subscriber>, Feed) {
        let (feed, events) = LocalSubscriber::new();
        let topics = self.0.clone();
        (Arc::new(Subscription { topics, feed }), events)
    }
}

impl Relay for LocalTopics {
    fn relay(&self, events: Vec<OutboxEvent>) {
        for event in events {
            let OutboxEvent {
                topic,
                position,
                payload,
                signal,
            } = event;
            let mut shard = self.0.shard(topic);
            let state = self.0.state(&mut shard, topic);
            let draft = Draft {
                topic,
                payload,
                signal,
                message_id: 0,
                operation: None,
            };
            state.accept(
                publication(draft, position, self.0.clock.wall_ms()),
                &self.0.limits,
                self.0.clock.elapsed(),
            );
        }
    }
}

struct Subscription {
    topics: Arc<Inner>,
    feed: Arc<LocalSubscriber>,
}

#[async_trait]
impl Subscriber for Subscription {
    async fn subscribe(&self, topic: TopicKey) -> Result<Position, Error> {
        let mut shard = self.topics.shard(topic);
        let state = self.topics.state(&mut shard, topic);
        if !state.subscribers.iter().any(|s| s.id == self.feed.id) {
            state.subscribers.push(self.feed.clone());
        }
        Ok(state.position)
    }

    fn unsubscribe(&self, topic: TopicKey) {
        if let Some(state) = self.topics.shard(topic).get_mut(&topic) {
            state.subscribers.retain(|s| s.id != self.feed.id);
            state.used_at = self.topics.clock.elapsed();
        }
    }
}
