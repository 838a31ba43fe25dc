//! Nodes that die, a Redis that forgets, links that fail.

use super::{Node, Nodes, SECOND};
use crate::bus::redis::RedisSettings;
use crate::bus::redis::keys::{Keys, part_of};
use crate::bus::redis::tests::server::{DEADLINE, Link, Own, Way, settings_at};
use crate::bus::suite::START;
use crate::bus::{SetPresence, Whose};
use crate::clock::ManualClock;
use crate::model::{Id, Presence, Status, Touched};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Users of a node.
const USERS: Id = 300;

/// Servers of the test's own, each node with a link.
struct Linked {
    own: Own,
    links: [Link; 2],
    nodes: Nodes,
}

impl Linked {
    async fn new() -> Linked {
        let own = Own::start(&[]).await;
        let links = [Link::to(own.port).await, Link::to(own.port).await];
        let patient = |link: &Link| RedisSettings {
            presence_within: DEADLINE / 3,
            ..settings_at(link.port)
        };
        let nodes = Nodes::of(&patient(&links[0]), &patient(&links[1])).await;
        Linked { own, links, nodes }
    }

    fn set(&self, way: Way) {
        self.links.iter().for_each(|link| link.set(way));
    }

    /// Until a node is heard, or no longer; no time passes.
    async fn is_heard(node: &Node, heard: bool) {
        let asking = async {
            while node.presences.get(&[7]).await.is_ok() != heard {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, asking).await.expect("it isn't so");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn the_users_of_a_dead_node_are_reaped() {
    for variable in ["CHIRM_TEST_REDIS", "CHIRM_TEST_REDIS_CLUSTER"] {
        let mut nodes = Nodes::new(variable).await;
        for user in 1..=USERS {
            nodes.a.open(user, 1, Status::Online).await;
        }
        nodes.b.open(1, 1, Status::Idle).await;
        nodes.both(USERS, Status::Online).await;
        nodes.seconds(60).await;
        let (clock, mut b) = (nodes.clock, nodes.b);
        drop(nodes.a);
        for second in 1..=45 {
            clock.advance(SECOND);
            assert!(b.tick().await);
            let here = (1..=USERS).filter(|user| b.told(*user) == Status::Online);
            assert!(second > 20 || here.count() == USERS as usize, "{second}");
        }
        assert_eq!(b.told(1), Status::Idle, "it is here, too");
        for user in 2..=USERS {
            assert_eq!(b.told(user), Status::Offline, "{user}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn who_said_goodbye_is_gone_after_the_grace_whatever_becomes_of_the_node() {
    let mut nodes = Nodes::new("CHIRM_TEST_REDIS").await;
    nodes.a.open(7, 1, Status::Online).await;
    nodes.both(7, Status::Online).await;
    nodes.seconds(20).await;
    nodes.a.close(7, 1).await;
    assert!(nodes.a.tick().await);
    let (clock, mut b) = (nodes.clock, nodes.b);
    drop(nodes.a);
    for second in 1..=27 {
        clock.advance(SECOND);
        assert!(b.tick().await);
        assert!(second >= 20 || b.told(7) == Status::Online, "{second}");
    }
    assert_eq!(b.told(7), Status::Offline);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn what_redis_forgot_is_said_again() {
    let mut linked = Linked::new().await;
    for restart in [false, true] {
        let nodes = &mut linked.nodes;
        for user in 1..=USERS {
            nodes.a.open(user, 1, Status::Online).await;
        }
        nodes.b.open(7, 1, Status::DoNotDisturb).await;
        nodes.b.set(7, Whose::Session(1), None, "at work").await;
        nodes.both(7, Status::DoNotDisturb).await;
        nodes.both(USERS, Status::Online).await;
        nodes.seconds(15).await;
        for node in [&mut nodes.a, &mut nodes.b] {
            (node.rereads, node.said) = (0, Vec::new());
        }
        if restart {
            linked.own.restart().await;
        } else {
            linked.own.run::<()>(&["FLUSHALL"]).await;
        }
        let nodes = &mut linked.nodes;
        Linked::is_heard(&nodes.a, true).await;
        Linked::is_heard(&nodes.b, true).await;
        for _ in 0..15 {
            nodes.seconds(1).await;
            sleep(Duration::from_millis(5)).await;
        }
        for node in [&nodes.a, &nodes.b] {
            assert!(node.rereads > 0);
            assert_eq!(node.said, [], "nothing changed");
            let known = node.now(7).await;
            assert_eq!(
                (known.status, &*known.text),
                (Status::DoNotDisturb, "at work")
            );
            for user in (1..=USERS).filter(|user| *user != 7) {
                assert_eq!(node.told(user), Status::Online);
                assert_eq!(node.now(user).await.status, Status::Online);
            }
        }
        // And it is told of as before.
        nodes
            .a
            .set(9, Whose::Session(1), Some(Status::Idle), "")
            .await;
        nodes.both(9, Status::Idle).await;
    }
}

/// Pub/Sub loses a message, the last one too.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_message_that_was_lost_makes_all_be_read_anew() {
    let mut linked = Linked::new().await;
    let nodes = &mut linked.nodes;
    nodes.a.open(7, 1, Status::Online).await;
    nodes.both(7, Status::Online).await;
    nodes.seconds(10).await;
    assert_eq!(nodes.b.rereads, 0);
    let state = Keys::new("chirm:").of_part(part_of(7)).remove(0);
    linked.own.run::<()>(&["HINCRBY", &state, "seq", "1"]).await;
    linked.nodes.seconds(10).await;
    assert_eq!(linked.nodes.b.rereads, 1);
    linked
        .nodes
        .a
        .set(7, Whose::Session(1), Some(Status::Idle), "")
        .await;
    linked.nodes.both(7, Status::Idle).await;
    assert_eq!(linked.nodes.b.rereads, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn without_redis_nothing_waits_and_all_is_said_when_it_is_back() {
    let mut linked = Linked::new().await;
    let nodes = &mut linked.nodes;
    for user in 1..=USERS {
        nodes.a.open(user, 1, Status::Online).await;
    }
    nodes.both(USERS, Status::Online).await;
    nodes.seconds(10).await;
    linked.links[0].set(Way::Cut);
    let nodes = &mut linked.nodes;
    Linked::is_heard(&nodes.a, false).await;
    nodes.a.open(USERS + 1, 1, Status::Online).await;
    nodes.a.close(1, 1).await;
    nodes.a.presences.touch(Touched::User(7));
    assert!(
        nodes
            .a
            .set(2, Whose::Credential(2), Some(Status::Idle), "")
            .await
    );
    assert!(!nodes.a.tick().await);
    assert!(
        nodes.a.touched.contains(&Touched::User(7)),
        "its own it knows"
    );
    nodes.b.open(USERS + 2, 1, Status::Online).await;
    nodes.seconds(20).await;
    assert_eq!(nodes.b.told(1), Status::Online, "nobody said otherwise");
    linked.links[0].set(Way::Open);
    let nodes = &mut linked.nodes;
    Linked::is_heard(&nodes.a, true).await;
    nodes.seconds(3).await;
    for (user, status) in [
        (1, Status::Offline),
        (2, Status::Idle),
        (USERS + 1, Status::Online),
        (USERS + 2, Status::Online),
    ] {
        nodes.until(|nodes| nodes.b.told(user) == status).await;
        assert_eq!(nodes.a.now(user).await.status, status);
    }
    let touched = Touched::User(7);
    nodes
        .until(|nodes| nodes.b.touched.contains(&touched))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn after_an_outage_nobody_is_reaped_who_comes_back() {
    let mut linked = Linked::new().await;
    let nodes = &mut linked.nodes;
    for user in 1..=USERS {
        nodes.a.open(user, 1, Status::Online).await;
    }
    nodes.both(USERS, Status::Online).await;
    nodes.seconds(20).await;
    linked.set(Way::Cut);
    Linked::is_heard(&linked.nodes.a, false).await;
    Linked::is_heard(&linked.nodes.b, false).await;
    linked.nodes.seconds(60).await;
    linked.links[1].set(Way::Open);
    let nodes = &mut linked.nodes;
    Linked::is_heard(&nodes.b, true).await;
    nodes.seconds(8).await;
    linked.links[0].set(Way::Open);
    let nodes = &mut linked.nodes;
    Linked::is_heard(&nodes.a, true).await;
    nodes.seconds(60).await;
    for user in 1..=USERS {
        let gone = |told: &&Presence| told.user_id == user && told.status == Status::Offline;
        assert_eq!(nodes.b.said.iter().find(gone), None);
        assert_eq!(nodes.b.told(user), Status::Online);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the real servers: make stack-up"]
async fn a_frozen_redis_is_not_waited_for() {
    let own = Own::start(&[]).await;
    let link = Link::to(own.port).await;
    let clock = Arc::new(ManualClock::new(START));
    let mut settings = settings_at(link.port);
    // Longer than it could take by itself.
    settings.time_out = DEADLINE * 10;
    let mut node = Node::new(&settings, &clock).await;
    assert!(node.tick().await);
    Linked::is_heard(&node, true).await;
    link.set(Way::Frozen);
    clock.advance(SECOND * 5);
    let calls = async {
        node.open(7, 1, Status::Online).await;
        assert!(node.presences.get(&[7]).await.is_err());
        assert!(!node.tick().await);
        let elsewhere = SetPresence::default();
        let set = node.presences.set(8, Whose::Credential(8), elsewhere);
        assert!(set.await.is_err());
        node.close(7, 1).await;
    };
    timeout(DEADLINE, calls).await.expect("it waits");
}
