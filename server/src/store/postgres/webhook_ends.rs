//! What becomes of events that wait for webhooks: taken, tried again, dead, queued anew, removed.

use super::rows::Of;
use super::tx::Tx;
use crate::model::{Id, QueuedEvent, UnixMs};
use crate::store::webhooks::short;
use crate::store::{Error, Settlement};

/// Rows given up, or queued anew, in a transaction.
const STEP: i64 = 500;

/// Locks a webhook's queue; answers how many wait, or None if the webhook is gone.
pub(super) async fn lock(tx: &mut Tx, webhook: Id) -> Result<Option<i64>, Error> {
    let lock = "SELECT queued FROM webhooks WHERE id = $1 FOR NO KEY UPDATE";
    Ok(sqlx::query_scalar(lock)
        .bind(webhook)
        .fetch_optional(&mut *tx.connection)
        .await?)
}

/// Writes how attempts ended: first what goes, then what is to be tried again.
pub(super) async fn settle(
    tx: &mut Tx,
    settled: Vec<(QueuedEvent, Settlement)>,
    dead_max: u32,
) -> Result<(), Error> {
    let mut webhooks: Vec<Id> = settled.iter().map(|(event, _)| event.webhook_id).collect();
    webhooks.sort_unstable();
    webhooks.dedup();
    sqlx::query("SELECT 1 FROM webhooks WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE")
        .bind(&webhooks)
        .execute(&mut *tx.connection)
        .await?;
    let (mut done, mut dead, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for (event, settlement) in settled {
        match settlement {
            Settlement::Done => done.push(event),
            Settlement::Dead { died_at, error } => dead.push((event, died_at, short(&error))),
            Settlement::Retry { due, error } => again.push((event, due, short(&error))),
        }
    }
    let mut gone = take_out(tx, &done).await?;
    gone.extend(bury(tx, &dead).await?);
    afresh(tx, gone).await?;
    if !dead.is_empty() {
        drop_oldest(tx, &webhooks, dead_max).await?;
    }
    retry(tx, &again).await
}

type Lane = (Id, Id);

/// An event, when something is to happen or happened to it, and what went wrong.
type Failed = (QueuedEvent, UnixMs, String);

fn ids<'a>(events: impl IntoIterator<Item = &'a QueuedEvent>) -> (Vec<Id>, Vec<Id>) {
    let ids = |event: &QueuedEvent| (event.id, event.webhook_id);
    events.into_iter().map(ids).unzip()
}

/// Takes events out of the queue. Answers the lanes of those that were in it.
async fn take_out(tx: &mut Tx, events: &[QueuedEvent]) -> Result<Vec<Lane>, Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, webhooks) = ids(events);
    Ok(sqlx::query_as(
        "DELETE FROM webhook_queue q USING unnest($1::bigint[], $2::bigint[]) AS e (id, webhook_id)
         WHERE q.id = e.id AND q.webhook_id = e.webhook_id RETURNING q.webhook_id, q.lane",
    )
    .bind(ids)
    .bind(webhooks)
    .fetch_all(&mut *tx.connection)
    .await?)
}

/// As `take_out`, and keeps them as dead letters.
async fn bury(tx: &mut Tx, dead: &[Failed]) -> Result<Vec<Lane>, Error> {
    if dead.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, webhooks) = ids(dead.iter().map(|(event, _, _)| event));
    let attempts = |(event, _, _): &Failed| event.attempts.cast_signed();
    Ok(sqlx::query_as(
        "WITH dead AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[],
                                            $5::text[])
                       AS d (id, webhook_id, died_at, attempts, error)),
         gone AS (DELETE FROM webhook_queue q USING dead
                  WHERE q.id = dead.id AND q.webhook_id = dead.webhook_id RETURNING q.*)
         INSERT INTO webhook_dead (id, webhook_id, event, lane, subject_id, created_at, died_at,
                                   attempts, error)
         SELECT gone.id, gone.webhook_id, gone.event, gone.lane, gone.subject_id, gone.created_at,
                dead.died_at, dead.attempts, dead.error
         FROM gone JOIN dead ON dead.id = gone.id ORDER BY gone.id
         ON CONFLICT DO NOTHING RETURNING webhook_id, lane",
    )
    .bind(ids)
    .bind(webhooks)
    .bind(dead.iter().map(|(_, at, _)| *at).collect::<Vec<UnixMs>>())
    .bind(dead.iter().map(attempts).collect::<Vec<i32>>())
    .bind(texts(dead))
    .fetch_all(&mut *tx.connection)
    .await?)
}

