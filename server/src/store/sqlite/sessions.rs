//! Sessions: devices, bots' tokens, service keys.

use super::rows::Of;
use super::writer::Tx;
use super::{Sqlite, outbox, users};
use crate::model::{EventBody, Id, Session, SessionKind, TopicKey, UnixMs};
use crate::store::{Error, NewEvent, Sessions};
use async_trait::async_trait;

#[async_trait]
impl Sessions for Sqlite {
    async fn create_session(
        &self,
        session: Session,
        max: u32,
        proved: Option<String>,
    ) -> Result<Vec<Id>, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let stored = users::require(tx, session.user_id).await?;
                if proved.is_some_and(|proved| proved != stored) {
                    return Err(Error::Conflict("password"));
                }
                insert(tx, &session).await?;
                match session.kind {
                    SessionKind::User => end_surplus(tx, &session, max).await,
                    _ => Ok(Vec::new()),
                }
            })
        })
        .await
    }

    async fn replace_sessions(&self, session: Session) -> Result<Vec<Id>, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                users::require(tx, session.user_id).await?;
                replace(tx, &session).await
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

    async fn end_session(&self, id: Id) -> Result<bool, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let user: Option<Id> =
                    sqlx::query_scalar("DELETE FROM sessions WHERE id = ? RETURNING user_id")
                        .bind(id)
                        .fetch_optional(&mut tx.connection)
                        .await?;
                let Some(user) = user else {
                    return Ok(false);
                };
                tell(tx, user, &[id]).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn sessions_of(&self, user: Id, before: Id, limit: u32) -> Result<Vec<Session>, Error> {
        let rows: Vec<Of<Session>> = sqlx::query_as(
            "SELECT * FROM sessions WHERE user_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(user)
        .bind(before)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn keys(&self, before: Id, limit: u32) -> Result<Vec<Session>, Error> {
        let rows: Vec<Of<Session>> = sqlx::query_as(
            "SELECT * FROM sessions WHERE kind IN (3, 4) AND id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(before)
        .bind(limit)
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

/// Writes the row alone.
pub(super) async fn insert(tx: &mut Tx, session: &Session) -> Result<(), Error> {
    let made = sqlx::query(
        "INSERT INTO sessions (id, user_id, kind, name, access_hash, access_expires_at,
         refresh_family_hash, refresh_hash, refresh_expires_at, previous_refresh_hash,
         refreshed_at, created_at, last_seen_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(session.id)
    .bind(session.user_id)
    .bind(session.kind as i32)
    .bind(session.name.as_str())
    .bind(session.access_hash.as_slice())
    .bind(session.access_expires_at)
    .bind(session.refresh_family_hash.as_slice())
    .bind(session.refresh_hash.as_slice())
    .bind(session.refresh_expires_at)
    .bind(session.previous_refresh_hash.as_slice())
    .bind(session.refreshed_at)
    .bind(session.created_at)
    .bind(session.last_seen_at)
    .execute(&mut tx.connection)
    .await?;
    match made.rows_affected() {
        0 => Err(Error::Conflict("session")),
        _ => Ok(()),
    }
}

/// Ends the user's longest unseen sessions, so that with the new one it has at most `max`.
async fn end_surplus(tx: &mut Tx, new: &Session, max: u32) -> Result<Vec<Id>, Error> {
    let ended: Vec<Id> = sqlx::query_scalar(
        "DELETE FROM sessions WHERE id IN
         (SELECT id FROM sessions WHERE user_id = ?1 AND kind = 1 AND id <> ?2
          ORDER BY last_seen_at DESC, id DESC LIMIT -1 OFFSET ?3)
         RETURNING id",
    )
    .bind(new.user_id)
    .bind(new.id)
    .bind(i64::from(max.saturating_sub(1)))
    .fetch_all(&mut tx.connection)
    .await?;
    tell(tx, new.user_id, &ended).await?;
    Ok(ended)
}

/// Ends the user's sessions of kind user but this one.
pub(super) async fn end_others(tx: &mut Tx, user: Id, keep: Id) -> Result<Vec<Id>, Error> {
    let ended: Vec<Id> = sqlx::query_scalar(
        "DELETE FROM sessions WHERE user_id = ? AND kind = 1 AND id <> ? RETURNING id",
    )
    .bind(user)
    .bind(keep)
    .fetch_all(&mut tx.connection)
    .await?;
    tell(tx, user, &ended).await?;
    Ok(ended)
}

/// Ends all of a user's sessions.
pub(super) async fn end_all(tx: &mut Tx, user: Id) -> Result<Vec<Id>, Error> {
    let ended: Vec<Id> = sqlx::query_scalar("DELETE FROM sessions WHERE user_id = ? RETURNING id")
        .bind(user)
        .fetch_all(&mut tx.connection)
        .await?;
    tell(tx, user, &ended).await?;
    Ok(ended)
}

/// Ends all sessions of the session's user and stores it in their place.
pub(super) async fn replace(tx: &mut Tx, session: &Session) -> Result<Vec<Id>, Error> {
    let ended = end_all(tx, session.user_id).await?;
    insert(tx, session).await?;
    Ok(ended)
}

async fn tell(tx: &mut Tx, user: Id, ended: &[Id]) -> Result<(), Error> {
    let event = |session: &Id| NewEvent {
        topic: TopicKey::user(user),
        body: EventBody::SessionRevoked(*session),
    };
    outbox::publish(tx, outbox::encode(ended.iter().map(event).collect())).await
}
