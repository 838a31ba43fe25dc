//! The seam to durable state. Small traits, each with its contract; `sqlite` implements them all,
//! and `suite` holds every backend to the contracts.
//!
//! Every write is durable when its future answers `Ok` (committed and synced).
//! `Err(Error::Unavailable)` means *unknown*: the write may or may not have happened; callers read
//! again before they decide. Changes of servers and users carry the events of their topics: the
//! store numbers them in the change's own transaction (one outbox row each, kept for ten minutes)
//! and, after the commit, hands them to the [`Relay`] in the order of their positions. What
//! moderators may want to know of brings its audit entry: see [`Moderation`].

mod accounts;
pub mod cql;
mod failure;
mod levels;
mod marks;
mod moderation;
pub mod moving;
pub mod postgres;
mod read_states;
mod requests;
mod rows;
mod sends;
pub mod sqlite;
#[cfg(test)]
mod suite;
mod webhooks;

pub use accounts::{Account, Departed, Join, Made, NewAccount, Sessions, Users};
pub use levels::{Connections, Levels};
pub use marks::{Marks, ReactedTo, Reactor, Tally};
pub use moderation::{AuditFilter, Deleted, Moderation, ReportBounds};
pub use read_states::{ReadOf, ReadStates, Settings};
pub use sends::{Sends, is_sealed};
pub use webhooks::{Settlement, Webhooks};

use crate::model::{
    AuditEntry, Ban, Channel, EventBody, Id, Invite, Member, Mentions, Message, Position, Role,
    Server, Signal, TopicKey, UnixMs, User, UserSettings,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::Arc;

/// Why a store refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A unique name or key is taken, or a concurrent change won; nothing was written.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    /// What the change is about doesn't exist (any more); nothing was written.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// A stored bound (members, channels, servers a user) is reached: of what, and how many may be.
    /// Nothing was written.
    #[error("limit reached: {0}, {1}")]
    LimitReached(&'static str, u32),
    /// The queue of writes is full; nothing was written.
    #[error("overloaded")]
    Overloaded,
    /// The disk is full, broken or busy. Whether it was written is unknown.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The file is damaged, or of a newer version. The message says what to do.
    #[error("{0}")]
    Unusable(String),
}

/// An event to be numbered and published with a change.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// A server's or user's topic.
    pub topic: TopicKey,
    /// What happened.
    pub body: EventBody,
}

/// A numbered event of a server's or user's topic.
#[derive(Clone, Debug)]
pub struct OutboxEvent {
    /// The topic.
    pub topic: TopicKey,
    /// The topic's position after it.
    pub position: Position,
    /// `frames::encode_body` of the event.
    pub payload: Bytes,
    /// What it asks of the gateways.
    pub signal: Signal,
}

/// Takes committed events, in the order of their positions. Never blocks.
pub trait Relay: Send + Sync + 'static {
    /// The events of one commit.
    fn relay(&self, events: Vec<OutboxEvent>);
}

/// How a message's insertion ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is durable under its own id.
    New,
    /// The author used the nonce before in this channel: the earlier message, deleted or not.
    Repeat(Message),
}

/// An insertion that is queued: its end. Dropping it undoes nothing.
pub type Insertion = BoxFuture<'static, Result<Inserted, Error>>;

/// A change that is queued: its end. Dropping it undoes nothing.
pub type Queued<T> = BoxFuture<'static, Result<T, Error>>;

/// A page's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// The newest.
    Newest,
    /// Ids below, the newest of them.
    Before(Id),
    /// Ids above, the oldest of them.
    After(Id),
    /// Both sides, itself included.
    Around(Id),
}

/// A page of history, ascending by id. More than 1,000 deleted ids in a row make a page short, or
/// one of deleted ids alone: the next page goes on from the outermost id, deleted or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Messages that aren't deleted.
    pub messages: Vec<Message>,
    /// Deleted ids within the page's range; at most 1,000.
    pub deleted_ids: Vec<Id>,
    /// Older ones exist.
    pub has_older: bool,
    /// Newer ones exist.
    pub has_newer: bool,
}