fn texts(failed: &[Failed]) -> Vec<&str> {
    failed.iter().map(|(_, _, error)| error.as_str()).collect()
}

/// The next of each lane may be tried at once.
async fn afresh(tx: &mut Tx, lanes: Vec<Lane>) -> Result<(), Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    let (webhooks, lanes): (Vec<Id>, Vec<Id>) = lanes.into_iter().unzip();
    sqlx::query(
        "UPDATE webhook_lanes l SET due = $3, attempts = 0, error = ''
         FROM unnest($1::bigint[], $2::bigint[]) AS g (webhook_id, lane)
         WHERE l.webhook_id = g.webhook_id AND l.lane = g.lane",
    )
    .bind(webhooks)
    .bind(lanes)
    .bind(tx.now_ms())
    .execute(&mut *tx.connection)
    .await?;
    Ok(())
}

/// Drops the oldest dead letters of each of the webhooks beyond so many.
async fn drop_oldest(tx: &mut Tx, webhooks: &[Id], dead_max: u32) -> Result<(), Error> {
    sqlx::query(
        "WITH dropped AS (
             DELETE FROM webhook_dead d USING unnest($1::bigint[]) AS w (id)
             WHERE d.webhook_id = w.id AND d.id <= (SELECT id FROM webhook_dead
                 WHERE webhook_id = w.id ORDER BY id DESC LIMIT 1 OFFSET $2)
             RETURNING d.webhook_id)
         UPDATE webhooks SET dropped = dropped + d.letters
         FROM (SELECT webhook_id, count(*) AS letters FROM dropped GROUP BY webhook_id) d
         WHERE webhooks.id = d.webhook_id",
    )
    .bind(webhooks)
    .bind(i64::from(dead_max))
    .execute(&mut *tx.connection)
    .await?;
    Ok(())
}

/// Leaves them in the queue for later, unless another is the lane's first by now.
async fn retry(tx: &mut Tx, again: &[Failed]) -> Result<(), Error> {
    if again.is_empty() {
        return Ok(());
    }
    let (ids, webhooks) = ids(again.iter().map(|(event, _, _)| event));
    let lanes: Vec<Id> = again.iter().map(|(event, _, _)| event.lane).collect();
    sqlx::query(
        "UPDATE webhook_lanes l SET due = a.due, attempts = l.attempts + 1, error = a.error
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])
              AS a (id, webhook_id, lane, due, error)
         WHERE l.webhook_id = a.webhook_id AND l.lane = a.lane
         AND a.id = (SELECT id FROM webhook_queue q
                     WHERE q.webhook_id = a.webhook_id AND q.lane = a.lane ORDER BY id LIMIT 1)",
    )
    .bind(ids)
    .bind(webhooks)
    .bind(lanes)
    .bind(
        again
            .iter()
            .map(|(_, due, _)| *due)
            .collect::<Vec<UnixMs>>(),
    )
    .bind(texts(again))
    .execute(&mut *tx.connection)
    .await?;
    Ok(())
}

/// Those of a webhook that happened before a time, oldest first.
pub(super) async fn expired(
    tx: &mut Tx,
    webhook: Id,
    before: UnixMs,
) -> Result<Vec<QueuedEvent>, Error> {
    oldest(tx, webhook, before, STEP).await
}

