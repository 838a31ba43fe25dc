//! From rows to messages and back.

use super::Keys;
use super::session::broken;
use crate::model::{Groups, Id, Message, Metadata};
use crate::store::Error;
use scylla::DeserializeRow;
use scylla::value::MaybeUnset;

/// Bit of `flags`: Postgres has reactions or a pin of the message.
const HAS_MARKS: i32 = 1;

/// A stored message, as the statements select it.
#[derive(DeserializeRow)]
pub(super) struct Row {
    message_id: Id,
    /// None: a late change made the row, the message isn't there.
    author_id: Option<Id>,
    nonce: Option<String>,
    content: Option<String>,
    reply_to: Option<Id>,
    mentions: Option<Vec<Id>>,
    mention_groups: Option<i32>,
    metadata: Option<String>,
    sent_hash: Option<i64>,
    flags: Option<i32>,
    revision: Option<i64>,
    edited_at: Option<i64>,
    deleted: Option<bool>,
}

impl Row {
    pub(super) fn id(&self) -> Id {
        self.message_id
    }

    /// The message; None if there is none. `pinned` says that Postgres has marks of it, which are
    /// to be asked for.
    pub(super) fn message(self, channel: Id, keys: &Keys) -> Result<Option<Message>, Error> {
        let Some(author) = self.author_id else {
            return Ok(None);
        };
        let mut message = Message {
            id: self.message_id,
            channel_id: channel,
            author_id: keys.id_of(author),
            reply_to: self.reply_to.unwrap_or_default(),
            nonce: self.nonce.unwrap_or_default(),
            revision: self.revision.unwrap_or_default(),
            edited_at: self.edited_at.unwrap_or_default(),
            deleted: self.deleted.unwrap_or_default(),
            ..Message::default()
        };
        // An edit that was under way when it was deleted may have written a content again.
        if !message.deleted {
            message.content = self.content.unwrap_or_default();
            message.mentions = self.mentions.unwrap_or_default();
            let groups = self.mention_groups.unwrap_or_default();
            message.groups = Groups::from_bits(u8::try_from(groups).unwrap_or_default());
            message.metadata = metadata(self.metadata.as_deref().unwrap_or_default())?;
            message.sent_hash = self.sent_hash.map(i64::cast_unsigned);
            message.pinned = self.flags.unwrap_or_default() & HAS_MARKS != 0;
        }
        Ok(Some(message))
    }
}

fn metadata(text: &str) -> Result<Metadata, Error> {
    if text.is_empty() {
        return Ok(Metadata::new());
    }
    serde_json::from_str(text).map_err(|_| broken("its metadata isn't valid"))
}

/// What an insertion binds. What isn't there is left unset: a null would be a tombstone.
pub(super) type New<'a> = (
    Id,
    i32,
    Id,
    Id,
    MaybeUnset<&'a str>,
    &'a str,
    MaybeUnset<Id>,
    MaybeUnset<&'a [Id]>,
    MaybeUnset<i32>,
    MaybeUnset<String>,
    MaybeUnset<i64>,
    i64,
);

fn unless<T>(absent: bool, value: T) -> MaybeUnset<T> {
    if absent {
        MaybeUnset::Unset
    } else {
        MaybeUnset::Set(value)
    }
}

/// The values of a message's insertion into a bucket.
pub(super) fn new<'a>(message: &'a Message, bucket: i32, keys: &Keys) -> New<'a> {
    let json = || serde_json::to_string(&message.metadata);
    let metadata = match message.metadata.is_empty() {
        true => MaybeUnset::Unset,
        false => MaybeUnset::Set(json().expect("a map of strings is always JSON")),
    };
    let hash = message.sent_hash;
    (
        keys.key(message.channel_id),
        bucket,
        message.id,
        keys.key(message.author_id),
        unless(message.nonce.is_empty(), message.nonce.as_str()),
        message.content.as_str(),
        unless(message.reply_to == 0, message.reply_to),
        unless(message.mentions.is_empty(), message.mentions.as_slice()),
        unless(message.groups.is_empty(), i32::from(message.groups.bits())),
        metadata,
        hash.map_or(MaybeUnset::Unset, |hash| {
            MaybeUnset::Set(hash.cast_signed())
        }),
        super::stamp(message.id),
    )
}

/// About as many bytes as a message's row takes in a request.
pub(super) fn size(message: &Message) -> usize {
    let metadata = message.metadata.iter();
    let metadata: usize = metadata
        .map(|(key, value)| key.len() + value.len() + 8)
        .sum();
    200 + message.content.len() + message.nonce.len() + message.mentions.len() * 12 + metadata
}
