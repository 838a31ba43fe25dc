//! The contract suite, on real servers, and what is this bus's alone.

mod faults;
mod held;
mod nats;
mod nats_server;
mod node;
mod presences;
mod scheme;
mod server;
mod watch;

use super::{NatsSettings, Node, OpenError, RedisSettings, Running, open, open_at};
use crate::bus::local::RingLimits;
use crate::bus::suite::{GRACE, Kept, Opened, Place};
use crate::clock::{Clock as _, ManualClock, SystemClock};
use crate::config::Secret;
use crate::model::Id;
use crate::store::{OutboxEvent, Relay};
use server::DEADLINE;
use std::sync::Arc;
use tokio::time::timeout;

/// The addresses that a variable of `make stack-up` names.
fn urls(variable: &str) -> Vec<Secret> {
    let named = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} isn't set"));
    named.split(',').map(secret).collect()
}

fn secret(text: &str) -> Secret {
    serde_json::from_value(text.into()).unwrap()
}

/// Keys that nobody else has.
fn settings(variable: &str) -> RedisSettings {
    RedisSettings {
        urls: urls(variable),
        cluster: variable.ends_with("CLUSTER"),
        prefix: format!("test:{}:", uuid::Uuid::new_v4().simple()),
        // The suite's time stands still while it waits.
        presence_within: std::time::Duration::from_secs(20),
        ..RedisSettings::default()
    }
}

/// Keeps the bus going as long as its relay lives.
struct Going {
    relay: Arc<dyn Relay>,
    _running: Running,
}

impl Relay for Going {
    fn relay(&self, events: Vec<OutboxEvent>) {
        self.relay.relay(events);
    }
}

async fn place(
    settings: &RedisSettings,
    nats: Option<&NatsSettings>,
    kept: Kept,
    highest: Id,
    clock: Arc<ManualClock>,
) -> Opened {
    place_of(settings, nats, kept, (highest, false), clock).await
}

/// A bus whose scripts are told the test's time, of a deployment with this highest id that may be
/// new.
async fn place_of(
    settings: &RedisSettings,
    nats: Option<&NatsSettings>,
    kept: Kept,
    (highest, is_new): (Id, bool),
    clock: Arc<ManualClock>,
) -> Opened {
    let Kept { events, bytes, age } = kept;
    let node = Node {
        ring: RingLimits {
            events,
            bytes,
            age,
            ..RingLimits::default()
        },
        highest,
        is_new,
        grace: GRACE,
        clock: clock.clone(),
        worker: Arc::new(|| Some(5)),
    };
    // As Redis's own clock, it doesn't change when a node's is set.
    let start = clock.wall_ms();
    let passed = clock.elapsed();
    let time = move || {
        let since = clock.elapsed().saturating_sub(passed);
        start + i64::try_from(since.as_millis()).unwrap()
    };
    going(open_at(settings, nats, node, Some(Arc::new(time))).await)
}

/// A bus as a node has it, of this worker.
async fn node(settings: &RedisSettings, worker: u16) -> Opened {
    node_with(settings, None, worker).await
}

async fn node_with(settings: &RedisSettings, nats: Option<&NatsSettings>, worker: u16) -> Opened {
    going(open(settings, nats, worker_node(worker)).await)
}

fn worker_node(worker: u16) -> Node {
    Node {
        ring: RingLimits::default(),
        highest: 0,
        is_new: false,
        grace: GRACE,
        clock: Arc::new(SystemClock::default()),
        worker: Arc::new(move || Some(worker)),
    }
}

/// Why a bus isn't opened: in words that begin with the part, or the setting, and without a secret.
async fn refusal(part: &str, settings: &RedisSettings, nats: Option<&NatsSettings>) -> String {
    let opened = timeout(DEADLINE, open(settings, nats, worker_node(1))).await;
    let error = opened.expect("it hangs").err().expect("it opened");
    let (text, debug) = (
        error.to_string(),
        format!("{settings:?} {nats:?} {error:?}"),
    );
    assert!(
        !text.contains("hunter2") && !debug.contains("hunter2"),
        "{text} {debug}"
    );
    assert!(text.starts_with(part), "{text}");
    text
}

fn going(opened: Result<super::Opened, OpenError>) -> Opened {
    let opened = opened.unwrap_or_else(|error| panic!("{error}"));
    Opened {
        handle: opened.handle,
        relay: Arc::new(Going {
            relay: opened.relay,
            _running: opened.running,
        }),
    }
}

struct Single;

impl Place for Single {
    async fn open(kept: Kept, highest: Id, clock: Arc<ManualClock>) -> Opened {
        let redis = settings("CHIRM_TEST_REDIS");
        place(&redis, None, kept, highest, clock).await
    }
}

struct Cluster;

impl Place for Cluster {
    async fn open(kept: Kept, highest: Id, clock: Arc<ManualClock>) -> Opened {
        let redis = settings("CHIRM_TEST_REDIS_CLUSTER");
        place(&redis, None, kept, highest, clock).await
    }
}

/// One Redis, and NATS for the fan-out.
struct ByNats;

impl Place for ByNats {
    async fn open(kept: Kept, highest: Id, clock: Arc<ManualClock>) -> Opened {
        let redis = settings("CHIRM_TEST_REDIS");
        let nats = NatsSettings {
            urls: urls("CHIRM_TEST_NATS"),
            prefix: redis.prefix.replace(':', "-") + ".",
            ..NatsSettings::default()
        };
        place(&redis, Some(&nats), kept, highest, clock).await
    }
}

mod suite {
    use super::Single;
    use crate::bus::suite::contract_suite;
    contract_suite! { #[ignore = "needs the real servers: make stack-up"] shared Single }
}

mod nats_suite {
    use super::ByNats;
    use crate::bus::suite::contract_suite;
    contract_suite! { #[ignore = "needs the real servers: make stack-up"] shared ByNats }
}

mod cluster_suite {
    use super::Cluster;
    use crate::bus::suite::contract_suite;
    contract_suite! { #[ignore = "needs the real servers: make stack-up"] shared Cluster }
}
