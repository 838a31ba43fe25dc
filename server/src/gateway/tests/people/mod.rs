//! Presences and member lists: who is told what of whom.

mod lists;

use super::*;
use crate::domain::ProfileChanges;
use crate::model::Role;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, HashMap, HashSet};
use v1::member_list_item::Item;
use v1::member_list_op::Kind;
use v1::{Intent, PresenceStatus as Status};

/// How long who left is shown as present, here.
const GRACE: Duration = Duration::from_millis(1_500);

async fn world() -> World {
    World::new(|config| config.gateway.grace = GRACE).await
}

fn watching(user: &User) -> v1::Identify {
    v1::Identify {
        intents: vec![Intent::Presence as i32],
        ..identify(user)
    }
}

fn ranges(server_id: Id, ranges: &[(i32, i32)]) -> v1::View {
    let range = |(start, count): &(i32, i32)| v1::MemberRange {
        start: *start,
        count: *count,
    };
    v1::View {
        member_lists: vec![v1::MemberListView {
            server_id,
            ranges: ranges.iter().map(range).collect(),
        }],
        ..v1::View::default()
    }
}

/// An item as it is compared: a heading (role, count), or a member's name, role, status and text.
#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Heading(i32, i32),
    Member(Id, String, i32, i32, String),
}

fn shown(item: &v1::MemberListItem) -> Shown {
    match item.item.as_ref().expect("an item") {
        Item::Group(group) => Shown::Heading(group.role, group.count),
        Item::Member(member) => {
            let presence = item.presence.clone().unwrap_or_default();
            let name = member.user.clone().unwrap_or_default().display_name;
            Shown::Member(
                member.user_id,
                name,
                member.role,
                presence.status,
                presence.text,
            )
        }
    }
}

/// What a client makes of what it is told of people.
#[derive(Default)]
struct Picture {
    presences: HashMap<Id, v1::Presence>,
    /// By start and count: the number of the latest frame, and the places.
    ranges: BTreeMap<(i32, i32), (i64, Vec<Shown>)>,
    groups: Vec<(i32, i32)>,
    list_frames: usize,
}

impl Picture {
    fn take(&mut self, frame: &Frame) {
        match frame {
            Frame::PresenceChanged(changed) => {
                for presence in &changed.presences {
                    self.presences.insert(presence.user_id, presence.clone());
                }
            }
            Frame::MemberListChanged(changed) => self.list(changed),
            _ => {}
        }
    }

    fn list(&mut self, changed: &v1::MemberListChanged) {
        self.list_frames += 1;
        let range = changed.range.expect("a range");
        let place = (range.start, range.count);
        let groups = changed.groups.iter();
        self.groups = groups.map(|group| (group.role, group.count)).collect();
        let sync = changed.ops.iter().any(|op| op.kind() == Kind::Sync);
        let (seq, places) = self.ranges.entry(place).or_default();
        assert!(sync || changed.seq == *seq + 1, "numbered by one");
        *seq = changed.seq;
        for op in &changed.ops {
            let at = || (op.index - range.start) as usize;
            match op.kind() {
                Kind::Sync => *places = op.items.iter().map(shown).collect(),
                Kind::Insert => places.insert(at(), shown(&op.items[0])),
                Kind::Update => places[at()] = shown(&op.items[0]),
                Kind::Delete => drop(places.remove(at())),
                Kind::Unspecified => panic!("no step"),
            }
        }
        assert!(places.len() <= range.count as usize);
    }

    fn status(&self, user: &User) -> Status {
        let presence = self.presences.get(&user.caller.user_id);
        presence.map_or(Status::Offline, v1::Presence::status)
    }

    fn places(&self, start: i32, count: i32) -> Vec<Shown> {
        self.ranges
            .get(&(start, count))
            .cloned()
            .unwrap_or_default()
            .1
    }

    /// Takes in what comes until that is so.
    async fn until(&mut self, client: &Client, what: &str, so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(Instant::now() < end, "never: {what}");
            let frame = std::future::poll_fn(|cx| client.outbox.poll_frame(cx));
            let frame = tokio::time::timeout(PATIENCE, frame).await;
            let frame = frame.unwrap_or_else(|_| panic!("never: {what}"));
            self.take(&decode(&frame.expect("the stream goes on")));
        }
    }

    /// Takes in what comes within two ticks.
    async fn rest(&mut self, client: &Client) {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        while let Some(frame) = client.at_hand().await {
            self.take(&frame);
        }
    }
}

async fn set(client: &Client, call: u32, status: Status, text: &str) {
    let request = v1::SetPresenceRequest {
        status: status as i32,
        text: Some(text.to_owned()),
    };
    client.send(Input::Request(call, Request::Presence(request)));
}

