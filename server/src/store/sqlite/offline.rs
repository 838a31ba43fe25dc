//! What the command line does on the file itself: short changes beside a server that runs, and
//! taking in a backup.

use super::{Sqlite, failure, schema};
use crate::clock::SystemClock;
use crate::store::{Error, OutboxEvent, Relay};
use sqlx::Executor as _;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Nobody listens in a process that ends at once.
struct Nobody;

impl Relay for Nobody {
    fn relay(&self, _events: Vec<OutboxEvent>) {}
}

impl Sqlite {
    /// Opens the file for one short change: as its owner where no server runs on it, else beside
    /// the server, which waits at most for the one commit. Meant for changes that number no events:
    /// the server wouldn't hear of those.
    pub async fn open_beside(path: &Path) -> Result<Sqlite, Error> {
        let refused = match Sqlite::open(path, Arc::new(Nobody)).await {
            Err(Error::Unusable(why)) => Error::Unusable(why),
            owner => return owner,
        };
        let lock = schema::with_suffix(path, ".lock");
        let (Ok(unlocked), Ok(connection)) = (File::open(lock), schema::open_current(path).await)
        else {
            return Err(refused);
        };
        let clock = Arc::new(SystemClock::default());
        Sqlite::start(path, connection, unlocked, Arc::new(Nobody), clock).await
    }

    /// Makes a copy of a backup fit to be served: checks it, brings it up to date, and draws a new
    /// epoch. What was numbered after the backup is gone and its numbers will be used again:
    /// without a new epoch, clients would take the new events for those that they hold.
    pub async fn adopt(path: &Path) -> Result<(), Error> {
        let lock = schema::lock(path)?;
        let mut connection = schema::open(path).await?;
        let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&mut connection)
            .await
            .map_err(failure)?;
        if verdict != "ok" {
            return Err(Error::Unusable(format!(
                "{} is damaged ({verdict}); use another backup",
                path.display()
            )));
        }
        let renew = "BEGIN IMMEDIATE;
            UPDATE meta SET value = (random() & 9223372036854775807) | 1 WHERE name = 'epoch';
            DELETE FROM outbox;
            COMMIT;";
        connection
            .execute(sqlx::raw_sql(renew))
            .await
            .map_err(failure)?;
        schema::close(connection).await;
        let _ = std::fs::remove_file(schema::with_suffix(path, ".lock"));
        drop(lock);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TopicKey, User};
    use crate::store::{Account, Outbox as _, Upkeep as _, Users as _};

    fn account(id: i64) -> Account {
        Account {
            user: User {
                id,
                username: format!("u{id}"),
                ..Default::default()
            },
            name_key: format!("u{id}"),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_change_beside_the_owner_is_seen_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chirm.db");
        let owner = Sqlite::open(&path, Arc::new(Nobody)).await.unwrap();
        let beside = Sqlite::open_beside(&path).await.unwrap();
        beside
            .create_account(account(7).into(), vec![])
            .await
            .unwrap();
        beside.close().await;
        assert_eq!(owner.account(7).await.unwrap().unwrap().user.username, "u7");
        owner
            .create_account(account(8).into(), vec![])
            .await
            .unwrap();
        owner.close().await;
    }

    #[tokio::test]
    async fn a_second_owner_is_still_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chirm.db");
        let owner = Sqlite::open(&path, Arc::new(Nobody)).await.unwrap();
        let beside = Sqlite::open_beside(&path).await.unwrap();
        beside.close().await;
        assert!(Sqlite::open(&path, Arc::new(Nobody)).await.is_err());
        owner.close().await;
    }

    #[tokio::test]
    async fn an_adopted_copy_keeps_its_rows_and_changes_its_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chirm.db");
        let copy = folder.path().join("copy.db");
        let store = Sqlite::open(&path, Arc::new(Nobody)).await.unwrap();
        store
            .create_account(account(7).into(), vec![])
            .await
            .unwrap();
        let before = store.topic_position(TopicKey::user(7)).await.unwrap();
        store.backup(&copy, &|_| {}).await.unwrap();
        store.close().await;
        Sqlite::adopt(&copy).await.unwrap();
        let adopted = Sqlite::open(&copy, Arc::new(Nobody)).await.unwrap();
        assert!(adopted.account(7).await.unwrap().is_some());
        let after = adopted.topic_position(TopicKey::user(7)).await.unwrap();
        assert_ne!(before.epoch, after.epoch);
        adopted.close().await;
    }
}
