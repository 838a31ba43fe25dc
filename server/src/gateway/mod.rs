//! Live connections: sessions, what they follow, who gets what.
//!
//! - `outbox`: what waits to be written to one client; the seam to transports.
//! - `handle`: a live session as others see it.
//! - `hub`: topics with their sessions; the fan-out.
//! - `people`: presences and member lists: who is told of whom.
//! - `session`: one session's life.
//! - `registry`: all live sessions; replacing, draining.
//! - `wire`: plain data to and from frames.

mod close;
mod handle;
mod hub;
mod outbox;
mod people;
mod registry;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use close::Close;
pub use outbox::{End, Outbox, OutboxLimits, Refused};
pub use session::{InputError, Transport};
pub use wire::{Input, Request, input, set_presence};

use crate::bus;
use crate::config::Config;
use crate::domain::{self, Domain};
use crate::model::Id;
use crate::store;
use chirm_proto::google::rpc;
use futures::Stream;
use hub::{Hub, Meter};
use people::People;
use registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// Turns a refusal into what clients get.
pub type EncodeError = fn(&domain::Error) -> rpc::Status;

/// All live sessions of this node. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) domain: Arc<Domain>,
    pub(crate) store: store::Handle,
    pub(crate) config: Arc<Config>,
    pub(crate) encode_error: EncodeError,
    hub: Hub,
    people: People,
    presences: Arc<dyn bus::Presences>,
    registry: Registry,
}

/// What a node's sessions amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Open sessions.
    pub sessions: usize,
    /// Whether new ones are refused.
    pub draining: bool,
}

impl Gateway {
    /// Starts the hub.
    #[must_use]
    pub fn start(
        domain: Arc<Domain>,
        bus: &bus::Handle,
        store: store::Handle,
        config: Arc<Config>,
        encode_error: EncodeError,
    ) -> Self {
        let shards = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(16);
        let ring = config.limits.ring_events;
        let meter = Meter::new(domain.clock(), domain.traces());
        let hub = Hub::start(shards, bus, store.clone(), ring, &meter);
        let people = People::start(bus.presences.clone(), store.clone());
        let registry = Registry::default();
        Self(Arc::new(Inner {
            domain,
            store,
            config,
            encode_error,
            hub,
            people,
            presences: bus.presences.clone(),
            registry,
        }))
    }

    /// What clients may ask for.
    #[must_use]
    pub fn limits(&self) -> &crate::config::Limits {
        &self.0.config.limits
    }

    /// A transport's outbox, with this node's limits.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        let limits = &self.0.config.limits;
        Outbox::new(OutboxLimits {
            frames: limits.outbound_queue_events,
            bytes: limits.outbound_queue_bytes,
        })
    }

    /// Runs a session to its end: `inputs` is what the client sends, the transport's outbox what it
    /// gets. Never fails: how it ended is in the outbox.
    pub async fn run<S>(&self, inputs: S, transport: Transport)
    where
        S: Stream<Item = Result<Input, InputError>> + Send + Unpin,
    {
        session::run(self.0.clone(), inputs, transport).await;
    }

    /// Asks every client to connect again, spread over `over`, closes their streams, and refuses
    /// new ones. Answers how many there were.
    pub fn drain(&self, over: Duration) -> usize {
        self.0.registry.drain(over)
    }

    /// Waits until a drain begins.
    pub async fn draining(&self) {
        self.0.registry.draining().await;
    }

    /// Whether a user has a live session on this node.
    #[must_use]
    pub fn is_online(&self, user: Id) -> bool {
        self.0.registry.has(user)
    }

    /// Waits until no session is left.
    pub async fn drained(&self) {
        self.0.registry.emptied().await;
    }

    /// What this node's sessions amount to.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.0.registry.figures()
    }
}
