//! Sentences about reactions and pins.

use super::*;
use crate::model::{Pin, Reaction};
use crate::store::{Anchor, Error, Reactor, Tally};
use futures::future::join_all;

fn reactor(message_id: Id, user_id: Id, emoji: &str) -> Reactor {
    Reactor {
        channel_id: CHANNEL,
        message_id,
        user_id,
        emoji: emoji.into(),
    }
}

/// The kinds of a message, in order, with their counts.
async fn kinds<P: Place>(world: &World<P>, id: Id) -> Vec<(String, i32)> {
    let message = world.store.get(CHANNEL, id).await.unwrap().unwrap();
    let kinds = message.reactions.into_iter();
    kinds.map(|kind| (kind.emoji, kind.count)).collect()
}

async fn react<P: Place>(world: &World<P>, id: Id, user: Id, emoji: &str) -> Tally {
    let reacted = world.store.react(reactor(id, user, emoji), true);
    reacted.await.unwrap()
}

async fn take_back<P: Place>(world: &World<P>, id: Id, user: Id, emoji: &str) -> Tally {
    let taken = world.store.react(reactor(id, user, emoji), false);
    taken.await.unwrap()
}

async fn reactors<P: Place>(world: &World<P>, kind: Id) -> Vec<Id> {
    let users = world.store.reactors(kind, 0, 999).await.unwrap();
    users.into_iter().map(|user| user.id).collect()
}

fn of(emoji: &str, count: i32) -> (String, i32) {
    (emoji.into(), count)
}

fn is_no_message<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(
        matches!(result, Err(Error::NotFound("message"))),
        "{result:?}"
    );
}

pub(crate) async fn a_reaction_counts_once_a_user<P: Place>() {
    let mut world = World::<P>::new().await;
    world.write(100).await;
    let first = react(&world, 100, 1, "b").await;
    assert!(first.changed && first.reaction.count == 1);
    let again = react(&world, 100, 1, "b").await;
    assert_eq!((again.changed, &again.reaction), (false, &first.reaction));
    assert_eq!(react(&world, 100, 2, "a").await.reaction.count, 1);
    assert_eq!(react(&world, 100, 2, "b").await.reaction.count, 2);
    assert_eq!(react(&world, 100, 3, "b").await.reaction.count, 3);
    assert_eq!(kinds(&world, 100).await, [of("b", 3), of("a", 1)]);
    let taken = take_back(&world, 100, 1, "b").await;
    assert!(taken.changed && taken.reaction.count == 2);
    assert!(!take_back(&world, 100, 1, "b").await.changed);
    let absent = take_back(&world, 100, 1, "c").await;
    assert_eq!((absent.changed, absent.reaction.count), (false, 0));
    assert_eq!(reactors(&world, first.reaction.kind).await, [2, 3]);
    let after = world.store.reactors(first.reaction.kind, 2, 999).await;
    assert_eq!(after.unwrap()[0].id, 3);
    let some = world.store.reactors(first.reaction.kind, 0, 1).await;
    assert_eq!(some.unwrap().len(), 1);
    let other = take_back(&world, 100, 2, "a").await;
    assert_eq!(other.reaction.count, 0);
    assert_eq!(kinds(&world, 100).await, [of("b", 2)]);
    world.reopen().await;
    let page = world.store.page(CHANNEL, Anchor::Newest, 9).await.unwrap();
    let expected = Reaction {
        kind: first.reaction.kind,
        emoji: "b".into(),
        count: 2,
        own: false,
    };
    assert_eq!(page.messages[0].reactions, [expected]);
}

pub(crate) async fn reactions_that_come_and_go_at_once_are_counted_right<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    let all = (1000..1060).flat_map(|user| {
        let change = |present| world.store.react(reactor(100, user, "a"), present);
        // Queued in this order: those of every third user end as not there.
        let mut changes = vec![change(true), change(true)];
        if user % 3 == 0 {
            changes.push(change(false));
        }
        changes
    });
    for tally in join_all(all.collect::<Vec<_>>()).await {
        tally.unwrap();
    }
    assert_eq!(kinds(&world, 100).await, [of("a", 40)]);
}

