//! Turns: what is sent to a channel is queued and published in the order of its ids.
//!
//! An id is reserved and its insertion queued in one step, so that no reader of the store sees an
//! id before a lower one: who pages on from the newest that it has misses nothing. Publications
//! come in the same order, each waiting for the one before.

use crate::model::Id;
use tokio::sync::{Mutex, MutexGuard, oneshot};

/// Channels that don't share a turn's queue, but for chance.
const STRIPES: usize = 256;

/// The latest turn given out, while it isn't over.
type Latest = Option<oneshot::Receiver<()>>;

/// The turns of all channels.
pub(super) struct Turns([Mutex<Latest>; STRIPES]);

/// A place in a channel's order of publications. It is over when it is dropped.
pub(super) struct Turn {
    before: Latest,
    _over: oneshot::Sender<()>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(None)))
    }

    /// Waits until nobody else reserves and queues in the channel.
    pub(super) async fn hold(&self, channel: Id) -> MutexGuard<'_, Latest> {
        let stripe = (channel ^ (channel >> 22)).unsigned_abs() as usize % STRIPES;
        self.0[stripe].lock().await
    }
}

impl Turn {
    /// The turn after the latest one.
    pub(super) fn after(latest: &mut Latest) -> Self {
        let (over, next) = oneshot::channel();
        Self {
            before: latest.replace(next),
            _over: over,
        }
    }

    /// Waits for the turn before to be over.
    pub(super) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            // Nothing is ever sent: the sender's end is the signal.
            let _ = before.await;
        }
    }
}
