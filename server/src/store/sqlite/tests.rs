//! The contract suite, and what is SQLite's alone.

use super::Sqlite;
use crate::clock::Clock;
use crate::model::TopicKey;
use crate::store::suite::*;
use crate::store::{
    Anchor, AuditFilter, Channels, Error, Handle, Inserted, Marks, Messages, Moderation, Outbox,
    Reactor, ReadOf, ReadStates, Relay, Servers, Upkeep, Users, Webhooks,
};
use futures::FutureExt;
use futures::future::join_all;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

mod older;

struct Folder(tempfile::TempDir);

impl Folder {
    fn file(&self) -> PathBuf {
        self.0.path().join("data/chirm.db")
    }
}

impl Place for Folder {
    fn fresh() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    async fn open(&self, relay: Arc<dyn Relay>, clock: Arc<dyn Clock>) -> Handle {
        let store = Sqlite::open_with_clock(&self.file(), relay, clock).await;
        Arc::new(store.unwrap())
    }
}

mod suite {
    use super::Folder;
    contract_suite!(Folder);
    use crate::store::suite::contract_suite;
}

async fn open(path: &Path) -> Result<Sqlite, Error> {
    Sqlite::open(path, Arc::new(Recorder::default())).await
}

/// A store with the channel that messages need.
async fn filled(path: &Path) -> Sqlite {
    let store = open(path).await.unwrap();
    let made = store.create_account(account(OWNER).into(), vec![]).await;
    made.unwrap();
    let general = channel(CHANNEL, SERVER, crate::model::ChannelType::Text);
    let owner = member(SERVER, OWNER, crate::model::Role::Owner);
    let made = store.create_server(server(SERVER, OWNER), owner, general, None, 999, vec![]);
    made.await.unwrap();
    store
}

#[tokio::test]
async fn one_process_at_a_time_opens_a_file() {
    let folder = Folder::fresh();
    let store = open(&folder.file()).await.unwrap();
    let second = open(&folder.file()).await.err();
    assert!(
        matches!(&second, Some(Error::Unusable(text)) if text.contains("in use")),
        "{second:?}"
    );
    store.close().await;
    open(&folder.file()).await.unwrap().close().await;
}

