//! Removes the messages of channels that are gone, what is known of their reading, the reactions of
//! messages that are gone, and what waited for webhooks that are gone, a few at a time, between the
//! others' writes.

use super::writer::{Tx, Writer};
use super::{marks, webhook_ends};
use crate::model::Id;
use crate::store::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Rows of a table a transaction.
const ROWS: i64 = 500;

/// Between two transactions, so that others' writes hardly wait.
const PAUSE: Duration = Duration::from_millis(20);

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Runs until it is aborted. Each notice makes it look for what is gone.
pub(super) async fn run(writer: Writer, notice: Arc<Notify>) {
    loop {
        notice.notified().await;
        loop {
            let step = writer.change(|tx| Box::pin(step(tx))).await;
            match step {
                Ok(true) => tokio::time::sleep(PAUSE).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "what was deleted remains for now");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// False: nothing is left to do.
async fn step(tx: &mut Tx) -> Result<bool, Error> {
    let channel: Option<Id> = sqlx::query_scalar("SELECT channel_id FROM purges LIMIT 1")
        .fetch_optional(&mut tx.connection)
        .await?;
    let Some(channel) = channel else {
        let more = marks::purge(tx, ROWS).await?;
        return Ok(more | webhook_ends::purge(tx).await?);
    };
    sqlx::query(
        "UPDATE reaction_kinds SET gone = 1 WHERE id IN
         (SELECT value ->> 0 FROM
          (SELECT reactions FROM messages WHERE channel_id = ? ORDER BY id LIMIT ?) AS first,
          json_each(first.reactions))",
    )
    .bind(channel)
    .bind(ROWS)
    .execute(&mut tx.connection)
    .await?;
    let done = sqlx::query(
        "DELETE FROM messages WHERE channel_id = ?1 AND id IN
         (SELECT id FROM messages WHERE channel_id = ?1 ORDER BY id LIMIT ?2)",
    )
    .bind(channel)
    .bind(ROWS)
    .execute(&mut tx.connection)
    .await?;
    let mut removed = done.rows_affected();
    for statement in [
        "DELETE FROM mentions WHERE channel_id = ?1 AND (user_id, message_id) IN
         (SELECT user_id, message_id FROM mentions WHERE channel_id = ?1 LIMIT ?2)",
        "DELETE FROM group_mentions WHERE channel_id = ?1 AND message_id IN
         (SELECT message_id FROM group_mentions WHERE channel_id = ?1 LIMIT ?2)",
        "DELETE FROM read_states WHERE channel_id = ?1 AND user_id IN
         (SELECT user_id FROM read_states WHERE channel_id = ?1 LIMIT ?2)",
    ] {
        let done = sqlx::query(statement).bind(channel).bind(ROWS);
        removed += done.execute(&mut tx.connection).await?.rows_affected();
    }
    if removed == 0 {
        sqlx::query("DELETE FROM purges WHERE channel_id = ?")
            .bind(channel)
            .execute(&mut tx.connection)
            .await?;
    }
    Ok(true)
}
