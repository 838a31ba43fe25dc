//! What becomes of messages that were written: published, or, where the store or the bus can't
//! tell, asked after until it is known.

use super::turns::Turn;
use super::{Domain, Error};
use crate::bus::{self, Draft, Operation, OperationKind};
use crate::frames;
use crate::model::{EventBody, Id, Message, TopicKey};
use crate::store;
use std::sync::Arc;
use std::time::Duration;

/// A publication is tried so often before it is given up.
const PUBLISH_TRIES: u32 = 8;
/// What the store can't tell is asked again for so long.
const FOLLOW_UP: Duration = Duration::from_secs(600);

/// Whether the row shows that an operation, or a later one, was written.
pub(super) fn is_in(operation: &Operation, row: &Message) -> bool {
    match operation.kind {
        OperationKind::Create => true,
        OperationKind::Edit => row.deleted || row.revision >= operation.revision,
        OperationKind::Delete => row.deleted,
    }
}

/// The event that tells of the row as it now is: deleted is final.
fn body(kind: OperationKind, row: Message) -> EventBody {
    match kind {
        _ if row.deleted => EventBody::MessageDeleted(row),
        OperationKind::Create => EventBody::MessageCreated(row),
        OperationKind::Edit | OperationKind::Delete => EventBody::MessageUpdated(row),
    }
}

/// What tells of the row, and ends an operation.
pub(super) fn draft(kind: OperationKind, row: Message, operation: Option<&Operation>) -> Draft {
    let is_new = kind == OperationKind::Create;
    let message_id = if is_new { row.id } else { 0 };
    let channel = row.channel_id;
    Draft {
        operation: operation.cloned(),
        ..draft_of(channel, &body(kind, row), message_id)
    }
}

fn draft_of(channel: Id, body: &EventBody, message_id: Id) -> Draft {
    Draft {
        topic: TopicKey::channel(channel),
        payload: frames::encode_body(body),
        signal: body.signal(),
        message_id,
        operation: None,
    }
}

impl Domain {
    /// Publishes what an operation did to a message, which ends it.
    pub(super) async fn publish(&self, operation: &Operation, row: Message) -> Result<(), Error> {
        let draft = draft(operation.kind, row, Some(operation));
        Ok(self.publish_draft(draft).await?)
    }

    /// Tells of messages that were deleted, in their order.
    pub(super) async fn tell_deleted(&self, rows: Vec<Message>) -> Result<(), Error> {
        for row in rows {
            let draft = draft(OperationKind::Delete, row, None);
            self.publish_draft(draft).await?;
        }
        Ok(())
    }

    /// Publishes an event to a channel's topic.
    pub(super) async fn publish_to(
        &self,
        channel: Id,
        body: &EventBody,
        message_id: Id,
    ) -> Result<(), Error> {
        let draft = draft_of(channel, body, message_id);
        Ok(self.publish_draft(draft).await?)
    }

    /// Retries, since what it tells has happened.
    async fn publish_draft(&self, draft: Draft) -> Result<(), bus::Error> {
        let mut tries = 0;
        loop {
            match self.bus.topics.publish(draft.clone()).await {
                Ok(_) => return Ok(()),
                Err(error @ (bus::Error::Refused | bus::Error::Deleted)) => return Err(error),
                Err(error) if tries == PUBLISH_TRIES => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(10 << tries)).await,
            }
            tries += 1;
        }
    }

    /// After a write of unknown outcome: the row as it now is, if that was written; else the
    /// error.
    pub(super) async fn settle(
        self: &Arc<Self>,
        operation: &Operation,
        error: store::Error,
    ) -> Result<Message, Error> {
        if matches!(error, store::Error::Unavailable(_)) {
            match self.store.get(operation.channel, operation.message).await {
                Ok(Some(row)) if is_in(operation, &row) => return Ok(row),
                // It may be written yet, and will be found then.
                _ if self.bus.pending.is_kept() => return Err(error.into()),
                Ok(_) => {}
                Err(_) => {
                    self.follow_up(operation.clone());
                    return Err(error.into());
                }
            }
        }
        self.bus.reservations.release(operation).await;
        Err(error.into())
    }

    /// What was written is published when the store tells it.
    fn follow_up(self: &Arc<Self>, operation: Operation) {
        self.follow_up_by(operation.message, move |domain| {
            let operation = operation.clone();
            async move {
                let (channel, id) = (operation.channel, operation.message);
                domain.store.get(channel, id).await?;
                // What stands on it is told in the order in which it was written.
                let _turn = domain.take_turn(channel).await;
                match domain.store.get(channel, id).await? {
                    Some(row) if is_in(&operation, &row) => {
                        let _ = domain.publish(&operation, row).await;
                    }
                    _ => domain.bus.reservations.release(&operation).await,
                }
                Ok(())
            }
        });
    }

    /// A turn of a channel's that came: all that was queued in it before is published.
    pub(super) async fn take_turn(&self, channel: Id) -> Turn {
        let mut turn = Turn::after(&mut *self.turns.hold(channel).await);
        turn.come().await;
        turn
    }

    /// Asks the store about a message again, ever slower, until it answers and the fate of a change
    /// is known.
    pub(super) fn follow_up_by<F>(
        self: &Arc<Self>,
        id: Id,
        ask: impl Fn(Arc<Self>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), store::Error>> + Send,
    {
        let Ok(permit) = self.follow_ups.clone().try_acquire_owned() else {
            tracing::error!(id, "too many writes of unknown outcome to follow them up");
            return;
        };
        let domain = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let (mut wait, mut waited) = (Duration::from_secs(1), Duration::ZERO);
            while waited < FOLLOW_UP {
                tokio::time::sleep(wait).await;
                waited += wait;
                wait = (wait * 2).min(Duration::from_secs(30));
                if ask(domain.clone()).await.is_ok() {
                    return;
                }
            }
            tracing::error!(id, "the outcome of a write stays unknown");
        });
    }
}
