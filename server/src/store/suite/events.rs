//! Sentences about the positions and events of servers' and users' topics, and about upkeep.

use super::*;
use crate::frames;
use crate::model::{Position, Signal};
use crate::store::Error;
use futures::future::join_all;
use std::time::Duration;

const TOPIC: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Server,
    id: SERVER,
};

/// A change with an event, numbered by the channel that it names.
async fn publish<P>(world: &World<P>, number: Id) {
    let server = server(SERVER, OWNER);
    let update = world
        .store
        .update_server(server, vec![event(TOPIC, number)], None);
    update.await.unwrap();
}

pub(crate) async fn positions_rise_by_one_and_are_relayed_in_order<P: Place>() {
    let world = World::<P>::new().await;
    let before = world.store.topic_position(TOPIC).await.unwrap();
    assert!(before.epoch > 0 && before.seq == 0);
    join_all((1..=50).map(|number| publish(&world, number))).await;
    let user = TopicKey::user(OWNER);
    let both = vec![event(user, 51), event(TOPIC, 51), event(user, 52)];
    let update = world.store.update_server(server(SERVER, OWNER), both, None);
    update.await.unwrap();
    let events = world.relay.events();
    for (topic, last) in [(TOPIC, 51), (user, 2)] {
        let of = events.iter().filter(|event| event.topic == topic);
        let seqs: Vec<i64> = of.map(|event| event.position.seq).collect();
        assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
        let position = world.store.topic_position(topic).await.unwrap();
        assert_eq!((position.epoch, position.seq), (before.epoch, last));
    }
    assert!(
        events
            .iter()
            .all(|event| event.position.epoch == before.epoch)
    );
}

pub(crate) async fn a_refused_change_has_no_events<P: Place>() {
    let world = World::<P>::new().await;
    let gone = world
        .store
        .update_server(server(99, OWNER), vec![event(TOPIC, 1)], None);
    let (gone, ()) = tokio::join!(gone, publish(&world, 2));
    assert!(matches!(gone, Err(Error::NotFound("server"))), "{gone:?}");
    let none = world
        .store
        .remove_member(SERVER, 77, vec![event(TOPIC, 3)], None);
    assert!(!none.await.unwrap());
    let events = world.relay.events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].payload,
        frames::encode_body(&event(TOPIC, 2).body)
    );
    assert_eq!(world.store.topic_position(TOPIC).await.unwrap().seq, 1);
}

pub(crate) async fn events_after_a_position_are_all_there_or_none<P: Place>() {
    let world = World::<P>::new().await;
    let start = world.store.topic_position(TOPIC).await.unwrap();
    for number in 1..=3 {
        publish(&world, number).await;
    }
    let revoked = NewEvent {
        topic: TOPIC,
        body: EventBody::SessionRevoked(77),
    };
    let update = world
        .store
        .update_server(server(SERVER, OWNER), vec![revoked], None);
    update.await.unwrap();
    let since = async |epoch, seq| {
        let position = Position { epoch, seq };
        world.store.topic_since(TOPIC, position).await.unwrap()
    };
    let all = since(start.epoch, 0).await.unwrap();
    let relayed = world.relay.events();
    assert_eq!(all.len(), 4);
    for (stored, relayed) in all.iter().zip(&relayed) {
        assert_eq!(stored.topic, relayed.topic);
        assert_eq!(stored.position, relayed.position);
        assert_eq!(stored.payload, relayed.payload);
        assert_eq!(stored.signal, relayed.signal);
    }
    assert_eq!(
        (all[0].signal, all[3].signal),
        (Signal::Recheck, Signal::Revoked(77))
    );
    assert_eq!(since(start.epoch, 3).await.unwrap().len(), 1);
    assert_eq!(since(start.epoch, 4).await.unwrap().len(), 0);
    assert!(since(start.epoch, 5).await.is_none());
    assert!(since(start.epoch, -1).await.is_none());
    assert!(since(start.epoch ^ 2, 3).await.is_none());
}

