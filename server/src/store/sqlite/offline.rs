//! What the command line does on the file itself: short changes beside a server that runs, and
//! taking in a backup.

use super::{Sqlite, failure, schema, upkeep};
use crate::clock::SystemClock;
use crate::store::{Error, OutboxEvent, Relay};
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
    /// the server wouldn't hear of those. A file of an older version is refused.
    pub async fn open_beside(path: &Path) -> Result<Sqlite, Error> {
        let lock = match schema::lock(path) {
            Ok(lock) => lock,
            Err(refused) => {
                let unlocked = File::open(schema::with_suffix(path, ".lock"));
                unlocked.map_err(|_| refused)?
            }
        };
        let connection = schema::open_current(path).await?;
        let clock = Arc::new(SystemClock::default());
        Sqlite::start(path, connection, lock, Arc::new(Nobody), clock).await
    }

    /// Copies the file, whatever its version, while a server runs on it or not. See
    /// [`Upkeep::backup`](crate::store::Upkeep::backup).
    pub async fn copy(
        source: &Path,
        target: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Error> {
        upkeep::copy(source, target, progress).await
    }

    /// Makes a copy fit to be served: checks it, brings it up to date, and begins a new epoch,
    /// marked as a copy or not.
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
        let renewed = schema::renew_epoch(&mut connection).await;
        renewed.map_err(failure)?;
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
        let by_hand = folder.path().join("by-hand.db");
        std::fs::copy(&path, &by_hand).unwrap();
        for copy in [copy, by_hand] {
            Sqlite::adopt(&copy).await.unwrap();
            let adopted = Sqlite::open(&copy, Arc::new(Nobody)).await.unwrap();
            assert!(adopted.account(7).await.unwrap().is_some());
            let after = adopted.topic_position(TopicKey::user(7)).await.unwrap();
            assert_ne!(before.epoch, after.epoch);
            adopted.close().await;
        }
    }

    #[tokio::test]
    async fn a_backup_put_in_place_by_hand_begins_a_new_epoch_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chirm.db");
        let copy = folder.path().join("copy.db");
        let store = Sqlite::open(&path, Arc::new(Nobody)).await.unwrap();
        let before = store.topic_position(TopicKey::user(7)).await.unwrap();
        store.backup(&copy, &|_| {}).await.unwrap();
        store.close().await;
        let mut epochs = vec![before.epoch];
        for _ in 0..2 {
            let copied = Sqlite::open(&copy, Arc::new(Nobody)).await.unwrap();
            epochs.push(
                copied
                    .topic_position(TopicKey::user(7))
                    .await
                    .unwrap()
                    .epoch,
            );
            copied.close().await;
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_eq!(epochs[1], epochs[2]);
        let store = Sqlite::open(&path, Arc::new(Nobody)).await.unwrap();
        let original = store.topic_position(TopicKey::user(7)).await.unwrap();
        assert_eq!(original.epoch, epochs[0], "it goes on");
        store.close().await;
    }

    #[tokio::test]
    async fn an_older_file_is_copied_and_otherwise_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chirm.db");
        let store = Sqlite::open(&path, Arc::new(Nobody)).await.unwrap();
        let older = store.change(|tx| {
            let pragma = sqlx::query("PRAGMA user_version = 0");
            Box::pin(async move { Ok(pragma.execute(&mut tx.connection).await.map(drop)?) })
        });
        older.await.unwrap();
        store.close().await;
        let before = std::fs::read(&path).unwrap();
        let refused = Sqlite::open_beside(&path).await.err();
        let says = |what| matches!(&refused, Some(Error::Unusable(text)) if text.contains(what));
        assert!(says("schema version 0"), "{refused:?}");
        let copy = folder.path().join("copy.db");
        Sqlite::copy(&path, &copy, &|_| {}).await.unwrap();
        assert!(copy.exists());
        assert!(
            std::fs::read(&path).unwrap() == before,
            "not a byte has changed"
        );
    }
}
