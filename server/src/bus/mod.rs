//! The seam to what is shared and fast and may be forgotten: topics at positions, reservations of
//! ids and nonces, the cache of sessions, who is here. Forgetting shows: a topic's epoch changes
//! whenever its memory was, or may have been, lost. `local` is in process; `suite` holds every
//! backend to the contracts of the traits here.

mod ids;
pub mod local;
pub mod redis;
mod reservations;
#[cfg(test)]
mod suite;

pub use reservations::{
    Extent, Looked, Operation, OperationKind, Overdue, Pending, Reservations, Reserve, Reserved,
    Revise, Revised, Settled, Ticket,
};

use crate::model::{Id, Position, Presence, Session, Signal, Status, TopicKey, Touched, UnixMs};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// Why the bus refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It can't be reached now; nothing was published or reserved.
    #[error("bus unavailable: {0}")]
    Unavailable(String),
    /// A bound of the bus is reached.
    #[error("overloaded")]
    Overloaded,
    /// The bus forgot the operation meanwhile, or it took too long: nothing was published, and it
    /// is pending again. Its outcome is unknown until [`Pending`] tells it.
    #[error("the bus no longer knows the operation")]
    Refused,
    /// The message is deleted: what else became of it is published no more.
    #[error("the message is deleted")]
    Deleted,
}

/// An event to publish to a channel's topic.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The channel's topic.
    pub topic: TopicKey,
    /// `frames::encode_body` of what happened.
    pub payload: Bytes,
    /// What it asks of the gateways.
    pub signal: Signal,
    /// The new message's id; 0 for other events.
    pub message_id: Id,
    /// What it ends, where it tells of something that was reserved.
    pub operation: Option<Operation>,
}

/// A published event, as every subscriber gets it.
#[derive(Debug)]
pub struct Publication {
    /// The topic.
    pub topic: TopicKey,
    /// The topic's position after it.
    pub position: Position,
    /// The whole `ServerFrame` with its gRPC prefix: the same bytes for every recipient.
    pub frame: Bytes,
    /// What it asks of the gateways.
    pub signal: Signal,
    /// The new message's id; 0 for other events.
    pub message_id: Id,
    /// When it was published, by the clock of the node that did; 0 where that isn't known.
    pub published_ms: UnixMs,
}

/// What happened after a position.
#[derive(Debug)]
pub enum Since {
    /// These, ascending and complete; none if the position is current.
    Events(Vec<Arc<Publication>>),
    /// They aren't all remembered.
    Gone,
}

/// What is said once and kept nowhere.
#[derive(Clone, Debug)]
pub struct Transient {
    /// The channel whose viewers hear it.
    pub channel: Id,
    /// What kind of thing it is.
    pub kind: TransientKind,
    /// The whole `ServerFrame` with its gRPC prefix.
    pub frame: Bytes,
}

/// Kinds of [`Transient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransientKind {
    /// Somebody types.
    Typing,
    /// An integrator's own event.
    Custom,
}

/// Topics at positions. Those of channels are numbered here; those of servers and users by the
/// store, whose events a backend takes in as the store's `Relay`, with their positions.
#[async_trait]
pub trait Topics: Send + Sync + 'static {
    /// One atomic step: raises `seq` by exactly one, appends to the ring, tells the subscribers,
    /// ends the operation. Answers the position. Of an operation that has ended nothing is told
    /// again. It may be `Refused` or `Deleted`.
    async fn publish(&self, draft: Draft) -> Result<Position, Error>;
    /// The topic's position now. Of a channel never heard of: the epoch of its first event, seq 0.
    async fn position(&self, topic: TopicKey) -> Result<Position, Error>;
    /// The events after `position`: all of them, each at the position after the one before, or
    /// `Gone`. The ring keeps so many events, bytes and minutes as are configured. A position of
    /// another epoch or of the future is `Gone`, and so is one from before relayed events of which
    /// some never came.
    async fn since(&self, topic: TopicKey, position: Position) -> Result<Since, Error>;
    /// Tells a channel's subscribers of something that has no position, and moves none; best
    /// effort.
    async fn announce(&self, transient: Transient) -> Result<(), Error>;
    /// Forgets what no ring need keep any more; to be called now and then.
    async fn trim(&self) -> Result<(), Error>;
    /// Fails if the bus can't be reached.
    async fn check(&self) -> Result<(), Error>;
    /// A new subscriber with no topics yet.
    fn subscriber(&self) -> (Arc<dyn Subscriber>, Feed);
}

/// A gateway's changing set of topics.
#[async_trait]
pub trait Subscriber: Send + Sync {
    /// Confirmed before it answers: every later event reaches the feed, once, however often one
    /// subscribes. Answers the position now.
    async fn subscribe(&self, topic: TopicKey) -> Result<Position, Error>;
    /// Ends it; events under way may still come.
    fn unsubscribe(&self, topic: TopicKey);
}

