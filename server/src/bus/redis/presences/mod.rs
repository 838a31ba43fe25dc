//! Who is here, over all nodes of a cluster. Each node counts its own sessions as a node by itself
//! does; once a tick it says what changed to Redis, which has, by user, the sessions of all nodes.
//! Users are spread over 32 parts. One script call a part both says and hears; a change of what
//! others see is numbered in it, and told on the part's channel. ADR 18 says what holds.

mod heard;
mod state;
mod wire;

use super::connection::Call;
use super::keys::{PARTS, part_of};
use super::topics::{Shared, unread};
use crate::bus::local::here::Moment;
use crate::bus::{Batches, Device, Error, Presences, SetPresence, Whose};
use crate::clock::Clock;
use crate::model::{Id, Presence, Status, Touched};
use async_trait::async_trait;
use futures::StreamExt as _;
use quick_cache::sync::Cache;
use state::{Asked, BATCH, State};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wire::{Answer, Message, Said};

/// Parts that are called at once.
const AT_ONCE: usize = 16;
/// Calls for one part in a tick.
const CALLS_MAX: usize = 1_024;
/// That a user did something is told to its other nodes no more often.
const ACTIVE_EVERY: Duration = Duration::from_secs(60);
/// Of so many users it is remembered when that was.
const ACTIVE_MAX: usize = 100_000;

