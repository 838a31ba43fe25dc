//! The lists of members that are kept: read, told of, and let go.

use super::TICK;
use super::changes::Told;
use super::crowd::{Crowd, Members};
use super::list::List;
use super::load::{Loaded, load};
use super::task::Task;
use crate::model::Id;
use std::collections::HashMap;
use std::time::Duration;

/// Servers that are read at once.
const LOADS_MAX: usize = 4;
/// What nobody needs any more is kept for so long.
const IDLE: Duration = Duration::from_secs(60);
/// A large server with so many sessions here has its list ready before anyone looks at it.
pub(super) const WARM_SESSIONS: usize = 50;
/// Members in all lists of large servers that nobody looks at; beyond, the longest unused go.
const MEMBERS_MAX: usize = 2_000_000;

impl Task {
    /// Asks for a server's members to be read.
    pub(super) fn want(&mut self, server: Id, in_any_case: bool) {
        let Some(crowd) = self.crowds.get_mut(&server) else {
            return;
        };
        if crowd.loading {
            crowd.again |= in_any_case;
            return;
        }
        crowd.loading = true;
        self.to_load.push_back((server, in_any_case));
    }

    pub(super) fn load_next(&mut self) {
        while self.loads.len() < LOADS_MAX
            && let Some((server, in_any_case)) = self.to_load.pop_front()
        {
            self.begin_load(server, in_any_case, Duration::ZERO);
        }
    }

    fn begin_load(&mut self, server: Id, in_any_case: bool, after: Duration) {
        let (store, presences) = (self.store.clone(), self.presences.clone());
        self.loads.spawn(async move {
            tokio::time::sleep(after).await;
            (server, load(&store, &*presences, server, in_any_case).await)
        });
    }

