//! What changes do when others get in their way, and when the connection goes.

use super::*;
use crate::model::{Id, TopicKey, TopicKind};
use crate::store::{NewEvent, Outbox, OutboxEvent};
use bytes::Bytes;
use futures::future::join_all;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::time::timeout;

const TOPIC: TopicKey = TopicKey {
    kind: TopicKind::Server,
    id: SERVER,
};

async fn store(schema: &Schema, relay: &Arc<Recorder>) -> Postgres {
    let clock = Arc::new(SystemClock::default());
    schema.store(relay.clone(), clock).await
}

fn events(numbers: std::ops::RangeInclusive<i64>) -> Vec<NewEvent> {
    numbers.map(|number| event(TOPIC, number)).collect()
}

fn seqs(events: &[OutboxEvent]) -> Vec<i64> {
    events.iter().map(|event| event.position.seq).collect()
}

/// Waits until so many events were relayed.
async fn relayed(relay: &Recorder, count: usize) -> Vec<OutboxEvent> {
    let wait = async {
        while relay.events().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        relay.events()
    };
    let told = timeout(Duration::from_secs(30), wait).await;
    told.expect("all events are relayed")
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn nodes_number_events_together() {
    let schema = Schema::fresh();
    let relays = [(); 3].map(|()| Arc::new(Recorder::default()));
    let stores = join_all(relays.iter().map(|relay| store(&schema, relay))).await;
    let user = TopicKey::user(OWNER);
    // In either order of the topics: nobody waits for nobody.
    let append = |number: usize| {
        let mut both = vec![event(TOPIC, number as i64), event(user, number as i64)];
        if number.is_multiple_of(2) {
            both.reverse();
        }
        stores[number % 3].append(both)
    };
    for appended in join_all((0..90).map(append)).await {
        appended.unwrap();
    }
    for topic in [TOPIC, user] {
        let mut all = Vec::new();
        for relay in &relays {
            let events = relay.events();
            let own: Vec<_> = events.into_iter().filter(|e| e.topic == topic).collect();
            assert!(seqs(&own).is_sorted(), "each node keeps the order");
            all.extend(seqs(&own));
        }
        all.sort_unstable();
        assert_eq!(all, (1..=90).collect::<Vec<_>>());
        let position = stores[0].topic_position(topic).await.unwrap();
        assert_eq!(position.seq, 90);
    }
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_change_that_is_broken_off_for_another_is_run_again() {
    let schema = Schema::fresh();
    let relay = Arc::new(Recorder::default());
    let store = store(&schema, &relay).await;
    let (runs, both) = (Arc::new(AtomicU32::new(0)), Arc::new(Barrier::new(2)));
    // Two locks in opposite orders, both held before either asks for the other.
    let change = |first: i64, second: i64| {
        let (runs, both) = (runs.clone(), both.clone());
        store.change(move |tx| {
            Box::pin(async move {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                let lock = "UPDATE workers SET high_water = high_water + 1 WHERE id = $1";
                for (index, id) in [first, second].into_iter().enumerate() {
                    let lock = sqlx::query(lock).bind(id);
                    lock.execute(&mut *tx.connection).await?;
                    if index == 0 && run < 2 {
                        both.wait().await;
                    }
                }
                tx.tell(vec![event(TOPIC, first)]);
                Ok(())
            })
        })
    };
    let (one, other) = tokio::join!(change(1, 2), change(2, 1));
    one.unwrap();
    other.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    assert_eq!(seqs(&relay.events()), [1, 2]);
    let sum: i64 = sqlx::query_scalar("SELECT sum(high_water)::bigint FROM workers")
        .fetch_one(&store.pool)
        .await
        .unwrap();
    assert_eq!(sum, 4, "what was broken off left nothing");
}

/// When the COMMIT of an event comes by: cut the connection, before or after it gets to Postgres.
const PASS: u8 = 0;
const CUT_BEFORE: u8 = 1;
const CUT_AFTER: u8 = 2;

/// Passes on bytes between the store and Postgres.
struct Proxy {
    address: String,
    next: Arc<AtomicU8>,
}

/// What a statement holds that stores the event of this number: what the store does in the
/// background isn't cut.
fn stored(number: Id) -> Bytes {
    crate::frames::encode_body(&event(TOPIC, number).body)
}

/// The first events of the changes that are cut.
const CUT: [Id; 2] = [1, 2];

impl Proxy {
    async fn to(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let next = Arc::new(AtomicU8::new(PASS));
        let armed = next.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(pass(client, server, armed.clone()));
            }
        });
        Proxy { address, next }
    }
}

