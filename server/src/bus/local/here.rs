//! Who is here by the sessions of one node: what every backend's presence counts the same way.

use crate::bus::{Device, SetPresence, Whose};
use crate::clock::Clock;
use crate::model::{Id, Presence, Status, UnixMs};
use crate::mutation;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// A session without activity for so long counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(300);
/// Sessions of one user that are remembered, those in their grace included; beyond, the one that
/// ended first is forgotten.
const SESSIONS_MAX: usize = 64;
/// When a user was last active is told to the minute.
const MINUTE_MS: i64 = 60_000;

/// To the minute.
pub(in crate::bus) fn minute(at: UnixMs) -> UnixMs {
    at - at % MINUTE_MS
}

/// When something happens.
#[derive(Clone, Copy, Debug)]
pub(in crate::bus) struct Moment {
    /// By the clock that only rises.
    pub(in crate::bus) now: Duration,
    /// By the wall clock.
    pub(in crate::bus) wall: UnixMs,
}

impl Moment {
    pub(in crate::bus) fn of(clock: &dyn Clock) -> Self {
        Self {
            now: clock.elapsed(),
            wall: clock.wall_ms(),
        }
    }
}

pub(in crate::bus) struct Session {
    pub(in crate::bus) device: Device,
    status: Status,
    active: Duration,
    pub(in crate::bus) opened_at: UnixMs,
    /// When it stops to count: it has ended.
    pub(in crate::bus) until: Option<Duration>,
    /// 0 while it lives.
    pub(in crate::bus) ended_at: UnixMs,
    /// It is in the queue of those that may be idle at a time.
    watched: bool,
}

impl Session {
    pub(in crate::bus) fn status(&self, now: Duration) -> Status {
        match self.status {
            Status::Online if now.saturating_sub(self.active) >= IDLE_AFTER => Status::Idle,
            other => other,
        }
    }

    fn is(&self, whose: Whose) -> bool {
        self.until.is_none()
            && match whose {
                Whose::Session(serial) => self.device.serial == serial,
                Whose::Credential(id) => self.device.credential == id,
            }
    }
}

/// A user with sessions here, and what a backend keeps `beside` them.
#[derive(Default)]
pub(in crate::bus) struct User<T> {
    pub(in crate::bus) sessions: Vec<Session>,
    pub(in crate::bus) text: String,
    pub(in crate::bus) active_at: UnixMs,
    dirty: bool,
    pub(in crate::bus) beside: T,
}

impl<T> User<T> {
    pub(in crate::bus) fn shown(&self, user_id: Id, now: Duration) -> Presence {
        let statuses = self.sessions.iter().map(|session| session.status(now));
        let status = statuses.max().unwrap_or_default().shown();
        let text = if status == Status::Offline {
            String::new()
        } else {
            self.text.clone()
        };
        Presence {
            user_id,
            status,
            text,
            last_active_at: minute(self.active_at),
        }
    }

    /// Its activity shows: not while it hides.
    fn saw(&mut self, at: Moment) {
        let statuses = self.sessions.iter().map(|session| session.status(at.now));
        if statuses.max().unwrap_or_default().shown() != Status::Offline {
            self.active_at = at.wall;
        }
    }
}

/// Users with sessions here, and which of them are to be looked at.
pub(in crate::bus) struct Here<T> {
    users: HashMap<Id, User<T>>,
    dirty: Vec<Id>,
    /// Sessions that ended, in the order in which they stop to count.
    ended: VecDeque<(Duration, Id)>,
    /// Sessions that may be idle at a time.
    watched: BTreeSet<(Duration, Id, u64)>,
    grace: Duration,
}

impl<T: Default> Here<T> {
    /// Nobody. A session that ended counts for `grace` still.
    pub(in crate::bus) fn new(grace: Duration) -> Self {
        Self {
            users: HashMap::new(),
            dirty: Vec::new(),
            ended: VecDeque::new(),
            watched: BTreeSet::new(),
            grace,
        }
    }

    pub(in crate::bus) fn len(&self) -> usize {
        self.users.len()
    }

    pub(in crate::bus) fn user(&mut self, id: Id) -> Option<&mut User<T>> {
        self.users.get_mut(&id)
    }

    pub(in crate::bus) fn ids(&self) -> impl Iterator<Item = Id> {
        self.users.keys().copied()
    }

    pub(in crate::bus) fn forget(&mut self, id: Id) {
        self.users.remove(&id);
    }

    /// Users of whom something may be another since the last time, each once.
    pub(in crate::bus) fn take_dirty(&mut self) -> Vec<Id> {
        let dirty = std::mem::take(&mut self.dirty);
        for id in &dirty {
            if let Some(user) = self.users.get_mut(id) {
                user.dirty = false;
            }
        }
        dirty
    }

