//! Reactions and pins.

use super::*;
use crate::domain::marks::{Marking, Wanted};
use crate::model::{Message, Reaction};
use crate::store::Anchor;
use v1::event::Event;

const THUMB: &str = "\u{1f44d}";

fn on(channel_id: Id, message_id: Id, emoji: &str) -> OnMessage {
    OnMessage {
        channel_id,
        message_id,
        emoji: emoji.into(),
    }
}

async fn told(world: &World, channel: Id) -> Vec<Event> {
    world.told(TopicKey::channel(channel)).await
}

/// The reactions of an event: whose, which, and how many there are then; + came, - went.
fn reaction(event: &Event) -> Option<(char, Id, String, i32)> {
    match event {
        Event::ReactionAdded(r) => Some(('+', r.user_id, r.emoji.clone(), r.count)),
        Event::ReactionRemoved(r) => Some(('-', r.user_id, r.emoji.clone(), r.count)),
        _ => None,
    }
}

async fn page(world: &World, caller: &Caller, channel: Id) -> Vec<Message> {
    let page = world
        .domain
        .list_messages(caller, channel, Anchor::Newest, 0);
    page.await.unwrap().0.messages
}

#[tokio::test]
async fn a_reaction_is_counted_told_once_and_shown_as_own() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    let domain = &world.domain;
    let id = world.send(&owner, general, "one").await.unwrap();
    for _ in 0..2 {
        let added = domain.add_reaction(&anna, on(general, id, THUMB)).await;
        let added = added.unwrap();
        assert_eq!((added.count, added.own), (1, true));
    }
    let added = domain.add_reaction(&owner, on(general, id, THUMB)).await;
    assert_eq!(added.unwrap().count, 2);
    domain
        .add_reaction(&owner, on(general, id, "e\u{301}"))
        .await
        .unwrap();
    let shown = |message: &Message| {
        let kinds = message.reactions.iter();
        kinds
            .map(|kind| (kind.emoji.clone(), kind.count, kind.own))
            .collect::<Vec<_>>()
    };
    let annas = [(THUMB.to_owned(), 2, true), ("é".to_owned(), 1, false)];
    assert_eq!(shown(&page(&world, &anna, general).await[0]), annas);
    let got = domain.get_message(&anna, general, id).await.unwrap();
    assert_eq!(shown(&got), annas);
    let removed = domain
        .remove_reaction(&anna, on(general, id, THUMB), 0)
        .await
        .unwrap();
    assert_eq!((removed.count, removed.own), (1, false));
    let again = domain
        .remove_reaction(&anna, on(general, id, THUMB), anna.user_id)
        .await;
    assert_eq!(again.unwrap().count, 1);
    let reactions: Vec<_> = told(&world, general)
        .await
        .iter()
        .filter_map(reaction)
        .collect();
    let expected = [
        ('+', anna.user_id, THUMB.to_owned(), 1),
        ('+', owner.user_id, THUMB.to_owned(), 2),
        ('+', owner.user_id, "é".to_owned(), 1),
        ('-', anna.user_id, THUMB.to_owned(), 1),
    ];
    assert_eq!(reactions, expected);
    let who = domain
        .list_reactions(&anna, on(general, id, THUMB), 0, 0)
        .await
        .unwrap();
    assert_eq!((who.items[0].id, who.items.len()), (owner.user_id, 1));
    let nobody = domain
        .list_reactions(&anna, on(general, id, "x"), 0, 0)
        .await;
    assert!(nobody.unwrap().items.is_empty());
}

