//! From rows to the model and back.

use crate::model::{
    Ban, Channel, ChannelType, Id, Invite, Member, Metadata, Role, Server, Session, SessionKind,
    User,
};
use crate::store::Account;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

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

fn metadata(row: &PgRow) -> Result<Metadata, sqlx::Error> {
    let Some(text) = row.try_get::<Option<&str>, _>("metadata")? else {
        return Ok(Metadata::new());
    };
    serde_json::from_str(text).map_err(|_| broken("metadata"))
}

fn hash(row: &PgRow, column: &'static str) -> Result<[u8; 32], sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| broken("a hash"))
}

pub(super) fn role(number: i32) -> Result<Role, sqlx::Error> {
    Role::from_i32(number).ok_or_else(|| broken("a role"))
}

impl FromRow<'_, PgRow> for Of<User> {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
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

impl FromRow<'_, PgRow> for Of<Account> {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
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

impl FromRow<'_, PgRow> for Of<Session> {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
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

impl FromRow<'_, PgRow> for Of<Server> {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
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

impl FromRow<'_, PgRow> for Of<Member> {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Member {
            server_id: row.try_get("server_id")?,
            user_id: row.try_get("user_id")?,
            role: role(row.try_get("role")?)?,
            joined_at: row.try_get("joined_at")?,
            timed_out_until: row.try_get("timed_out_until")?,
        }))
    }
}

impl FromRow<'_, PgRow> for Of<Channel> {
    /// Its members stand in a column of their own: an array of ids.
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let mut member_ids: Vec<Id> = row.try_get("member_ids")?;
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

impl FromRow<'_, PgRow> for Of<Invite> {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
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

impl FromRow<'_, PgRow> for Of<Ban> {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Ban {
            server_id: row.try_get("server_id")?,
            user_id: row.try_get("user_id")?,
            banned_by: row.try_get("banned_by")?,
            reason: row.try_get("reason")?,
            created_at: row.try_get("created_at")?,
        }))
    }
}
