//! Topics at positions, in process.

use crate::bus::{Delivery, Draft, Error, Feed, Publication, Since, Subscriber, Topics, Transient};
use crate::clock::Clock;
use crate::frames;
use crate::model::{Position, TopicKey, TopicKind};
use crate::mutation;
use crate::store::{OutboxEvent, Relay};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

const SHARDS: usize = 16;
/// Events that wait for one subscriber; beyond them its topics are marked dirty.
const FEED_EVENTS_MAX: usize = 65_536;

/// What a topic's ring remembers: whichever bound is reached first.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// Events.
    pub events: usize,
    /// Bytes of frames.
    pub bytes: usize,
    /// Age.
    pub age: Duration,
    /// Topics remembered in all. Beyond them the longest unused without subscribers are forgotten:
    /// their epoch then is another.
    pub topics: usize,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self {
            events: 1_000,
            bytes: 1 << 20,
            age: Duration::from_secs(600),
            topics: 200_000,
        }
    }
}

#[derive(Default)]
struct Ring {
    events: VecDeque<(Duration, Arc<Publication>)>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, event: Arc<Publication>, limits: &RingLimits, now: Duration) {
        self.bytes += event.frame.len();
        self.events.push_back((now, event));
        self.trim(limits, now);
    }

    fn trim(&mut self, limits: &RingLimits, now: Duration) {
        while let Some((at, event)) = self.events.front() {
            let fits = self.events.len() <= limits.events && self.bytes <= limits.bytes;
            if fits && now.saturating_sub(*at) < limits.age {
                break;
            }
            self.bytes -= event.frame.len();
            self.events.pop_front();
        }
        if self.events.is_empty() {
            self.clear();
        }
    }

    /// The events above `seq`, or None if they aren't all there. Those that are follow each other.
    fn above(&self, seq: i64, latest: i64) -> Option<Vec<Arc<Publication>>> {
        let from = self
            .events
            .partition_point(|(_, event)| event.position.seq <= seq);
        let first = self.events.get(from);
        let first = first.map_or(latest + 1, |(_, event)| event.position.seq);
        let complete = first == seq + 1 || mutation::on("ring_incomplete");
        let events = || self.events.range(from..).map(|(_, event)| event.clone());
        complete.then(|| events().collect())
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

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
    next_subscriber: AtomicU64,
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
            next_subscriber: AtomicU64::new(1),
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

fn publication(event: Draft, position: Position) -> Arc<Publication> {
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
    })
}

#[async_trait]
impl Topics for LocalTopics {
    async fn publish(&self, draft: Draft) -> Result<Position, Error> {
        let mut shard = self.0.shard(draft.topic);
        let state = self.0.state(&mut shard, draft.topic);
        let position = state.position.next();
        state.accept(
            publication(draft, position),
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
                // Best effort: what finds the feed full is dropped and makes nothing dirty.
                let _ = subscriber
                    .feed
                    .try_send(Delivery::Transient(transient.clone()));
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
        let (feed, events) = mpsc::channel(FEED_EVENTS_MAX);
        let id = self.0.next_subscriber.fetch_add(1, Ordering::Relaxed);
        let feed = LocalSubscriber {
            id,
            feed,
            dirty: Arc::default(),
            telling: Arc::default(),
        };
        (
            Arc::new(Subscription {
                topics: self.0.clone(),
                feed: Arc::new(feed),
            }),
            events,
        )
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
                publication(draft, position),
                &self.0.limits,
                self.0.clock.elapsed(),
            );
        }
    }
}

struct LocalSubscriber {
    id: u64,
    feed: mpsc::Sender<Delivery>,
    /// Topics whose events found the feed full.
    dirty: Arc<Mutex<Vec<TopicKey>>>,
    telling: Arc<AtomicBool>,
}

impl LocalSubscriber {
    fn deliver(&self, topic: TopicKey, delivery: Delivery) {
        if self.feed.try_send(delivery).is_ok() {
            return;
        }
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if !dirty.contains(&topic) {
            dirty.push(topic);
        }
        drop(dirty);
        if !self.telling.swap(true, Ordering::AcqRel) {
            tokio::spawn(tell_dirty(
                self.feed.clone(),
                self.dirty.clone(),
                self.telling.clone(),
            ));
        }
    }
}

/// Waits for room in a feed that overflowed, then tells which topics are dirty.
async fn tell_dirty(
    feed: mpsc::Sender<Delivery>,
    dirty: Arc<Mutex<Vec<TopicKey>>>,
    telling: Arc<AtomicBool>,
) {
    loop {
        let next = dirty.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match next {
            Some(topic) => {
                if feed.send(Delivery::Dirty(topic)).await.is_err() {
                    return;
                }
            }
            None => {
                telling.store(false, Ordering::Release);
                let none = dirty
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .is_empty();
                if none || telling.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
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