/// What a subscriber's feed brings.
#[derive(Debug)]
pub enum Delivery {
    /// An event.
    Event(Arc<Publication>),
    /// Something without a position.
    Transient(Arc<Transient>),
    /// The feed overflowed or was cut: events of this topic may be missing here.
    Dirty(TopicKey),
}

/// Where a subscriber's events come out, in the order of their positions per topic. Bounded.
pub type Feed = tokio::sync::mpsc::Receiver<Delivery>;

/// What the cache knows of a session.
#[derive(Clone, Debug)]
pub enum Cached {
    /// Nothing.
    Unknown,
    /// It was ended within the last 60 s.
    Revoked,
    /// It was good up to 25 s ago.
    Valid(Arc<Session>),
}

/// A cache of sessions: 25 s, so that ending one takes effect everywhere within 30 s even if word
/// of it is lost. Once an ending was marked, no `put` that was under way brings the session back.
#[async_trait]
pub trait SessionCache: Send + Sync + 'static {
    /// What is known.
    async fn get(&self, id: Id, now: UnixMs) -> Cached;
    /// Remembers one, unless it is marked as ended.
    async fn put(&self, session: Arc<Session>, now: UnixMs);
    /// Marks one as ended for 60 s. What marks it again begins anew.
    async fn revoke(&self, id: Id, now: UnixMs);
}

/// A live session, as presence knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Whose.
    pub user: Id,
    /// The session's number, unique on its node.
    pub serial: u64,
    /// Its credential's id.
    pub credential: Id,
    /// The device's name, perhaps empty. A new session of the same credential and device takes the
    /// place of one that ended, or, if the device has a name, will end: no status of the old one is
    /// shown any longer. (Several sessions without a name may live side by side.)
    pub name: String,
}

impl Device {
    /// Whether a new session takes this one's place.
    #[must_use]
    pub fn is_place_of(&self, new: &Device) -> bool {
        self.credential == new.credential && self.name == new.name
    }
}

/// What a user sets of its presence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetPresence {
    /// The session's status; None leaves it as it is.
    pub status: Option<Status>,
    /// The user's own words; None leaves them as they are.
    pub text: Option<String>,
}

/// Whose status is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One session's, by its number.
    Session(u64),
    /// All sessions of a credential.
    Credential(Id),
}

/// What changed within a tick: numbered, so that a lost batch shows.
#[derive(Debug, Default)]
pub struct Batch {
    /// One above the batch before; of another epoch: anything may have been missed.
    pub position: (i64, i64),
    /// Users whose presence is another now.
    pub presences: Vec<Presence>,
    /// What else changed, each once.
    pub touched: Vec<Touched>,
}

/// Where batches come out. Bounded: what finds it full is lost, and the next one's number shows it.
pub type Batches = tokio::sync::mpsc::Receiver<Arc<Batch>>;

/// Who is here: sessions' statuses, aggregated by user. A user shows the most present status of its
/// sessions. A session that ended counts for the grace still, so that a reconnect shows nothing;
/// one that was not active for five minutes counts as idle. Changes are coalesced over a tick of
/// one second. It may all be forgotten: sessions that live say it again.
#[async_trait]
pub trait Presences: Send + Sync + 'static {
    /// A session begins.
    async fn open(&self, device: Device, status: Status) -> Result<(), Error>;
    /// Sets a status and the user's words. False: the user has no such session.
    async fn set(&self, user: Id, whose: Whose, set: SetPresence) -> Result<bool, Error>;
    /// The user did something by that. Best effort, and cheap.
    fn active(&self, user: Id, whose: Whose);
    /// A session ended, however it did.
    async fn close(&self, user: Id, serial: u64) -> Result<(), Error>;
    /// The presences of users as they are now, in the order asked. If that differs from what the
    /// batches said so far, the next one says how the user is then: changed back or not.
    async fn get(&self, users: &[Id]) -> Result<Vec<Presence>, Error>;
    /// Tells what changed since the tick before. Whoever runs the node calls it each second.
    async fn tick(&self) -> Result<(), Error>;
    /// Tells those who keep lists of people of another change, after it was made.
    fn touch(&self, touched: Touched);
    /// A new feed of batches, from now on.
    fn batches(&self) -> Batches;
}

/// All of a bus, shared.
#[derive(Clone)]
pub struct Handle {
    /// Topics.
    pub topics: Arc<dyn Topics>,
    /// Ids and nonces.
    pub reservations: Arc<dyn Reservations>,
    /// What was reserved and didn't end.
    pub pending: Arc<dyn Pending>,
    /// Sessions.
    pub sessions: Arc<dyn SessionCache>,
    /// Who is here.
    pub presences: Arc<dyn Presences>,
}
