//! Sessions: devices, bots' tokens, service keys.

use super::rows::Of;
use super::tx::Tx;
use super::{Postgres, users};
use crate::model::{EventBody, Id, Session, SessionKind, TopicKey, UnixMs};
use crate::store::{Error, NewEvent, Sessions};
use async_trait::async_trait;
use std::collections::BTreeMap;

#[async_trait]
impl Sessions for Postgres {
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
        let row: Option<Of<Session>> = sqlx::query_as("SELECT * FROM sessions WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.0))
    }

    async fn refresh_session(&self, session: Session, expected: [u8; 32]) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE sessions SET access_hash = $1, access_expires_at = $2,
                     refresh_hash = $3, refresh_expires_at = $4, previous_refresh_hash = $5,
                     refreshed_at = $6, last_seen_at = greatest(last_seen_at, $7)
                     WHERE id = $8 AND refresh_hash = $9",
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
                .execute(&mut *tx.connection)
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
                    sqlx::query_scalar("DELETE FROM sessions WHERE id = $1 RETURNING user_id")
                        .bind(id)
                        .fetch_optional(&mut *tx.connection)
                        .await?;
                let Some(user) = user else {
                    return Ok(false);
                };
                tell(tx, user, &[id]);
                Ok(true)
            })
        })
        .await
    }

    async fn sessions_of(&self, user: Id, before: Id, limit: u32) -> Result<Vec<Session>, Error> {
        let rows: Vec<Of<Session>> = sqlx::query_as(
            "SELECT * FROM sessions WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        )
        .bind(user)
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn keys(&self, before: Id, limit: u32) -> Result<Vec<Session>, Error> {
        let rows: Vec<Of<Session>> = sqlx::query_as(
            "SELECT * FROM sessions WHERE kind IN (3, 4) AND id < $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn touch_sessions(&self, seen: Vec<(Id, UnixMs)>) -> Result<(), Error> {
        self.change(move |tx| Box::pin(async move { touch(tx, seen).await }))
            .await
    }
}

/// Notes when sessions were last seen. Their rows are locked in the order of their ids.
async fn touch(tx: &mut Tx, seen: Vec<(Id, UnixMs)>) -> Result<(), Error> {
    let mut latest: BTreeMap<Id, UnixMs> = BTreeMap::new();
    for (id, at) in seen {
        let noted = latest.entry(id).or_insert(at);
        *noted = at.max(*noted);
    }
    let (ids, times): (Vec<Id>, Vec<UnixMs>) = latest.into_iter().unzip();
    sqlx::query(
        "WITH held AS (
             SELECT s.id, seen.at
             FROM sessions s JOIN unnest($1::bigint[], $2::bigint[]) AS seen (id, at) USING (id)
             WHERE s.last_seen_at < seen.at ORDER BY s.id FOR NO KEY UPDATE OF s)
         UPDATE sessions s SET last_seen_at = held.at
         FROM held WHERE s.id = held.id AND s.last_seen_at < held.at",
    )
    .bind(ids)
    .bind(times)
    .execute(&mut *tx.connection)
    .await?;
    Ok(())
}

/// Writes the row alone.
pub(super) async fn insert(tx: &mut Tx, session: &Session) -> Result<(), Error> {
    let made = sqlx::query(
        "INSERT INTO sessions (id, user_id, kind, name, access_hash, access_expires_at,
         refresh_family_hash, refresh_hash, refresh_expires_at, previous_refresh_hash,
         refreshed_at, created_at, last_seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING",
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
    .execute(&mut *tx.connection)
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
         (SELECT id FROM sessions WHERE user_id = $1 AND kind = 1 AND id <> $2
          ORDER BY last_seen_at DESC, id DESC OFFSET $3)
         RETURNING id",
    )
    .bind(new.user_id)
    .bind(new.id)
    .bind(i64::from(max.saturating_sub(1)))
    .fetch_all(&mut *tx.connection)
    .await?;
    tell(tx, new.user_id, &ended);
    Ok(ended)
}

/// Ends the user's sessions of kind user but this one.
pub(super) async fn end_others(tx: &mut Tx, user: Id, keep: Id) -> Result<Vec<Id>, Error> {
    let ended: Vec<Id> = sqlx::query_scalar(
        "DELETE FROM sessions WHERE user_id = $1 AND kind = 1 AND id <> $2 RETURNING id",
    )
    .bind(user)
    .bind(keep)
    .fetch_all(&mut *tx.connection)
    .await?;
    tell(tx, user, &ended);
    Ok(ended)
}

/// Ends all of a user's sessions.
pub(super) async fn end_all(tx: &mut Tx, user: Id) -> Result<Vec<Id>, Error> {
    let ended: Vec<Id> = sqlx::query_scalar("DELETE FROM sessions WHERE user_id = $1 RETURNING id")
        .bind(user)
        .fetch_all(&mut *tx.connection)
        .await?;
    tell(tx, user, &ended);
    Ok(ended)
}

/// Ends all sessions of the session's user and stores it in their place.
pub(super) async fn replace(tx: &mut Tx, session: &Session) -> Result<Vec<Id>, Error> {
    let ended = end_all(tx, session.user_id).await?;
    insert(tx, session).await?;
    Ok(ended)
}

/// Tells the user's devices which of its sessions ended.
fn tell(tx: &mut Tx, user: Id, ended: &[Id]) {
    let event = |session: &Id| NewEvent {
        topic: TopicKey::user(user),
        body: EventBody::SessionRevoked(*session),
    };
    tx.tell(ended.iter().map(event).collect());
}
