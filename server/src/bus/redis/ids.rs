//! Ids of this node: of its worker, rising.

use crate::bus::Error;
use crate::clock::Clock;
use crate::model::{Id, SNOWFLAKE_EPOCH_MS, UnixMs, id_time_ms};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bits of an id below its millisecond.
pub(super) const BELOW_MS: Id = (1 << 22) - 1;
/// The numbers of one worker in a millisecond.
const SEQUENCES: Id = 1 << 12;
/// How far ahead of the clock the store's highest id may be to be gone on from.
const AHEAD_MS: i64 = 2_000;

/// The worker that a node's ids are of, 0 to 1,023; None while it may not make any.
pub type Worker = Arc<dyn Fn() -> Option<u16> + Send + Sync>;

/// Mints Snowflakes. The time is that of the wall clock at the start and what has passed since:
/// setting the clock moves no ids.
pub(super) struct Ids {
    last: Mutex<Id>,
    worker: Worker,
    clock: Arc<dyn Clock>,
    started_at: UnixMs,
}

/// The least id of a worker above `floor` and not before `now`.
fn next_id(floor: Id, now: UnixMs, worker: u16) -> Id {
    let own = Id::from(worker) << 12;
    let at = (now - SNOWFLAKE_EPOCH_MS).max(0) << 22;
    if floor < at {
        return at | own;
    }
    let (stamp, below) = (floor & !BELOW_MS, floor & BELOW_MS);
    if below < own {
        stamp | own
    } else if below < own + SEQUENCES - 1 {
        floor + 1
    } else {
        (stamp + BELOW_MS + 1) | own
    }
}

impl Ids {
    pub(super) fn new(highest: Id, worker: Worker, clock: Arc<dyn Clock>) -> Self {
        let started_at = clock.wall_ms() - millis(&*clock);
        let ids = Self {
            last: Mutex::new(0),
            worker,
            clock,
            started_at,
        };
        // What a clock that was wrong once gave out, each channel goes on from by itself.
        if id_time_ms(highest) <= ids.now() + AHEAD_MS {
            *ids.last() = highest;
        } else {
            tracing::warn!(
                highest,
                "the store has ids of the future: some clock was wrong once"
            );
        }
        ids
    }

    pub(super) fn now(&self) -> UnixMs {
        self.started_at.saturating_add(millis(&*self.clock))
    }

    fn last(&self) -> MutexGuard<'_, Id> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one above `above` and above all before.
    pub(super) fn mint(&self, above: Id) -> Result<Id, Error> {
        let now = self.now();
        let mut last = self.last();
        let worker = || {
            let lost = || Error::Unavailable("this node has no worker id now".into());
            (self.worker)().ok_or_else(lost)
        };
        let own = worker()?;
        let id = next_id(above.max(*last), now, own);
        *last = id;
        // A lease that ran out meanwhile is another node's.
        if worker()? == own {
            Ok(id)
        } else {
            Err(Error::Unavailable("this node's worker id changed".into()))
        }
    }

    pub(super) fn ahead_ms(&self) -> i64 {
        (id_time_ms(*self.last()) - self.now()).max(0)
    }
}

fn millis(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.elapsed().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_rise_and_are_the_workers(
            floor in 0i64..1 << 50,
            worker in 0u16..1_024,
            steps in proptest::collection::vec(-50i64..50, 1..200),
        ) {
            let mut now = SNOWFLAKE_EPOCH_MS + 1_000;
            let mut last = floor;
            for step in steps {
                now += step;
                let id = next_id(last, now, worker);
                prop_assert!(id > last);
                prop_assert!(id_time_ms(id) >= now);
                prop_assert_eq!((id >> 12) & 0x3ff, i64::from(worker));
                last = id;
            }
        }
    }

    #[test]
    fn without_a_worker_there_are_none() {
        let ids = Ids::new(0, Arc::new(|| None), Arc::new(ManualClock::new(0)));
        assert!(matches!(ids.mint(0), Err(Error::Unavailable(_))));
    }
}