#[tokio::test]
async fn members_of_a_small_server_are_told_of_each_other() {
    let world = world().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let eve = world.user("eve").await;
    world.server(&ann, &[&bob]).await;
    world.server(&eve, &[]).await;
    let (watcher, stranger) = (
        world.connect(watching(&ann), 256),
        world.connect(watching(&eve), 256),
    );
    let mut picture = Picture::default();
    let client = world.connect(identify(&bob), 256);
    let online = |p: &Picture| p.status(&bob) == Status::Online;
    picture.until(&watcher, "bob is online", online).await;
    set(&client, 1, Status::DoNotDisturb, "at work").await;
    let busy = |p: &Picture| p.status(&bob) == Status::DoNotDisturb;
    picture.until(&watcher, "bob is busy", busy).await;
    assert_eq!(picture.presences[&bob.caller.user_id].text, "at work");
    drop(client);
    let again = world.connect(identify(&bob), 256);
    let online = |p: &Picture| p.status(&bob) != Status::DoNotDisturb;
    picture.until(&watcher, "bob is back", online).await;
    assert_eq!(
        picture.status(&bob),
        Status::Online,
        "no flap within the grace"
    );
    drop(again);
    let offline = |p: &Picture| p.status(&bob) == Status::Offline;
    picture.until(&watcher, "bob is gone", offline).await;
    let mut other = Picture::default();
    other.rest(&stranger).await;
    let own = HashSet::from([eve.caller.user_id]);
    let told: HashSet<Id> = other.presences.keys().copied().collect();
    assert!(told.is_subset(&own), "told of {told:?}");
}

#[tokio::test]
async fn whoever_leaves_is_told_as_offline_to_those_who_see_it_nowhere_else() {
    let world = world().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let eve = world.user("eve").await;
    let (server, _) = world.server(&ann, &[&bob, &eve]).await;
    world.server(&bob, &[&eve]).await;
    let (to_ann, to_eve) = (
        world.connect(watching(&ann), 256),
        world.connect(watching(&eve), 256),
    );
    let _bob = world.connect(identify(&bob), 256);
    let (mut anns, mut eves) = (Picture::default(), Picture::default());
    let online = |p: &Picture| p.status(&bob) == Status::Online;
    anns.until(&to_ann, "bob is online", online).await;
    eves.until(&to_eve, "bob is online", online).await;
    let left = world.domain.leave_server(&bob.caller, server).await;
    left.expect("leaves");
    let offline = |p: &Picture| !online(p);
    anns.until(&to_ann, "bob is told as offline", offline).await;
    eves.rest(&to_eve).await;
    assert!(online(&eves), "eve sees bob elsewhere");
}

#[tokio::test]
async fn who_comes_later_is_told_who_is_there() {
    let world = world().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (server, _) = world.server(&ann, &[]).await;
    let _there = world.connect(identify(&ann), 256);
    let watcher = world.connect(watching(&bob), 256);
    watcher.ready().await;
    let mut picture = Picture::default();
    picture.rest(&watcher).await;
    assert_eq!(picture.status(&ann), Status::Offline, "they share nothing");
    world.join(&bob, server).await;
    let online = |p: &Picture| p.status(&ann) == Status::Online;
    picture.until(&watcher, "ann is online", online).await;
    world.kick(&ann, server, &bob).await;
    picture.rest(&watcher).await;
    let client = world.connect(identify(&ann), 256);
    set(&client, 1, Status::Idle, "").await;
    picture.rest(&watcher).await;
    assert_eq!(
        picture.status(&ann),
        Status::Online,
        "told after it was taken out"
    );
}

#[tokio::test]
async fn who_comes_last_is_told_of_all_by_several_frames() {
    let world = world().await;
    let ann = world.user("ann").await;
    let (server, _) = world.server(&ann, &[]).await;
    let users = crowd(&world, server, 90).await;
    let live: Vec<_> = users
        .iter()
        .map(|user| world.connect(identify(user), 256))
        .collect();
    // It takes four frames at a time.
    let watcher = world.connect(watching(&ann), 4);
    let mut picture = Picture::default();
    let all = |p: &Picture| users.iter().all(|user| p.status(user) == Status::Online);
    picture.until(&watcher, "all are here", all).await;
    assert_eq!(live.len(), 90);
}

