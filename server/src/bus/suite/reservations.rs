//! Ids and nonces.

use super::*;
use crate::bus::{Reserve, Reserved};
use crate::model::id_time_ms;

const DAY: Duration = Duration::from_secs(86_400);

fn asked(nonce: &str) -> Reserve {
    Reserve {
        channel: 1,
        author: 2,
        nonce: nonce.into(),
        content_hash: 3,
        above: 0,
    }
}

impl World {
    async fn reserve(&self, reserve: Reserve) -> Reserved {
        self.bus.reservations.reserve(reserve).await.unwrap()
    }

    async fn new_id(&self, reserve: Reserve) -> Id {
        match self.reserve(reserve).await {
            Reserved::New(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn mint(&self, above: Id) -> Id {
        self.bus.reservations.mint(above).unwrap()
    }
}

pub(crate) async fn ids_rise_and_are_not_before_the_clock<P: Place>() {
    let world = World::new::<P>().await;
    let mut last = 0;
    for round in 0..10_000 {
        let id = if round % 2 == 0 {
            world.new_id(asked("")).await
        } else {
            world.mint(0)
        };
        assert!(id > last);
        assert!(id_time_ms(id) >= world.now());
        last = id;
    }
    world.advance(DAY);
    assert!(id_time_ms(world.new_id(asked("")).await) >= world.now());
    assert!(id_time_ms(world.mint(0)) >= world.now());
}

pub(crate) async fn ids_rise_above_what_they_are_told_to<P: Place>() {
    let world = World::new::<P>().await;
    let above = world.mint(0) + (5_000 << 22);
    assert!(world.mint(above) > above);
    let above = above + (5_000 << 22);
    let answer = Reserve {
        above,
        ..asked("n")
    };
    assert!(world.new_id(answer).await > above);
}

pub(crate) async fn ids_rise_whatever_the_clock_is_set_to<P: Place>() {
    let world = World::new::<P>().await;
    let first = world.mint(0);
    world.clock.set_wall_ms(START - 86_400_000);
    let second = world.new_id(asked("")).await;
    assert!(second > first);
    world.clock.set_wall_ms(0);
    assert!(world.mint(0) > second);
}

/// A clock that was a year ahead once, when the highest of the store's ids was made.
pub(crate) async fn ids_far_ahead_of_the_clock_go_on<P: Place>() {
    let year = 365 * 86_400_000;
    let highest = (START + year - SNOWFLAKE_EPOCH_MS) << 22;
    let world = World::with::<P>(Kept::default(), highest).await;
    let id = world.new_id(asked("n")).await;
    assert!(id > highest);
    let ahead = world.bus.reservations.ahead_ms();
    assert_eq!(ahead, year);
    world.advance(DAY);
    assert_eq!(world.bus.reservations.ahead_ms(), year - 86_400_000);
    assert!(world.mint(0) > id);
    world.advance(DAY * 365);
    assert_eq!(world.bus.reservations.ahead_ms(), 0);
}

pub(crate) async fn a_nonce_has_one_id<P: Place>() {
    let world = World::new::<P>().await;
    let id = world.new_id(asked("n")).await;
    let other = Reserve {
        content_hash: 4,
        ..asked("n")
    };
    for again in [asked("n"), other] {
        let existing = Reserved::Existing {
            id,
            content_hash: 3,
        };
        assert_eq!(world.reserve(again).await, existing);
    }
}

pub(crate) async fn a_nonce_counts_for_its_author_and_channel_alone<P: Place>() {
    let world = World::new::<P>().await;
    world.new_id(asked("n")).await;
    world.new_id(asked("m")).await;
    let other = Reserve {
        channel: 9,
        ..asked("n")
    };
    world.new_id(other).await;
    let other = Reserve {
        author: 9,
        ..asked("n")
    };
    world.new_id(other).await;
}

pub(crate) async fn without_a_nonce_nothing_repeats<P: Place>() {
    let world = World::new::<P>().await;
    let first = world.new_id(asked("")).await;
    assert!(world.new_id(asked("")).await > first);
}

pub(crate) async fn of_many_at_once_with_one_nonce_one_is_new<P: Place>() {
    let world = World::new::<P>().await;
    for round in 0..100 {
        let asking = (0..4).map(|_| {
            let reservations = world.bus.reservations.clone();
            let nonce = round.to_string();
            tokio::spawn(async move { reservations.reserve(asked(&nonce)).await.unwrap() })
        });
        let answers = futures::future::join_all(asking).await;
        let (mut new, mut existing) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer.unwrap() {
                Reserved::New(id) => new.push(id),
                Reserved::Existing { id, .. } => existing.push(id),
            }
        }
        assert_eq!(new.len(), 1);
        assert_eq!(existing, [new[0]; 3]);
    }
}

pub(crate) async fn of_many_at_once_each_has_its_own_id<P: Place>() {
    let world = World::new::<P>().await;
    let minting = (0..4).map(|_| {
        let reservations = world.bus.reservations.clone();
        tokio::spawn(async move {
            let mint = |_| reservations.mint(0).unwrap();
            (0..5_000).map(mint).collect::<Vec<_>>()
        })
    });
    let mut ids = Vec::new();
    for minted in futures::future::join_all(minting).await {
        let minted = minted.unwrap();
        assert!(minted.is_sorted());
        ids.extend(minted);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20_000);
}

pub(crate) async fn a_nonce_given_back_is_the_next_ones<P: Place>() {
    let world = World::new::<P>().await;
    let id = world.new_id(asked("n")).await;
    let kept = world.new_id(asked("kept")).await;
    world.bus.reservations.release(1, 2, "n").await;
    assert!(world.new_id(asked("n")).await > id);
    let existing = Reserved::Existing {
        id: kept,
        content_hash: 3,
    };
    assert_eq!(world.reserve(asked("kept")).await, existing);
}

pub(crate) async fn a_nonce_is_held_for_ten_minutes<P: Place>() {
    let world = World::new::<P>().await;
    let id = world.new_id(asked("n")).await;
    world.advance(Duration::from_secs(599));
    assert!(matches!(
        world.reserve(asked("n")).await,
        Reserved::Existing { .. }
    ));
    world.advance(Duration::from_secs(2));
    assert!(world.new_id(asked("n")).await > id);
}
