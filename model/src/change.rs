//! An edit or a delete, step by step; and the sweeper, which ends what others left.

use crate::rules::Rule;
use crate::state::{ATTEMPTS, Attempt, Content, Event, SLOTS, Slot, State, Step, Sweep, Write};
use crate::store::send_of;
use crate::{Change, Fate, Kind, Scenario, node_of};

/// Bits of the pending set.
pub(crate) const BITS: u8 = (SLOTS + crate::state::OPERATIONS * ATTEMPTS) as u8;

/// The bit of an attempt at a change.
fn bit_of(operation: usize, attempt: usize) -> u8 {
    (SLOTS + operation * ATTEMPTS + attempt) as u8
}

impl Scenario {
    /// The next step of an attempt at a change. None if it can't end so.
    pub(crate) fn step_change(
        &self,
        state: &mut State,
        (operation, index): (usize, usize),
        change: Change,
        fate: Fate,
    ) -> Option<()> {
        let mut attempt = state.attempts[operation][index];
        let target = state.operations[operation].target?;
        let bit = bit_of(operation, index);
        match attempt.step {
            Step::ReadTarget => {
                let row = state.row(target);
                attempt.shown = row.shown();
                match row.visible() {
                    true => attempt.step = Step::Reserve,
                    false if row.deleted && change == Change::Delete => {
                        attempt.step = Step::Acknowledge;
                    }
                    false => attempt.end(Step::Dead),
                }
            }
            Step::ReadNewest => {
                attempt.newest = Some(state.newest());
                attempt.step = Step::Reserve;
            }
            Step::Reserve => {
                let node = node_of(operation, index);
                self.reserve_change(state, &mut attempt, node, bit);
                let marks = change == Change::Delete && self.rules.hold(Rule::MarkAtReserve);
                if marks && attempt.step == Step::WriteRow {
                    state.redis.deleted |= 1 << target;
                }
            }
            Step::WriteRow => {
                let write = change.write(target, attempt.revision);
                match self.write(state, write, fate == Fate::TimesOut)? {
                    true => attempt.step = Step::Reread,
                    false => attempt.end(Step::Dead),
                }
            }
            Step::Reread => {
                attempt.shown = state.row(target).shown();
                attempt.step = Step::Publish;
            }
            Step::Publish => {
                let lost = fate == Fate::EventLost;
                self.publish_change(state, &mut attempt, (target, bit), lost)?;
            }
            Step::Acknowledge => {
                let known = &mut state.operations[operation];
                if usize::from(known.attempts) == index + 1 {
                    known.acknowledged = Some(target);
                }
                attempt.end(Step::Done);
            }
            _ => return None,
        }
        state.attempts[operation][index] = attempt;
        Some(())
    }

    fn reserve_change(&self, state: &mut State, attempt: &mut Attempt, node: usize, bit: u8) {
        self.enter(state);
        let Some(floor) = self.floor(state, attempt.newest) else {
            attempt.step = Step::ReadNewest;
            return;
        };
        let own = attempt.shown.revision;
        attempt.epoch = state.redis.epoch;
        attempt.revision = self.mint(state, node, floor.max(own), own);
        state.redis.highest = attempt.revision;
        state.redis.add_pending(bit);
        attempt.step = Step::WriteRow;
    }

    fn publish_change(
        &self,
        state: &mut State,
        attempt: &mut Attempt,
        (slot, bit): (Slot, u8),
        lost: bool,
    ) -> Option<()> {
        self.enter(state);
        let shown = attempt.shown;
        let event = Event { slot, shown };
        let names_epoch = self.rules.hold(Rule::PublishNamesEpoch);
        let refused = names_epoch && attempt.epoch != state.redis.epoch;
        if lost && (refused || self.marked(state, event)) {
            return None;
        }
        if refused {
            // Refused or not: its message is deleted.
            if shown.content == Content::Deleted && self.rules.hold(Rule::MarkAtPublish) {
                state.redis.deleted |= 1 << slot;
            }
            if self.rules.hold(Rule::RefusedIsPending) {
                state.redis.add_pending(bit);
            }
            let repeats = self.rules.hold(Rule::RefusedRepeats);
            match repeats || self.rules.hold(Rule::NodeSettles) {
                true => {
                    attempt.epoch = state.redis.epoch;
                    attempt.step = Step::Reread;
                }
                false => attempt.end(Step::Dead),
            }
            return Some(());
        }
        if !self.marked(state, event) {
            self.append(state, event, lost)?;
        }
        state.redis.remove_pending(bit);
        attempt.step = Step::Acknowledge;
        Some(())
    }

