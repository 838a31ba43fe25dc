//! Queueing events for webhooks, in the transaction of what they tell of.
//!
//! What any webhook asks for is known in memory, so that where nobody asks nothing is done.

use super::writer::{Insert, Tx};
use crate::model::{Id, UnixMs, WebhookEvent};
use crate::store::{Error, Inserted};
use sqlx::sqlite::SqliteConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Notify;

/// What webhooks ask for, of the writer's whole process.
#[derive(Default)]
pub(super) struct Wanted {
    /// Bits of the events that some enabled webhook asks for; perhaps more, never fewer.
    events: AtomicU32,
    pub(super) queued: Arc<Notify>,
}

impl Wanted {
    fn any(&self, events: u32) -> bool {
        self.events.load(Ordering::Relaxed) & events != 0
    }

    /// Reads it anew. In a transaction, do this last: a change that is undone must not have taken
    /// anything away.
    pub(super) async fn read(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let events: Vec<u32> =
            sqlx::query_scalar("SELECT DISTINCT events FROM webhooks WHERE enabled")
                .fetch_all(connection)
                .await?;
        let all = events.into_iter().fold(0, |all, events| all | events);
        self.events.store(all, Ordering::Relaxed);
        Ok(())
    }
}

const CREATED: u32 = WebhookEvent::MessageCreated as u32;
const OFFLINE: u32 = WebhookEvent::RecipientOffline as u32;

/// Rows of (channel, message, whether it mentions anyone) as JSON, joined with who asks. 4 is a
/// DIRECT channel: only its recipients' absence is told.
const INSERT_CREATED: &str = "
    INSERT INTO webhook_queue (webhook_id, event, lane, subject_id, created_at)
    SELECT w.id, e.column1, c.id, m.value ->> 1, ?2
    FROM json_each(?1) m
    JOIN channels c ON c.id = m.value ->> 0
    JOIN webhooks w ON w.server_id IN (0, coalesce(c.server_id, 0)) AND w.enabled
    JOIN (VALUES (1), (32)) e ON w.events & e.column1
    WHERE CASE e.column1 WHEN 1 THEN c.kind <> 4 ELSE c.kind = 4 OR m.value ->> 2 END
    ORDER BY m.key, w.id, e.column1";

/// Queues what is to be told of new messages.
pub(super) async fn created(
    tx: &mut Tx,
    inserts: &[Insert],
    outcomes: &[Result<Inserted, Error>],
) -> Result<(), sqlx::Error> {
    if !tx.webhooks.any(CREATED | OFFLINE) {
        return Ok(());
    }
    let new = inserts.iter().zip(outcomes);
    let new = new.filter(|(_, outcome)| matches!(outcome, Ok(Inserted::New)));
    let rows: Vec<(Id, Id, i32)> = new
        .map(|(insert, _)| {
            let message = &insert.message;
            let mentions = i32::from(!message.mentions.is_empty());
            (message.channel_id, message.id, mentions)
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = serde_json::to_string(&rows).expect("numbers are always JSON");
    let now = tx.now_ms();
    let done = sqlx::query(INSERT_CREATED)
        .bind(rows)
        .bind(now)
        .execute(&mut tx.connection)
        .await?;
    tx.queued |= done.rows_affected() > 0;
    Ok(())
}

/// Queues what happened to a message of a server's channel.
pub(super) async fn changed(
    tx: &mut Tx,
    event: WebhookEvent,
    channel: Id,
    message: Id,
) -> Result<(), sqlx::Error> {
    const INSERT: &str = "
        INSERT INTO webhook_queue (webhook_id, event, lane, subject_id, created_at)
        SELECT w.id, ?1, c.id, ?3, ?4
        FROM channels c JOIN webhooks w ON w.server_id IN (0, c.server_id) AND w.enabled
        WHERE c.id = ?2 AND c.kind <> 4 AND w.events & ?1 ORDER BY w.id";
    queue(tx, INSERT, event, channel, message).await
}

/// Queues that a user became a member of a server, or is none any longer.
pub(super) async fn membership(
    tx: &mut Tx,
    event: WebhookEvent,
    server: Id,
    user: Id,
) -> Result<(), sqlx::Error> {
    const INSERT: &str = "
        INSERT INTO webhook_queue (webhook_id, event, lane, subject_id, created_at)
        SELECT w.id, ?1, ?2, ?3, ?4
        FROM webhooks w WHERE w.server_id IN (0, ?2) AND w.enabled AND w.events & ?1
        ORDER BY w.id";
    queue(tx, INSERT, event, server, user).await
}

async fn queue(
    tx: &mut Tx,
    statement: &'static str,
    event: WebhookEvent,
    lane: Id,
    subject: Id,
) -> Result<(), sqlx::Error> {
    if !tx.webhooks.any(event.bit()) {
        return Ok(());
    }
    let now: UnixMs = tx.now_ms();
    let done = sqlx::query(statement)
        .bind(event.bit())
        .bind(lane)
        .bind(subject)
        .bind(now)
        .execute(&mut tx.connection)
        .await?;
    tx.queued |= done.rows_affected() > 0;
    Ok(())
}
