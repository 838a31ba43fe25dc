//! The connections to one gateway: some are kept warm, more are opened as they fill, and whoever
//! takes a place on one gets it on the one with the fewest.

use super::connect::Connector;
use super::{Failure, empty};
use crate::Body;
use crate::args::{Args, Target};
use http::{Request, StatusCode};
use hyper::client::conn::http2::SendRequest;
use metrics::{Counter, Gauge, counter, gauge};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// To a connection that can be used.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often a gateway is asked whether it is ready, on each connection that is not in use:
/// gateways close those without requests.
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    streams: usize,
    warm: usize,
    connections: usize,
}

impl Bounds {
    pub(super) fn new(args: &Args) -> Self {
        let connections = args.upstream_connections as usize;
        Self {
            streams: args.streams_per_connection as usize,
            warm: (args.warm_connections as usize).min(connections),
            connections,
        }
    }
}

pub(super) struct Gateway {
    pub(super) target: Target,
    bounds: Bounds,
    connector: Connector,
    connections: Mutex<Vec<Connection>>,
    /// One connection is opened at a time: who else needs one finds room on it.
    opening: tokio::sync::Mutex<()>,
    /// Attempts to connect that failed.
    failures: AtomicU64,
    numbers: AtomicU64,
    /// Whether it said so when it was asked last.
    well: AtomicBool,
    open: Gauge,
    ready: Gauge,
    failed: Counter,
}

struct Connection {
    number: u64,
    sender: SendRequest<Body>,
    /// Sessions and requests on it.
    places: usize,
}

impl Connection {
    fn has_room(&self, bounds: Bounds) -> bool {
        !self.sender.is_closed() && self.places < bounds.streams
    }
}

/// A place on a connection, until it is dropped.
pub(crate) struct Place {
    gateway: Arc<Gateway>,
    number: u64,
    pub(super) sender: SendRequest<Body>,
}

impl Place {
    /// The gateway's URL.
    pub(crate) fn upstream(&self) -> String {
        self.gateway.target.to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.gateway.lock();
        let held = connections.iter_mut().find(|c| c.number == self.number);
        if let Some(held) = held {
            held.places -= 1;
        }
        self.gateway.tidy(&mut connections);
    }
}

impl Gateway {
    pub(super) fn new(target: Target, bounds: Bounds, connector: Connector) -> Arc<Self> {
        let named = target.to_string();
        Arc::new(Self {
            target,
            bounds,
            connector,
            connections: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            well: AtomicBool::new(false),
            open: gauge!("chirm_bridge_upstream_connections", "upstream" => named.clone()),
            ready: gauge!("chirm_bridge_upstream_ready", "upstream" => named.clone()),
            failed: counter!("chirm_bridge_connect_failures_total", "upstream" => named),
        })
    }

    pub(super) fn is_well(&self) -> bool {
        self.well.load(Ordering::Relaxed)
    }

