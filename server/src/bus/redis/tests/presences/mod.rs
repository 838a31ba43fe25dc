//! Presence of several nodes on one Redis; the time is the tests'.

mod faults;

use super::server::DEADLINE;
use super::{place, settings};
use crate::bus::redis::RedisSettings;
use crate::bus::suite::{Kept, START};
use crate::bus::{Batches, Device, Presences, SetPresence, Whose};
use crate::clock::ManualClock;
use crate::model::{Id, Presence, Status, Touched};
use crate::store::Relay;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// A node, and what a reader of its batches holds for true.
struct Node {
    presences: Arc<dyn Presences>,
    batches: Batches,
    position: Option<(i64, i64)>,
    told: HashMap<Id, Presence>,
    /// Presences that batches told.
    said: Vec<Presence>,
    touched: HashSet<Touched>,
    /// How often all was read anew.
    rereads: u32,
    _relay: Arc<dyn Relay>,
}

impl Node {
    async fn new(settings: &RedisSettings, clock: &Arc<ManualClock>) -> Node {
        let opened = place(settings, None, Kept::default(), 0, clock.clone()).await;
        let presences = opened.handle.presences;
        Node {
            batches: presences.batches(),
            presences,
            position: None,
            told: HashMap::new(),
            said: Vec::new(),
            touched: HashSet::new(),
            rereads: 0,
            _relay: opened.relay,
        }
    }

    /// Whether Redis heard it. What readers do with batches is done.
    async fn tick(&mut self) -> bool {
        let heard = self.presences.tick().await.is_ok();
        while let Ok(batch) = self.batches.try_recv() {
            let (epoch, seq) = batch.position;
            let before = self.position.replace(batch.position);
            for presence in &batch.presences {
                self.told.insert(presence.user_id, presence.clone());
                self.said.push(presence.clone());
            }
            self.touched.extend(&batch.touched);
            if before.is_some_and(|before| before != (epoch, seq - 1)) {
                self.rereads += 1;
                let users: Vec<Id> = self.told.keys().copied().collect();
                for presence in self.presences.get(&users).await.unwrap() {
                    self.told.insert(presence.user_id, presence);
                }
            }
        }
        heard
    }

    fn told(&self, user: Id) -> Status {
        self.told.get(&user).map_or(Status::Offline, |p| p.status)
    }

    async fn now(&self, user: Id) -> Presence {
        self.presences.get(&[user]).await.unwrap().remove(0)
    }

    async fn open(&self, user: Id, serial: u64, status: Status) {
        let device = device(user, serial, &format!("device {serial}"));
        self.presences.open(device, status).await.unwrap();
    }

    async fn close(&self, user: Id, serial: u64) {
        self.presences.close(user, serial).await.unwrap();
    }

    async fn set(&self, user: Id, whose: Whose, status: Option<Status>, text: &str) -> bool {
        let text = (!text.is_empty()).then(|| text.to_owned());
        let set = SetPresence { status, text };
        self.presences.set(user, whose, set).await.unwrap()
    }
}

fn device(user: Id, serial: u64, name: &str) -> Device {
    Device {
        user,
        serial,
        credential: user,
        name: name.into(),
    }
}

/// Nodes on one Redis.
struct Nodes {
    clock: Arc<ManualClock>,
    a: Node,
    b: Node,
}

impl Nodes {
    /// Each with a way of its own to Redis.
    async fn of(a: &RedisSettings, b: &RedisSettings) -> Nodes {
        let clock = Arc::new(ManualClock::new(START));
        let (a, b) = (Node::new(a, &clock).await, Node::new(b, &clock).await);
        let mut nodes = Nodes { clock, a, b };
        nodes.seconds(1).await;
        nodes
    }

    async fn new(variable: &str) -> Nodes {
        let settings = settings(variable);
        Nodes::of(&settings, &settings).await
    }

    async fn tick(&mut self) {
        self.a.tick().await;
        self.b.tick().await;
    }

    async fn seconds(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.clock.advance(SECOND);
            self.tick().await;
        }
    }

    /// Ticks until it is so; no time passes.
    async fn until(&mut self, what: impl Fn(&Nodes) -> bool) {
        let ticking = async {
            while !what(self) {
                self.tick().await;
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, ticking).await.expect("it isn't so");
    }

    /// Until both hold a user for that.
    async fn both(&mut self, user: Id, status: Status) {
        let is = |nodes: &Nodes| [&nodes.a, &nodes.b].map(|node| node.told(user)) == [status; 2];
        self.until(is).await;
        for node in [&self.a, &self.b] {
            assert_eq!(node.now(user).await.status, status);
        }
    }
}