/// What a client makes of the events is what the store has, however they raced.
#[tokio::test]
async fn the_latest_event_of_a_kind_has_its_count() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let mut members = Vec::new();
    for n in 0..12 {
        members.push(world.user(&format!("member {n}")).await);
    }
    let all: Vec<&Caller> = members.iter().collect();
    let (_, general) = world.server(&owner, &all).await;
    let domain = &world.domain;
    let id = world.send(&owner, general, "one").await.unwrap();
    let changes = members.iter().enumerate().map(|(n, member)| async move {
        for turn in 0..6 {
            let on = on(general, id, if n % 2 == 0 { "a" } else { "b" });
            if (turn + n) % 3 == 0 {
                domain.remove_reaction(member, on, 0).await.unwrap();
            } else {
                domain.add_reaction(member, on).await.unwrap();
            }
        }
    });
    let edits = async {
        for n in 0..10 {
            let edited = domain.edit_message(&owner, general, id, n.to_string());
            edited.await.unwrap();
        }
    };
    tokio::join!(futures::future::join_all(changes), edits);
    let mut counts = BTreeMap::new();
    for event in told(&world, general).await {
        if let Some((_, _, emoji, count)) = reaction(&event) {
            counts.insert(emoji, count);
        } else if let Event::MessageUpdated(updated) = event {
            let kinds = updated.message.unwrap().reactions;
            let carried: BTreeMap<_, _> = kinds
                .into_iter()
                .map(|kind| (kind.emoji, kind.count))
                .collect();
            counts.retain(|_, count| *count != 0);
            assert_eq!(carried, counts, "an edit carries what was told before");
        }
    }
    counts.retain(|_, count| *count != 0);
    let now = domain.get_message(&owner, general, id).await.unwrap();
    let kinds = now.reactions.into_iter();
    let now: BTreeMap<_, _> = kinds.map(|kind| (kind.emoji, kind.count)).collect();
    assert_eq!(counts, now);
}

#[tokio::test]
async fn who_reads_reacts_and_who_moderates_takes_away() {
    let world = World::new().await;
    let (owner, anna, stranger) = (
        world.user("owner").await,
        world.user("anna").await,
        world.user("stranger").await,
    );
    let (server, _) = world.server(&owner, &[&anna]).await;
    let domain = &world.domain;
    let kind = crate::model::ChannelType::Announcement;
    let news = domain.create_channel(&owner, new_channel(server, kind, "news"));
    let news = news.await.unwrap().id;
    let id = world.send(&owner, news, "hear").await.unwrap();
    domain.add_reaction(&anna, on(news, id, "a")).await.unwrap();
    domain
        .add_reaction(&owner, on(news, id, "a"))
        .await
        .unwrap();
    let hidden = domain.add_reaction(&stranger, on(news, id, "a")).await;
    assert_eq!(why(hidden), Reason::NotFound);
    let others = domain.remove_reaction(&anna, on(news, id, "a"), owner.user_id);
    assert_eq!(why(others.await), Reason::PermissionDenied);
    let all = domain.clear_reactions(&anna, on(news, id, "")).await;
    assert_eq!(why(all), Reason::PermissionDenied);
    let pin = domain.pin_message(&anna, news, id).await;
    assert_eq!(why(pin), Reason::PermissionDenied);
    let removed = domain
        .remove_reaction(&owner, on(news, id, "a"), anna.user_id)
        .await
        .unwrap();
    assert_eq!((removed.count, removed.own), (1, true), "the owner's own");
    domain
        .clear_reactions(&owner, on(news, id, ""))
        .await
        .unwrap();
    let none = domain.clear_reactions(&owner, on(news, id, "a")).await;
    assert_eq!(none, Ok(()));
    assert!(page(&world, &anna, news).await[0].reactions.is_empty());
    let cleared = |event: &Event| matches!(event, Event::ReactionsCleared(_));
    let events = told(&world, news).await;
    assert_eq!(events.iter().filter(|event| cleared(event)).count(), 1);
}

