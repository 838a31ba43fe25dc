//! The hub over a bus that loses events and a store that takes its time.

use super::*;
use crate::bus::local::{self, LocalTopics, RingLimits};
use crate::bus::{Draft, Topics as _};
use crate::clock::ManualClock;
use crate::frames::{self, PREFIX_BYTES};
use crate::gateway::outbox::{Outbox, OutboxLimits};
use crate::gateway::tests::lossy::LossyTopics;
use crate::model::{EventBody, Id, Message, Signal, UnixMs};
use crate::store::{NewEvent, OutboxEvent, ServerSnapshot, UserSnapshot};
use async_trait::async_trait;
use bytes::Bytes;
use chirm_proto::v1::{self, server_frame::Frame};
use prost::Message as _;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tokio::sync::Semaphore;

const CHANNEL: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Channel,
    id: 7,
};
const SERVER: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Server,
    id: 3,
};
const FULL: Mode = Mode {
    full: true,
    viewed: false,
};
const SLIGHT: Mode = Mode {
    full: false,
    viewed: false,
};

/// A store that knows positions of topics, each read of which needs a permit.
struct SlowStore {
    positions: Mutex<HashMap<TopicKey, Position>>,
    reads: Semaphore,
    asked: AtomicUsize,
    outbox: Mutex<Vec<OutboxEvent>>,
}

#[async_trait]
impl store::Outbox for SlowStore {
    async fn topic_position(&self, topic: TopicKey) -> Result<Position, store::Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.reads.acquire().await.expect("never closed").forget();
        let positions = self.positions.lock().expect("no panic");
        Ok(positions.get(&topic).copied().unwrap_or(at(9, 0)))
    }

    async fn topic_since(
        &self,
        topic: TopicKey,
        position: Position,
    ) -> Result<Option<Vec<OutboxEvent>>, store::Error> {
        let mut events = self.outbox.lock().expect("no panic").clone();
        events.retain(|event| event.topic == topic && event.position.seq > position.seq);
        Ok((!events.is_empty()).then_some(events))
    }

    async fn append(&self, _: Vec<NewEvent>) -> Result<(), store::Error> {
        unreachable!("the hub only reads")
    }

    async fn server_snapshot(&self, _: Id) -> Result<Option<ServerSnapshot>, store::Error> {
        unreachable!("the hub needs no snapshots")
    }

    async fn user_snapshot(&self, _: Id) -> Result<Option<UserSnapshot>, store::Error> {
        unreachable!("the hub needs no snapshots")
    }

    async fn trim(&self, _: UnixMs) -> Result<(), store::Error> {
        unreachable!("the hub only reads")
    }
}

struct World {
    hub: Hub,
    topics: Arc<LossyTopics>,
    store: Arc<SlowStore>,
    sessions: u64,
}

fn at(epoch: i64, seq: i64) -> Position {
    Position { epoch, seq }
}

impl World {
    /// One shard, so that whatever waits in it is waited for by all. `ring` events are remembered.
    fn new(ring: usize) -> Self {
        let limits = RingLimits {
            events: ring,
            ..RingLimits::default()
        };
        let clock = Arc::new(ManualClock::new(0));
        let topics = LocalTopics::new(limits, clock.clone());
        let store = Arc::new(SlowStore {
            positions: Mutex::default(),
            reads: Semaphore::new(1_000),
            asked: AtomicUsize::new(0),
            outbox: Mutex::default(),
        });
        let mut bus = local::open(
            topics.clone(),
            0,
            std::time::Duration::from_secs(20),
            clock.clone(),
        );
        let topics = Arc::new(LossyTopics::new(topics));
        bus.topics = topics.clone();
        let meter = Meter::new(clock, Traces::default());
        let hub = Hub::start(1, &bus, store.clone(), ring, &meter);
        Self {
            hub,
            topics,
            store,
            sessions: 0,
        }
    }

