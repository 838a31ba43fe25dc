//! Ids of this node: of the worker that it has leased.

use crate::bus::{Error, ids};
use crate::clock::Clock;
use crate::model::{Id, UnixMs, id_time_ms};
use std::sync::Arc;

/// How far ahead of the clock the store's highest id may be to be gone on from.
const AHEAD_MS: i64 = 2_000;

/// The worker that a node's ids are of, 0 to 1,023; None while it may not make any.
pub type Worker = Arc<dyn Fn() -> Option<u16> + Send + Sync>;

/// Mints Snowflakes while there is a worker.
pub(super) struct Ids {
    ids: ids::Ids,
    worker: Worker,
}

impl Ids {
    pub(super) fn new(highest: Id, worker: Worker, clock: Arc<dyn Clock>) -> Self {
        // What a clock that was wrong once gave out, each channel goes on from by itself.
        let future = id_time_ms(highest) > clock.wall_ms() + AHEAD_MS;
        if future {
            tracing::warn!(
                highest,
                "the store has ids of the future: some clock was wrong once"
            );
        }
        let ids = ids::Ids::new(if future { 0 } else { highest }, clock);
        Self { ids, worker }
    }

    pub(super) fn now(&self) -> UnixMs {
        self.ids.now()
    }

    /// A new one above `above` and above all before.
    pub(super) fn mint(&self, above: Id) -> Result<Id, Error> {
        let own = (self.worker)();
        let own = own.ok_or_else(|| Error::Unavailable("this node has no worker id now".into()))?;
        let id = self.ids.mint(above, own);
        // A lease that ran out meanwhile is another node's.
        if (self.worker)() == Some(own) {
            Ok(id)
        } else {
            Err(Error::Unavailable("this node's worker id changed".into()))
        }
    }

    pub(super) fn ahead_ms(&self) -> i64 {
        self.ids.ahead_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn without_a_worker_there_are_none() {
        let ids = Ids::new(0, Arc::new(|| None), Arc::new(ManualClock::new(0)));
        assert!(matches!(ids.mint(0), Err(Error::Unavailable(_))));
    }
}