    /// Takes in what was read of a server's members.
    pub(super) async fn loaded(&mut self, server: Id, loaded: Result<Loaded, anyhow::Error>) {
        self.unindex(server);
        let Some(crowd) = self.crowds.get_mut(&server) else {
            return;
        };
        crowd.loading = false;
        crowd.used_at = tokio::time::Instant::now();
        let again = std::mem::take(&mut crowd.again);
        let missed: Vec<Id> = crowd.missed.drain().collect();
        let before = std::mem::replace(&mut crowd.members, Members::Many);
        let known_before = matches!(before, Members::All(_));
        match loaded {
            Ok(Loaded::List(list)) => crowd.members = Members::All(list),
            Ok(Loaded::Many) => {
                let warm = crowd.sessions.len() >= WARM_SESSIONS;
                if warm || !crowd.ranges.is_empty() {
                    self.want(server, true);
                }
                return;
            }
            Ok(Loaded::Gone) => {
                self.crowds.remove(&server);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, server, "the members of a server can't be read; again");
                crowd.members = before;
                crowd.loading = true;
                let whole = !crowd.ranges.is_empty();
                self.index(server);
                self.begin_load(server, whole, TICK);
                return;
            }
        }
        self.begin(server, known_before);
        if again {
            self.want(server, true);
        }
        let (mut presences, mut told) = (Vec::new(), Told::new());
        if let Members::All(before) = &before {
            self.lose(server, before);
        }
        let found = self
            .reread(server, &missed, &mut presences, &mut told)
            .await;
        if found.is_err() {
            self.want(server, true);
        }
        self.flush([server]).await;
        self.send(&presences, told);
        self.forget_many();
    }

    /// Those who were members by the list before, and aren't by the one read anew. Sessions may
    /// have been told of them as here whatever the list said.
    fn lose(&mut self, server: Id, before: &List) {
        let Some(crowd) = self.crowds.get(&server) else {
            return;
        };
        let Some(list) = crowd.small() else { return };
        let lost = before.members().filter(|user| !list.contains(*user));
        let lost: Vec<Id> = lost.collect();
        let sessions: Vec<u64> = crowd.sessions.iter().copied().collect();
        for serial in sessions {
            self.loses(serial, &lost);
        }
    }

    /// A session is no longer told of users: shows those as offline of whom nothing else tells it.
    pub(super) fn loses(&mut self, serial: u64, users: &[Id]) {
        let lost = users.iter().copied();
        let lost: Vec<Id> = lost.filter(|user| !self.is_told(serial, *user)).collect();
        if let Some(follower) = self.followers.get(serial)
            && !lost.is_empty()
        {
            follower.loses(lost);
        }
    }

    /// A list is known, or known anew: its sessions and viewers are told.
    pub(super) fn begin(&mut self, server: Id, known_before: bool) {
        self.index(server);
        let Some(crowd) = self.crowds.get_mut(&server) else {
            return;
        };
        let Members::All(list) = &crowd.members else {
            return;
        };
        if list.len() <= super::SMALL {
            let told = |user: &Id| known_before || list.is_here(*user) == Some(true);
            let members: Vec<Id> = list.members().filter(told).collect();
            for serial in &crowd.sessions {
                if let Some(follower) = self.followers.get(*serial) {
                    follower.waits_for(members.iter().copied());
                }
            }
        }
        for (key, range) in &mut crowd.ranges {
            range.window = list.places(key.start, key.count);
            range.seq += 1;
            for (serial, holds) in &mut range.viewers {
                *holds = false;
                if let Some(follower) = self.followers.get(*serial) {
                    follower.waits_for_range(*key);
                }
            }
        }
    }

    pub(super) fn index(&mut self, server: Id) {
        let Some(crowd) = self.crowds.get(&server) else {
            return;
        };
        if let Some(list) = crowd.small() {
            for user in list.members() {
                self.small_of.entry(user).or_default().push(server);
            }
        } else if matches!(crowd.members, Members::All(_)) {
            self.large.insert(server);
        }
    }

    pub(super) fn unindex(&mut self, server: Id) {
        if self.large.remove(&server) {
            return;
        }
        let Some(Members::All(list)) = self.crowds.get(&server).map(|crowd| &crowd.members) else {
            return;
        };
        for user in list.members() {
            unindex_of(&mut self.small_of, user, server);
        }
    }

    /// Something may have been missed: all is read anew.
    pub(super) fn read_all(&mut self) {
        let servers: Vec<Id> = self.crowds.keys().copied().collect();
        for server in servers {
            let crowd = &self.crowds[&server];
            // What is being read now may have been read before what was missed.
            let again = crowd.loading || matches!(crowd.members, Members::All(_));
            self.want(server, again);
        }
        for follower in self.followers.all() {
            follower.waits_for(follower.interest.users.clone());
        }
    }

    /// A server that became small or large changes what its sessions are told.
    pub(super) fn regroup(&mut self, server: Id) {
        let Some(crowd) = self.crowds.get(&server) else {
            return;
        };
        let Members::All(list) = &crowd.members else {
            return;
        };
        let (is_small, was_small) = (crowd.small().is_some(), !self.large.contains(&server));
        if is_small == was_small {
            return;
        }
        let here = |user: &Id| list.is_here(*user) == Some(true);
        let here: Vec<Id> = list.members().filter(here).collect();
        let sessions: Vec<u64> = crowd.sessions.iter().copied().collect();
        self.unindex(server);
        self.index(server);
        for serial in sessions {
            if !is_small {
                self.loses(serial, &here);
            } else if let Some(follower) = self.followers.get(serial) {
                follower.waits_for(here.iter().copied());
            }
        }
    }

    /// Whether a session is told of a user.
    pub(super) fn is_told(&self, serial: u64, user: Id) -> bool {
        let small = self.small_of.get(&user).map_or(&[][..], Vec::as_slice);
        let crowds = small.iter().filter_map(|server| self.crowds.get(server));
        let mut sessions = crowds.map(|crowd| &crowd.sessions);
        sessions.any(|sessions| sessions.contains(&serial))
            || self.followers.naming(user).contains(&serial)
    }

    /// Forgets servers that nobody needs.
    pub(super) fn sweep(&mut self) {
        let now = tokio::time::Instant::now();
        for crowd in self.crowds.values_mut().filter(|crowd| !crowd.is_unused()) {
            crowd.used_at = now;
        }
        let old = |crowd: &Crowd| crowd.is_unused() && now - crowd.used_at >= IDLE;
        let gone = self.crowds.iter().filter(|(_, crowd)| old(crowd));
        let gone: Vec<Id> = gone.map(|(server, _)| *server).collect();
        for server in gone {
            self.unindex(server);
            self.crowds.remove(&server);
        }
        metrics::gauge!("chirm_member_lists").set(self.crowds.len() as f64);
    }

    /// Keeps the lists of large servers that nobody looks at within their bound.
    pub(super) fn forget_many(&mut self) {
        let mut unseen = Vec::new();
        let mut members = 0;
        for server in &self.large {
            if let Some(crowd) = self.crowds.get(server)
                && crowd.ranges.is_empty()
                && let Members::All(list) = &crowd.members
            {
                members += list.len();
                unseen.push((crowd.used_at, *server, list.len()));
            }
        }
        unseen.sort_unstable();
        for (_, server, count) in unseen {
            if members <= MEMBERS_MAX {
                break;
            }
            members -= count;
            self.unindex(server);
            if let Some(crowd) = self.crowds.get_mut(&server) {
                crowd.members = Members::Many;
            }
        }
    }
}

/// A user is no longer a member of a small server.
pub(super) fn unindex_of(small_of: &mut HashMap<Id, Vec<Id>>, user: Id, server: Id) {
    if let Some(servers) = small_of.get_mut(&user) {
        servers.retain(|other| *other != server);
        if servers.is_empty() {
            small_of.remove(&user);
        }
    }
}
