//! History, edits, deletes, typing, custom events.

use super::coalesced::Coalesced;
use super::hook::Draft;
use super::permissions::Action;
use super::turns::Turn;
use super::{Caller, Domain, Error};
use crate::bus::{Extent, OperationKind, Transient, TransientKind};
use crate::frames;
use crate::model::{AuditAction, AuditEntry, Channel, Id, Mentions, Message, limits};
use crate::mutation;
use crate::store::{self, Anchor, Page};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Messages of a page, where the caller doesn't say.
const PAGE: i32 = 50;
/// Messages of a page at most.
const PAGE_MAX: i32 = 100;
/// A page waits so long to know how far it is final.
const SETTLED_WITHIN: Duration = Duration::from_millis(250);

/// Pages of a channel, by place and limit: after an outage many ask for the same one at once.
pub(super) type PageReads = Coalesced<(Id, Anchor, u32), Result<Arc<Page>, store::Error>>;
/// Messages by channel and id: of a popular one many ask at once, and react to it.
pub(super) type MessageReads = Coalesced<(Id, Id), Result<Option<Arc<Message>>, store::Error>>;

/// An integrator's own event for a channel's viewers.
#[derive(Clone, Debug, Default)]
pub struct CustomEvent {
    /// The channel.
    pub channel_id: Id,
    /// What kind of event: 1 to 64 characters.
    pub name: String,
    /// Its meaning is the integrator's.
    pub data: Bytes,
}

impl Domain {
    /// A message. A deleted one is absent.
    pub async fn get_message(
        &self,
        caller: &Caller,
        channel: Id,
        id: Id,
    ) -> Result<Message, Error> {
        self.authorise(caller, channel, Action::See).await?;
        let mut message = self.existing(channel, id).await?;
        self.mark_own(caller.user_id, std::slice::from_mut(&mut message))
            .await?;
        Ok(message)
    }

    /// A page of history, ascending. `limit` 0 means 50. And up to which id it is final but for
    /// edits and deletes; 0 if that isn't known, or wasn't looked at: for pages that lie before an
    /// id or around one.
    pub async fn list_messages(
        &self,
        caller: &Caller,
        channel: Id,
        anchor: Anchor,
        limit: i32,
    ) -> Result<(Page, Id), Error> {
        if !(0..=PAGE_MAX).contains(&limit) {
            return Err(Error::field(
                "limit",
                format!("{limit}; 0 to {PAGE_MAX} is"),
            ));
        }
        let (path, id) = match anchor {
            Anchor::Newest => ("before", 0),
            Anchor::Before(id) => ("before", id),
            Anchor::After(id) => ("after", id),
            Anchor::Around(id) => ("around", id),
        };
        if id < 0 {
            return Err(Error::field(path, "negative; an id is positive"));
        }
        self.authorise(caller, channel, Action::See).await?;
        let limit = if limit == 0 { PAGE } else { limit };
        let from = match anchor {
            Anchor::Newest => Some(0),
            Anchor::After(id) => Some(id),
            Anchor::Before(_) | Anchor::Around(_) => None,
        };
        // What has ended by now is in the page; what ends while it is read may not be.
        let ended = match from {
            Some(_) => self.settled(channel).await,
            None => Extent::Unknown,
        };
        let mut page = self.page(channel, anchor, limit.unsigned_abs()).await?;
        let highest = page.highest().or(from).unwrap_or(0);
        let settled = match ended {
            Extent::Upto(id) => id.min(highest),
            Extent::Idle(_) if self.settled(channel).await == ended => highest,
            Extent::Idle(_) | Extent::Unknown => from.unwrap_or(0),
        };
        self.mark_own(caller.user_id, &mut page.messages).await?;
        Ok((page, settled))
    }

    async fn page(&self, channel: Id, anchor: Anchor, limit: u32) -> Result<Page, Error> {
        let store = self.store.clone();
        let read = async move { store.page(channel, anchor, limit).await.map(Arc::new) };
        let page = self
            .page_reads
            .read(&(channel, anchor, limit), read)
            .await?;
        Ok(Arc::unwrap_or_clone(page))
    }

    /// History can be read while the bus can't be asked.
    async fn settled(&self, channel: Id) -> Extent {
        let asking = self.bus.reservations.settled(channel);
        let settled = tokio::time::timeout(SETTLED_WITHIN, asking).await;
        settled.map_or(Extent::Unknown, |asked| asked.unwrap_or(Extent::Unknown))
    }

    /// Replaces the content of the caller's own message.
    pub async fn edit_message(
        self: &Arc<Self>,
        caller: &Caller,
        channel: Id,
        id: Id,
        content: String,
    ) -> Result<Message, Error> {
        self.check_content(&content)?;
        let channel = self.authorise(caller, channel, Action::Write).await?;
        self.refuse_blocked(caller, &channel).await?;
        let message = self.existing(channel.id, id).await?;
        let own = message.author_id == caller.user_id;
        if !own && !mutation::on("permission_off_on_edit") {
            return Err(Error::denied("Only its author edits a message."));
        }
        self.throttle.transient(caller, channel.id)?;
        let draft = Draft::edit(caller, &channel, id, &content, &message.metadata);
        let content = self.review(draft).await?.unwrap_or(content);
        let mentions = self.mentions_in(caller, &channel, &content).await?;
        self.complete_in_time(|domain| async move {
            let author = message.author_id;
            let mut edited = domain.write_edit(message, content, mentions).await?;
            let answer = std::slice::from_mut(&mut edited);
            domain.mark_own(author, answer).await?;
            Ok(edited)
        })
        .await
    }

