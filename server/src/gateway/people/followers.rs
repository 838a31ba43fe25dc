//! Sessions, and what they are interested in.

use super::{Interest, RangeKey};
use crate::gateway::handle::SessionHandle;
use crate::gateway::outbox::Refused;
use crate::model::Id;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Presences of one frame at most; in tests fewer, so that several frames come of small crowds.
pub(super) const FRAME_PRESENCES_MAX: usize = if cfg!(test) { 20 } else { 500 };

/// A session that is told of others.
pub(super) struct Follower {
    pub(super) session: Arc<SessionHandle>,
    pub(super) interest: Interest,
    /// Users of whom it has to be told when there is room: how they are then, or (false) that it
    /// is no longer told, which shows them as offline.
    waiting: BTreeMap<Id, bool>,
    /// Ranges of which it has to be sent the whole.
    ranges: Vec<RangeKey>,
}

/// What a session is to be told next.
pub(super) enum Next {
    Presences(Vec<(Id, bool)>),
    Range(RangeKey),
}

impl Follower {
    pub(super) fn waits_for(&mut self, users: impl IntoIterator<Item = Id>) {
        self.waiting
            .extend(users.into_iter().map(|user| (user, true)));
        self.wake();
    }

    /// Users of whom it is told no longer, though they may be seen still.
    pub(super) fn loses(&mut self, users: impl IntoIterator<Item = Id>) {
        self.waiting
            .extend(users.into_iter().map(|user| (user, false)));
        self.wake();
    }

    /// What was taken to be told and found no room.
    pub(super) fn waits_for_again(&mut self, users: &[(Id, bool)]) {
        for (user, shown) in users {
            // What was asked for meanwhile is newer.
            self.waiting.entry(*user).or_insert(*shown);
        }
        self.wake();
    }

    pub(super) fn waits_for_range(&mut self, range: RangeKey) {
        if !self.ranges.contains(&range) {
            self.ranges.push(range);
        }
        self.wake();
    }

    fn wake(&self) {
        if !self.waiting.is_empty() || !self.ranges.is_empty() {
            self.session.people();
        }
    }

    /// Sends presences that changed, unless older ones wait still: then they do, too.
    pub(super) fn tell(&mut self, users: impl Iterator<Item = Id>, frame: &Bytes) {
        if !self.waiting.is_empty() || self.session.outbox.push(frame.clone()) == Err(Refused::Full)
        {
            self.waits_for(users);
        }
    }

    /// Takes what is to be told next.
    pub(super) fn next(&mut self) -> Option<Next> {
        let mut users = Vec::new();
        while users.len() < FRAME_PRESENCES_MAX
            && let Some(user) = self.waiting.pop_first()
        {
            users.push(user);
        }
        if !users.is_empty() {
            return Some(Next::Presences(users));
        }
        self.ranges.pop().map(Next::Range)
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.ranges.is_empty()
    }
}

/// All sessions that are told of others.
#[derive(Default)]
pub(super) struct Followers {
    by_serial: HashMap<u64, Follower>,
    /// Who is told of a user by its name.
    naming: HashMap<Id, Vec<u64>>,
}

impl Followers {
    pub(super) fn get(&mut self, serial: u64) -> Option<&mut Follower> {
        self.by_serial.get_mut(&serial)
    }

    pub(super) fn naming(&self, user: Id) -> &[u64] {
        self.naming.get(&user).map_or(&[], Vec::as_slice)
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Follower> {
        self.by_serial.values_mut()
    }

    /// Replaces a session's interest. What it was, and whether what waited was dropped, since it
    /// may be of whom the session may be told no longer.
    pub(super) fn replace(
        &mut self,
        session: &Arc<SessionHandle>,
        interest: Interest,
    ) -> (Interest, bool) {
        let serial = session.serial;
        let before = self.by_serial.remove(&serial);
        let (before, mut waiting, mut ranges) = match before {
            Some(follower) => (follower.interest, follower.waiting, follower.ranges),
            None => Default::default(),
        };
        let (old, new): (HashSet<Id>, HashSet<Id>) = (
            before.users.iter().copied().collect(),
            interest.users.iter().copied().collect(),
        );
        for user in old.difference(&new) {
            if let Some(serials) = self.naming.get_mut(user) {
                serials.retain(|other| *other != serial);
                if serials.is_empty() {
                    self.naming.remove(user);
                }
            }
        }
        for user in new.difference(&old) {
            self.naming.entry(*user).or_default().push(serial);
        }
        if interest.is_empty() {
            return (before, false);
        }
        ranges.retain(|range| interest.ranges.contains(range));
        let kept = |server: &Id| interest.servers.binary_search(server).is_ok();
        let fewer = !before.servers.iter().all(kept) || !old.is_subset(&new);
        let dropped = fewer && !waiting.is_empty();
        if dropped {
            waiting = new.iter().map(|user| (*user, true)).collect();
        }
        waiting.extend(new.difference(&old).map(|user| (*user, true)));
        let follower = Follower {
            session: session.clone(),
            interest,
            waiting,
            ranges,
        };
        follower.wake();
        self.by_serial.insert(serial, follower);
        (before, dropped)
    }
}
