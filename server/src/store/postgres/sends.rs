//! Sends by reservations: the bus decides about nonces, CQL keeps them.

use super::Postgres;
use super::messages::{Hands, answered};
use crate::model::{Id, Message};
use crate::store::{Error, Insertion, Sends};
use async_trait::async_trait;

#[async_trait]
impl Sends for Postgres {
    fn insert_reserved(&self, message: Message) -> Insertion {
        answered(&self.pool, self.messages.insert_reserved(message))
    }

    async fn nonce(&self, channel: Id, author: Id, nonce: &str) -> Result<Option<Id>, Error> {
        self.messages.nonce(channel, author, nonce).await
    }

    async fn name(&self, channel: Id, author: Id, nonce: &str, id: Id) -> Result<(), Error> {
        self.messages.name(channel, author, nonce, id).await
    }

    async fn seal(&self, channel: Id, id: Id, author: Id) -> Result<Message, Error> {
        let hands = Hands::of(self);
        let seal = self.messages.in_turn(channel, id, async move {
            let sealed = hands.messages.seal(channel, id, author).await?;
            let now = sealed.now.clone();
            if sealed.changed {
                hands.deleted(vec![sealed], None).await?;
            }
            Ok(now)
        });
        seal.await
    }

    async fn complete(&self, message: &Message) -> Result<(), Error> {
        Hands::of(self).complete(message).await
    }
}
