//! Checking, backing up, closing.

use super::Postgres;
use crate::store::{Connections, Error, Levels, Upkeep};
use async_trait::async_trait;
use std::path::Path;

impl Postgres {
    /// Fails if the CQL servers can't be read.
    ///
    /// # Errors
    /// They can't.
    pub async fn check_cql(&self) -> Result<(), Error> {
        self.messages.check().await
    }

    /// Fails if Postgres can't be read and written.
    ///
    /// # Errors
    /// It can't.
    pub async fn check_postgres(&self) -> Result<(), Error> {
        let _: i64 = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'epoch'")
            .fetch_one(&self.pool)
            .await?;
        self.change(|tx| {
            Box::pin(async move {
                // A real write: a change of nothing wouldn't reach the disk.
                sqlx::query(
                    "UPDATE meta SET value = (value + 1) % 1000000000 WHERE name = 'checks'",
                )
                .execute(&mut *tx.connection)
                .await?;
                Ok(())
            })
        })
        .await
    }
}

#[async_trait]
impl Upkeep for Postgres {
    async fn check(&self) -> Result<(), Error> {
        self.check_cql().await?;
        self.check_postgres().await
    }

    async fn backup(&self, _: &Path, _: &(dyn Fn(u64) + Send + Sync)) -> Result<(), Error> {
        Err(Error::Unusable(
            "a cluster isn't backed up by its servers: use pg_dump for Postgres, and for the \
             messages the snapshots of the CQL servers (nodetool snapshot); see docs/operations.md"
                .into(),
        ))
    }

    fn levels(&self) -> Levels {
        Levels {
            pools: vec![("postgres", Connections::of(&self.pool))],
            queues: vec![("cql", self.messages.queued())],
        }
    }

    async fn close(&self) {
        self.stop();
        // What is written to messages makes changes here.
        self.messages.close().await;
        self.changes.close().await;
        self.pool.close().await;
    }
}
