//! Which messages of a channel the program has had.

use super::step::Bounds;
use chirm_proto::v1;
use std::collections::BTreeMap;

/// Between the least and the most that is remembered, those of the last 30 s before the newest, by
/// the time in their ids: sends in flight over a gap may come in with ids so far below the newest.
const RECENT_AGE_MS: i64 = 30_000;
/// An id is milliseconds above these bits.
const ID_TIME_SHIFT: u32 = 22;

/// The program has had all up to `floor` (or they lie before its time), and of those above exactly
/// the recent ones.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    floor: Option<i64>,
    recent: BTreeMap<i64, Version>,
    /// While the channel is paged: events with ids from here on wait, and pages have them, too.
    waiting_from: Option<i64>,
    #[cfg_attr(not(feature = "mutations"), allow(dead_code))]
    pub(crate) dedupe_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    revision: i64,
    deleted: bool,
}

/// What brought a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Created,
    Updated,
    Deleted,
    Page,
}

/// What a message is to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    New,
    Updated,
    Deleted,
    /// It has had it.
    Nothing,
}

impl Seen {
    /// All up to this id is taken as had; nothing changes if a floor is known.
    pub(crate) fn start_at(&mut self, floor: i64) {
        self.floor.get_or_insert(floor);
    }

    /// How many messages are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.recent.len()
    }

    /// Where paging begins: all above is compared with what is remembered.
    pub(crate) fn floor(&self) -> Option<i64> {
        self.floor
    }

    /// Up to which id the program has had all since its time began. That is the newest that it
    /// had: pages rise, and what comes live waits until they end. All that is remembered lies above
    /// the floor.
    pub(crate) fn last_id(&self) -> Option<i64> {
        let newest = self.recent.last_key_value().map(|(id, _)| *id);
        newest.or(self.floor)
    }

    /// What the message is to the program; from now on it has had it.
    pub(crate) fn take(&mut self, message: &v1::Message, origin: Origin) -> News {
        if self.dedupe_off {
            return match origin {
                Origin::Created | Origin::Page => News::New,
                Origin::Updated => News::Updated,
                Origin::Deleted => News::Deleted,
            };
        }
        let version = Version {
            revision: message.revision,
            deleted: message.deleted || origin == Origin::Deleted,
        };
        if self.floor.is_none() && origin == Origin::Created {
            self.floor = Some(message.id - 1);
        }
        if let Some(had) = self.recent.get_mut(&message.id) {
            return if had.deleted {
                News::Nothing
            } else if version.deleted {
                *had = version;
                News::Deleted
            } else if version.revision > had.revision {
                *had = version;
                News::Updated
            } else {
                News::Nothing
            };
        }
        if self.floor.is_none_or(|floor| message.id <= floor) {
            // Its position is new, or it wouldn't be here. An id so late was never remembered.
            return match origin {
                Origin::Page => News::Nothing,
                Origin::Deleted => News::Deleted,
                Origin::Updated => News::Updated,
                Origin::Created => News::New,
            };
        }
        self.recent.insert(message.id, version);
        match origin {
            Origin::Deleted => News::Deleted,
            _ if version.deleted => News::Nothing,
            _ => News::New,
        }
    }

    /// A page named the id as deleted: whether the program has it and doesn't know.
    pub(crate) fn take_deleted(&mut self, id: i64) -> bool {
        if self.dedupe_off || self.floor.is_none_or(|floor| id <= floor) {
            return false;
        }
        let gone = Version {
            revision: 0,
            deleted: true,
        };
        let had = self.recent.insert(id, gone);
        had.is_some_and(|version| !version.deleted)
    }

    /// From which id on nothing is forgotten because events of it wait; `None`: none do.
    pub(crate) fn keep_from(&mut self, first_waiting: Option<i64>) {
        self.waiting_from = first_waiting;
    }

    /// Keeps the memory within its limits. Called when a whole page, or an event, was taken: what a
    /// page says of a message must still find it remembered.
    pub(crate) fn forget_old(&mut self, bounds: &Bounds) {
        let Some(newest) = self.recent.last_key_value().map(|(id, _)| *id) else {
            return;
        };
        while self.recent.len() > bounds.recent_min {
            let Some(oldest) = self.recent.first_entry() else {
                return;
            };
            let age_ms = (newest >> ID_TIME_SHIFT) - (oldest.key() >> ID_TIME_SHIFT);
            let id = *oldest.key();
            if age_ms <= RECENT_AGE_MS && self.recent.len() <= bounds.recent_max {
                return;
            }
            let is_waited_for = self.waiting_from.is_some_and(|from| id >= from);
            if is_waited_for && self.recent.len() <= bounds.recent_paging_max {
                return;
            }
            self.recent.remove(&id);
            self.floor = self.floor.max(Some(id));
        }
    }
}
