//! On a real server: what the contracts of the whole store don't say.

use super::widths::hour_of;
use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::model::{Mentions, SNOWFLAKE_EPOCH_MS};
use crate::store::{Anchor, Inserted};
use std::collections::HashSet;
use std::sync::Mutex as Lock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(super) const CHANNEL: Id = 11;
const AUTHOR: Id = 2;
const NONCE: &str = "01932c07-1e2a-7abc-8def-0123456789ab";
const MS: Id = 1 << 22;
pub(super) const DAY: Id = 86_400_000 * MS;
/// Some message, as of a real time.
pub(super) const ID: Id = 300 * DAY + 77;

/// The rest of the store, as far as messages see it.
#[derive(Default)]
pub(super) struct Rest {
    gone: Lock<HashSet<Id>>,
    asked: AtomicUsize,
    raised: Lock<Vec<Id>>,
    inserted: Lock<Vec<Id>>,
    pub(super) widths: Lock<Vec<(i32, i32)>>,
    pub(super) widths_asked: AtomicUsize,
    pub(super) broken: AtomicBool,
}

#[async_trait]
impl Ties for Rest {
    async fn server_of(&self, channel: Id) -> Result<Option<Id>, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok((!self.gone.lock().unwrap().contains(&channel)).then_some(10))
    }

    async fn raise(&self, id: Id) -> Result<Id, Error> {
        self.raised.lock().unwrap().push(id);
        Ok(id + 10 * MS)
    }

    async fn inserted(&self, messages: &[Message]) -> Result<(), Error> {
        let ids = messages.iter().map(|message| message.id);
        self.inserted.lock().unwrap().extend(ids);
        Ok(())
    }
}

/// The time of the keeper of widths: after all messages of these tests.
const KEPT_MS: UnixMs = SNOWFLAKE_EPOCH_MS + 500 * 86_400_000;

#[async_trait]
impl Plans for Rest {
    async fn widths(&self, _: Id) -> Result<(Widths, UnixMs), Error> {
        self.widths_asked.fetch_add(1, Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("broken".into()));
        }
        Ok((Widths::new(self.widths.lock().unwrap().clone()), KEPT_MS))
    }

    async fn decide(&self, _: Id, hours: i32) -> Result<Option<i32>, Error> {
        let begins = hour_of(ID) / 24 * 24 + 48;
        self.widths.lock().unwrap().push((begins, hours));
        Ok(Some(begins))
    }
}

pub(super) fn settings() -> CqlSettings {
    let address = std::env::var("CHIRM_TEST_CQL").expect("CHIRM_TEST_CQL names the server");
    CqlSettings {
        keyspace: "chirm_test".into(),
        replication: Replication::Simple(1),
        salt: rand::random_range(1 << 40..1 << 60),
        ..CqlSettings::new(vec![address])
    }
}

pub(super) async fn open() -> (Cql, Arc<Rest>) {
    open_at(KEPT_MS).await
}

pub(super) async fn open_at(wall_ms: UnixMs) -> (Cql, Arc<Rest>) {
    open_with(settings(), wall_ms).await
}

/// Another node of the same deployment.
pub(super) async fn open_beside(cql: &Cql) -> (Cql, Arc<Rest>) {
    let salt = cql.keys().0;
    open_with(CqlSettings { salt, ..settings() }, KEPT_MS).await
}

async fn open_with(settings: CqlSettings, wall_ms: UnixMs) -> (Cql, Arc<Rest>) {
    let clock = Arc::new(ManualClock::new(wall_ms));
    let cql = Cql::open(&settings, clock).await.unwrap();
    let rest = Arc::new(Rest::default());
    cql.plan(rest.clone());
    cql.tie(rest.clone());
    (cql, rest)
}

/// Inserts a message under each id.
pub(super) async fn insert_all(cql: &Cql, ids: &[Id]) {
    let all = ids.iter().map(|id| cql.insert(message(*id, "")));
    for inserted in futures::future::join_all(all).await {
        assert_eq!(inserted.unwrap(), Inserted::New);
    }
}

/// What pages show from the newest message back.
pub(super) async fn paged_back(cql: &Cql, limit: u32) -> Vec<Id> {
    let (mut back, mut anchor) = (Vec::new(), Anchor::Newest);
    loop {
        let page = cql.page(CHANNEL, anchor, limit).await.unwrap();
        anchor = Anchor::Before(page.messages[0].id);
        back.splice(0..0, page.messages.iter().map(|message| message.id));
        if !page.has_older {
            return back;
        }
    }
}

