//! Opens what a node stands on: one file, or the servers of a cluster.

use crate::bus::local::{self, LocalTopics, RingLimits};
use crate::bus::redis::{self, NatsSettings, RedisSettings};
use crate::bus::{self, Topics};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::rpc::http::Part;
use crate::store::cql::{Cql, CqlSettings, Replication};
use crate::store::moving::Place;
use crate::store::postgres::{Lease, Postgres, PostgresSettings, Turn};
use crate::store::{
    self, Messages as _, OutboxEvent, Relay, Upkeep as _, sqlite::STORE_FILE, sqlite::Sqlite,
};
use anyhow::Context as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Between two tries to lease a worker's number.
const LEASE_AGAIN: Duration = Duration::from_secs(1);

/// How long a request of an export or an import may take.
const MOVING_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node stands on.
pub struct Backends {
    /// Durable state.
    pub store: store::Handle,
    /// What is shared and fast.
    pub bus: bus::Handle,
    /// What is asked whether it is well, by name.
    pub parts: Vec<Part>,
    /// What keeps a cluster's bus and lease; it ends when this is dropped.
    cluster: Option<Cluster>,
}

struct Cluster {
    _running: redis::Running,
    tasks: JoinSet<()>,
    lease: watch::Receiver<Arc<Lease>>,
}

impl Backends {
    /// Opens those that the settings name.
    ///
    /// # Errors
    /// One of them can't be used; the message says which, and what to do.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        if config.has_stack() {
            cluster(config, clock).await
        } else {
            embedded(config, clock).await
        }
    }

    /// Ends their use, when nothing is under way any more: what was accepted is made durable, and
    /// the number of the node's ids is free for the next one.
    pub async fn close(mut self) {
        if let Some(cluster) = &mut self.cluster {
            cluster.tasks.shutdown().await;
            let lease = cluster.lease.borrow().clone();
            let used = lease.now_ms() + self.bus.reservations.ahead_ms();
            if let Err(error) = lease.give_back(used).await {
                tracing::warn!(%error, "the worker's number is free in 30 s");
            }
        }
        // The bus runs until then: it carries the events of the last changes.
        self.store.close().await;
    }
}

fn rings(config: &Config) -> RingLimits {
    RingLimits {
        events: config.limits.ring_events,
        bytes: config.limits.ring_bytes,
        age: config.limits.ring_age,
        ..RingLimits::default()
    }
}

