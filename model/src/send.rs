//! A send, step by step, on one node. Anything may happen between two steps.

use crate::rules::Rule;
use crate::state::{ATTEMPTS, Attempt, Content, Event, Nonce, Shown, Slot, State, Step, Write};
use crate::store::text_of;
use crate::{Fate, Scenario, node_of};

/// Which attempt at which send.
#[derive(Clone, Copy)]
pub(crate) struct Try {
    pub(crate) operation: usize,
    pub(crate) attempt: usize,
    pub(crate) send: usize,
}

impl Try {
    /// The message that this attempt makes, if it makes one.
    fn own(&self) -> Slot {
        (self.send * ATTEMPTS + self.attempt) as Slot
    }

    fn node(&self) -> usize {
        node_of(self.operation, self.attempt)
    }
}

impl Scenario {
    /// The next step of an attempt at a send. None if it can't end so.
    pub(crate) fn step_send(&self, state: &mut State, at: Try, fate: Fate) -> Option<()> {
        let mut attempt = state.attempts[at.operation][at.attempt];
        let lost = fate == Fate::EventLost;
        match attempt.step {
            _ if fate == Fate::IsShed => self.give_back(state, at, &mut attempt)?,
            Step::Reserve => self.reserve_send(state, at, &mut attempt),
            Step::ReadNonce => {
                if self.rules.hold(Rule::DurableNonce) {
                    attempt.slot = state.named(at.send);
                }
                attempt.reread = true;
                attempt.step = Step::Reserve;
            }
            Step::ReadNewest => {
                attempt.newest = Some(state.newest());
                attempt.step = Step::Reserve;
            }
            Step::ReadRow => self.read_row(state, at, &mut attempt)?,
            Step::WriteNonce => self.write_nonce_row(state, at, &mut attempt, fate)?,
            Step::WriteRow => {
                let write = Write::Insert(attempt.slot?);
                match self.write(state, write, fate == Fate::TimesOut)? {
                    true => attempt.step = self.after_row(),
                    false => attempt.end(Step::Dead),
                }
                if self.rules.hold(Rule::RefusedRepeats) && attempt.runs() {
                    attempt.wrote = attempt.slot;
                }
            }
            Step::Publish => self.publish_send(state, at, &mut attempt, lost)?,
            Step::Acknowledge => {
                self.acknowledge_send(state, at, attempt.slot?);
                attempt.end(Step::Done);
            }
            _ => self.settle(state, at, &mut attempt, lost)?,
        }
        state.attempts[at.operation][at.attempt] = attempt;
        Some(())
    }

    fn reserve_send(&self, state: &mut State, at: Try, attempt: &mut Attempt) {
        self.enter(state);
        let named = self.rules.hold(Rule::ReserveNamesEpoch);
        if named && attempt.epoch != state.redis.epoch {
            attempt.epoch = state.redis.epoch;
            attempt.slot = None;
            attempt.newest = None;
            attempt.step = Step::ReadNonce;
            return;
        }
        attempt.epoch = state.redis.epoch;
        let holder = state.redis.nonces[at.send];
        if holder.is_some() && attempt.wrote.is_some_and(|wrote| Some(wrote) != holder) {
            attempt.other = holder;
            attempt.step = Step::DeleteOwn;
        } else if holder.is_some() && holder == attempt.other {
            let highest = state.redis.highest;
            self.take_new_id(state, at, attempt, highest);
        } else if let Some(slot) = holder {
            state.join(slot);
            attempt.slot = holder;
            attempt.step = Step::ReadRow;
        } else if let Some(slot) = attempt.slot {
            state.redis.nonces[at.send] = Some(slot);
            state.redis.add_pending(slot);
            state.join(slot);
            attempt.step = Step::ReadRow;
        } else if let Some(floor) = self.floor(state, attempt.newest) {
            self.take_new_id(state, at, attempt, floor);
        } else {
            attempt.step = Step::ReadNewest;
        }
    }

    fn take_new_id(&self, state: &mut State, at: Try, attempt: &mut Attempt, floor: u8) {
        let own = at.own();
        let id = self.mint(state, at.node(), floor, 0);
        state.ids[usize::from(own)] = id;
        state.redis.highest = id;
        state.redis.nonces[at.send] = Some(own);
        state.redis.add_pending(own);
        attempt.slot = Some(own);
        attempt.other = None;
        attempt.shown = created(state, own);
        attempt.step = match self.rules.hold(Rule::PersistBeforePublish) {
            true => Step::WriteNonce,
            false => Step::Publish,
        };
        if !self.rules.hold(Rule::PersistBeforeAcknowledge) {
            self.acknowledge_send(state, at, own);
        }
    }

