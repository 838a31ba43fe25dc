//! The contract of [`crate::bus`], run on the local bus.

use super::{LocalReservations, LocalSessions, LocalTopics, RingLimits};
use crate::bus::{
    Cached, Delivery, Draft, Reservations, Reserve, Reserved, SessionCache, Since, Topics,
};
use crate::model::{Position, SNOWFLAKE_EPOCH_MS, Session, SessionKind, Signal, TopicKey};
use bytes::Bytes;
use std::sync::Arc;

fn draft(topic: TopicKey) -> Draft {
    Draft {
        topic,
        payload: Bytes::new(),
        signal: Signal::None,
        message_id: 0,
    }
}

fn small() -> LocalTopics {
    LocalTopics::new(RingLimits {
        events: 5,
        topics: 64,
        ..RingLimits::default()
    })
}

#[tokio::test]
async fn a_subscriber_gets_each_event_once_in_order() {
    let topics = small();
    let topic = TopicKey::channel(1);
    topics.publish(draft(topic)).await.unwrap();
    let (subscriber, mut feed) = topics.subscriber();
    let at = subscriber.subscribe(topic).await.unwrap();
    assert_eq!(at.seq, 1);
    for seq in 2..=20 {
        let position = topics.publish(draft(topic)).await.unwrap();
        assert_eq!(
            position,
            Position {
                epoch: at.epoch,
                seq
            }
        );
        let Delivery::Event(event) = feed.recv().await.unwrap() else {
            panic!()
        };
        assert_eq!(event.position, position);
    }
    subscriber.unsubscribe(topic);
    topics.publish(draft(topic)).await.unwrap();
    assert!(feed.try_recv().is_err());
}

#[tokio::test]
async fn since_is_complete_or_gone() {
    let topics = small();
    let topic = TopicKey::channel(1);
    let start = topics.position(topic).await.unwrap();
    for _ in 0..8 {
        topics.publish(draft(topic)).await.unwrap();
    }
    for seq in 0..=10 {
        let since = topics
            .since(
                topic,
                Position {
                    epoch: start.epoch,
                    seq,
                },
            )
            .await
            .unwrap();
        match since {
            Since::Events(events) => {
                assert!(
                    (3..=8).contains(&seq),
                    "complete only within the ring: {seq}"
                );
                let seqs: Vec<i64> = events.iter().map(|e| e.position.seq).collect();
                assert_eq!(seqs, (seq + 1..=8).collect::<Vec<_>>());
            }
            Since::Gone => assert!(!(3..=8).contains(&seq), "{seq}"),
        }
    }
    let other = Position {
        epoch: start.epoch ^ 1,
        seq: 8,
    };
    assert!(matches!(
        topics.since(topic, other).await.unwrap(),
        Since::Gone
    ));
}

#[tokio::test]
async fn a_forgotten_topic_has_another_epoch() {
    let topics = small();
    let first = topics.publish(draft(TopicKey::channel(1))).await.unwrap();
    for id in 2..2_000 {
        topics.publish(draft(TopicKey::channel(id))).await.unwrap();
    }
    let again = topics.position(TopicKey::channel(1)).await.unwrap();
    assert_ne!(first.epoch, again.epoch);
    let since = topics.since(TopicKey::channel(1), first).await.unwrap();
    assert!(matches!(since, Since::Gone));
}

#[tokio::test]
async fn a_nonce_has_one_id() {
    let reservations = LocalReservations::new(0, Arc::new(|| SNOWFLAKE_EPOCH_MS + 5_000));
    let reserve = Reserve {
        channel: 1,
        author: 2,
        nonce: "n".into(),
        content_hash: 3,
        above: 0,
    };
    let Reserved::New(id) = reservations.reserve(reserve.clone()).await.unwrap() else {
        panic!()
    };
    let again = reservations.reserve(reserve.clone()).await.unwrap();
    assert_eq!(
        again,
        Reserved::Existing {
            id,
            content_hash: 3
        }
    );
    reservations.release(1, 2, "n").await;
    let Reserved::New(other) = reservations.reserve(reserve).await.unwrap() else {
        panic!()
    };
    assert!(other > id);
}

#[tokio::test]
async fn ids_never_run_far_ahead_of_the_clock() {
    let far = (10_000i64) << 22;
    let reservations = LocalReservations::new(far, Arc::new(|| SNOWFLAKE_EPOCH_MS + 5_000));
    assert!(reservations.mint(0).is_err());
}

#[tokio::test]
async fn an_ended_session_stays_ended() {
    let cache = LocalSessions::new();
    let session = Arc::new(Session {
        id: 1,
        user_id: 2,
        kind: SessionKind::User,
        name: String::new(),
        access_hash: [0; 32],
        access_expires_at: 0,
        refresh_family_hash: [0; 32],
        refresh_hash: [0; 32],
        refresh_expires_at: 0,
        previous_refresh_hash: [0; 32],
        refreshed_at: 0,
        created_at: 0,
        last_seen_at: 0,
    });
    cache.put(session.clone(), 0).await;
    assert!(matches!(cache.get(1, 24_000).await, Cached::Valid(_)));
    assert!(matches!(cache.get(1, 26_000).await, Cached::Unknown));
    cache.revoke(1, 30_000).await;
    cache.put(session, 31_000).await;
    assert!(matches!(cache.get(1, 32_000).await, Cached::Revoked));
}
