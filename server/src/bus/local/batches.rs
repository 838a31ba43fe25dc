//! Where batches of presence come out.

use crate::bus::{Batch, Batches};
use crate::model::{Presence, Touched};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Batches that wait for one reader; what finds them waiting is lost, and its number shows it.
const FEED_BATCHES_MAX: usize = 64;

/// All readers of a node's batches.
pub(in crate::bus) struct Readers {
    feeds: Vec<mpsc::Sender<Arc<Batch>>>,
    position: (i64, i64),
    /// The next batch is told even if there is nothing in it.
    is_new: bool,
}

impl Default for Readers {
    fn default() -> Self {
        Self {
            feeds: Vec::new(),
            position: (rand::random_range(1..i64::MAX), 0),
            is_new: false,
        }
    }
}

impl Readers {
    /// A new one, from now on.
    pub(in crate::bus) fn add(&mut self) -> Batches {
        let (feed, batches) = mpsc::channel(FEED_BATCHES_MAX);
        self.feeds.push(feed);
        batches
    }

    /// Anything may have been missed: the next batch says so.
    pub(in crate::bus) fn renew(&mut self) {
        self.position = (rand::random_range(1..i64::MAX), 0);
        self.is_new = true;
    }

    /// Tells what changed within a tick, if anything did.
    pub(in crate::bus) fn tell(&mut self, presences: Vec<Presence>, touched: Vec<Touched>) {
        let is_new = std::mem::take(&mut self.is_new);
        if presences.is_empty() && touched.is_empty() && !is_new {
            return;
        }
        metrics::counter!("chirm_presence_changes_total").increment(presences.len() as u64);
        self.position.1 += 1;
        let batch = Arc::new(Batch {
            position: self.position,
            presences,
            touched,
        });
        self.feeds
            .retain(|feed| match feed.try_send(batch.clone()) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
    }
}