    fn read_row(&self, state: &State, at: Try, attempt: &mut Attempt) -> Option<()> {
        let slot = attempt.slot?;
        let row = *state.row(slot);
        if row.deleted {
            self.meet_deleted(attempt);
        } else if row.exists() {
            attempt.shown = row.shown();
            attempt.step = Step::Publish;
        } else if self.rules.hold(Rule::RepeatKeepsId) || state.ids[usize::from(at.own())] != 0 {
            attempt.shown = created(state, slot);
            attempt.step = Step::WriteNonce;
        } else {
            // Without the rule it takes the nonce from the other, and an id of its own.
            attempt.other = Some(slot);
            attempt.step = Step::Reserve;
        }
        Some(())
    }

    fn meet_deleted(&self, attempt: &mut Attempt) {
        match self.rules.hold(Rule::DeletedIsNotAcknowledged) {
            true => attempt.end(Step::Dead),
            false => attempt.step = Step::Acknowledge,
        }
    }

    fn write_nonce_row(
        &self,
        state: &mut State,
        at: Try,
        attempt: &mut Attempt,
        fate: Fate,
    ) -> Option<()> {
        let slot = attempt.slot?;
        let id = state.ids[usize::from(slot)];
        let repeat = at.attempt > 0 || attempt.reread;
        let lightweight = self.rules.hold(Rule::LightweightAlways)
            || repeat && self.rules.hold(Rule::LightweightOnRepeats);
        let write = match lightweight {
            true => Write::NonceIfAbsent(Nonce {
                at: state.now(),
                slot,
            }),
            false => Write::Nonce(Nonce { at: id, slot }),
        };
        if !self.write(state, write, fate == Fate::TimesOut)? {
            attempt.end(Step::Dead);
            return Some(());
        }
        attempt.step = Step::WriteRow;
        let winner = state.named(at.send)?;
        if lightweight && winner != slot {
            self.enter(state);
            if attempt.epoch != state.redis.epoch {
                attempt.end(Step::Dead);
                return Some(());
            }
            if state.redis.nonces[at.send] == Some(slot) {
                state.redis.nonces[at.send] = Some(winner);
                state.redis.add_pending(winner);
            }
            attempt.slot = Some(winner);
            attempt.step = Step::ReadRow;
        }
        Some(())
    }

    /// It ends, nothing being written by it, and gives back what it reserved.
    fn give_back(&self, state: &mut State, at: Try, attempt: &mut Attempt) -> Option<()> {
        state.faults.shed = state.faults.shed.checked_sub(1)?;
        let slot = attempt.slot?;
        let alone = slot == at.own() && state.redis.joined >> slot & 1 == 0;
        if alone || !self.rules.hold(Rule::GivenBackAlone) {
            state.redis.remove_pending(slot);
            let held = &mut state.redis.nonces[at.send];
            *held = held.filter(|held| *held != slot);
        }
        attempt.end(Step::Dead);
        Some(())
    }

    fn after_row(&self) -> Step {
        match self.rules.hold(Rule::PersistBeforePublish) {
            true => Step::Publish,
            false => Step::Acknowledge,
        }
    }

    fn publish_send(
        &self,
        state: &mut State,
        at: Try,
        attempt: &mut Attempt,
        lost: bool,
    ) -> Option<()> {
        self.enter(state);
        let slot = attempt.slot?;
        let names_epoch = self.rules.hold(Rule::PublishNamesEpoch);
        let refused = names_epoch && attempt.epoch != state.redis.epoch;
        let holder = state.redis.nonces[at.send];
        if self.rules.hold(Rule::LightweightAlways) && !refused {
            state.redis.nonces[at.send] = Some(slot);
        } else if refused || holder != Some(slot) {
            if lost {
                return None;
            }
            self.refuse(state, attempt, slot, refused, holder);
            return Some(());
        }
        let event = Event {
            slot,
            shown: attempt.shown,
        };
        if self.marked(state, event) {
            if lost {
                return None;
            }
            state.redis.remove_pending(slot);
            self.meet_deleted(attempt);
            return Some(());
        }
        self.append(state, event, lost)?;
        state.redis.remove_pending(slot);
        attempt.step = match self.rules.hold(Rule::PersistBeforePublish) {
            true => Step::Acknowledge,
            false => Step::WriteNonce,
        };
        Some(())
    }

