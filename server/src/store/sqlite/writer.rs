//! The writer: one task, one connection, commits in groups.
//!
//! A transaction begins as soon as the last one ended, with all that has queued by then. Runs of
//! new messages go in as statements of many rows; every other change runs in a savepoint of its
//! own, so that a refused one undoes only itself. After the COMMIT (which syncs) the numbered
//! events are relayed, and then everyone is answered.

use super::webhook_queue::{self, Wanted};
use super::{insert, outbox, schema};
use crate::clock::Clock;
use crate::model::{Message, UnixMs};
use crate::store::{Error, Inserted, Insertion, OutboxEvent, Queued, Relay};
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait. A message is at most some 25 KiB, so this bounds the memory, too.
const QUEUE: usize = 4096;

/// Writes a transaction.
const BATCH: usize = 256;

/// What a change writes with.
pub(super) struct Tx {
    /// In an open transaction.
    pub(super) connection: SqliteConnection,
    /// Of the topics of servers and users.
    pub(super) epoch: i64,
    /// Numbered in this transaction, to be relayed after it.
    pub(super) events: Vec<OutboxEvent>,
    /// What webhooks ask for.
    pub(super) webhooks: Arc<Wanted>,
    /// Whether something was queued for webhooks in this transaction: told after it.
    pub(super) queued: bool,
    clock: Arc<dyn Clock>,
}

impl Tx {
    pub(super) fn new(
        connection: SqliteConnection,
        epoch: i64,
        clock: Arc<dyn Clock>,
        webhooks: Arc<Wanted>,
    ) -> Tx {
        Tx {
            connection,
            epoch,
            events: Vec::new(),
            webhooks,
            queued: false,
            clock,
        }
    }

    /// For the ages of rows that the callers' times don't cover.
    pub(super) fn now_ms(&self) -> UnixMs {
        self.clock.wall_ms()
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(statement)
            .execute(&mut self.connection)
            .await
            .map(drop)
    }
}

/// A change that waits to be run, and then to be answered.
trait Change: Send {
    /// Runs it and keeps the outcome. False: it was refused, what it wrote must be undone.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool>;
    /// Tells the caller, who may have gone. `lost` says why the transaction failed, if it did.
    fn answer(self: Box<Self>, lost: Option<&str>);
}

struct Pending<F, T> {
    change: Option<F>,
    outcome: Option<Result<T, Error>>,
    caller: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Change for Pending<F, T>
where
    T: Send,
    F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Send,
{
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            if let Some(change) = self.change.take() {
                self.outcome = Some(change(tx).await);
            }
            matches!(self.outcome, Some(Ok(_)))
        })
    }

    fn answer(self: Box<Self>, lost: Option<&str>) {
        let outcome = match (self.outcome, lost) {
            (Some(outcome), None) => outcome,
            // A refusal wrote nothing, whatever became of the transaction.
            (Some(Err(error)), Some(_)) => Err(error),
            (_, lost) => Err(Error::Unavailable(lost.unwrap_or("not run").to_owned())),
        };
        let _ = self.caller.send(outcome);
    }
}

/// A new message and who waits for it.
pub(super) struct Insert {
    pub(super) message: Message,
    caller: oneshot::Sender<Result<Inserted, Error>>,
}

enum Write {
    Insert(Box<Insert>),
    Change(Box<dyn Change>),
    Close(oneshot::Sender<()>),
}

/// A handle on the writer.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Write>,
}

impl Writer {
    /// Starts the task. It holds the lock until it ended.
    pub(super) fn start(path: PathBuf, tx: Tx, relay: Arc<dyn Relay>, lock: File) -> Writer {
        let (queue, writes) = mpsc::channel(QUEUE);
        let task = Task {
            path,
            epoch: tx.epoch,
            clock: tx.clock.clone(),
            webhooks: tx.webhooks.clone(),
            tx: Some(tx),
            relay,
            unsure: Vec::new(),
            closing: Vec::new(),
        };
        tokio::spawn(task.run(writes, lock));
        Writer { queue }
    }

