//! Who is here.

use super::*;
use crate::bus::{Batch, Batches, Device, Presences, SetPresence, Whose};
use crate::model::{Presence, Status, Touched};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::HashMap;

const SECOND: Duration = Duration::from_secs(1);

fn device(user: Id, serial: u64) -> Device {
    Device {
        user,
        serial,
        credential: user,
        name: format!("device {serial}"),
    }
}

fn status(status: Status) -> SetPresence {
    SetPresence {
        status: Some(status),
        text: None,
    }
}

struct Watch {
    world: World,
    presences: Arc<dyn Presences>,
    batches: Batches,
    told: HashMap<Id, Presence>,
}

impl Watch {
    async fn new<P: Place>() -> Self {
        let world = World::new::<P>().await;
        let presences = world.bus.presences.clone();
        Self {
            batches: presences.batches(),
            presences,
            world,
            told: HashMap::new(),
        }
    }

    async fn open(&self, user: Id, serial: u64, status: Status) {
        let opened = self.presences.open(device(user, serial), status).await;
        opened.unwrap();
    }

    async fn close(&self, user: Id, serial: u64) {
        self.presences.close(user, serial).await.unwrap();
    }

    /// A second passes. What the batches told.
    async fn tick(&mut self) -> Vec<Arc<Batch>> {
        self.world.advance(SECOND);
        self.presences.tick().await.unwrap();
        let mut told = Vec::new();
        while let Ok(batch) = self.batches.try_recv() {
            for presence in &batch.presences {
                self.told.insert(presence.user_id, presence.clone());
            }
            told.push(batch);
        }
        told
    }

    async fn ticks(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.tick().await;
        }
    }

    fn told(&self, user: Id) -> Status {
        self.told.get(&user).map_or(Status::Offline, |p| p.status)
    }

    async fn now(&self, user: Id) -> Presence {
        self.presences.get(&[user]).await.unwrap().remove(0)
    }
}

pub(crate) async fn a_user_shows_the_most_present_of_its_sessions<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    watch.open(7, 1, Status::Idle).await;
    watch.tick().await;
    assert_eq!(watch.told(7), Status::Idle);
    watch.open(7, 2, Status::Online).await;
    watch.tick().await;
    assert_eq!(watch.told(7), Status::Online);
    let presences = watch.presences.clone();
    let dnd = presences.set(7, Whose::Session(1), status(Status::DoNotDisturb));
    assert!(dnd.await.unwrap());
    watch.tick().await;
    assert_eq!(watch.told(7), Status::DoNotDisturb);
    let hidden = presences.set(7, Whose::Credential(7), status(Status::Invisible));
    assert!(hidden.await.unwrap(), "of all sessions of the credential");
    watch.tick().await;
    assert_eq!(watch.told(7), Status::Offline);
    let absent = presences.set(7, Whose::Session(3), status(Status::Online));
    assert!(!absent.await.unwrap(), "it has no such session");
}

pub(crate) async fn a_reconnect_within_the_grace_shows_nothing<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    watch.open(7, 1, Status::Online).await;
    watch.tick().await;
    watch.close(7, 1).await;
    for _ in 0..19 {
        assert!(watch.tick().await.is_empty());
    }
    watch.open(7, 2, Status::Online).await;
    for _ in 0..30 {
        assert!(watch.tick().await.is_empty());
    }
    watch.close(7, 2).await;
    watch.ticks(19).await;
    assert_eq!(watch.told(7), Status::Online);
    watch.ticks(1).await;
    assert_eq!(watch.told(7), Status::Offline);
}

pub(crate) async fn who_comes_back_hidden_is_hidden_at_once<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    watch.open(7, 1, Status::Online).await;
    watch.tick().await;
    watch.close(7, 1).await;
    let again = Device {
        serial: 2,
        ..device(7, 1)
    };
    watch
        .presences
        .open(again, Status::Invisible)
        .await
        .unwrap();
    watch.tick().await;
    assert_eq!(watch.told(7), Status::Offline);
}

