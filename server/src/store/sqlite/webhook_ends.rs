//! What becomes of events that wait for webhooks: taken, tried again, dead, queued anew, removed.

use super::rows::Of;
use super::writer::Tx;
use crate::model::{Id, QueuedEvent, UnixMs};
use crate::store::webhooks::short;
use crate::store::{Error, Settlement};

/// Rows given up, or queued anew, in a transaction.
const STEP: i64 = 500;

/// Writes how an attempt ended.
pub(super) async fn settle(
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
pub(super) async fn expired(
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
pub(super) async fn above(
    tx: &mut Tx,
    webhook: Id,
    max: i64,
) -> Result<Vec<QueuedEvent>, sqlx::Error> {
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

/// Queues dead letters anew: one, or some of all with 0. Answers how many.
pub(super) async fn requeue(
    tx: &mut Tx,
    webhook: Id,
    letter: Id,
    now: UnixMs,
) -> Result<u32, sqlx::Error> {
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
                .await?;
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
