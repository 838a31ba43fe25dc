//! Snowflakes of one process, rising.

use crate::clock::Clock;
use crate::model::{Id, SNOWFLAKE_EPOCH_MS, UnixMs, id_time_ms};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bits of an id below its millisecond.
pub(super) const BELOW_MS: Id = (1 << 22) - 1;
/// The numbers of one worker in a millisecond.
const SEQUENCES: Id = 1 << 12;

/// Mints ids above all before them, in the whole process: so a message is above all that its author
/// could have seen. The time is that of the wall clock at the start and what has passed since:
/// setting the clock moves no ids.
pub(super) struct Ids {
    last: Mutex<Id>,
    clock: Arc<dyn Clock>,
    /// The wall clock when the other clock showed zero.
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
    /// Starts above `highest`.
    pub(super) fn new(highest: Id, clock: Arc<dyn Clock>) -> Self {
        let started_at = clock.wall_ms() - millis(&*clock);
        Self {
            last: Mutex::new(highest),
            clock,
            started_at,
        }
    }

    /// The time that ids are made by.
    pub(super) fn now(&self) -> UnixMs {
        self.started_at.saturating_add(millis(&*self.clock))
    }

    /// A new one of a worker (0 to 1,023), above `above` and above all before.
    pub(super) fn mint(&self, above: Id, worker: u16) -> Id {
        let now = self.now();
        let mut last = self.last();
        *last = next_id(above.max(*last), now, worker);
        *last
    }

    /// How far the latest one is ahead of the time, in milliseconds.
    pub(super) fn ahead_ms(&self) -> i64 {
        (id_time_ms(*self.last()) - self.now()).max(0)
    }

    fn last(&self) -> MutexGuard<'_, Id> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.elapsed().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_rise_and_are_the_workers(
            floor in 0i64..1 << 50,
            // Worker 0 is all that a node by itself has.
            worker in prop_oneof![Just(0u16), 0u16..1_024],
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
}