    /// Sessions and requests on all of its connections.
    pub(super) fn places(&self) -> usize {
        self.lock().iter().map(|c| c.places).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        // The counts are whole at every point where a panic could start.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what has ended and what is no longer needed.
    fn tidy(&self, connections: &mut Vec<Connection>) {
        connections.retain(|c| c.places > 0 || !c.sender.is_closed());
        let mut open = connections.iter().filter(|c| !c.sender.is_closed()).count();
        connections.retain(|c| {
            let surplus = c.places == 0 && open > self.bounds.warm;
            open -= usize::from(surplus);
            !surplus
        });
        self.open.set(open as f64);
    }

    /// A place on the connection with the fewest, or on a new one if all are full.
    pub(super) async fn place(self: &Arc<Self>) -> Result<Place, Failure> {
        if let Some(place) = self.free_place()? {
            return Ok(place);
        }
        let failures = self.failures.load(Ordering::Acquire);
        let _opening = self.opening.lock().await;
        if let Some(place) = self.free_place()? {
            return Ok(place);
        }
        // Who waited for an attempt that failed doesn't wait for another one.
        if self.failures.load(Ordering::Acquire) != failures {
            return Err(Failure::Connect);
        }
        self.connect().await
    }

    fn free_place(self: &Arc<Self>) -> Result<Option<Place>, Failure> {
        let mut connections = self.lock();
        self.tidy(&mut connections);
        let with_room = connections.iter_mut().filter(|c| c.has_room(self.bounds));
        if let Some(connection) = with_room.min_by_key(|c| c.places) {
            connection.places += 1;
            return Ok(Some(Place {
                gateway: Arc::clone(self),
                number: connection.number,
                sender: connection.sender.clone(),
            }));
        }
        // Those that take no more requests end by themselves.
        let open = connections.iter().filter(|c| !c.sender.is_closed());
        if open.count() >= self.bounds.connections {
            return Err(Failure::Full);
        }
        Ok(None)
    }

    /// Opens a connection and takes a place on it.
    async fn connect(self: &Arc<Self>) -> Result<Place, Failure> {
        let connected = timeout(CONNECT_WITHIN, self.connector.connect(&self.target)).await;
        let problem = match connected {
            Ok(Ok(sender)) => {
                let number = self.numbers.fetch_add(1, Ordering::Relaxed);
                let place = Place {
                    gateway: Arc::clone(self),
                    number,
                    sender: sender.clone(),
                };
                let mut connections = self.lock();
                connections.push(Connection {
                    number,
                    sender,
                    places: 1,
                });
                self.tidy(&mut connections);
                return Ok(place);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "not in time".to_owned(),
        };
        let failures = self.failures.fetch_add(1, Ordering::Release);
        self.failed.increment(1);
        // Once; after that it is only news when it can.
        if self.well.swap(false, Ordering::Relaxed) || failures == 0 {
            tracing::warn!(upstream = %self.target, problem, "the gateway can't be reached");
        }
        self.ready.set(0.0);
        Err(Failure::Connect)
    }

    /// Keeps connections warm and asks whether the gateway is ready, for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            self.warm_up().await;
            let ready = self.probe().await;
            self.ready.set(if ready { 1.0 } else { 0.0 });
            if self.well.swap(ready, Ordering::Relaxed) != ready {
                tracing::info!(upstream = %self.target, ready, "the gateway's readiness changed");
            }
            sleep(PROBE_EVERY).await;
        }
    }

    async fn warm_up(self: &Arc<Self>) {
        loop {
            let open = {
                let mut connections = self.lock();
                self.tidy(&mut connections);
                let open = connections.iter().filter(|c| !c.sender.is_closed());
                open.count()
            };
            let _opening = self.opening.lock().await;
            if open >= self.bounds.warm || self.connect().await.is_err() {
                return;
            }
        }
    }

    /// Whether it says that it is ready, on any connection; one that doesn't answer is given up.
    async fn probe(self: &Arc<Self>) -> bool {
        let connections: Vec<_> = {
            let connections = self.lock();
            let open = connections.iter().filter(|c| !c.sender.is_closed());
            let open = open.map(|c| (c.number, c.places, c.sender.clone()));
            open.enumerate()
                .filter(|(index, (_, places, _))| *index == 0 || *places == 0)
                .map(|(_, connection)| connection)
                .collect()
        };
        let probes = connections
            .into_iter()
            .map(|(number, _, mut sender)| async move {
                let request = Request::get(format!("{}/readyz", self.target)).body(empty());
                let Ok(request) = request else { return false };
                match timeout(PROBE_WITHIN, sender.send_request(request)).await {
                    Ok(Ok(response)) => response.status() == StatusCode::OK,
                    Ok(Err(_)) => false,
                    Err(_) => {
                        self.lock().retain(|c| c.number != number || c.places > 0);
                        false
                    }
                }
            });
        let answers = futures::future::join_all(probes).await;
        answers.contains(&true)
    }
}
