//! A gateway, and a client that reads: live, by replay, by a gap and its page.

use crate::Scenario;
use crate::rules::Rule;
use crate::state::{Content, Event, Paging, Reader, SLOTS, Shown, State};

impl Scenario {
    /// An event reaches the gateway.
    pub(crate) fn hear(&self, state: &mut State, event: Event) {
        let gateway = &mut state.gateway;
        if !gateway.linked || gateway.dirty {
            return;
        }
        let now = (state.redis.epoch, state.redis.seq);
        let next = gateway.position == (now.0, now.1 - 1);
        let held = gateway.position.0 == now.0 && gateway.position.1 >= now.1;
        if held && !self.rules.hold(Rule::EpochOnLoss) {
            return; // At or below a held position: nothing new, it seems.
        }
        if !next && self.rules.hold(Rule::JumpNoticed) {
            gateway.dirty = true;
            return;
        }
        gateway.position = now;
        if state.reader.connected && !self.ignores(&state.reader) {
            state.reader.position = now;
            state.reader.show(event);
        }
    }

    /// A client that takes its position after its page has no use for events before that.
    fn ignores(&self, reader: &Reader) -> bool {
        reader.paging != Paging::None && !self.rules.hold(Rule::PositionBeforePage)
    }

    /// Whether a gateway's check would find nothing to do.
    pub(crate) fn in_step(&self, state: &State) -> bool {
        let redis = &state.redis;
        let forgot = redis.epoch == 0 || redis.restored;
        let differs = state.gateway.position != (redis.epoch, redis.seq) || forgot;
        let silent = forgot || redis.seq == 0;
        let looks = !silent || self.rules.hold(Rule::EpochCheck);
        !(differs && looks && self.rules.hold(Rule::ActiveCheck))
    }

    /// The check of every 5 s.
    pub(crate) fn check(&self, state: &mut State) -> Option<()> {
        if state.gateway.dirty || !state.gateway.linked || self.in_step(state) {
            return None;
        }
        self.enter(state);
        state.gateway.dirty = state.gateway.position != (state.redis.epoch, state.redis.seq);
        Some(())
    }

    /// The gateway subscribes anew after its connection was lost.
    pub(crate) fn relink(&self, state: &mut State) -> Option<()> {
        if state.gateway.linked {
            return None;
        }
        self.enter(state);
        state.gateway.linked = true;
        state.gateway.dirty |= state.gateway.position != (state.redis.epoch, state.redis.seq);
        Some(())
    }

    /// A dirty gateway replays what is missing, or sends a gap.
    pub(crate) fn fill(&self, state: &mut State) -> Option<()> {
        if !state.gateway.dirty || !state.gateway.linked {
            return None;
        }
        self.enter(state);
        state.gateway.dirty = false;
        state.gateway.position = (state.redis.epoch, state.redis.seq);
        let reader = &mut state.reader;
        if !reader.connected {
            return Some(());
        }
        let kept_epoch = !self.rules.hold(Rule::EpochOnLoss);
        if let Some(events) = state.redis.since(reader.position) {
            if !self.ignores(reader) {
                events.iter().for_each(|event| reader.show(*event));
            }
        } else if !(kept_epoch && reader.position >= state.gateway.position) {
            reader.gap();
        }
        reader.position = state.gateway.position;
        Some(())
    }

    /// The reader connects, presenting its position.
    pub(crate) fn connect(&self, state: &mut State) -> Option<()> {
        if state.reader.connected || !state.gateway.linked {
            return None;
        }
        state.reader.connected = true;
        state.gateway.dirty |= state.reader.position != state.gateway.position;
        Some(())
    }

    /// The reader's connection ends. Until its paging ended it holds no position.
    pub(crate) fn disconnect(&self, state: &mut State) -> Option<()> {
        let reader = &mut state.reader;
        if !reader.connected {
            return None;
        }
        state.faults.disconnect = state.faults.disconnect.checked_sub(1)?;
        reader.connected = false;
        if reader.paging != Paging::None {
            reader.position = (0, 0);
            reader.paging = Paging::None;
            reader.page = Default::default();
        }
        Some(())
    }

    /// The page is read from the store.
    pub(crate) fn read_page(&self, state: &mut State) -> Option<()> {
        if state.reader.paging != Paging::Due {
            return None;
        }
        for slot in 0..SLOTS {
            let row = &state.store.rows[slot];
            let named = row.deleted && self.rules.hold(Rule::PagesNameDeleted);
            state.reader.page[slot] = match row.visible() || row.inserted && named {
                true => row.shown(),
                false => Shown::default(),
            };
        }
        state.reader.paging = Paging::Read;
        Some(())
    }

    /// The page reaches the client.
    pub(crate) fn take_page(&self, state: &mut State) -> Option<()> {
        let reader = &mut state.reader;
        if reader.paging != Paging::Read {
            return None;
        }
        for slot in 0..SLOTS {
            let shown = reader.page[slot];
            if shown.content != Content::Nothing {
                let slot = slot as u8;
                reader.show(Event { slot, shown });
            }
        }
        reader.paging = Paging::None;
        reader.page = Default::default();
        if !self.rules.hold(Rule::PositionBeforePage) {
            reader.position = state.gateway.position;
        }
        Some(())
    }

    /// What was in flight when an epoch began is over: who holds a position of before shall page
    /// once more.
    pub(crate) fn settle_epoch(&self, state: &mut State) -> Option<()> {
        if !self.rules.hold(Rule::SecondGap) || self.in_flight(state) {
            return None;
        }
        let redis = &mut state.redis;
        if redis.settled || redis.epoch == 0 || redis.restored {
            return None;
        }
        redis.settled = true;
        if self.rules.hold(Rule::SecondGapByGateway) {
            state.gateway.dirty = true;
            if state.reader.connected {
                state.reader.position = (0, 0);
            }
            return Some(());
        }
        redis.seq += 1;
        redis.ring = Default::default();
        redis.ring_len = 0;
        Some(())
    }

    /// Whether something of an earlier epoch is under way.
    fn in_flight(&self, state: &State) -> bool {
        let epoch = state.redis.epoch;
        let mut attempts = state.attempts.iter().flatten();
        let swept = state.sweep.is_some_and(|sweep| sweep.epoch != epoch);
        swept
            || state.store.late[0].is_some()
            || attempts.any(|attempt| attempt.runs() && attempt.epoch != epoch)
    }
}

impl Reader {
    /// Takes an event, or a message of a page: the highest revision wins, deleted is final.
    fn show(&mut self, event: Event) {
        let held = &mut self.shown[usize::from(event.slot)];
        if held.content == Content::Deleted {
            return;
        }
        if event.shown.content == Content::Deleted {
            self.told_deleted |= 1 << event.slot;
            *held = event.shown;
        } else if event.shown.revision > held.revision {
            *held = event.shown;
        }
    }

    /// Drops what it shows, to page.
    fn gap(&mut self) {
        self.shown = Default::default();
        self.page = Default::default();
        self.paging = Paging::Due;
    }
}
