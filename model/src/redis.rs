//! Redis: what its scripts do, and how it forgets.

use crate::rules::Rule;
use crate::state::{Content, Event, RING, Redis, Slot, State};
use crate::{Change, Kind, Scenario};

impl Scenario {
    /// How every script begins: memory that was, or may have been, lost shows as a new epoch.
    pub(crate) fn enter(&self, state: &mut State) {
        let redis = &mut state.redis;
        if redis.epoch != 0 && !redis.restored {
            return;
        }
        redis.restored = false;
        if !self.rules.hold(Rule::EpochOnLoss) {
            redis.epoch = 1;
            return;
        }
        state.epochs += 1;
        redis.epoch = state.epochs;
        redis.settled = false;
        redis.seq = 0;
        redis.highest = 0;
        redis.ring = Default::default();
        redis.ring_len = 0;
        if self.rules.hold(Rule::NonceOfEpoch) {
            redis.nonces = Default::default();
        }
    }

    /// A new id of a node's: the least above a floor and above its last.
    pub(crate) fn mint(&self, state: &mut State, node: usize, floor: u8, revision: u8) -> u8 {
        let above = floor.max(state.last[node]);
        let mut id = above + 1;
        if usize::from(id % 2) != node {
            id += 1;
        }
        if revision > 0 && self.rules.hold(Rule::RevisionNextMillisecond) {
            while millisecond(id) <= millisecond(revision) {
                id += 2;
            }
        }
        state.last[node] = id;
        id
    }

    /// Below what no id may be that is reserved now. None: the store's newest must be read first.
    pub(crate) fn floor(&self, state: &State, newest: Option<u8>) -> Option<u8> {
        if state.redis.highest > 0 {
            return Some(state.redis.highest);
        }
        // Redis's clock, and the two seconds that ids may be ahead of it.
        let ahead = self.rules.hold(Rule::FloorOfEpoch) && !self.clock_set_back;
        let clock = match ahead {
            true => state.last[0].max(state.last[1]),
            false => 0,
        };
        if self.rules.hold(Rule::FloorOfStore) {
            return newest.map(|newest| newest.max(clock));
        }
        Some(clock)
    }

    /// Raises the position, appends to the ring, and tells the subscribers, unless the event is
    /// lost. None if no event may be lost any more.
    pub(crate) fn append(&self, state: &mut State, event: Event, lost: bool) -> Option<()> {
        if lost {
            state.faults.lost = state.faults.lost.checked_sub(1)?;
        }
        if let Content::Text(_) = event.shown.content
            && self.is_deleted_for_good(state, event.slot)
        {
            state.returned = true;
        }
        let id = state.ids[usize::from(event.slot)];
        let redis = &mut state.redis;
        redis.seq += 1;
        redis.push(event);
        if event.shown.content == Content::Deleted && self.rules.hold(Rule::MarkAtPublish) {
            redis.deleted |= 1 << event.slot;
        }
        if redis.highest > 0 || !self.rules.hold(Rule::PublishKeepsHighest) {
            redis.highest = redis.highest.max(id).max(event.shown.revision);
        }
        if !lost {
            self.hear(state, event);
        }
        Some(())
    }

    /// Whether what is to be published is marked as deleted.
    pub(crate) fn marked(&self, state: &State, event: Event) -> bool {
        self.rules.hold(Rule::MarkHolds)
            && event.shown.content != Content::Deleted
            && state.redis.deleted >> event.slot & 1 == 1
    }

    /// Whether a delete of this message was acknowledged.
    fn is_deleted_for_good(&self, state: &State, slot: Slot) -> bool {
        let mut kinds = self.operations.iter().zip(&state.operations);
        kinds.any(|(kind, operation)| {
            *kind == Kind::Change(Change::Delete) && operation.acknowledged == Some(slot)
        })
    }
}

impl State {
    /// A repeat goes on with a message. Once nothing can be shed any more, nobody asks.
    pub(crate) fn join(&mut self, slot: Slot) {
        if self.redis.is_pending(slot) && self.faults.shed > 0 {
            self.redis.joined |= 1 << slot;
        }
    }
}

impl Redis {
    fn push(&mut self, event: Event) {
        if usize::from(self.ring_len) == RING {
            self.ring.rotate_left(1);
            self.ring_len -= 1;
        }
        self.ring[usize::from(self.ring_len)] = event;
        self.ring_len += 1;
    }

    /// The events after a position, or None if they aren't all there.
    pub(crate) fn since(&self, position: (u8, u8)) -> Option<&[Event]> {
        let missing = self.seq.checked_sub(position.1)?;
        if position.0 != self.epoch || missing > self.ring_len {
            return None;
        }
        let len = usize::from(self.ring_len);
        Some(&self.ring[len - usize::from(missing)..len])
    }

    pub(crate) fn is_pending(&self, bit: u8) -> bool {
        self.pending >> bit & 1 == 1
    }

    pub(crate) fn add_pending(&mut self, bit: u8) {
        self.pending |= 1 << bit;
    }

    pub(crate) fn remove_pending(&mut self, bit: u8) {
        self.pending &= !(1 << bit);
    }
}

/// The millisecond of an id or a revision: two fit into each.
pub(crate) fn millisecond(id: u8) -> u8 {
    id / 2
}
