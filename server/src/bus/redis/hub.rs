//! What this node knows of the topics that somebody here subscribed to: who, how far it has heard,
//! and its own rings.

use super::held::Held;
use super::keys::{GROUPS, group_of};
use super::wire::{self, Heard};
use crate::bus::local::feed::LocalSubscriber;
use crate::bus::local::ring::{Ring, RingLimits};
use crate::bus::{Delivery, Publication, Transient};
use crate::clock::Clock;
use crate::model::{Id, Position, TopicKey, UnixMs};
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// Channels of which it is remembered which epoch was heard of.
const HEARD_MAX: usize = 200_000;
/// Bytes of all rings here; beyond them a ring that grows is let go, and Redis's is read.
const BYTES_MAX: usize = 256 << 20;
/// A topic without subscribers is let go after that.
const UNUSED: Duration = Duration::from_secs(5);

struct State {
    /// That of the latest event that came, while none may be missing before it.
    position: Option<Position>,
    /// Without one, the position that Redis had when this was subscribed to already.
    base: Option<Position>,
    /// The latest event that came.
    last: Option<Position>,
    /// The furthest that somebody here was told of.
    told: Option<Position>,
    ring: Ring,
    /// What came ahead of the next event.
    held: Held,
    /// With the position that each was told when it subscribed.
    subscribers: Vec<(Arc<LocalSubscriber>, Position)>,
    /// The connection on which it is subscribed to; 0 for none.
    line: u64,
    /// Subscriptions under way.
    pins: usize,
    unused_since: Duration,
}

impl State {
    fn is_used(&self) -> bool {
        self.pins > 0 || !self.subscribers.is_empty()
    }

    /// What is held goes, too: whoever reads the ring finds it there.
    fn forget(&mut self, total: &AtomicUsize) {
        total.fetch_sub(self.bytes(), Ordering::Relaxed);
        self.ring.clear();
        self.held.take();
        self.position = None;
        self.base = None;
    }

    fn bytes(&self) -> usize {
        self.ring.bytes + self.held.bytes
    }

    /// Whether events before this one have not come.
    fn is_ahead(&self, position: Position) -> bool {
        let behind = |at: Position| at.epoch == position.epoch && position.seq > at.next().seq;
        self.at().is_some_and(behind)
    }

    /// As far as events came, or would have come.
    fn at(&self) -> Option<Position> {
        self.position.or(self.base)
    }

    fn told(&mut self, position: Position) {
        if self.told.is_none_or(|told| !reaches(told, position)) {
            self.told = Some(position);
        }
    }

    /// Redis is so far: later events come, or are missing. Of several who asked at once the one
    /// that was answered first counts, whichever answer is looked at first.
    fn learn(&mut self, position: Position) {
        self.told(position);
        let is_later = |base: Position| base.epoch == position.epoch && base.seq > position.seq;
        if self.base.is_none_or(is_later) {
            self.base = Some(position);
        }
    }
}

/// Whether `a` is not before `b`, as far as that can be told.
fn reaches(a: Position, b: Position) -> bool {
    a.epoch == b.epoch && a.seq >= b.seq
}

type Shard = HashMap<TopicKey, State>;

/// The topics that somebody here subscribed to, by group.
pub(super) struct Hub {
    shards: Vec<Mutex<Shard>>,
    bytes: AtomicUsize,
    limits: RingLimits,
    clock: Arc<dyn Clock>,
    heard: Cache<Id, i64>,
    /// Whether events may overtake each other: one that is ahead is then held back for a moment.
    reorders: bool,
}

impl Hub {
    pub(super) fn new(limits: RingLimits, clock: Arc<dyn Clock>, reorders: bool) -> Self {
        Self {
            shards: (0..GROUPS).map(|_| Mutex::default()).collect(),
            bytes: AtomicUsize::new(0),
            limits,
            clock,
            heard: Cache::new(HEARD_MAX),
            reorders,
        }
    }

    /// The time that events are stamped with.
    pub(super) fn now_ms(&self) -> UnixMs {
        self.clock.wall_ms()
    }

    pub(super) fn limits(&self) -> &RingLimits {
        &self.limits
    }