/// The oldest of a webhook, of which so many are too many.
pub(super) async fn above(
    tx: &mut Tx,
    webhook: Id,
    too_many: i64,
) -> Result<Vec<QueuedEvent>, Error> {
    if too_many <= 0 {
        return Ok(Vec::new());
    }
    oldest(tx, webhook, UnixMs::MAX, too_many.min(STEP)).await
}

async fn oldest(
    tx: &mut Tx,
    webhook: Id,
    before: UnixMs,
    most: i64,
) -> Result<Vec<QueuedEvent>, Error> {
    let rows: Vec<Of<QueuedEvent>> = sqlx::query_as(
        "SELECT q.*, CASE WHEN NOT EXISTS (SELECT 1 FROM webhook_queue f
                                           WHERE f.webhook_id = q.webhook_id AND f.lane = q.lane
                                           AND f.id < q.id)
                     THEN coalesce(l.attempts, 0) ELSE 0 END AS attempts
         FROM webhook_queue q LEFT JOIN webhook_lanes l
         ON l.webhook_id = q.webhook_id AND l.lane = q.lane
         WHERE q.webhook_id = $1 AND q.created_at < $2
         ORDER BY q.created_at, q.id LIMIT $3",
    )
    .bind(webhook)
    .bind(before)
    .bind(most)
    .fetch_all(&mut *tx.connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Queues dead letters of a webhook whose queue is locked anew: one, or some of all with 0. Answers
/// how many.
pub(super) async fn requeue(
    tx: &mut Tx,
    webhook: Id,
    letter: Id,
    now: UnixMs,
) -> Result<u32, Error> {
    let lanes: Vec<Lane> = sqlx::query_as(
        "WITH letters AS (
             DELETE FROM webhook_dead WHERE id IN
             (SELECT id FROM webhook_dead WHERE webhook_id = $1 AND ($2 = 0 OR id = $2)
              ORDER BY id LIMIT $3)
             RETURNING *)
         INSERT INTO webhook_queue (id, webhook_id, event, lane, subject_id, created_at)
         OVERRIDING SYSTEM VALUE
         SELECT id, webhook_id, event, lane, subject_id, $4 FROM letters
         RETURNING webhook_id, lane",
    )
    .bind(webhook)
    .bind(letter)
    .bind(STEP)
    .bind(now)
    .fetch_all(&mut *tx.connection)
    .await?;
    let requeued = u32::try_from(lanes.len()).unwrap_or(u32::MAX);
    tx.queued |= requeued > 0;
    // They come before what waits in their lanes.
    afresh(tx, lanes).await?;
    Ok(requeued)
}

/// One step of removing what waited for webhooks that are gone. False: nothing is left to do.
pub(super) async fn purge(tx: &mut Tx) -> Result<bool, Error> {
    let webhook: Option<Id> =
        sqlx::query_scalar("SELECT webhook_id FROM webhook_purges LIMIT 1 FOR UPDATE SKIP LOCKED")
            .fetch_optional(&mut *tx.connection)
            .await?;
    let Some(webhook) = webhook else {
        return Ok(false);
    };
    let mut removed = 0;
    for statement in [
        "DELETE FROM webhook_queue WHERE id IN
         (SELECT id FROM webhook_queue WHERE webhook_id = $1 LIMIT $2 FOR UPDATE)",
        "DELETE FROM webhook_dead WHERE id IN
         (SELECT id FROM webhook_dead WHERE webhook_id = $1 LIMIT $2 FOR UPDATE)",
    ] {
        let done = sqlx::query(statement)
            .bind(webhook)
            .bind(STEP)
            .execute(&mut *tx.connection)
            .await?;
        removed += done.rows_affected();
    }
    if removed == 0 {
        sqlx::query("DELETE FROM webhook_purges WHERE webhook_id = $1")
            .bind(webhook)
            .execute(&mut *tx.connection)
            .await?;
    }
    Ok(true)
}
