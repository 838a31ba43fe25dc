//! The bus over Redis, for several nodes. Redis numbers what it says, and confesses what it forgot:
//! each script compares whether the server is still the one that it knew, and begins a new epoch if
//! it isn't. ADR 17 says what a send does when that happens.
//!
//! Channels, servers and users are spread over 256 groups; all that one script touches is of one
//! group, so that a cluster can hold them. What happens to topics is told by Redis's own Pub/Sub,
//! or by NATS where that is named (`fanout`). The same connections serve a single server and a
//! cluster: one for commands and one for events to each server, watched over by a supervisor of
//! ours.

mod check;
mod cluster;
mod connection;
mod events;
mod fanout;
mod found;
mod held;
mod hub;
mod ids;
mod keys;
mod nats;
mod presences;
mod relay;
mod reservations;
mod scripts;
mod sessions;
mod supervisor;
mod topics;
mod wire;

#[cfg(test)]
mod tests;

pub use ids::Worker;
pub use nats::NatsSettings;
pub use presences::RedisPresences;
pub use relay::RedisRelay;
pub use reservations::RedisReservations;
pub use sessions::RedisSessions;
pub use topics::RedisTopics;

use super::Handle;
use super::local::RingLimits;
use crate::clock::Clock;
use crate::config::Secret;
use crate::model::Id;
use crate::store::Relay;
use connection::{Servers, Time};
use events::Events;
use fanout::Fanout;
use hub::Hub;
use keys::{GROUPS, Keys};
use nats::Nats;
use presences::Listening;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, ProtocolVersion};
use scripts::Scripts;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use supervisor::CONNECT_WITHIN;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use topics::Shared;

/// All of opening takes no longer.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// The least version that has sharded Pub/Sub.
const VERSION: (u32, u32) = (7, 0);

const SILENT: &str = "no answer; is it running, and is the address right?";

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where it is, with user and password. Of a cluster some of its nodes; of a single server its
    /// address alone (the first that answers is used).
    pub urls: Vec<Secret>,
    /// Whether it is a Redis Cluster.
    pub cluster: bool,
    /// What stands before every key and channel.
    pub prefix: String,
    /// How long a command may take.
    pub time_out: Duration,
    /// Commands under way at once; more wait, for half of [`Self::time_out`].
    pub in_flight_max: usize,
    /// How long presence waits for Redis: a little, as stale is better than late.
    pub presence_within: Duration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            cluster: false,
            prefix: "chirm:".into(),
            time_out: Duration::from_millis(1_500),
            in_flight_max: 1_024,
            presence_within: Duration::from_millis(150),
        }
    }
}

/// Why Redis, or NATS, can't be used. Names it, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct OpenError {
    /// A server, or a setting.
    place: String,
    problem: String,
}

impl OpenError {
    fn redis(address: &str, problem: &str) -> Self {
        Self::of(format!("Redis at {address}"), problem)
    }

    fn nats(address: &str, problem: &str) -> Self {
        Self::of(format!("NATS at {address}"), problem)
    }

    fn setting(name: &str, problem: &str) -> Self {
        Self::of(name.into(), problem)
    }

    fn of(place: String, problem: &str) -> Self {
        let problem = problem.into();
        Self { place, problem }
    }
}

/// What a node gives its bus.
pub struct Node {
    /// What a topic's ring keeps.
    pub ring: RingLimits,
    /// The highest id that the store has.
    pub highest: Id,
    /// The deployment is new: the store never had a message.
    pub is_new: bool,
    /// A session that ended is shown as present for so long still.
    pub grace: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The worker of its ids.
    pub worker: Worker,
}

/// An open bus. Its connections end with it.
pub struct Opened {
    /// All of the bus.
    pub handle: Handle,
    /// Takes in the events that the store numbers.
    pub relay: Arc<dyn Relay>,
    /// What keeps it going.
    pub running: Running,
}

/// The tasks of an open bus: dropped, they end.
pub struct Running {
    _tasks: JoinSet<()>,
}

/// Opens the bus. `nats`: by what topics' events reach other nodes, if not by Redis itself.
///
/// # Errors
///
/// When Redis can't be reached, is older than 7.0, may throw away keys when it is full, or is a
/// cluster where none was named or the other way round; when NATS can't be reached or doesn't let
/// its user publish and subscribe. Within some 10 s.
pub async fn open(
    settings: &RedisSettings,
    nats: Option<&NatsSettings>,
    node: Node,
) -> Result<Opened, OpenError> {
    open_at(settings, nats, node, None).await
}

