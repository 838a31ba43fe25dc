//! Nonces: which message an author's nonce made.

use super::session::first;
use super::{Cql, stamp};
use crate::model::{Id, Message};
use crate::store::Error;

impl Cql {
    /// The id that a nonce's row names, whether or not there is such a message.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn nonce(&self, channel: Id, author: Id, nonce: &str) -> Result<Option<Id>, Error> {
        Ok(self.named(channel, author, nonce).await?.map(|(id, _)| id))
    }

    /// Makes a nonce's row name a message, whichever it named before.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn name(&self, channel: Id, author: Id, nonce: &str, id: Id) -> Result<(), Error> {
        // Above what is there, and above what is still on its way: ids that were made before now.
        let there = self.named(channel, author, nonce).await?;
        let there = match there {
            Some((named, _)) if named == id => return Ok(()),
            Some((_, at)) => at.saturating_add(1),
            None => 0,
        };
        let at = stamp(id).max(there).max(self.now_us());
        self.name_at(channel, author, nonce, id, at).await
    }

    pub(super) async fn name_at(
        &self,
        channel: Id,
        author: Id,
        nonce: &str,
        id: Id,
        at: i64,
    ) -> Result<(), Error> {
        let (link, keys) = (self.link(), self.keys());
        let values = (keys.key(author), keys.key(channel), nonce, id, at);
        link.write(&link.statements.name, values).await
    }

    /// The id that a nonce's row names, and when it was written.
    async fn named(
        &self,
        channel: Id,
        author: Id,
        nonce: &str,
    ) -> Result<Option<(Id, i64)>, Error> {
        if nonce.is_empty() {
            return Ok(None);
        }
        let (link, keys) = (self.link(), self.keys());
        let values = (keys.key(author), keys.key(channel), nonce);
        let rows = link.read(&link.statements.named, values).await?;
        first(&rows)
    }

    /// The message (deleted or not) that an author's nonce made in a channel, if it is there.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn by_nonce(
        &self,
        channel: Id,
        author: Id,
        nonce: &str,
    ) -> Result<Option<Message>, Error> {
        let Some(id) = self.nonce(channel, author, nonce).await? else {
            return Ok(None);
        };
        let message = self.get(channel, id).await?;
        // A message that was refused because of its id has left its nonce naming another's.
        Ok(message.filter(|message| message.author_id == author && message.nonce == nonce))
    }
}