#[tokio::test]
async fn a_block_ends_reactions_and_pins_of_two_but_not_taking_back() {
    let world = World::new().await;
    let (anna, bob) = (world.user("anna").await, world.user("bob").await);
    let direct = world.direct(&anna, &bob).await.unwrap();
    let domain = &world.domain;
    let id = world.send(&anna, direct, "hello").await.unwrap();
    domain
        .add_reaction(&bob, on(direct, id, "a"))
        .await
        .unwrap();
    domain.pin_message(&bob, direct, id).await.unwrap();
    domain.block_user(&anna, bob.user_id).await.unwrap();
    let add = domain.add_reaction(&bob, on(direct, id, "b")).await;
    assert_eq!(why(add), Reason::Blocked);
    let unpin = domain.unpin_message(&bob, direct, id).await;
    assert_eq!(why(unpin), Reason::Blocked);
    let removed = domain.remove_reaction(&bob, on(direct, id, "a"), 0).await;
    assert_eq!(removed.unwrap().count, 0);
}

#[tokio::test]
async fn bad_reactions_are_named_and_bounds_hold() {
    let world = World::with(|config| config.limits.enabled = false).await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let domain = &world.domain;
    let id = world.send(&owner, general, "one").await.unwrap();
    let error = domain
        .add_reaction(&owner, on(general, id, &"x".repeat(65)))
        .await
        .unwrap_err();
    assert_eq!(error.fields[0].path, "emoji");
    assert!(error.fields[0].problem.contains("65"), "{error}");
    let user = domain.remove_reaction(&owner, on(general, id, "a"), -1);
    assert_eq!(user.await.unwrap_err().fields[0].path, "user_id");
    let gone = domain.add_reaction(&owner, on(general, id + 1, "a")).await;
    assert_eq!(why(gone), Reason::NotFound);
    for n in 0..20 {
        let on = on(general, id, &n.to_string());
        domain.add_reaction(&owner, on).await.unwrap();
    }
    let error = domain.add_reaction(&owner, on(general, id, "one more"));
    assert_eq!(why(error.await), Reason::FieldInvalid, "a space");
    let error = domain
        .add_reaction(&owner, on(general, id, "more"))
        .await
        .unwrap_err();
    assert_eq!(error.reason, Reason::LimitReached);
    assert_eq!(error.metadata, Some(("limit", "20".into())));
    domain.delete_message(&owner, general, id).await.unwrap();
    let on = on(general, id, "a");
    let gone = domain.add_reaction(&owner, on.clone()).await;
    assert_eq!(why(gone), Reason::NotFound);
    let gone = domain.list_reactions(&owner, on, 0, 0).await;
    assert_eq!(why(gone), Reason::NotFound);
}

#[tokio::test]
async fn reactions_have_a_rate() {
    let world = World::with(|config| config.limits.enabled = true).await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let id = world.send(&owner, general, "one").await.unwrap();
    let mut refused = None;
    for _ in 0..20 {
        let on = on(general, id, "a");
        refused = refused.or(world.domain.add_reaction(&owner, on).await.err());
    }
    assert_eq!(refused.map(|error| error.reason), Some(Reason::RateLimited));
}

#[tokio::test]
async fn a_pin_is_told_once_listed_and_bounded() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    let domain = &world.domain;
    let mut ids = Vec::new();
    for n in 0..51 {
        ids.push(world.send(&owner, general, &n.to_string()).await.unwrap());
    }
    for id in ids.iter().take(50) {
        domain.pin_message(&owner, general, *id).await.unwrap();
        domain.pin_message(&owner, general, *id).await.unwrap();
    }
    let error = domain.pin_message(&owner, general, ids[50]).await;
    assert_eq!(error.unwrap_err().metadata, Some(("limit", "50".into())));
    domain
        .add_reaction(&anna, on(general, ids[49], "a"))
        .await
        .unwrap();
    let first = domain.list_pins(&anna, general, Id::MAX, 30).await.unwrap();
    assert!(first.more && first.items[0].message.reactions[0].own);
    let last = first.items.last().unwrap().id;
    let rest = domain.list_pins(&anna, general, last, 30).await.unwrap();
    assert!(!rest.more);
    let listed = first.items.iter().chain(&rest.items);
    let listed: Vec<Id> = listed.map(|pin| pin.message.id).collect();
    assert!(listed.iter().eq(ids[..50].iter().rev()));
    domain.unpin_message(&owner, general, ids[0]).await.unwrap();
    domain.unpin_message(&owner, general, ids[0]).await.unwrap();
    let events = told(&world, general).await;
    let pinned = |event: &&Event| matches!(event, Event::MessagePinned(_));
    assert_eq!(events.iter().filter(pinned).count(), 50);
    let unpinned = Event::MessageUnpinned(v1::MessageUnpinned {
        channel_id: general,
        message_id: ids[0],
        user_id: owner.user_id,
    });
    assert_eq!(events.iter().filter(|event| **event == unpinned).count(), 1);
    let edited = domain
        .edit_message(&owner, general, ids[1], "new".into())
        .await;
    assert!(edited.unwrap().pinned, "an edit keeps it");
}

