//! From a file to the servers, and back.

use super::*;
use crate::model::TopicKey;
use crate::store::moving::tests::{Folder, exported, fill, goes_on, imported, known, now, see};
use crate::store::sqlite::Sqlite;

impl Schema {
    async fn open_to_export(&self) -> Result<Box<dyn crate::store::moving::Place>, Error> {
        let messages = self.messages(Arc::new(SystemClock::default())).await;
        Postgres::open_to_export(&self.settings(), messages).await
    }

    async fn open_to_import(&self) -> Result<Box<dyn crate::store::moving::Place>, Error> {
        self.make().await;
        let messages = self.messages(Arc::new(SystemClock::default())).await;
        Postgres::open_to_import(&self.settings(), messages).await
    }

    async fn handle(&self) -> Handle {
        let clock = Arc::new(SystemClock::default());
        self.open(Arc::new(Recorder::default()), clock).await
    }
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_moves_to_servers_and_back_is_as_it_was() {
    let now = now();
    let (source, old) = Folder::filled(now).await;
    let (file, sums) = source.exported().await;
    let servers = Schema::fresh();
    // Half of it first: a node doesn't start on that.
    let half = imported(
        servers.open_to_import().await.unwrap(),
        &file[..file.len() / 2],
    )
    .await;
    let error = half.unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");
    let error = refusal(&servers.settings()).await.to_string();
    assert!(error.contains("isn't finished"), "{error}");
    let all = imported(servers.open_to_import().await.unwrap(), &file).await;
    assert_eq!(all.unwrap(), sums);
    let (moved, sums_there) = exported(servers.open_to_export().await.unwrap()).await;
    assert_eq!(sums_there, sums);
    let again = imported(servers.open_to_import().await.unwrap(), &file).await;
    let error = again.unwrap_err().to_string();
    assert!(error.contains("data of its own"), "{error}");

    // Another deployment in Postgres over the same keyspace.
    let mut beside = Schema::fresh();
    beside.salt = servers.salt;
    let mixed = imported(beside.open_to_import().await.unwrap(), &file).await;
    let error = mixed.unwrap_err().to_string();
    assert!(error.contains("name an empty keyspace"), "{error}");

    let back = Folder::fresh();
    let place = Sqlite::open_to_import(&back.file()).await.unwrap();
    assert_eq!(imported(place, &moved).await.unwrap(), sums);
    assert_eq!(back.exported().await.1, sums);

    let first = source.store(now).await;
    let seen = see(&first, now).await;
    first.close().await;
    for store in [servers.handle().await, back.store(now).await] {
        assert_eq!(see(&store, now).await, seen);
        goes_on(&store, now, old).await;
        store.close().await;
    }
}

/// What was written on the servers themselves, by their own ways, comes to a file.
#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_was_made_on_servers_moves_to_a_file() {
    let now = now();
    let servers = Schema::fresh();
    let store = servers.handle().await;
    fill(&store, now).await;
    let old = store.topic_position(TopicKey::user(3)).await.unwrap();
    let seen = see(&store, now).await;
    store.close().await;
    let (file, sums) = exported(servers.open_to_export().await.unwrap()).await;
    let target = Folder::fresh();
    let place = Sqlite::open_to_import(&target.file()).await.unwrap();
    assert_eq!(imported(place, &file).await.unwrap(), sums);
    let store = target.store(now).await;
    assert_eq!(see(&store, now).await, seen);
    goes_on(&store, now, old).await;
    store.close().await;
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn nothing_moves_while_a_node_runs_and_no_node_starts_meanwhile() {
    let servers = Schema::fresh();
    let clock = Arc::new(SystemClock::default());
    let store = servers
        .store(Arc::new(Recorder::default()), clock.clone())
        .await;
    let lease = store.lease_worker(clock.clone()).await.unwrap();
    for opened in [
        servers.open_to_export().await,
        servers.open_to_import().await,
    ] {
        let error = opened.err().unwrap().to_string();
        assert!(error.contains("1 of its nodes run"), "{error}");
    }
    lease.give_back(0).await.unwrap();
    let place = servers.open_to_export().await.unwrap();
    let second = servers.open_to_export().await.err().unwrap().to_string();
    assert!(second.contains("at work on it"), "{second}");
    assert!(store.lease_worker(clock.clone()).await.is_err());
    place.close().await.unwrap();
    store.lease_worker(clock).await.unwrap();
    store.close().await;
}

/// As the schema really is, whatever the text of its migrations looks like.
#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn each_column_moves_or_is_left_out_for_a_reason() {
    let servers = Schema::fresh();
    servers.handle().await.close().await;
    let options: sqlx::postgres::PgConnectOptions = servers.url().parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         WHERE table_schema = $1",
    )
    .bind(servers.name.as_str())
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(columns.len() > 100, "{columns:?}");
    for (table, column) in columns {
        assert!(known(&table, &column), "{table}.{column}");
    }
    connection.close().await.unwrap();
}
