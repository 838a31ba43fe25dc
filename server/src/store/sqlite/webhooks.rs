//! Webhooks, what waits for them, and what nobody took.

use super::requests::{self, Kind, Made};
use super::rows::Of;
use super::writer::Tx;
use super::{Sqlite, failure};
use crate::model::{DeadLetter, Id, QueuedEvent, UnixMs, Webhook, WebhookEvent};
use crate::store::{Error, Settlement, Webhooks};
use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};
use std::sync::Arc;
use tokio::sync::Notify;

/// Rows given up, or queued anew, in a transaction.
const STEP: i64 = 500;
/// Characters kept of what went wrong.
const ERROR_CHARS: usize = 200;

impl FromRow<'_, SqliteRow> for Of<Webhook> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(Webhook {
            id: row.try_get("id")?,
            server_id: row.try_get("server_id")?,
            creator_id: row.try_get("creator_id")?,
            url: row.try_get("url")?,
            events: row.try_get("events")?,
            enabled: row.try_get("enabled")?,
            disabled_reason: row.try_get("disabled_reason")?,
            key: row.try_get("key")?,
            previous_key: row.try_get("previous_key")?,
            rotated_at: row.try_get("rotated_at")?,
            created_at: row.try_get("created_at")?,
            queued: row.try_get("queued")?,
            dropped: row.try_get("dropped")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<QueuedEvent> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let event = WebhookEvent::from_bit(row.try_get("event")?);
        let broken = || sqlx::Error::Decode("a webhook's event isn't valid".into());
        Ok(Of(QueuedEvent {
            id: row.try_get("id")?,
            webhook_id: row.try_get("webhook_id")?,
            event: event.ok_or_else(broken)?,
            lane: row.try_get("lane")?,
            subject_id: row.try_get("subject_id")?,
            created_at: row.try_get("created_at")?,
            attempts: row.try_get("attempts")?,
        }))
    }
}

impl FromRow<'_, SqliteRow> for Of<DeadLetter> {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Of(DeadLetter {
            event: Of::<QueuedEvent>::from_row(row)?.0,
            died_at: row.try_get("died_at")?,
            error: row.try_get("error")?,
        }))
    }
}