pub(crate) async fn who_came_back_before_it_was_gone_shows_as_it_came<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    watch.open(7, 1, Status::DoNotDisturb).await;
    watch.tick().await;
    let again = Device {
        serial: 2,
        ..device(7, 1)
    };
    watch.presences.open(again, Status::Idle).await.unwrap();
    watch.close(7, 1).await;
    assert_eq!(watch.now(7).await.status, Status::Idle);
    watch.tick().await;
    assert_eq!(watch.told(7), Status::Idle);
    watch.close(7, 2).await;
    watch.ticks(19).await;
    assert_eq!(watch.told(7), Status::Idle, "within its grace");
    watch.ticks(1).await;
    assert_eq!(watch.told(7), Status::Offline);
}

pub(crate) async fn who_hides_tells_nothing<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    watch.open(7, 1, Status::Online).await;
    let words = SetPresence {
        status: None,
        text: Some("at work".into()),
    };
    let presences = watch.presences.clone();
    presences.set(7, Whose::Session(1), words).await.unwrap();
    watch.tick().await;
    assert_eq!(watch.told[&7].text, "at work");
    let seen = watch.told[&7].last_active_at;
    let hidden = presences.set(7, Whose::Session(1), status(Status::Invisible));
    hidden.await.unwrap();
    watch.ticks(600).await;
    presences.active(7, Whose::Session(1));
    let shown = Presence {
        last_active_at: seen,
        ..Presence::offline(7)
    };
    assert_eq!(watch.now(7).await, shown);
    watch.tick().await;
    assert_eq!(watch.told[&7], shown);
}

pub(crate) async fn who_does_nothing_for_five_minutes_is_idle<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    watch.open(7, 1, Status::Online).await;
    watch.ticks(200).await;
    watch.presences.active(7, Whose::Session(1));
    watch.ticks(299).await;
    assert_eq!(watch.told(7), Status::Online);
    watch.ticks(2).await;
    assert_eq!(watch.told(7), Status::Idle);
    watch.presences.active(7, Whose::Credential(7));
    watch.tick().await;
    assert_eq!(watch.told(7), Status::Online);
    watch.ticks(301).await;
    assert_eq!(watch.told(7), Status::Idle, "once more");
    let minute = watch.told[&7].last_active_at;
    assert_eq!(minute % 60_000, 0, "to the minute");
    assert!(watch.world.now() - minute >= 300_000);
}

pub(crate) async fn changes_within_a_tick_are_one<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    watch.open(7, 1, Status::Online).await;
    for n in 0..100 {
        let to = [Status::Idle, Status::DoNotDisturb][n % 2];
        let set = watch.presences.set(7, Whose::Session(1), status(to));
        set.await.unwrap();
    }
    for _ in 0..3 {
        watch.presences.touch(Touched::Member(1, 7));
    }
    let batches = watch.tick().await;
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].presences.len(), 1, "the last one wins");
    assert_eq!(watch.told(7), Status::DoNotDisturb);
    assert_eq!(batches[0].touched, [Touched::Member(1, 7)]);
    for to in [Status::Idle, Status::DoNotDisturb] {
        let set = watch.presences.set(7, Whose::Session(1), status(to));
        set.await.unwrap();
    }
    assert!(watch.tick().await.is_empty(), "it is as it was");
}

pub(crate) async fn what_was_read_between_ticks_is_taken_back<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    watch.open(7, 1, Status::Online).await;
    assert_eq!(watch.now(7).await.status, Status::Online);
    let presences = watch.presences.clone();
    let hidden = presences.set(7, Whose::Session(1), status(Status::Invisible));
    assert!(hidden.await.unwrap());
    let batches = watch.tick().await;
    assert_eq!(batches.len(), 1, "whoever read it holds it for online");
    assert_eq!(batches[0].presences[0].status, Status::Offline);
    assert!(watch.tick().await.is_empty(), "once is enough");
}

pub(crate) async fn a_lost_batch_shows<P: Place>() {
    let mut watch = Watch::new::<P>().await;
    let mut slow = watch.presences.batches();
    for serial in 1..=200 {
        watch.open(serial, 1, Status::Online).await;
        watch.tick().await;
    }
    let (epoch, first) = slow.recv().await.unwrap().position;
    let mut last = first;
    while let Ok(batch) = slow.try_recv() {
        assert_eq!(batch.position, (epoch, last + 1));
        last += 1;
    }
    assert!(last < 200, "some found it full");
    watch.open(1_000, 1, Status::Online).await;
    watch.tick().await;
    let next = slow.recv().await.unwrap().position;
    assert_eq!(next, (epoch, 201), "a jump");
}

