//! The seam to webhooks and to what waits for them.

use super::Error;
use crate::model::{DeadLetter, Id, QueuedEvent, UnixMs, Webhook};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::Notify;

/// How an attempt to tell a webhook of an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It was taken, or there is nothing to tell any more.
    Done,
    /// It is to be tried again.
    Retry {
        /// Not before.
        due: UnixMs,
        /// What went wrong.
        error: String,
    },
    /// It is given up and kept as a dead letter.
    Dead {
        /// When.
        died_at: UnixMs,
        /// What went wrong.
        error: String,
    },
}

/// Characters kept of what went wrong.
const ERROR_CHARS: usize = 200;

/// What is kept of an error.
pub(super) fn short(error: &str) -> String {
    error.chars().take(ERROR_CHARS).collect()
}

/// Webhooks, and the queue of each.
///
/// An event is queued in the transaction of what it tells of, for each enabled webhook that asks
/// for it in that server or in all: a message's insertion, edit, deletion and erasure in channels
/// of servers; who joins and who is no longer a member; for `recipient.offline` the insertion of a
/// message in a DIRECT channel or of one that mentions someone. Where no webhook asks for it,
/// nothing is done.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Stores a webhook; at most `max` of its server (of those for all, with server 0). A server
    /// that isn't there is `NotFound("server")`. `request` makes a repeat within 24 hours answer
    /// with the first call's; or `NotFound("webhook")`, if that is gone.
    async fn create_webhook(
        &self,
        webhook: Webhook,
        request: Option<(Id, String)>,
        max: u32,
    ) -> Result<Webhook, Error>;
    /// One webhook.
    async fn webhook(&self, id: Id) -> Result<Option<Webhook>, Error>;
    /// Those of a server (0: those for all) with ids above `after`, ascending, at most `limit`.
    async fn webhooks(&self, server: Id, after: Id, limit: u32) -> Result<Vec<Webhook>, Error>;
    /// Writes URL, events, whether it is enabled and why not, and its keys. What waits goes on
    /// waiting while it isn't enabled. One that is gone is `NotFound("webhook")`.
    async fn update_webhook(&self, webhook: Webhook) -> Result<(), Error>;
    /// Deletes one with all that waits for it, which is removed in the background. False if there
    /// was none.
    async fn delete_webhook(&self, id: Id) -> Result<bool, Error>;

    /// Tells whoever waits for it that something was queued since it last waited; for one waiter.
    fn queued(&self) -> Arc<Notify>;
    /// The webhooks, enabled or not, for which something waits, with ids above `after`, at most
    /// `limit`.
    async fn waiting_webhooks(&self, after: Id, limit: u32) -> Result<Vec<Webhook>, Error>;
    /// The first event of each lane that is due at `now`, those that are due longest first, at
    /// most `limit`. It stays the first until it is settled.
    async fn due_events(
        &self,
        webhook: Id,
        now: UnixMs,
        limit: u32,
    ) -> Result<Vec<QueuedEvent>, Error>;
    /// Writes how attempts ended, all at once. What is no longer queued is left alone. Of dead
    /// letters the newest `dead_max` a webhook stay; the others count as dropped.
    async fn settle(
        &self,
        settled: Vec<(QueuedEvent, Settlement)>,
        dead_max: u32,
    ) -> Result<(), Error>;
    /// Gives up the events of a webhook that happened before `before`, and the oldest of those
    /// above `max`, which become dead letters as in [`Webhooks::settle`]; at most 500 a call.
    /// Answers how many.
    async fn expire_events(
        &self,
        webhook: Id,
        before: UnixMs,
        max: i64,
        died_at: UnixMs,
        dead_max: u32,
    ) -> Result<u32, Error>;
    /// Dead letters of a webhook with ids above `after`, ascending, at most `limit`.
    async fn dead_letters(
        &self,
        webhook: Id,
        after: Id,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error>;
    /// Queues dead letters anew, as if they happened at `now`, under their ids, so before what
    /// waits in their lanes: the one with this id, or with 0 all, at most 500 a call. Answers how
    /// many.
    async fn requeue(&self, webhook: Id, letter: Id, now: UnixMs) -> Result<u32, Error>;
    /// How many events wait, of all webhooks, and when the oldest of them happened (0: none).
    async fn backlog(&self) -> Result<(i64, UnixMs), Error>;
}