#[async_trait]
impl Webhooks for Sqlite {
    async fn create_webhook(
        &self,
        webhook: Webhook,
        request: Option<(Id, String)>,
        max: u32,
    ) -> Result<Webhook, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                if let Some(made) = requests::made(tx, Kind::Webhook, &request).await? {
                    let earlier = get(&mut tx.connection, made.id).await?;
                    return earlier.ok_or(Error::NotFound("webhook"));
                }
                insert(tx, &webhook, max).await?;
                let made = Made::id(webhook.id);
                requests::remember(tx, Kind::Webhook, request, made).await?;
                tx.webhooks.clone().read(&mut tx.connection).await?;
                Ok(webhook)
            })
        })
        .await
    }

    async fn webhook(&self, id: Id) -> Result<Option<Webhook>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(get(&mut connection, id).await?)
    }

    async fn webhooks(&self, server: Id, after: Id, limit: u32) -> Result<Vec<Webhook>, Error> {
        let rows: Vec<Of<Webhook>> = sqlx::query_as(
            "SELECT * FROM webhooks WHERE server_id = ? AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(server)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn update_webhook(&self, webhook: Webhook) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE webhooks SET url = ?, events = ?, enabled = ?, disabled_reason = ?,
                     key = ?, previous_key = ?, rotated_at = ? WHERE id = ?",
                )
                .bind(webhook.url)
                .bind(webhook.events)
                .bind(webhook.enabled)
                .bind(webhook.disabled_reason)
                .bind(webhook.key)
                .bind(webhook.previous_key)
                .bind(webhook.rotated_at)
                .bind(webhook.id)
                .execute(&mut tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::NotFound("webhook"));
                }
                // What waited may go on.
                tx.queued = true;
                tx.webhooks.clone().read(&mut tx.connection).await?;
                Ok(())
            })
        })
        .await
    }

    async fn delete_webhook(&self, id: Id) -> Result<bool, Error> {
        let deleted = self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM webhooks WHERE id = ?")
                    .bind(id)
                    .execute(&mut tx.connection)
                    .await?;
                tx.webhooks.clone().read(&mut tx.connection).await?;
                Ok(done.rows_affected() == 1)
            })
        });
        let deleted = deleted.await?;
        self.purge.notify_one();
        Ok(deleted)
    }

    fn queued(&self) -> Arc<Notify> {
        self.webhooks.queued.clone()
    }

    async fn waiting_webhooks(&self, after: Id, limit: u32) -> Result<Vec<Webhook>, Error> {
        let rows: Vec<Of<Webhook>> = sqlx::query_as(
            "SELECT * FROM webhooks INDEXED BY webhooks_waiting
             WHERE queued > 0 AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn due_events(
        &self,
        webhook: Id,
        now: UnixMs,
        limit: u32,
    ) -> Result<Vec<QueuedEvent>, Error> {
        let rows: Vec<Of<QueuedEvent>> = sqlx::query_as(
            "SELECT q.*, l.attempts FROM webhook_lanes l
             JOIN webhook_queue q ON q.id = (SELECT min(id) FROM webhook_queue
                                             WHERE webhook_id = l.webhook_id AND lane = l.lane)
             WHERE l.webhook_id = ? AND l.due <= ? ORDER BY l.due, l.lane LIMIT ?",
        )
        .bind(webhook)
        .bind(now)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn settle(
        &self,
        settled: Vec<(QueuedEvent, Settlement)>,
        dead_max: u32,
    ) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                for (event, settlement) in settled {
                    settle(tx, &event, settlement, dead_max).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn expire_events(
        &self,
        webhook: Id,
        before: UnixMs,
        max: i64,
        died_at: UnixMs,
        dead_max: u32,
    ) -> Result<u32, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let mut expired = expired(tx, webhook, before).await?;
                let why = if expired.is_empty() {
                    expired = above(tx, webhook, max).await?;
                    "too many waited"
                } else {
                    "it waited too long"
                };
                for event in &expired {
                    let settlement = Settlement::Dead {
                        died_at,
                        error: why.to_owned(),
                    };
                    settle(tx, event, settlement, dead_max).await?;
                }
                Ok(u32::try_from(expired.len()).unwrap_or(u32::MAX))
            })
        })
        .await
    }

    async fn dead_letters(
        &self,
        webhook: Id,
        after: Id,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        let rows: Vec<Of<DeadLetter>> = sqlx::query_as(
            "SELECT * FROM webhook_dead WHERE webhook_id = ? AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(webhook)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn requeue(&self, webhook: Id, letter: Id, now: UnixMs) -> Result<u32, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                if get(&mut tx.connection, webhook).await?.is_none() {
                    return Ok(0);
                }
                requeue(tx, webhook, letter, now).await
            })
        })
        .await
    }

    async fn backlog(&self) -> Result<(i64, UnixMs), Error> {
        let mut connection = self.read.acquire().await?;
        let (queued, oldest): (i64, Option<UnixMs>) = sqlx::query_as(
            "SELECT coalesce(sum(queued), 0),
                    min((SELECT min(created_at) FROM webhook_queue WHERE webhook_id = webhooks.id))
             FROM webhooks INDEXED BY webhooks_waiting WHERE queued > 0",
        )
        .fetch_one(&mut *connection)
        .await?;
        Ok((queued, oldest.unwrap_or(0)))
    }
}

async fn get(connection: &mut SqliteConnection, id: Id) -> Result<Option<Webhook>, sqlx::Error> {
    let row: Option<Of<Webhook>> = sqlx::query_as("SELECT * FROM webhooks WHERE id = ?")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.0))
}

