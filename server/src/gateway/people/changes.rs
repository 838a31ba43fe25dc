//! What the bus tells: who is told of it, and what it changes in the lists.

use super::crowd::Members;
use super::followers::FRAME_PRESENCES_MAX;
use super::frames::{self, Rows};
use super::list::Place;
use super::lists::unindex_of;
use super::name::NameKey;
use super::task::Task;
use crate::bus::Batch;
use crate::model::{Id, Presence, Status, Touched};
use crate::store;
use bytes::Bytes;
use std::collections::HashMap;

/// Which presences of a batch each session is told.
pub(super) type Told = HashMap<u64, Vec<usize>>;

fn tell(told: &mut Told, serial: u64, index: usize) {
    let indexes = told.entry(serial).or_default();
    // A user of several common servers is told once.
    if indexes.last() != Some(&index) {
        indexes.push(index);
    }
}

impl Task {
    /// Takes in what changed within a tick.
    pub(super) async fn batch(&mut self, batch: &Batch) {
        let (epoch, seq) = batch.position;
        let before = self.position.replace(batch.position);
        if before.is_some_and(|before| before != (epoch, seq - 1)) {
            metrics::counter!("chirm_presence_jumps_total").increment(1);
            self.read_all();
        }
        let mut told = Told::new();
        let mut presences = batch.presences.clone();
        // First who is a member of what: that decides who is told.
        self.touch(&batch.touched, &mut presences, &mut told).await;
        for (index, presence) in batch.presences.iter().enumerate() {
            self.changed(presence, index, &mut told);
        }
        for crowd in self.crowds.values_mut().filter(|crowd| crowd.loading) {
            let users = batch.presences.iter().map(|presence| presence.user_id);
            users.for_each(|user| crowd.miss(user));
        }
        let servers: Vec<Id> = self.crowds.keys().copied().collect();
        self.flush(servers).await;
        self.send(&presences, told);
        self.load_next();
    }

    pub(super) fn changed(&mut self, presence: &Presence, index: usize, told: &mut Told) {
        let (user, here) = (presence.user_id, presence.status != Status::Offline);
        let small = self.small_of.get(&user).map_or(&[][..], Vec::as_slice);
        for server in small.iter().chain(&self.large) {
            let Some(crowd) = self.crowds.get_mut(server) else {
                continue;
            };
            let Some(list) = crowd.list() else { continue };
            if list.set_here(user, here) {
                crowd.changed.insert(Place::Member(user));
                if crowd.small().is_some() {
                    for serial in &crowd.sessions {
                        tell(told, *serial, index);
                    }
                }
            }
        }
        for serial in self.followers.naming(user) {
            tell(told, *serial, index);
        }
    }

    pub(super) async fn touch(
        &mut self,
        touched: &[Touched],
        presences: &mut Vec<Presence>,
        told: &mut Told,
    ) {
        let mut by_server: HashMap<Id, Vec<Id>> = HashMap::new();
        for touched in touched {
            match *touched {
                Touched::Member(server, user) => {
                    by_server.entry(server).or_default().push(user);
                    for serial in self.followers.naming(user).to_vec() {
                        if let Some(follower) = self.followers.get(serial) {
                            // It may have been visible by that server alone.
                            follower.session.recheck();
                        }
                    }
                }
                Touched::User(user) => {
                    let small = self.small_of.get(&user).map_or(&[][..], Vec::as_slice);
                    for server in small.iter().chain(&self.large) {
                        by_server.entry(*server).or_default().push(user);
                    }
                }
                Touched::Server(server) => {
                    self.unindex(server);
                    self.crowds.remove(&server);
                }
            }
        }
        for (server, mut users) in by_server {
            // Whoever joined and changed its name was touched twice.
            users.sort_unstable();
            users.dedup();
            if self.reread(server, &users, presences, told).await.is_err() {
                self.want(server, true);
            }
        }
    }

