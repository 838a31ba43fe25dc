//! The members of one server, as far as somebody here needs them.

use super::list::{GROUPS, List, Place};
use super::range::{Change, Range};
use super::{RangeKey, SMALL};
use crate::model::Id;
use std::collections::{HashMap, HashSet};
use tokio::time::Instant;

/// What changed while the members were being read; beyond, they are read again.
const MISSED_MAX: usize = 10_000;

/// What is known of the members.
pub(super) enum Members {
    /// Nothing yet.
    Unknown,
    /// They are many, and nobody looks at them.
    Many,
    /// All of them.
    All(List),
}

/// One server's members.
pub(super) struct Crowd {
    pub(super) members: Members,
    /// They are being read.
    pub(super) loading: bool,
    /// Read them once more when that is done.
    pub(super) again: bool,
    /// Users that changed while they were being read.
    pub(super) missed: HashSet<Id>,
    /// Sessions of members.
    pub(super) sessions: HashSet<u64>,
    pub(super) ranges: HashMap<RangeKey, Range>,
    /// Members and headings that look different since the latest frames.
    pub(super) changed: HashSet<Place>,
    counts: [usize; GROUPS.len()],
    pub(super) used_at: Instant,
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self {
            members: Members::Unknown,
            loading: false,
            again: false,
            missed: HashSet::new(),
            sessions: HashSet::new(),
            ranges: HashMap::new(),
            changed: HashSet::new(),
            counts: [0; GROUPS.len()],
            used_at: Instant::now(),
        }
    }

    /// The list, where it is known and its sessions are told of all of it.
    pub(super) fn small(&self) -> Option<&List> {
        match &self.members {
            Members::All(list) if list.len() <= SMALL => Some(list),
            _ => None,
        }
    }

    pub(super) fn list(&mut self) -> Option<&mut List> {
        match &mut self.members {
            Members::All(list) => Some(list),
            Members::Unknown | Members::Many => None,
        }
    }

    /// A user changed while the members were being read.
    pub(super) fn miss(&mut self, user: Id) {
        if self.missed.len() < MISSED_MAX {
            self.missed.insert(user);
        } else {
            self.again = true;
        }
    }

    /// Somebody looks at a range.
    pub(super) fn view(&mut self, range: RangeKey, serial: u64) {
        let members = &self.members;
        let there = self.ranges.entry(range).or_insert_with(|| match members {
            Members::All(list) => Range::new(range, list),
            Members::Unknown | Members::Many => Range::default(),
        });
        there.viewers.insert(serial, false);
    }

    pub(super) fn leave(&mut self, range: RangeKey, serial: u64) {
        if let Some(there) = self.ranges.get_mut(&range) {
            there.viewers.remove(&serial);
            if there.viewers.is_empty() {
                self.ranges.remove(&range);
            }
        }
    }

    /// Brings the viewed ranges up to date. What changed in each, if anything did.
    pub(super) fn follow(&mut self) -> Vec<(RangeKey, Change)> {
        let mut changed = std::mem::take(&mut self.changed);
        let Members::All(list) = &self.members else {
            return Vec::new();
        };
        let counts = list.counts();
        for (group, (now, before)) in counts.iter().zip(self.counts).enumerate() {
            if *now != before {
                changed.insert(Place::Heading(group as u8));
            }
        }
        self.counts = counts;
        if changed.is_empty() {
            return Vec::new();
        }
        let ranges = self.ranges.iter_mut();
        ranges
            .filter_map(|(key, range)| Some((*key, range.follow(*key, list, &changed)?)))
            .collect()
    }

    /// Whether nobody needs it.
    pub(super) fn is_unused(&self) -> bool {
        self.sessions.is_empty() && self.ranges.is_empty() && !self.loading
    }
}
