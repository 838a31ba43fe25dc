//! What happened after a position.

use super::*;
use crate::bus::Since;

const TOPIC: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Channel,
    id: 1,
};

/// The seqs after one, or None where they are gone.
async fn since(world: &World, epoch: i64, seq: i64) -> Option<Vec<i64>> {
    let since = world.bus.topics.since(TOPIC, Position { epoch, seq });
    match since.await.unwrap() {
        Since::Events(events) => Some(events.iter().map(|event| event.position.seq).collect()),
        Since::Gone => None,
    }
}

pub(crate) async fn since_is_complete_or_gone<P: Place>() {
    let kept = Kept {
        events: 5,
        ..Kept::default()
    };
    let world = World::with::<P>(kept, 0).await;
    let start = world.bus.topics.position(TOPIC).await.unwrap();
    assert_eq!(since(&world, start.epoch, 0).await, Some(vec![]));
    for _ in 0..8 {
        world.publish(TOPIC).await;
    }
    for seq in 0..=8 {
        let complete = (seq >= 3).then(|| (seq + 1..=8).collect());
        assert_eq!(since(&world, start.epoch, seq).await, complete, "{seq}");
    }
}

pub(crate) async fn a_position_of_another_epoch_or_of_the_future_is_gone<P: Place>() {
    let world = World::new::<P>().await;
    let at = world.publish(TOPIC).await;
    assert_eq!(since(&world, at.epoch, 2).await, None);
    assert_eq!(since(&world, at.epoch, i64::MAX).await, None);
    assert_eq!(since(&world, at.epoch, -1).await, None);
    assert_eq!(since(&world, at.epoch, i64::MIN).await, None);
    assert_eq!(since(&world, at.epoch ^ 1, 1).await, None);
    assert_eq!(since(&world, 0, 0).await, None);
}

pub(crate) async fn a_ring_keeps_so_many_bytes<P: Place>() {
    let world = World::with::<P>(Kept::default(), 0).await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    world.publish(TOPIC).await;
    let kept = Kept {
        bytes: 3 * next(&mut feed).await.frame.len() + 2,
        ..Kept::default()
    };
    let world = World::with::<P>(kept, 0).await;
    let start = world.bus.topics.position(TOPIC).await.unwrap();
    for _ in 0..8 {
        world.publish(TOPIC).await;
    }
    // An epoch's bytes are as many as its digits; two more or fewer change nothing here.
    assert_eq!(since(&world, start.epoch, 4).await, None);
    assert_eq!(since(&world, start.epoch, 6).await, Some(vec![7, 8]));
}

pub(crate) async fn a_ring_forgets_by_age<P: Place>() {
    let world = World::new::<P>().await;
    world.settle(TOPIC.id).await;
    let epoch = world.publish(TOPIC).await.epoch;
    world.advance(Duration::from_secs(400));
    world.publish(TOPIC).await;
    assert_eq!(since(&world, epoch, 0).await, Some(vec![1, 2]));
    world.advance(Duration::from_secs(201));
    assert_eq!(since(&world, epoch, 0).await, None);
    assert_eq!(since(&world, epoch, 1).await, Some(vec![2]));
    world.advance(Duration::from_secs(400));
    assert_eq!(since(&world, epoch, 1).await, None);
    // What is current is so at any age.
    assert_eq!(since(&world, epoch, 2).await, Some(vec![]));
}

pub(crate) async fn what_is_too_old_is_let_go_without_being_asked_for<P: Place>() {
    let world = World::new::<P>().await;
    world.settle(TOPIC.id).await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    world.publish(TOPIC).await;
    let event = Arc::downgrade(&next(&mut feed).await);
    world.advance(Duration::from_secs(599));
    world.bus.topics.trim().await.unwrap();
    let at = world.bus.topics.position(TOPIC).await.unwrap();
    assert_eq!(since(&world, at.epoch, 0).await, Some(vec![1]));
    world.advance(Duration::from_secs(2));
    world.bus.topics.trim().await.unwrap();
    // Whoever handed it out may be about to let go of it.
    let gone = async {
        while event.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
    gone.expect("nobody reads this topic");
    assert_eq!(world.bus.topics.position(TOPIC).await.unwrap(), at);
}
