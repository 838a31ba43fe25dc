//! Removes the messages of channels that are gone, what is known of their reading, the reactions of
//! messages that are gone, and what waited for webhooks that are gone, a few at a time, between the
//! others' writes. Nodes may do the same at once: each step is right whatever was done before.

use super::tx::{Changes, Tx};
use super::{marks, webhook_ends};
use crate::model::Id;
use crate::store::Error;
use crate::store::cql::Cql;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Rows of a table a transaction.
const ROWS: i64 = 500;

/// Buckets of messages a step.
const BUCKETS: u32 = 10;

/// Between two steps, so that others' writes hardly wait.
const PAUSE: Duration = Duration::from_millis(20);

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Between two looks for what another node, that went, left undone.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What removes.
pub(super) struct Purger {
    pub(super) changes: Changes,
    pub(super) messages: Cql,
    pub(super) notice: Arc<Notify>,
}

impl Purger {
    /// Runs until it is aborted. It looks for what is gone at first and at each notice.
    pub(super) async fn run(self) {
        loop {
            match self.step().await {
                Ok(true) => sleep(PAUSE).await,
                // Late: it looks all the same.
                Ok(false) => drop(timeout(LOOK_AGAIN, self.notice.notified()).await),
                Err(error) => {
                    tracing::warn!(%error, "what was deleted remains for now");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// False: nothing is left to do.
    async fn step(&self) -> Result<bool, Error> {
        let (channel, more) = self.changes.run(|tx| Box::pin(rows(tx))).await?;
        let Some(channel) = channel else {
            return Ok(more);
        };
        if !self.messages.purge(channel, BUCKETS).await? && !more {
            self.changes
                .run(move |tx| {
                    Box::pin(async move {
                        sqlx::query("DELETE FROM purges WHERE channel_id = $1")
                            .bind(channel)
                            .execute(&mut *tx.connection)
                            .await?;
                        Ok(())
                    })
                })
                .await?;
        }
        Ok(true)
    }
}

/// Removes rows of a channel that is gone; without one, those of marks and webhooks that are gone.
/// Answers the channel, and whether more may be left.
async fn rows(tx: &mut Tx) -> Result<(Option<Id>, bool), Error> {
    let channel: Option<Id> = sqlx::query_scalar("SELECT channel_id FROM purges LIMIT 1")
        .fetch_optional(&mut *tx.connection)
        .await?;
    let Some(channel) = channel else {
        let more = marks::purge(tx, ROWS).await?;
        return Ok((None, more | webhook_ends::purge(tx).await?));
    };
    let mut removed = 0;
    for statement in [
        "UPDATE reaction_kinds SET gone = true WHERE id IN
         (SELECT id FROM reaction_kinds WHERE channel_id = $1 AND NOT gone LIMIT $2
          FOR UPDATE SKIP LOCKED)",
        "DELETE FROM pins WHERE channel_id = $1 AND id IN
         (SELECT id FROM pins WHERE channel_id = $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        "DELETE FROM mentions WHERE channel_id = $1 AND (user_id, message_id) IN
         (SELECT user_id, message_id FROM mentions WHERE channel_id = $1 LIMIT $2
          FOR UPDATE SKIP LOCKED)",
        "DELETE FROM group_mentions WHERE channel_id = $1 AND message_id IN
         (SELECT message_id FROM group_mentions WHERE channel_id = $1 LIMIT $2
          FOR UPDATE SKIP LOCKED)",
        "DELETE FROM read_states WHERE channel_id = $1 AND user_id IN
         (SELECT user_id FROM read_states WHERE channel_id = $1 LIMIT $2
          FOR UPDATE SKIP LOCKED)",
    ] {
        let done = sqlx::query(statement).bind(channel).bind(ROWS);
        removed += done.execute(&mut *tx.connection).await?.rows_affected();
    }
    Ok((Some(channel), removed > 0))
}
