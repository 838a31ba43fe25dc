//! Who is here, in process.

use super::batches::Readers;
use super::here::{Here, Moment};
use crate::bus::{Batches, Device, Error, Presences, SetPresence, Whose};
use crate::clock::Clock;
use crate::model::{Id, Presence, Status, Touched, UnixMs};
use async_trait::async_trait;
use quick_cache::sync::Cache;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Users that went, of whom it is remembered when they were last active.
const GONE_MAX: usize = 100_000;

/// What readers hold a user for.
#[derive(Default)]
struct Told {
    /// What the latest batch that told of it said.
    said: Option<Presence>,
    /// It was read since, as something else.
    read: bool,
}

impl Told {
    fn presence(&self, user_id: Id) -> Presence {
        let said = self.said.clone();
        said.unwrap_or_else(|| Presence::offline(user_id))
    }
}

struct State {
    here: Here<Told>,
    touched: HashSet<Touched>,
    readers: Readers,
}

/// Who is here, in process. Cheap to clone.
#[derive(Clone)]
pub struct LocalPresences(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    gone: Cache<Id, UnixMs>,
    clock: Arc<dyn Clock>,
}

impl LocalPresences {
    /// Nobody is here. A session that ended counts for `grace` still.
    #[must_use]
    pub fn new(grace: Duration, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                here: Here::new(grace),
                touched: HashSet::new(),
                readers: Readers::default(),
            }),
            gone: Cache::new(GONE_MAX),
            clock,
        }))
    }

    fn at(&self) -> Moment {
        Moment::of(&*self.0.clock)
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
        let (id, at) = (device.user, self.at());
        let active_at = || self.0.gone.get(&id).unwrap_or_default();
        self.0.lock().here.open(device, status, at, active_at);
        Ok(())
    }

    async fn set(&self, id: Id, whose: Whose, set: SetPresence) -> Result<bool, Error> {
        let at = self.at();
        Ok(self.0.lock().here.set(id, whose, set, at))
    }

    fn active(&self, id: Id, whose: Whose) {
        let at = self.at();
        self.0.lock().here.active(id, whose, at);
    }

    async fn close(&self, id: Id, serial: u64) -> Result<(), Error> {
        let at = self.at();
        self.0.lock().here.close(id, serial, at);
        Ok(())
    }

    async fn get(&self, users: &[Id]) -> Result<Vec<Presence>, Error> {
        let now = self.at().now;
        let mut state = self.0.lock();
        let shown = users.iter().map(|id| match state.here.user(*id) {
            Some(user) => {
                let shown = user.shown(*id, now);
                user.beside.read |= shown.differs(&user.beside.presence(*id));
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
        let now = self.at().now;
        let mut state = self.0.lock();
        state.here.pass(now);
        let mut presences = Vec::new();
        for id in state.here.take_dirty() {
            let Some(user) = state.here.user(id) else {
                continue;
            };
            let shown = user.shown(id, now);
            let before = user.beside.presence(id);
            let gone = user.sessions.is_empty();
            // What it was between, those who read it then hold until they are told otherwise.
            if std::mem::take(&mut user.beside.read) || shown.differs(&before) {
                presences.push(shown.clone());
            }
            if gone {
                self.0.gone.insert(id, shown.last_active_at);
                state.here.forget(id);
            } else {
                user.beside.said = Some(shown);
            }
        }
        let touched: Vec<Touched> = state.touched.drain().collect();
        metrics::gauge!("chirm_users_present").set(state.here.len() as f64);
        state.readers.tell(presences, touched);
        Ok(())
    }

    fn touch(&self, touched: Touched) {
        self.0.lock().touched.insert(touched);
    }

    fn batches(&self) -> Batches {
        self.0.lock().readers.add()
    }
}