async fn insert(tx: &mut Tx, webhook: &Webhook, max: u32) -> Result<(), Error> {
    let (there, count): (bool, i64) = sqlx::query_as(
        "SELECT ?1 = 0 OR EXISTS (SELECT 1 FROM servers WHERE id = ?1),
                (SELECT count(*) FROM webhooks WHERE server_id = ?1)",
    )
    .bind(webhook.server_id)
    .fetch_one(&mut tx.connection)
    .await?;
    if !there {
        return Err(Error::NotFound("server"));
    }
    if count >= i64::from(max) {
        return Err(Error::LimitReached("webhooks"));
    }
    sqlx::query(
        "INSERT INTO webhooks (id, server_id, creator_id, url, events, enabled, disabled_reason,
                               key, previous_key, rotated_at, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(webhook.id)
    .bind(webhook.server_id)
    .bind(webhook.creator_id)
    .bind(webhook.url.as_str())
    .bind(webhook.events)
    .bind(webhook.enabled)
    .bind(webhook.disabled_reason.as_str())
    .bind(webhook.key.as_slice())
    .bind(webhook.previous_key.as_slice())
    .bind(webhook.rotated_at)
    .bind(webhook.created_at)
    .execute(&mut tx.connection)
    .await?;
    Ok(())
}

async fn settle(
    tx: &mut Tx,
    event: &QueuedEvent,
    settlement: Settlement,
    dead_max: u32,
) -> Result<(), sqlx::Error> {
    let (due, error) = match settlement {
        Settlement::Done => return take_out(tx, event).await.map(drop),
        Settlement::Dead { died_at, error } => {
            return bury(tx, event, died_at, &error, dead_max).await;
        }
        Settlement::Retry { due, error } => (due, error),
    };
    // Unless another is the lane's first by now.
    sqlx::query(
        "UPDATE webhook_lanes SET due = ?, attempts = attempts + 1, error = ?
         WHERE webhook_id = ?3 AND lane = ?4 AND ?5 =
         (SELECT min(id) FROM webhook_queue WHERE webhook_id = ?3 AND lane = ?4)",
    )
    .bind(due)
    .bind(short(&error))
    .bind(event.webhook_id)
    .bind(event.lane)
    .bind(event.id)
    .execute(&mut tx.connection)
    .await?;
    Ok(())
}

/// Takes an event out of the queue; the next of its lane starts afresh. False if it wasn't there.
async fn take_out(tx: &mut Tx, event: &QueuedEvent) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM webhook_queue WHERE id = ? AND webhook_id = ?")
        .bind(event.id)
        .bind(event.webhook_id)
        .execute(&mut tx.connection)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let now = tx.now_ms();
    sqlx::query(
        "UPDATE webhook_lanes SET due = ?, attempts = 0, error = ''
         WHERE webhook_id = ? AND lane = ?",
    )
    .bind(now)
    .bind(event.webhook_id)
    .bind(event.lane)
    .execute(&mut tx.connection)
    .await?;
    Ok(true)
}

