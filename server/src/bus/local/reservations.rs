//! Ids and nonces, in process. Nothing is pending: the node that began an operation sees it
//! through, or is gone, and the bus with it.

use crate::bus::ids::{BELOW_MS, Ids};
use crate::bus::{
    Draft, Error, Extent, Operation, Overdue, Pending, Reservations, Reserve, Reserved, Revise,
    Revised, Settled, Ticket,
};
use crate::clock::Clock;
use crate::model::{Id, UnixMs};
use async_trait::async_trait;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a nonce is reserved. The store keeps it far longer; this bridges what isn't stored yet.
const NONCE_TTL_MS: i64 = 600_000;
/// Nonces remembered; beyond them the oldest are forgotten, and the store alone tells a repeat.
const NONCES_MAX: usize = 500_000;

/// It forgets nothing while it lives, and nobody holds a ticket of another life.
const EPOCH: i64 = 1;

/// The worker of a node by itself.
const WORKER: u16 = 0;

fn ticket(id: Id) -> Ticket {
    Ticket {
        id,
        epoch: EPOCH,
        began: 0,
    }
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

/// Reserves Snowflakes, of worker 0. Where the ids are ahead of the clock, they go on from where
/// they are: there is no other node to disagree with.
pub struct LocalReservations {
    ids: Ids,
    nonces: Mutex<Nonces>,
}

impl LocalReservations {
    /// Starts above `highest`.
    #[must_use]
    pub fn new(highest: Id, clock: Arc<dyn Clock>) -> Self {
        Self {
            ids: Ids::new(highest, clock),
            nonces: Mutex::default(),
        }
    }
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
        let now = self.ids.now();
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

    async fn settled(&self, _: Id) -> Result<Extent, Error> {
        Ok(Extent::Idle(EPOCH))
    }

    async fn release(&self, operation: &Operation) {
        let key = (operation.channel, operation.author, operation.nonce.clone());
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.held.remove(&key);
    }

    fn mint(&self, above: Id) -> Result<Id, Error> {
        Ok(self.ids.mint(above, WORKER))
    }

    fn ahead_ms(&self) -> i64 {
        self.ids.ahead_ms()
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
