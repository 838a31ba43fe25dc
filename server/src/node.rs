//! One node: the one place that builds the parts and wires them.

#[cfg(test)]
mod visibility;

use crate::backends::Backends;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::Domain;
use crate::gateway::Gateway;
use crate::outgoing::SystemResolver;
use crate::rpc;
use crate::store;
use crate::telemetry::Metrics;
use crate::traces::Traces;
use crate::webhooks::Deliverer;
use anyhow::Context as _;
use futures::future::{BoxFuture, join};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceExt as _;

/// How often the store is trimmed and metrics are worked off.
const UPKEEP: Duration = Duration::from_secs(30);
/// How often it is looked for what should have ended.
const SWEEP: Duration = Duration::from_secs(2);
/// How often what may fill up is looked at.
const LEVELS: Duration = Duration::from_secs(5);
/// How long streams have to end after a drain, before their connections are closed.
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// Runs a whole node until `shutdown`: then clients are asked to go,
/// streams are closed, and all that was accepted is made durable.
///
/// # Errors
/// The data folder, the store, the certificate or a listener can't be used; the message says what
/// to do.
pub async fn run(
    config: Config,
    listener: TcpListener,
    admin: Option<TcpListener>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    run_announced(config, listener, admin, metrics, shutdown, || {}).await
}

/// As [`run`]; calls `ready` once when clients can be served.
///
/// # Errors
/// As [`run`].
pub async fn run_announced(
    config: Config,
    listener: TcpListener,
    admin: Option<TcpListener>,
    metrics: Metrics,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let mut options = config.listener(true)?;
    options.streams = &rpc::gateway::STREAMS;
    let mut node = Node::open(config.clone()).await?;
    let upkeep = tokio::spawn(upkeep(node.domain.clone(), metrics.clone()));
    let levels = levels(node.store.clone());
    let sweeping = tokio::spawn(join(sweep(node.domain.clone()), levels));
    let delivering = node.deliver(&config, &shutdown)?;
    let closed = CancellationToken::new();
    let (reporter, health) = tonic_health::server::health_reporter();
    let reporting = tokio::spawn(report(reporter, node.gateway.clone()));
    let grpc = rpc::routes(&node.domain, &config.limits, health.clone())?;
    let http = rpc::http::router(
        grpc.clone(),
        std::mem::take(&mut node.backends.parts),
        node.gateway.clone(),
        metrics.clone(),
        node.clock.clone(),
        config.browsers.page,
    )?;
    let within = config.net.request_timeout;
    let bridge = rpc::websocket::bridge(
        node.gateway.clone(),
        config.origins()?,
        config.gateway.identify_deadline,
    );
    let port = rpc::port::Port::new(node.gateway.clone(), bridge, grpc, http, within)
        .map_request(with_origin);
    let serving = tokio::spawn(chirm_net::serve(listener, options, port, closed.clone()));
    let admin = match admin {
        Some(admin) => {
            let routes = rpc::admin_routes(node.operations(metrics), &config.limits, health)?;
            let service = rpc::port::Port::of_grpc(routes, within);
            let options = config.listener(config.admin_has_tls(admin.local_addr()?.ip()))?;
            Some(tokio::spawn(chirm_net::serve(
                admin,
                options,
                service,
                closed.clone(),
            )))
        }
        None => None,
    };

    ready();

    shutdown.cancelled().await;
    let over = config.gateway.drain;
    let sessions = node.gateway.drain(over);
    tracing::info!(sessions, "draining");
    let gone = tokio::time::timeout(over + DRAINED_WITHIN, node.gateway.drained()).await;
    if gone.is_err() {
        tracing::warn!("some streams did not end; their connections are closed");
    }
    closed.cancel();
    serving.await.context("the port's task failed")??;
    if let Some(admin) = admin {
        admin.await.context("the admin port's task failed")??;
    }
    upkeep.abort();
    sweeping.abort();
    reporting.abort();
    delivering.await.context("the webhooks' task failed")?;
    node.domain.flush_own_sends().await;
    // Other nodes hear that the last sessions ended.
    if let Err(error) = node.backends.bus.presences.tick().await {
        tracing::warn!(%error, "users of this node may be shown for some 40 s");
    }
    node.backends.close().await;
    node.domain.traces().close().await;
    Ok(())
}

