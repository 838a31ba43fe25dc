//! Ids and nonces, in process. Nothing is pending: the node that began an operation sees it
//! through, or is gone, and the bus with it.

use crate::bus::{
    Draft, Error, Operation, Overdue, Pending, Reservations, Reserve, Reserved, Revise, Revised,
    Settled, Ticket,
};
use crate::clock::Clock;
use crate::model::{Id, SNOWFLAKE_EPOCH_MS, UnixMs, id_time_ms};
use async_trait::async_trait;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a nonce is reserved. The store keeps it far longer; this bridges what isn't stored yet.
const NONCE_TTL_MS: i64 = 600_000;
/// Nonces remembered; beyond them the oldest are forgotten, and the store alone tells a repeat.
const NONCES_MAX: usize = 500_000;

/// The least Snowflake (worker 0) that is above `floor` and not before `now`.
fn next_id(floor: Id, now: UnixMs) -> Id {
    let at = (now - SNOWFLAKE_EPOCH_MS).max(0) << 22;
    if floor < at {
        return at;
    }
    // Worker 0: the next sequence number, or the next millisecond.
    let stamp = floor >> 22;
    let sequence = (floor & 0x3f_ffff) + 1;
    if sequence < 1 << 12 {
        stamp << 22 | sequence
    } else {
        (stamp + 1) << 22
    }
}

/// It forgets nothing while it lives, and nobody holds a ticket of another life.
const EPOCH: i64 = 1;

/// The bits of an id below its millisecond.
const BELOW_MS: Id = (1 << 22) - 1;

fn ticket(id: Id) -> Ticket {
    Ticket { id, epoch: EPOCH }
}

type NonceKey = (Id, Id, String);

#[derive(Default)]
struct Nonces {
    held: HashMap<NonceKey, (Id, u64)>,
    order: VecDeque<(UnixMs, NonceKey, Id)>,
}

impl Nonces {
    fn expire(&mut self, now: UnixMs) {
        while let Some((at, key, id)) = self.order.front() {
            if now - at < NONCE_TTL_MS && self.order.len() <= NONCES_MAX {
                break;
            }
            if self.held.get(key).is_some_and(|(held, _)| held == id) {
                self.held.remove(key);
            }
            self.order.pop_front();
        }
    }
}

/// Mints ids above all before them, in the whole process: so a message is above all that its author
/// could have seen.
///
/// The time is that of the wall clock at the start and what has passed since: setting the clock
/// moves no ids. Where the ids are ahead of it, they go on from where they are: there is no other
/// node to disagree with.
pub struct LocalReservations {
    last: Mutex<Id>,
    nonces: Mutex<Nonces>,
    clock: Arc<dyn Clock>,
    /// The wall clock when the other clock showed zero.
    started_at: UnixMs,
}

impl LocalReservations {
    /// Starts above `highest`.
    #[must_use]
    pub fn new(highest: Id, clock: Arc<dyn Clock>) -> Self {
        let started_at = clock.wall_ms() - millis(&*clock);
        Self {
            last: Mutex::new(highest),
            nonces: Mutex::default(),
            clock,
            started_at,
        }
    }

    fn now(&self) -> UnixMs {
        self.started_at.saturating_add(millis(&*self.clock))
    }

    fn last(&self) -> MutexGuard<'_, Id> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.elapsed().as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Reservations for LocalReservations {
    fn heard(&self, _: Id) -> i64 {
        EPOCH
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, Error> {
        if reserve.nonce.is_empty() || crate::mutation::on("nonce_forgotten") {
            return self.mint(reserve.above).map(ticket).map(Reserved::New);
        }
        let now = self.now();
        let key = (reserve.channel, reserve.author, reserve.nonce);
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.expire(now);
        if let Some((id, content_hash)) = nonces.held.get(&key) {
            return Ok(Reserved::Existing {
                id: *id,
                content_hash: *content_hash,
                ticket: None,
                published: false,
            });
        }
        let id = self.mint(reserve.above)?;
        nonces.held.insert(key.clone(), (id, reserve.content_hash));
        nonces.order.push_back((now, key, id));
        Ok(Reserved::New(ticket(id)))
    }

    async fn revise(&self, revise: Revise) -> Result<Revised, Error> {
        self.mint(revise.above | BELOW_MS)
            .map(ticket)
            .map(Revised::New)
    }

    async fn release(&self, operation: &Operation) {
        let key = (operation.channel, operation.author, operation.nonce.clone());
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.held.remove(&key);
    }

    fn mint(&self, above: Id) -> Result<Id, Error> {
        let now = self.now();
        let mut last = self.last();
        *last = next_id(above.max(*last), now);
        Ok(*last)
    }

    fn ahead_ms(&self) -> i64 {
        (id_time_ms(*self.last()) - self.now()).max(0)
    }
}

#[async_trait]
impl Pending for LocalReservations {
    fn is_kept(&self) -> bool {
        false
    }

    async fn overdue(&self, _: usize) -> Result<Vec<Overdue>, Error> {
        Ok(Vec::new())
    }

    async fn settle(&self, _: &Overdue, _: Draft, _: Option<Id>) -> Result<Settled, Error> {
        Ok(Settled::Forgotten)
    }

    async fn give_up(&self, _: &Overdue) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_rise_whatever_the_clock_does(
            floor in 0i64..1 << 50,
            steps in proptest::collection::vec(-50i64..50, 1..200),
        ) {
            let mut now = SNOWFLAKE_EPOCH_MS + 1_000;
            let mut last = floor;
            for step in steps {
                now += step;
                let id = next_id(last, now);
                prop_assert!(id > last);
                prop_assert!((id >> 22) >= now - SNOWFLAKE_EPOCH_MS);
                prop_assert_eq!((id >> 12) & 0x3ff, 0, "worker 0");
                last = id;
            }
        }
    }
}
