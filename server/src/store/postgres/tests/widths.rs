//! How wide the buckets of a channel are in CQL, as Postgres keeps it.

use super::nodes::{close, two};
use super::*;
use crate::model::{Id, SNOWFLAKE_EPOCH_MS, UnixMs};
use crate::store::cql::Widths;
use crate::store::postgres::widths::plans;

const HOUR_MS: i64 = 3_600_000;
const DAY: i32 = 24;

fn hour_of(ms: UnixMs) -> i32 {
    i32::try_from((ms - SNOWFLAKE_EPOCH_MS) / HOUR_MS).unwrap()
}

/// As if all that was decided had begun so many hours earlier.
async fn pass(node: &Postgres, hours: i32) {
    let passed = sqlx::query("UPDATE channel_widths SET begins = begins - $1").bind(hours);
    passed.execute(&node.pool).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_width_is_decided_once_and_a_day_ahead() {
    let (world, node) = two().await;
    let plans = plans(&node.pool);
    let (widths, before) = plans.widths(CHANNEL).await.unwrap();
    assert_eq!(widths, Widths::default());
    let both = tokio::join!(plans.decide(CHANNEL, 24), plans.decide(CHANNEL, 1));
    let decided = [both.0.unwrap(), both.1.unwrap()];
    assert!(decided[0].is_some() != decided[1].is_some(), "{decided:?}");
    let begins = decided[0].or(decided[1]).unwrap();
    let hours = if decided[0].is_some() { 24 } else { 1 };
    let (widths, after) = plans.widths(CHANNEL).await.unwrap();
    assert_eq!(widths, Widths::new(vec![(begins, hours)]));
    assert!(begins % DAY == 0 && begins > hour_of(before) + DAY - 1);
    assert!(begins <= hour_of(after) + 2 * DAY);
    assert_eq!(
        plans.decide(CHANNEL, 240).await.unwrap(),
        None,
        "it is still to begin"
    );
    close(world, node).await;
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn buckets_get_wider_again_after_ten_days() {
    let (world, node) = two().await;
    let plans = plans(&node.pool);
    let decide = |hours| plans.decide(CHANNEL, hours);
    assert!(decide(24).await.unwrap().is_some());
    pass(&node, 3 * DAY).await;
    assert_eq!(
        decide(240).await.unwrap(),
        None,
        "they have been narrow for a day or two"
    );
    assert!(decide(1).await.unwrap().is_some());
    pass(&node, 13 * DAY).await;
    assert!(decide(240).await.unwrap().is_some());
    assert_eq!(plans.widths(CHANNEL).await.unwrap().0.last(), 240);
    close(world, node).await;
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn no_width_is_decided_for_ids_that_were_given_out_or_a_channel_that_is_gone() {
    let (world, node) = two().await;
    let plans = plans(&node.pool);
    assert_eq!(plans.decide(99, 24).await.unwrap(), None);
    let (_, now) = plans.widths(CHANNEL).await.unwrap();
    let high =
        |id: Id| sqlx::query("UPDATE meta SET value = $1 WHERE name = 'high_water'").bind(id);
    let ahead = crate::model::id_before(now + 3 * 24 * HOUR_MS);
    high(ahead).execute(&node.pool).await.unwrap();
    assert_eq!(plans.decide(CHANNEL, 24).await.unwrap(), None);
    high(crate::model::id_before(now))
        .execute(&node.pool)
        .await
        .unwrap();
    assert!(plans.decide(CHANNEL, 24).await.unwrap().is_some());
    world
        .store
        .delete_channel(CHANNEL, vec![], None)
        .await
        .unwrap();
    assert_eq!(plans.widths(CHANNEL).await.unwrap().0, Widths::default());
    close(world, node).await;
}
