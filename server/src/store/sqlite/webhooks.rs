//! Webhooks, what waits for them, and what nobody took.

use super::requests::{self, Kind, Made};
use super::rows::Of;
use super::writer::Tx;
use super::{Sqlite, webhook_ends};
use crate::model::{DeadLetter, Id, QueuedEvent, UnixMs, Webhook};
use crate::store::{Error, Settlement, Webhooks};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use std::sync::Arc;
use tokio::sync::Notify;

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
                    webhook_ends::settle(tx, &event, settlement, dead_max).await?;
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
                let mut expired = webhook_ends::expired(tx, webhook, before).await?;
                let why = if expired.is_empty() {
                    expired = webhook_ends::above(tx, webhook, max).await?;
                    "too many waited"
                } else {
                    "it waited too long"
                };
                for event in &expired {
                    let settlement = Settlement::Dead {
                        died_at,
                        error: why.to_owned(),
                    };
                    webhook_ends::settle(tx, event, settlement, dead_max).await?;
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
                Ok(webhook_ends::requeue(tx, webhook, letter, now).await?)
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
        return Err(Error::LimitReached("webhooks", max));
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