#[tokio::test]
async fn an_erased_users_reactions_are_gone_and_told() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    let domain = &world.domain;
    let id = world.send(&owner, general, "one").await.unwrap();
    for emoji in ["a", "b"] {
        domain
            .add_reaction(&anna, on(general, id, emoji))
            .await
            .unwrap();
    }
    domain
        .add_reaction(&owner, on(general, id, "a"))
        .await
        .unwrap();
    let key = domain.create_key("operator", true, None).await.unwrap();
    let admin = domain.authenticate(&key.token).await.unwrap();
    domain.erase_user(&admin, anna.user_id).await.unwrap();
    let left = domain
        .get_message(&owner, general, id)
        .await
        .unwrap()
        .reactions;
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].emoji.as_str(), left[0].count), ("a", 1));
    let events = told(&world, general).await;
    let gone: Vec<_> = events.iter().filter_map(reaction).skip(3).collect();
    assert_eq!(gone.len(), 2);
    assert!(gone.contains(&('-', anna.user_id, "a".into(), 1)));
    assert!(gone.contains(&('-', anna.user_id, "b".into(), 0)));
}

/// The store couldn't say what became of a change.
#[tokio::test]
async fn a_mark_of_unknown_outcome_ends_as_the_row_is() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let domain = &world.domain;
    let id = world.send(&owner, general, "one").await.unwrap();
    let marking = |wanted| Marking {
        channel: general,
        message: id,
        user: owner.user_id,
        wanted,
    };
    let unknown = || store::Error::Unavailable("the disk is away".into());
    let settled = async |wanted| {
        let marking = marking(wanted);
        domain.settle_mark(&marking, unknown()).await
    };
    let reacted = || Wanted::Reacted("a".into());
    assert_eq!(why(settled(reacted()).await), Reason::StoreUnavailable);
    assert_eq!(why(settled(Wanted::Pinned).await), Reason::StoreUnavailable);
    domain
        .add_reaction(&owner, on(general, id, "a"))
        .await
        .unwrap();
    domain.pin_message(&owner, general, id).await.unwrap();
    let marked = settled(reacted()).await.unwrap();
    let expected = crate::model::Mark::ReactionAdded {
        user_id: owner.user_id,
        emoji: "a".into(),
        count: 1,
    };
    assert_eq!(marked.mark, Some(expected));
    assert!(settled(Wanted::Pinned).await.unwrap().mark.is_some());
    for wanted in [Wanted::NotReacted("a".into()), Wanted::Cleared("".into())] {
        assert_eq!(why(settled(wanted).await), Reason::StoreUnavailable);
    }
    let gone = settled(Wanted::NotReacted("b".into())).await.unwrap();
    assert_eq!(
        gone.reaction,
        Reaction {
            emoji: "b".into(),
            ..Reaction::default()
        }
    );
    domain.delete_message(&owner, general, id).await.unwrap();
    assert_eq!(why(settled(reacted()).await), Reason::StoreUnavailable);
}
