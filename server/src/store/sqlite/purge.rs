//! Removes the messages of channels that are gone, a few at a time, between the others' writes.

use super::writer::{Tx, Writer};
use crate::model::Id;
use crate::store::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Messages a transaction.
const ROWS: i64 = 500;

/// Between two transactions, so that others' writes hardly wait.
const PAUSE: Duration = Duration::from_millis(20);

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Runs until it is aborted. Each notice makes it look for channels that are gone.
pub(super) async fn run(writer: Writer, notice: Arc<Notify>) {
    loop {
        notice.notified().await;
        loop {
            let step = writer.change(|tx| Box::pin(step(tx))).await;
            match step {
                Ok(true) => tokio::time::sleep(PAUSE).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "messages of deleted channels remain for now");
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
        return Ok(false);
    };
    let done = sqlx::query(
        "DELETE FROM messages WHERE channel_id = ?1 AND id IN
         (SELECT id FROM messages WHERE channel_id = ?1 ORDER BY id LIMIT ?2)",
    )
    .bind(channel)
    .bind(ROWS)
    .execute(&mut tx.connection)
    .await?;
    if done.rows_affected() == 0 {
        sqlx::query("DELETE FROM purges WHERE channel_id = ?")
            .bind(channel)
            .execute(&mut tx.connection)
            .await?;
    }
    Ok(true)
}
