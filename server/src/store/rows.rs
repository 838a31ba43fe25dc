//! What rows of Postgres and of SQLite have in common: from them to the model and back.

use super::Account;
use crate::model::{
    AuditAction, AuditChange, AuditEntry, Ban, Channel, ChannelType, DeadLetter, Id, Invite,
    Member, Metadata, QueuedEvent, Report, ReportState, Role, Server, Session, SessionKind, User,
    Webhook, WebhookEvent,
};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, FromRow, Postgres, Row, Sqlite, Type};

/// A row as one of the model's structs.
pub(super) struct Of<T>(pub(super) T);

/// What a column of either database may be read as.
pub(super) trait Cell<'r>:
    Decode<'r, Postgres> + Type<Postgres> + Decode<'r, Sqlite> + Type<Sqlite>
{
}

impl<'r, T> Cell<'r> for T where
    T: Decode<'r, Postgres> + Type<Postgres> + Decode<'r, Sqlite> + Type<Sqlite>
{
}

/// A row of either database.
pub(super) trait Cells: Row {
    /// A column's value.
    fn cell<'r, T: Cell<'r>>(&'r self, column: &'static str) -> Result<T, sqlx::Error>;
}

impl Cells for PgRow {
    fn cell<'r, T: Cell<'r>>(&'r self, column: &'static str) -> Result<T, sqlx::Error> {
        self.try_get(column)
    }
}

impl Cells for SqliteRow {
    fn cell<'r, T: Cell<'r>>(&'r self, column: &'static str) -> Result<T, sqlx::Error> {
        self.try_get(column)
    }
}

pub(super) fn broken(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{what} isn't valid").into())
}

/// Metadata as stored; None for none.
pub(super) fn metadata_json(metadata: &Metadata) -> Option<String> {
    let json = || serde_json::to_string(metadata).expect("a map of strings is always JSON");
    (!metadata.is_empty()).then(json)
}

pub(super) fn metadata<R: Cells>(row: &R) -> Result<Metadata, sqlx::Error> {
    let Some(text) = row.cell::<Option<&str>>("metadata")? else {
        return Ok(Metadata::new());
    };
    serde_json::from_str(text).map_err(|_| broken("metadata"))
}

/// Changes as stored; None for none.
pub(super) fn changes_json(changes: &[AuditChange]) -> Option<String> {
    let fields = |change: &AuditChange| {
        [
            change.field.clone(),
            change.before.clone(),
            change.after.clone(),
        ]
    };
    let lists: Vec<[String; 3]> = changes.iter().map(fields).collect();
    let json = || serde_json::to_string(&lists).expect("a list of strings is always JSON");
    (!lists.is_empty()).then(json)
}

fn changes<R: Cells>(row: &R) -> Result<Vec<AuditChange>, sqlx::Error> {
    let Some(text) = row.cell::<Option<&str>>("changes")? else {
        return Ok(Vec::new());
    };
    let lists: Vec<[String; 3]> = serde_json::from_str(text).map_err(|_| broken("changes"))?;
    let change = |[field, before, after]: [String; 3]| AuditChange {
        field,
        before,
        after,
    };
    Ok(lists.into_iter().map(change).collect())
}

fn hash<R: Cells>(row: &R, column: &'static str) -> Result<[u8; 32], sqlx::Error> {
    let bytes: &[u8] = row.cell(column)?;
    bytes.try_into().map_err(|_| broken("a hash"))
}

pub(super) fn role(number: i32) -> Result<Role, sqlx::Error> {
    Role::from_i32(number).ok_or_else(|| broken("a role"))
}

/// What is unique about the direct channel of two.
pub(super) fn direct_key(channel: &Channel) -> Option<String> {
    match channel.member_ids.as_slice() {
        [a, b] if channel.kind == ChannelType::Direct => Some(format!("{}:{}", a.min(b), a.max(b))),
        _ => None,
    }
}

/// A text as stored where an empty one stands for none.
pub(super) fn not_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A channel. Each database keeps its members in its own way.
pub(super) fn channel<R: Cells>(row: &R, mut member_ids: Vec<Id>) -> Result<Channel, sqlx::Error> {
    member_ids.sort_unstable();
    Ok(Channel {
        id: row.cell("id")?,
        server_id: row.cell::<Option<Id>>("server_id")?.unwrap_or(0),
        kind: ChannelType::from_i32(row.cell("kind")?).ok_or_else(|| broken("a channel's type"))?,
        name: row.cell("name")?,
        description: row.cell("description")?,
        rank: row.cell("rank")?,
        member_ids,
        metadata: metadata(row)?,
        slow_mode_s: row.cell("slow_mode_s")?,
    })
}