#[tokio::test]
async fn a_named_user_is_told_of_while_both_share_something() {
    let world = world().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let eve = world.user("eve").await;
    let (server, _) = world.server(&ann, &[&bob]).await;
    let others = crowd(&world, server, 260).await;
    let (_ann, _eve) = (
        world.connect(identify(&ann), 256),
        world.connect(identify(&eve), 256),
    );
    let watcher = world.connect(watching(&bob), 256);
    let view = v1::View {
        users: vec![
            ann.caller.user_id,
            eve.caller.user_id,
            others[0].caller.user_id,
        ],
        ..v1::View::default()
    };
    watcher.send(Input::View(view));
    let mut picture = Picture::default();
    let online = |p: &Picture| p.status(&ann) == Status::Online;
    picture.until(&watcher, "ann is online", online).await;
    picture.rest(&watcher).await;
    assert!(
        picture.presences.contains_key(&others[0].caller.user_id),
        "offline is told, too"
    );
    assert!(
        !picture.presences.contains_key(&eve.caller.user_id),
        "eve is a stranger"
    );
    let (second, _) = world.server(&eve, &[&ann]).await;
    let left = world.domain.leave_server(&bob.caller, server).await;
    left.expect("leaves");
    picture.rest(&watcher).await;
    let again = world.connect(identify(&ann), 256);
    set(&again, 1, Status::DoNotDisturb, "").await;
    picture.rest(&watcher).await;
    assert_eq!(
        picture.status(&ann),
        Status::Offline,
        "shown as offline when they share nothing, whatever ann does"
    );
    world.join(&bob, second).await;
    let busy = |p: &Picture| p.status(&ann) == Status::DoNotDisturb;
    picture
        .until(&watcher, "they share a server again", busy)
        .await;
}

/// So many more members.
async fn crowd(world: &World, server: Id, count: usize) -> Vec<User> {
    let mut users = Vec::new();
    for n in 0..count {
        let user = world.user(&format!("member {n:03}")).await;
        world.join(&user, server).await;
        users.push(user);
    }
    users
}

#[tokio::test]
async fn of_a_large_server_only_viewers_of_a_range_are_told() {
    let world = world().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (server, _) = world.server(&ann, &[&bob]).await;
    let users = crowd(&world, server, 260).await;
    let quiet = world.connect(watching(&bob), 256);
    let viewer = world.connect(identify(&ann), 256);
    viewer.ready().await;
    viewer.send(Input::View(ranges(
        server,
        &[(0, 100), (200, 100), (900, 10)],
    )));
    let mut picture = Picture::default();
    let synced = |p: &Picture| p.ranges.len() == 3;
    picture.until(&viewer, "three ranges", synced).await;
    picture.rest(&viewer).await;
    assert_eq!(picture.places(900, 10), [], "beyond the end");
    assert_eq!(
        picture.places(200, 100).len(),
        265 - 200,
        "262 members, 3 headings"
    );
    let before = picture.list_frames;
    let client = world.connect(identify(&users[7]), 256);
    picture.rest(&viewer).await;
    let first = picture.places(0, 100);
    let heading = Shown::Heading(v1::Role::Member as i32, 2);
    assert!(
        first.contains(&heading),
        "bob and member 007: {:?}",
        &first[..6]
    );
    assert!(picture.list_frames - before <= 2, "one frame a range");
    set(&client, 1, Status::Idle, "tea").await;
    let before = picture.list_frames;
    picture.rest(&viewer).await;
    assert_eq!(picture.list_frames - before, 1, "it stays in its place");
    let mut other = Picture::default();
    other.rest(&quiet).await;
    let told: Vec<_> = other.presences.keys().collect();
    assert_eq!(told, [&bob.caller.user_id], "of itself alone");
    world.kick(&ann, server, &users[7]).await;
    let gone = users[7].caller.user_id;
    let gone = |p: &Picture| {
        let mut first = p.places(0, 100).into_iter();
        !first.any(|shown| matches!(shown, Shown::Member(id, ..) if id == gone))
    };
    picture.until(&viewer, "member 007 is gone", gone).await;
    assert_eq!(
        picture.groups.iter().map(|(_, count)| count).sum::<i32>(),
        261
    );
}

#[tokio::test]
async fn a_server_that_grows_large_tells_of_its_members_no_longer() {
    let world = world().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (server, _) = world.server(&ann, &[&bob]).await;
    crowd(&world, server, 248).await;
    let _ann = world.connect(identify(&ann), 256);
    let watcher = world.connect(watching(&bob), 256);
    let mut picture = Picture::default();
    let online = |p: &Picture| p.status(&ann) == Status::Online;
    picture.until(&watcher, "ann is online", online).await;
    let one_more = world.user("one more").await;
    world.join(&one_more, server).await;
    let unknown = |p: &Picture| p.status(&ann) == Status::Offline;
    picture
        .until(&watcher, "of ann it is told no longer", unknown)
        .await;
    world.kick(&ann, server, &one_more).await;
    picture.until(&watcher, "it is small again", online).await;
}