/// Passes on until either side ends, or the armed cut comes.
async fn pass(mut client: TcpStream, mut server: TcpStream, next: Arc<AtomicU8>) {
    let (mut asked, mut answered) = ([0; 65536], [0; 65536]);
    let cut = CUT.map(stored);
    let mut tells = false;
    loop {
        let passed = tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let has = |wanted: &[u8]| asked[..read].windows(wanted.len()).any(|b| b == wanted);
                tells |= cut.iter().any(|event| has(event));
                let commits = has(b"COMMIT\0") && std::mem::replace(&mut tells, false);
                match if commits { next.swap(PASS, Ordering::SeqCst) } else { PASS } {
                    CUT_BEFORE => return,
                    CUT_AFTER => {
                        server.write_all(&asked[..read]).await.unwrap();
                        // Its answer: it took hold.
                        assert_ne!(server.read(&mut answered).await.unwrap(), 0);
                        return;
                    }
                    _ => server.write_all(&asked[..read]).await,
                }
            }
            read = server.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                client.write_all(&answered[..read]).await
            }
        };
        if passed.is_err() {
            return;
        }
    }
}

/// A store whose way to Postgres can be cut.
async fn behind_a_proxy(schema: &Schema, relay: &Arc<Recorder>) -> (Postgres, Proxy) {
    schema.make().await;
    let url = schema.url();
    let place = url.split(['@', '/']).nth(3).unwrap();
    let proxy = Proxy::to(place.to_owned()).await;
    let settings = PostgresSettings {
        url: url.replace(place, &proxy.address) + "&sslmode=disable",
        ..schema.settings()
    };
    let clock = Arc::new(SystemClock::default());
    let messages = schema.messages(clock.clone()).await;
    let store = Postgres::open(&settings, messages, relay.clone(), clock).await;
    (store.unwrap(), proxy)
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_was_committed_unanswered_is_relayed_all_the_same() {
    let schema = Schema::fresh();
    let relay = Arc::new(Recorder::default());
    let (store, proxy) = behind_a_proxy(&schema, &relay).await;
    store.append(events(1..=1)).await.unwrap();
    proxy.next.store(CUT_AFTER, Ordering::SeqCst);
    let unknown = store.append(events(2..=3)).await;
    assert!(matches!(unknown, Err(Error::Unavailable(_))), "{unknown:?}");
    // What comes after it is told after it.
    store.append(events(4..=4)).await.unwrap();
    let told = relayed(&relay, 4).await;
    assert_eq!(seqs(&told), [1, 2, 3, 4]);
    for (number, told) in (1..).zip(&told) {
        assert_eq!(told.payload, stored(number));
    }
    assert_eq!(store.topic_position(TOPIC).await.unwrap().seq, 4);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_was_never_committed_is_not_relayed() {
    let schema = Schema::fresh();
    let relay = Arc::new(Recorder::default());
    let (store, proxy) = behind_a_proxy(&schema, &relay).await;
    proxy.next.store(CUT_BEFORE, Ordering::SeqCst);
    let unknown = store.append(events(1..=2)).await;
    assert!(matches!(unknown, Err(Error::Unavailable(_))), "{unknown:?}");
    store.append(events(3..=3)).await.unwrap();
    let told = relayed(&relay, 1).await;
    assert_eq!(seqs(&told), [1]);
    assert_eq!(told[0].payload, stored(3));
    assert_eq!(store.topic_position(TOPIC).await.unwrap().seq, 1);
}

/// As if a caller had gone before its BEGIN was answered: sqlx knows of no transaction.
#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_transaction_that_nobody_knows_of_ends_with_its_use() {
    let schema = Schema::fresh();
    let store = schema
        .store(
            Arc::new(Recorder::default()),
            Arc::new(SystemClock::default()),
        )
        .await;
    let mut connection = store.pool.acquire().await.unwrap();
    let own = "SELECT pg_backend_pid()";
    let pid: i32 = sqlx::query_scalar(own)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    sqlx::raw_sql("BEGIN READ ONLY")
        .execute(&mut *connection)
        .await
        .unwrap();
    let state = async || -> String {
        let asked = sqlx::query_scalar("SELECT state FROM pg_stat_activity WHERE pid = $1");
        asked.bind(pid).fetch_one(&store.pool).await.unwrap()
    };
    assert_eq!(state().await, "idle in transaction");
    drop(connection);
    let ended = async {
        while state().await == "idle in transaction" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), ended).await.unwrap();
}