/// What is heard and what is to be said; and on which connection each part is listened to.
pub(super) struct Listening {
    state: Mutex<State>,
    lines: Vec<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl Listening {
    /// A session that ended counts for `grace` still.
    pub(super) fn new(grace: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::new(State::new(grace)),
            lines: (0..PARTS).map(|_| AtomicU64::new(0)).collect(),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self) -> Moment {
        Moment::of(&*self.clock)
    }

    /// Something came on a part's channel. What isn't understood leaves its number out.
    pub(super) fn hear(&self, part: u8, said: &[u8]) {
        if let Ok(message) = serde_json::from_slice::<Message>(said) {
            self.lock().hear(part, message, self.at().now);
        }
    }

    /// Whether a part is listened to on this connection.
    pub(super) fn is_on(&self, part: u8, line: u64) -> bool {
        self.lines[usize::from(part)].load(Ordering::SeqCst) == line
    }

    pub(super) fn confirm(&self, part: u8, line: u64) {
        self.lines[usize::from(part)].store(line, Ordering::SeqCst);
    }

    /// A connection is gone.
    pub(super) fn cut(&self, line: u64) {
        for on in &self.lines {
            let _ = on.compare_exchange(line, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Whether all parts are listened to.
    pub(super) fn is_whole(&self) -> bool {
        (0..PARTS).all(|part| !self.is_on(part as u8, 0))
    }
}

/// Who is here, over Redis.
pub struct RedisPresences {
    inner: Arc<Inner>,
    /// What a tick says, if it took too long to be waited for.
    ticking: tokio::sync::Mutex<Option<JoinHandle<Result<(), Error>>>>,
    /// When it was told to others that a user did something by a credential.
    active: Cache<(Id, Id), Duration>,
}

struct Inner {
    shared: Arc<Shared>,
    listening: Arc<Listening>,
    /// One call a part at a time.
    turns: Vec<tokio::sync::Mutex<()>>,
    within: Duration,
}

impl RedisPresences {
    /// Calls wait for Redis no longer than `within`.
    pub(super) fn new(shared: Arc<Shared>, listening: Arc<Listening>, within: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                shared,
                listening,
                turns: (0..PARTS).map(|_| tokio::sync::Mutex::new(())).collect(),
                within,
            }),
            ticking: tokio::sync::Mutex::new(None),
            active: Cache::new(ACTIVE_MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.listening.lock()
    }

    fn at(&self) -> Moment {
        self.inner.listening.at()
    }
}

impl Inner {
    async fn call(&self, part: u8, said: &Said) -> Result<Answer, Error> {
        let (servers, keys) = (&self.shared.servers, &self.shared.keys);
        let mut of_call = keys.of_part(part);
        of_call.extend(said.users.iter().map(|user| keys.presence(part, user)));
        let mut args = servers.head();
        args.push(serde_json::to_vec(said).map_err(|_| unread())?);
        let call = Call {
            script: &self.shared.scripts.presence,
            keys: of_call,
            args,
        };
        let answer: Vec<u8> = servers.call_group(part, call).await?;
        serde_json::from_slice(&answer).map_err(|_| unread())
    }

    /// Says what is to be said of a part, and asks. Answers what was answered first.
    async fn exchange(&self, part: u8, mut asked: Asked) -> Result<Answer, Error> {
        let _turn = self.turns[usize::from(part)].lock().await;
        let mut first = None;
        for _ in 0..CALLS_MAX {
            let at = self.listening.at();
            let said = self.listening.lock().prepare(part, &mut asked, at);
            let answer = match self.call(part, &said).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.listening.lock().failed(part, at.now);
                    return Err(error);
                }
            };
            let reaped = answer.reaped;
            metrics::counter!("chirm_presence_reaped_total").increment(reaped);
            let mut state = self.listening.lock();
            state.answered(part, &said, &answer, self.listening.at());
            let more = asked.all && state.has_more(part, at.now);
            drop(state);
            first.get_or_insert(answer);
            if !more {
                break;
            }
        }
        first.ok_or_else(unread)
    }

    /// Says all that is to be said.
    async fn say_all(self: Arc<Self>) -> Result<(), Error> {
        let due = self.listening.lock().parts_due(self.listening.at().now);
        let parts = futures::stream::iter(due);
        let calls = parts.map(|part| {
            let inner = self.clone();
            let asked = Asked {
                all: true,
                ..Asked::default()
            };
            async move { inner.exchange(part, asked).await }
        });
        let ends: Vec<_> = calls.buffer_unordered(AT_ONCE).collect().await;
        ends.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    async fn read(&self, users: &[Id]) -> Result<HashMap<Id, Presence>, Error> {
        let mut parts: Vec<Vec<Id>> = vec![Vec::new(); PARTS];
        for id in users {
            parts[usize::from(part_of(*id))].push(*id);
        }
        let mut asked: Vec<(u8, Vec<Id>)> = Vec::new();
        for (part, users) in parts.iter().enumerate() {
            let batches = users.chunks(BATCH);
            asked.extend(batches.map(|batch| (part as u8, batch.to_vec())));
        }
        let calls = futures::stream::iter(asked).map(|(part, read)| {
            let asked = Asked {
                read,
                ..Asked::default()
            };
            self.exchange(part, asked)
        });
        let mut calls = calls.buffer_unordered(AT_ONCE);
        let mut all = HashMap::with_capacity(users.len());
        while let Some(answer) = calls.next().await {
            let read = answer?.read;
            let presences = read.iter().filter_map(wire::presence);
            all.extend(presences.map(|presence| (presence.user_id, presence)));
        }
        Ok(all)
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let late = || Error::Unavailable("Redis didn't answer in time".into());
        timeout(self.within, call).await.map_err(|_| late())?
    }
}

#[async_trait]
impl Presences for RedisPresences {
    async fn open(&self, device: Device, status: Status) -> Result<(), Error> {
        let at = self.at();
        self.lock().here.open(device, status, at, || 0);
        Ok(())
    }

    async fn set(&self, id: Id, whose: Whose, set: SetPresence) -> Result<bool, Error> {
        let at = self.at();
        let is_here = {
            let mut state = self.lock();
            let is_here = state.here.set(id, whose, set.clone(), at);
            if is_here && set.text.is_some() {
                state.words_are_new(id);
            }
            is_here
        };
        let Whose::Credential(credential) = whose else {
            return Ok(is_here);
        };
        let asked = Asked {
            set: Some(state::set_of(id, credential, &set)),
            ..Asked::default()
        };
        let call = self.inner.exchange(part_of(id), asked);
        match self.inner.in_time(call).await {
            Ok(answer) => Ok(is_here || answer.found.first().is_some_and(|found| *found > 0)),
            Err(_) if is_here => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn active(&self, id: Id, whose: Whose) {
        let at = self.at();
        let mut state = self.lock();
        if state.here.active(id, whose, at) {
            return;
        }
        let Whose::Credential(credential) = whose else {
            return;
        };
        let key = (id, credential);
        let last = self.active.get(&key);
        if last.is_none_or(|last| at.now.saturating_sub(last) >= ACTIVE_EVERY) {
            self.active.insert(key, at.now);
            state.active_elsewhere(id, credential);
        }
    }

    async fn close(&self, id: Id, serial: u64) -> Result<(), Error> {
        let at = self.at();
        self.lock().here.close(id, serial, at);
        Ok(())
    }

    async fn get(&self, users: &[Id]) -> Result<Vec<Presence>, Error> {
        let all = self.inner.in_time(self.inner.read(users)).await?;
        let of = users.iter().map(|id| all.get(id).cloned());
        let of = of.zip(users);
        Ok(of
            .map(|(presence, id)| presence.unwrap_or_else(|| Presence::offline(*id)))
            .collect())
    }

    async fn tick(&self) -> Result<(), Error> {
        let now = self.at().now;
        self.lock().here.pass(now);
        let mut ticking = self.ticking.lock().await;
        let saying = || tokio::spawn(self.inner.clone().say_all());
        let mut task = ticking.take().unwrap_or_else(saying);
        let late = "Redis didn't answer in time, or not all of it did";
        let done = match timeout(self.inner.within, &mut task).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => Err(Error::Unavailable(error.to_string())),
            Err(_) => {
                *ticking = Some(task);
                Err(Error::Unavailable(late.into()))
            }
        };
        self.lock().tell(self.at().now);
        done
    }

    fn touch(&self, touched: Touched) {
        self.lock().touch(touched);
    }

    fn batches(&self) -> Batches {
        self.lock().readers.add()
    }
}
