//! The servers, which group is on which, and calls of scripts there.

use super::cluster::{self, Addresses};
use super::keys::{GROUPS, Keys, group_of};
use super::supervisor::{Line, Live, Role};
use super::{OpenError, RedisSettings};
use crate::bus::Error;
use crate::model::Id;
use redis::aio::MultiplexedConnection;
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, PushInfo, RedisError, Script, ServerErrorKind,
};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// The map of a cluster is read anew at least so often.
const REREAD_EVERY: Duration = Duration::from_secs(30);
/// After a failure it is read again after so long.
const REREAD_AGAIN: Duration = Duration::from_millis(500);

/// A server: a connection for commands, and one for events.
pub(super) struct Server {
    pub(super) commands: Arc<Line>,
    pub(super) events: Arc<Line>,
    _tasks: JoinSet<()>,
}

/// Nothing is pushed to a connection for commands.
struct Commands;

impl Role for Commands {
    fn pushed(&self, _: &Line, _: u64, _: PushInfo) {}

    async fn up(&self, _: &Line, _: Live) {}

    fn down(&self, _: u64) {}
}

/// Which server has which group.
pub(super) type Places = RwLock<Vec<Option<Arc<Server>>>>;

/// Where the time of the scripts is from.
pub(super) type Time = Option<Arc<dyn Fn() -> i64 + Send + Sync>>;

/// All servers, as a node uses them.
pub(super) struct Servers<R: Role> {
    places: Arc<Places>,
    settings: RedisSettings,
    template: Client,
    role: Arc<R>,
    permits: Semaphore,
    reading: Mutex<()>,
    pub(super) reread: Notify,
    time: Time,
    /// How long calls take.
    seconds: metrics::Histogram,
}

/// What a script is called with: after the time and a random epoch, which all of them take first.
pub(super) struct Call<'a> {
    pub(super) script: &'a Script,
    pub(super) keys: Vec<String>,
    pub(super) args: Vec<Vec<u8>>,
}

const NO_SCRIPT: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);

impl Call<'_> {
    /// All in one piece of memory: a send makes two of some forty words.
    fn command(&self) -> Cmd {
        let hash = self.script.get_hash();
        let keys = self.keys.iter().map(String::len);
        let bytes: usize = keys.chain(self.args.iter().map(Vec::len)).sum();
        let words = 3 + self.keys.len() + self.args.len();
        let mut command = Cmd::with_capacity(words, bytes + hash.len() + 16);
        command.arg("EVALSHA").arg(hash).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for arg in &self.args {
            command.arg(arg.as_slice());
        }
        command
    }
}

