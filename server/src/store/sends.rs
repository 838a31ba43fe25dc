//! The seam to what a send by reservations needs of a store that can't decide itself who is first.

use super::{Error, Insertion};
use crate::model::{Id, Message};
use async_trait::async_trait;

/// Sends whose nonces the bus decides, and what is done later for one that stopped half-way.
#[async_trait]
pub trait Sends: Send + Sync {
    /// As `Messages::insert`, of a message whose id and nonce are reserved: the caller vouches that
    /// nobody else inserts another one under the nonce. Where the store has to look before it can
    /// tell that, it doesn't. Inserting the same again changes nothing and answers `New`, or
    /// `Repeat` with the row.
    fn insert_reserved(&self, message: Message) -> Insertion;
    /// The id that a nonce's row names, whether or not there is such a message. The row stays for
    /// 24 hours at least.
    async fn nonce(&self, channel: Id, author: Id, nonce: &str) -> Result<Option<Id>, Error>;
    /// Makes a nonce's row name a message.
    async fn name(&self, channel: Id, author: Id, nonce: &str, id: Id) -> Result<(), Error>;
    /// Deletes a message that must not be, stored or not, so that a write of it which comes later
    /// shows nothing: its revision is its own id ([`is_sealed`]). Answers the row.
    async fn seal(&self, channel: Id, id: Id, author: Id) -> Result<Message, Error>;
    /// Does again what belongs to the insertion of a stored message and may have been left undone
    /// (its mentions, what waits for webhooks); nothing twice.
    async fn complete(&self, message: &Message) -> Result<(), Error>;
}

/// Whether a message was given up, rather than deleted by somebody.
#[must_use]
pub fn is_sealed(message: &Message) -> bool {
    message.deleted && message.revision == message.id
}
