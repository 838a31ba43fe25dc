//! Files as earlier versions left them come up to date.

use super::*;

/// A file as the first version left it, with a member and two messages.
async fn of_the_first_version(path: &Path) {
    let base = include_str!("../../../../migrations/sqlite/0001_base.sql");
    let rows = "INSERT INTO users VALUES (1, 'u', 'u', 'U', 0, 0, '', NULL, 0, NULL);
        INSERT INTO servers VALUES (10, 's', '', 1, 1, 1, NULL);
        INSERT INTO members VALUES (10, 1, 4, 1735689600000);
        INSERT INTO channels VALUES (11, 10, 1, 'general', '', 0, NULL, 1, NULL);
        INSERT INTO messages VALUES (11, 100, 1, NULL, 'a', 0, 0, 0, 0, '[1]', NULL),
            (11, 101, 1, NULL, 'b', 0, 0, 0, 0, NULL, NULL);
        PRAGMA application_id = 0x4368726d; PRAGMA user_version = 1;";
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let text = sqlx::AssertSqlSafe(format!("{base} {rows}"));
    let made = sqlx::raw_sql(text).execute(&mut connection).await;
    made.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_version_comes_up_with_its_messages_read() {
    let folder = Folder::fresh();
    of_the_first_version(&folder.file()).await;
    let store = open(&folder.file()).await.unwrap();
    let old = store.get(CHANNEL, 100).await.unwrap().unwrap();
    assert_eq!((old.mentions, old.groups.is_empty()), (vec![1], true));
    let of = ReadOf {
        channel: CHANNEL,
        role: crate::model::Role::Owner,
        at_least: 0,
    };
    let state = store.read_states(OWNER, &[of]).await.unwrap().remove(0);
    assert_eq!((state.last_read_id, state.last_message_id), (101, 101));
    assert!(!state.is_unread());
    let written = store.insert(message(CHANNEL, 102, 2, "")).await.unwrap();
    assert_eq!(written, Inserted::New);
    let state = store.read_states(OWNER, &[of]).await.unwrap().remove(0);
    assert!(state.is_unread());
    let general = store.channel(CHANNEL).await.unwrap().unwrap();
    assert_eq!((general.name.as_str(), general.slow_mode_s), ("general", 0));
    let member = store.member(SERVER, OWNER).await.unwrap().unwrap();
    assert_eq!(member.timed_out_until, 0);
    store.close().await;
}

#[tokio::test]
async fn a_file_of_the_first_version_comes_up_with_webhooks() {
    let folder = Folder::fresh();
    of_the_first_version(&folder.file()).await;
    let store = open(&folder.file()).await.unwrap();
    assert!(store.webhooks(SERVER, 0, 9).await.unwrap().is_empty());
    assert_eq!(store.backlog().await.unwrap(), (0, 0));
    let written = store.insert(message(CHANNEL, 102, 2, "")).await.unwrap();
    assert_eq!(written, Inserted::New);
    store.close().await;
}

#[tokio::test]
async fn an_older_file_is_brought_up_to_date() {
    let folder = Folder::fresh();
    of_the_first_version(&folder.file()).await;
    let store = open(&folder.file()).await.unwrap();
    let old = store.get(CHANNEL, 100).await.unwrap().unwrap();
    assert_eq!((old.content.as_str(), old.pinned), ("a", false));
    assert!(old.reactions.is_empty());
    assert!(store.pin(CHANNEL, 100, 1, 500).await.unwrap());
    let inserted = store.insert(message(CHANNEL, 102, OWNER, "")).await;
    assert_eq!(inserted.unwrap(), Inserted::New);
    store.close().await;
    let store = open(&folder.file()).await.unwrap();
    assert!(store.get(CHANNEL, 100).await.unwrap().unwrap().pinned);
    store.close().await;
}