/// Tells those who ask by gRPC whether the node serves: until it drains.
async fn report(reporter: HealthReporter, gateway: Gateway) {
    let services = || [""].into_iter().chain(rpc::PUBLIC).chain(rpc::OPERATORS);
    for service in services() {
        reporter
            .set_service_status(service, ServingStatus::Serving)
            .await;
    }
    gateway.draining().await;
    for service in services() {
        reporter
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
}

/// The parts of a node without its ports.
pub struct Node {
    /// Use cases.
    pub domain: Arc<Domain>,
    /// Live connections.
    pub gateway: Gateway,
    /// Durable state.
    pub store: store::Handle,
    /// Time.
    pub clock: Arc<dyn Clock>,
    backends: Backends,
}

impl Node {
    /// Opens the embedded store in the data folder, or the servers of a cluster, and builds what
    /// stands on it.
    ///
    /// # Errors
    /// One of them can't be used; the message says what to do.
    pub async fn open(config: Arc<Config>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let backends = Backends::open(&config, clock.clone()).await?;
        let (store, bus) = (backends.store.clone(), backends.bus.clone());
        let domain = Domain::new(store.clone(), bus.clone(), config.clone(), clock.clone());
        domain
            .check_keys()
            .map_err(|problem| anyhow::anyhow!("auth.jwt: {problem}"))?;
        domain
            .open_hooks()
            .map_err(|problem| anyhow::anyhow!("hooks.pre_send: {problem}"))?;
        let traces = Traces::open(&config.tracing, &config.namespace, clock.clone())
            .map_err(|problem| anyhow::anyhow!("configuration: {problem}"))?;
        domain.trace_to(traces);
        let gateway = Gateway::start(
            domain.clone(),
            &bus,
            store.clone(),
            config,
            rpc::encode_error,
        );
        Ok(Self {
            domain,
            gateway,
            store,
            clock,
            backends,
        })
    }

    /// Tells webhooks what waits for them, until `shutdown`.
    fn deliver(
        &self,
        config: &Config,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<JoinHandle<()>> {
        let gateway = self.gateway.clone();
        let online = move |user| -> BoxFuture<'static, bool> {
            let online = gateway.is_online(user);
            Box::pin(async move { online })
        };
        let deliverer = Deliverer::new(
            self.store.clone(),
            self.domain.clone(),
            self.clock.clone(),
            config.webhooks.clone(),
            Arc::new(SystemResolver),
            Arc::new(online),
        )
        .context("webhooks.ca_file")?;
        Ok(tokio::spawn(deliverer.run(shutdown.clone())))
    }

    fn operations(&self, metrics: Metrics) -> rpc::Operations {
        rpc::Operations {
            domain: self.domain.clone(),
            gateway: self.gateway.clone(),
            store: self.store.clone(),
            metrics,
            clock: self.clock.clone(),
        }
    }
}

/// Tells the services where a request comes from: `rpc` doesn't know of the port.
fn with_origin<B>(mut request: http::Request<B>) -> http::Request<B> {
    if let Some(peer) = request.extensions().get::<chirm_net::Peer>() {
        let origin = rpc::Origin(peer.address.ip());
        request.extensions_mut().insert(origin);
    }
    request
}

/// Ends what was left half-way, here or on another node.
async fn sweep(domain: Arc<Domain>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        domain.end_overdue().await;
    }
}

/// Shows how full the store's pools and queues are.
async fn levels(store: store::Handle) {
    let mut ticks = tokio::time::interval(LEVELS);
    loop {
        ticks.tick().await;
        let store::Levels { pools, queues } = store.levels();
        for (pool, connections) in pools {
            for (state, number) in [("in_use", connections.in_use), ("idle", connections.idle)] {
                let labels = [("pool", pool), ("state", state)];
                metrics::gauge!("chirm_pool_connections", &labels).set(number as f64);
            }
        }
        for (queue, waiting) in queues {
            metrics::gauge!("chirm_store_queued", "queue" => queue).set(waiting as f64);
        }
    }
}

async fn upkeep(domain: Arc<Domain>, metrics: Metrics) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.upkeep();
        domain.upkeep().await;
    }
}
