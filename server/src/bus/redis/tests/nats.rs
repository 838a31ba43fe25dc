//! What becomes of events whose way by NATS fails, while Redis has them all.

use super::nats_server::{Own, nats_at};
use super::server::{DEADLINE, Link, Way};
use super::watch::Watch;
use super::{NatsSettings, node_with, refusal, secret, settings, urls, worker_node};
use crate::bus::redis::wire;
use crate::bus::redis::{Node, RedisSettings, open};
use crate::bus::suite::draft;
use crate::bus::{Delivery, Since, Transient, TransientKind};
use crate::model::{Position, Signal, TopicKey};
use crate::store::OutboxEvent;
use bytes::Bytes;
use std::io::{Read as _, Write as _};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const TOPIC: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Channel,
    id: 1,
};

/// Redis with keys that nobody else has, of a deployment that is new: it has lost no memory.
async fn redis() -> RedisSettings {
    let settings = settings("CHIRM_TEST_REDIS");
    let node = Node {
        is_new: true,
        ..worker_node(9)
    };
    open(&settings, None, node).await.unwrap();
    settings
}

impl Watch {
    /// A node that is subscribed to a topic by NATS.
    async fn by(redis: &RedisSettings, nats: &NatsSettings, topic: TopicKey) -> Watch {
        Watch::on(node_with(redis, Some(nats), 1).await, topic).await
    }

    /// What is published is acknowledged whatever NATS does.
    async fn publish_at_once(&self) -> Position {
        self.topics().publish(draft(TOPIC)).await.unwrap()
    }

    /// Waits for an event as a gateway does: it comes, or after word that some may be missing it is
    /// found in the ring; with all before it, and once.
    async fn reaches(&mut self, mut from: Position, to: Position) {
        let reaching = async {
            while from != to {
                match self.feed.recv().await.expect("the feed ended") {
                    Delivery::Event(event) if event.position == from.next() => {
                        from = event.position;
                    }
                    Delivery::Event(event) if event.position.seq <= from.seq => {}
                    _ => from = self.read_again(from).await,
                }
            }
        };
        timeout(DEADLINE, reaching).await.expect("not all came");
    }

    async fn read_again(&self, from: Position) -> Position {
        let Since::Events(events) = self.topics().since(TOPIC, from).await.unwrap() else {
            panic!("the ring has it all");
        };
        let mut at = from;
        for event in events {
            assert_eq!(event.position, at.next());
            at = event.position;
        }
        at
    }

    /// Publishes until something comes by NATS again.
    async fn is_heard_again(&mut self) {
        let hearing = async {
            loop {
                let at = self.publish_at_once().await;
                let next = timeout(Duration::from_secs(1), self.hears_event(at)).await;
                if next.is_ok() {
                    return;
                }
            }
        };
        timeout(DEADLINE, hearing).await.expect("not heard again");
    }
}