impl Page {
    /// The highest of its ids, deleted or not.
    #[must_use]
    pub fn highest(&self) -> Option<Id> {
        let messages = self.messages.last().map(|message| message.id);
        messages.max(self.deleted_ids.last().copied())
    }
}

/// What a step of an erasure did.
#[derive(Clone, Debug, Default)]
pub struct Erased {
    /// The rows that lost their content, as they now are.
    pub messages: Vec<Message>,
    /// Where the next step goes on; None: nothing is left.
    pub next: Option<(Id, Id)>,
}

/// Messages.
#[async_trait]
pub trait Messages: Send + Sync {
    /// Inserts; (channel, author, nonce) is unique for 24 hours at least, where the nonce isn't
    /// empty. A
    /// channel that isn't there (any more) is `NotFound("channel")`.
    /// It is queued when this returns, not only when the future is polled: of two insertions into a
    /// channel queued one after the other, no read sees the second without the first.
    fn insert(&self, message: Message) -> Insertion;
    /// Writes a new content at a revision, unless the row is deleted or has a higher revision.
    /// Answers the row as it now is. It is queued when this returns.
    fn edit(
        &self,
        channel: Id,
        id: Id,
        content: String,
        mentions: Mentions,
        revision: i64,
        edited_at: UnixMs,
    ) -> Queued<Message>;
    /// Deletes softly: content, metadata, mentions, reactions and pin go, the row stays.
    /// Idempotent. Answers the row.
    async fn delete(
        &self,
        channel: Id,
        id: Id,
        revision: i64,
        audit: Option<AuditEntry>,
    ) -> Result<Message, Error>;
    /// The row, deleted or not.
    async fn get(&self, channel: Id, id: Id) -> Result<Option<Message>, Error>;
    /// A page of at most `limit` (1 to 100) messages.
    async fn page(&self, channel: Id, anchor: Anchor, limit: u32) -> Result<Page, Error>;
    /// The newest id of each channel (deleted included), 0 for none.
    async fn newest(&self, channels: &[Id]) -> Result<Vec<Id>, Error>;
    /// At least the highest message id of all that were ever inserted, 0 for none: where minting
    /// may start. No further above it than ids may be ahead of the time.
    async fn highest(&self) -> Result<Id, Error>;
    /// One step of removing the content of all messages of an author: of those behind a place
    /// (channel, id), which is (0, 0) at first. It is short, however many there are.
    async fn erase_author(&self, author: Id, after: (Id, Id)) -> Result<Erased, Error>;
}

