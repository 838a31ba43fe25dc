//! Positions, and who hears of what.

use super::*;
use crate::bus::{Transient, TransientKind};
use std::collections::BTreeMap;

const TOPIC: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Channel,
    id: 1,
};

pub(crate) async fn a_topic_keeps_its_epoch_from_before_its_first_event<P: Place>() {
    let world = World::new::<P>().await;
    let start = world.bus.topics.position(TOPIC).await.unwrap();
    assert_eq!(start.seq, 0);
    assert!(start.epoch > 0);
    assert_eq!(world.publish(TOPIC).await, start.next());
    let now = world.bus.topics.position(TOPIC).await.unwrap();
    assert_eq!(now, start.next());
}

pub(crate) async fn positions_rise_by_one_and_are_delivered_in_order<P: Place>() {
    let world = World::new::<P>().await;
    world.publish(TOPIC).await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    let mut at = subscriber.subscribe(TOPIC).await.unwrap();
    assert_eq!(at.seq, 1);
    for _ in 0..20 {
        at = at.next();
        assert_eq!(world.publish(TOPIC).await, at);
    }
    for seq in 2..=21 {
        assert_eq!(next(&mut feed).await.position.seq, seq);
    }
}

pub(crate) async fn of_many_who_publish_at_once_each_has_a_position<P: Place>() {
    let world = World::new::<P>().await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    let publishing = (0..4).map(|_| {
        let topics = world.bus.topics.clone();
        tokio::spawn(async move {
            let mut positions = Vec::new();
            for _ in 0..100 {
                positions.push(topics.publish(draft(TOPIC)).await.unwrap().seq);
            }
            positions
        })
    });
    let mut positions = Vec::new();
    for one in futures::future::join_all(publishing).await {
        let one = one.unwrap();
        assert!(one.is_sorted());
        positions.extend(one);
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=400).collect::<Vec<_>>());
    for seq in 1..=400 {
        assert_eq!(next(&mut feed).await.position.seq, seq);
    }
}

pub(crate) async fn who_subscribes_twice_hears_once<P: Place>() {
    let world = World::new::<P>().await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    subscriber.subscribe(TOPIC).await.unwrap();
    world.publish(TOPIC).await;
    world.publish(TOPIC).await;
    assert_eq!(next(&mut feed).await.position.seq, 1);
    assert_eq!(next(&mut feed).await.position.seq, 2);
}

pub(crate) async fn subscribers_hear_of_their_own_topics<P: Place>() {
    let world = World::new::<P>().await;
    let (one, mut ones) = world.bus.topics.subscriber();
    let (other, mut others) = world.bus.topics.subscriber();
    let topics = [TopicKey::channel(1), TopicKey::channel(2)];
    one.subscribe(topics[0]).await.unwrap();
    other.subscribe(topics[0]).await.unwrap();
    other.subscribe(topics[1]).await.unwrap();
    other.unsubscribe(topics[0]);
    for topic in topics {
        world.publish(topic).await;
    }
    assert_eq!(next(&mut ones).await.topic, topics[0]);
    // Events that were under way at its end may still have come; none was.
    assert_eq!(next(&mut others).await.topic, topics[1]);
    let again = other.subscribe(topics[0]).await.unwrap();
    assert_eq!(again.seq, 1);
    world.publish(topics[0]).await;
    assert_eq!(next(&mut others).await.position, again.next());
}

pub(crate) async fn an_event_has_the_bytes_that_it_was_published_with<P: Place>() {
    let world = World::new::<P>().await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    let payload = crate::frames::encode_body(&crate::model::EventBody::ChannelDeleted(7));
    let told = Draft {
        payload: payload.clone(),
        signal: Signal::Recheck,
        message_id: 9,
        ..draft(TOPIC)
    };
    let position = world.bus.topics.publish(told).await.unwrap();
    let event = next(&mut feed).await;
    let frame = crate::frames::event_frame(TOPIC, position, &payload);
    assert_eq!(event.frame, frame);
    assert_eq!((event.topic, event.message_id), (TOPIC, 9));
    assert!(matches!(event.signal, Signal::Recheck));
}

