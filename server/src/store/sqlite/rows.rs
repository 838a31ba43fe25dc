//! Rows as SQLite alone has them.

use crate::model::{Channel, Groups, Id, Message, Pin, Reaction};
pub(super) use crate::store::rows::*;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

/// Mentions as stored; None for none.
pub(super) fn mentions_json(mentions: &[Id]) -> Option<String> {
    let json = || serde_json::to_string(mentions).expect("a list of numbers is always JSON");
    (!mentions.is_empty()).then(json)
}

/// Kinds of reactions as stored; None for none.
pub(super) fn reactions_json(kinds: &[Reaction]) -> Option<String> {
    let kind = |kind: &Reaction| (kind.kind, kind.emoji.clone(), kind.count);
    let stored = || kinds.iter().map(kind).collect::<Vec<_>>();
    let json = || serde_json::to_string(&stored()).expect("numbers and texts are always JSON");
    (!kinds.is_empty()).then(json)
}

fn reactions(row: &SqliteRow) -> Result<Vec<Reaction>, sqlx::Error> {
    let Some(text) = row.try_get::<Option<&str>, _>("reactions")? else {
        return Ok(Vec::new());
    };
    let kinds: Vec<(Id, String, i32)> =
        serde_json::from_str(text).map_err(|_| broken("reactions"))?;
    let kinds = kinds.into_iter().map(|(kind, emoji, count)| Reaction {
        kind,
        emoji,
        count,
        own: false,
    });
    Ok(kinds.collect())
}

fn mentions(row: &SqliteRow) -> Result<Vec<Id>, sqlx::Error> {
    let Some(text) = row.try_get::<Option<&str>, _>("mentions")? else {
        return Ok(Vec::new());
    };
    serde_json::from_str(text).map_err(|_| broken("mentions"))
}

/// A nonce as stored, None for none. Nearly all are UUIDs as text, which take less than half as
/// bytes; the first byte tells.
pub(super) fn nonce_bytes(nonce: &str) -> Option<Vec<u8>> {
    if nonce.is_empty() {
        return None;
    }
    let mut buffer = Uuid::encode_buffer();
    let uuid = Uuid::try_parse(nonce)
        .ok()
        .filter(|uuid| *uuid.hyphenated().encode_lower(&mut buffer) == *nonce);
    let (tag, rest) = match &uuid {
        Some(uuid) => (NONCE_UUID, uuid.as_bytes().as_slice()),
        None => (NONCE_TEXT, nonce.as_bytes()),
    };
    let mut bytes = Vec::with_capacity(1 + rest.len());
    bytes.push(tag);
    bytes.extend_from_slice(rest);
    Some(bytes)
}

const NONCE_TEXT: u8 = 0;
const NONCE_UUID: u8 = 1;
/// Behind it the message's id, eight bytes, and the nonce in one of the other forms.
const NONCE_SPENT: u8 = 2;

/// The nonce of a message whose author used it again: in a form that is this message's alone, and
/// that nobody looks for.
pub(super) fn spent_nonce(id: Id, nonce: &[u8]) -> Vec<u8> {
    let mut bytes = vec![NONCE_SPENT];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(nonce);
    bytes
}

fn nonce(row: &SqliteRow) -> Result<String, sqlx::Error> {
    let Some(mut bytes) = row.try_get::<Option<&[u8]>, _>("nonce")? else {
        return Ok(String::new());
    };
    if let Some((&NONCE_SPENT, rest)) = bytes.split_first() {
        bytes = rest.get(size_of::<Id>()..).unwrap_or_default();
    }
    match bytes.split_first() {
        Some((&NONCE_UUID, rest)) => Uuid::from_slice(rest)
            .map(|uuid| uuid.hyphenated().to_string())
            .map_err(|_| broken("nonce")),
        Some((&NONCE_TEXT, rest)) => String::from_utf8(rest.to_vec()).map_err(|_| broken("nonce")),
        _ => Err(broken("nonce")),
    }
}

impl FromRow<'_, SqliteRow> for Of<Message> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Message {
            id: row.try_get("id")?,
            channel_id: row.try_get("channel_id")?,
            author_id: row.try_get("author_id")?,
            content: row.try_get("content")?,
            reply_to: row.try_get("reply_to")?,
            nonce: nonce(row)?,
            revision: row.try_get("revision")?,
            edited_at: row.try_get("edited_at")?,
            deleted: row.try_get("deleted")?,
            mentions: mentions(row)?,
            groups: Groups::from_bits(row.try_get("mention_groups")?),
            metadata: metadata(row)?,
            sent_hash: row
                .try_get::<Option<i64>, _>("sent_hash")?
                .map(i64::cast_unsigned),
            reactions: reactions(row)?,
            pinned: row.try_get("pinned")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<Pin> {
    /// The message's columns, and the pin's under names of their own.
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Pin {
            id: row.try_get("pin_id")?,
            user_id: row.try_get("pinned_by")?,
            message: Of::<Message>::from_row(row)?.0,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<Channel> {
    /// Its members stand in a column of their own: ids joined by commas, NULL for none.
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let members = row.try_get::<Option<&str>, _>("member_ids")?.unwrap_or("");
        let mut member_ids = Vec::new();
        for id in members.split(',').filter(|id| !id.is_empty()) {
            member_ids.push(id.parse().map_err(|_| broken("a member's id"))?);
        }
        channel(row, member_ids).map(Of)
    }
}