pub(crate) async fn own_reactions_are_told_from_others<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    world.write(101).await;
    let a = react(&world, 100, 1, "a").await.reaction.kind;
    let b = react(&world, 100, 2, "b").await.reaction.kind;
    let other = react(&world, 101, 1, "b").await.reaction.kind;
    let own = async |user, kinds: &[Id]| {
        let mut own = world.store.own_reactions(user, kinds).await.unwrap();
        own.sort_unstable();
        own
    };
    assert_eq!(own(1, &[b, other, a, 999]).await, [a, other]);
    assert_eq!(own(2, &[a, b, other]).await, [b]);
    assert!(own(3, &[a, b]).await.is_empty() && own(1, &[]).await.is_empty());
    let all = world.store.reactions_of(1, 0, 9).await.unwrap();
    assert_eq!(
        all.iter().map(|one| one.kind).collect::<Vec<_>>(),
        [a, other]
    );
    assert_eq!(all[1].reactor, reactor(101, 1, "b"));
    let after = world.store.reactions_of(1, a, 9).await.unwrap();
    assert_eq!(after, all[1..]);
    assert_eq!(world.store.reactions_of(1, 0, 1).await.unwrap(), all[..1]);
}

pub(crate) async fn a_message_has_twenty_kinds_at_most<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    for n in 0..20 {
        react(&world, 100, 1, &n.to_string()).await;
    }
    let refused = world.store.react(reactor(100, 1, "more"), true).await;
    assert!(
        matches!(refused, Err(Error::LimitReached("reactions", 20))),
        "{refused:?}"
    );
    assert_eq!(react(&world, 100, 2, "7").await.reaction.count, 2);
    take_back(&world, 100, 1, "3").await;
    react(&world, 100, 1, "more").await;
    assert_eq!(kinds(&world, 100).await.len(), 20);
}

pub(crate) async fn cleared_reactions_do_not_come_back<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    let first = react(&world, 100, 1, "a").await.reaction.kind;
    react(&world, 100, 2, "a").await;
    react(&world, 100, 2, "b").await;
    let clear = |emoji: &str| world.store.clear_reactions(CHANNEL, 100, emoji.into());
    assert!(clear("a").await.unwrap());
    assert!(!clear("a").await.unwrap());
    assert_eq!(kinds(&world, 100).await, [of("b", 1)]);
    assert!(reactors(&world, first).await.is_empty());
    let again = react(&world, 100, 3, "a").await;
    assert!(again.changed && again.reaction.count == 1);
    assert_ne!(again.reaction.kind, first);
    assert_eq!(reactors(&world, again.reaction.kind).await, [3]);
    assert!(clear("").await.unwrap());
    assert!(!clear("").await.unwrap());
    assert!(kinds(&world, 100).await.is_empty());
    for user in USERS {
        let left = world.store.reactions_of(user, 0, 9).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(crate) async fn an_edit_keeps_what_stands_on_a_message<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    react(&world, 100, 1, "a").await;
    assert!(world.store.pin(CHANNEL, 100, 1, 500).await.unwrap());
    let edit = world
        .store
        .edit(CHANNEL, 100, "new".into(), Mentions::default(), 9, 9);
    let row = edit.await.unwrap();
    assert_eq!((row.reactions[0].count, row.pinned), (1, true));
    assert_eq!(world.store.get(CHANNEL, 100).await.unwrap(), Some(row));
}

pub(crate) async fn what_stands_on_a_message_goes_with_it<P: Place>() {
    let world = World::<P>::new().await;
    for id in [100, 101] {
        world.write(id).await;
        react(&world, id, 1, "a").await;
        assert!(world.store.pin(CHANNEL, id, 1, 500).await.unwrap());
    }
    let row = world.store.delete(CHANNEL, 100, 9, None).await.unwrap();
    assert!(row.reactions.is_empty() && !row.pinned);
    let erased = world.store.erase_author(OWNER, (0, 0)).await.unwrap();
    let row = &erased.messages[0];
    assert!(row.id == 101 && row.reactions.is_empty() && !row.pinned);
    let pins = world.store.pins(CHANNEL, Id::MAX, 9).await.unwrap();
    assert_eq!(pins, []);
    assert_eq!(world.store.reactions_of(1, 0, 9).await.unwrap(), []);
    for id in [100, 999] {
        is_no_message(world.store.react(reactor(id, 1, "a"), true).await);
        is_no_message(world.store.react(reactor(id, 1, "a"), false).await);
        is_no_message(world.store.clear_reactions(CHANNEL, id, "".into()).await);
        is_no_message(world.store.pin(CHANNEL, id, 1, 501).await);
        is_no_message(world.store.unpin(CHANNEL, id).await);
    }
}

