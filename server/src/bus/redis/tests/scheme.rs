//! The rules of ADR 17, step by step; the time is the test's.

use super::node::*;
use super::settings;
use crate::bus::redis::RedisSettings;
use crate::bus::suite::{START, draft};
use crate::bus::{
    Draft, Error, Extent, Operation, OperationKind, Reserve, Reserved, Settled, Since, Ticket,
};
use crate::model::{Id, id_time_ms};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn nodes_share_nonces_and_events() {
    let settings = settings("CHIRM_TEST_REDIS");
    let (one, other) = (node_at(&settings).await, node_at(&settings).await);
    let (subscriber, mut feed) = other.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    let ticket = one.new_ticket().await;
    let existing = other.reserve(&asked()).await;
    let Reserved::Existing {
        id,
        content_hash,
        ticket: Some(again),
        published,
    } = existing
    else {
        panic!("{existing:?}")
    };
    assert_eq!((id, content_hash, published), (ticket.id, 3, false));
    assert_eq!(again, Ticket { began: 0, ..ticket });
    let at = one.publish(&send(ticket)).await.unwrap();
    assert_eq!(crate::bus::suite::next(&mut feed).await.position, at);
    assert_eq!(
        other.publish(&send(ticket)).await.unwrap(),
        at,
        "once is enough"
    );
    let Reserved::Existing { published, .. } = other.reserve(&asked()).await else {
        panic!("it is forgotten")
    };
    assert!(published);
    assert_eq!(other.bus.reservations.heard(CHANNEL), at.epoch);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_repeat_asks_the_store_and_keeps_its_id() {
    let node = node().await;
    let position = node.bus.topics.position(TOPIC).await.unwrap();
    let repeat = Reserve {
        repeat: true,
        heard: position.epoch,
        ..asked()
    };
    let existing = node.reserve_knowing(repeat, Some(77)).await;
    let Reserved::Existing {
        id: 77,
        ticket: Some(ticket),
        published: false,
        ..
    } = existing
    else {
        panic!("{existing:?}")
    };
    node.publish(&send(ticket)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_first_call_in_a_known_epoch_asks_nobody() {
    let node = node().await;
    let ticket = node.new_ticket().await;
    let other = Reserve {
        nonce: "m".into(),
        heard: ticket.epoch,
        ..asked()
    };
    let Reserved::New(next) = node.reserve(&other).await else {
        panic!("it asked")
    };
    assert!(next.id > ticket.id);
    let of_another = Reserve {
        nonce: "o".into(),
        heard: ticket.epoch ^ 1,
        ..asked()
    };
    assert_eq!(
        node.reserve(&of_another).await,
        Reserved::Look(ticket.epoch)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_is_refused_is_pending_and_settled() {
    let settings = settings("CHIRM_TEST_REDIS");
    let node = node_at(&settings).await;
    let ticket = node.new_ticket().await;
    node.forget(&settings).await;
    let refused = node.publish(&send(ticket)).await;
    assert!(matches!(refused, Err(Error::Refused)), "{refused:?}");
    assert!(node.overdue().await.is_empty(), "not yet");
    node.advance(8);
    let overdue = node.overdue().await;
    assert_eq!(overdue.len(), 1);
    assert_eq!(overdue[0].age, Duration::from_secs(8));
    assert_eq!(overdue[0].operation.message, ticket.id);
    assert_ne!(overdue[0].operation.epoch, ticket.epoch);
    assert!(node.overdue().await.is_empty(), "it is lent");
    let settled = node.settle(&overdue[0], false, Some(ticket.id)).await;
    assert!(
        matches!(settled, Settled::Published(at) if at.seq == 1),
        "{settled:?}"
    );
    node.advance(60);
    assert!(node.overdue().await.is_empty(), "it has ended");
}

/// The first call, which wrote nothing, ends after its repeat began.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_a_repeat_goes_on_with_is_not_given_back() {
    let node = node_at(&settings("CHIRM_TEST_REDIS")).await;
    let first = node.new_ticket().await;
    let Reserved::Existing {
        id,
        ticket: Some(repeat),
        published: false,
        ..
    } = node.reserve(&asked()).await
    else {
        panic!("the nonce isn't held")
    };
    assert_eq!(id, first.id);
    // Neither can be sure that the other one writes nothing.
    for ticket in [first, repeat] {
        node.bus.reservations.release(&send(ticket)).await;
    }
    let at = node.publish(&send(repeat)).await.unwrap();
    assert_eq!(at.seq, 1, "it is told");
    assert_eq!(node.publish(&send(first)).await.unwrap(), at, "once");
}

/// What was given back and is published all the same is nobody's nonce: the sweeper sees to it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_was_given_back_is_not_acknowledged_untold() {
    let node = node_at(&settings("CHIRM_TEST_REDIS")).await;
    let first = node.new_ticket().await;
    node.bus.reservations.release(&send(first)).await;
    let refused = node.publish(&send(first)).await;
    assert!(matches!(refused, Err(Error::Refused)), "{refused:?}");
    node.advance(8);
    let overdue = node.overdue().await;
    assert_eq!(overdue.len(), 1);
    let settled = node.settle(&overdue[0], false, Some(first.id)).await;
    assert!(
        matches!(settled, Settled::Published(at) if at.seq == 1),
        "{settled:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_duplicate_is_found_and_told_as_deleted() {
    let settings = settings("CHIRM_TEST_REDIS");
    let node = node_at(&settings).await;
    let first = node.new_ticket().await;
    node.forget(&settings).await;
    let second = node.new_ticket().await;
    assert!(second.id > first.id);
    assert!(node.publish(&send(first)).await.is_err());
    node.publish(&send(second)).await.unwrap();
    node.advance(8);
    let overdue = node.overdue().await;
    let [duplicate] = overdue.as_slice() else {
        panic!("{overdue:?}")
    };
    assert_eq!(
        node.settle(duplicate, false, Some(first.id)).await,
        Settled::Taken(second.id)
    );
    node.advance(8);
    let again = node.overdue().await;
    let settled = node.settle(&again[0], true, None).await;
    assert!(matches!(settled, Settled::Published(_)), "{settled:?}");
    node.advance(60);
    assert!(node.overdue().await.is_empty());
}

/// The bus knows nobody who has the nonce: the one that its row names has it, and is pending.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn the_nonces_row_says_who_has_it() {
    let settings = settings("CHIRM_TEST_REDIS");
    let node = node_at(&settings).await;
    let ticket = node.new_ticket().await;
    node.forget(&settings).await;
    assert!(node.publish(&send(ticket)).await.is_err());
    node.advance(8);
    let overdue = node.overdue().await;
    let named = node.settle(&overdue[0], false, Some(99)).await;
    assert_eq!(named, Settled::Taken(99));
    node.advance(8);
    let overdue = node.overdue().await;
    let ids: Vec<Id> = overdue
        .iter()
        .map(|overdue| overdue.operation.message)
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&99));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn the_deleted_is_told_only_as_deleted() {
    let node = node().await;
    let ticket = node.new_ticket().await;
    let edit = node.revise(OperationKind::Edit, ticket.id).await;
    let delete = node.revise(OperationKind::Delete, ticket.id).await;
    for late in [
        send(ticket),
        operation(OperationKind::Edit, ticket.id, edit.id, edit.epoch),
    ] {
        let told = node.publish(&late).await;
        assert!(matches!(told, Err(Error::Deleted)), "{told:?}");
    }
    let delete = operation(OperationKind::Delete, ticket.id, delete.id, delete.epoch);
    let told = node
        .bus
        .topics
        .publish(telling(&delete, true))
        .await
        .unwrap();
    assert_eq!(told.seq, 1);
    node.advance(60);
    assert!(node.overdue().await.is_empty());
}

/// Also what isn't reserved (a deletion of many) marks what it deletes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_delete_marks_when_it_is_published() {
    let settings = settings("CHIRM_TEST_REDIS");
    let node = node_at(&settings).await;
    let ticket = node.new_ticket().await;
    let unreserved = Draft {
        operation: None,
        ..telling(&send(ticket), true)
    };
    node.bus.topics.publish(unreserved).await.unwrap();
    let told = node.publish(&send(ticket)).await;
    assert!(matches!(told, Err(Error::Deleted)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn who_was_frozen_publishes_nothing() {
    let node = node().await;
    let ticket = node.new_ticket().await;
    node.advance(11);
    let told = node.publish(&send(ticket)).await;
    assert!(matches!(told, Err(Error::Refused)), "{told:?}");
    let overdue = node.overdue().await;
    assert_eq!(overdue.len(), 1);
    node.bus.pending.give_up(&overdue[0]).await.unwrap();
    let told = node.publish(&send(ticket)).await;
    assert!(matches!(told, Err(Error::Deleted)), "{told:?}");
    let next = Reserve {
        heard: ticket.epoch,
        ..asked()
    };
    assert!(
        matches!(node.reserve(&next).await, Reserved::New(_)),
        "the nonce is given back"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_new_epoch_has_a_second_gap() {
    let settings = settings("CHIRM_TEST_REDIS");
    let node = node_at(&settings).await;
    let (subscriber, mut feed) = node.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    let at = node.bus.topics.publish(draft(TOPIC)).await.unwrap();
    node.advance(11);
    let now = node.bus.topics.position(TOPIC).await.unwrap();
    assert_eq!(now, at.next());
    let since = node.bus.topics.since(TOPIC, at).await.unwrap();
    assert!(matches!(since, Since::Gone));
    while !matches!(feed.recv().await, Some(crate::bus::Delivery::Dirty(_))) {}
    node.advance(60);
    assert_eq!(node.bus.topics.position(TOPIC).await.unwrap(), now, "once");
}

/// Its ids keep no distance from the clock either: there is nothing that they could meet.
async fn begins_without_waiting(settings: &RedisSettings) {
    let node = node_of(settings, true).await;
    let first = node.new_ticket().await;
    assert_eq!(id_time_ms(first.id), START);
    let at = node.bus.topics.publish(draft(TOPIC)).await.unwrap();
    node.advance(11);
    assert_eq!(node.bus.topics.position(TOPIC).await.unwrap(), at);
    // Whoever finds a deployment that is there leaves it.
    let other = node_of(settings, true).await;
    assert_eq!(other.bus.topics.position(TOPIC).await.unwrap(), at);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_new_deployment_waits_for_nothing() {
    begins_without_waiting(&settings("CHIRM_TEST_REDIS")).await;
    begins_without_waiting(&settings("CHIRM_TEST_REDIS_CLUSTER")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn ids_of_a_new_epoch_begin_above_all_of_before() {
    let settings = settings("CHIRM_TEST_REDIS");
    let node = node_at(&settings).await;
    let before = node.new_ticket().await;
    node.forget(&settings).await;
    let other = node_at(&settings).await;
    let after = other.new_ticket().await;
    assert_ne!(before.epoch, after.epoch);
    let answering = Reserve {
        nonce: "far".into(),
        heard: after.epoch,
        above: after.id + (60_000 << 22),
        ..asked()
    };
    let far = other.bus.reservations.reserve(answering).await;
    assert!(matches!(far, Err(Error::Overloaded)), "{far:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_is_pending_is_not_settled() {
    const OTHER: Id = CHANNEL + 1;
    let settings = settings("CHIRM_TEST_REDIS");
    let node = node_at(&settings).await;
    let settled = async |channel| node.bus.reservations.settled(channel).await.unwrap();
    assert_eq!(
        settled(CHANNEL).await,
        Extent::Unknown,
        "what was in flight may come"
    );
    settled(OTHER).await;
    node.advance(10);
    let idle = settled(CHANNEL).await;
    assert!(matches!(idle, Extent::Idle(_)), "{idle:?}");
    let first = node.new_ticket().await;
    assert_eq!(settled(CHANNEL).await, Extent::Upto(first.id - 1));
    let other = Reserve {
        nonce: "other".into(),
        heard: first.epoch,
        ..asked()
    };
    let Reserved::New(second) = node.reserve(&other).await else {
        panic!("it isn't new")
    };
    node.publish(&Operation {
        nonce: "other".into(),
        ..send(second)
    })
    .await
    .unwrap();
    assert_eq!(
        settled(CHANNEL).await,
        Extent::Upto(first.id - 1),
        "the first is late"
    );
    let idle = settled(OTHER).await;
    assert!(matches!(idle, Extent::Idle(_)), "{idle:?}");
    node.publish(&send(first)).await.unwrap();
    assert_eq!(settled(CHANNEL).await, Extent::Upto(second.id));
    node.forget(&settings).await;
    assert_eq!(settled(CHANNEL).await, Extent::Unknown);
}
