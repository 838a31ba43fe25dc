//! Webhooks, what waits for them, and what nobody took.

use super::requests::{self, Kind, Made};
use super::rows::Of;
use super::tx::Tx;
use super::{Postgres, webhook_ends};
use crate::model::{DeadLetter, Id, QueuedEvent, UnixMs, Webhook};
use crate::store::{Error, Settlement, Webhooks};
use async_trait::async_trait;
use sqlx::PgExecutor;
use std::sync::Arc;
use tokio::sync::Notify;

#[async_trait]
impl Webhooks for Postgres {
    async fn create_webhook(
        &self,
        webhook: Webhook,
        request: Option<(Id, String)>,
        max: u32,
    ) -> Result<Webhook, Error> {
        let made = self.change(move |tx| {
            Box::pin(async move {
                if let Some(made) = requests::made(tx, Kind::Webhook, &request).await? {
                    let earlier = get(&mut *tx.connection, made.id).await?;
                    return earlier.ok_or(Error::NotFound("webhook"));
                }
                insert(tx, &webhook, max).await?;
                let made = Made::id(webhook.id);
                requests::remember(tx, Kind::Webhook, request, made).await?;
                tx.webhooks.add(webhook.events);
                Ok(webhook)
            })
        });
        let made = made.await;
        self.webhooks.changed(&self.pool).await;
        made
    }

    async fn webhook(&self, id: Id) -> Result<Option<Webhook>, Error> {
        get(&self.pool, id).await
    }

    async fn webhooks(&self, server: Id, after: Id, limit: u32) -> Result<Vec<Webhook>, Error> {
        let rows: Vec<Of<Webhook>> = sqlx::query_as(
            "SELECT * FROM webhooks WHERE server_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(server)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn update_webhook(&self, webhook: Webhook) -> Result<(), Error> {
        let updated = self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE webhooks SET url = $2, events = $3, enabled = $4,
                     disabled_reason = $5, key = $6, previous_key = $7, rotated_at = $8
                     WHERE id = $1",
                )
                .bind(webhook.id)
                .bind(webhook.url)
                .bind(webhook.events.cast_signed())
                .bind(webhook.enabled)
                .bind(webhook.disabled_reason)
                .bind(webhook.key)
                .bind(webhook.previous_key)
                .bind(webhook.rotated_at)
                .execute(&mut *tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::NotFound("webhook"));
                }
                // What waited may go on.
                tx.queued = true;
                tx.webhooks.add(webhook.events);
                Ok(())
            })
        });
        let updated = updated.await;
        self.webhooks.changed(&self.pool).await;
        updated
    }

    async fn delete_webhook(&self, id: Id) -> Result<bool, Error> {
        let deleted = self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM webhooks WHERE id = $1")
                    .bind(id)
                    .execute(&mut *tx.connection)
                    .await?;
                Ok(done.rows_affected() == 1)
            })
        });
        let deleted = deleted.await?;
        self.webhooks.changed(&self.pool).await;
        self.purge.notify_one();
        Ok(deleted)
    }

    fn queued(&self) -> Arc<Notify> {
        self.webhooks.queued.clone()
    }

    async fn waiting_webhooks(&self, after: Id, limit: u32) -> Result<Vec<Webhook>, Error> {
        let rows: Vec<Of<Webhook>> = sqlx::query_as(
            "SELECT * FROM webhooks WHERE queued > 0 AND id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
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
             CROSS JOIN LATERAL (SELECT * FROM webhook_queue
                                 WHERE webhook_id = l.webhook_id AND lane = l.lane
                                 ORDER BY id LIMIT 1) q
             WHERE l.webhook_id = $1 AND l.due <= $2 ORDER BY l.due, l.lane LIMIT $3",
        )
        .bind(webhook)
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn settle(
        &self,
        settled: Vec<(QueuedEvent, Settlement)>,
        dead_max: u32,
    ) -> Result<(), Error> {
        self.change(move |tx| Box::pin(webhook_ends::settle(tx, settled, dead_max)))
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
                let Some(queued) = webhook_ends::lock(tx, webhook).await? else {
                    return Ok(0);
                };
                let mut expired = webhook_ends::expired(tx, webhook, before).await?;
                let why = if expired.is_empty() {
                    expired = webhook_ends::above(tx, webhook, queued - max).await?;
                    "too many waited"
                } else {
                    "it waited too long"
                };
                let count = u32::try_from(expired.len()).unwrap_or(u32::MAX);
                let dead = |event| {
                    let error = why.to_owned();
                    (event, Settlement::Dead { died_at, error })
                };
                let dead = expired.into_iter().map(dead).collect();
                webhook_ends::settle(tx, dead, dead_max).await?;
                Ok(count)
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
            "SELECT * FROM webhook_dead WHERE webhook_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(webhook)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn requeue(&self, webhook: Id, letter: Id, now: UnixMs) -> Result<u32, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                if webhook_ends::lock(tx, webhook).await?.is_none() {
                    return Ok(0);
                }
                webhook_ends::requeue(tx, webhook, letter, now).await
            })
        })
        .await
    }

    async fn backlog(&self) -> Result<(i64, UnixMs), Error> {
        let (queued, oldest): (i64, Option<UnixMs>) = sqlx::query_as(
            "SELECT coalesce(sum(queued), 0)::bigint,
                    min((SELECT min(created_at) FROM webhook_queue WHERE webhook_id = webhooks.id))
             FROM webhooks WHERE queued > 0",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((queued, oldest.unwrap_or(0)))
    }
}

async fn get(connection: impl PgExecutor<'_>, id: Id) -> Result<Option<Webhook>, Error> {
    let row: Option<Of<Webhook>> = sqlx::query_as("SELECT * FROM webhooks WHERE id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.0))
}

/// Those for all servers are counted under a lock of this number and 0: "Chrw".
const MADE_FOR_ALL: i32 = 0x4368_7277;

async fn insert(tx: &mut Tx, webhook: &Webhook, max: u32) -> Result<(), Error> {
    // Nobody else counts them meanwhile.
    let lock = match webhook.server_id {
        0 => sqlx::query("SELECT pg_advisory_xact_lock($1, 0)").bind(MADE_FOR_ALL),
        server => sqlx::query("SELECT 1 FROM servers WHERE id = $1 FOR NO KEY UPDATE").bind(server),
    };
    let there = lock.fetch_optional(&mut *tx.connection).await?.is_some();
    if !there {
        return Err(Error::NotFound("server"));
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM webhooks WHERE server_id = $1")
        .bind(webhook.server_id)
        .fetch_one(&mut *tx.connection)
        .await?;
    if count >= i64::from(max) {
        return Err(Error::LimitReached("webhooks", max));
    }
    sqlx::query(
        "INSERT INTO webhooks (id, server_id, creator_id, url, events, enabled, disabled_reason,
                               key, previous_key, rotated_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(webhook.id)
    .bind(webhook.server_id)
    .bind(webhook.creator_id)
    .bind(webhook.url.as_str())
    .bind(webhook.events.cast_signed())
    .bind(webhook.enabled)
    .bind(webhook.disabled_reason.as_str())
    .bind(webhook.key.as_slice())
    .bind(webhook.previous_key.as_slice())
    .bind(webhook.rotated_at)
    .bind(webhook.created_at)
    .execute(&mut *tx.connection)
    .await?;
    Ok(())
}