    async fn write_edit(
        self: &Arc<Self>,
        mut message: Message,
        content: String,
        mentions: Mentions,
    ) -> Result<Message, Error> {
        // The event carries what stands on the message, which the latest event says: so it comes in
        // the order in which that was written.
        let (written, operation, mut turn) = {
            let mut latest = self.turns.hold(message.channel_id).await;
            let operation = self.reserve_change(OperationKind::Edit, &message).await?;
            message.revision = operation.revision;
            message.edited_at = self.now();
            message.mentions.clone_from(&mentions.users);
            message.groups = mentions.groups;
            message.content = content;
            let written = self.store.edit(
                message.channel_id,
                message.id,
                message.content.clone(),
                mentions,
                message.revision,
                message.edited_at,
            );
            (written, operation, Turn::after(&mut latest))
        };
        let row = match written.await {
            Ok(row) => row,
            Err(error) => self.settle(&operation, error).await?,
        };
        turn.come().await;
        self.publish(&operation, row.clone()).await?;
        if row.deleted {
            return Err(Error::not_found("message"));
        }
        Ok(row)
    }

    /// Deletes a message: one's own, or as a moderator. Deleting a deleted one succeeds.
    pub async fn delete_message(
        self: &Arc<Self>,
        caller: &Caller,
        channel: Id,
        id: Id,
    ) -> Result<(), Error> {
        let channel = self.authorise(caller, channel, Action::See).await?;
        let message = self.store.get(channel.id, id).await?;
        let message = message.ok_or_else(|| Error::not_found("message"))?;
        let own = message.author_id == caller.user_id;
        let action = if own {
            Action::DeleteOwn
        } else {
            Action::DeleteOthers
        };
        self.authorise(caller, channel.id, action).await?;
        if message.deleted {
            return Ok(());
        }
        let audit = if own {
            None
        } else {
            let action = AuditAction::MessageDeleted;
            Some(AuditEntry {
                target_id: id,
                channel_id: channel.id,
                user_id: message.author_id,
                ..self.audit(caller, channel.server_id, action)?
            })
        };
        self.complete_in_time(|domain| async move { domain.write_delete(message, audit).await })
            .await
    }

    async fn write_delete(
        self: &Arc<Self>,
        mut message: Message,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        let operation = self.reserve_change(OperationKind::Delete, &message).await?;
        message.revision = operation.revision;
        if mutation::on("deleted_content_stays") {
            message.deleted = true;
            return self.publish(&operation, message).await;
        }
        let (channel, id) = (message.channel_id, message.id);
        let deleted = self.store.delete(channel, id, message.revision, audit);
        let row = match deleted.await {
            Ok(row) => row,
            Err(error) => self.settle(&operation, error).await?,
        };
        self.publish(&operation, row).await
    }

    /// Shows a channel's viewers that the caller types.
    pub async fn start_typing(&self, caller: &Caller, channel: Id) -> Result<(), Error> {
        let channel = self.may_announce(caller, channel).await?;
        let frame = frames::typing(channel.id, caller.user_id, self.now());
        self.announce(channel.id, TransientKind::Typing, frame)
            .await
    }

    /// Sends an integrator's own event to a channel's viewers.
    pub async fn send_custom_event(
        &self,
        caller: &Caller,
        event: CustomEvent,
    ) -> Result<(), Error> {
        let chars = event.name.chars().count();
        if chars == 0 || chars > limits::KEY_CHARS_MAX {
            let most = limits::KEY_CHARS_MAX;
            return Err(Error::field(
                "name",
                format!("{chars} characters; 1 to {most} are allowed"),
            ));
        }
        let (bytes, most) = (event.data.len(), self.limits().custom_event_bytes_max);
        if bytes > most {
            return Err(Error::field(
                "data",
                format!("{bytes} bytes; at most {most} are allowed"),
            ));
        }
        let channel = self.may_announce(caller, event.channel_id).await?;
        let frame = frames::custom_event(channel.id, caller.user_id, event.name, event.data);
        self.announce(channel.id, TransientKind::Custom, frame)
            .await
    }

    async fn may_announce(&self, caller: &Caller, channel: Id) -> Result<Arc<Channel>, Error> {
        let channel = self.authorise(caller, channel, Action::Write).await?;
        self.refuse_blocked(caller, &channel).await?;
        self.throttle.transient(caller, channel.id)?;
        Ok(channel)
    }

    async fn announce(&self, channel: Id, kind: TransientKind, frame: Bytes) -> Result<(), Error> {
        Ok(self
            .bus
            .topics
            .announce(Transient {
                channel,
                kind,
                frame,
            })
            .await?)
    }

    pub(super) async fn existing(&self, channel: Id, id: Id) -> Result<Message, Error> {
        let store = self.store.clone();
        let read = async move { Ok(store.get(channel, id).await?.map(Arc::new)) };
        let message = self.message_reads.read(&(channel, id), read).await?;
        let message = message.filter(|message| !message.deleted);
        let message = message.ok_or_else(|| Error::not_found("message"))?;
        Ok(Arc::unwrap_or_clone(message))
    }
}
