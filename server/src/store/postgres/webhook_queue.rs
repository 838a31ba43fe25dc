//! Queueing events for webhooks, in the transaction of what they tell of.

use std::sync::Arc;
use tokio::sync::Notify;

/// What webhooks ask for, of all nodes.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) queued: Arc<Notify>,
}