    /// Whether the sweeper finds something to do for a pending operation: the message, and whether
    /// it must write the delete first.
    pub(crate) fn sweepable(&self, state: &State, bit: u8) -> Option<(Slot, bool)> {
        if !state.redis.is_pending(bit) || !self.rules.hold(Rule::Sweeper) {
            return None;
        }
        let Some(at) = usize::from(bit).checked_sub(SLOTS) else {
            return state.row(bit).exists().then_some((bit, false));
        };
        let (operation, index) = (at / ATTEMPTS, at % ATTEMPTS);
        let slot = state.operations[operation].target?;
        let row = state.row(slot);
        if !row.exists() {
            return None;
        }
        let Kind::Change(change) = self.operations[operation] else {
            return None;
        };
        let revision = state.attempts[operation][index].revision;
        let behind = self.rules.hold(Rule::SweepAtRevision) && row.revision.value < revision;
        match change {
            Change::Delete if row.deleted => Some((slot, false)),
            Change::Delete => Some((slot, self.rules.hold(Rule::SweepWritesDelete))),
            Change::Edit(_) if behind && !row.deleted => None,
            Change::Edit(_) => Some((slot, false)),
        }
    }

    /// The sweeper takes an operation up: it reads the message, and the nonce's row.
    pub(crate) fn sweep_take(&self, state: &mut State, bit: u8) -> Option<()> {
        let (slot, delete) = self.sweepable(state, bit)?;
        self.enter(state);
        if state.sweep.is_some() || !state.redis.is_pending(bit) {
            return None;
        }
        if delete {
            let at = usize::from(bit) - SLOTS;
            let revision = state.attempts[at / ATTEMPTS][at % ATTEMPTS].revision;
            self.apply(state, Write::Delete(slot, revision));
        }
        let shown = state.row(slot).shown();
        let named = state.named(send_of(slot));
        state.sweep = Some(Sweep {
            bit,
            event: Event { slot, shown },
            epoch: state.redis.epoch,
            named,
            other: None,
        });
        Some(())
    }

    /// The sweeper publishes what it took up, or finds that another message has its nonce.
    pub(crate) fn sweep_publish(&self, state: &mut State, lost: bool) -> Option<()> {
        let sweep = state.sweep.filter(|sweep| sweep.other.is_none())?;
        self.enter(state);
        state.sweep = None;
        let names_epoch = self.rules.hold(Rule::PublishNamesEpoch);
        if names_epoch && sweep.epoch != state.redis.epoch {
            return (!lost).then_some(());
        }
        let is_send = usize::from(sweep.bit) < SLOTS;
        if is_send && sweep.event.shown.content != Content::Deleted {
            let other = self.holder(state, sweep);
            if other != sweep.event.slot {
                let other = Some(other);
                state.sweep = Some(Sweep { other, ..sweep });
                return (!lost).then_some(());
            }
        }
        if self.marked(state, sweep.event) {
            state.redis.remove_pending(sweep.bit);
            return (!lost).then_some(());
        }
        self.append(state, sweep.event, lost)?;
        state.redis.remove_pending(sweep.bit);
        Some(())
    }

    /// Which message has the nonce: by Redis; if that knows none, the one that the row names.
    fn holder(&self, state: &mut State, sweep: Sweep) -> Slot {
        let own = sweep.event.slot;
        let always = self.rules.hold(Rule::LightweightAlways);
        if always || self.rules.hold(Rule::LightweightOnRepeats) {
            return sweep.named.unwrap_or(own);
        }
        let known = &mut state.redis.nonces[send_of(own)];
        let holder = known.unwrap_or(sweep.named.unwrap_or(own));
        *known = Some(holder);
        if holder != own {
            state.redis.add_pending(holder);
        }
        holder
    }

    /// The sweeper deletes what it took up, another message having its nonce.
    pub(crate) fn sweep_delete(&self, state: &mut State) -> Option<()> {
        let sweep = state.sweep?;
        let other = sweep.other?;
        self.delete_duplicate(state, sweep.event.slot, other);
        if !self.rules.hold(Rule::DuplicateIsTold) {
            state.redis.remove_pending(sweep.bit);
        }
        state.sweep = None;
        Some(())
    }

    /// After ten minutes the sweeper gives up what it didn't find.
    pub(crate) fn sweep_drop(&self, state: &mut State, bit: u8) -> Option<()> {
        if !state.redis.is_pending(bit) || self.sweepable(state, bit).is_some() {
            return None;
        }
        self.ten_minutes(state)?;
        state.redis.remove_pending(bit);
        let is_send = usize::from(bit) < SLOTS;
        if is_send && self.rules.hold(Rule::SweepSeals) {
            let revision = state.ids[usize::from(bit)];
            self.apply(state, Write::Delete(bit, revision));
            state.redis.deleted |= 1 << bit;
            let known = &mut state.redis.nonces[send_of(bit)];
            known.take_if(|slot| *slot == bit);
        }
        Some(())
    }

    /// Ten minutes pass: no operation that was under way is taken any more.
    pub(crate) fn ten_minutes(&self, state: &mut State) -> Option<()> {
        state.faults.expiry = state.faults.expiry.checked_sub(1)?;
        if self.rules.hold(Rule::OldIsRefused) {
            let attempts = state.attempts.iter_mut().flatten();
            attempts
                .filter(|attempt| attempt.runs())
                .for_each(|attempt| attempt.end(Step::Dead));
            state.sweep = None;
        }
        Some(())
    }
}

impl Change {
    fn write(self, slot: Slot, revision: u8) -> Write {
        match self {
            Change::Edit(text) => Write::Edit(slot, revision, text),
            Change::Delete => Write::Delete(slot, revision),
        }
    }
}