async fn bury(
    tx: &mut Tx,
    event: &QueuedEvent,
    died_at: UnixMs,
    error: &str,
    dead_max: u32,
) -> Result<(), sqlx::Error> {
    if !take_out(tx, event).await? {
        return Ok(());
    }
    sqlx::query("INSERT OR REPLACE INTO webhook_dead VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(event.id)
        .bind(event.webhook_id)
        .bind(event.event.bit())
        .bind(event.lane)
        .bind(event.subject_id)
        .bind(event.created_at)
        .bind(died_at)
        .bind(event.attempts)
        .bind(short(error))
        .execute(&mut tx.connection)
        .await?;
    let dropped = sqlx::query(
        "DELETE FROM webhook_dead WHERE webhook_id = ?1 AND id <=
         (SELECT id FROM webhook_dead WHERE webhook_id = ?1
          ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )
    .bind(event.webhook_id)
    .bind(dead_max)
    .execute(&mut tx.connection)
    .await?;
    if dropped.rows_affected() > 0 {
        sqlx::query("UPDATE webhooks SET dropped = dropped + ? WHERE id = ?")
            .bind(dropped.rows_affected() as i64)
            .bind(event.webhook_id)
            .execute(&mut tx.connection)
            .await?;
    }
    Ok(())
}

/// Those of a webhook that happened before a time, oldest first.
async fn expired(
    tx: &mut Tx,
    webhook: Id,
    before: UnixMs,
) -> Result<Vec<QueuedEvent>, sqlx::Error> {
    let rows: Vec<Of<QueuedEvent>> = sqlx::query_as(
        "SELECT q.*, CASE WHEN NOT EXISTS (SELECT 1 FROM webhook_queue f
                                           WHERE f.webhook_id = q.webhook_id AND f.lane = q.lane
                                           AND f.id < q.id)
                     THEN coalesce(l.attempts, 0) ELSE 0 END AS attempts
         FROM webhook_queue q LEFT JOIN webhook_lanes l
         ON l.webhook_id = q.webhook_id AND l.lane = q.lane
         WHERE q.webhook_id = ? AND q.created_at < ?
         ORDER BY q.created_at, q.id LIMIT ?",
    )
    .bind(webhook)
    .bind(before)
    .bind(STEP)
    .fetch_all(&mut tx.connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// The oldest of a webhook's beyond so many.
async fn above(tx: &mut Tx, webhook: Id, max: i64) -> Result<Vec<QueuedEvent>, sqlx::Error> {
    let queued: Option<i64> = sqlx::query_scalar("SELECT queued FROM webhooks WHERE id = ?")
        .bind(webhook)
        .fetch_optional(&mut tx.connection)
        .await?;
    let too_many = queued.unwrap_or(0) - max;
    if too_many <= 0 {
        return Ok(Vec::new());
    }
    let mut oldest = expired(tx, webhook, UnixMs::MAX).await?;
    oldest.truncate(usize::try_from(too_many).unwrap_or(usize::MAX));
    Ok(oldest)
}

async fn requeue(tx: &mut Tx, webhook: Id, letter: Id, now: UnixMs) -> Result<u32, Error> {
    let ids: Vec<Id> = sqlx::query_scalar(
        "SELECT id FROM webhook_dead WHERE webhook_id = ?1 AND (?2 = 0 OR id = ?2)
         ORDER BY id LIMIT ?3",
    )
    .bind(webhook)
    .bind(letter)
    .bind(STEP)
    .fetch_all(&mut tx.connection)
    .await?;
    for id in &ids {
        for statement in [
            "INSERT INTO webhook_queue
             SELECT id, webhook_id, event, lane, subject_id, ?2 FROM webhook_dead WHERE id = ?1",
            "UPDATE webhook_lanes SET due = ?2, attempts = 0, error = ''
             WHERE (webhook_id, lane) =
             (SELECT webhook_id, lane FROM webhook_dead WHERE id = ?1)",
            "DELETE FROM webhook_dead WHERE id = ?1",
        ] {
            sqlx::query(statement)
                .bind(id)
                .bind(now)
                .execute(&mut tx.connection)
                .await
                .map_err(failure)?;
        }
    }
    tx.queued |= !ids.is_empty();
    Ok(u32::try_from(ids.len()).unwrap_or(u32::MAX))
}

/// One step of removing what waited for webhooks that are gone. False: nothing is left to do.
pub(super) async fn purge(tx: &mut Tx) -> Result<bool, Error> {
    let webhook: Option<Id> = sqlx::query_scalar("SELECT webhook_id FROM webhook_purges LIMIT 1")
        .fetch_optional(&mut tx.connection)
        .await?;
    let Some(webhook) = webhook else {
        return Ok(false);
    };
    let mut removed = 0;
    for statement in [
        "DELETE FROM webhook_queue WHERE id IN
         (SELECT id FROM webhook_queue WHERE webhook_id = ? LIMIT ?)",
        "DELETE FROM webhook_dead WHERE id IN
         (SELECT id FROM webhook_dead WHERE webhook_id = ? LIMIT ?)",
    ] {
        let done = sqlx::query(statement)
            .bind(webhook)
            .bind(STEP)
            .execute(&mut tx.connection)
            .await?;
        removed += done.rows_affected();
    }
    if removed == 0 {
        sqlx::query("DELETE FROM webhook_purges WHERE webhook_id = ?")
            .bind(webhook)
            .execute(&mut tx.connection)
            .await?;
    }
    Ok(true)
}

fn short(error: &str) -> String {
    error.chars().take(ERROR_CHARS).collect()
}
