//! Changes: transactions that number the events of what they did.
//!
//! A change is a `FnOnce` that is `Clone`, so that it reads like one of SQLite's (what it captured
//! by value it may use up) and can still be run again: Postgres may break off a transaction for the
//! sake of another one, with nothing written. Its isolation level is READ COMMITTED: what it
//! decides by, it locks first.
//!
//! Events get their numbers last, when the change has succeeded: the rows of their topics are
//! locked until the COMMIT, so that numbers are in the order of commits, and only for that short
//! time. Locks of this process around them keep what this node relays in the same order. Nothing
//! else may lock rows of `topics`, so nobody who holds one waits for any other kind of row.

use super::outbox::{self, Draft};
use super::webhook_queue::Wanted;
use super::{RACE, failure};
use crate::clock::Clock;
use crate::model::UnixMs;
use crate::store::{Error, NewEvent, OutboxEvent, Relay};
use futures::future::BoxFuture;
use sqlx::{PgPool, Postgres as Driver, Transaction};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Changes that may wait or run at a time.
const QUEUE: usize = 4096;

/// How often a change is run that others break off.
const ATTEMPTS: u32 = 5;

/// How long the statements of a change may take, and its COMMIT.
const CHANGE_WAIT: Duration = Duration::from_secs(10);
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// Between two looks for what became of a COMMIT.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Locks of topics.
const STRIPES: usize = 256;

/// What a change writes with.
pub(super) struct Tx {
    /// An open transaction.
    pub(super) connection: Transaction<'static, Driver>,
    /// What webhooks ask for.
    pub(super) webhooks: Arc<Wanted>,
    /// Whether something was queued for webhooks in this transaction: told after it.
    pub(super) queued: bool,
    drafts: Vec<Draft>,
    clock: Arc<dyn Clock>,
}

impl Tx {
    /// For the ages of rows that the callers' times don't cover.
    pub(super) fn now_ms(&self) -> UnixMs {
        self.clock.wall_ms()
    }

    /// Tells of what the change did: the events are numbered, stored and handed on with it.
    pub(super) fn tell(&mut self, events: Vec<NewEvent>) {
        self.drafts.extend(outbox::encode(events));
    }
}

/// What changes of this node are made with.
pub(super) struct Node {
    pub(super) pool: PgPool,
    /// Of the topics of servers and users.
    pub(super) epoch: i64,
    pub(super) relay: Arc<dyn Relay>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) webhooks: Arc<Wanted>,
}

/// The locks of the topics whose events are on their way, by stripes of topics.
type Locks = Vec<OwnedMutexGuard<()>>;

/// Runs changes.
#[derive(Clone)]
pub(super) struct Changes(Arc<Shared>);