async fn embedded(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Backends> {
    std::fs::create_dir_all(&config.data).with_context(|| {
        format!(
            "the data folder {} can't be made: choose another with --data",
            config.data.display()
        )
    })?;
    let topics = LocalTopics::new(rings(config), clock.clone());
    let path = config.data.join(STORE_FILE);
    let relay = Arc::new(topics.clone());
    let store = Arc::new(Sqlite::open_with_clock(&path, relay, clock.clone()).await?);
    let highest = store.highest().await?;
    let bus = local::open(topics, highest, config.gateway.grace, clock);
    Ok(Backends {
        parts: vec![Part::new(
            "store",
            &store,
            |store: Arc<Sqlite>| async move { store.check().await },
        )],
        store,
        bus,
        cluster: None,
    })
}

async fn cluster(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Backends> {
    let relay = Arc::new(Later::default());
    let store = Arc::new(open_store(config, relay.clone(), clock.clone()).await?);
    let mut tasks = JoinSet::new();
    let lease = lease(&store, clock.clone(), &mut tasks).await?;
    let own = lease.clone();
    let worker: redis::Worker = Arc::new(move || {
        let lease = own.borrow();
        lease.usable().then(|| lease.worker())
    });
    let highest = store.highest().await?;
    let node = redis::Node {
        ring: rings(config),
        highest,
        // It rises before a message is written.
        is_new: highest == 0,
        grace: config.gateway.grace,
        clock,
        worker,
    };
    let settings = RedisSettings {
        urls: config.redis.urls.clone(),
        cluster: config.redis.cluster,
        prefix: format!("{}:", config.namespace),
        ..RedisSettings::default()
    };
    let nats = NatsSettings {
        urls: config.nats.urls.clone(),
        user: config.nats.user.clone(),
        password: config.nats.password.clone(),
        token: config.nats.token.clone(),
        prefix: format!("{}.", config.namespace),
    };
    let nats = (!nats.urls.is_empty()).then_some(&nats);
    let opened = redis::open(&settings, nats, node).await?;
    let _ = relay.0.set(opened.relay);
    Ok(Backends {
        parts: parts(&store, &opened.handle),
        store,
        bus: opened.handle,
        cluster: Some(Cluster {
            _running: opened.running,
            tasks,
            lease,
        }),
    })
}

/// The servers of a cluster, by the names of their settings.
fn parts(store: &Arc<Postgres>, bus: &bus::Handle) -> Vec<Part> {
    vec![
        Part::new("postgres", store, |store: Arc<Postgres>| async move {
            store.check_postgres().await
        }),
        Part::new("cql", store, |store: Arc<Postgres>| async move {
            store.check_cql().await
        }),
        Part::new("redis", &bus.topics, |topics: Arc<dyn Topics>| async move {
            topics.check().await
        }),
    ]
}

/// Leases a worker's number and keeps it; another one, should it be lost.
async fn lease(
    store: &Arc<Postgres>,
    clock: Arc<dyn Clock>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<watch::Receiver<Arc<Lease>>> {
    let lease = store.lease_worker(clock.clone()).await?;
    let (leases, lease) = watch::channel(Arc::new(lease));
    let store = store.clone();
    tasks.spawn(async move {
        loop {
            let lease = leases.borrow().clone();
            lease.keep().await;
            tracing::warn!(worker = lease.worker(), "the worker's lease is lost");
            match store.lease_worker(clock.clone()).await {
                Ok(lease) => drop(leases.send(Arc::new(lease))),
                Err(error) => {
                    tracing::error!(%error, "no worker can be leased: no ids can be made");
                    tokio::time::sleep(LEASE_AGAIN).await;
                }
            }
        }
    });
    Ok(lease)
}

/// The store of a cluster by itself, for commands that change little.
///
/// # Errors
/// Postgres or the CQL servers can't be used.
pub async fn open_store(
    config: &Config,
    relay: Arc<dyn Relay>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Postgres> {
    let (settings, messages) = servers(config)?;
    let (messages, _turn) = open_messages(&settings, &messages, clock.clone()).await?;
    Ok(Postgres::open(&settings, messages, relay, clock).await?)
}

/// The store of a cluster, to read all of it; no node may run.
///
/// # Errors
/// Postgres or the CQL servers can't be used, or nodes run.
pub async fn open_to_export(config: &Config) -> anyhow::Result<Box<dyn Place>> {
    let (settings, messages) = unhurried(config)?;
    let (messages, _turn) = open_messages(&settings, &messages, system_clock()).await?;
    Ok(Postgres::open_to_export(&settings, messages).await?)
}

/// The store of a cluster, to write what moves into it; no node may run.
///
/// # Errors
/// As of [`open_to_export`].
pub async fn open_to_import(config: &Config) -> anyhow::Result<Box<dyn Place>> {
    let (settings, messages) = unhurried(config)?;
    let (messages, _turn) = open_messages(&settings, &messages, system_clock()).await?;
    Ok(Postgres::open_to_import(&settings, messages).await?)
}

/// Opens the CQL servers, in the turn to make what is missing: CQL has no lock of its own, and of
/// two that make a table at once one may fail. Held until Postgres is open, too.
async fn open_messages(
    settings: &PostgresSettings,
    messages: &CqlSettings,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Cql, Turn)> {
    let turn = Turn::take(settings).await?;
    Ok((Cql::open(messages, clock).await?, turn))
}

fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

/// For what moves: nobody waits for a single request.
fn unhurried(config: &Config) -> anyhow::Result<(PostgresSettings, CqlSettings)> {
    let (settings, messages) = servers(config)?;
    let messages = CqlSettings {
        timeout: MOVING_TIMEOUT,
        ..messages
    };
    Ok((settings, messages))
}

/// How the servers of a cluster's store are reached.
fn servers(config: &Config) -> anyhow::Result<(PostgresSettings, CqlSettings)> {
    let url = config.postgres.url.as_ref();
    let url = url.context("postgres.url isn't set")?.expose();
    let (cql, copies) = (&config.cql, config.cql.replication_factor);
    let copies = u8::try_from(copies).context("cql.replication_factor is above 255")?;
    let password = cql.password.as_ref().map(|password| password.expose());
    let messages = CqlSettings {
        login: (!cql.user.is_empty())
            .then(|| (cql.user.clone(), password.unwrap_or_default().to_owned())),
        keyspace: if cql.keyspace.is_empty() {
            config.namespace.clone()
        } else {
            cql.keyspace.clone()
        },
        replication: if cql.datacenter.is_empty() {
            Replication::Simple(copies)
        } else {
            Replication::Datacenter(cql.datacenter.clone(), copies)
        },
        single: copies == 1,
        ..CqlSettings::new(cql.nodes.clone())
    };
    let settings = PostgresSettings {
        max_connections: config.postgres.connections,
        schema: config.namespace.clone(),
        ..PostgresSettings::new(url)
    };
    Ok((settings, messages))
}

/// Hands events on to a bus that is opened after the store: nothing happens before.
#[derive(Default)]
struct Later(OnceLock<Arc<dyn Relay>>);

impl Relay for Later {
    fn relay(&self, events: Vec<OutboxEvent>) {
        if let Some(relay) = self.0.get() {
            relay.relay(events);
        }
    }
}
