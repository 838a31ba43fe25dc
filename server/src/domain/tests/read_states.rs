//! What users have read, and what is unread to them.

use super::*;
use crate::model::{ChannelType, MUTED_FOR_EVER, ReadState};

/// The channels with something unread, and how many mentions each has.
async fn unread(world: &World, caller: &Caller) -> Vec<(Id, i32)> {
    let page = world.domain.list_unread(caller, 0, 0, false).await.unwrap();
    assert_eq!(page.next, None);
    let of = |state: &ReadState| (state.channel_id, state.mention_count);
    page.states.iter().map(of).collect()
}

#[tokio::test]
async fn a_channel_is_unread_until_it_is_acknowledged() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    assert_eq!(unread(&world, &anna).await, []);
    let first = world.send(&owner, general, "one").await.unwrap();
    let second = world.send(&owner, general, "two").await.unwrap();
    assert_eq!(unread(&world, &anna).await, [(general, 0)]);
    let ack = |id| world.domain.ack_message(&anna, general, id);
    let state = ack(first).await.unwrap();
    assert_eq!((state.last_read_id, state.last_message_id), (first, second));
    assert_eq!(unread(&world, &anna).await, [(general, 0)]);
    ack(second).await.unwrap();
    assert_eq!(unread(&world, &anna).await, []);
    assert_eq!(ack(first).await.unwrap().last_read_id, second);
    let told = world.told_user(&anna).await;
    let changed =
        |event: &&v1::event::Event| matches!(event, v1::event::Event::ReadStateChanged(_));
    assert_eq!(told.iter().filter(changed).count(), 2, "forwards only");
    assert_eq!(
        unread(&world, &owner).await,
        [],
        "another's reading is its own"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_not_acknowledged() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, general) = world.server(&owner, &[&anna]).await;
    let secret = world.private(&owner, server, &[]).await;
    let message = world.send(&owner, secret, "psst").await.unwrap();
    let domain = &world.domain;
    let hidden = domain.ack_message(&anna, secret, message).await;
    let absent = domain.ack_message(&anna, 12_345, message).await;
    assert_eq!(hidden, absent);
    assert_eq!(why(hidden), Reason::NotFound);
    let hidden = domain.mute_channel(&anna, secret, MUTED_FOR_EVER).await;
    assert_eq!(why(hidden), Reason::NotFound);
    let newest = world.send(&owner, general, "x").await.unwrap();
    for (wrong, says) in [(0, "0;"), (-1, "-1;"), (newest + 1, &*newest.to_string())] {
        let refused = domain.ack_message(&anna, general, wrong).await.unwrap_err();
        assert_eq!(refused.fields[0].path, "message_id");
        assert!(refused.fields[0].problem.contains(says), "{refused}");
    }
    assert_eq!(unread(&world, &anna).await, [(general, 0)]);
}

#[tokio::test]
async fn what_one_sends_is_read_by_oneself() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    let mention = format!("<@{}>", anna.user_id);
    world.send(&owner, general, &mention).await.unwrap();
    assert_eq!(unread(&world, &anna).await, [(general, 1)]);
    let own = world.send(&anna, general, "here").await.unwrap();
    assert_eq!(unread(&world, &anna).await, []);
    assert_eq!(unread(&world, &owner).await, [(general, 0)]);
    let state = world.domain.ack_message(&anna, general, own - 1).await;
    assert_eq!(state.unwrap().last_read_id, own, "read so far already");
    let after = world.send(&owner, general, &mention).await.unwrap();
    assert_eq!(unread(&world, &anna).await, [(general, 1)]);
    // It isn't told: whoever gets the message knows.
    let told = world.told_user(&anna).await;
    let changed = |event: &v1::event::Event| matches!(event, v1::event::Event::ReadStateChanged(_));
    assert!(!told.iter().any(changed));
    // It outlives the node once it is written.
    world.domain.flush_own_sends().await;
    let world = world.restart().await;
    let state = world.domain.ack_message(&anna, general, own).await.unwrap();
    assert_eq!((state.last_read_id, state.last_message_id), (own, after));
}

#[tokio::test]
async fn what_was_sent_before_one_joined_is_not_unread() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, general) = world.server(&owner, &[]).await;
    world.send(&owner, general, "<@everyone>").await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    world.domain.join_by_id(&anna, server).await.unwrap();
    assert_eq!(unread(&world, &anna).await, []);
    world.send(&owner, general, "<@everyone>").await.unwrap();
    assert_eq!(unread(&world, &anna).await, [(general, 1)]);
}

#[tokio::test]
async fn everyone_is_mentioned_by_who_may_and_roles_by_anyone() {
    let world = World::new().await;
    let (owner, anna, ben) = (
        world.user("owner").await,
        world.user("anna").await,
        world.user("ben").await,
    );
    let (server, general) = world.server(&owner, &[&anna, &ben]).await;
    world.role(&owner, server, &anna, Role::Moderator).await;
    let groups = async |caller: &Caller, channel, content: &str| {
        let id = world.send(caller, channel, content).await.unwrap();
        world
            .domain
            .get_message(caller, channel, id)
            .await
            .unwrap()
            .groups
    };
    assert!(
        !groups(&ben, general, "<@everyone>").await.everyone(),
        "plain text"
    );
    assert_eq!(unread(&world, &anna).await, [(general, 0)]);
    assert!(groups(&anna, general, "<@everyone>").await.everyone());
    assert_eq!(unread(&world, &ben).await, [(general, 1)]);
    let roles = groups(&ben, general, "<@&moderator>").await;
    assert_eq!(roles.roles().collect::<Vec<_>>(), [Role::Moderator]);
    // The owner ranks above moderators; it has one by everyone, too.
    assert_eq!(unread(&world, &owner).await, [(general, 2)]);
    assert_eq!(unread(&world, &anna).await, [(general, 1)]);
    let direct = world.direct(&ben, &anna).await.unwrap();
    let groups = groups(&ben, direct, "<@everyone> <@&admin>").await;
    assert!(groups.everyone() && groups.roles().next().is_none());
    assert_eq!(unread(&world, &anna).await, [(general, 1), (direct, 1)]);
}