struct Shared {
    node: Node,
    waiting: Arc<Semaphore>,
    running: Semaphore,
    topics: Vec<Arc<Mutex<()>>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Changes {
    /// With so many connections, of which a quarter is kept free of changes.
    pub(super) fn new(node: Node, connections: u32) -> Changes {
        let running = (connections - connections / 4).max(1);
        Changes(Arc::new(Shared {
            node,
            waiting: Arc::new(Semaphore::new(QUEUE)),
            running: Semaphore::new(running as usize),
            topics: (0..STRIPES).map(|_| Arc::default()).collect(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }))
    }

    /// See [`super::Postgres::change`].
    pub(super) async fn run<T, F>(&self, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Clone + Send + 'static,
    {
        let shared = self.0.clone();
        if shared.tasks.is_closed() {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        let waiting = shared.waiting.clone().try_acquire_owned();
        let waiting = waiting.map_err(|_| Error::Overloaded)?;
        let task = self.0.tasks.spawn(async move {
            let outcome = shared.attempts(change).await;
            drop(waiting);
            outcome
        });
        task.await
            .unwrap_or_else(|_| Err(Error::Unavailable("the change broke off".into())))
    }

    /// Waits until all that was accepted has ended. Later changes are refused.
    pub(super) async fn close(&self) {
        self.0.tasks.close();
        self.0.closing.cancel();
        self.0.tasks.wait().await;
    }
}

impl Shared {
    async fn attempts<T, F>(self: &Arc<Self>, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Clone + Send,
    {
        for attempt in 1..=ATTEMPTS {
            let outcome = {
                let _running = self.running.acquire().await;
                Box::pin(self.attempt(change.clone())).await
            };
            match outcome {
                Err(Error::Conflict(RACE)) => {
                    let pause = rand::random_range(1..=10 * u64::from(attempt));
                    sleep(Duration::from_millis(pause)).await;
                }
                outcome => return outcome,
            }
        }
        Err(Error::Overloaded)
    }

    async fn attempt<T, F>(self: &Arc<Self>, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Send,
    {
        let late = |_| Error::Unavailable("Postgres took too long".into());
        let begin = timeout(CHANGE_WAIT, self.node.pool.begin());
        let mut tx = Tx {
            connection: begin.await.map_err(late)??,
            webhooks: self.node.webhooks.clone(),
            queued: false,
            drafts: Vec::new(),
            clock: self.node.clock.clone(),
        };
        let prepare = timeout(CHANGE_WAIT, self.prepare(&mut tx, change));
        let (outcome, events, locks) = match prepare.await.map_err(late)? {
            Ok(prepared) => prepared,
            Err(error) => {
                // A failure changes nothing: the connection is then closed, which undoes it, too.
                let _ = timeout(COMMIT_WAIT, tx.connection.rollback()).await;
                return Err(error);
            }
        };
        let queued = tx.queued;
        let committed = timeout(COMMIT_WAIT, tx.connection.commit()).await;
        if queued {
            self.node.webhooks.queued.notify_one();
        }
        match committed {
            Ok(Ok(())) => {
                self.relay(events);
                drop(locks);
                Ok(outcome)
            }
            Ok(Err(error)) if is_refusal(&error) => Err(failure(error)),
            lost => {
                self.settle(events, locks);
                Err(match lost {
                    Ok(Err(error)) => failure(error),
                    _ => Error::Unavailable("Postgres didn't answer a COMMIT".into()),
                })
            }
        }
    }

    /// All of a change but its COMMIT.
    async fn prepare<T, F>(
        &self,
        tx: &mut Tx,
        change: F,
    ) -> Result<(T, Vec<OutboxEvent>, Locks), Error>
    where
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Send,
    {
        let outcome = change(tx).await?;
        let drafts = std::mem::take(&mut tx.drafts);
        if drafts.is_empty() {
            return Ok((outcome, Vec::new(), Vec::new()));
        }
        let locks = self.lock(&drafts).await;
        let now = tx.now_ms();
        let epoch = self.node.epoch;
        let events = outbox::number(&mut tx.connection, epoch, now, drafts).await?;
        Ok((outcome, events, locks))
    }

    async fn lock(&self, drafts: &[Draft]) -> Locks {
        let hasher = BuildHasherDefault::<DefaultHasher>::new();
        let stripe = |draft: &Draft| hasher.hash_one(draft.topic) as usize % STRIPES;
        let mut stripes: Vec<usize> = drafts.iter().map(stripe).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let mut locks = Vec::with_capacity(stripes.len());
        for stripe in stripes {
            locks.push(self.topics[stripe].clone().lock_owned().await);
        }
        locks
    }

    fn relay(&self, events: Vec<OutboxEvent>) {
        if !events.is_empty() {
            self.node.relay.relay(events);
        }
    }

    /// Finds out what became of a COMMIT that wasn't answered, and relays its events if it took
    /// hold. Until that is known nothing later of its topics is relayed by this node.
    fn settle(self: &Arc<Self>, events: Vec<OutboxEvent>, locks: Locks) {
        if events.is_empty() {
            return;
        }
        let shared = self.clone();
        self.tasks.spawn(async move {
            let look = async {
                loop {
                    match outbox::stored(&shared.node.pool, &events).await {
                        Ok(stored) => break stored,
                        Err(error) => tracing::debug!(%error, "a COMMIT's end is still unknown"),
                    }
                    sleep(LOOK_AGAIN).await;
                }
            };
            // Who closes doesn't wait for a database that is away.
            if let Some(stored) = shared.closing.run_until_cancelled(look).await {
                shared.relay(stored);
            }
            drop(locks);
        });
    }
}

/// Whether an error of a COMMIT says that it was refused; else its end is unknown.
fn is_refusal(error: &sqlx::Error) -> bool {
    match error {
        // Operator intervention (a shutdown, say) may come after the COMMIT took hold.
        sqlx::Error::Database(told) => told.code().is_none_or(|code| !code.starts_with("57")),
        _ => false,
    }
}