pub(crate) async fn what_is_announced_has_no_position<P: Place>() {
    let world = World::new::<P>().await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    let at = subscriber.subscribe(TOPIC).await.unwrap();
    let (_silent, mut nothing) = world.bus.topics.subscriber();
    let transient = Transient {
        channel: TOPIC.id,
        kind: TransientKind::Typing,
        frame: Bytes::from_static(b"typing"),
    };
    world.bus.topics.announce(transient).await.unwrap();
    let Some(Delivery::Transient(heard)) = feed.recv().await else {
        panic!("not announced")
    };
    assert_eq!(heard.frame, b"typing".as_slice());
    assert_eq!(world.bus.topics.position(TOPIC).await.unwrap(), at);
    assert!(nothing.try_recv().is_err());
}

/// Of each topic every event comes, or it is said to be dirty; then the next ones come again.
pub(crate) async fn what_a_full_feed_lost_is_told<P: Place>() {
    let world = World::new::<P>().await;
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    let topics = [1, 2, 3].map(TopicKey::channel);
    let mut last = BTreeMap::new();
    for topic in topics {
        let at = subscriber.subscribe(topic).await.unwrap();
        last.insert(topic, at.seq);
    }
    // Whoever subscribes later hears later.
    let (witness, mut witnessed) = world.bus.topics.subscriber();
    for topic in topics {
        witness.subscribe(topic).await.unwrap();
    }
    let mut published = 0;
    while feed.len() == published * topics.len() {
        futures::future::join_all(topics.map(|topic| world.publish(topic))).await;
        for _ in topics {
            next(&mut witnessed).await;
        }
        published += 1;
    }
    let mut dirty = Vec::new();
    let complete = |last: &BTreeMap<TopicKey, i64>, dirty: &[TopicKey]| {
        let all = |topic| last[topic] == published as i64 || dirty.contains(topic);
        topics.iter().all(all)
    };
    while !complete(&last, &dirty) {
        match feed.recv().await.unwrap() {
            Delivery::Event(event) => {
                let before = last.insert(event.topic, event.position.seq);
                assert_eq!(before, Some(event.position.seq - 1));
            }
            Delivery::Dirty(topic) => dirty.push(topic),
            Delivery::Transient(_) => panic!("nothing was announced"),
        }
    }
    assert!(!dirty.is_empty(), "the feed was full");
    while feed.try_recv().is_ok() {}
    let at = world.publish(TOPIC).await;
    // Of one overflow it may be told more than once.
    let heard = loop {
        if let Delivery::Event(event) = feed.recv().await.unwrap() {
            break event;
        }
    };
    assert_eq!(heard.position, at);
}

pub(crate) async fn a_subscriber_that_is_gone_stops_nobody<P: Place>() {
    let world = World::new::<P>().await;
    let (gone, feed) = world.bus.topics.subscriber();
    gone.subscribe(TOPIC).await.unwrap();
    drop(feed);
    let (subscriber, mut feed) = world.bus.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    world.publish(TOPIC).await;
    let at = world.publish(TOPIC).await;
    assert_eq!(at.seq, 2);
    assert_eq!(next(&mut feed).await.position.seq, 1);
    assert_eq!(next(&mut feed).await.position.seq, 2);
}

pub(crate) async fn a_lost_memory_is_another_epoch<P: Place>() {
    let world = World::new::<P>().await;
    let before = world.publish(TOPIC).await;
    let world = World::new::<P>().await;
    let after = world.bus.topics.position(TOPIC).await.unwrap();
    assert_ne!(before.epoch, after.epoch);
    let since = world.bus.topics.since(TOPIC, before).await.unwrap();
    assert!(matches!(since, crate::bus::Since::Gone));
}
