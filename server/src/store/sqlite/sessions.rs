//! Sessions: devices, bots' tokens, service keys.

use super::rows::Of;
use super::{Sqlite, outbox};
use crate::model::{Id, Session, SessionKind, UnixMs};
use crate::store::{Error, NewEvent, Sessions};
use async_trait::async_trait;
use sqlx::Row;

/// Sessions that a list names.
const LISTED: i64 = 1000;

#[async_trait]
impl Sessions for Sqlite {
    async fn create_session(&self, session: Session, max: u32) -> Result<Vec<Id>, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let made = sqlx::query(
                    "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                     ON CONFLICT DO NOTHING",
                )
                .bind(session.id)
                .bind(session.user_id)
                .bind(session.kind as i32)
                .bind(session.name)
                .bind(session.access_hash.as_slice())
                .bind(session.access_expires_at)
                .bind(session.refresh_hash.as_slice())
                .bind(session.refresh_expires_at)
                .bind(session.previous_refresh_hash.as_slice())
                .bind(session.refreshed_at)
                .bind(session.created_at)
                .bind(session.last_seen_at)
                .execute(&mut tx.connection)
                .await?;
                if made.rows_affected() == 0 {
                    return Err(Error::Conflict("session"));
                }
                if session.kind != SessionKind::User {
                    return Ok(Vec::new());
                }
                let ended = sqlx::query(
                    "DELETE FROM sessions WHERE id IN
                     (SELECT id FROM sessions WHERE user_id = ?1 AND kind = 1 AND id <> ?2
                      ORDER BY last_seen_at DESC, id DESC LIMIT -1 OFFSET ?3)
                     RETURNING id",
                )
                .bind(session.user_id)
                .bind(session.id)
                .bind(i64::from(max.saturating_sub(1)))
                .fetch_all(&mut tx.connection)
                .await?;
                let ids = ended.iter().map(|row| row.try_get(0));
                Ok(ids.collect::<Result<Vec<Id>, _>>()?)
            })
        })
        .await
    }

    async fn session(&self, id: Id) -> Result<Option<Session>, Error> {
        let row: Option<Of<Session>> = sqlx::query_as("SELECT * FROM sessions WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.map(|row| row.0))
    }

    async fn refresh_session(&self, session: Session, expected: [u8; 32]) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE sessions SET access_hash = ?, access_expires_at = ?,
                     refresh_hash = ?, refresh_expires_at = ?, previous_refresh_hash = ?,
                     refreshed_at = ?, last_seen_at = max(last_seen_at, ?)
                     WHERE id = ? AND refresh_hash = ?",
                )
                .bind(session.access_hash.as_slice())
                .bind(session.access_expires_at)
                .bind(session.refresh_hash.as_slice())
                .bind(session.refresh_expires_at)
                .bind(session.previous_refresh_hash.as_slice())
                .bind(session.refreshed_at)
                .bind(session.last_seen_at)
                .bind(session.id)
                .bind(expected.as_slice())
                .execute(&mut tx.connection)
                .await?;
                match done.rows_affected() {
                    0 => Err(Error::Conflict("session")),
                    _ => Ok(()),
                }
            })
        })
        .await
    }

    async fn end_session(&self, id: Id, events: Vec<NewEvent>) -> Result<bool, Error> {
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM sessions WHERE id = ?")
                    .bind(id)
                    .execute(&mut tx.connection)
                    .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                outbox::publish(tx, events).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn sessions_of(&self, user: Id) -> Result<Vec<Session>, Error> {
        let rows: Vec<Of<Session>> =
            sqlx::query_as("SELECT * FROM sessions WHERE user_id = ? ORDER BY id DESC LIMIT ?")
                .bind(user)
                .bind(LISTED)
                .fetch_all(&self.read)
                .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn keys(&self) -> Result<Vec<Session>, Error> {
        let rows: Vec<Of<Session>> =
            sqlx::query_as("SELECT * FROM sessions WHERE kind IN (3, 4) ORDER BY id DESC LIMIT ?")
                .bind(LISTED)
                .fetch_all(&self.read)
                .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn touch_sessions(&self, seen: Vec<(Id, UnixMs)>) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                for (id, at) in seen {
                    sqlx::query(
                        "UPDATE sessions SET last_seen_at = ?1 WHERE id = ?2 AND last_seen_at < ?1",
                    )
                    .bind(at)
                    .bind(id)
                    .execute(&mut tx.connection)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }
}
