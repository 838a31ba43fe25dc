//! What ties lists, sessions and the bus's batches together.

use super::crowd::{Crowd, Members};
use super::followers::{Followers, Next};
use super::frames;
use super::lists::WARM_SESSIONS;
use super::load::Loaded;
use super::{Command, Interest, RangeKey, TICK};
use crate::bus::{Batches, Presences};
use crate::gateway::handle::SessionHandle;
use crate::gateway::outbox::Refused;
use crate::model::{Id, Presence};
use crate::store;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Ticks between looks at what nobody needs.
const SWEEP_TICKS: u64 = 15;

pub(super) struct Task {
    pub(super) presences: Arc<dyn Presences>,
    pub(super) store: store::Handle,
    pub(super) batches: Batches,
    pub(super) position: Option<(i64, i64)>,
    pub(super) followers: Followers,
    pub(super) crowds: HashMap<Id, Crowd>,
    /// The small servers of a user, of those that are known.
    pub(super) small_of: HashMap<Id, Vec<Id>>,
    /// Servers whose lists are known and that aren't small.
    pub(super) large: HashSet<Id>,
    pub(super) loads: JoinSet<(Id, Result<Loaded, anyhow::Error>)>,
    pub(super) to_load: VecDeque<(Id, bool)>,
    /// What could not be read: sessions wait for it again from the next tick on.
    pub(super) retry: Vec<(u64, Next)>,
    pub(super) ticks: u64,
}

impl Task {
    pub(super) fn new(presences: Arc<dyn Presences>, store: store::Handle) -> Self {
        Self {
            batches: presences.batches(),
            presences,
            store,
            position: None,
            followers: Followers::default(),
            crowds: HashMap::new(),
            small_of: HashMap::new(),
            large: HashSet::new(),
            loads: JoinSet::new(),
            to_load: VecDeque::new(),
            retry: Vec::new(),
            ticks: 0,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Follow(session, interest, done)) => {
                        self.follow(&session, interest);
                        answer(done, ());
                    }
                    Some(Command::GoOn(serial, more)) => {
                        let waits = self.go_on(serial).await;
                        answer(more, waits);
                    }
                    None => return,
                },
                Some(batch) = self.batches.recv() => self.batch(&batch).await,
                Some(Ok((server, loaded))) = self.loads.join_next(), if !self.loads.is_empty() => {
                    self.loaded(server, loaded).await;
                    self.load_next();
                }
                _ = ticks.tick() => self.tick().await,
            }
        }
    }

    async fn tick(&mut self) {
        if let Err(error) = self.presences.tick().await {
            tracing::warn!(%error, "presence can't be told now");
        }
        for (serial, next) in std::mem::take(&mut self.retry) {
            match (self.followers.get(serial), next) {
                (Some(follower), Next::Presences(users)) => follower.waits_for_again(&users),
                (Some(follower), Next::Range(range)) => follower.waits_for_range(range),
                (None, _) => {}
            }
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(SWEEP_TICKS) {
            self.sweep();
        }
    }

    pub(super) fn follow(&mut self, session: &Arc<SessionHandle>, interest: Interest) {
        let serial = session.serial;
        let (before, dropped) = self.followers.replace(session, interest.clone());
        let unnamed = |user: &Id| interest.users.binary_search(user).is_err();
        let no_longer: Vec<Id> = before.users.iter().copied().filter(unnamed).collect();
        for server in &before.servers {
            if interest.servers.binary_search(server).is_err()
                && let Some(crowd) = self.crowds.get_mut(server)
            {
                crowd.sessions.remove(&serial);
            }
        }
        for range in &before.ranges {
            if !interest.ranges.contains(range)
                && let Some(crowd) = self.crowds.get_mut(&range.server)
            {
                crowd.leave(*range, serial);
            }
        }
        for server in &interest.servers {
            if dropped || before.servers.binary_search(server).is_err() {
                self.join(*server, serial);
            }
        }
        self.loses(serial, &no_longer);
        for range in interest.ranges {
            if !before.ranges.contains(&range) {
                self.view(range, serial);
            }
        }
        self.load_next();
    }

    /// A session of a member begins to be told of a server.
    fn join(&mut self, server: Id, serial: u64) {
        let crowd = self.crowds.entry(server).or_insert_with(Crowd::new);
        crowd.sessions.insert(serial);
        match &crowd.members {
            Members::Unknown => self.want(server, false),
            Members::Many if crowd.sessions.len() == WARM_SESSIONS => self.want(server, true),
            Members::Many => {}
            Members::All(list) => {
                if crowd.small().is_some()
                    && let Some(follower) = self.followers.get(serial)
                {
                    let here = |user: &Id| list.is_here(*user) == Some(true);
                    follower.waits_for(list.members().filter(here));
                }
            }
        }
    }

    fn view(&mut self, range: RangeKey, serial: u64) {
        let crowd = self.crowds.entry(range.server).or_insert_with(Crowd::new);
        crowd.view(range, serial);
        if !matches!(crowd.members, Members::All(_)) {
            self.want(range.server, true);
        } else if let Some(follower) = self.followers.get(serial) {
            follower.waits_for_range(range);
        }
    }

    /// There is room in a session's outbox: the next of what waits is made and sent.
    pub(super) async fn go_on(&mut self, serial: u64) -> bool {
        let next = self
            .followers
            .get(serial)
            .and_then(|follower| follower.next());
        match next {
            None => return false,
            Some(Next::Presences(users)) => self.send_presences(serial, users).await,
            Some(Next::Range(range)) => self.send_whole(serial, range).await,
        }
        self.followers
            .get(serial)
            .is_some_and(|follower| follower.is_waiting())
    }

    async fn send_presences(&mut self, serial: u64, users: Vec<(Id, bool)>) {
        let ids: Vec<Id> = users.iter().map(|(user, _)| *user).collect();
        let Ok(mut presences) = self.presences.get(&ids).await else {
            self.retry.push((serial, Next::Presences(users)));
            return;
        };
        for (presence, (user, shown)) in presences.iter_mut().zip(&users) {
            // Who waited to be told of may have left meanwhile.
            if !shown || !self.is_told(serial, *user) {
                *presence = Presence::offline(*user);
            }
        }
        let Some(follower) = self.followers.get(serial) else {
            return;
        };
        let frame = frames::presences(&presences);
        // Others may wait still: those of the next frame.
        if follower.session.outbox.push(frame) == Err(Refused::Full) {
            follower.waits_for_again(&users);
        }
    }
}

fn answer<T>(to: oneshot::Sender<T>, with: T) {
    // A caller that went away needs none.
    let _ = to.send(with);
}
