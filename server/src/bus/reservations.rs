//! The seam to ids and nonces, and to what was reserved and didn't end.
//!
//! Between a reservation and its publication stands the store. Where bus and store are other
//! machines, either may stop between two steps, and the bus may forget: so each operation is
//! pending from its reservation to its publication, and names the epoch that it was reserved in.
//! ADR 17 has the scheme, `model/` a model of it.

use super::{Draft, Error};
use crate::model::{Id, Position};
use async_trait::async_trait;
use std::time::Duration;

/// What was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The new message's id, or the change's revision.
    pub id: Id,
    /// The epoch that it was reserved in.
    pub epoch: i64,
    /// When, by the bus's clock: whoever else goes on with the same later begins it anew. 0:
    /// somebody else began it.
    pub began: i64,
}

/// What the store said, for a bus that doesn't know (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The epoch in which the bus asked for it.
    pub epoch: i64,
    /// The id that the nonce's row names.
    pub nonce: Option<Id>,
    /// The channel's newest id, deleted or not; 0 for none.
    pub newest: Id,
}

/// A reservation asked for.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// The channel.
    pub channel: Id,
    /// The author.
    pub author: Id,
    /// The author's nonce; empty for none.
    pub nonce: String,
    /// A hash of what is sent under the nonce.
    pub content_hash: u64,
    /// The new id must be above this one (the message answered); 0 for none.
    pub above: Id,
    /// Whether the caller sent it before: then the nonce's row counts, too.
    pub repeat: bool,
    /// [`Reservations::heard`] when the call came.
    pub heard: i64,
    /// What the store said, if the bus asked.
    pub looked: Option<Looked>,
}

/// How a reservation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The caller has this new id, above all that were accepted in the channel before.
    New(Ticket),
    /// The nonce is in use. It may not be persisted yet.
    Existing {
        /// The earlier message's id.
        id: Id,
        /// The hash of its content.
        content_hash: u64,
        /// What to go on with, under the same id, if it isn't stored or not `published`. None: the
        /// store tells by the nonce who came first, whatever ids they have; so one that isn't
        /// stored takes a new place.
        ticket: Option<Ticket>,
        /// Nothing of it is pending.
        published: bool,
    },
    /// The store must say first what it knows: ask again with [`Looked`] of this epoch.
    Look(i64),
}

/// A revision asked for.
#[derive(Clone, Debug)]
pub struct Revise {
    /// The channel.
    pub channel: Id,
    /// The message.
    pub message: Id,
    /// An edit or a delete.
    pub kind: OperationKind,
    /// The revision must be above this one, and of a later millisecond.
    pub above: Id,
    /// As in [`Reserve`]; the nonce doesn't matter.
    pub looked: Option<Looked>,
}

/// How the wish for a revision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revised {
    /// The caller has this one.
    New(Ticket),
    /// As in [`Reserved`].
    Look(i64),
}

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// It is sent.
    Create,
    /// It is edited.
    Edit,
    /// It is deleted.
    Delete,
}

/// What is done to a message, from its reservation to its publication.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// What.
    pub kind: OperationKind,
    /// The channel.
    pub channel: Id,
    /// The message.
    pub message: Id,
    /// The change's revision; 0 for a new message.
    pub revision: Id,
    /// The new message's author; 0 for a change.
    pub author: Id,
    /// The new message's nonce; empty for none, and for a change.
    pub nonce: String,
    /// The epoch that it was reserved in.
    pub epoch: i64,
    /// As of [`Ticket::began`].
    pub began: i64,
}

/// How far a channel's new messages have all ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Up to this id: what the store has of it from now on, it has for good.
    Upto(Id),
    /// As far as there are any: in this epoch none were reserved yet.
    Idle(i64),
    /// It isn't known now.
    Unknown,
}

/// Ids and nonces. An id is above all that were given out before it in the channel, and above those
/// that the store had at the start, whatever the clock says; and not before the clock's time.
#[async_trait]
pub trait Reservations: Send + Sync + 'static {
    /// The epoch of a channel as far as this node has heard; 0 for none. Never waits.
    fn heard(&self, channel: Id) -> i64;
    /// Reserves an id, and the nonce for ten minutes: of an author in a channel, however many ask
    /// at once, one is told `New`. The operation is pending from then on.
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, Error>;
    /// Reserves a revision. That of a delete marks its message: nothing else of it is published
    /// for ten minutes. The operation is pending from then on.
    async fn revise(&self, revise: Revise) -> Result<Revised, Error>;
    /// How far all that was reserved in a channel has ended. Where readers of the store never see a
    /// message before one with a lower id, always `Idle` of the same epoch.
    async fn settled(&self, channel: Id) -> Result<Extent, Error>;
    /// Ends an operation that this caller is known not to have written, nor ever to write, and
    /// gives its nonce back: the next to ask has it. Where somebody else may have written it, who
    /// went on with it since or had begun it, nothing changes.
    async fn release(&self, operation: &Operation);
    /// A Snowflake for anything that isn't a message, nor a revision of one: above `above`.
    fn mint(&self, above: Id) -> Result<Id, Error>;
    /// How far the latest id is ahead of the clock, in milliseconds; 0 where it isn't. More than a
    /// moment means that some clock was wrong once.
    fn ahead_ms(&self) -> i64;
}

/// An operation that should have ended, and didn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// What. Its epoch is that of now.
    pub operation: Operation,
    /// For how long it has been pending.
    pub age: Duration,
}

/// How the end of an overdue operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is told at this position.
    Published(Position),
    /// Its message is deleted, which was told, or will be: nothing is told of this.
    Deleted,
    /// Another message, this one, has its nonce. It stays pending.
    Taken(Id),
    /// The bus forgot meanwhile: it stays pending, and is told in another call.
    Forgotten,
}

/// Operations that should have ended. A node in the background reads what became of each and tells
/// it, or gives it up.
#[async_trait]
pub trait Pending: Send + Sync + 'static {
    /// Whether operations are found again here. Where they aren't, whoever began one sees it
    /// through.
    fn is_kept(&self) -> bool;
    /// Those that have been pending for over 7 s, the oldest first, at most `limit`. Each is lent:
    /// it comes again 7 s later, ever later the longer it lasts, but within 60 s.
    async fn overdue(&self, limit: usize) -> Result<Vec<Overdue>, Error>;
    /// Publishes what became of an operation, in one step with a look at who has its nonce: the one
    /// that the bus knows, or, if it knows none, the one that the nonce's row names, or itself;
    /// which has it from then on, and is pending if it is another. A draft that tells of a delete
    /// is published whoever has the nonce.
    async fn settle(
        &self,
        overdue: &Overdue,
        draft: Draft,
        named: Option<Id>,
    ) -> Result<Settled, Error>;
    /// Gives up an operation of which the store has nothing, and, if it is a new message, marks it
    /// as deleted and gives its nonce back.
    async fn give_up(&self, overdue: &Overdue) -> Result<(), Error>;
}
