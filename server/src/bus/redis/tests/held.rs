//! What overtakes another event waits for it, but not for long. The time is the test's: nothing
//! moves by itself but in the tests that wait for it.

use crate::bus::local::RingLimits;
use crate::bus::local::feed::LocalSubscriber;
use crate::bus::redis::held::HOLD;
use crate::bus::redis::hub::Hub;
use crate::bus::redis::wire;
use crate::bus::suite::draft;
use crate::bus::{Delivery, Draft, Feed};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::model::{Position, TopicKey};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const TOPIC: TopicKey = TopicKey {
    kind: crate::model::TopicKind::Channel,
    id: 1,
};
const EPOCH: i64 = 9;

fn at(seq: i64) -> Position {
    Position { epoch: EPOCH, seq }
}

struct World {
    hub: Arc<Hub>,
    feed: Feed,
    clock: Arc<ManualClock>,
}

/// What came out.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Event(Position),
    Dirty,
}

use Heard::{Dirty, Event};

impl World {
    fn new(reorders: bool) -> Self {
        let clock = Arc::new(ManualClock::new(0));
        let (hub, feed) = hub(clock.clone(), reorders);
        Self { hub, feed, clock }
    }

    /// Time passes, and it is looked at what that means.
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.hub.give_up_waiting(TOPIC);
    }

    fn come(&self, seqs: &[i64]) {
        seqs.iter().for_each(|seq| come(&self.hub, at(*seq), b""));
    }

    /// All that came out by now.
    fn heard(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Ok(delivery) = self.feed.try_recv() {
            heard.push(of(&delivery));
        }
        heard
    }
}

/// A hub in which somebody subscribed at 10.
fn hub(clock: Arc<dyn Clock>, reorders: bool) -> (Arc<Hub>, Feed) {
    let hub = Arc::new(Hub::new(RingLimits::default(), clock, reorders));
    let (subscriber, feed) = LocalSubscriber::new();
    hub.pin(TOPIC);
    hub.confirm(TOPIC, 1);
    hub.join(TOPIC, &subscriber, at(10));
    hub.unpin(TOPIC);
    (hub, feed)
}

async fn next(feed: &mut Feed) -> Heard {
    let next = timeout(Duration::from_secs(60), feed.recv()).await;
    of(&next.expect("nothing comes").expect("the feed ended"))
}

fn come(hub: &Arc<Hub>, at: Position, payload: &[u8]) {
    let draft = Draft {
        payload: Bytes::copy_from_slice(payload),
        ..draft(TOPIC)
    };
    hub.heard_of(TOPIC, &wire::event(&draft, at, 0));
}

fn of(delivery: &Delivery) -> Heard {
    match delivery {
        Delivery::Event(event) => Event(event.position),
        Delivery::Dirty(_) => Dirty,
        Delivery::Transient(_) => panic!("nothing was announced"),
    }
}

fn events(seqs: impl IntoIterator<Item = i64>) -> Vec<Heard> {
    seqs.into_iter().map(|seq| Event(at(seq))).collect()
}

#[tokio::test]
async fn what_overtakes_is_put_in_order() {
    let mut world = World::new(true);
    world.come(&[13, 12]);
    assert_eq!(world.heard(), []);
    world.come(&[11]);
    assert_eq!(world.heard(), events(11..=13));
    world.come(&[15, 16, 18]);
    world.pass(HOLD - Duration::from_millis(1));
    assert_eq!(world.heard(), []);
    world.come(&[14]);
    assert_eq!(world.heard(), events(14..=16));
    world.come(&[17]);
    assert_eq!(world.heard(), events(17..=18));
    // All of it is remembered as it was handed on.
    let since = world.hub.since(TOPIC, at(10)).expect("all were heard");
    let since: Vec<_> = since.iter().map(|event| Event(event.position)).collect();
    assert_eq!(since, events(11..=18));
}