impl<R: Cells> FromRow<'_, R> for Of<User> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(User {
            id: row.cell("id")?,
            username: row.cell("username")?,
            display_name: row.cell("display_name")?,
            bot: row.cell("bot")?,
            deleted: row.cell("deleted")?,
            metadata: metadata(row)?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<Account> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        let text = |column| row.cell::<Option<String>>(column);
        Ok(Of(Account {
            user: Of::<User>::from_row(row)?.0,
            name_key: text("name_key")?.unwrap_or_default(),
            password_hash: row.cell("password_hash")?,
            external_id: text("external_id")?.unwrap_or_default(),
            owner_id: row.cell("owner_id")?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<Session> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(Session {
            id: row.cell("id")?,
            user_id: row.cell("user_id")?,
            kind: SessionKind::from_i32(row.cell("kind")?)
                .ok_or_else(|| broken("a session's kind"))?,
            name: row.cell("name")?,
            access_hash: hash(row, "access_hash")?,
            access_expires_at: row.cell("access_expires_at")?,
            refresh_family_hash: hash(row, "refresh_family_hash")?,
            refresh_hash: hash(row, "refresh_hash")?,
            refresh_expires_at: row.cell("refresh_expires_at")?,
            previous_refresh_hash: hash(row, "previous_refresh_hash")?,
            refreshed_at: row.cell("refreshed_at")?,
            created_at: row.cell("created_at")?,
            last_seen_at: row.cell("last_seen_at")?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<Server> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(Server {
            id: row.cell("id")?,
            name: row.cell("name")?,
            description: row.cell("description")?,
            owner_id: row.cell("owner_id")?,
            open: row.cell("open")?,
            member_count: row.cell("member_count")?,
            metadata: metadata(row)?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<Member> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(Member {
            server_id: row.cell("server_id")?,
            user_id: row.cell("user_id")?,
            role: role(row.cell("role")?)?,
            joined_at: row.cell("joined_at")?,
            timed_out_until: row.cell("timed_out_until")?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<Invite> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(Invite {
            code: row.cell("code")?,
            server_id: row.cell("server_id")?,
            creator_id: row.cell("creator_id")?,
            max_uses: row.cell("max_uses")?,
            uses: row.cell("uses")?,
            expires_at: row.cell("expires_at")?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<Ban> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(Ban {
            server_id: row.cell("server_id")?,
            user_id: row.cell("user_id")?,
            banned_by: row.cell("banned_by")?,
            reason: row.cell("reason")?,
            created_at: row.cell("created_at")?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<AuditEntry> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(AuditEntry {
            id: row.cell("id")?,
            server_id: row.cell("server_id")?,
            actor_id: row.cell("actor_id")?,
            action: AuditAction::from_i32(row.cell("action")?)
                .ok_or_else(|| broken("an action"))?,
            target_id: row.cell("target_id")?,
            channel_id: row.cell("channel_id")?,
            user_id: row.cell("user_id")?,
            count: row.cell("count")?,
            reason: row.cell("reason")?,
            changes: changes(row)?,
            created_at: row.cell("created_at")?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<Report> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(Report {
            id: row.cell("id")?,
            server_id: row.cell("server_id")?,
            channel_id: row.cell("channel_id")?,
            message_id: row.cell("message_id")?,
            author_id: row.cell("author_id")?,
            reporter_id: row.cell("reporter_id")?,
            reason: row.cell("reason")?,
            state: ReportState::from_i32(row.cell("state")?)
                .ok_or_else(|| broken("a report's state"))?,
            created_at: row.cell("created_at")?,
            resolved_by: row.cell("resolved_by")?,
            resolved_at: row.cell("resolved_at")?,
            note: row.cell("note")?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<Webhook> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(Webhook {
            id: row.cell("id")?,
            server_id: row.cell("server_id")?,
            creator_id: row.cell("creator_id")?,
            url: row.cell("url")?,
            events: row.cell::<i32>("events")?.cast_unsigned(),
            enabled: row.cell("enabled")?,
            disabled_reason: row.cell("disabled_reason")?,
            key: row.cell("key")?,
            previous_key: row.cell("previous_key")?,
            rotated_at: row.cell("rotated_at")?,
            created_at: row.cell("created_at")?,
            queued: row.cell("queued")?,
            dropped: row.cell("dropped")?,
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<QueuedEvent> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        let event = WebhookEvent::from_bit(row.cell::<i32>("event")?.cast_unsigned());
        Ok(Of(QueuedEvent {
            id: row.cell("id")?,
            webhook_id: row.cell("webhook_id")?,
            event: event.ok_or_else(|| broken("a webhook's event"))?,
            lane: row.cell("lane")?,
            subject_id: row.cell("subject_id")?,
            created_at: row.cell("created_at")?,
            attempts: row.cell::<i32>("attempts")?.cast_unsigned(),
        }))
    }
}

impl<R: Cells> FromRow<'_, R> for Of<DeadLetter> {
    fn from_row(row: &R) -> Result<Self, sqlx::Error> {
        Ok(Of(DeadLetter {
            event: Of::<QueuedEvent>::from_row(row)?.0,
            died_at: row.cell("died_at")?,
            error: row.cell("error")?,
        }))
    }
}
