//! Ends what others left half-way: a node that stopped between two steps of a send, an edit or a
//! delete, a write that timed out and was applied, an event that the bus forgot. Each operation is
//! pending in the bus until it was published; what stays there is read from the store, and told as
//! it is there. ADR 17 says why this is the one place that does so.

use super::fates::{draft, is_in};
use super::{Domain, Error};
use crate::bus::{Operation, OperationKind, Overdue, Settled};
use crate::model::Message;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;

/// Operations taken up in a call.
const SWEPT: usize = 256;
/// Those that are worked on at once.
const AT_ONCE: usize = 16;
/// What the store doesn't have by then was never written, or may as well not have been.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(600);

impl Domain {
    /// Ends operations that have been pending for too long. Call it every few seconds, on any
    /// number of nodes.
    pub async fn end_overdue(self: &Arc<Self>) {
        if !self.bus.pending.is_kept() {
            return;
        }
        let overdue = match self.bus.pending.overdue(SWEPT).await {
            Ok(overdue) => overdue,
            Err(error) => {
                tracing::warn!(%error, "what is pending can't be read");
                return;
            }
        };
        let each = futures::stream::iter(overdue);
        each.for_each_concurrent(AT_ONCE, |overdue| async move {
            match self.end(&overdue).await {
                Ok(how) => metrics::counter!("chirm_sweeps_total", "how" => how).increment(1),
                Err(error) => {
                    metrics::counter!("chirm_sweeps_total", "how" => "failed").increment(1);
                    tracing::warn!(%error, id = overdue.operation.message, "it stays pending");
                }
            }
        })
        .await;
    }

    /// Reads what became of an operation, and tells it. Answers how it ended.
    async fn end(&self, overdue: &Overdue) -> Result<&'static str, Error> {
        let operation = &overdue.operation;
        let row = self.store.get(operation.channel, operation.message).await?;
        let row = match row {
            Some(row) if is_in(operation, &row) => row,
            Some(row) if operation.kind == OperationKind::Delete => {
                let (channel, revision) = (row.channel_id, operation.revision);
                self.store.delete(channel, row.id, revision, None).await?
            }
            _ if overdue.age >= GIVEN_UP_AFTER => return self.give_up(overdue).await,
            _ => return Ok("waits"),
        };
        self.tell(overdue, row).await
    }

    /// Publishes the row, unless it is a duplicate: that one is deleted, and told as deleted when
    /// it comes again.
    async fn tell(&self, overdue: &Overdue, row: Message) -> Result<&'static str, Error> {
        let operation = &overdue.operation;
        let is_send = operation.kind == OperationKind::Create && !row.deleted;
        let mut named = None;
        if is_send {
            self.store.complete(&row).await?;
            named = self.named(operation).await?;
        }
        // What is told of a channel comes in the order of what stands on its messages.
        let _turn = self.take_turn(operation.channel).await;
        let draft = draft(operation.kind, row.clone(), Some(operation));
        match self.bus.pending.settle(overdue, draft, named).await? {
            Settled::Published(_) => Ok("published"),
            Settled::Deleted => Ok("deleted"),
            Settled::Forgotten => Ok("waits"),
            Settled::Taken(other) => {
                let (channel, author) = (row.channel_id, row.author_id);
                self.store.seal(channel, row.id, author).await?;
                let nonce = &operation.nonce;
                self.store.name(channel, author, nonce, other).await?;
                Ok("duplicate")
            }
        }
    }

    async fn named(&self, operation: &Operation) -> Result<Option<i64>, Error> {
        if operation.nonce.is_empty() {
            return Ok(None);
        }
        let (channel, author) = (operation.channel, operation.author);
        Ok(self.store.nonce(channel, author, &operation.nonce).await?)
    }

    /// What no longer is expected shows nothing if it comes after all.
    async fn give_up(&self, overdue: &Overdue) -> Result<&'static str, Error> {
        let operation = &overdue.operation;
        if operation.kind == OperationKind::Create {
            let (channel, author) = (operation.channel, operation.author);
            self.store.seal(channel, operation.message, author).await?;
        }
        self.bus.pending.give_up(overdue).await?;
        Ok("given up")
    }
}