/// A session of the random test, as it truly is.
struct Truth {
    user: Id,
    status: Status,
    /// The user did something last.
    active: u32,
}

/// Sessions come, go, vanish and change on several devices, over some minutes; then all rests.
pub(crate) async fn presence_equals_the_truth<P: Place>() {
    for seed in 0..24 {
        random::<P>(seed).await;
    }
}

const USERS: Id = 6;
/// Seconds; two passes of more than the idle time.
const RUN: u32 = 900;

async fn random<P: Place>(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut watch = Watch::new::<P>().await;
    let mut live: HashMap<u64, Truth> = HashMap::new();
    // Since when each user has a session that shows it, or has none.
    let mut here: HashMap<Id, u32> = HashMap::new();
    let mut away: HashMap<Id, u32> = (1..=USERS).map(|user| (user, 0)).collect();
    let mut hid: HashMap<Id, u32> = HashMap::new();
    let mut serial = 0;
    let busy = RUN - 400;
    for now in 1..=RUN {
        for _ in 0..if now < busy {
            rng.random_range(0..3)
        } else {
            0
        } {
            let user = rng.random_range(1..=USERS);
            serial += 1;
            if step(&watch, &mut rng, &mut live, user, serial, now).await {
                hid.insert(user, now);
            }
            let shown = |t: &Truth| t.user == user && t.status.shown() != Status::Offline;
            if live.values().any(shown) {
                here.entry(user).or_insert(now);
                away.remove(&user);
            } else {
                away.entry(user).or_insert(now);
                here.remove(&user);
            }
        }
        let before: Vec<_> = (1..=USERS).map(|user| watch.told(user)).collect();
        watch.tick().await;
        for user in 1..=USERS {
            let told = watch.told(user);
            let case = format!("seed {seed}, second {now}, user {user}: {told:?}");
            if here.get(&user).is_some_and(|since| now - since >= 2) {
                assert_ne!(told, Status::Offline, "{case}: not shown within 2 s");
            }
            let gone = away.get(&user).map(|since| now - since);
            if gone.is_some_and(|for_s| for_s >= 25) {
                assert_eq!(told, Status::Offline, "{case}: shown after 25 s");
            }
            let went = before[user as usize - 1] != Status::Offline && told == Status::Offline;
            // Who hides is gone at once; else the grace lies between.
            if went && hid.get(&user).is_none_or(|at| now - at >= 20) {
                assert!(
                    gone.is_some_and(|s| s >= 19),
                    "{case}: gone within the grace"
                );
            }
        }
    }
    for user in 1..=USERS {
        let of = live.values().filter(|truth| truth.user == user);
        let shown = of.map(|truth| match truth.status {
            Status::Online if RUN - truth.active >= 300 => Status::Idle,
            status => status,
        });
        let truth = shown.max().unwrap_or_default().shown();
        assert_eq!(watch.told(user), truth, "seed {seed}, user {user}, at rest");
        assert_eq!(watch.now(user).await.status, truth);
    }
}

/// Whether the user may have hidden.
async fn step(
    watch: &Watch,
    rng: &mut StdRng,
    live: &mut HashMap<u64, Truth>,
    user: Id,
    new: u64,
    active: u32,
) -> bool {
    let statuses = [
        Status::Online,
        Status::Online,
        Status::Idle,
        Status::DoNotDisturb,
        Status::Invisible,
    ];
    let status = statuses[rng.random_range(0..statuses.len())];
    let of_user = live.iter().find(|(_, truth)| truth.user == user);
    let serial = of_user.map(|(serial, _)| *serial);
    match (rng.random_range(0..4), serial) {
        (0, _) | (_, None) => {
            watch.open(user, new, status).await;
            let truth = Truth {
                user,
                status,
                active,
            };
            live.insert(new, truth);
        }
        (1, Some(serial)) => {
            watch.close(user, serial).await;
            live.remove(&serial);
        }
        (2, Some(serial)) => {
            let set = super::presences::status(status);
            let set = watch.presences.set(user, Whose::Session(serial), set);
            assert!(set.await.unwrap());
            let truth = live.get_mut(&serial).unwrap();
            (truth.status, truth.active) = (status, active);
        }
        (_, Some(serial)) => {
            watch.presences.active(user, Whose::Session(serial));
            live.get_mut(&serial).unwrap().active = active;
        }
    }
    status == Status::Invisible
}
