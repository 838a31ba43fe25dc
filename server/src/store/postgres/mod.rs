//! The store of a cluster: all but messages in Postgres, the messages in CQL.
//!
//! Any number of nodes work on it at once. What SQLite's single writer excludes is excluded here
//! by locks on rows, taken in one order: users, servers, channels, then the rest, each by
//! ascending id.
//! Nothing outside of this folder and of `cql` knows their statements.

mod audit;
mod channels;
mod deletes;
mod invites;
mod mark_changes;
mod marks;
mod members;
mod mentions;
mod messages;
mod moderation;
mod moving;
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
mod tx;
mod upkeep;
mod users;
mod webhook_ends;
mod webhook_queue;
mod webhooks;
mod widths;
mod workers;

use super::cql::Cql;
use crate::clock::Clock;
use crate::store::{Error, Relay};
use futures::future::BoxFuture;
pub use schema::Turn;
use sqlx::{PgPool, Postgres as Driver, Transaction};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tx::{Changes, Tx};
use webhook_queue::Wanted;
pub use workers::{Lease, WORKERS};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How Postgres is reached.
#[derive(Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database`, with the parameters of libpq behind it
    /// (`sslmode=verify-full`, for one). Secret.
    pub url: String,
    /// The schema of the tables, made if it is missing: a to z, 0 to 9 and _. Empty: the first of
    /// the address's search path.
    pub schema: String,
    /// Connections of this node at most. A quarter of them is kept for reading.
    pub max_connections: u32,
    /// How long to connect may take.
    pub connect_timeout: Duration,
    /// How long a call waits for a connection.
    pub acquire_timeout: Duration,
}

impl PostgresSettings {
    /// The defaults: 16 connections, five seconds.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: String::new(),
            max_connections: 16,
            connect_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("schema", &self.schema)
            .field("max_connections", &self.max_connections)
            .field("connect_timeout", &self.connect_timeout)
            .field("acquire_timeout", &self.acquire_timeout)
            .finish_non_exhaustive()
    }
}

/// The store of a cluster. See the traits in [`crate::store`] for what it keeps.
pub struct Postgres {
    pool: PgPool,
    epoch: i64,
    changes: Changes,
    messages: Cql,
    webhooks: Arc<Wanted>,
    purge: Arc<Notify>,
    pins: marks::Pinnings,
    background: Vec<AbortHandle>,
}

impl Postgres {
    /// Connects, and brings the schema up to date. What is wrong is told with Postgres's host and
    /// port and what to do: `Unavailable` for what may pass, `Unusable` for what won't.
    pub async fn open(
        settings: &PostgresSettings,
        messages: Cql,
        relay: Arc<dyn Relay>,
        clock: Arc<dyn Clock>,
    ) -> Result<Postgres, Error> {
        let (pool, epoch) = schema::open(settings).await?;
        schema::check_finished(&pool).await?;
        let webhooks = Arc::new(Wanted::default());
        let node = tx::Node {
            pool: pool.clone(),
            epoch,
            relay,
            clock,
            webhooks: webhooks.clone(),
        };
        let changes = Changes::new(node, settings.max_connections);
        messages.plan(widths::plans(&pool));
        messages.tie(messages::ties(&pool, &changes, &webhooks));
        let purge = Arc::new(Notify::new());
        let purger = purge::Purger {
            changes: changes.clone(),
            messages: messages.clone(),
            notice: purge.clone(),
        };
        webhooks.read(&pool).await?;
        let background = [
            tokio::spawn(purger.run()).abort_handle(),
            tokio::spawn(webhooks.clone().keep(pool.clone())).abort_handle(),
        ];
        Ok(Postgres {
            background: background.into(),
            pool,
            epoch,
            changes,
            messages,
            webhooks,
            purge,
            pins: marks::Pinnings::default(),
        })
    }

    /// Runs a change in a transaction of its own and answers when it is committed. It goes on if
    /// the caller goes away. See [`tx`] for when it is run again.
    async fn change<T, F>(&self, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Clone + Send + 'static,
    {
        self.changes.run(change).await
    }

    /// Ends what runs in the background.
    fn stop(&self) {
        for task in &self.background {
            task.abort();
        }
    }

    /// A reading transaction: all that is read in it is of one moment.
    async fn snapshot(&self) -> Result<Transaction<'static, Driver>, Error> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Ok(self.pool.begin_with(begin).await?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Of a change that met another one: nothing was written, and it is run again.
const RACE: &str = "a concurrent change";

/// What a driver's error means to callers.
pub(super) fn failure(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // serialization_failure, deadlock_detected
            Some("40001" | "40P01") => Error::Conflict(RACE),
            // character_not_in_repertoire: a text with U+0000, which no row can have
            Some("22021") => Error::NotFound("a text with U+0000"),
            // data_corrupted, index_corrupted
            Some("XX001" | "XX002") => Error::Unusable(format!("Postgres: {error}")),
            _ => Error::Unavailable(format!("Postgres: {error}")),
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Error::Unusable(format!("a stored row can't be read: {error}"))
        }
        sqlx::Error::PoolTimedOut => Error::Overloaded,
        sqlx::Error::PoolClosed => Error::Unavailable("the store is closed".into()),
        other => Error::Unavailable(format!("Postgres: {other}")),
    }
}
