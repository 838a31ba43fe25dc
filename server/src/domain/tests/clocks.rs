//! Clocks that are wrong.

use super::*;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn a_clock_set_back_stops_no_sends() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let (_, channel) = world.server(&ann, &[]).await;
    let first = world.send(&ann, channel, "one").await.unwrap();
    world.clock.set_wall_ms(world.clock.wall_ms() - DAY_MS);
    let second = world.send(&ann, channel, "two").await.unwrap();
    assert!(second > first);
    let page = world
        .domain
        .list_messages(&ann, channel, store::Anchor::Newest, 0);
    let ids: Vec<Id> = page
        .await
        .unwrap()
        .0
        .messages
        .iter()
        .map(|m| m.id)
        .collect();
    assert_eq!(ids, [first, second]);
}

#[tokio::test]
async fn ids_go_on_above_the_highest_after_a_restart_with_a_clock_set_back() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let (_, channel) = world.server(&ann, &[]).await;
    let first = world.send(&ann, channel, "one").await.unwrap();
    world.domain.watch_ids();
    assert!(!world.domain.ids_ahead.load(Ordering::Relaxed));

    world.clock.set_wall_ms(world.clock.wall_ms() - DAY_MS);
    let world = world.restart().await;
    let second = world.send(&ann, channel, "two").await.unwrap();
    assert!(second > first);
    world.domain.watch_ids();
    assert!(world.domain.ids_ahead.load(Ordering::Relaxed), "it is told");

    world.clock.advance(2 * DAY);
    let third = world.send(&ann, channel, "three").await.unwrap();
    assert!(third > second);
    assert!(crate::model::id_time_ms(third) >= world.clock.wall_ms());
    world.domain.watch_ids();
    assert!(
        !world.domain.ids_ahead.load(Ordering::Relaxed),
        "the clock caught up"
    );
}