pub(crate) async fn what_stands_on_messages_goes_with_their_channel<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    react(&world, 100, 1, "a").await;
    world.store.pin(CHANNEL, 100, 1, 500).await.unwrap();
    world
        .store
        .delete_channel(CHANNEL, vec![], None)
        .await
        .unwrap();
    is_no_message(world.store.react(reactor(100, 2, "a"), true).await);
    assert_eq!(world.store.reactions_of(1, 0, 9).await.unwrap(), []);
    assert_eq!(world.store.pins(CHANNEL, Id::MAX, 9).await.unwrap(), []);
}

pub(crate) async fn a_change_that_races_a_delete_leaves_nothing<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    let reacted = world.store.react(reactor(100, 1, "a"), true);
    let pinned = world.store.pin(CHANNEL, 100, 1, 500);
    let deleted = world.store.delete(CHANNEL, 100, 9, None);
    let mut late = Vec::new();
    let (reacted, pinned, deleted, ()) = tokio::join!(reacted, pinned, deleted, async {
        for user in 1..=3 {
            late.push(world.store.react(reactor(100, user, "b"), true).await);
        }
    });
    assert!(reacted.unwrap().changed && pinned.unwrap());
    assert!(deleted.unwrap().reactions.is_empty());
    late.into_iter().for_each(is_no_message);
    assert!(kinds(&world, 100).await.is_empty());
    assert_eq!(world.store.pins(CHANNEL, Id::MAX, 9).await.unwrap(), []);
}

pub(crate) async fn pins_come_the_latest_first<P: Place>() {
    let world = World::<P>::new().await;
    for id in 100..104 {
        world.write(id).await;
    }
    // The last one's id is below that of the one before: the clock was set back.
    for (message, pin) in [(102, 500), (100, 600), (103, 550)] {
        let pinned = world.store.pin(CHANNEL, message, 2, pin).await;
        assert!(pinned.unwrap());
    }
    assert!(!world.store.pin(CHANNEL, 102, 3, 900).await.unwrap());
    let pins = |before, limit| world.store.pins(CHANNEL, before, limit);
    let ids = |pins: &[Pin]| pins.iter().map(|pin| pin.message.id).collect::<Vec<_>>();
    let all = pins(Id::MAX, 9).await.unwrap();
    assert_eq!(ids(&all), [103, 100, 102]);
    assert_eq!((all[1].id, all[1].user_id), (600, 2));
    assert!(all[0].id > 600 && all.iter().all(|pin| pin.message.pinned));
    assert_eq!(ids(&pins(all[0].id, 1).await.unwrap()), [100]);
    assert!(world.store.unpin(CHANNEL, 100).await.unwrap());
    assert!(!world.store.unpin(CHANNEL, 100).await.unwrap());
    assert_eq!(ids(&pins(Id::MAX, 9).await.unwrap()), [103, 102]);
    let page = world.store.page(CHANNEL, Anchor::Newest, 9).await.unwrap();
    let pinned: Vec<_> = page.messages.iter().map(|m| m.pinned).collect();
    assert_eq!(pinned, [false, false, true, true]);
}

pub(crate) async fn a_channel_has_fifty_pins_at_most<P: Place>() {
    let world = World::<P>::new().await;
    for id in 100..151 {
        world.write(id).await;
    }
    let all = (100..150).map(|id| world.store.pin(CHANNEL, id, 1, id));
    for pinned in join_all(all).await {
        assert!(pinned.unwrap());
    }
    let refused = world.store.pin(CHANNEL, 150, 1, 999).await;
    assert!(
        matches!(refused, Err(Error::LimitReached("pins", 50))),
        "{refused:?}"
    );
    assert!(!world.store.pin(CHANNEL, 100, 1, 999).await.unwrap());
    world.store.delete(CHANNEL, 120, 9, None).await.unwrap();
    assert!(world.store.pin(CHANNEL, 150, 1, 999).await.unwrap());
}