pub(crate) async fn a_topic_keeps_a_thousand_events<P: Place>() {
    let world = World::<P>::new().await;
    let many = |from: Id| {
        (from..from + 501)
            .map(|number| event(TOPIC, number))
            .collect()
    };
    for from in [1, 502] {
        let update = world
            .store
            .update_server(server(SERVER, OWNER), many(from), None);
        update.await.unwrap();
    }
    let now = world.store.topic_position(TOPIC).await.unwrap();
    assert_eq!(now.seq, 1002);
    let since = |seq| world.store.topic_since(TOPIC, Position { seq, ..now });
    assert_eq!(
        since(2).await.unwrap().map(|events| events.len()),
        Some(1000)
    );
    assert!(since(1).await.unwrap().is_none());
}

pub(crate) async fn old_events_are_trimmed<P: Place>() {
    let world = World::<P>::new().await;
    publish(&world, 1).await;
    let start = Position {
        seq: 0,
        ..world.store.topic_position(TOPIC).await.unwrap()
    };
    world.clock.advance(Duration::from_secs(599));
    world.store.trim(world.clock.wall_ms()).await.unwrap();
    assert!(
        world
            .store
            .topic_since(TOPIC, start)
            .await
            .unwrap()
            .is_some()
    );
    world.clock.advance(Duration::from_secs(2));
    world.store.trim(world.clock.wall_ms()).await.unwrap();
    assert!(
        world
            .store
            .topic_since(TOPIC, start)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(world.store.topic_position(TOPIC).await.unwrap().seq, 1);
}

pub(crate) async fn positions_outlive_a_restart<P: Place>() {
    let mut world = World::<P>::new().await;
    publish(&world, 1).await;
    let before = world.store.topic_position(TOPIC).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.topic_position(TOPIC).await.unwrap(), before);
    publish(&world, 2).await;
    let after = world
        .store
        .topic_since(TOPIC, before)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(after[0].position, before.next());
}

pub(crate) async fn snapshots_carry_their_position<P: Place>() {
    let world = World::<P>::new().await;
    publish(&world, 1).await;
    let private = Channel {
        member_ids: vec![OWNER],
        ..channel(50, SERVER, ChannelType::Private)
    };
    let direct = direct(51, &[OWNER, 2]);
    for made in [private.clone(), direct.clone()] {
        let events = vec![event(TopicKey::user(OWNER), made.id)];
        world
            .store
            .create_channel(made, OWNER, None, 9, events, None)
            .await
            .unwrap();
    }
    let snapshot = world.store.server_snapshot(SERVER).await.unwrap().unwrap();
    assert_eq!(snapshot.position.seq, 1);
    assert_eq!(snapshot.server, server(SERVER, OWNER));
    let general = channel(CHANNEL, SERVER, ChannelType::Text);
    assert_eq!(snapshot.channels, [general, private.clone()]);
    let snapshot = world.store.user_snapshot(OWNER).await.unwrap().unwrap();
    assert_eq!(snapshot.position.seq, 2);
    assert_eq!(snapshot.user, account(OWNER).user);
    assert_eq!(snapshot.servers, [(SERVER, Role::Owner)]);
    assert_eq!(snapshot.channels, [private, direct]);
    assert!(world.store.server_snapshot(99).await.unwrap().is_none());
    assert!(world.store.user_snapshot(99).await.unwrap().is_none());
}

pub(crate) async fn a_closed_store_refuses<P: Place>() {
    let world = World::<P>::new().await;
    world.store.close().await;
    world.store.close().await;
    let write = world.store.insert(message(CHANNEL, 100, OWNER, "")).await;
    assert!(matches!(write, Err(Error::Unavailable(_))), "{write:?}");
    let read = world.store.get(CHANNEL, 100).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(world.store.check().await.is_err());
}

pub(crate) async fn the_check_writes<P: Place>() {
    let world = World::<P>::new().await;
    world.store.check().await.unwrap();
    world.store.check().await.unwrap();
}