#[tokio::test]
async fn a_newer_a_foreign_and_a_damaged_file_are_refused_with_advice() {
    let folder = Folder::fresh();
    let store = open(&folder.file()).await.unwrap();
    let newer = store.change(|tx| {
        let pragma = sqlx::query("PRAGMA user_version = 77");
        Box::pin(async move { Ok(pragma.execute(&mut tx.connection).await.map(drop)?) })
    });
    newer.await.unwrap();
    store.close().await;
    let refused = open(&folder.file()).await.err();
    let says = |what| matches!(&refused, Some(Error::Unusable(text)) if text.contains(what));
    assert!(says("version 77") && says("newer server"), "{refused:?}");

    std::fs::write(
        folder.file(),
        "no database, but long enough to be looked at as one".repeat(99),
    )
    .unwrap();
    let refused = open(&folder.file()).await.err();
    let says = |what| matches!(&refused, Some(Error::Unusable(text)) if text.contains(what));
    assert!(says("damaged") && says("backup"), "{refused:?}");

    let foreign = folder.0.path().join("foreign.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&foreign)
        .create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query("CREATE TABLE t (a)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    let refused = open(&foreign).await.err();
    let says = |what| matches!(&refused, Some(Error::Unusable(text)) if text.contains(what));
    assert!(says("another program"), "{refused:?}");
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_over_when_there_is_room() {
    let folder = Folder::fresh();
    let store = filled(&folder.file()).await;
    store
        .insert(message(CHANNEL, 100, OWNER, ""))
        .await
        .unwrap();
    // The bound belongs to the connection, so it is gone with the one that failed.
    let full = store.change(|tx| {
        let pragma = sqlx::query("PRAGMA max_page_count = 1");
        Box::pin(async move { Ok(pragma.execute(&mut tx.connection).await.map(drop)?) })
    });
    full.await.unwrap();
    let all = (101..140).map(|id| {
        let mut message = message(CHANNEL, id, OWNER, "");
        message.content = "x".repeat(16_000);
        store.insert(message)
    });
    for inserted in join_all(all).await {
        assert!(
            matches!(inserted, Err(Error::Unavailable(_))),
            "{inserted:?}"
        );
    }
    let inserted = store.insert(message(CHANNEL, 200, OWNER, "")).await;
    assert_eq!(inserted.unwrap(), Inserted::New);
    let page = store.page(CHANNEL, Anchor::Newest, 100).await.unwrap();
    let ids: Vec<i64> = page.messages.iter().map(|message| message.id).collect();
    assert_eq!(ids, [100, 200]);
    store.close().await;
}

/// The sync after a COMMIT fails, say, and what was committed is there all the same.
#[tokio::test]
async fn what_took_hold_though_it_failed_is_relayed_with_the_next_write() {
    let folder = Folder::fresh();
    let relay = Arc::new(Recorder::default());
    let store = Sqlite::open(&folder.file(), relay.clone()).await.unwrap();
    let topic = TopicKey::user(7);
    for statement in ["COMMIT", "ROLLBACK"] {
        let fails = store.change(move |tx| {
            Box::pin(async move {
                super::outbox::publish(tx, super::outbox::encode(vec![event(topic, 1)])).await?;
                // Its savepoint is gone then, which fails the transaction.
                sqlx::query(statement).execute(&mut tx.connection).await?;
                Ok(())
            })
        });
        let failed = fails.await;
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    }
    store.append(vec![event(topic, 2)]).await.unwrap();
    let relayed = relay.events();
    let seqs: Vec<i64> = relayed.iter().map(|event| event.position.seq).collect();
    assert_eq!(seqs, [1, 2]);
    assert!(relayed.iter().all(|event| event.topic == topic));
    store.close().await;
}

#[tokio::test]
async fn what_the_queue_has_no_room_for_is_not_written() {
    let folder = Folder::fresh();
    let store = filled(&folder.file()).await;
    let all = (1000..9000).map(|id| store.insert(message(CHANNEL, id, OWNER, "")));
    let all = join_all(all).await;
    let mut refused = 0;
    for (id, inserted) in (1000..9000).zip(all) {
        let there = store.get(CHANNEL, id).await.unwrap().is_some();
        match inserted {
            Ok(Inserted::New) => assert!(there, "{id}"),
            Err(Error::Overloaded) => {
                assert!(!there, "{id}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0);
    store.close().await;
}

#[tokio::test]
async fn a_write_goes_on_without_its_caller() {
    let folder = Folder::fresh();
    let store = filled(&folder.file()).await;
    for id in 100..110 {
        let written = store.insert(message(CHANNEL, id, OWNER, "")).now_or_never();
        assert!(written.is_none());
    }
    let account = store
        .create_account(account(7).into(), vec![])
        .now_or_never();
    assert!(account.is_none());
    store.close().await;
    let store = open(&folder.file()).await.unwrap();
    let page = store.page(CHANNEL, Anchor::Newest, 100).await.unwrap();
    assert_eq!(page.messages.len(), 10);
    assert!(store.account(7).await.unwrap().is_some());
    store.close().await;
}

#[tokio::test]
async fn messages_of_deleted_channels_are_removed_in_the_background() {
    let folder = Folder::fresh();
    let store = filled(&folder.file()).await;
    let all = (1000..3000).map(|id| {
        let nonce = if id % 2 == 0 {
            String::new()
        } else {
            format!("nonce {id}")
        };
        store.insert(message(CHANNEL, id, OWNER, &nonce))
    });
    join_all(all).await;
    store.delete_server(SERVER, vec![], None).await.unwrap();
    loop {
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM purges)",
        )
        .fetch_one(&store.read)
        .await
        .unwrap();
        if left == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    store.close().await;
}

#[tokio::test]
async fn a_backup_is_whole_while_writes_go_on() {
    let folder = Folder::fresh();
    let store = filled(&folder.file()).await;
    join_all((1000..3000).map(|id| store.insert(message(CHANNEL, id, OWNER, "")))).await;
    let copy = folder.0.path().join("copy.db");
    let copied = std::sync::atomic::AtomicU64::new(0);
    let progress = |bytes| copied.store(bytes, std::sync::atomic::Ordering::Relaxed);
    let writes = join_all((3000..3100).map(|id| store.insert(message(CHANNEL, id, OWNER, ""))));
    let (backup, _) = tokio::join!(store.backup(&copy, &progress), writes);
    backup.unwrap();
    let bytes = std::fs::metadata(&copy).unwrap().len();
    assert_eq!(copied.into_inner(), bytes);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
    }
    let again = store.backup(&copy, &|_| {}).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    store.close().await;

    let store = open(&copy).await.unwrap();
    for id in 1000..3000 {
        assert!(store.get(CHANNEL, id).await.unwrap().is_some(), "{id}");
    }
    store
        .insert(message(CHANNEL, 9000, OWNER, ""))
        .await
        .unwrap();
    store.close().await;
}

/// How many rows the store has of who reacted, and of kinds.
async fn reaction_rows(store: &Sqlite) -> (i64, i64) {
    let count = "SELECT (SELECT count(*) FROM reactions), (SELECT count(*) FROM reaction_kinds)";
    let counted = sqlx::query_as(count).fetch_one(&store.read).await;
    counted.unwrap()
}

#[tokio::test]
async fn who_reacted_is_removed_in_the_background() {
    let folder = Folder::fresh();
    let store = filled(&folder.file()).await;
    for id in 100..103 {
        let inserted = store.insert(message(CHANNEL, id, OWNER, "")).await;
        inserted.unwrap();
        // More than a step takes.
        let all = (1..=600).map(|user_id| {
            let reactor = Reactor {
                channel_id: CHANNEL,
                message_id: id,
                user_id,
                emoji: "a".into(),
            };
            store.react(reactor, true)
        });
        for reacted in join_all(all).await {
            reacted.unwrap();
        }
    }
    assert_eq!(reaction_rows(&store).await, (1_800, 3));
    let left = async |rows| {
        while reaction_rows(&store).await != rows {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    store.delete(CHANNEL, 100, 9, None).await.unwrap();
    left((1_200, 2)).await;
    store
        .clear_reactions(CHANNEL, 101, String::new())
        .await
        .unwrap();
    left((600, 1)).await;
    store.delete_channel(CHANNEL, vec![], None).await.unwrap();
    left((0, 0)).await;
    store.close().await;
}

const CRASH_FILE: &str = "CHIRM_TEST_CRASH_FILE";

/// Not a test of its own: what `kill_keeps_what_was_acknowledged` kills.
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn writes_until_killed() {
    let path = PathBuf::from(std::env::var_os(CRASH_FILE).unwrap());
    let store = filled(&path).await;
    let store = &store;
    let senders = (0..20).map(async |sender| {
        for id in (0..).map(|n| 1000 + n * 20 + sender) {
            store
                .insert(message(CHANNEL, id, OWNER, &format!("nonce {id}")))
                .await
                .unwrap();
            println!("acknowledged {id}");
        }
    });
    join_all(senders).await;
}

#[tokio::test]
async fn kill_keeps_what_was_acknowledged() {
    let folder = Folder::fresh();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "store::sqlite::tests::writes_until_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(CRASH_FILE, folder.file())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged: Vec<i64> = Vec::new();
    for line in lines {
        let line = line.unwrap();
        // The test harness's own words may share a line with the first.
        if let Some((_, id)) = line.split_once("acknowledged ") {
            acknowledged.push(id.parse().unwrap());
        }
        if acknowledged.len() == 1000 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= 1000);
    let store = open(&folder.file()).await.unwrap();
    for id in acknowledged {
        assert!(store.get(CHANNEL, id).await.unwrap().is_some(), "{id}");
    }
    let page = store.page(CHANNEL, Anchor::Newest, 1).await.unwrap();
    let repeat = store
        .insert(message(CHANNEL, 1 << 40, OWNER, &page.messages[0].nonce))
        .await;
    assert_eq!(repeat.unwrap(), Inserted::Repeat(page.messages[0].clone()));
    store.close().await;
}

#[tokio::test]
async fn a_log_keeps_the_latest_of_its_server() {
    let folder = Folder::fresh();
    let store = filled(&folder.file()).await;
    let entry = |id| crate::model::AuditEntry {
        id,
        server_id: SERVER,
        actor_id: OWNER,
        action: crate::model::AuditAction::ServerUpdated,
        target_id: 0,
        channel_id: 0,
        user_id: 0,
        count: 0,
        reason: String::new(),
        changes: Vec::new(),
        created_at: 5,
    };
    let update = async |id| {
        let update = store.update_server(server(SERVER, OWNER), vec![], Some(entry(id)));
        update.await.unwrap();
        let log = store.audit_log(SERVER, AuditFilter::default(), i64::MAX, 9);
        log.await
            .unwrap()
            .iter()
            .map(|entry| entry.id)
            .collect::<Vec<_>>()
    };
    update(101).await;
    assert_eq!(update(102).await, [102, 101]);
    // As if as many as are kept had come before the latest.
    let most = crate::model::AUDIT_ENTRIES_MAX;
    let change = store.change(move |tx| {
        Box::pin(async move {
            sqlx::query("UPDATE audit_log SET number = ? WHERE id = 102")
                .bind(most)
                .execute(&mut tx.connection)
                .await?;
            Ok(())
        })
    });
    change.await.unwrap();
    assert_eq!(update(103).await, [103, 102]);
    store.close().await;
}
