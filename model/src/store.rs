//! ScyllaDB: what a write does, whenever it comes to be applied.

use crate::Scenario;
use crate::redis::millisecond;
use crate::rules::Rule;
use crate::state::{Cell, Nonce, Row, Slot, State, Write};

impl Scenario {
    /// Applies a write.
    pub(crate) fn apply(&self, state: &mut State, write: Write) {
        if !self.rules.hold(Rule::TimesOfIds) {
            state.store.arrivals += 1;
        }
        match write {
            Write::Nonce(nonce) => self.write_nonce(state, nonce),
            Write::NonceIfAbsent(nonce) => {
                let named = &mut state.store.nonces[send_of(nonce.slot)];
                if named.is_none() {
                    *named = Some(nonce);
                }
            }
            Write::Insert(slot) => {
                let id = state.ids[usize::from(slot)];
                let at = self.time(state, id);
                let row = self.row(state, slot);
                row.inserted = true;
                let value = text_of(slot);
                row.text = row.text.max(Cell { at, value });
                row.revision = row.revision.max(Cell { at, value: id });
            }
            Write::Edit(slot, revision, value) => {
                let at = self.time(state, revision);
                let row = self.row(state, slot);
                row.text = row.text.max(Cell { at, value });
                let value = revision;
                row.revision = row.revision.max(Cell { at, value });
            }
            Write::Delete(slot, revision) => {
                let at = self.time(state, revision);
                let row = self.row(state, slot);
                row.deleted = true;
                let value = revision;
                row.revision = row.revision.max(Cell { at, value });
            }
        }
    }

    fn write_nonce(&self, state: &mut State, nonce: Nonce) {
        let at = match self.rules.hold(Rule::TimesOfIds) {
            true => nonce.at,
            false => state.store.arrivals,
        };
        let named = &mut state.store.nonces[send_of(nonce.slot)];
        if named.is_none_or(|named| at > named.at) {
            *named = Some(Nonce { at, ..nonce });
        }
    }

    /// The row to write to. Without the rule, every write that isn't a delete brings it back.
    fn row<'a>(&self, state: &'a mut State, slot: Slot) -> &'a mut Row {
        let row = &mut state.store.rows[usize::from(slot)];
        if !self.rules.hold(Rule::DeletedIsFinal) {
            row.deleted = false;
        }
        row
    }

    fn time(&self, state: &State, id: u8) -> u8 {
        match self.rules.hold(Rule::TimesOfIds) {
            true => millisecond(id),
            false => state.store.arrivals,
        }
    }

    /// Writes, or leaves the write under way: it is applied later, or never. None if no more may be
    /// late. Says whether it was applied.
    pub(crate) fn write(&self, state: &mut State, write: Write, late: bool) -> Option<bool> {
        if !late {
            self.apply(state, write);
            return Some(true);
        }
        let place = state.store.late.iter().position(Option::is_none)?;
        state.faults.late = state.faults.late.checked_sub(1)?;
        state.store.late[place] = Some(write);
        Some(false)
    }

    /// A write that was under way is applied, or is lost.
    pub(crate) fn land(&self, state: &mut State, place: usize, applied: bool) -> Option<()> {
        let write = state.store.late[place].take()?;
        if applied {
            self.apply(state, write);
        }
        // Which place a write has means nothing.
        if state.store.late[0].is_none() {
            state.store.late.swap(0, 1);
        }
        Some(())
    }
}

impl State {
    pub(crate) fn row(&self, slot: Slot) -> &Row {
        &self.store.rows[usize::from(slot)]
    }

    /// The message that a nonce's row names.
    pub(crate) fn named(&self, send: usize) -> Option<Slot> {
        self.store.nonces[send].map(|nonce| nonce.slot)
    }

    /// The newest id that is stored.
    pub(crate) fn newest(&self) -> u8 {
        let rows = self.store.rows.iter().zip(self.ids);
        let ids = rows.filter_map(|(row, id)| row.exists().then_some(id));
        ids.max().unwrap_or(0)
    }

    /// A time later than all that were written.
    pub(crate) fn now(&self) -> u8 {
        self.last[0].max(self.last[1]) + 1
    }
}

/// The send that a slot belongs to.
pub(crate) fn send_of(slot: Slot) -> usize {
    usize::from(slot) / crate::state::ATTEMPTS
}

/// The text that a send has: between those of the two edits.
pub(crate) fn text_of(slot: Slot) -> u8 {
    crate::TEXT_LOW + 1 + send_of(slot) as u8
}
