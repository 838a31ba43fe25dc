//! Marks and webhooks of two nodes that work on one store at once.

use super::Schema;
use crate::model::{Id, Message, Webhook, WebhookEvent};
use crate::store::postgres::{Postgres, Turn};
use crate::store::suite::*;
use crate::store::{Error, Marks, Messages, Reactor, Upkeep, Webhooks};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A world, and another node of its store.
pub(super) async fn two() -> (World<Schema>, Postgres) {
    let world = World::<Schema>::new().await;
    let other = world.place.store(world.relay.clone(), world.clock.clone());
    let other = other.await;
    (world, other)
}

pub(super) async fn close(world: World<Schema>, other: Postgres) {
    other.close().await;
    world.store.close().await;
}

fn reactor(message_id: Id, user_id: Id, emoji: &str) -> Reactor {
    Reactor {
        channel_id: CHANNEL,
        message_id,
        user_id,
        emoji: emoji.into(),
    }
}

/// Of all.
async fn number(store: &Postgres, statement: &'static str) -> i64 {
    let number = sqlx::query_scalar(statement).fetch_one(&store.pool);
    number.await.unwrap()
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn nodes_make_what_is_missing_one_after_the_other() {
    let schema = Schema::fresh();
    let first = Turn::take(&schema.settings()).await.unwrap();
    let settings = schema.settings();
    let second = tokio::spawn(async move { Turn::take(&settings).await });
    sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished(), "two have the turn");
    drop(first);
    let second = timeout(DEADLINE, second).await;
    second.expect("nobody gets the turn").unwrap().unwrap();
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn reactions_on_two_nodes_are_counted_right() {
    let (world, other) = two().await;
    world.write(100).await;
    let changes = (1000..1030).flat_map(|user| {
        let here = world.store.react(reactor(100, user, "a"), true);
        let there = other.react(reactor(100, user, "a"), true);
        [here, there]
    });
    let tallies = join_all(changes.collect::<Vec<_>>()).await;
    let changed = tallies
        .into_iter()
        .filter(|tally| tally.as_ref().unwrap().changed);
    assert_eq!(changed.count(), 30, "each user reacted once");
    for store in [world.store.get(CHANNEL, 100), other.get(CHANNEL, 100)] {
        let message = store.await.unwrap().unwrap();
        let [kind] = message.reactions.as_slice() else {
            panic!("{message:?}");
        };
        assert_eq!(kind.count, 30);
        let reactors = other.reactors(kind.kind, 0, 999).await.unwrap();
        assert_eq!(reactors, [], "they have no accounts");
    }
    close(world, other).await;
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn bounds_hold_for_two_nodes_together() {
    let (world, other) = two().await;
    for id in 100..160 {
        world.write(id).await;
    }
    let here = (0..15).map(|n| world.store.react(reactor(100, 1, &format!("h{n}")), true));
    let there = (0..15).map(|n| other.react(reactor(100, 1, &format!("t{n}")), true));
    let reacted = join_all(here.chain(there).collect::<Vec<_>>()).await;
    assert_eq!(reacted.iter().filter(|tally| tally.is_ok()).count(), 20);
    let refused = |e: &Error| matches!(e, Error::LimitReached("reactions", 20));
    assert!(
        reacted
            .into_iter()
            .filter_map(Result::err)
            .all(|e| refused(&e))
    );

    let here = (100..130).map(|id| world.store.pin(CHANNEL, id, 1, id));
    let there = (130..160).map(|id| other.pin(CHANNEL, id, 1, id));
    let pinned = join_all(here.chain(there).collect::<Vec<_>>()).await;
    assert_eq!(pinned.iter().filter(|pinned| pinned.is_ok()).count(), 50);
    let refused = |e: &Error| matches!(e, Error::LimitReached("pins", 50));
    assert!(
        pinned
            .into_iter()
            .filter_map(Result::err)
            .all(|e| refused(&e))
    );
    assert_eq!(other.pins(CHANNEL, Id::MAX, 99).await.unwrap().len(), 50);
    close(world, other).await;
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn pins_stand_in_the_order_in_which_they_were_queued() {
    let (world, other) = two().await;
    let ids: Vec<Id> = (100..140).collect();
    for id in &ids {
        world.write(*id).await;
    }
    let pinned = ids.iter().map(|id| world.store.pin(CHANNEL, *id, 1, 1));
    for pinned in join_all(pinned.collect::<Vec<_>>()).await {
        assert!(pinned.unwrap());
    }
    let pins = other.pins(CHANNEL, Id::MAX, 50).await.unwrap();
    let pins: Vec<Id> = pins.iter().rev().map(|pin| pin.message.id).collect();
    assert_eq!(pins, ids);
    close(world, other).await;
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn marks_that_race_a_delete_on_another_node_leave_nothing() {
    let (world, other) = two().await;
    for id in 100..130 {
        world.write(id).await;
        let late = async {
            // From well before the delete to after it.
            sleep(Duration::from_millis((id % 10).unsigned_abs())).await;
            other.delete(CHANNEL, id, id + 1, None).await.unwrap();
        };
        let reacted = world.store.react(reactor(id, 1, "a"), true);
        let pinned = world.store.pin(CHANNEL, id, 1, id);
        let (reacted, pinned, ()) = tokio::join!(reacted, pinned, late);
        for refused in [reacted.map(drop), pinned.map(drop)] {
            let fits = matches!(refused, Ok(()) | Err(Error::NotFound("message")));
            assert!(fits, "{refused:?}");
        }
    }
    let kinds = "SELECT count(*) FROM reaction_kinds WHERE NOT gone";
    assert_eq!(number(&other, kinds).await, 0);
    assert_eq!(number(&other, "SELECT count(*) FROM pins").await, 0);
    assert_eq!(other.reactions_of(1, 0, 99).await.unwrap(), []);
    close(world, other).await;
}

fn webhook(id: Id, events: WebhookEvent) -> Webhook {
    Webhook {
        id,
        server_id: SERVER,
        creator_id: OWNER,
        url: "https://example.com".into(),
        events: events.bit(),
        enabled: true,
        disabled_reason: String::new(),
        key: vec![7; 32],
        previous_key: vec![],
        rotated_at: 0,
        created_at: 1,
        queued: 0,
        dropped: 0,
    }
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_another_node_asks_for_is_soon_queued() {
    let (world, other) = two().await;
    let made = webhook(500, WebhookEvent::MessageCreated);
    other.create_webhook(made, None, 9).await.unwrap();
    let queued = async {
        for id in 100.. {
            world.write(id).await;
            if other.backlog().await.unwrap().0 > 0 {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(DEADLINE, queued).await.unwrap();
    close(world, other).await;
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_message_that_is_told_again_is_queued_once() {
    let (world, other) = two().await;
    let made = webhook(500, WebhookEvent::MessageCreated);
    world.store.create_webhook(made, None, 9).await.unwrap();
    let message: Message = world.write(100).await;
    for _ in 0..2 {
        world.store.complete(&message).await.unwrap();
    }
    assert_eq!(other.backlog().await.unwrap().0, 1);
    close(world, other).await;
}

/// Both nodes queue for one webhook, while what is queued is taken: no count is lost, and none of a
/// lane is queued below what was taken of it.
#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_two_nodes_queue_is_taken_in_the_order_of_ids() {
    let (world, other) = two().await;
    let made = webhook(500, WebhookEvent::MessageCreated);
    other.create_webhook(made.clone(), None, 9).await.unwrap();
    // So that this node knows, too.
    world.store.update_webhook(made).await.unwrap();
    let written = async {
        for id in 0..30 {
            let here = world
                .store
                .insert(message(CHANNEL, 1000 + 2 * id, OWNER, ""));
            let there = other.insert(message(CHANNEL, 1001 + 2 * id, OWNER, ""));
            let (here, there) = tokio::join!(here, there);
            here.unwrap();
            there.unwrap();
        }
    };
    let taken = async {
        let (mut taken, mut last) = (0, 0);
        while taken < 60 {
            for event in other.due_events(500, Id::MAX, 9).await.unwrap() {
                assert!(event.id > last, "{event:?} after {last}");
                (taken, last) = (taken + 1, event.id);
                let settled = vec![(event, crate::store::Settlement::Done)];
                other.settle(settled, 9).await.unwrap();
            }
        }
    };
    timeout(DEADLINE, async { tokio::join!(written, taken) })
        .await
        .unwrap();
    let webhook = other.webhook(500).await.unwrap().unwrap();
    assert_eq!((webhook.queued, webhook.dropped), (0, 0));
    assert_eq!(
        number(&other, "SELECT count(*) FROM webhook_lanes").await,
        0
    );
    close(world, other).await;
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_stood_on_messages_of_a_channel_is_removed_after_it() {
    let (world, other) = two().await;
    world.write(100).await;
    let reacted = world.store.react(reactor(100, 1, "a"), true);
    reacted.await.unwrap();
    assert!(world.store.pin(CHANNEL, 100, 1, 100).await.unwrap());
    let deleted = world.store.delete_channel(CHANNEL, vec![], None);
    deleted.await.unwrap();
    let left = "SELECT (SELECT count(*) FROM purges) + (SELECT count(*) FROM reactions)
                + (SELECT count(*) FROM reaction_kinds) + (SELECT count(*) FROM pins)";
    let removed = async {
        while number(&other, left).await > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(DEADLINE, removed).await.unwrap();
    assert_eq!(other.messages.get(CHANNEL, 100).await.unwrap(), None);
    close(world, other).await;
}
