//! The seam to what stands on messages: reactions and pins.

use super::{Error, Queued};
use crate::model::{Id, Pin, Reaction, User};
use async_trait::async_trait;

/// A user's reaction to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reactor {
    /// The channel.
    pub channel_id: Id,
    /// The message.
    pub message_id: Id,
    /// Who reacts.
    pub user_id: Id,
    /// How.
    pub emoji: String,
}

/// How a change of a reaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The kind as it now is; at a count of 0 it is gone. `own` isn't set.
    pub reaction: Reaction,
    /// False: it was so already.
    pub changed: bool,
}

/// Where a user reacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactedTo {
    /// The kind's name in the store.
    pub kind: Id,
    /// What it is a kind of.
    pub reactor: Reactor,
}

/// Reactions and pins. Messages are read with them: their kinds with their counts, and whether they
/// are pinned. They go with their message: one that is deleted, or isn't there, is
/// `NotFound("message")`. Changes are queued when the methods return, and run in that order.
#[async_trait]
pub trait Marks: Send + Sync {
    /// Adds a reaction, or takes one back (`present` false). Idempotent. A message has 20 kinds at
    /// most: another one is `LimitReached("reactions", 20)`. Counts are right whatever runs at
    /// once.
    fn react(&self, reactor: Reactor, present: bool) -> Queued<Tally>;
    /// Takes all reactions of a kind, or of every kind (empty), from a message; false if there were
    /// none. It is short, however many there are.
    fn clear_reactions(&self, channel: Id, message: Id, emoji: String) -> Queued<bool>;
    /// Which of the kinds a user reacted with.
    async fn own_reactions(&self, user: Id, kinds: &[Id]) -> Result<Vec<Id>, Error>;
    /// Who reacted with a kind: users of ids above `after`, ascending, at most `limit`.
    async fn reactors(&self, kind: Id, after: Id, limit: u32) -> Result<Vec<User>, Error>;
    /// The reactions of a user of kinds above `after`, ascending, at most `limit`.
    async fn reactions_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<ReactedTo>, Error>;
    /// Pins a message, in front of all pins before; `pin` is the least id that its place has. False
    /// if it is pinned. A channel has 50 pins at most: another one is `LimitReached("pins", 50)`.
    fn pin(&self, channel: Id, message: Id, user: Id, pin: Id) -> Queued<bool>;
    /// Unpins a message; false if it isn't pinned.
    fn unpin(&self, channel: Id, message: Id) -> Queued<bool>;
    /// A channel's pins of ids below `before`, the highest first, at most `limit`.
    async fn pins(&self, channel: Id, before: Id, limit: u32) -> Result<Vec<Pin>, Error>;
}
