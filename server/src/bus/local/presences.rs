//! Who is here, in process.

use crate::bus::{Batch, Batches, Device, Error, Presences, SetPresence, Whose};
use crate::clock::Clock;
use crate::model::{Id, Presence, Status, Touched, UnixMs};
use crate::mutation;
use async_trait::async_trait;
use quick_cache::sync::Cache;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// A session without activity for so long counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(300);
/// Batches that wait for one reader; what finds them waiting is lost, and its number shows it.
const FEED_BATCHES_MAX: usize = 64;
/// Sessions of one user that are remembered, those in their grace included; beyond, the one that
/// ended first is forgotten.
const SESSIONS_MAX: usize = 64;
/// Users that went, of whom it is remembered when they were last active.
const GONE_MAX: usize = 100_000;
/// When a user was last active is told to the minute.
const MINUTE_MS: i64 = 60_000;

struct Session {
    device: Device,
    status: Status,
    active: Duration,
    /// When it stops to count: it has ended.
    until: Option<Duration>,
    /// It is in the queue of those that may be idle at a time.
    watched: bool,
}

impl Session {
    fn status(&self, now: Duration) -> Status {
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

#[derive(Default)]
struct User {
    sessions: Vec<Session>,
    text: String,
    active_at: UnixMs,
    /// What the latest batch that told of it said.
    told: Option<Presence>,
    /// It was read since, as something else.
    read: bool,
    dirty: bool,
}

impl User {
    fn shown(&self, user_id: Id, now: Duration) -> Presence {
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
            last_active_at: self.active_at - self.active_at % MINUTE_MS,
        }
    }

    /// What those who take batches hold it for.
    fn told(&self, user_id: Id) -> Presence {
        let told = self.told.clone();
        told.unwrap_or_else(|| Presence::offline(user_id))
    }

    /// Its activity shows: not while it hides.
    fn saw(&mut self, now: Duration, wall: UnixMs) {
        let statuses = self.sessions.iter().map(|session| session.status(now));
        if statuses.max().unwrap_or_default().shown() != Status::Offline {
            self.active_at = wall;
        }
    }
}

#[derive(Default)]
struct State {
    users: HashMap<Id, User>,
    dirty: Vec<Id>,
    touched: HashSet<Touched>,
    /// Sessions that ended, in the order in which they stop to count.
    ended: VecDeque<(Duration, Id)>,
    /// Sessions that may be idle at a time.
    watched: BTreeSet<(Duration, Id, u64)>,
    feeds: Vec<mpsc::Sender<Arc<Batch>>>,
    seq: i64,
}

impl State {
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
}

/// Who is here, in process. Cheap to clone.
#[derive(Clone)]
pub struct LocalPresences(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    gone: Cache<Id, UnixMs>,
    grace: Duration,
    epoch: i64,
    clock: Arc<dyn Clock>,
}

impl LocalPresences {
    /// Nobody is here. A session that ended counts for `grace` still.
    #[must_use]
    pub fn new(grace: Duration, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            gone: Cache::new(GONE_MAX),
            grace,
            epoch: rand::random_range(1..i64::MAX),
            clock,
        }))
    }

    /// Sessions whose grace is over count no more.
    fn end_graces(&self, state: &mut State, now: Duration) {
        while let Some((until, id)) = state.ended.front().copied() {
            if until > now {
                break;
            }
            state.ended.pop_front();
            if let Some(user) = state.users.get_mut(&id) {
                user.sessions
                    .retain(|s| s.until.is_none_or(|until| until > now));
                if user.sessions.is_empty() {
                    user.text = String::new();
                }
            }
            state.mark(id);
        }
    }
}

