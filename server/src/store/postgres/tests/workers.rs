//! Leases of worker numbers.

use super::*;
use crate::clock::ManualClock;
use futures::future::join_all;
use std::collections::BTreeSet;

async fn run(store: &Postgres, statement: &'static str) {
    sqlx::query(statement).execute(&store.pool).await.unwrap();
}

async fn store(schema: &Schema) -> Postgres {
    let clock = Arc::new(SystemClock::default());
    schema.store(Arc::new(Recorder::default()), clock).await
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn no_two_nodes_have_one_number() {
    let schema = Schema::fresh();
    let store = store(&schema).await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
    let leases = join_all((0..30).map(|_| store.lease_worker(clock.clone()))).await;
    let numbers: BTreeSet<u16> = leases
        .iter()
        .map(|lease| lease.as_ref().unwrap().worker())
        .collect();
    assert_eq!(numbers.len(), 30);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_lease_is_usable_for_half_of_its_time_and_over_with_the_next_one() {
    let schema = Schema::fresh();
    let store = store(&schema).await;
    run(
        &store,
        "UPDATE workers SET until = 'infinity' WHERE id <> 7",
    )
    .await;
    let clock = Arc::new(ManualClock::new(0));
    let lease = store.lease_worker(clock.clone()).await.unwrap();
    assert_eq!(lease.worker(), 7);
    let none = store.lease_worker(clock.clone()).await.err();
    assert!(
        matches!(none, Some(Error::LimitReached("workers", 1024))),
        "{none:?}"
    );

    let began = lease.now_ms();
    clock.advance(Duration::from_millis(14_999));
    assert!(lease.usable());
    assert_eq!(lease.now_ms(), began + 14_999);
    clock.advance(Duration::from_millis(1));
    assert!(!lease.usable());
    lease.renew().await.unwrap();
    assert!(lease.usable());

    // Over, and nobody came: it is still the holder's. Then somebody does.
    run(&store, "UPDATE workers SET until = 'epoch' WHERE id = 7").await;
    lease.renew().await.unwrap();
    run(
        &store,
        "UPDATE workers SET until = 'epoch', high_water = 0 WHERE id = 7",
    )
    .await;
    let next = store.lease_worker(clock.clone()).await.unwrap();
    assert_eq!(next.worker(), 7);
    let lost = lease.renew().await;
    assert!(matches!(lost, Err(Error::Conflict("worker"))), "{lost:?}");
    assert!(!lease.usable() && next.usable());
    lease.give_back(0).await.unwrap();
    next.renew().await.unwrap();

    next.give_back(0).await.unwrap();
    assert!(!next.usable() && next.renew().await.is_err());
    assert_eq!(store.lease_worker(clock).await.unwrap().worker(), 7);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn times_that_were_used_are_waited_out() {
    let schema = Schema::fresh();
    let store = store(&schema).await;
    run(
        &store,
        "UPDATE workers SET until = 'infinity' WHERE id <> 7",
    )
    .await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let lease = store.lease_worker(clock.clone()).await.unwrap();
    let used = lease.now_ms() + 1_500;
    lease.give_back(used).await.unwrap();
    let lease = store.lease_worker(clock.clone()).await.unwrap();
    assert!(lease.now_ms() > used && lease.usable());

    // While it is held, what may have been used lies ahead: a clock that is set back is noticed.
    let ahead: i64 = sqlx::query_scalar("SELECT high_water FROM workers WHERE id = 7")
        .fetch_one(&store.pool)
        .await
        .unwrap();
    assert!(ahead > lease.now_ms());

    lease.give_back(lease.now_ms() + 3_600_000).await.unwrap();
    let refused = store.lease_worker(clock).await.err();
    let says = |what| matches!(&refused, Some(Error::Unavailable(text)) if text.contains(what));
    assert!(says("Postgres's clock"), "{refused:?}");
}
