//! Pinned messages.

use super::marks::{Marking, Wanted};
use super::permissions::Action;
use super::{Caller, Domain, Error, Listed, pages};
use crate::model::{Id, Message, Pin};
use std::sync::Arc;

impl Domain {
    /// Pins a message. Idempotent: what is pinned keeps its place.
    pub async fn pin_message(
        self: &Arc<Self>,
        caller: &Caller,
        channel: Id,
        message: Id,
    ) -> Result<(), Error> {
        self.set_pinned(caller, channel, message, Wanted::Pinned)
            .await
    }

    /// Unpins a message. Idempotent.
    pub async fn unpin_message(
        self: &Arc<Self>,
        caller: &Caller,
        channel: Id,
        message: Id,
    ) -> Result<(), Error> {
        self.set_pinned(caller, channel, message, Wanted::NotPinned)
            .await
    }

    async fn set_pinned(
        self: &Arc<Self>,
        caller: &Caller,
        channel: Id,
        message: Id,
        wanted: Wanted,
    ) -> Result<(), Error> {
        let channel = self.authorise(caller, channel, Action::Pin).await?;
        self.refuse_blocked(caller, &channel).await?;
        self.throttle.transient(caller, channel.id)?;
        let marking = Marking {
            channel: channel.id,
            message,
            user: caller.user_id,
            wanted,
        };
        self.write_mark(marking).await.map(drop)
    }

    /// A page of a channel's pins, the latest first, of pins before one.
    pub async fn list_pins(
        &self,
        caller: &Caller,
        channel: Id,
        before: Id,
        size: i32,
    ) -> Result<Listed<Pin>, Error> {
        let size = pages::whole(size)?;
        self.authorise(caller, channel, Action::See).await?;
        let pins = self.store.pins(channel, before, size + 1).await?;
        let mut listed = pages::cut(pins, size);
        let messages = listed.items.iter_mut().map(|pin| &mut pin.message);
        let mut messages: Vec<Message> = messages.map(std::mem::take).collect();
        self.mark_own(caller.user_id, &mut messages).await?;
        for (pin, message) in listed.items.iter_mut().zip(messages) {
            pin.message = message;
        }
        Ok(listed)
    }
}