/// Marks the users of sessions that were not active for long.
fn find_idle(state: &mut State, now: Duration) {
    while let Some((at, id, serial)) = state.watched.first().copied() {
        if at > now {
            break;
        }
        state.watched.pop_first();
        let Some(user) = state.users.get_mut(&id) else {
            continue;
        };
        let mut sessions = user.sessions.iter_mut();
        let Some(session) = sessions.find(|session| session.device.serial == serial) else {
            continue;
        };
        session.watched = false;
        if session.status(now) == Status::Idle {
            state.mark(id);
        } else {
            state.watch(id, serial);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Presences for LocalPresences {
    async fn open(&self, device: Device, status: Status) -> Result<(), Error> {
        let (now, wall) = (self.0.clock.elapsed(), self.0.clock.wall_ms());
        let (id, serial) = (device.user, device.serial);
        let mut state = self.0.lock();
        let user = state.users.entry(id).or_insert_with(|| User {
            active_at: self.0.gone.get(&id).unwrap_or_default(),
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
            active: now,
            until: None,
            watched: false,
        });
        user.saw(now, wall);
        state.watch(id, serial);
        state.mark(id);
        Ok(())
    }

    async fn set(&self, id: Id, whose: Whose, set: SetPresence) -> Result<bool, Error> {
        let (now, wall) = (self.0.clock.elapsed(), self.0.clock.wall_ms());
        let mut state = self.0.lock();
        let Some(user) = state.users.get_mut(&id) else {
            return Ok(false);
        };
        let mut set_of = Vec::new();
        for session in user.sessions.iter_mut().filter(|session| session.is(whose)) {
            session.status = set.status.unwrap_or(session.status);
            session.active = now;
            set_of.push(session.device.serial);
        }
        if set_of.is_empty() {
            return Ok(false);
        }
        if let Some(text) = set.text {
            user.text = text;
        }
        user.saw(now, wall);
        for serial in set_of {
            state.watch(id, serial);
        }
        state.mark(id);
        Ok(true)
    }

    fn active(&self, id: Id, whose: Whose) {
        let (now, wall) = (self.0.clock.elapsed(), self.0.clock.wall_ms());
        let mut state = self.0.lock();
        let Some(user) = state.users.get_mut(&id) else {
            return;
        };
        let mut back = Vec::new();
        for session in user.sessions.iter_mut().filter(|session| session.is(whose)) {
            if session.status(now) != session.status {
                back.push(session.device.serial);
            }
            session.active = now;
        }
        user.saw(now, wall);
        if back.is_empty() {
            return;
        }
        for serial in back {
            state.watch(id, serial);
        }
        state.mark(id);
    }

    async fn close(&self, id: Id, serial: u64) -> Result<(), Error> {
        let off = mutation::on("presence_grace_off");
        let grace = if off { Duration::ZERO } else { self.0.grace };
        let until = self.0.clock.elapsed() + grace;
        let mut state = self.0.lock();
        let Some(user) = state.users.get_mut(&id) else {
            return Ok(());
        };
        let mut sessions = user.sessions.iter();
        let at = sessions.position(|s| s.device.serial == serial && s.until.is_none());
        let Some(at) = at.filter(|_| !mutation::on("presence_kept")) else {
            return Ok(());
        };
        let (session, later) = user.sessions[at..].split_first_mut().expect("it is there");
        // Who came back before this was known to be over has its place already.
        let is_back =
            |new: &Session| new.until.is_none() && session.device.is_place_of(&new.device);
        if !session.device.name.is_empty() && later.iter().any(is_back) {
            user.sessions.remove(at);
            state.mark(id);
        } else {
            session.until = Some(until);
            state.ended.push_back((until, id));
        }
        Ok(())
    }

    async fn get(&self, users: &[Id]) -> Result<Vec<Presence>, Error> {
        let now = self.0.clock.elapsed();
        let mut state = self.0.lock();
        let shown = users.iter().map(|id| match state.users.get_mut(id) {
            Some(user) => {
                let shown = user.shown(*id, now);
                user.read |= shown.differs(&user.told(*id));
                shown
            }
            None => Presence {
                last_active_at: self.0.gone.get(id).unwrap_or_default(),
                ..Presence::offline(*id)
            },
        });
        Ok(shown.collect())
    }

    async fn tick(&self) -> Result<(), Error> {
        let now = self.0.clock.elapsed();
        let mut state = self.0.lock();
        self.end_graces(&mut state, now);
        find_idle(&mut state, now);
        let mut presences = Vec::new();
        for id in std::mem::take(&mut state.dirty) {
            let Some(user) = state.users.get_mut(&id) else {
                continue;
            };
            user.dirty = false;
            let shown = user.shown(id, now);
            let before = user.told(id);
            let gone = user.sessions.is_empty();
            // What it was between, those who read it then hold until they are told otherwise.
            if std::mem::take(&mut user.read) || shown.differs(&before) {
                presences.push(shown.clone());
            }
            if gone {
                self.0.gone.insert(id, shown.last_active_at);
                state.users.remove(&id);
            } else {
                user.told = Some(shown);
            }
        }
        let touched: Vec<Touched> = state.touched.drain().collect();
        metrics::gauge!("chirm_users_present").set(state.users.len() as f64);
        if presences.is_empty() && touched.is_empty() {
            return Ok(());
        }
        metrics::counter!("chirm_presence_changes_total").increment(presences.len() as u64);
        state.seq += 1;
        let batch = Arc::new(Batch {
            position: (self.0.epoch, state.seq),
            presences,
            touched,
        });
        state
            .feeds
            .retain(|feed| match feed.try_send(batch.clone()) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
        Ok(())
    }

    fn touch(&self, touched: Touched) {
        self.0.lock().touched.insert(touched);
    }

    fn batches(&self) -> Batches {
        let (feed, batches) = mpsc::channel(FEED_BATCHES_MAX);
        self.0.lock().feeds.push(feed);
        batches
    }
}