    fn mark(&mut self, id: Id) {
        if let Some(user) = self.users.get_mut(&id)
            && !std::mem::replace(&mut user.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// Looks at a session again when it may have become idle.
    fn watch(&mut self, user: Id, serial: u64) {
        let session = self.users.get_mut(&user).and_then(|user| {
            let mut sessions = user.sessions.iter_mut();
            sessions.find(|session| session.device.serial == serial)
        });
        if let Some(session) = session
            && session.status == Status::Online
            && !std::mem::replace(&mut session.watched, true)
        {
            let at = session.active + IDLE_AFTER;
            self.watched.insert((at, user, serial));
        }
    }

    /// A session begins. `active_at`: when a user that is new here was active before.
    pub(in crate::bus) fn open(
        &mut self,
        device: Device,
        status: Status,
        at: Moment,
        active_at: impl FnOnce() -> UnixMs,
    ) {
        let (id, serial) = (device.user, device.serial);
        let user = self.users.entry(id).or_insert_with(|| User {
            active_at: active_at(),
            ..User::default()
        });
        user.sessions
            .retain(|old| old.until.is_none() || !old.device.is_place_of(&device));
        if user.sessions.len() >= SESSIONS_MAX {
            let mut ended = user.sessions.iter().enumerate();
            let first = ended.find(|(_, session)| session.until.is_some());
            let first = first.map_or(0, |(index, _)| index);
            user.sessions.remove(first);
        }
        user.sessions.push(Session {
            device,
            status,
            active: at.now,
            opened_at: at.wall,
            until: None,
            ended_at: 0,
            watched: false,
        });
        user.saw(at);
        self.watch(id, serial);
        self.mark(id);
    }

    /// Sets a status and the user's words. False: the user has no such session here.
    pub(in crate::bus) fn set(
        &mut self,
        id: Id,
        whose: Whose,
        set: SetPresence,
        at: Moment,
    ) -> bool {
        let Some(user) = self.users.get_mut(&id) else {
            return false;
        };
        let mut set_of = Vec::new();
        for session in user.sessions.iter_mut().filter(|session| session.is(whose)) {
            session.status = set.status.unwrap_or(session.status);
            session.active = at.now;
            set_of.push(session.device.serial);
        }
        if set_of.is_empty() {
            return false;
        }
        if let Some(text) = set.text {
            user.text = text;
        }
        user.saw(at);
        for serial in set_of {
            self.watch(id, serial);
        }
        self.mark(id);
        true
    }

    /// The user did something by that. False: it has no such session here.
    pub(in crate::bus) fn active(&mut self, id: Id, whose: Whose, at: Moment) -> bool {
        let Some(user) = self.users.get_mut(&id) else {
            return false;
        };
        let (mut found, mut back) = (false, Vec::new());
        for session in user.sessions.iter_mut().filter(|session| session.is(whose)) {
            if session.status(at.now) != session.status {
                back.push(session.device.serial);
            }
            session.active = at.now;
            found = true;
        }
        user.saw(at);
        if !back.is_empty() {
            for serial in back {
                self.watch(id, serial);
            }
            self.mark(id);
        }
        found
    }

    /// A session ended, however it did.
    pub(in crate::bus) fn close(&mut self, id: Id, serial: u64, at: Moment) {
        let off = mutation::on("presence_grace_off");
        let grace = if off { Duration::ZERO } else { self.grace };
        let until = at.now + grace;
        let Some(user) = self.users.get_mut(&id) else {
            return;
        };
        let mut sessions = user.sessions.iter();
        let found = sessions.position(|s| s.device.serial == serial && s.until.is_none());
        let Some(found) = found.filter(|_| !mutation::on("presence_kept")) else {
            return;
        };
        let (session, later) = user.sessions[found..]
            .split_first_mut()
            .expect("it is there");
        // Who came back before this was known to be over has its place already.
        let is_back =
            |new: &Session| new.until.is_none() && session.device.is_place_of(&new.device);
        if !session.device.name.is_empty() && later.iter().any(is_back) {
            user.sessions.remove(found);
        } else {
            session.until = Some(until);
            session.ended_at = at.wall;
            self.ended.push_back((until, id));
        }
        self.mark(id);
    }

    /// Time passed: sessions whose grace is over count no more, and some may have become idle.
    pub(in crate::bus) fn pass(&mut self, now: Duration) {
        self.end_graces(now);
        self.find_idle(now);
    }

    fn end_graces(&mut self, now: Duration) {
        while let Some((until, id)) = self.ended.front().copied() {
            if until > now {
                break;
            }
            self.ended.pop_front();
            if let Some(user) = self.users.get_mut(&id) {
                user.sessions
                    .retain(|s| s.until.is_none_or(|until| until > now));
                if user.sessions.is_empty() {
                    user.text = String::new();
                }
            }
            self.mark(id);
        }
    }

    fn find_idle(&mut self, now: Duration) {
        while let Some((at, id, serial)) = self.watched.first().copied() {
            if at > now {
                break;
            }
            self.watched.pop_first();
            let Some(user) = self.users.get_mut(&id) else {
                continue;
            };
            let mut sessions = user.sessions.iter_mut();
            let Some(session) = sessions.find(|session| session.device.serial == serial) else {
                continue;
            };
            session.watched = false;
            if session.status(now) == Status::Idle {
                self.mark(id);
            } else {
                self.watch(id, serial);
            }
        }
    }
}