#[tokio::test]
async fn an_edit_mentions_others_as_far_as_its_author_may() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    let id = world.send(&anna, general, "hi").await.unwrap();
    let edit = async |content: &str| {
        let edited = world
            .domain
            .edit_message(&anna, general, id, content.into());
        edited.await.unwrap()
    };
    let content = format!("<@everyone> <@&owner> <@{}>", owner.user_id);
    let edited = edit(&content).await;
    assert_eq!(edited.mentions, [owner.user_id]);
    assert!(!edited.groups.everyone() && !edited.groups.is_empty());
    assert_eq!(unread(&world, &owner).await, [(general, 1)]);
    edit("never mind").await;
    assert_eq!(unread(&world, &owner).await, [(general, 0)]);
    let told = world.told_user(&owner).await;
    let mentioned = |event: &v1::event::Event| matches!(event, v1::event::Event::Mentioned(_));
    assert!(!told.iter().any(mentioned), "an edit notifies nobody");
}

#[tokio::test]
async fn a_mute_ends_by_itself_and_mentions_count_on() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    let domain = &world.domain;
    let now = world.domain.now();
    let past = domain.mute_channel(&anna, general, now).await.unwrap_err();
    assert_eq!(past.fields[0].path, "until");
    let muted = domain.mute_channel(&anna, general, now + 1_000).await;
    assert_eq!(muted.unwrap().muted_until, now + 1_000);
    let listed = async |muted| {
        let page = domain.list_unread(&anna, 0, 0, muted).await.unwrap();
        page.states.len()
    };
    assert_eq!((listed(false).await, listed(true).await), (0, 1));
    let mention = format!("<@{}>", anna.user_id);
    world.send(&owner, general, &mention).await.unwrap();
    assert_eq!(unread(&world, &anna).await, [(general, 1)]);
    let newest = world.send(&owner, general, "x").await.unwrap();
    let read = domain.ack_message(&anna, general, newest).await.unwrap();
    assert_eq!(read.muted_until, now + 1_000, "reading lifts no mute");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!((listed(false).await, listed(true).await), (0, 0));
    let forever = domain.mute_channel(&anna, general, MUTED_FOR_EVER).await;
    assert_eq!(forever.unwrap().muted_until, MUTED_FOR_EVER);
    let lifted = domain.mute_channel(&anna, general, 0).await.unwrap();
    assert_eq!(lifted.muted_until, 0);
}

#[tokio::test]
async fn unread_channels_come_in_pages_by_id() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, general) = world.server(&owner, &[&anna]).await;
    let mut channels = vec![general];
    for n in 0..4 {
        let new = new_channel(server, ChannelType::Text, &format!("c{n}"));
        let made = world.domain.create_channel(&owner, new).await.unwrap();
        channels.push(made.id);
    }
    for channel in &channels {
        world.send(&owner, *channel, "x").await.unwrap();
    }
    let read = channels.remove(2);
    let newest = world.domain.store.newest(&[read]).await.unwrap()[0];
    world.domain.ack_message(&anna, read, newest).await.unwrap();
    let (mut found, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = world
            .domain
            .list_unread(&anna, from, 2, false)
            .await
            .unwrap();
        assert!(page.states.len() <= 2);
        found.extend(page.states.iter().map(|state| state.channel_id));
        after = page.next;
    }
    assert_eq!(found, channels);
    for size in [-1, 1_001] {
        let refused = world.domain.list_unread(&anna, 0, size, false).await;
        assert_eq!(refused.unwrap_err().fields[0].path, "page_size");
    }
}

#[tokio::test]
async fn a_page_looks_at_so_many_channels_and_goes_on_behind_them() {
    let world = World::new().await;
    let anna = world.user("anna").await;
    let made = (1..=1_050).map(|id| {
        let channel = Channel {
            id,
            member_ids: vec![id, anna.user_id],
            server_id: 0,
            kind: ChannelType::Direct,
            name: String::new(),
            description: String::new(),
            rank: 0,
            slow_mode_s: 0,
            metadata: Default::default(),
        };
        let store = &world.domain.store;
        store.create_channel(channel, id, None, u32::MAX, Vec::new(), None)
    });
    for made in futures::future::join_all(made).await {
        made.unwrap();
    }
    let own = world.send(&anna, 1_049, "x").await.unwrap();
    let list = |after| world.domain.list_unread(&anna, after, 0, true);
    let first = list(0).await.unwrap();
    assert_eq!((first.states.len(), first.next), (0, Some(1_000)));
    assert_eq!(list(1_000).await.unwrap(), UnreadPage::default());
    world
        .domain
        .mute_channel(&anna, 1_049, MUTED_FOR_EVER)
        .await
        .unwrap();
    let second = list(1_000).await.unwrap();
    assert_eq!(second.states[0].last_read_id, own);
    assert_eq!((second.states.len(), second.next), (1, None));
}