    fn session(&mut self, frames: usize) -> Arc<SessionHandle> {
        self.sessions += 1;
        let outbox = Outbox::new(OutboxLimits {
            frames,
            bytes: 1 << 20,
        });
        let session_id = 100 + self.sessions as Id;
        let device = String::new();
        let handle = SessionHandle::new(self.sessions, 1, session_id, device, Arc::new(outbox));
        Arc::new(handle)
    }

    async fn attach(&self, to: &Arc<SessionHandle>, mode: Mode, held: Position) -> Attached {
        self.try_attach(to, mode, held, false).await
    }

    async fn try_attach(
        &self,
        to: &Arc<SessionHandle>,
        mode: Mode,
        held: Position,
        confirmed: bool,
    ) -> Attached {
        let attach = Attach {
            topic: CHANNEL,
            session: to.clone(),
            mode,
            held,
            confirmed,
            generation: 1,
        };
        self.hub.attach(attach).await.expect("attaches")
    }

    async fn start(&self) -> Position {
        self.hub.position(CHANNEL).await.expect("a position")
    }

    async fn publish(&self, id: Id) -> Position {
        let body = EventBody::MessageCreated(Message {
            id,
            channel_id: CHANNEL.id,
            ..Message::default()
        });
        self.publish_with(id, &body, Signal::None).await
    }

    async fn publish_with(&self, id: Id, body: &EventBody, signal: Signal) -> Position {
        let draft = Draft {
            topic: CHANNEL,
            payload: frames::encode_body(body),
            signal,
            message_id: id,
            operation: None,
        };
        self.topics.publish(draft).await.expect("publishes")
    }
}

/// The positions of the next events of an outbox.
async fn events(session: &SessionHandle, count: usize) -> Vec<i64> {
    let mut found = Vec::new();
    while found.len() < count {
        let frame = std::future::poll_fn(|cx| session.outbox.poll_frame(cx)).await;
        found.push(seq(&frame.expect("the stream goes on")));
    }
    found
}

fn seq(frame: &Bytes) -> i64 {
    let frame = v1::ServerFrame::decode(&frame[PREFIX_BYTES..]).expect("a frame");
    match frame.frame {
        Some(Frame::Event(event)) => event.position.expect("a position").seq,
        other => panic!("no event: {other:?}"),
    }
}

async fn is_empty(session: &SessionHandle) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(session.outbox.poll_frame(cx).is_pending())).await
}

async fn wait_until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_store_holds_up_no_other_topic() {
    let mut world = World::new(100);
    let ann = world.session(10);
    let start = world.start().await;
    world.attach(&ann, FULL, start).await;
    world.store.reads.forget_permits(1_000);
    let hub = world.hub.clone();
    let slow = tokio::spawn(async move { hub.position(SERVER).await });
    world.publish(1).await;
    assert_eq!(events(&ann, 1).await, [1]);
    assert!(!slow.is_finished());
    let position = at(9, 4);
    let positions = &world.store.positions;
    positions.lock().expect("no panic").insert(SERVER, position);
    world.store.reads.add_permits(1);
    assert_eq!(slow.await.expect("no panic").expect("a position"), position);
}