/// As [`open`]. `time`: what the scripts are told, instead of the server's own time.
async fn open_at(
    settings: &RedisSettings,
    nats: Option<&NatsSettings>,
    node: Node,
    time: Time,
) -> Result<Opened, OpenError> {
    let (client, mut connection) = reach(settings).await?;
    let address = client.get_connection_info().addr().to_string();
    let Node {
        ring,
        highest,
        grace,
        clock,
        worker,
        is_new,
    } = node;
    let hub = Arc::new(Hub::new(ring, clock.clone(), nats.is_some()));
    let keys = Keys::new(&settings.prefix);
    let listening = Arc::new(Listening::new(grace, clock.clone()));
    let events = Arc::new(Events {
        hub: hub.clone(),
        presences: listening.clone(),
        keys: keys.clone(),
        hears_topics: nats.is_none(),
        places: OnceLock::new(),
        changing: (0..GROUPS).map(|_| Mutex::new(())).collect(),
    });
    let servers = Servers::new(settings.clone(), client, events.clone(), time);
    let _ = events.places.set(servers.places());
    let begun = servers.begin(&mut connection).await;
    begun.map_err(|problem| OpenError::redis(&address, &problem))?;
    servers.settled(OPEN_WITHIN).await?;
    let mut tasks = JoinSet::new();
    let fanout = fanout(nats, &hub, &events, &mut tasks).await?;
    hear_all(&listening).await;
    let shared = Arc::new(Shared {
        servers: servers.clone(),
        events,
        hub,
        keys,
        scripts: Scripts::new(nats.is_none()),
        fanout,
    });
    if is_new {
        let founded = found::found(&shared).await;
        founded.map_err(|error| OpenError::redis(&address, &error.to_string()))?;
    }
    if settings.cluster {
        tasks.spawn(servers.follow());
    }
    tasks.spawn(check::run(shared.clone()));
    let (relay, carrying) = RedisRelay::new(shared.clone());
    tasks.spawn(carrying);
    let ids = ids::Ids::new(highest, worker, clock);
    let reservations = Arc::new(RedisReservations::new(shared.clone(), ids));
    let handle = Handle {
        topics: Arc::new(RedisTopics(shared.clone())),
        reservations: reservations.clone(),
        pending: reservations,
        sessions: Arc::new(RedisSessions::new(shared.clone())),
        presences: Arc::new(RedisPresences::new(
            shared,
            listening,
            settings.presence_within,
        )),
    };
    Ok(Opened {
        handle,
        relay: Arc::new(relay),
        running: Running { _tasks: tasks },
    })
}

/// Waits until presence is heard of; it needn't be.
async fn hear_all(listening: &Listening) {
    let hears_all = async {
        while !listening.is_whole() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(OPEN_WITHIN, hears_all).await.is_err() {
        tracing::warn!("presence isn't heard of from all of Redis yet");
    }
}

/// By what topics' events reach other nodes.
async fn fanout(
    nats: Option<&NatsSettings>,
    hub: &Arc<Hub>,
    events: &Arc<Events>,
    tasks: &mut JoinSet<()>,
) -> Result<Fanout, OpenError> {
    let Some(settings) = nats else {
        return Ok(Fanout::Redis);
    };
    let nats = Nats::open(settings, hub.clone()).await?;
    tasks.spawn(nats.clone().keep(events.clone()));
    Ok(Fanout::Nats(nats))
}

/// Connects to the first that answers, and looks at it.
async fn reach(settings: &RedisSettings) -> Result<(Client, MultiplexedConnection), OpenError> {
    let mut last = OpenError::setting("redis.urls", "no address is named");
    for url in &settings.urls {
        let client = match client_of(url) {
            Ok(client) => client,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let address = client.get_connection_info().addr().to_string();
        let within = CONNECT_WITHIN.div_f64(settings.urls.len().min(3) as f64);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(within))
            .set_response_timeout(Some(within));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let failed = |problem: &str| OpenError::redis(&address, problem);
        match timeout(within, connecting).await {
            Ok(Ok(mut connection)) => {
                let problem = look(&mut connection, settings.cluster).await;
                problem.map_err(|problem| failed(&problem))?;
                return Ok((client, connection));
            }
            Ok(Err(error)) if error.is_timeout() => last = failed(SILENT),
            Ok(Err(error)) => {
                let hint = "; is it running, are address, user and password right?";
                last = failed(&format!("{error}{hint}"));
            }
            Err(_) => last = failed(SILENT),
        }
    }
    Err(last)
}

/// A client of an address. The error shows nothing of it: there may be a password in it.
fn client_of(url: &Secret) -> Result<Client, OpenError> {
    let wrong = |_| OpenError::setting("redis.urls", "one isn't redis://USER:PASSWORD@HOST:PORT");
    let info = url.expose().into_connection_info().map_err(wrong)?;
    let user = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(user)).map_err(wrong)
}

/// Whether a server is as it must be.
async fn look(connection: &mut MultiplexedConnection, cluster: bool) -> Result<(), String> {
    let ask = redis::cmd("INFO");
    let asked: Result<redis::Value, _> = ask.query_async(connection).await;
    let answer = asked.map_err(|error| {
        format!("{error}; its user needs the commands that docs/cluster.md names")
    })?;
    let text = match answer {
        redis::Value::VerbatimString { text, .. } => text,
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => return Err("its INFO isn't understood".into()),
    };
    judge(&text, cluster)
}

/// Whether what INFO says will do.
fn judge(info: &str, cluster: bool) -> Result<(), String> {
    let value = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    };
    let version = value("redis_version").unwrap_or("unknown");
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let parts = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if parts < VERSION {
        return Err(format!(
            "its version is {version}; Chirm needs 7.0 or newer"
        ));
    }
    match value("maxmemory_policy") {
        Some("noeviction") | None => {}
        Some(policy) => {
            return Err(format!(
                "its maxmemory-policy is {policy}: when it is full it would forget without a \
                 word; set it to noeviction"
            ));
        }
    }
    match (value("cluster_enabled") == Some("1"), cluster) {
        (true, false) => Err("it is a node of a cluster; set redis.cluster = true".into()),
        (false, true) => Err("it is no node of a cluster; set redis.cluster = false".into()),
        _ => Ok(()),
    }
}