    /// Its publishing is refused: the sweeper finishes, and the client repeats; or, in the other
    /// way, the node sees to it.
    fn refuse(
        &self,
        state: &mut State,
        attempt: &mut Attempt,
        slot: Slot,
        epoch_changed: bool,
        holder: Option<Slot>,
    ) {
        if self.rules.hold(Rule::RefusedIsPending) {
            state.redis.add_pending(slot);
        }
        if self.rules.hold(Rule::RefusedRepeats) {
            attempt.slot = None;
            attempt.step = Step::Reserve;
            return;
        }
        if !self.rules.hold(Rule::NodeSettles) {
            attempt.end(Step::Dead);
            return;
        }
        match holder {
            _ if epoch_changed => {
                attempt.epoch = state.redis.epoch;
                attempt.step = Step::Reread;
            }
            None => attempt.step = Step::Reread,
            Some(_) => {
                attempt.other = holder;
                attempt.step = Step::DeleteOwn;
            }
        }
    }

    /// The steps of a node that settles itself what became of its nonce.
    fn settle(&self, state: &mut State, at: Try, attempt: &mut Attempt, lost: bool) -> Option<()> {
        let slot = attempt.slot.or(attempt.wrote)?;
        match attempt.step {
            Step::Reread => {
                let row = *state.row(slot);
                match state.named(at.send).filter(|named| *named != slot) {
                    _ if row.deleted => self.meet_deleted(attempt),
                    named => {
                        attempt.shown = row.shown();
                        attempt.other = named;
                        attempt.step = Step::Claim;
                    }
                }
            }
            Step::Claim => {
                self.enter(state);
                if attempt.epoch != state.redis.epoch {
                    attempt.epoch = state.redis.epoch;
                    attempt.step = Step::Reread;
                    return Some(());
                }
                let holder = state.redis.nonces[at.send];
                let holder = holder.unwrap_or(attempt.other.unwrap_or(slot));
                state.redis.nonces[at.send] = Some(holder);
                if holder == slot {
                    attempt.step = Step::Publish;
                } else {
                    state.redis.add_pending(holder);
                    attempt.other = Some(holder);
                    attempt.step = Step::DeleteOwn;
                }
            }
            Step::DeleteOwn if attempt.wrote.is_some() => {
                self.delete_duplicate(state, attempt.wrote?, attempt.other?);
                attempt.wrote = None;
                attempt.other = None;
                attempt.step = Step::Reserve;
            }
            Step::DeleteOwn => {
                self.delete_duplicate(state, slot, attempt.other?);
                attempt.step = Step::TellDeleted;
            }
            Step::TellDeleted => {
                self.enter(state);
                let shown = state.row(slot).shown();
                state.redis.remove_pending(slot);
                self.append(state, Event { slot, shown }, lost)?;
                attempt.slot = attempt.other.take();
                attempt.step = Step::Reserve;
            }
            _ => return None,
        }
        Some(())
    }

    /// Deletes a message whose nonce another one has.
    pub(crate) fn delete_duplicate(&self, state: &mut State, slot: Slot, other: Slot) {
        let revision = state.ids[usize::from(slot)];
        self.apply(state, Write::Delete(slot, revision));
        if self.rules.hold(Rule::NonceRewritten) {
            let at = state.now();
            self.apply(state, Write::Nonce(Nonce { at, slot: other }));
        }
    }

    /// The client takes the answer to its latest call only.
    fn acknowledge_send(&self, state: &mut State, at: Try, slot: Slot) {
        let operation = &mut state.operations[at.operation];
        if usize::from(operation.attempts) != at.attempt + 1 {
            return;
        }
        operation.acknowledged = Some(slot);
        let id = state.ids[usize::from(slot)];
        state.sank |= id <= state.operations[at.operation].seen;
    }
}

/// A message as it is created.
fn created(state: &State, slot: Slot) -> Shown {
    Shown {
        revision: state.ids[usize::from(slot)],
        content: Content::Text(text_of(slot)),
    }
}