#[tokio::test]
async fn what_the_feed_loses_is_fetched_and_what_came_meanwhile_follows() {
    let mut world = World::new(100);
    let ann = world.session(100);
    let start = world.start().await;
    world.attach(&ann, FULL, start).await;
    world.topics.reads.forget_permits(1_000);
    world.topics.lose(2);
    for id in 1..=5 {
        world.publish(id).await;
    }
    assert!(is_empty(&ann).await);
    world.topics.reads.add_permits(10);
    assert_eq!(events(&ann, 5).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_feed_that_overflowed_is_caught_up_even_if_nothing_more_comes() {
    let mut world = World::new(100);
    let ann = world.session(100);
    let start = world.start().await;
    world.attach(&ann, FULL, start).await;
    world.topics.overflow(CHANNEL, 3);
    for id in 1..=3 {
        world.publish(id).await;
    }
    assert_eq!(events(&ann, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn events_that_wait_for_the_hub_are_one_write() {
    let mut world = World::new(100);
    let ann = world.session(100);
    let start = world.start().await;
    world.attach(&ann, FULL, start).await;
    for id in 1..=5 {
        world.publish(id).await;
    }
    let write = std::future::poll_fn(|cx| ann.outbox.poll_write(cx)).await;
    let mut write = write.expect("the stream goes on");
    let mut found = Vec::new();
    while !write.is_empty() {
        let length = u32::from_be_bytes([write[1], write[2], write[3], write[4]]) as usize;
        found.push(seq(&write.split_to(PREFIX_BYTES + length)));
    }
    assert_eq!(found, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn what_is_not_remembered_any_more_sends_the_sessions_back() {
    let mut world = World::new(2);
    let (ann, bob) = (world.session(100), world.session(100));
    let start = world.start().await;
    world.attach(&ann, FULL, start).await;
    world.attach(&bob, SLIGHT, start).await;
    world.publish(1).await;
    assert_eq!(events(&ann, 1).await, [1]);
    world.topics.lose(4);
    for id in 2..=6 {
        world.publish(id).await;
    }
    let mut behind = Vec::new();
    wait_until(|| {
        behind = ann.take_asked().behind;
        !behind.is_empty()
    })
    .await;
    let after_first = at(start.epoch, 1);
    assert_eq!((behind[0].topic, behind[0].held), (CHANNEL, after_first));
    assert_eq!(behind[0].generation, 1);
    assert_eq!(bob.take_asked().behind.len(), 1);
    // Attached anew, they get on; where the first stood isn't remembered.
    let now = at(start.epoch, 6);
    let attached = world.attach(&ann, FULL, after_first).await;
    let held = after_first;
    assert_eq!(attached, Attached::Behind { held, now });
    let since = world.hub.since(CHANNEL, after_first, after_first).await;
    assert!(since.expect("read").is_none());
    let live = Attached::Live { replayed: 0 };
    assert_eq!(world.attach(&ann, FULL, now).await, live);
    world.publish(7).await;
    assert_eq!(events(&ann, 1).await, [7]);
}

#[tokio::test]
async fn a_signal_is_acted_on_however_the_event_comes() {
    let mut world = World::new(100);
    let start = world.start().await;
    let asks = |session: &SessionHandle| session.take_asked().recheck;
    let deleted = EventBody::ChannelDeleted(CHANNEL.id);
    let (live, lossy) = (world.session(10), world.session(10));
    world.attach(&live, FULL, start).await;
    world.publish_with(0, &deleted, Signal::Recheck).await;
    wait_until(|| asks(&live)).await;
    // At hand: it comes with the attachment.
    let late = world.session(10);
    let attached = world.attach(&late, FULL, start).await;
    assert_eq!(attached, Attached::Live { replayed: 1 });
    assert!(asks(&late));
    // Ahead of the feed: the event itself is passed over.
    let ahead = world.session(10);
    let next = at(start.epoch, 2);
    assert_eq!(
        world.try_attach(&ahead, FULL, next, true).await,
        Attached::Live { replayed: 0 }
    );
    world.attach(&lossy, FULL, at(start.epoch, 1)).await;
    world.topics.lose(1);
    world.publish_with(0, &deleted, Signal::Recheck).await;
    world.publish(5).await;
    wait_until(|| asks(&lossy)).await;
    wait_until(|| asks(&ahead)).await;
    assert_eq!(events(&ahead, 1).await, [3]);
    // Its own session's end mutes it at once.
    let revoked = EventBody::SessionRevoked(ahead.session_id);
    let signal = Signal::Revoked(ahead.session_id);
    world.publish_with(0, &revoked, signal).await;
    wait_until(|| ahead.take_asked().revoked).await;
    assert!(is_empty(&ahead).await);
    assert_eq!(events(&lossy, 3).await, [2, 3, 4]);
}

#[tokio::test]
async fn a_channel_out_of_view_tells_whoever_attaches_at_another_position() {
    let mut world = World::new(100);
    let start = world.start().await;
    let (current, older, other) = (world.session(10), world.session(10), world.session(10));
    world.publish(5).await;
    let now = at(start.epoch, 1);
    while world.start().await != now {}
    world.attach(&current, SLIGHT, now).await;
    assert!(!current.has_activity());
    for (session, held) in [(&older, start), (&other, at(start.epoch ^ 1, 1))] {
        world.attach(session, SLIGHT, held).await;
        let told = session.take_activity();
        assert_eq!(told.get(&CHANNEL.id), Some(&(now, 0)), "{held:?}");
    }
    // After an edit the newest message is not known here; after a new one it is.
    let edit = EventBody::MessageUpdated(Message::default());
    world.publish_with(0, &edit, Signal::None).await;
    wait_until(|| current.has_activity()).await;
    let told = current.take_activity();
    assert_eq!(told.get(&CHANNEL.id), Some(&(at(start.epoch, 2), 0)));
    world.publish(6).await;
    wait_until(|| current.has_activity()).await;
    world.publish_with(0, &edit, Signal::None).await;
    let last = at(start.epoch, 4);
    while world.start().await != last {}
    let told = current.take_activity();
    assert_eq!(told.get(&CHANNEL.id), Some(&(last, 6)));
}

#[tokio::test]
async fn a_session_that_ends_while_it_is_attached_leaves_nothing_behind() {
    let mut world = World::new(100);
    let ann = world.session(10);
    world.store.reads.forget_permits(1_000);
    let attach = Attach {
        topic: SERVER,
        session: ann.clone(),
        mode: FULL,
        held: at(9, 0),
        confirmed: false,
        generation: 1,
    };
    let hub = world.hub.clone();
    let attaching = tokio::spawn(async move { hub.attach(attach).await });
    wait_until(|| world.store.asked.load(Ordering::Relaxed) > 0).await;
    attaching.abort();
    let _ = attaching.await;
    assert_eq!(Arc::strong_count(&ann), 2, "the shard has it");
    world.hub.detach([SERVER], ann.serial).await;
    world.store.reads.add_permits(2);
    world.hub.position(SERVER).await.expect("opens");
    assert_eq!(Arc::strong_count(&ann), 1, "the hub let go of it");
}

#[tokio::test]
async fn a_full_outbox_closes_a_live_session_and_sends_a_syncing_one_back() {
    let mut world = World::new(100);
    let (live, syncing) = (world.session(2), world.session(2));
    live.outbox.set_syncing(false);
    let start = world.start().await;
    world.attach(&live, FULL, start).await;
    world.attach(&syncing, FULL, start).await;
    for id in 1..=3 {
        world.publish(id).await;
    }
    live.outbox.ended().await;
    let mut behind = Vec::new();
    wait_until(|| {
        behind = syncing.take_asked().behind;
        !behind.is_empty()
    })
    .await;
    let held = at(start.epoch, 2);
    assert_eq!(behind[0].held, held);
    assert_eq!(events(&syncing, 2).await, [1, 2]);
    let attached = world.attach(&syncing, FULL, held).await;
    assert_eq!(attached, Attached::Live { replayed: 1 });
    assert_eq!(events(&syncing, 1).await, [3]);
}

/// A node died between committing the second event and bringing it to the bus.
#[tokio::test]
async fn what_the_bus_was_never_brought_comes_from_the_store() {
    let world = World::new(8);
    let event = |seq| OutboxEvent {
        topic: SERVER,
        position: at(9, seq),
        payload: Bytes::new(),
        signal: Signal::None,
    };
    world.topics.relay(vec![event(1)]);
    world
        .store
        .outbox
        .lock()
        .unwrap()
        .extend([event(1), event(2)]);
    let seqs = async |held, now| {
        let events = world.hub.since(SERVER, at(9, held), at(9, now)).await;
        let events = events.expect("read").expect("remembered");
        events.iter().map(|e| e.position.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(0, 1).await, [1]);
    assert_eq!(seqs(1, 2).await, [2]);
    assert_eq!(seqs(0, 2).await, [1, 2]);
}
