//! On a real server: buckets that change their width.

use super::tests::*;
use super::widths::hour_of;
use super::*;
use crate::store::{Anchor, Inserted};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const HOUR: Id = DAY / 24;

/// Midnights from `ID` on.
fn midnight(days: Id) -> i32 {
    hour_of(ID) / 24 * 24 + days as i32 * 24
}

/// A message every five hours of twenty days, in buckets of ten days, of a day, of an hour, and of
/// ten days again.
async fn spread(cql: &Cql, rest: &Rest) -> Vec<Id> {
    let decided = [(midnight(4), 24), (midnight(8), 1), (midnight(12), 240)];
    *rest.widths.lock().unwrap() = decided.into();
    let ids: Vec<Id> = (0..96).map(|n| ID + n * 5 * HOUR).collect();
    insert_all(cql, &ids).await;
    ids
}

async fn noted(cql: &Cql) -> Vec<i32> {
    cql.buckets(CHANNEL, true, 0, 1_000).await.unwrap()
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn pages_go_on_where_buckets_change_their_width() {
    let (cql, rest) = open().await;
    let ids = spread(&cql, &rest).await;
    let buckets = noted(&cql).await;
    let of_hours = buckets
        .iter()
        .filter(|b| (midnight(8)..midnight(12)).contains(b));
    assert_eq!(
        of_hours.count(),
        19,
        "one for each message there: {buckets:?}"
    );
    assert!(buckets.contains(&midnight(5)) && buckets.contains(&midnight(12)));
    for limit in [1, 7, 50] {
        assert_eq!(paged_back(&cql, limit).await, ids, "limit {limit}");
        assert_eq!(paged_on(&cql, limit).await, ids, "limit {limit}");
    }
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_message_is_found_and_changed_whatever_the_width() {
    let (cql, rest) = open().await;
    let ids = spread(&cql, &rest).await;
    // Another node, which knows nothing yet.
    let (other, its) = open_beside(&cql).await;
    *its.widths.lock().unwrap() = rest.widths.lock().unwrap().clone();
    for id in &ids {
        assert_eq!(other.get(CHANNEL, *id).await.unwrap().unwrap().id, *id);
        let deleted = other.delete(CHANNEL, *id, None).await.unwrap();
        assert!(deleted.changed);
        assert!(cql.get(CHANNEL, *id).await.unwrap().unwrap().deleted);
    }
    let author = message(ID, "").author_id;
    assert_eq!(
        cql.newest_of_author(CHANNEL, author, ids[40])
            .await
            .unwrap(),
        Some(ids[95])
    );
    let wrote = cql.of_author(author, (0, 0), 1_000).await.unwrap();
    assert_eq!((wrote.found, wrote.next), (Vec::new(), None));
    let page = cql.page(CHANNEL, Anchor::Newest, 100).await.unwrap();
    assert_eq!((page.messages.len(), page.deleted_ids), (0, ids));
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn widths_are_read_again_before_others_could_begin() {
    let (cql, rest) = open_at(id_time_ms(ID)).await;
    let asked = || rest.widths_asked.load(Ordering::Relaxed);
    for id in [ID, ID + 1, ID + 5 * HOUR] {
        cql.insert(message(id, "")).await.unwrap();
    }
    assert_eq!(asked(), 1);
    // Read again, it is as good as new; who can't read it goes on while nothing else can begin.
    rest.broken.store(true, Ordering::Relaxed);
    cql.insert(message(ID + 7 * HOUR, "")).await.unwrap();
    cql.insert(message(ID + 7 * HOUR + 1, "")).await.unwrap();
    assert_eq!(asked(), 2, "the second one waits for its turn to ask");
    for hours in [23, 400] {
        let refused = cql.insert(message(ID + hours * HOUR, "")).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    rest.broken.store(false, Ordering::Relaxed);
    let refused = cql.insert(message(ID + 24 * HOUR, "")).await;
    assert!(
        matches!(refused, Err(Error::Unavailable(_))),
        "its clock stands still: {refused:?}"
    );
    // Who reads what can't be there asks once in a while.
    let before = asked();
    for n in 0..20 {
        assert_eq!(cql.get(CHANNEL, Id::MAX - n).await.unwrap(), None);
    }
    assert!(asked() <= before + 1);
    assert_eq!(noted(&cql).await.len(), 1);
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_channel_with_many_messages_gets_narrower_buckets() {
    let (cql, rest) = open_at(id_time_ms(ID)).await;
    // 6,000 an hour: looked at each hour, it shows once so many as are looked at are of few hours.
    let id = |n: Id| ID + n * (HOUR / 6_000);
    for many in (0..26_000).collect::<Vec<Id>>().chunks(1_000) {
        let all = many
            .iter()
            .map(|n| cql.insert_reserved(message(id(*n), "")));
        for inserted in futures::future::join_all(all.collect::<Vec<_>>()).await {
            assert_eq!(inserted.unwrap(), Inserted::New);
        }
    }
    let decided = async {
        while rest.widths.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let decided = timeout(Duration::from_secs(20), decided).await;
    decided.expect("nobody decides");
    assert_eq!(*rest.widths.lock().unwrap(), [(midnight(2), 24)]);
    let widths = cql.widths(CHANNEL, id(26_000)).await.unwrap();
    let again = cql.consider(CHANNEL, id(26_000), &widths).await.unwrap();
    assert_eq!(again, None, "what is decided is still to begin");
    // Two days on nobody writes any more.
    let widths = Widths::new(vec![(midnight(0), 24)]);
    let calm = cql.consider(CHANNEL, ID + 2 * DAY, &widths).await.unwrap();
    assert_eq!(calm, Some(240));
}