    pub(super) fn insert(&self, message: Message) -> Insertion {
        let (caller, answer) = oneshot::channel();
        let queued = self.enqueue(Write::Insert(Box::new(Insert { message, caller })));
        Box::pin(async move {
            queued?;
            answer.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    pub(super) async fn change<T, F>(&self, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Send + 'static,
    {
        self.queue(change).await
    }

    /// As `change`, and it is queued when this returns.
    pub(super) fn queue<T, F>(&self, change: F) -> Queued<T>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let queued = self.enqueue(Write::Change(Box::new(Pending {
            change: Some(change),
            outcome: None,
            caller,
        })));
        Box::pin(async move {
            queued?;
            answer.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    /// Waits until all that was accepted is durable and the connection is closed. Later writes are
    /// refused.
    pub(super) async fn close(&self) {
        let (caller, answer) = oneshot::channel();
        if self.queue.send(Write::Close(caller)).await.is_ok() {
            // An error says that the task has ended, which is all that is wanted.
            let _ = answer.await;
        }
    }

    /// Writes that wait for the next transaction.
    pub(super) fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    fn enqueue(&self, write: Write) -> Result<(), Error> {
        self.queue.try_send(write).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => closed(),
        })
    }
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}

/// A write that was run and waits for the COMMIT.
enum Done {
    Inserts(Vec<Insert>, Vec<Result<Inserted, Error>>),
    Change(Box<dyn Change>),
}

impl Done {
    fn answer(self, lost: Option<&str>) {
        match self {
            Done::Change(change) => change.answer(lost),
            Done::Inserts(inserts, outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for insert in inserts {
                    let outcome = match (outcomes.next(), lost) {
                        (Some(outcome), None) => outcome,
                        (_, lost) => Err(Error::Unavailable(lost.unwrap_or("not run").to_owned())),
                    };
                    let _ = insert.caller.send(outcome);
                }
            }
        }
    }
}

struct Task {
    path: PathBuf,
    epoch: i64,
    clock: Arc<dyn Clock>,
    webhooks: Arc<Wanted>,
    /// None after a transaction failed: the next one opens the file anew, since what a connection
    /// still believes after a failed sync can't be trusted.
    tx: Option<Tx>,
    /// Events of the transaction that failed last: a COMMIT whose sync fails may have taken hold.
    unsure: Vec<OutboxEvent>,
    relay: Arc<dyn Relay>,
    closing: Vec<oneshot::Sender<()>>,
}

impl Task {
    async fn run(mut self, mut writes: mpsc::Receiver<Write>, lock: File) {
        let mut queued = Vec::with_capacity(BATCH);
        while writes.recv_many(&mut queued, BATCH).await > 0 {
            let batch = self.without_closing(&mut queued, &mut writes);
            if !batch.is_empty() {
                self.commit(batch).await;
            }
        }
        if let Some(tx) = self.tx.take() {
            schema::close(tx.connection).await;
        }
        drop(lock);
        for caller in self.closing {
            let _ = caller.send(());
        }
    }

    /// Takes the wish to close out of what was queued. From then on nothing more is accepted, and
    /// the loop ends once it has drained the queue.
    fn without_closing(
        &mut self,
        queued: &mut Vec<Write>,
        writes: &mut mpsc::Receiver<Write>,
    ) -> Vec<Write> {
        let mut batch = Vec::with_capacity(queued.len());
        for write in queued.drain(..) {
            match write {
                Write::Close(caller) => {
                    writes.close();
                    self.closing.push(caller);
                }
                other => batch.push(other),
            }
        }
        batch
    }

    async fn commit(&mut self, batch: Vec<Write>) {
        let mut waiting = group(batch);
        let failed = self.transact(&mut waiting).await.err();
        if let Some(error) = &failed {
            tracing::error!(%error, writes = waiting.len(), "a transaction failed");
            if let Some(tx) = self.tx.take() {
                self.unsure.extend(tx.events);
                schema::close(tx.connection).await;
            }
        } else if let Some(tx) = &mut self.tx {
            if !tx.events.is_empty() {
                self.relay.relay(std::mem::take(&mut tx.events));
            }
            if std::mem::take(&mut tx.queued) {
                tx.webhooks.queued.notify_one();
            }
        }
        let lost = failed.map(|error| error.to_string());
        for done in waiting {
            done.answer(lost.as_deref());
        }
    }

    async fn transact(&mut self, waiting: &mut [Done]) -> Result<(), sqlx::Error> {
        let tx = match &mut self.tx {
            Some(tx) => tx,
            none => {
                let mut connection = schema::writer(&self.path).await?;
                let stored = outbox::stored(&mut connection, &self.unsure).await?;
                self.unsure.clear();
                if !stored.is_empty() {
                    self.relay.relay(stored);
                }
                self.webhooks.read(&mut connection).await?;
                let (clock, webhooks) = (self.clock.clone(), self.webhooks.clone());
                none.insert(Tx::new(connection, self.epoch, clock, webhooks))
            }
        };
        tx.run("BEGIN IMMEDIATE").await?;
        for done in waiting {
            match done {
                Done::Inserts(inserts, outcomes) => {
                    *outcomes = insert::insert(&mut tx.connection, inserts).await?;
                    webhook_queue::created(tx, inserts, outcomes).await?;
                }
                Done::Change(change) => attempt(tx, change.as_mut()).await?,
            }
        }
        tx.run("COMMIT").await
    }
}

/// Runs one change in its savepoint. An error means that the whole transaction is gone.
async fn attempt(tx: &mut Tx, change: &mut dyn Change) -> Result<(), sqlx::Error> {
    let events = tx.events.len();
    tx.run("SAVEPOINT change").await?;
    if !change.run(tx).await {
        tx.events.truncate(events);
        tx.run("ROLLBACK TO change").await?;
    }
    tx.run("RELEASE change").await
}

/// Joins neighbouring inserts; the order of the writes stays.
fn group(batch: Vec<Write>) -> Vec<Done> {
    let mut waiting: Vec<Done> = Vec::new();
    for write in batch {
        match write {
            Write::Insert(insert) => match waiting.last_mut() {
                Some(Done::Inserts(inserts, _)) => inserts.push(*insert),
                _ => waiting.push(Done::Inserts(vec![*insert], Vec::new())),
            },
            Write::Change(change) => waiting.push(Done::Change(change)),
            Write::Close(_) => {}
        }
    }
    waiting
}
