//! Ids and nonces.

use super::*;
use crate::bus::{Looked, Operation, OperationKind, Reserve, Reserved, Revise, Revised, Ticket};
use crate::model::id_time_ms;

const DAY: Duration = Duration::from_secs(86_400);

fn asked(nonce: &str) -> Reserve {
    Reserve {
        channel: 1,
        author: 2,
        nonce: nonce.into(),
        content_hash: 3,
        above: 0,
        repeat: false,
        heard: 0,
        looked: None,
    }
}

/// A send that was reserved, as `asked`.
fn operation(nonce: &str, message: Id) -> Operation {
    Operation {
        kind: OperationKind::Create,
        channel: 1,
        message,
        revision: 0,
        author: 2,
        nonce: nonce.into(),
        epoch: 0,
        began: 0,
    }
}

fn nothing(epoch: i64) -> Looked {
    Looked {
        epoch,
        nonce: None,
        newest: 0,
    }
}

impl World {
    /// Reserves; a bus that asks hears that the store has nothing.
    async fn reserve(&self, mut reserve: Reserve) -> Reserved {
        loop {
            match self
                .bus
                .reservations
                .reserve(reserve.clone())
                .await
                .unwrap()
            {
                Reserved::Look(epoch) => reserve.looked = Some(nothing(epoch)),
                reserved => return reserved,
            }
        }
    }

    /// Whether the nonce is that of this message, sent as `asked`.
    async fn is_taken_by(&self, reserve: Reserve, message: Id) -> bool {
        let reserved = self.reserve(reserve).await;
        matches!(reserved, Reserved::Existing { id, content_hash: 3, .. } if id == message)
    }

    async fn new_id(&self, reserve: Reserve) -> Id {
        match self.reserve(reserve).await {
            Reserved::New(ticket) => ticket.id,
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
        assert!(world.is_taken_by(again, id).await);
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
    let world = Arc::new(World::new::<P>().await);
    for round in 0..100 {
        let asking = (0..4).map(|_| {
            let world = world.clone();
            let nonce = round.to_string();
            tokio::spawn(async move { world.reserve(asked(&nonce)).await })
        });
        let answers = futures::future::join_all(asking).await;
        let (mut new, mut existing) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer.unwrap() {
                Reserved::New(ticket) => new.push(ticket.id),
                Reserved::Existing { id, .. } => existing.push(id),
                look @ Reserved::Look(_) => panic!("{look:?}"),
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
    let Reserved::New(Ticket { id, began, .. }) = world.reserve(asked("n")).await else {
        panic!("it isn't new")
    };
    let kept = world.new_id(asked("kept")).await;
    let given_back = Operation {
        began,
        ..operation("n", id)
    };
    world.bus.reservations.release(&given_back).await;
    assert!(world.new_id(asked("n")).await > id);
    assert!(world.is_taken_by(asked("kept"), kept).await);
}

pub(crate) async fn a_nonce_is_held_for_ten_minutes<P: Place>() {
    let world = World::new::<P>().await;
    let id = world.new_id(asked("n")).await;
    world.advance(Duration::from_secs(599));
    assert!(world.is_taken_by(asked("n"), id).await);
    world.advance(Duration::from_secs(2));
    assert!(world.new_id(asked("n")).await > id);
}

pub(crate) async fn a_revision_is_above_its_message_and_the_one_before<P: Place>() {
    let world = World::new::<P>().await;
    let message = world.new_id(asked("n")).await;
    let mut above = message;
    for kind in [OperationKind::Edit, OperationKind::Delete] {
        let mut revise = Revise {
            channel: 1,
            message,
            kind,
            above,
            looked: None,
        };
        let revision = loop {
            match world.bus.reservations.revise(revise.clone()).await.unwrap() {
                Revised::Look(epoch) => revise.looked = Some(nothing(epoch)),
                Revised::New(ticket) => break ticket.id,
            }
        };
        assert!(id_time_ms(revision) > id_time_ms(above));
        above = revision;
    }
    assert!(world.new_id(asked("m")).await > above);
}
