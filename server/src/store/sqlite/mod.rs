//! One SQLite file, for one process. A single writer task commits in groups (`writer`); reads
//! have connections of their own. Nothing outside of this folder knows SQL.

mod audit;
mod channels;
mod insert;
mod invites;
mod marks;
mod members;
mod mentions;
mod messages;
mod moderation;
mod moving;
mod offline;
mod outbox;
mod purge;
mod read_states;
mod reports;
mod requests;
mod rows;
mod schema;
mod sends;
mod servers;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod upkeep;
mod users;
mod webhook_ends;
mod webhook_queue;
mod webhooks;
mod writer;

pub(crate) use upkeep::finish;

use crate::clock::{Clock, SystemClock};
use crate::store::{Error, Relay};
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite as Driver, SqlitePool, Transaction};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use webhook_queue::Wanted;
use writer::{Tx, Writer};

/// The file's name in a data folder.
pub const STORE_FILE: &str = "chirm.db";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The embedded store. See the traits in [`crate::store`] for what it keeps.
pub struct Sqlite {
    path: PathBuf,
    epoch: i64,
    read: SqlitePool,
    writer: Writer,
    purge: Arc<Notify>,
    purger: Mutex<Option<JoinHandle<()>>>,
    webhooks: Arc<Wanted>,
}

impl Sqlite {
    /// Opens the file, or makes it (with its folder) where there is none, and starts the writer.
    /// Beside it lies a lock file: a second process is refused with `Unusable`.
    pub async fn open(path: &Path, relay: Arc<dyn Relay>) -> Result<Sqlite, Error> {
        Self::open_with_clock(path, relay, Arc::new(SystemClock::default())).await
    }

    /// As [`Sqlite::open`]; the clock tells the ages of what is kept for a while.
    pub async fn open_with_clock(
        path: &Path,
        relay: Arc<dyn Relay>,
        clock: Arc<dyn Clock>,
    ) -> Result<Sqlite, Error> {
        let lock = schema::lock(path)?;
        let connection = schema::open(path).await?;
        let store = Sqlite::start(path, connection, lock, relay, clock).await?;
        // What an earlier run left undone.
        store.purge.notify_one();
        let purger = tokio::spawn(purge::run(store.writer.clone(), store.purge.clone()));
        *store.purger.lock().unwrap_or_else(|p| p.into_inner()) = Some(purger);
        Ok(store)
    }

    /// Starts the writer on a connection. It keeps `lock` until it ends.
    async fn start(
        path: &Path,
        mut connection: SqliteConnection,
        lock: File,
        relay: Arc<dyn Relay>,
        clock: Arc<dyn Clock>,
    ) -> Result<Sqlite, Error> {
        let epoch = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'epoch'")
            .fetch_one(&mut connection)
            .await
            .map_err(failure)?;
        let read = schema::readers(path).await.map_err(failure)?;
        let webhooks = Arc::new(Wanted::default());
        webhooks.read(&mut connection).await.map_err(failure)?;
        let tx = Tx::new(connection, epoch, clock, webhooks.clone());
        let writer = Writer::start(path.to_owned(), tx, relay, lock);
        Ok(Sqlite {
            path: path.to_owned(),
            epoch,
            read,
            writer,
            purge: Arc::new(Notify::new()),
            purger: Mutex::new(None),
            webhooks,
        })
    }

    /// Runs a change in the writer's next transaction and answers when it is durable. What it does
    /// is undone alone if it answers an error. It goes on if the caller goes away.
    async fn change<T, F>(&self, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Send + 'static,
    {
        self.writer.change(change).await
    }

    /// A reading transaction: all that is read in it is of one moment.
    async fn snapshot(&self) -> Result<Transaction<'static, Driver>, Error> {
        self.read.begin().await.map_err(failure)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        let mut purger = self.purger.lock().unwrap_or_else(|p| p.into_inner());
        if let Some(purger) = purger.take() {
            purger.abort();
        }
    }
}

/// What a driver's error means to callers.
pub(super) fn failure(error: sqlx::Error) -> Error {
    /// Primary result codes of SQLite.
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|c| c.parse::<i32>().ok());
            match code.map(|code| code & 0xff) {
                Some(CORRUPT | NOT_A_DATABASE) => Error::Unusable(error.to_string()),
                _ => Error::Unavailable(error.to_string()),
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Error::Unusable(format!("a stored row can't be read: {error}"))
        }
        sqlx::Error::PoolTimedOut => Error::Overloaded,
        sqlx::Error::PoolClosed => Error::Unavailable("the store is closed".into()),
        other => Error::Unavailable(other.to_string()),
    }
}