async fn sessions_of_two_nodes_are_one_user(variable: &str) {
    let mut nodes = Nodes::new(variable).await;
    for user in 1..=40 {
        nodes.a.open(user, 1, Status::Online).await;
        nodes.both(user, Status::Online).await;
    }
    nodes.b.open(7, 2, Status::DoNotDisturb).await;
    nodes.both(7, Status::DoNotDisturb).await;
    assert!(
        nodes
            .a
            .set(7, Whose::Session(1), Some(Status::Idle), "")
            .await
    );
    nodes.seconds(2).await;
    nodes.both(7, Status::DoNotDisturb).await;
    nodes.b.close(7, 2).await;
    nodes.seconds(19).await;
    assert_eq!(nodes.b.told(7), Status::DoNotDisturb, "within its grace");
    nodes.seconds(1).await;
    nodes.both(7, Status::Idle).await;
    nodes.a.close(7, 1).await;
    nodes.seconds(20).await;
    nodes.both(7, Status::Offline).await;
    nodes.both(8, Status::Online).await;
    let seen = nodes.b.now(7).await.last_active_at;
    assert!(seen > 0 && seen % 60_000 == 0, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn sessions_of_two_nodes_are_one_user_on_one_server() {
    sessions_of_two_nodes_are_one_user("CHIRM_TEST_REDIS").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn sessions_of_two_nodes_are_one_user_on_a_cluster() {
    sessions_of_two_nodes_are_one_user("CHIRM_TEST_REDIS_CLUSTER").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_device_that_comes_back_elsewhere_takes_its_place() {
    let mut nodes = Nodes::new("CHIRM_TEST_REDIS").await;
    for (user, name) in [(7, "phone"), (8, "")] {
        let first = device(user, user as u64, name);
        nodes.a.presences.open(first, Status::Online).await.unwrap();
        nodes.both(user, Status::Online).await;
        nodes.a.close(user, user as u64).await;
        nodes.seconds(2).await;
        let back = device(user, user as u64, name);
        let opened = nodes.b.presences.open(back, Status::Invisible);
        opened.await.unwrap();
        nodes.both(user, Status::Offline).await;
    }
    // Before it was known to be gone.
    let phone = device(9, 9, "phone");
    let first = nodes.a.presences.open(phone.clone(), Status::DoNotDisturb);
    first.await.unwrap();
    nodes.both(9, Status::DoNotDisturb).await;
    nodes.b.presences.open(phone, Status::Idle).await.unwrap();
    nodes.seconds(2).await;
    nodes.both(9, Status::DoNotDisturb).await;
    nodes.a.close(9, 9).await;
    nodes.both(9, Status::Idle).await;
    // Of several without a name, one that ends has its grace.
    let nameless = device(10, 10, "");
    let first = nodes
        .a
        .presences
        .open(nameless.clone(), Status::DoNotDisturb);
    first.await.unwrap();
    nodes
        .b
        .presences
        .open(nameless, Status::Idle)
        .await
        .unwrap();
    nodes.both(10, Status::DoNotDisturb).await;
    nodes.seconds(2).await;
    nodes.a.close(10, 10).await;
    nodes.seconds(19).await;
    nodes.both(10, Status::DoNotDisturb).await;
    nodes.seconds(1).await;
    nodes.both(10, Status::Idle).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_is_set_on_another_node_is_set() {
    let mut nodes = Nodes::new("CHIRM_TEST_REDIS").await;
    nodes.a.open(7, 1, Status::Online).await;
    nodes.both(7, Status::Online).await;
    let credential = Whose::Credential(7);
    let other = Whose::Credential(8);
    let busy = Some(Status::DoNotDisturb);
    assert!(!nodes.b.set(7, other, busy, "").await);
    assert!(!nodes.b.set(9, other, busy, "").await);
    assert!(nodes.b.set(7, credential, busy, "at work").await);
    nodes.both(7, Status::DoNotDisturb).await;
    assert_eq!(nodes.a.told[&7].text, "at work");
    nodes.seconds(30).await;
    nodes.both(7, Status::DoNotDisturb).await;
    assert_eq!(nodes.b.now(7).await.text, "at work");
    assert!(nodes.b.set(7, credential, Some(Status::Online), "").await);
    nodes.both(7, Status::Online).await;
    nodes.seconds(301).await;
    nodes.both(7, Status::Idle).await;
    nodes.b.presences.active(7, credential);
    nodes.both(7, Status::Online).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn words_last_as_long_as_any_session() {
    let mut nodes = Nodes::new("CHIRM_TEST_REDIS").await;
    nodes.a.open(7, 1, Status::Online).await;
    nodes.b.open(7, 1, Status::Online).await;
    nodes.both(7, Status::Online).await;
    assert!(nodes.a.set(7, Whose::Session(1), None, "one").await);
    nodes.until(|nodes| nodes.b.told[&7].text == "one").await;
    assert!(nodes.b.set(7, Whose::Session(1), None, "two").await);
    nodes.until(|nodes| nodes.a.told[&7].text == "two").await;
    nodes.seconds(13).await;
    nodes.b.close(7, 1).await;
    nodes.seconds(40).await;
    assert_eq!(nodes.a.now(7).await.text, "two", "of who went first");
    nodes.a.close(7, 1).await;
    nodes.seconds(20).await;
    nodes.both(7, Status::Offline).await;
    nodes.b.open(7, 2, Status::Online).await;
    nodes.both(7, Status::Online).await;
    assert_eq!(nodes.b.now(7).await.text, "");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_was_touched_is_told_everywhere() {
    let mut nodes = Nodes::new("CHIRM_TEST_REDIS").await;
    let all = [
        Touched::Member(1, 7),
        Touched::User(7),
        Touched::Server(i64::MAX),
    ];
    for touched in all {
        nodes.a.presences.touch(touched);
    }
    let all = HashSet::from(all);
    nodes.until(|nodes| nodes.b.touched == all).await;
    assert_eq!(nodes.a.touched, all);
}
