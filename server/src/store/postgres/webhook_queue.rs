//! Queueing events for webhooks, in the transaction of what they tell of.

use super::tx::Tx;
use crate::model::{Id, WebhookEvent};
use std::sync::Arc;
use tokio::sync::Notify;

/// What webhooks ask for, of all nodes.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) queued: Arc<Notify>,
}

/// Queues that a user became a member of a server, or is none any longer.
pub(super) async fn membership(
    tx: &mut Tx,
    event: WebhookEvent,
    server: Id,
    user: Id,
) -> Result<(), sqlx::Error> {
    let now = tx.now_ms();
    let done = sqlx::query(
        "INSERT INTO webhook_queue (webhook_id, event, lane, subject_id, created_at)
         SELECT w.id, $1, $2, $3, $4 FROM webhooks w
         WHERE w.server_id IN (0, $2) AND w.enabled AND w.events & $1 <> 0 ORDER BY w.id",
    )
    .bind(event as i32)
    .bind(server)
    .bind(user)
    .bind(now)
    .execute(&mut *tx.connection)
    .await?;
    tx.queued |= done.rows_affected() > 0;
    Ok(())
}
