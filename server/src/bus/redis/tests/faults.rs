//! What becomes of links, servers and memories that fail.

use super::server::{DEADLINE, Link, Own, Way, settings_at};
use super::watch::Watch;
use super::{node, refusal, secret, settings};
use crate::bus::redis::RedisSettings;
use crate::bus::suite::draft;
use crate::bus::{Error, Since};
use crate::model::{Position, Signal, TopicKey};
use crate::store::OutboxEvent;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const TOPIC: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Channel,
    id: 1,
};

impl Watch {
    /// A node that is subscribed to a topic.
    async fn new(settings: &RedisSettings, topic: TopicKey) -> Watch {
        Watch::on(node(settings, 1).await, topic).await
    }

    /// Publishes as soon as that can be done.
    async fn publish(&self) -> Position {
        let publishing = async {
            loop {
                match self.topics().publish(draft(TOPIC)).await {
                    Ok(position) => return position,
                    Err(Error::Unavailable(_)) => sleep(Duration::from_millis(50)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(DEADLINE, publishing)
            .await
            .expect("nothing can be published")
    }

    /// The number of events after a position, as soon as that can be told; None: gone.
    async fn since(&self, position: Position) -> Option<usize> {
        let asking = async {
            loop {
                match self.topics().since(TOPIC, position).await {
                    Ok(Since::Events(events)) => return Some(events.len()),
                    Ok(Since::Gone) => return None,
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        timeout(DEADLINE, asking).await.expect("it can't be told")
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_cut_link_is_told_and_mended() {
    let own = Own::start(&[]).await;
    let link = Link::to(own.port).await;
    let mut watch = Watch::new(&settings_at(link.port), TOPIC).await;
    let other = node(&settings_at(own.port), 2).await;
    let before = watch.publish().await;
    watch.hears_event(before).await;
    link.set(Way::Cut);
    let missed = other.handle.topics.publish(draft(TOPIC)).await.unwrap();
    assert_eq!(missed, before.next());
    link.set(Way::Open);
    watch.hears_dirty().await;
    assert_eq!(watch.since(before).await, Some(1));
    let after = watch.publish().await;
    assert_eq!(after, missed.next());
    watch.hears_event(after).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_frozen_link_is_noticed() {
    let own = Own::start(&[]).await;
    let link = Link::to(own.port).await;
    let mut watch = Watch::new(&settings_at(link.port), TOPIC).await;
    let other = node(&settings_at(own.port), 2).await;
    let before = watch.publish().await;
    watch.hears_event(before).await;
    link.set(Way::Frozen);
    let refused = timeout(DEADLINE, watch.topics().publish(draft(TOPIC))).await;
    assert!(matches!(
        refused.expect("it hangs"),
        Err(Error::Unavailable(_))
    ));
    other.handle.topics.publish(draft(TOPIC)).await.unwrap();
    // Until it is noticed, commands are sent and not answered; then there is no connection.
    let noticed = async {
        loop {
            match watch.topics().position(TOPIC).await {
                Err(Error::Unavailable(why)) if why.contains("can't be reached") => return,
                other => assert!(other.is_err(), "{other:?}"),
            }
        }
    };
    timeout(DEADLINE, noticed).await.expect("not noticed");
    assert!(watch.topics().check().await.is_err());
    link.set(Way::Open);
    watch.hears_dirty().await;
    let after = watch.publish().await;
    watch.hears_event(after).await;
    assert!(watch.since(before).await >= Some(2));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_server_that_is_full_is_told() {
    let own = Own::start(&[]).await;
    let node = node(&settings_at(own.port), 1).await;
    let topics = &node.handle.topics;
    topics.publish(draft(TOPIC)).await.unwrap();
    own.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for refused in [
        topics.publish(draft(TOPIC)).await.map(drop),
        topics.check().await,
    ] {
        let why = refused.unwrap_err().to_string();
        assert!(
            why.contains("127.0.0.1") && why.contains("maxmemory"),
            "{why}"
        );
    }
    own.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    topics.check().await.unwrap();
    topics.publish(draft(TOPIC)).await.unwrap();
}

/// Of what was sent and not answered the outcome is unknown; what waited for its turn wasn't done.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn at_the_bound_of_calls_what_waits_is_refused_and_what_was_sent_is_unknown() {
    let own = Own::start(&[]).await;
    let link = Link::to(own.port).await;
    let settings = RedisSettings {
        in_flight_max: 1,
        ..settings_at(link.port)
    };
    let node = node(&settings, 1).await;
    let topics = &node.handle.topics;
    topics.publish(draft(TOPIC)).await.unwrap();
    link.set(Way::Frozen);
    let both = futures::future::join(topics.publish(draft(TOPIC)), topics.publish(draft(TOPIC)));
    let (sent, waited) = timeout(DEADLINE, both).await.expect("they hang");
    assert!(matches!(sent, Err(Error::Unavailable(_))), "{sent:?}");
    assert!(matches!(waited, Err(Error::Overloaded)), "{waited:?}");
    link.set(Way::Open);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_flushed_memory_is_another_epoch() {
    let own = Own::start(&[]).await;
    let mut watch = Watch::new(&settings_at(own.port), TOPIC).await;
    let before = watch.publish().await;
    watch.hears_event(before).await;
    own.run::<()>(&["FLUSHALL"]).await;
    watch.hears_dirty().await;
    assert_eq!(watch.since(before).await, None);
    let after = watch.publish().await;
    assert_ne!(after.epoch, before.epoch);
    watch.hears_event(after).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_restart_from_a_snapshot_is_another_epoch() {
    let mut own = Own::start(&[]).await;
    let mut watch = Watch::new(&settings_at(own.port), TOPIC).await;
    let saved = watch.publish().await;
    own.run::<()>(&["SAVE"]).await;
    let lost = watch.publish().await;
    watch.hears_event(lost).await;
    own.restart().await;
    watch.hears_dirty().await;
    assert!(own.run::<i64>(&["DBSIZE"]).await > 0, "it has the snapshot");
    let after = watch.publish().await;
    assert_ne!(after.epoch, saved.epoch);
    assert_eq!(watch.since(saved).await, None);
    assert_eq!(watch.since(lost).await, None);
    watch.hears_event(after).await;
}

/// Pub/Sub loses the last message of a topic.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn the_last_event_lost_is_found() {
    let own = Own::start(&[]).await;
    let mut watch = Watch::new(&settings_at(own.port), TOPIC).await;
    let before = watch.publish().await;
    watch.hears_event(before).await;
    let keys = crate::bus::redis::keys::Keys::new("chirm:");
    let [_, _, _, active, _] = keys.of_topic(TOPIC).try_into().unwrap();
    let now = unheard_second(&own).await;
    own.run::<()>(&["ZADD", &active, &now, "c1"]).await;
    watch.hears_dirty().await;
    assert_eq!(watch.since(before).await, Some(1));
}

/// Redis has a second event of the topic that Pub/Sub didn't carry. Gives when.
async fn unheard_second(own: &Own) -> String {
    let keys = crate::bus::redis::keys::Keys::new("chirm:");
    let [_, topic, ring, _, _] = keys.of_topic(TOPIC).try_into().unwrap();
    let now: Vec<i64> = own.run(&["TIME"]).await;
    let now = (now[0] * 1_000).to_string();
    own.run::<()>(&[
        "XADD", &ring, "2-0", "t", &now, "b", "1", "m", "- 0", "d", "",
    ])
    .await;
    own.run::<()>(&["HSET", &topic, "seq", "2"]).await;
    now
}

/// And the list of topics that had events, which would have told of it, is lost with it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn the_last_event_lost_with_what_would_tell_is_another_epoch() {
    let own = Own::start(&[]).await;
    let mut watch = Watch::new(&settings_at(own.port), TOPIC).await;
    let before = watch.publish().await;
    watch.hears_event(before).await;
    unheard_second(&own).await;
    own.run::<()>(&["FLUSHALL"]).await;
    watch.hears_dirty().await;
    assert_eq!(watch.since(before).await, None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn relayed_events_that_were_lost_are_told() {
    let topic = TopicKey::server(1);
    let own = Own::start(&[]).await;
    let link = Link::to(own.port).await;
    let mut watch = Watch::new(&settings_at(own.port), topic).await;
    let storing = node(&settings_at(link.port), 2).await;
    let event = |seq| OutboxEvent {
        topic,
        position: Position { epoch: 7, seq },
        payload: Bytes::new(),
        signal: Signal::None,
    };
    storing.relay.relay(vec![event(1)]);
    watch.hears_event(Position { epoch: 7, seq: 1 }).await;
    link.set(Way::Cut);
    storing.relay.relay(vec![event(2)]);
    sleep(Duration::from_millis(100)).await;
    link.set(Way::Open);
    watch.hears_dirty().await;
    let told = Position { epoch: 7, seq: 1 };
    let since = watch.topics().since(topic, told).await.unwrap();
    assert!(matches!(since, Since::Gone));
    storing.relay.relay(vec![event(3)]);
    watch.hears_event(Position { epoch: 7, seq: 3 }).await;
}

async fn refused(settings: &RedisSettings) -> String {
    refusal("Redis at ", settings, None).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_wont_do_is_refused_with_a_reason() {
    let closed = settings_at(1);
    assert!(refused(&closed).await.contains("127.0.0.1:1"));
    let address = |port: u16| RedisSettings {
        urls: vec![secret(&format!("redis://someone:hunter2@127.0.0.1:{port}"))],
        ..RedisSettings::default()
    };
    let own = Own::start(&["--maxmemory-policy", "allkeys-lru"]).await;
    assert!(refused(&address(own.port)).await.contains("password"));
    assert!(refused(&settings_at(own.port)).await.contains("noeviction"));
    let mute = Link::to(own.port).await;
    mute.set(Way::Frozen);
    assert!(refused(&address(mute.port)).await.contains("no answer"));
    let mut single = settings("CHIRM_TEST_REDIS");
    single.cluster = true;
    assert!(refused(&single).await.contains("redis.cluster = false"));
    let mut cluster = settings("CHIRM_TEST_REDIS_CLUSTER");
    cluster.cluster = false;
    assert!(refused(&cluster).await.contains("redis.cluster = true"));
    let none = RedisSettings::default();
    refusal("redis.urls: ", &none, None).await;
    let wrong = RedisSettings {
        urls: vec![secret("http://a:hunter2@b")],
        ..none
    };
    refusal("redis.urls: ", &wrong, None).await;
}