/// Servers, members, invitations, bans.
#[async_trait]
pub trait Servers: Send + Sync {
    /// Makes a server, its owner's membership and its first channel; `max_servers` bounds those
    /// that the owner is in. An owner that isn't there (any more) is `NotFound("user")`. `request`
    /// (caller, id) makes a repeat within 24 hours answer with the first call's server.
    async fn create_server(
        &self,
        server: Server,
        owner: Member,
        general: Channel,
        request: Option<(Id, String)>,
        max_servers: u32,
        events: Vec<NewEvent>,
    ) -> Result<(Server, Id), Error>;
    /// The server.
    async fn server(&self, id: Id) -> Result<Option<Server>, Error>;
    /// Writes name, description, open and metadata.
    async fn update_server(
        &self,
        server: Server,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error>;
    /// Deletes it with members, channels, invitations, bans, reports; not its audit log.
    async fn delete_server(
        &self,
        id: Id,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error>;
    /// The roles of a user in all its servers, by their ids.
    async fn roles_of(&self, user: Id) -> Result<Vec<(Id, Role)>, Error>;
    /// The servers of a user with ids above `after`, ascending, at most `limit`.
    async fn servers_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<Server>, Error>;
    /// Adds a member, or answers the membership that is there. With an invitation's code, counts
    /// its use and refuses (`NotFound`) one that is spent or over. A ban is `Conflict("banned")`, a
    /// user that isn't there (any more) `NotFound("user")`.
    /// `max_members` and `max_servers` are bounds. Events are published only if the membership is
    /// new.
    async fn add_member(
        &self,
        member: Member,
        invite: Option<String>,
        max_members: u32,
        max_servers: u32,
        events: Vec<NewEvent>,
    ) -> Result<(Member, bool), Error>;
    /// The admins of a server and its owner.
    async fn admins(&self, server: Id) -> Result<Vec<Id>, Error>;
    /// One membership.
    async fn member(&self, server: Id, user: Id) -> Result<Option<Member>, Error>;
    /// Members with ids above `after`, ascending, at most `limit`, with their users.
    async fn members(
        &self,
        server: Id,
        after: Id,
        limit: u32,
    ) -> Result<Vec<(Member, User)>, Error>;
    /// Those of the users that are members, by their ids, with their users; at most 1,000.
    async fn members_among(&self, server: Id, users: &[Id]) -> Result<Vec<(Member, User)>, Error>;
    /// What lists of members are ordered by: of members with ids above `after`, ascending, at most
    /// `limit`: role and display name.
    async fn member_names(
        &self,
        server: Id,
        after: Id,
        limit: u32,
    ) -> Result<Vec<(Id, Role, String)>, Error>;
    /// Sets a role; `Role::Owner` hands the server on (the old owner becomes admin).
    async fn set_role(
        &self,
        server: Id,
        user: Id,
        role: Role,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<Member, Error>;
    /// Takes a member out, and out of the server's private channels. Idempotent: false if it was
    /// none. The owner is `Conflict("owner")`, here, in `ban`, and for another role in `set_role`.
    async fn remove_member(
        &self,
        server: Id,
        user: Id,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<bool, Error>;
    /// Bans, and takes the member out. Idempotent.
    async fn ban(
        &self,
        ban: Ban,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error>;
    /// Lifts a ban; false if there was none.
    async fn unban(&self, server: Id, user: Id, audit: Option<AuditEntry>) -> Result<bool, Error>;
    /// Bans of user ids above `after`, ascending, at most `limit`.
    async fn bans(&self, server: Id, after: Id, limit: u32) -> Result<Vec<Ban>, Error>;
    /// Stores an invitation; at most 1,000 a server that are open. `request` makes a repeat within
    /// 24 hours answer with the first call's; or `NotFound("invite")`, if that is gone.
    async fn create_invite(
        &self,
        invite: Invite,
        request: Option<(Id, String)>,
        audit: Option<AuditEntry>,
    ) -> Result<Invite, Error>;
    /// An invitation by its code, spent or not. What is spent stays for a day at most, so that who
    /// joined by it can repeat the call.
    async fn invite(&self, code: &str) -> Result<Option<Invite>, Error>;
    /// The invitations still open at `now` with codes above `after`, ascending, at most `limit`.
    async fn invites(
        &self,
        server: Id,
        now: UnixMs,
        after: String,
        limit: u32,
    ) -> Result<Vec<Invite>, Error>;
    /// Ends one; false if there was none.
    async fn revoke_invite(
        &self,
        server: Id,
        code: &str,
        audit: Option<AuditEntry>,
    ) -> Result<bool, Error>;
}

/// Channels.
#[async_trait]
pub trait Channels: Send + Sync {
    /// Makes a channel with its members, who are members of its server, too, or the answer is
    /// `NotFound("member")`. `Direct` ones of two users are unique: the earlier one is answered.
    /// `request` as of servers. `max_channels` bounds a server's, or the direct ones that the
    /// creator made.
    async fn create_channel(
        &self,
        channel: Channel,
        creator: Id,
        request: Option<(Id, String)>,
        max_channels: u32,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(Channel, bool), Error>;
    /// The channel with its members.
    async fn channel(&self, id: Id) -> Result<Option<Channel>, Error>;
    /// Writes name, description, rank, metadata and slow mode.
    async fn update_channel(
        &self,
        channel: Channel,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error>;
    /// Deletes it; its messages are no longer reachable and are removed in the background.
    async fn delete_channel(
        &self,
        id: Id,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error>;
    /// A server's channels with their members, by rank and id.
    async fn channels_of_server(&self, server: Id) -> Result<Vec<Channel>, Error>;
    /// The direct channels of a user, newest first.
    async fn direct_channels_of(&self, user: Id) -> Result<Vec<Channel>, Error>;
    /// Adds a member to a private channel; false if it was there. `max_members` bounds those that
    /// are named.
    async fn add_channel_member(
        &self,
        channel: Id,
        user: Id,
        max_members: u32,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<bool, Error>;
    /// Takes one out, of a private or direct channel; false if it wasn't there.
    async fn remove_channel_member(
        &self,
        channel: Id,
        user: Id,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<bool, Error>;
}

/// Positions and events of servers' and users' topics.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Position of the topic; seq 0 if nothing ever happened to it.
    async fn topic_position(&self, topic: TopicKey) -> Result<Position, Error>;
    /// The events after a position, ascending, or None if they aren't all there (trimmed, another
    /// epoch, of the future).
    async fn topic_since(
        &self,
        topic: TopicKey,
        position: Position,
    ) -> Result<Option<Vec<OutboxEvent>>, Error>;
    /// Numbers and keeps events of servers' and users' topics that belong to no other change, in
    /// one transaction, and hands them on after it.
    async fn append(&self, events: Vec<NewEvent>) -> Result<(), Error>;
    /// A server with its open channels, read in one transaction with the topic's position.
    async fn server_snapshot(&self, id: Id) -> Result<Option<ServerSnapshot>, Error>;
    /// A user with its servers and private and direct channels, likewise.
    async fn user_snapshot(&self, id: Id) -> Result<Option<UserSnapshot>, Error>;
    /// Removes outbox rows older than ten minutes, spent requests older than 24 hours, invitations
    /// that are over, and sessions that can't be refreshed any more since a day.
    async fn trim(&self, now: UnixMs) -> Result<(), Error>;
}

/// A server as its topic's snapshot shows it.
#[derive(Clone, Debug)]
pub struct ServerSnapshot {
    /// The topic's position.
    pub position: Position,
    /// The server.
    pub server: Server,
    /// All its channels, private ones included, by rank and id.
    pub channels: Vec<Channel>,
}

/// A user as its topic's snapshot shows it.
#[derive(Clone, Debug)]
pub struct UserSnapshot {
    /// The topic's position.
    pub position: Position,
    /// The user.
    pub user: User,
    /// Its servers and its roles there.
    pub servers: Vec<(Id, Role)>,
    /// Its direct channels and the private channels that it is a named member of.
    pub channels: Vec<Channel>,
    /// What it set for itself.
    pub settings: UserSettings,
}

/// Upkeep.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Fails if the store can't read and write.
    async fn check(&self) -> Result<(), Error>;
    /// Copies the whole store, consistent, to a file that must not exist and that nobody else may
    /// read; `progress` gets bytes copied. Whoever serves the copy begins a new epoch.
    async fn backup(
        &self,
        path: &std::path::Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Error>;
    /// How full pools and queues are now. Cheap.
    fn levels(&self) -> Levels;
    /// Waits until all accepted writes are durable, then closes.
    async fn close(&self);
}

/// All of a backend.
pub trait Store:
    Messages + Marks + Servers + Channels + Users + Sessions + Outbox + Upkeep + 'static
where
    Self: ReadStates + Settings + Moderation + Webhooks + Sends,
{
}
impl<T> Store for T
where
    T: Messages + Marks + Servers + Channels + Users + Sessions + Outbox + Upkeep + 'static,
    T: ReadStates + Settings + Moderation + Webhooks + Sends,
{
}

/// A shared backend.
pub type Handle = Arc<dyn Store>;
