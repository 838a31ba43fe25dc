//! Edits and deletes: read, written at their revision's time, read again. Whoever wants them in the
//! order of a channel's other writes runs them by [`Cql::in_turn`].

use super::session::first;
use super::{Cql, stamp};
use crate::model::{Id, Mentions, Message, UnixMs};
use crate::store::Error;

/// What a change of a message did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// As it was.
    pub before: Message,
    /// As it is.
    pub now: Message,
    /// Whether this change made it so.
    pub changed: bool,
}

impl Cql {
    /// Writes a new content at a revision, unless the message is deleted or has a higher revision.
    ///
    /// # Errors
    /// `NotFound("message")`, `Unavailable`, `Overloaded`.
    pub async fn edit(
        &self,
        channel: Id,
        id: Id,
        content: String,
        mentions: Mentions,
        (revision, edited_at): (i64, UnixMs),
    ) -> Result<Changed, Error> {
        let (before, written) = self.before(channel, id).await?;
        if before.deleted || before.revision >= revision {
            return Ok(unchanged(before));
        }
        let at = stamp(revision).max(written + 1);
        let groups = i32::from(mentions.groups.bits());
        let link = self.link();
        let (key, bucket) = (self.keys().key(channel), self.bucket(channel, id).await?);
        let values = (
            at,
            content,
            mentions.users,
            groups,
            revision,
            edited_at,
            key,
            bucket,
            id,
        );
        link.write(&link.statements.edit, values).await?;
        self.after(before, |now| !now.deleted && now.revision == revision)
            .await
    }

    /// Deletes softly, at a revision or, without one, at the message's own raised by one.
    ///
    /// # Errors
    /// `NotFound("message")`, `Unavailable`, `Overloaded`.
    pub async fn delete(
        &self,
        channel: Id,
        id: Id,
        revision: Option<i64>,
    ) -> Result<Changed, Error> {
        let (before, written) = self.before(channel, id).await?;
        if before.deleted {
            return Ok(unchanged(before));
        }
        let revision = revision.unwrap_or(before.revision + 1).max(before.revision);
        let at = stamp(revision).max(written + 1);
        let link = self.link();
        let key = self.keys().key(channel);
        let values = (at, revision, key, self.bucket(channel, id).await?, id);
        link.write(&link.statements.delete, values).await?;
        self.after(before, |now| now.deleted).await
    }

    /// Deletes a message that must not be, stored or not, so that a write of it which comes later
    /// shows nothing. Its revision is then its own id, if it wasn't deleted before.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`; `NotFound("channel")`.
    pub async fn seal(&self, channel: Id, id: Id, author: Id) -> Result<Changed, Error> {
        let there = self.get(channel, id).await?;
        if let Some(before) = there.clone().filter(|message| message.deleted) {
            return Ok(unchanged(before));
        }
        let (_, written) = self.times(channel, id).await?;
        let widths = self.widths(channel, id).await?;
        let bucket = widths.bucket_of(id);
        self.note_bucket(channel, id, &widths).await?;
        self.note_author(author, (channel, bucket), id).await?;
        let (link, keys) = (self.link(), self.keys());
        let at = (stamp(id) + 1).max(written + 1);
        let key = keys.key(channel);
        let values = (at, keys.key(author), id, key, bucket, id);
        link.write(&link.statements.seal, values).await?;
        let before = there.unwrap_or_else(|| Message {
            id,
            channel_id: channel,
            author_id: author,
            ..Message::default()
        });
        self.after(before, |now| now.deleted).await
    }

    /// Notes that Postgres has marks of a message. Idempotent.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn set_marked(&self, channel: Id, id: Id) -> Result<(), Error> {
        let link = self.link();
        let bucket = self.bucket(channel, id).await?;
        let values = (stamp(id) + 1, self.keys().key(channel), bucket, id);
        link.write(&link.statements.mark, values).await
    }

    /// The message, and the time of its latest write.
    async fn before(&self, channel: Id, id: Id) -> Result<(Message, i64), Error> {
        let (message, (there, written)) =
            tokio::try_join!(self.get(channel, id), self.times(channel, id))?;
        let message = message.filter(|_| there);
        Ok((message.ok_or(Error::NotFound("message"))?, written))
    }

    /// Whether a row has an author, and when its author and its revision were written.
    async fn times(&self, channel: Id, id: Id) -> Result<(bool, i64), Error> {
        let link = self.link();
        let bucket = self.bucket(channel, id).await?;
        let values = (self.keys().key(channel), bucket, id);
        let rows = link.read(&link.statements.times, values).await?;
        let times = first::<(Option<i64>, Option<i64>)>(&rows)?.unwrap_or_default();
        let latest = times.0.max(times.1).unwrap_or_default();
        Ok((times.0.is_some(), latest))
    }

    async fn after(
        &self,
        before: Message,
        changed: impl FnOnce(&Message) -> bool,
    ) -> Result<Changed, Error> {
        let now = self.get(before.channel_id, before.id).await?;
        let now = now.ok_or(Error::NotFound("message"))?;
        Ok(Changed {
            changed: changed(&now),
            before,
            now,
        })
    }
}

fn unchanged(message: Message) -> Changed {
    Changed {
        before: message.clone(),
        now: message,
        changed: false,
    }
}