    /// Reads members anew. To the sessions of a small server the presence of those is told who are
    /// here and weren't by the list, and that one who isn't a member any more is offline.
    pub(super) async fn reread(
        &mut self,
        server: Id,
        users: &[Id],
        presences: &mut Vec<Presence>,
        told: &mut Told,
    ) -> Result<(), store::Error> {
        let Some(crowd) = self.crowds.get_mut(&server) else {
            return Ok(());
        };
        if crowd.loading {
            users.iter().for_each(|user| crowd.miss(*user));
        }
        match crowd.members {
            Members::All(_) => {}
            Members::Unknown => return Ok(()),
            Members::Many => {
                // It may have become a small one.
                self.want(server, false);
                return Ok(());
            }
        }
        let rows = self.rows(server, users).await?;
        self.put(server, users, rows, presences, told);
        self.regroup(server);
        Ok(())
    }

    pub(super) fn put(
        &mut self,
        server: Id,
        users: &[Id],
        mut rows: Rows,
        presences: &mut Vec<Presence>,
        told: &mut Told,
    ) {
        let Some(crowd) = self.crowds.get_mut(&server) else {
            return;
        };
        let small = crowd.small().is_some();
        let Members::All(list) = &mut crowd.members else {
            return;
        };
        let mut lost = Vec::new();
        for user in users {
            crowd.changed.insert(Place::Member(*user));
            let Some((member, profile)) = rows.members.get(user) else {
                if crate::mutation::on("leaver_kept") {
                    continue;
                }
                if list.remove(*user) && small {
                    unindex_of(&mut self.small_of, *user, server);
                    lost.push(*user);
                }
                continue;
            };
            let presence = rows.presences.remove(user);
            let here = presence
                .as_ref()
                .is_some_and(|p| p.status != Status::Offline);
            let (new, was_here) = (!list.contains(*user), list.is_here(*user) == Some(true));
            let name = NameKey::of(&profile.display_name);
            list.put(*user, member.role, name, here);
            if new && small {
                self.small_of.entry(*user).or_default().push(server);
            }
            // Whoever came while the list was being read is in no batch that follows.
            if let Some(presence) = presence.filter(|_| small && here != was_here) {
                presences.push(presence);
                for serial in &crowd.sessions {
                    tell(told, *serial, presences.len() - 1);
                }
            }
        }
        for user in lost {
            self.tell_lost(server, user, presences, told);
        }
    }

    /// Whoever left may have been told as here, even if the list never had it as here: a session
    /// that waited for room is told how a user is at that moment, and the list lags behind. Nothing
    /// else would ever take that back.
    fn tell_lost(&mut self, server: Id, user: Id, presences: &mut Vec<Presence>, told: &mut Told) {
        presences.push(Presence::offline(user));
        let sessions = self.crowds.get(&server).map(|crowd| &crowd.sessions);
        for serial in sessions.into_iter().flatten() {
            if !self.is_told(*serial, user) {
                tell(told, *serial, presences.len() - 1);
            }
        }
    }

    /// Sends each session the presences that it is told: the same bytes to those told the same.
    pub(super) fn send(&mut self, presences: &[Presence], told: Told) {
        let mut frames: HashMap<Vec<usize>, Bytes> = HashMap::new();
        let mut sent = 0;
        for (serial, indexes) in told {
            let Some(follower) = self.followers.get(serial) else {
                continue;
            };
            for indexes in indexes.chunks(FRAME_PRESENCES_MAX) {
                let of = || indexes.iter().map(|index| &presences[*index]);
                let frame = match frames.get(indexes) {
                    Some(frame) => frame.clone(),
                    None => {
                        let frame = frames::presences(of());
                        frames.insert(indexes.to_vec(), frame.clone());
                        frame
                    }
                };
                follower.tell(of().map(|presence| presence.user_id), &frame);
                sent += 1;
            }
        }
        metrics::counter!("chirm_presence_frames_total").increment(sent);
    }
}