#[tokio::test]
async fn what_doesnt_come_in_time_is_a_jump() {
    let mut world = World::new(true);
    world.come(&[12, 13]);
    world.pass(HOLD);
    assert_eq!(world.heard(), events([12, 13]));
    // What came after all is none of it any more: the ring has it.
    world.come(&[11]);
    assert_eq!(world.heard(), []);
    assert!(world.hub.since(TOPIC, at(10)).is_none());
    assert_eq!(world.hub.since(TOPIC, at(11)).unwrap().len(), 2);
    world.come(&[14]);
    assert_eq!(world.heard(), events([14]));
}

#[tokio::test]
async fn each_waits_for_its_own_time() {
    let mut world = World::new(true);
    world.come(&[12]);
    world.pass(HOLD / 2);
    world.come(&[14]);
    world.pass(HOLD / 2);
    assert_eq!(world.heard(), events([12]));
    world.come(&[13]);
    assert_eq!(world.heard(), events([13, 14]));
    world.come(&[16]);
    world.pass(HOLD / 2);
    assert_eq!(
        world.heard(),
        [],
        "a wait after one that ended early is whole"
    );
    world.pass(HOLD / 2);
    assert_eq!(world.heard(), events([16]));
}

#[tokio::test]
async fn a_wait_ends_by_itself() {
    let (hub, mut feed) = hub(Arc::new(SystemClock::default()), true);
    for seq in [12, 14, 16] {
        come(&hub, at(seq), b"");
    }
    for seq in [12, 14, 16] {
        assert_eq!(next(&mut feed).await, Event(at(seq)));
    }
    come(&hub, at(18), b"");
    assert_eq!(next(&mut feed).await, Event(at(18)));
}

#[tokio::test]
async fn what_comes_twice_is_heard_once() {
    let mut world = World::new(true);
    world.come(&[11, 11, 13, 13, 12, 12, 13, 11]);
    assert_eq!(world.heard(), events(11..=13));
}

#[tokio::test]
async fn too_many_dont_wait() {
    let mut world = World::new(true);
    let many: Vec<i64> = (12..).take(257).collect();
    world.come(&many[..256]);
    assert_eq!(world.heard(), []);
    world.come(&many[256..]);
    assert_eq!(world.heard(), events(many));
    let large = vec![0; 300_000];
    for seq in 270..273 {
        come(&world.hub, at(seq), &large);
    }
    assert_eq!(world.heard(), []);
    come(&world.hub, at(273), &large);
    assert_eq!(world.heard(), events(270..=273));
}

#[tokio::test]
async fn another_epoch_waits_for_nothing() {
    let mut world = World::new(true);
    world.come(&[12]);
    let new = Position { epoch: 8, seq: 5 };
    come(&world.hub, new, b"");
    assert_eq!(world.heard(), [Event(at(12)), Event(new)]);
    come(&world.hub, new.next(), b"");
    assert_eq!(world.heard(), [Event(new.next())]);
}

#[tokio::test]
async fn what_may_be_missing_is_not_waited_for() {
    let mut world = World::new(true);
    world.come(&[12]);
    world.hub.lose(TOPIC);
    assert_eq!(next(&mut world.feed).await, Dirty);
    // Whoever reads the ring finds 12 there.
    world.hub.learn(TOPIC, at(12));
    world.come(&[14, 13]);
    assert_eq!(world.heard(), events([13, 14]));
}

#[tokio::test]
async fn where_nothing_overtakes_a_jump_is_one_at_once() {
    let mut world = World::new(false);
    world.come(&[12, 11, 13]);
    assert_eq!(world.heard(), events([12, 13]));
}

/// Of two answers of Redis the earlier one counts, though it is looked at later.
#[tokio::test]
async fn what_was_answered_first_counts() {
    let world = World::new(true);
    world.hub.lose(TOPIC);
    assert!(!world.hub.is_behind(TOPIC, at(12)), "it was read again");
    world.hub.learn(TOPIC, at(11));
    assert!(world.hub.is_behind(TOPIC, at(12)));
    assert!(!world.hub.is_behind(TOPIC, at(11)));
}
