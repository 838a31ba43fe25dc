//! The contract suite, and what is the local bus's alone.

use super::{LocalTopics, RingLimits};
use crate::bus::suite::{GRACE, Kept, Opened, Place, draft};
use crate::bus::{Since, Topics as _};
use crate::clock::ManualClock;
use crate::model::{Id, TopicKey};
use std::sync::Arc;
use std::time::Duration;

struct Local;

impl Place for Local {
    async fn open(kept: Kept, highest: Id, clock: Arc<ManualClock>) -> Opened {
        let Kept { events, bytes, age } = kept;
        let limits = RingLimits {
            events,
            bytes,
            age,
            ..RingLimits::default()
        };
        let topics = LocalTopics::new(limits, clock.clone());
        Opened {
            relay: Arc::new(topics.clone()),
            handle: super::open(topics, highest, GRACE, clock),
        }
    }
}

/// Remembers 64 topics.
fn of_64() -> (LocalTopics, Arc<ManualClock>) {
    let limits = RingLimits {
        topics: 64,
        ..RingLimits::default()
    };
    let clock = Arc::new(ManualClock::new(0));
    (LocalTopics::new(limits, clock.clone()), clock)
}

/// One topic after the other is used.
async fn use_others(topics: &LocalTopics, clock: &ManualClock) {
    for id in 2..2_000 {
        clock.advance(Duration::from_millis(1));
        topics.publish(draft(TopicKey::channel(id))).await.unwrap();
    }
}

mod suite {
    use super::Local;
    use crate::bus::suite::contract_suite;
    contract_suite!(Local);
}

#[tokio::test]
async fn a_forgotten_topic_has_another_epoch() {
    let (topics, clock) = of_64();
    let first = topics.publish(draft(TopicKey::channel(1))).await.unwrap();
    use_others(&topics, &clock).await;
    let again = topics.position(TopicKey::channel(1)).await.unwrap();
    assert_ne!(first.epoch, again.epoch);
    let since = topics.since(TopicKey::channel(1), first).await.unwrap();
    assert!(matches!(since, Since::Gone));
}

#[tokio::test]
async fn a_topic_with_subscribers_is_not_forgotten() {
    let (topics, clock) = of_64();
    let (subscriber, _feed) = topics.subscriber();
    let first = subscriber.subscribe(TopicKey::channel(1)).await.unwrap();
    use_others(&topics, &clock).await;
    let again = topics.position(TopicKey::channel(1)).await.unwrap();
    assert_eq!(first, again);
}
