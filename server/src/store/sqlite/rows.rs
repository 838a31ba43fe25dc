//! From rows to the model and back.

use crate::model::{
    Ban, Channel, ChannelType, Groups, Id, Invite, Member, Message, Metadata, Pin, Reaction, Role,
    Server, Session, SessionKind, User,
};
use crate::store::Account;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

/// A row as one of the model's structs.
pub(super) struct Of<T>(pub(super) T);

pub(super) fn broken(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{what} isn't valid").into())
}

/// Metadata as stored; None for none.
pub(super) fn metadata_json(metadata: &Metadata) -> Option<String> {
    let json = || serde_json::to_string(metadata).expect("a map of strings is always JSON");
    (!metadata.is_empty()).then(json)
}

fn metadata(row: &SqliteRow) -> Result<Metadata, sqlx::Error> {
    let Some(text) = row.try_get::<Option<&str>, _>("metadata")? else {
        return Ok(Metadata::new());
    };
    serde_json::from_str(text).map_err(|_| broken("metadata"))
}

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

fn nonce(row: &SqliteRow) -> Result<String, sqlx::Error> {
    let Some(bytes) = row.try_get::<Option<&[u8]>, _>("nonce")? else {
        return Ok(String::new());
    };
    match bytes.split_first() {
        Some((&NONCE_UUID, rest)) => Uuid::from_slice(rest)
            .map(|uuid| uuid.hyphenated().to_string())
            .map_err(|_| broken("nonce")),
        Some((&NONCE_TEXT, rest)) => String::from_utf8(rest.to_vec()).map_err(|_| broken("nonce")),
        _ => Err(broken("nonce")),
    }
}

fn hash(row: &SqliteRow, column: &'static str) -> Result<[u8; 32], sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| broken("a hash"))
}

pub(super) fn role(number: i32) -> Result<Role, sqlx::Error> {
    Role::from_i32(number).ok_or_else(|| broken("a role"))
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

impl FromRow<'_, SqliteRow> for Of<User> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(User {
            id: row.try_get("id")?,
            username: row.try_get("username")?,
            display_name: row.try_get("display_name")?,
            bot: row.try_get("bot")?,
            deleted: row.try_get("deleted")?,
            metadata: metadata(row)?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<Account> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let text = |column| row.try_get::<Option<String>, _>(column);
        Ok(Of(Account {
            user: Of::<User>::from_row(row)?.0,
            name_key: text("name_key")?.unwrap_or_default(),
            password_hash: row.try_get("password_hash")?,
            external_id: text("external_id")?.unwrap_or_default(),
            owner_id: row.try_get("owner_id")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<Session> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Session {
            id: row.try_get("id")?,
            user_id: row.try_get("user_id")?,
            kind: SessionKind::from_i32(row.try_get("kind")?)
                .ok_or_else(|| broken("a session's kind"))?,
            name: row.try_get("name")?,
            access_hash: hash(row, "access_hash")?,
            access_expires_at: row.try_get("access_expires_at")?,
            refresh_family_hash: hash(row, "refresh_family_hash")?,
            refresh_hash: hash(row, "refresh_hash")?,
            refresh_expires_at: row.try_get("refresh_expires_at")?,
            previous_refresh_hash: hash(row, "previous_refresh_hash")?,
            refreshed_at: row.try_get("refreshed_at")?,
            created_at: row.try_get("created_at")?,
            last_seen_at: row.try_get("last_seen_at")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<Server> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Server {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            owner_id: row.try_get("owner_id")?,
            open: row.try_get("open")?,
            member_count: row.try_get("member_count")?,
            metadata: metadata(row)?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<Member> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Member {
            server_id: row.try_get("server_id")?,
            user_id: row.try_get("user_id")?,
            role: role(row.try_get("role")?)?,
            joined_at: row.try_get("joined_at")?,
            timed_out_until: row.try_get("timed_out_until")?,
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
        member_ids.sort_unstable();
        Ok(Of(Channel {
            id: row.try_get("id")?,
            server_id: row.try_get::<Option<Id>, _>("server_id")?.unwrap_or(0),
            kind: ChannelType::from_i32(row.try_get("kind")?)
                .ok_or_else(|| broken("a channel's type"))?,
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            rank: row.try_get("rank")?,
            member_ids,
            metadata: metadata(row)?,
            slow_mode_s: row.try_get("slow_mode_s")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<Invite> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Invite {
            code: row.try_get("code")?,
            server_id: row.try_get("server_id")?,
            creator_id: row.try_get("creator_id")?,
            max_uses: row.try_get("max_uses")?,
            uses: row.try_get("uses")?,
            expires_at: row.try_get("expires_at")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<Ban> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Ban {
            server_id: row.try_get("server_id")?,
            user_id: row.try_get("user_id")?,
            banned_by: row.try_get("banned_by")?,
            reason: row.try_get("reason")?,
            created_at: row.try_get("created_at")?,
        }))
    }
}