    fn shard(&self, group: u8) -> MutexGuard<'_, Shard> {
        let shard = self.shards[usize::from(group)].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, topic: TopicKey) -> MutexGuard<'_, Shard> {
        self.shard(group_of(topic.id))
    }

    /// The epoch of a channel that was heard of last; 0 for none.
    pub(super) fn heard(&self, channel: Id) -> i64 {
        self.heard.get(&channel).unwrap_or_default()
    }

    pub(super) fn hear(&self, channel: Id, epoch: i64) {
        if self.heard.get(&channel) != Some(epoch) {
            self.heard.insert(channel, epoch);
        }
    }

    /// Keeps a topic while it is being subscribed to. Answers on which connection it is already.
    pub(super) fn pin(&self, topic: TopicKey) -> u64 {
        let now = self.clock.elapsed();
        let mut shard = self.of(topic);
        let state = shard.entry(topic).or_insert_with(|| State {
            position: None,
            base: None,
            last: None,
            told: None,
            ring: Ring::default(),
            held: Held::default(),
            subscribers: Vec::new(),
            line: 0,
            pins: 0,
            unused_since: now,
        });
        state.pins += 1;
        state.line
    }

    pub(super) fn unpin(&self, topic: TopicKey) {
        if let Some(state) = self.of(topic).get_mut(&topic) {
            state.pins -= 1;
            state.unused_since = self.clock.elapsed();
        }
    }

    /// Says that a topic is subscribed to on a connection.
    pub(super) fn confirm(&self, topic: TopicKey, line: u64) {
        if let Some(state) = self.of(topic).get_mut(&topic) {
            state.line = line;
        }
    }

    /// A connection is gone, and with it what was subscribed to on it.
    pub(super) fn cut(&self, line: u64) {
        for group in 0..=u8::MAX {
            for state in self.shard(group).values_mut().filter(|s| s.line == line) {
                state.line = 0;
            }
        }
    }

    /// Whether a used topic is subscribed to on this connection.
    pub(super) fn is_on(&self, topic: TopicKey, line: u64) -> bool {
        self.of(topic)
            .get(&topic)
            .is_some_and(|state| state.line == line)
    }

    /// The used topics of a group that are not subscribed to on this connection.
    pub(super) fn off(&self, group: u8, line: u64) -> Vec<TopicKey> {
        let shard = self.shard(group);
        let off = shard.iter().filter(|(_, s)| s.is_used() && s.line != line);
        off.map(|(topic, _)| *topic).collect()
    }

    /// From now on every event after `position` is delivered, those included that came meanwhile.
    pub(super) fn join(&self, topic: TopicKey, feed: &Arc<LocalSubscriber>, position: Position) {
        let mut shard = self.of(topic);
        let Some(state) = shard.get_mut(&topic) else {
            return;
        };
        state.learn(position);
        if state
            .subscribers
            .iter()
            .any(|(other, _)| other.id == feed.id)
        {
            return;
        }
        if let Some(at) = state.position.filter(|at| at.epoch == position.epoch) {
            for event in state.ring.above(position.seq, at.seq).into_iter().flatten() {
                feed.deliver(topic, Delivery::Event(event));
            }
        }
        state.subscribers.push((feed.clone(), position));
    }

    pub(super) fn leave(&self, topic: TopicKey, id: u64) {
        if let Some(state) = self.of(topic).get_mut(&topic) {
            state.subscribers.retain(|(feed, _)| feed.id != id);
            state.unused_since = self.clock.elapsed();
        }
    }

    /// What was said of a topic came.
    pub(super) fn heard_of(self: &Arc<Self>, topic: TopicKey, said: &[u8]) {
        match wire::parse(topic, said) {
            Some(Heard::Event(event)) => self.accept(&event),
            Some(Heard::Transient(transient)) => self.announce(&transient),
            Some(Heard::Dirty) => self.lose(topic),
            // Of a newer node perhaps: whoever reads the ring learns as much as there is.
            None => self.lose(topic),
        }
    }

    /// An event came.
    fn accept(self: &Arc<Self>, event: &Arc<Publication>) {
        let topic = event.topic;
        self.hear(topic.id, event.position.epoch);
        let mut shard = self.of(topic);
        let Some(state) = shard.get_mut(&topic) else {
            return;
        };
        if state.last.is_some_and(|last| reaches(last, event.position)) {
            return; // It came before, on another connection or twice.
        }
        let before = state.bytes();
        if self.reorders && state.is_ahead(event.position) {
            let has_room = state.held.keep(event.clone(), self.clock.elapsed())
                && self.bytes.load(Ordering::Relaxed) <= BYTES_MAX;
            if has_room {
                metrics::counter!("chirm_events_held_total").increment(1);
                self.watch(topic, state);
            } else {
                let all = state.held.take();
                self.pass(state, all);
            }
        } else {
            // Of another epoch: what is held is not waited for any more.
            let mut all = Vec::new();
            if state
                .at()
                .is_some_and(|at| at.epoch != event.position.epoch)
            {
                all = state.held.take();
            }
            all.push(event.clone());
            self.pass(state, all);
        }
        self.count(before, state.bytes());
    }

    /// Hands on events, and those held that follow.
    fn pass(&self, state: &mut State, events: Vec<Arc<Publication>>) {
        for event in events {
            self.hand_on(state, &event);
        }
        while let Some(event) = state.position.and_then(|at| state.held.after(at)) {
            self.hand_on(state, &event);
        }
    }

    fn hand_on(&self, state: &mut State, event: &Arc<Publication>) {
        let total = self.bytes.load(Ordering::Relaxed);
        if state.position.map(Position::next) != Some(event.position) || total > BYTES_MAX {
            state.ring.clear();
        }
        (state.position, state.last) = (Some(event.position), Some(event.position));
        let now = self.clock.elapsed();
        state.ring.push(event.clone(), &self.limits, now);
        for (feed, from) in &state.subscribers {
            if !reaches(*from, event.position) {
                feed.deliver(event.topic, Delivery::Event(event.clone()));
            }
        }
    }

    /// Sees to it that what is held goes when its wait is over.
    fn watch(self: &Arc<Self>, topic: TopicKey, state: &mut State) {
        let Some(until) = state.held.until().filter(|_| !state.held.is_watched) else {
            return;
        };
        state.held.is_watched = true;
        let hub = self.clone();
        tokio::spawn(async move {
            let mut until = Some(until);
            while let Some(then) = until {
                sleep(then.saturating_sub(hub.clock.elapsed())).await;
                until = hub.give_up_waiting(topic);
            }
        });
    }

    /// Hands on what waited for too long. Answers when to look again.
    pub(super) fn give_up_waiting(&self, topic: TopicKey) -> Option<Duration> {
        let mut shard = self.of(topic);
        let state = shard.get_mut(&topic)?;
        let before = state.bytes();
        let due = state.held.due(self.clock.elapsed());
        self.pass(state, due);
        self.count(before, state.bytes());
        let until = state.held.until();
        state.held.is_watched = until.is_some();
        until
    }

    fn count(&self, before: usize, after: usize) {
        self.bytes.fetch_add(after, Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
    }

    pub(super) fn announce(&self, transient: &Arc<Transient>) {
        let topic = TopicKey::channel(transient.channel);
        if let Some(state) = self.of(topic).get(&topic) {
            for (feed, _) in &state.subscribers {
                feed.announce(transient.clone());
            }
        }
    }

    /// Events of the topic may be missing.
    pub(super) fn lose(&self, topic: TopicKey) {
        if let Some(state) = self.of(topic).get_mut(&topic) {
            state.forget(&self.bytes);
            for (feed, _) in &state.subscribers {
                feed.mark(topic);
            }
        }
    }

    /// Somebody here was told that the topic is so far.
    pub(super) fn tell(&self, topic: TopicKey, position: Position) {
        if let Some(state) = self.of(topic).get_mut(&topic) {
            state.told(position);
        }
    }

    /// Redis says that the topic is so far.
    pub(super) fn learn(&self, topic: TopicKey, position: Position) {
        if let Some(state) = self.of(topic).get_mut(&topic) {
            state.learn(position);
        }
    }

    /// Whether the topic is behind where Redis is.
    pub(super) fn is_behind(&self, topic: TopicKey, position: Position) -> bool {
        let mut shard = self.of(topic);
        let Some(state) = shard.get_mut(&topic) else {
            return false;
        };
        match state.at() {
            Some(at) => !reaches(at, position),
            None => {
                state.learn(position);
                false
            }
        }
    }

    /// The events after a position, if they are all here for certain.
    pub(super) fn since(&self, topic: TopicKey, from: Position) -> Option<Vec<Arc<Publication>>> {
        let mut shard = self.of(topic);
        let state = shard.get_mut(&topic).filter(|state| state.line != 0)?;
        let at = state.at()?;
        if !reaches(at, state.told?) || !reaches(at, from) || from.seq < 0 {
            return None;
        }
        if at == from {
            return Some(Vec::new());
        }
        let before = state.ring.bytes;
        state.ring.trim(&self.limits, self.clock.elapsed());
        self.count(before, state.ring.bytes);
        state.ring.above(from.seq, at.seq)
    }

    /// The topics of a group that are used.
    pub(super) fn used(&self, group: u8) -> Vec<TopicKey> {
        let shard = self.shard(group);
        let used = shard.iter().filter(|(_, state)| state.is_used());
        used.map(|(topic, _)| *topic).collect()
    }

    /// Lets go of a group's topics that nobody uses any more.
    pub(super) fn let_go(&self, group: u8) -> Vec<(TopicKey, u64)> {
        let now = self.clock.elapsed();
        let mut gone = Vec::new();
        self.shard(group).retain(|topic, state| {
            let keep = state.is_used() || now.saturating_sub(state.unused_since) < UNUSED;
            if !keep {
                state.forget(&self.bytes);
                gone.push((*topic, state.line));
            }
            keep
        });
        gone
    }

    /// Lets go of what no ring need keep any more.
    pub(super) fn trim(&self) {
        let now = self.clock.elapsed();
        for group in 0..=u8::MAX {
            for state in self.shard(group).values_mut() {
                let before = state.ring.bytes;
                state.ring.trim(&self.limits, now);
                self.count(before, state.ring.bytes);
            }
        }
    }
}
