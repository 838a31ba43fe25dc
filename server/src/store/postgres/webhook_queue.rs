//! Queueing events for webhooks, in the transaction of what they tell of.
//!
//! What any webhook asks for is known in memory, so that where nobody asks nothing is done. Other
//! nodes change webhooks, too: it is read anew every few seconds, so what happens on this node
//! right after another one made a webhook may pass that by.
//!
//! Whatever changes a webhook's queue first locks the webhook's row: so the ids of its events are
//! in the order of the commits, and none of a lane comes after a higher one was handed out.

use super::tx::Tx;
use crate::model::{Id, Message, WebhookEvent};
use crate::store::Error;
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks at what other nodes changed.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// What webhooks ask for, of all nodes.
#[derive(Default)]
pub(super) struct Wanted {
    /// Bits of the events that some enabled webhook asks for; perhaps more.
    events: AtomicU32,
    /// Held while it is read, so that an older answer never replaces a newer one.
    reading: Mutex<()>,
    pub(super) queued: Arc<Notify>,
}

impl Wanted {
    /// Whether some webhook may ask for one of these events.
    pub(super) fn any(&self, events: u32) -> bool {
        self.events.load(Ordering::Relaxed) & events != 0
    }

    /// Takes events in that a change under way asks for: what happens right after its COMMIT is
    /// queued.
    pub(super) fn add(&self, events: u32) {
        self.events.fetch_or(events, Ordering::Relaxed);
    }

    /// Reads it anew.
    pub(super) async fn read(&self, pool: &PgPool) -> Result<(), Error> {
        let _reading = self.reading.lock().await;
        let all: Option<i32> =
            sqlx::query_scalar("SELECT bit_or(events) FROM webhooks WHERE enabled")
                .fetch_one(pool)
                .await?;
        let all = all.unwrap_or_default().cast_unsigned();
        self.events.store(all, Ordering::Relaxed);
        Ok(())
    }

    /// Reads it anew after a change of a webhook. Where that fails, all is taken for asked for.
    pub(super) async fn changed(&self, pool: &PgPool) {
        if self.read(pool).await.is_err() {
            self.add(u32::MAX);
        }
    }

    /// Reads it anew again and again, until it is aborted.
    pub(super) async fn keep(self: Arc<Self>, pool: PgPool) {
        let mut ticks = interval(READ_AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if let Err(error) = self.read(&pool).await {
                tracing::debug!(%error, "what webhooks ask for stays as it was");
            }
        }
    }
}

const CREATED: u32 = WebhookEvent::MessageCreated as u32;
const OFFLINE: u32 = WebhookEvent::RecipientOffline as u32;

/// Messages and whether each mentions anyone, joined with who asks. 4 is a DIRECT channel: only its
/// recipients' absence is told. What is queued of a message already isn't queued again.
const INSERT_CREATED: &str = "
    WITH m AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::boolean[]) WITH ORDINALITY
               AS m (channel_id, id, mentions, number)),
    c AS (SELECT id, coalesce(server_id, 0) AS server_id, kind FROM channels
          WHERE id = ANY($1)),
    w AS (SELECT id, server_id, events FROM webhooks
          WHERE enabled AND events & 33 <> 0
          AND server_id IN (SELECT 0 UNION ALL SELECT server_id FROM c)
          ORDER BY id FOR NO KEY UPDATE)
    INSERT INTO webhook_queue (webhook_id, event, lane, subject_id, created_at)
    SELECT w.id, e.event, c.id, m.id, $4
    FROM m JOIN c ON c.id = m.channel_id
    JOIN w ON w.server_id IN (0, c.server_id)
    JOIN (VALUES (1), (32)) AS e (event) ON w.events & e.event <> 0
    WHERE CASE e.event WHEN 1 THEN c.kind <> 4 ELSE c.kind = 4 OR m.mentions END
    AND NOT EXISTS (SELECT 1 FROM webhook_queue q WHERE q.webhook_id = w.id AND q.lane = c.id
                    AND q.subject_id = m.id AND q.event = e.event)
    ORDER BY m.number, w.id, e.event";

/// Queues what is to be told of new messages.
pub(super) async fn created(tx: &mut Tx, messages: &[Message]) -> Result<(), Error> {
    if messages.is_empty() || !tx.webhooks.any(CREATED | OFFLINE) {
        return Ok(());
    }
    let mentions = |message: &Message| !message.mentions.is_empty();
    let done = sqlx::query(INSERT_CREATED)
        .bind(messages.iter().map(|m| m.channel_id).collect::<Vec<Id>>())
        .bind(messages.iter().map(|m| m.id).collect::<Vec<Id>>())
        .bind(messages.iter().map(mentions).collect::<Vec<bool>>())
        .bind(tx.now_ms())
        .execute(&mut *tx.connection)
        .await?;
    tx.queued |= done.rows_affected() > 0;
    Ok(())
}

/// Queues what happened to messages of servers' channels, by channel and id.
pub(super) async fn changed(
    tx: &mut Tx,
    event: WebhookEvent,
    messages: &[(Id, Id)],
) -> Result<(), Error> {
    const INSERT: &str = "
        WITH m AS (SELECT * FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY
                   AS m (channel_id, id, number)),
        c AS (SELECT id, server_id FROM channels WHERE id = ANY($1) AND kind <> 4),
        w AS (SELECT id, server_id FROM webhooks
              WHERE enabled AND events & $3 <> 0
              AND server_id IN (SELECT 0 UNION ALL SELECT server_id FROM c)
              ORDER BY id FOR NO KEY UPDATE)
        INSERT INTO webhook_queue (webhook_id, event, lane, subject_id, created_at)
        SELECT w.id, $3, c.id, m.id, $4
        FROM m JOIN c ON c.id = m.channel_id JOIN w ON w.server_id IN (0, c.server_id)
        ORDER BY m.number, w.id";
    if messages.is_empty() || !tx.webhooks.any(event.bit()) {
        return Ok(());
    }
    let (channels, ids): (Vec<Id>, Vec<Id>) = messages.iter().copied().unzip();
    let done = sqlx::query(INSERT)
        .bind(channels)
        .bind(ids)
        .bind(event.bit().cast_signed())
        .bind(tx.now_ms())
        .execute(&mut *tx.connection)
        .await?;
    tx.queued |= done.rows_affected() > 0;
    Ok(())
}

/// Queues that a user became a member of a server, or is none any longer.
pub(super) async fn membership(
    tx: &mut Tx,
    event: WebhookEvent,
    server: Id,
    user: Id,
) -> Result<(), Error> {
    if !tx.webhooks.any(event.bit()) {
        return Ok(());
    }
    let done = sqlx::query(
        "WITH w AS (SELECT id FROM webhooks
                    WHERE enabled AND events & $1 <> 0 AND server_id IN (0, $2)
                    ORDER BY id FOR NO KEY UPDATE)
         INSERT INTO webhook_queue (webhook_id, event, lane, subject_id, created_at)
         SELECT w.id, $1, $2, $3, $4 FROM w ORDER BY w.id",
    )
    .bind(event.bit().cast_signed())
    .bind(server)
    .bind(user)
    .bind(tx.now_ms())
    .execute(&mut *tx.connection)
    .await?;
    tx.queued |= done.rows_affected() > 0;
    Ok(())
}