impl<R: Role> Servers<R> {
    pub(super) fn new(
        settings: RedisSettings,
        template: Client,
        role: Arc<R>,
        time: Time,
    ) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(RwLock::new(vec![None; GROUPS])),
            permits: Semaphore::new(settings.in_flight_max),
            settings,
            template,
            role,
            reading: Mutex::new(()),
            reread: Notify::new(),
            time,
            seconds: metrics::histogram!("chirm_redis_call_seconds"),
        })
    }

    /// Learns where the groups are.
    pub(super) async fn begin(&self, connection: &mut MultiplexedConnection) -> Result<(), String> {
        if self.settings.cluster {
            let addresses = cluster::read(connection).await?;
            self.place(&addresses);
        } else {
            let server = Arc::new(self.server(self.template.clone()));
            *self.places.write().unwrap_or_else(PoisonError::into_inner) =
                vec![Some(server.clone()); GROUPS];
            // It may have been connected before it had a place.
            server.events.renew.notify_one();
        }
        Ok(())
    }

    fn server(&self, client: Client) -> Server {
        let commands = Arc::new(Line::new(client.clone()));
        let events = Arc::new(Line::new(client));
        let mut tasks = JoinSet::new();
        tasks.spawn(commands.clone().keep(Arc::new(Commands)));
        tasks.spawn(events.clone().keep(self.role.clone()));
        Server {
            commands,
            events,
            _tasks: tasks,
        }
    }

    /// Puts each group where its address says; servers that have none any more are let go.
    fn place(&self, addresses: &Addresses) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<Arc<Server>> = Vec::new();
        for server in places.iter().flatten() {
            if !known.iter().any(|other| Arc::ptr_eq(other, server)) {
                known.push(server.clone());
            }
        }
        let mut gained: Vec<Arc<Server>> = Vec::new();
        for (group, address) in addresses.iter().enumerate() {
            let Some((host, port)) = address else {
                continue; // Nobody has it now: who had it may come back.
            };
            let client = match cluster::client_at(&self.template, host, *port) {
                Ok(client) => client,
                Err(error) => {
                    tracing::warn!(host, port, %error, "no address of a Redis");
                    continue;
                }
            };
            let at = client.get_connection_info().addr().to_string();
            if places[group]
                .as_ref()
                .is_some_and(|s| s.commands.address == at)
            {
                continue;
            }
            let server = match known.iter().find(|s| s.commands.address == at) {
                Some(server) => server.clone(),
                None => {
                    known.push(Arc::new(self.server(client)));
                    known[known.len() - 1].clone()
                }
            };
            if !gained.iter().any(|other| Arc::ptr_eq(other, &server)) {
                gained.push(server.clone());
            }
            places[group] = Some(server);
        }
        drop(places);
        gained
            .iter()
            .for_each(|server| server.events.renew.notify_one());
    }

    /// All servers, each once.
    pub(super) fn all(&self) -> Vec<Arc<Server>> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Arc<Server>> = Vec::new();
        for server in places.iter().flatten() {
            if !all.iter().any(|other| Arc::ptr_eq(other, server)) {
                all.push(server.clone());
            }
        }
        all
    }

    /// Where a group is.
    pub(super) fn of(&self, group: u8) -> Result<Arc<Server>, Error> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let nobody = || Error::Unavailable("no Redis serves this part of the cluster now".into());
        places[usize::from(group)].clone().ok_or_else(nobody)
    }

    /// The groups that are where this line leads.
    pub(super) fn groups_of(places: &Places, line: &Line) -> Vec<u8> {
        let places = places.read().unwrap_or_else(PoisonError::into_inner);
        let here = |server: &Option<Arc<Server>>| {
            server
                .as_ref()
                .is_some_and(|s| s.events.address == line.address)
        };
        (0..=u8::MAX)
            .filter(|group| here(&places[usize::from(*group)]))
            .collect()
    }

    /// The places, to be looked at without what keeps them.
    pub(super) fn places(&self) -> Arc<Places> {
        self.places.clone()
    }

    /// What each script takes first: the time, unless it is to be the server's own, and an epoch,
    /// should it need one.
    pub(super) fn head(&self) -> Vec<Vec<u8>> {
        let time = self
            .time
            .as_ref()
            .map_or_else(String::new, |time| time().to_string());
        let epoch = rand::random_range(1..i64::MAX).to_string();
        vec![time.into_bytes(), epoch.into_bytes()]
    }

    /// Calls a script on the server of an id's group.
    pub(super) async fn call<T: FromRedisValue>(&self, id: Id, call: Call<'_>) -> Result<T, Error> {
        self.call_group(group_of(id), call).await
    }

    /// Says something on a channel of an id's group, once.
    pub(super) async fn say(&self, id: Id, channel: &str, said: &[u8]) -> Result<(), Error> {
        let line = self.of(group_of(id))?.commands.clone();
        let failed = |why: &str| Error::Unavailable(format!("Redis at {}: {why}", line.address));
        let live = line.live().ok_or_else(|| failed("it can't be reached"))?;
        let mut publish = redis::cmd("SPUBLISH");
        publish.arg(channel).arg(said);
        let mut connection = live.connection;
        let run = publish.query_async::<()>(&mut connection);
        match timeout(self.settings.time_out, run).await {
            Ok(answer) => answer.map_err(|error| failed(&error.to_string())),
            Err(_) => Err(failed("no answer in time")),
        }
    }

    /// Whether any server takes a write, which a full one doesn't: of a cluster, one that is down
    /// stops its own groups alone.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let mut failed = Error::Unavailable("no Redis is known".into());
        for server in self.all() {
            let address = &server.commands.address;
            failed = Error::Unavailable(format!("Redis at {address} can't be reached"));
            let Some(mut live) = server.commands.live() else {
                continue;
            };
            let Some(group) = Self::groups_of(&self.places, &server.commands)
                .first()
                .copied()
            else {
                continue;
            };
            let key = Keys::new(&self.settings.prefix).check(group);
            let mut write = redis::cmd("SET");
            write.arg(key).arg(1).arg("PX").arg(1_000);
            let written = write.query_async::<()>(&mut live.connection);
            match timeout(self.settings.time_out, written).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => failed = self.failed(&server.commands, &error).error(),
                Err(_) => {}
            }
        }
        Err(failed)
    }

    /// A connection for commands to the server of an id's group, if there is one now.
    pub(super) fn connection(&self, id: Id) -> Option<MultiplexedConnection> {
        let live = self.of(group_of(id)).ok()?.commands.live()?;
        Some(live.connection)
    }

    /// As [`Self::call`].
    pub(super) async fn call_group<T: FromRedisValue>(
        &self,
        group: u8,
        call: Call<'_>,
    ) -> Result<T, Error> {
        let limit = self.settings.time_out;
        let run = async {
            // Who waits so long for its turn is refused while it is known that nothing was done.
            let permit = timeout(limit / 2, self.permits.acquire()).await;
            let Ok(Ok(_permit)) = permit else {
                return Err(Error::Overloaded);
            };
            match self.once(group, &call).await {
                Err(Failed::Moved) => {
                    self.read_map().await;
                    self.once(group, &call).await.map_err(Failed::error)
                }
                other => other.map_err(Failed::error),
            }
        };
        let begun = Instant::now();
        let result = timeout(limit, run).await;
        self.seconds.record(begun.elapsed());
        result.unwrap_or_else(|_| Err(Error::Unavailable("Redis didn't answer in time".into())))
    }

    async fn once<T: FromRedisValue>(&self, group: u8, call: &Call<'_>) -> Result<T, Failed> {
        let line = self.of(group).map_err(Failed::Other)?.commands.clone();
        let Some(live) = line.live() else {
            let address = &line.address;
            let message = format!("Redis at {address} can't be reached");
            return Err(Failed::Other(Error::Unavailable(message)));
        };
        let mut connection = live.connection;
        let command = call.command();
        let mut answer = command.query_async::<T>(&mut connection).await;
        if answer.as_ref().err().map(RedisError::kind) == Some(NO_SCRIPT) {
            // Nothing was done: the server is new to it.
            let loaded = call.script.load_async(&mut connection).await;
            answer = match loaded {
                Ok(_) => command.query_async(&mut connection).await,
                Err(error) => Err(error),
            };
        }
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if error.is_unrecoverable_error() {
            line.is_broken();
            self.reread.notify_one();
        }
        Err(self.failed(&line, &error))
    }

    fn failed(&self, line: &Line, error: &RedisError) -> Failed {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly)
                if self.settings.cluster =>
            {
                Failed::Moved
            }
            _ => Failed::Other(Error::Unavailable(format!(
                "Redis at {}: {error}",
                line.address
            ))),
        }
    }

    /// Reads the map of the cluster anew, from whichever server answers.
    async fn read_map(&self) -> bool {
        let _reading = self.reading.lock().await;
        for server in self.all() {
            let Some(mut live) = server.commands.live() else {
                continue;
            };
            let reading = cluster::read(&mut live.connection);
            if let Ok(Ok(addresses)) = timeout(Duration::from_secs(1), reading).await {
                self.place(&addresses);
                return true;
            }
        }
        false
    }

    /// Rereads the map whenever something points to a change, and now and then.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            let _ = timeout(REREAD_EVERY, self.reread.notified()).await;
            while !self.read_map().await || !self.all_live() {
                tokio::time::sleep(REREAD_AGAIN).await;
            }
        }
    }

    fn all_live(&self) -> bool {
        self.all()
            .iter()
            .all(|server| server.commands.live().is_some())
    }

    /// Waits until every server is connected, but no longer than `limit`.
    pub(super) async fn settled(&self, limit: Duration) -> Result<(), OpenError> {
        let ready = async {
            loop {
                let all = self.all();
                let live = |s: &Arc<Server>| s.commands.live().and(s.events.live()).is_some();
                if !all.is_empty() && all.iter().all(live) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let missing = || {
            let all = self.all();
            let down = all.iter().find(|s| s.commands.live().is_none());
            down.map_or_else(String::new, |server| server.commands.address.clone())
        };
        timeout(limit, ready).await.map_err(|_| {
            OpenError::redis(
                &missing(),
                "can't be reached; is it running, and is the address right?",
            )
        })
    }
}

enum Failed {
    /// Another server has the group: nothing was done.
    Moved,
    Other(Error),
}

impl Failed {
    fn error(self) -> Error {
        match self {
            Failed::Moved => Error::Unavailable("the Redis cluster is changing".into()),
            Failed::Other(error) => error,
        }
    }
}