/// What pages show from the oldest message on.
pub(super) async fn paged_on(cql: &Cql, limit: u32) -> Vec<Id> {
    let (mut on, mut after) = (Vec::new(), 0);
    loop {
        let anchor = Anchor::After(after);
        let page = cql.page(CHANNEL, anchor, limit).await.unwrap();
        assert_eq!(page.has_older, after != 0);
        on.extend(page.messages.iter().map(|message| message.id));
        after = *on.last().unwrap();
        if !page.has_newer {
            return on;
        }
    }
}

pub(super) fn message(id: Id, nonce: &str) -> Message {
    Message {
        id,
        channel_id: CHANNEL,
        author_id: AUTHOR,
        content: format!("Message {id}"),
        nonce: nonce.into(),
        ..Message::default()
    }
}

/// An edit whose node read the row before another one deleted it, or before it was there.
async fn late_edit(cql: &Cql, id: Id, revision: i64) {
    let (link, key) = (cql.link(), cql.keys().key(CHANNEL));
    let none: Vec<Id> = Vec::new();
    let values = (
        stamp(revision),
        "late",
        none,
        0,
        revision,
        9_i64,
        key,
        Widths::default().bucket_of(id),
        id,
    );
    link.write(&link.statements.edit, values).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn pages_go_on_from_bucket_to_bucket() {
    let (cql, _) = open().await;
    let ids: Vec<Id> = (1..=60).map(|n| n * 7 * DAY + 5).collect();
    insert_all(&cql, &ids).await;
    for limit in [1, 7, 50] {
        assert_eq!(paged_back(&cql, limit).await, ids, "limit {limit}");
        assert_eq!(paged_on(&cql, limit).await, ids, "limit {limit}");
    }
    let around = cql.page(CHANNEL, Anchor::Around(ids[30]), 6).await.unwrap();
    let around: Vec<Id> = around.messages.iter().map(|message| message.id).collect();
    assert_eq!(around, ids[27..33]);
    assert_eq!(cql.newest(&[CHANNEL, 12]).await.unwrap(), [ids[59], 0]);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_reserved_message_that_comes_again_undoes_nothing() {
    let (cql, rest) = open().await;
    let first = message(ID, NONCE);
    for _ in 0..2 {
        let inserted = cql.insert_reserved(first.clone()).await.unwrap();
        assert_eq!(inserted, Inserted::New);
        assert_eq!(cql.get(CHANNEL, ID).await.unwrap(), Some(first.clone()));
    }
    let revision = ID + 5 * MS;
    let edit = cql.edit(
        CHANNEL,
        ID,
        "new".into(),
        Mentions::default(),
        (revision, 9),
    );
    let edited = edit.await.unwrap();
    assert!(edited.changed && edited.before == first && edited.now.content == "new");
    cql.insert_reserved(first.clone()).await.unwrap();
    assert_eq!(cql.get(CHANNEL, ID).await.unwrap(), Some(edited.now));
    let deleted = cql.delete(CHANNEL, ID, Some(ID + 6 * MS)).await.unwrap();
    cql.insert_reserved(first).await.unwrap();
    assert_eq!(cql.get(CHANNEL, ID).await.unwrap(), Some(deleted.now));
    assert_eq!(*rest.inserted.lock().unwrap(), [ID; 4]);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_late_edit_shows_nothing_of_what_is_deleted_or_not_there() {
    let (cql, _) = open().await;
    cql.insert(message(ID, "")).await.unwrap();
    cql.delete(CHANNEL, ID, Some(ID + 5 * MS)).await.unwrap();
    late_edit(&cql, ID, ID + 9 * MS).await;
    late_edit(&cql, ID + 1, ID + 9 * MS).await;
    let there = cql.get(CHANNEL, ID).await.unwrap().unwrap();
    assert!(there.deleted && there.content.is_empty() && there.mentions.is_empty());
    assert_eq!(cql.get(CHANNEL, ID + 1).await.unwrap(), None);
    let page = cql.page(CHANNEL, Anchor::Newest, 9).await.unwrap();
    assert_eq!((page.messages.len(), page.deleted_ids), (0, vec![ID]));
    assert_eq!(cql.newest(&[CHANNEL]).await.unwrap(), [ID]);
    let changed = cql.delete(CHANNEL, ID + 1, None).await;
    assert!(
        matches!(changed, Err(Error::NotFound("message"))),
        "{changed:?}"
    );
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_is_sealed_stays_deleted_though_it_comes_later() {
    let (cql, _) = open().await;
    let sealed = cql.seal(CHANNEL, ID, AUTHOR).await.unwrap();
    assert!(sealed.changed && crate::store::sends::is_sealed(&sealed.now));
    let late = Message {
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        mentions: vec![5],
        ..message(ID, NONCE)
    };
    assert_eq!(cql.insert_reserved(late).await.unwrap(), Inserted::New);
    let there = cql.get(CHANNEL, ID).await.unwrap().unwrap();
    assert!(crate::store::sends::is_sealed(&there) && there.content.is_empty());
    assert_eq!(there.author_id, AUTHOR);
    let again = cql.seal(CHANNEL, ID, AUTHOR).await.unwrap();
    assert_eq!((again.changed, again.now), (false, there));
    // One that somebody deleted keeps its revision.
    cql.insert(message(ID + 1, "")).await.unwrap();
    let deleted = cql.delete(CHANNEL, ID + 1, Some(ID + MS)).await.unwrap();
    let sealed = cql.seal(CHANNEL, ID + 1, AUTHOR).await.unwrap();
    assert_eq!((sealed.changed, sealed.now), (false, deleted.now));
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_nonce_is_named_anew_whatever_it_named() {
    let (cql, _) = open_at(id_time_ms(ID)).await;
    cql.insert_reserved(message(ID, NONCE)).await.unwrap();
    assert_eq!(cql.nonce(CHANNEL, AUTHOR, NONCE).await.unwrap(), Some(ID));
    assert_eq!(cql.nonce(CHANNEL, AUTHOR, "").await.unwrap(), None);
    let lower = ID - 9 * MS;
    cql.name(CHANNEL, AUTHOR, NONCE, lower).await.unwrap();
    assert_eq!(
        cql.nonce(CHANNEL, AUTHOR, NONCE).await.unwrap(),
        Some(lower)
    );
    let unwritten = cql.by_nonce(CHANNEL, AUTHOR, NONCE).await.unwrap();
    assert_eq!(unwritten, None, "there is no such message");
    // A repeat of the write that it replaced comes late.
    cql.insert_reserved(message(ID, NONCE)).await.unwrap();
    assert_eq!(
        cql.nonce(CHANNEL, AUTHOR, NONCE).await.unwrap(),
        Some(lower)
    );
    // A nonce that names nothing is taken over.
    let later = cql.insert(message(ID + 9 * MS, NONCE)).await.unwrap();
    assert_eq!(later, Inserted::New);
    let found = cql.by_nonce(CHANNEL, AUTHOR, NONCE).await.unwrap();
    assert_eq!(found.map(|message| message.id), Some(ID + 9 * MS));
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_channel_is_asked_for_once_until_it_is_forgotten() {
    let (cql, rest) = open().await;
    for id in [ID, ID + 1, ID + 20 * DAY] {
        cql.insert(message(id, "")).await.unwrap();
    }
    assert_eq!(rest.asked.load(Ordering::Relaxed), 1);
    assert_eq!(*rest.raised.lock().unwrap(), [ID, ID + 20 * DAY]);
    rest.gone.lock().unwrap().insert(CHANNEL);
    cql.forget(CHANNEL);
    let refused = cql.insert(message(ID + 2, NONCE)).await;
    assert!(
        matches!(refused, Err(Error::NotFound("channel"))),
        "{refused:?}"
    );
    assert_eq!(cql.get(CHANNEL, ID + 2).await.unwrap(), None);
    assert_eq!(cql.nonce(CHANNEL, AUTHOR, NONCE).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_channel_is_purged_step_by_step() {
    let (cql, _) = open().await;
    for n in 0..5 {
        cql.insert(message(ID + n * 20 * DAY, "")).await.unwrap();
    }
    assert!(cql.purge(CHANNEL, 2).await.unwrap());
    assert!(cql.purge(CHANNEL, 2).await.unwrap());
    assert!(!cql.purge(CHANNEL, 2).await.unwrap());
    let page = cql.page(CHANNEL, Anchor::Newest, 9).await.unwrap();
    assert_eq!(page, crate::store::Page::default());
    assert_eq!(cql.get(CHANNEL, ID).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn an_author_is_found_in_all_buckets_and_channels() {
    let (cql, _) = open().await;
    let mut expected = Vec::new();
    for channel in [CHANNEL, CHANNEL + 1] {
        for n in 0..6 {
            let row = Message {
                channel_id: channel,
                author_id: AUTHOR + n % 2,
                ..message(ID + n * 8 * DAY, "")
            };
            if row.author_id == AUTHOR {
                expected.push((channel, row.id));
            }
            cql.insert(row).await.unwrap();
        }
    }
    let (mut found, mut from) = (Vec::new(), Some((0, 0)));
    while let Some(after) = from {
        let step = cql.of_author(AUTHOR, after, 2).await.unwrap();
        assert!(step.found.len() <= 2);
        found.extend(step.found);
        from = step.next;
    }
    assert_eq!(found, expected);
    let newest = cql.newest_of_author(CHANNEL, AUTHOR, 0).await.unwrap();
    assert_eq!(newest, Some(ID + 32 * DAY));
    let none = cql
        .newest_of_author(CHANNEL, AUTHOR, ID + 32 * DAY)
        .await
        .unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_is_queued_is_written_before_it_closes() {
    let (cql, _) = open().await;
    let queued: Vec<_> = (0..500).map(|n| cql.insert(message(ID + n, ""))).collect();
    cql.close().await;
    for inserted in futures::future::join_all(queued).await {
        assert_eq!(inserted.unwrap(), Inserted::New);
    }
    let refused = cql.insert(message(ID + 500, "")).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn too_much_at_once_is_refused_and_the_rest_is_written() {
    let (cql, _) = open().await;
    let all = (0..6_000).map(|n| cql.insert_reserved(message(ID + n, "")));
    let all = futures::future::join_all(all.collect::<Vec<_>>()).await;
    let refused = all
        .iter()
        .filter(|end| matches!(end, Err(Error::Overloaded)))
        .count();
    let written = all
        .iter()
        .filter(|end| matches!(end, Ok(Inserted::New)))
        .count();
    assert!(refused > 0 && written >= 4_096, "{refused} {written}");
    assert_eq!(refused + written, all.len());
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_newer_schema_is_refused() {
    let settings = CqlSettings {
        keyspace: format!("chirm_test_{:x}", rand::random::<u32>()),
        ..settings()
    };
    let clock = || Arc::new(SystemClock::default());
    let cql = Cql::open(&settings, clock()).await.unwrap();
    cql.check().await.unwrap();
    cql.link()
        .run("INSERT INTO meta (name, value) VALUES ('schema', 99)")
        .await
        .unwrap();
    let Err(newer) = Cql::open(&settings, clock()).await else {
        panic!("it is opened");
    };
    let told = newer.to_string();
    assert!(
        matches!(newer, Error::Unusable(_)) && told.contains("schema 99"),
        "{told}"
    );
    let drop = format!("DROP KEYSPACE {}", settings.keyspace);
    cql.link().run(&drop).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let settings = CqlSettings {
        login: Some(("chirm".into(), "geheim".into())),
        ..CqlSettings::new(vec![address.clone()])
    };
    assert!(!format!("{settings:?}").contains("geheim"));
    let Err(error) = Cql::open(&settings, Arc::new(SystemClock::default())).await else {
        panic!("it is opened");
    };
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable(_)), "{told}");
    assert!(told.contains("CQL") && told.contains(&address), "{told}");
    assert!(!told.contains("geheim"), "{told}");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let good = CqlSettings::new(vec!["127.0.0.1:1".into()]);
    let name = |keyspace: &str| CqlSettings {
        keyspace: keyspace.into(),
        ..good.clone()
    };
    let datacenter = CqlSettings {
        replication: Replication::Datacenter("a'b".into(), 3),
        ..good.clone()
    };
    for bad in [
        CqlSettings::new(vec![]),
        name(""),
        name("Upper"),
        name("1st"),
        name("a; DROP"),
        datacenter,
    ] {
        let opened = Cql::open(&bad, Arc::new(SystemClock::default())).await;
        assert!(matches!(opened, Err(Error::Unusable(_))), "{bad:?}");
    }
}
