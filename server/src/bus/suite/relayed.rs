//! Topics whose events the store numbers.

use super::*;
use crate::bus::Since;
use crate::store::OutboxEvent;

const TOPIC: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Server,
    id: 1,
};

/// Relays events, and waits until the last one is there.
async fn relay(world: &World, epoch: i64, seqs: &[i64]) {
    let event = |seq: &i64| OutboxEvent {
        topic: TOPIC,
        position: Position { epoch, seq: *seq },
        payload: Bytes::new(),
        signal: Signal::None,
    };
    world.relay.relay(seqs.iter().map(event).collect());
    let last = Position {
        epoch,
        seq: seqs[seqs.len() - 1],
    };
    let carried = async {
        while world.bus.topics.position(TOPIC).await.unwrap() != last {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let deadline = Duration::from_secs(60);
    tokio::time::timeout(deadline, carried)
        .await
        .expect("not carried");
}

/// The seqs after one, or None where they are gone.
async fn since(world: &World, epoch: i64, seq: i64) -> Option<Vec<i64>> {
    let since = world.bus.topics.since(TOPIC, Position { epoch, seq });
    match since.await.unwrap() {
        Since::Events(events) => Some(events.iter().map(|event| event.position.seq).collect()),
        Since::Gone => None,
    }
}

pub(crate) async fn relayed_events_keep_their_positions<P: Place>() {
    let world = World::new::<P>().await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    relay(&world, 7, &[41, 42]).await;
    relay(&world, 7, &[43]).await;
    for seq in 41..=43 {
        let position = Position { epoch: 7, seq };
        assert_eq!(next(&mut feed).await.position, position);
    }
    assert_eq!(since(&world, 7, 40).await, Some(vec![41, 42, 43]));
    assert_eq!(since(&world, 7, 43).await, Some(vec![]));
    assert_eq!(since(&world, 7, 39).await, None);
}

/// A commit of which nobody can say whether it happened isn't relayed, and may have happened.
pub(crate) async fn relayed_events_that_never_came_are_no_part_of_a_ring<P: Place>() {
    let world = World::new::<P>().await;
    relay(&world, 7, &[1, 2, 4, 5]).await;
    for seq in 0..3 {
        assert_eq!(since(&world, 7, seq).await, None, "{seq}");
    }
    assert_eq!(since(&world, 7, 3).await, Some(vec![4, 5]));
    assert_eq!(since(&world, 7, 4).await, Some(vec![5]));
    let now = world.bus.topics.position(TOPIC).await.unwrap();
    assert_eq!(now, Position { epoch: 7, seq: 5 });
}

pub(crate) async fn a_relayed_topic_takes_on_the_epoch_of_its_events<P: Place>() {
    let world = World::new::<P>().await;
    relay(&world, 7, &[1, 2]).await;
    relay(&world, 8, &[3, 4]).await;
    assert_eq!(since(&world, 7, 1).await, None);
    assert_eq!(since(&world, 8, 1).await, None);
    assert_eq!(since(&world, 8, 2).await, Some(vec![3, 4]));
}
