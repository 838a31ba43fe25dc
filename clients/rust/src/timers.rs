//! The machine's timers, on Tokio's clock.

use crate::machine::Timer;
use std::collections::{BTreeSet, HashMap};
use tokio::time::Instant;

/// Timers by name. Each is one of the machine's, so they are as bounded as it is.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Instant, Timer)>,
    by_name: HashMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer, in place of the one of its name.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(timer);
        self.due.insert((at, timer));
        self.by_name.insert(timer, at);
    }

    /// Forgets a timer.
    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.by_name.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    /// Waits for the next one; for ever if there is none. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Timer {
        match self.due.first().copied() {
            Some((at, timer)) => {
                tokio::time::sleep_until(at).await;
                self.cancel(timer);
                timer
            }
            None => std::future::pending().await,
        }
    }
}