async fn two(redis: &RedisSettings, nats: &NatsSettings, other: &NatsSettings) -> (Watch, Watch) {
    (
        Watch::by(redis, nats, TOPIC).await,
        Watch::by(redis, other, TOPIC).await,
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_restart_loses_nothing() {
    let mut own = Own::start(&[]).await;
    let (redis, nats) = (redis().await, nats_at(own.port));
    let (mut watch, other) = two(&redis, &nats, &nats).await;
    let first = other.publish_at_once().await;
    watch.hears_event(first).await;
    own.stop();
    // While there is none the check finds them; the node stays, and so do new subscriptions.
    let missed = other.publish_at_once().await;
    watch.reaches(first, missed).await;
    assert!(watch.topics().check().await.is_ok());
    let mut late = watch.topics().subscriber();
    let at = late.0.subscribe(TopicKey::channel(2)).await.unwrap();
    own.start_again().await;
    watch.is_heard_again().await;
    let hearing = async {
        loop {
            let told = other.topics().publish(draft(TopicKey::channel(2)));
            let told = told.await.unwrap();
            assert!(told.seq > at.seq);
            let next = timeout(Duration::from_secs(1), async {
                loop {
                    match late.1.recv().await.expect("the feed ended") {
                        Delivery::Event(event) if event.position == told => return,
                        _ => {}
                    }
                }
            });
            if next.await.is_ok() {
                return;
            }
        }
    };
    timeout(DEADLINE, hearing).await.expect("not heard");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_frozen_server_is_noticed() {
    let own = Own::start(&[]).await;
    let (redis, nats) = (redis().await, nats_at(own.port));
    let (mut watch, other) = two(&redis, &nats, &nats).await;
    let first = other.publish_at_once().await;
    watch.hears_event(first).await;
    own.signal("STOP");
    let mut missed = first;
    for _ in 0..8 {
        missed = other.publish_at_once().await;
        sleep(Duration::from_millis(500)).await;
    }
    watch.reaches(first, missed).await;
    own.signal("CONT");
    watch.is_heard_again().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_cut_link_is_told_and_mended() {
    let own = Own::start(&[]).await;
    let link = Link::to(own.port).await;
    let redis = redis().await;
    let (mut watch, other) = two(&redis, &nats_at(link.port), &nats_at(own.port)).await;
    let first = other.publish_at_once().await;
    watch.hears_event(first).await;
    link.set(Way::Cut);
    let missed = other.publish_at_once().await;
    link.set(Way::Open);
    watch.hears_dirty().await;
    assert_eq!(watch.read_again(first).await, missed);
    watch.is_heard_again().await;
}

/// Whoever published is cut off, or dies before it told: nothing later shows the loss.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn the_last_event_lost_is_found() {
    let own = Own::start(&[]).await;
    let link = Link::to(own.port).await;
    let redis = redis().await;
    let (mut watch, other) = two(&redis, &nats_at(own.port), &nats_at(link.port)).await;
    let first = other.publish_at_once().await;
    watch.hears_event(first).await;
    link.set(Way::Cut);
    // The second time the loss follows on another one.
    let mut at = first;
    for _ in 0..2 {
        let lost = other.publish_at_once().await;
        watch.reaches(at, lost).await;
        at = lost;
    }
    let after = watch.publish_at_once().await;
    watch.hears_event(after).await;
}

/// As other nodes would: the second of two events comes first; both twice.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_comes_in_another_order_is_put_in_order() {
    let own = Own::start(&[]).await;
    let redis = redis().await;
    let nats = nats_at(own.port);
    let mut watch = Watch::by(&redis, &nats, TOPIC).await;
    let first = watch.publish_at_once().await;
    watch.hears_event(first).await;
    // Two nodes that number, but whose words go by ways that are ours.
    let quiet = Own::start(&[]).await;
    let other = node_with(&redis, Some(&nats_at(quiet.port)), 2).await;
    let mut at = first;
    let client = async_nats::connect(format!("127.0.0.1:{}", own.port))
        .await
        .unwrap();
    for _ in 0..20 {
        let second = other.handle.topics.publish(draft(TOPIC)).await.unwrap();
        let third = other.handle.topics.publish(draft(TOPIC)).await.unwrap();
        for position in [third, third, second, second] {
            let said = wire::event(&draft(TOPIC), position, 0);
            client.publish("chirm.t.c1", said.into()).await.unwrap();
        }
        for position in [second, third] {
            at = at.next();
            assert_eq!(at, position);
            let next = timeout(DEADLINE, watch.feed.recv()).await.unwrap();
            match next {
                Some(Delivery::Event(event)) => assert_eq!(event.position, position),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The scripts themselves tell nobody, and everything else takes the same way as events.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn nothing_of_topics_goes_by_redis() {
    let own = Own::start(&[]).await;
    let redis = redis().await;
    let mut watch = Watch::by(&redis, &nats_at(own.port), TOPIC).await;
    // A node without NATS hears by Redis alone.
    let other = node_with(&redis, None, 2).await;
    let (subscriber, mut feed) = other.handle.topics.subscriber();
    subscriber.subscribe(TOPIC).await.unwrap();
    let at = watch.publish_at_once().await;
    watch.hears_event(at).await;
    let typing = Transient {
        channel: TOPIC.id,
        kind: TransientKind::Typing,
        frame: Bytes::from_static(b"typing"),
    };
    watch.topics().announce(typing).await.unwrap();
    let heard = timeout(DEADLINE, watch.feed.recv()).await.unwrap();
    assert!(matches!(heard, Some(Delivery::Transient(_))), "{heard:?}");
    // That it may be missing is all that it is told, by its check.
    let told = timeout(DEADLINE, feed.recv()).await.unwrap();
    assert!(matches!(told, Some(Delivery::Dirty(_))), "{told:?}");
}

/// All runs on one thread, which doesn't take what comes: the client drops what it has no room for.
#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn what_the_client_dropped_is_read_again() {
    let own = Own::start(&[]).await;
    let redis = redis().await;
    let mut watch = Watch::by(&redis, &nats_at(own.port), TOPIC).await;
    let first = watch.publish_at_once().await;
    watch.hears_event(first).await;
    // By themselves these mark nothing as missing.
    let typing = wire::transient(&Transient {
        channel: TOPIC.id,
        kind: TransientKind::Typing,
        frame: Bytes::from_static(b"typing"),
    });
    let mut flood = Vec::from(&b"CONNECT {\"verbose\":false}\r\n"[..]);
    for _ in 0..20_000 {
        flood.extend(format!("PUB chirm.t.c1 {}\r\n", typing.len()).into_bytes());
        flood.extend(&typing);
        flood.extend(b"\r\n");
    }
    flood.extend(b"PING\r\n");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", own.port)).unwrap();
    stream.write_all(&flood).unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"PONG\r\n") {
        let mut next = [0; 4_096];
        let read = stream.read(&mut next).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&said));
        said.extend(&next[..read]);
    }
    watch.hears_dirty().await;
    // As long as there is no room, what comes now is dropped, too.
    timeout(DEADLINE, async {
        loop {
            let after = watch.publish_at_once().await;
            let heard = timeout(DEADLINE / 20, watch.hears_event(after)).await;
            if heard.is_ok() {
                return;
            }
        }
    })
    .await
    .expect("nothing is heard any more");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_is_too_large_is_read_from_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, "max_payload: 1KB\n").unwrap();
    let own = Own::start(&["--config", file.to_str().unwrap()]).await;
    let redis = redis().await;
    let mut watch = Watch::by(&redis, &nats_at(own.port), TOPIC).await;
    let first = watch.publish_at_once().await;
    watch.hears_event(first).await;
    let large = crate::bus::Draft {
        payload: vec![0; 2_000].into(),
        ..draft(TOPIC)
    };
    let at = watch.topics().publish(large).await.unwrap();
    watch.hears_dirty().await;
    assert_eq!(watch.read_again(first).await, at);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn relayed_events_that_were_lost_are_told() {
    let topic = TopicKey::server(1);
    let own = Own::start(&[]).await;
    let (redis, nats) = (redis().await, nats_at(own.port));
    let mut watch = Watch::by(&redis, &nats, topic).await;
    let link = Link::to(own.port).await;
    let storing = node_with(&redis, Some(&nats_at(link.port)), 2).await;
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
    watch.hears_dirty().await;
    let told = Position { epoch: 7, seq: 1 };
    let since = watch.topics().since(topic, told).await.unwrap();
    assert!(matches!(since, Since::Events(events) if events.len() == 1));
}

async fn refused(nats: &NatsSettings) -> String {
    refusal("NATS", &settings("CHIRM_TEST_REDIS"), Some(nats)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_wont_do_is_refused_with_a_reason() {
    let closed = refused(&nats_at(1)).await;
    assert!(closed.contains("127.0.0.1:1") && closed.contains("nats.urls"));
    let shown = urls("CHIRM_TEST_NATS")[0].expose().to_owned();
    let port: u16 = shown.rsplit(':').next().unwrap().parse().unwrap();
    let wrong = NatsSettings {
        user: "chirm".into(),
        password: Some(secret("hunter2")),
        ..nats_at(port)
    };
    assert!(refused(&wrong).await.contains("nats.password"));
    let token = NatsSettings {
        token: Some(secret("hunter2")),
        ..nats_at(port)
    };
    assert!(refused(&token).await.contains("nats.token"));
    let own = Own::start(&[]).await;
    let mute = Link::to(own.port).await;
    mute.set(Way::Frozen);
    let mute = refused(&nats_at(mute.port)).await;
    assert!(
        mute.contains("no answer") && mute.contains("nats.urls"),
        "{mute}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    let users = r#"authorization { users: [{ user: a, password: hunter2,
        permissions: { publish: "other.>", subscribe: "chirm.>" } }] }"#;
    std::fs::write(&file, users).unwrap();
    let strict = Own::start(&["--config", file.to_str().unwrap()]).await;
    let strict = NatsSettings {
        urls: vec![secret(&format!(
            "nats://a:hunter2@127.0.0.1:{}",
            strict.port
        ))],
        ..nats_at(strict.port)
    };
    let strict = refused(&strict).await;
    assert!(strict.contains("chirm.>"), "{strict}");
}
