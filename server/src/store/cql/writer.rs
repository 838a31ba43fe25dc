//! What is written to channels, in order: a queue for each, as long as it has something to do.
//!
//! Messages that queued while others were written are written together, many rows to a request.
//! Changes of different messages run at once; those of one message one after the other.

use super::session::closed;
use super::{Cql, insert};
use crate::model::{Id, Message};
use crate::store::{Error, Inserted, Queued};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

/// What may wait: for a channel, and in all.
const QUEUE: usize = 4_096;
const ALL: u32 = 16_384;

/// Messages taken at once.
const TAKEN: usize = 256;

/// Changes of a channel that run at once.
const CHANGES: usize = 16;

const SHARDS: usize = 16;

/// A message to be inserted.
pub(super) struct Insert {
    pub(super) message: Message,
    /// Its nonce is the caller's alone, nothing need be looked up.
    pub(super) reserved: bool,
    pub(super) caller: oneshot::Sender<Result<Inserted, Error>>,
    _permit: OwnedSemaphorePermit,
}

/// A change of a message; it tells its caller itself.
struct Change {
    id: Id,
    work: BoxFuture<'static, ()>,
    _permit: OwnedSemaphorePermit,
}

enum Job {
    Insert(Box<Insert>),
    Change(Change),
}

/// What is done next for a channel.
enum Turn {
    Inserts(Vec<Insert>),
    Changes(Vec<Change>),
}

type Waiting = HashMap<Id, VecDeque<Job>>;

/// The channels that have something to do, each with a task.
pub(super) struct Queues {
    shards: [Mutex<Waiting>; SHARDS],
    permits: Arc<Semaphore>,
}

impl Default for Queues {
    fn default() -> Queues {
        Queues {
            shards: Default::default(),
            permits: Arc::new(Semaphore::new(ALL as usize)),
        }
    }
}

impl Queues {
    fn shard(&self, channel: Id) -> MutexGuard<'_, Waiting> {
        // The low bits of ids hardly differ.
        let mixed = channel.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shard = &self.shards[(mixed >> 60) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let permit = self.permits.clone().try_acquire_owned();
        permit.map_err(|error| match error {
            TryAcquireError::Closed => closed(),
            TryAcquireError::NoPermits => Error::Overloaded,
        })
    }

    /// What comes next; None: nothing, and the channel's task ends.
    fn turn(&self, channel: Id) -> Option<Turn> {
        let mut shard = self.shard(channel);
        let Entry::Occupied(mut queue) = shard.entry(channel) else {
            return None;
        };
        let turn = next(queue.get_mut());
        if turn.is_none() {
            queue.remove();
        }
        turn
    }
}

fn next(queue: &mut VecDeque<Job>) -> Option<Turn> {
    let mut inserts = Vec::new();
    while inserts.len() < TAKEN
        && let Some(job) = queue.pop_front_if(|job| matches!(job, Job::Insert(_)))
    {
        if let Job::Insert(insert) = job {
            inserts.push(*insert);
        }
    }
    if !inserts.is_empty() {
        return Some(Turn::Inserts(inserts));
    }
    let (mut changes, mut ids) = (Vec::new(), HashSet::new());
    while changes.len() < TAKEN
        && let Some(job) =
            queue.pop_front_if(|job| matches!(job, Job::Change(c) if ids.insert(c.id)))
    {
        if let Job::Change(change) = job {
            changes.push(change);
        }
    }
    (!changes.is_empty()).then_some(Turn::Changes(changes))
}

/// Takes a channel's queue away if its task dies, so that its callers are told and the next job
/// begins anew.
struct Cleared<'a>(&'a Queues, Id);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        // At a task's usual end it is gone already, or another task's.
        if std::thread::panicking() {
            self.0.shard(self.1).remove(&self.1);
        }
    }
}

async fn run(cql: Cql, channel: Id) {
    let queues = &cql.inner.queues;
    let _cleared = Cleared(queues, channel);
    while let Some(turn) = queues.turn(channel) {
        match turn {
            Turn::Inserts(inserts) => insert::run(&cql, channel, inserts).await,
            Turn::Changes(changes) => {
                let changes = futures::stream::iter(changes);
                let changes = changes.for_each_concurrent(CHANGES, |change| async move {
                    change.work.await;
                });
                changes.await;
            }
        }
    }
}

fn lost<T>(answer: Result<Result<T, Error>, oneshot::error::RecvError>) -> Result<T, Error> {
    answer.unwrap_or_else(|_| Err(Error::Unavailable("a write ended half-way".into())))
}

impl Cql {
    /// Inserts a message, after looking whether its id or its nonce is used. It is queued when this
    /// returns; see [`Messages::insert`](crate::store::Messages::insert).
    pub fn insert(&self, message: Message) -> Queued<Inserted> {
        self.enqueue_insert(message, false)
    }

    /// As [`Cql::insert`], of a message whose id and nonce are reserved: it looks nothing up.
    /// Inserting the same again changes nothing and answers `New`.
    pub fn insert_reserved(&self, message: Message) -> Queued<Inserted> {
        self.enqueue_insert(message, true)
    }

    fn enqueue_insert(&self, message: Message, reserved: bool) -> Queued<Inserted> {
        let (caller, answer) = oneshot::channel();
        let queued = self.inner.queues.permit().and_then(|permit| {
            let channel = message.channel_id;
            let insert = Insert {
                message,
                reserved,
                caller,
                _permit: permit,
            };
            self.enqueue(channel, Job::Insert(Box::new(insert)))
        });
        Box::pin(async move {
            queued?;
            lost(answer.await)
        })
    }

    /// Runs a change of a message in its turn: after what was queued for its channel before. It is
    /// queued when this returns, and runs even if the answer isn't waited for. It must not wait for
    /// another one of its channel, which comes after it.
    pub fn in_turn<T: Send + 'static>(
        &self,
        channel: Id,
        id: Id,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Queued<T> {
        let (caller, answer) = oneshot::channel();
        let queued = self.inner.queues.permit().and_then(|permit| {
            let work = Box::pin(async move {
                let done = work.await;
                // Nobody may be waiting.
                let _ = caller.send(done);
            });
            let change = Change {
                id,
                work,
                _permit: permit,
            };
            self.enqueue(channel, Job::Change(change))
        });
        Box::pin(async move {
            queued?;
            lost(answer.await)
        })
    }

    fn enqueue(&self, channel: Id, job: Job) -> Result<(), Error> {
        let mut shard = self.inner.queues.shard(channel);
        match shard.entry(channel) {
            Entry::Occupied(mut queue) => {
                if queue.get().len() >= QUEUE {
                    return Err(Error::Overloaded);
                }
                queue.get_mut().push_back(job);
            }
            Entry::Vacant(queue) => {
                queue.insert(VecDeque::from([job]));
                tokio::spawn(run(self.clone(), channel));
            }
        }
        Ok(())
    }

    /// Writes that wait or are under way.
    #[must_use]
    pub fn queued(&self) -> usize {
        let permits = &self.inner.queues.permits;
        // Closed, it has given its permits away, and nothing is queued.
        match permits.is_closed() {
            true => 0,
            false => (ALL as usize).saturating_sub(permits.available_permits()),
        }
    }

    /// Waits until all that is queued is written, then refuses what comes.
    pub async fn close(&self) {
        let permits = &self.inner.queues.permits;
        // An error: it is closed already.
        if let Ok(all) = permits.acquire_many(ALL).await {
            permits.close();
            drop(all);
        }
    }
}
