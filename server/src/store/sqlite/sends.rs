//! Sends by reservations. One transaction decides here, so there is never anything to be finished.

use super::Sqlite;
use crate::model::{Id, Message};
use crate::store::{Error, Insertion, Messages, Moderation, Sends};
use async_trait::async_trait;

#[async_trait]
impl Sends for Sqlite {
    fn insert_reserved(&self, message: Message) -> Insertion {
        self.insert(message)
    }

    async fn nonce(&self, channel: Id, author: Id, nonce: &str) -> Result<Option<Id>, Error> {
        let message = self.by_nonce(channel, author, nonce.to_owned()).await?;
        Ok(message.map(|message| message.id))
    }

    async fn name(&self, _: Id, _: Id, _: &str, _: Id) -> Result<(), Error> {
        Ok(())
    }

    async fn seal(&self, channel: Id, id: Id, _: Id) -> Result<Message, Error> {
        self.delete(channel, id, id, None).await
    }

    async fn complete(&self, _: &Message) -> Result<(), Error> {
        Ok(())
    }
}
