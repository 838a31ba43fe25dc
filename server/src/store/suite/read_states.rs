//! Sentences about what users have read, whom messages mention, and what users set for themselves.

use super::*;
use crate::model::{DirectMessages, Groups, MUTED_FOR_EVER, ReadState, UserSettings};
use crate::store::{Error, ReadOf};

fn of(role: Role) -> ReadOf {
    ReadOf {
        channel: CHANNEL,
        role,
        at_least: 0,
    }
}

async fn state<P: Place>(world: &World<P>, user: Id, role: Role) -> ReadState {
    let states = world.store.read_states(user, &[of(role)]).await.unwrap();
    assert_eq!(states.len(), 1);
    states.into_iter().next().unwrap()
}

async fn count<P: Place>(world: &World<P>, user: Id, role: Role) -> i32 {
    state(world, user, role).await.mention_count
}

async fn mention<P: Place>(world: &World<P>, id: Id, author: Id, content: &str) {
    let Mentions { users, groups } = Mentions::of(content);
    let message = Message {
        mentions: users,
        groups,
        content: content.into(),
        ..message(CHANNEL, id, author, "")
    };
    let inserted = world.store.insert(message).await.unwrap();
    assert_eq!(inserted, Inserted::New);
}

/// How many events the user's topic has had.
async fn told<P: Place>(world: &World<P>, user: Id) -> i64 {
    let position = world.store.topic_position(TopicKey::user(user)).await;
    position.unwrap().seq
}

pub(crate) async fn a_channel_is_read_up_to_when_its_user_joined<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    let minute = 60_000;
    let joined = Member {
        joined_at: SNOWFLAKE_EPOCH_MS + minute,
        ..member(SERVER, 2, Role::Member)
    };
    let added = world.store.add_member(joined, None, 9, 9, vec![]);
    assert!(added.await.unwrap().1);
    let before = state(&world, 2, Role::Member).await;
    assert_eq!(before.last_read_id, (minute << 22) - 1);
    assert!(!before.is_unread());
    let after = minute << 22;
    world.write(after).await;
    let now = state(&world, 2, Role::Member).await;
    assert_eq!(now.last_message_id, after);
    assert!(now.is_unread());
    // The owner was there from the start; who isn't a member has read nothing.
    for user in [OWNER, 3] {
        assert_eq!(state(&world, user, Role::Member).await.last_read_id, 0);
    }
}

pub(crate) async fn reading_never_goes_backwards_and_is_told<P: Place>() {
    let mut world = World::<P>::new().await;
    for id in [100, 101, 102] {
        world.write(id).await;
    }
    let acknowledge = |message| world.store.acknowledge(2, of(Role::Member), message);
    let read = acknowledge(101).await.unwrap();
    let expected = ReadState {
        channel_id: CHANNEL,
        last_read_id: 101,
        last_message_id: 102,
        ..ReadState::default()
    };
    assert_eq!(read, expected);
    assert_eq!(told(&world, 2).await, 1);
    for again in [101, 100] {
        assert_eq!(acknowledge(again).await.unwrap(), expected);
    }
    assert_eq!(told(&world, 2).await, 1, "nothing has changed");
    let payload = world.relay.events().pop().unwrap().payload;
    let body = EventBody::ReadStateChanged(expected.clone());
    assert_eq!(payload, crate::frames::encode_body(&body));
    let gone = ReadOf {
        channel: 99,
        ..of(Role::Member)
    };
    let gone = world.store.acknowledge(2, gone, 101).await;
    assert!(matches!(gone, Err(Error::NotFound("channel"))), "{gone:?}");
    assert_eq!(told(&world, 2).await, 1);
    world.reopen().await;
    assert_eq!(state(&world, 2, Role::Member).await, expected);
}

pub(crate) async fn what_was_sent_is_noted_without_a_word<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    for id in [100, 101] {
        mention(&world, id, OWNER, "<@2>").await;
    }
    let reads = vec![
        (2, CHANNEL, 101),
        (2, 99, 7),
        (2, CHANNEL, 100),
        (3, CHANNEL, 100),
    ];
    world.store.acknowledge_all(reads).await.unwrap();
    let read = state(&world, 2, Role::Member).await;
    assert_eq!((read.last_read_id, read.mention_count), (101, 0));
    assert_eq!(state(&world, 3, Role::Member).await.last_read_id, 100);
    assert_eq!((told(&world, 2).await, told(&world, 3).await), (0, 0));
}

pub(crate) async fn states_come_in_the_order_asked<P: Place>() {
    let world = World::<P>::new().await;
    world.server(20, OWNER).await;
    world.write(100).await;
    let asked = |channel, at_least| ReadOf {
        channel,
        role: Role::Member,
        at_least,
    };
    let asked = [
        asked(21, 0),
        asked(99, 0),
        asked(CHANNEL, 100),
        asked(21, 5),
    ];
    let states = world.store.read_states(2, &asked).await.unwrap();
    let found: Vec<_> = states
        .iter()
        .map(|s| (s.channel_id, s.last_read_id))
        .collect();
    assert_eq!(found, [(21, 0), (CHANNEL, 100), (21, 5)]);
    assert!(world.store.read_states(2, &[]).await.unwrap().is_empty());
}

pub(crate) async fn a_mention_counts_until_it_is_read_edited_out_or_deleted<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    world.join(SERVER, 3).await;
    for id in 100..105 {
        mention(&world, id, OWNER, "<@2> <@3> <@2> <@1>").await;
    }
    assert_eq!(count(&world, 2, Role::Member).await, 5);
    assert_eq!(count(&world, OWNER, Role::Owner).await, 0, "its own");
    let of_user = of(Role::Member);
    let read = world.store.acknowledge(2, of_user, 101).await.unwrap();
    assert_eq!(read.mention_count, 3);
    let edit = |id, content: &str, revision| {
        let mentions = Mentions::of(content);
        world
            .store
            .edit(CHANNEL, id, content.into(), mentions, revision, 1)
    };
    edit(102, "<@3>", 5).await.unwrap();
    assert_eq!(count(&world, 2, Role::Member).await, 2);
    // An edit that came too late changes nothing.
    edit(102, "<@2>", 4).await.unwrap();
    assert_eq!(count(&world, 2, Role::Member).await, 2);
    edit(102, "<@2> <@everyone>", 6).await.unwrap();
    assert_eq!(count(&world, 2, Role::Member).await, 3, "once a message");
    world.store.delete(CHANNEL, 103, 7, None).await.unwrap();
    assert_eq!(count(&world, 2, Role::Member).await, 2);
    assert_eq!(count(&world, 3, Role::Member).await, 4);
    world.store.delete(CHANNEL, 102, 8, None).await.unwrap();
    assert_eq!(count(&world, 2, Role::Member).await, 1);
    world.store.erase_author(OWNER, (0, 0)).await.unwrap();
    assert_eq!(count(&world, 2, Role::Member).await, 0);
    assert_eq!(count(&world, 3, Role::Member).await, 0);
}

pub(crate) async fn mentions_of_groups_count_by_rank<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    mention(&world, 100, OWNER, "<@everyone>").await;
    mention(&world, 101, OWNER, "<@&moderator>").await;
    mention(&world, 102, OWNER, "<@&admin> <@&moderator> <@2>").await;
    mention(&world, 103, OWNER, "<@&owner>").await;
    let roles = [Role::Member, Role::Moderator, Role::Admin, Role::Owner];
    let expected = [(2, 1), (3, 3), (3, 3), (4, 4)];
    for (role, (named, other)) in roles.into_iter().zip(expected) {
        assert_eq!(count(&world, 2, role).await, named, "{role:?}");
        assert_eq!(count(&world, 3, role).await, other, "{role:?}");
        assert_eq!(count(&world, OWNER, role).await, 0, "its own");
    }
    let stored = world.store.get(CHANNEL, 102).await.unwrap().unwrap();
    assert_eq!(stored.groups, Mentions::of("<@&admin><@&moderator>").groups);
    let edited = world
        .store
        .edit(CHANNEL, 100, "no".into(), Mentions::default(), 5, 1);
    assert_eq!(edited.await.unwrap().groups, Groups::default());
    world.store.delete(CHANNEL, 101, 7, None).await.unwrap();
    assert_eq!(count(&world, 3, Role::Owner).await, 2);
    world
        .store
        .acknowledge(3, of(Role::Owner), 102)
        .await
        .unwrap();
    assert_eq!(count(&world, 3, Role::Owner).await, 1);
    let elsewhere = ReadOf {
        at_least: 103,
        ..of(Role::Owner)
    };
    let read = world.store.read_states(3, &[elsewhere]).await.unwrap();
    assert_eq!(read[0].mention_count, 0, "read so far at least");
}

pub(crate) async fn mentions_are_counted_to_a_thousand<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    let all = (100..1_101).map(|id| Message {
        mentions: vec![2],
        groups: Mentions::of("<@everyone>").groups,
        ..message(CHANNEL, id, OWNER, "")
    });
    let all = futures::future::join_all(all.map(|message| world.store.insert(message))).await;
    assert_eq!(all.len(), 1_001);
    assert_eq!(count(&world, 2, Role::Member).await, 1_000);
    assert_eq!(count(&world, 3, Role::Member).await, 1_000);
    // What is read counts no more, however much it was.
    let read = world.store.acknowledge(2, of(Role::Member), 1_099).await;
    assert_eq!(read.unwrap().mention_count, 1);
}

pub(crate) async fn a_mute_is_kept_and_told<P: Place>() {
    let mut world = World::<P>::new().await;
    world.write(100).await;
    let mute = |until| world.store.mute(2, of(Role::Member), until);
    assert_eq!(mute(0).await.unwrap().muted_until, 0);
    assert_eq!(told(&world, 2).await, 0, "nothing has changed");
    assert_eq!(mute(77).await.unwrap().muted_until, 77);
    let forever = mute(MUTED_FOR_EVER).await.unwrap();
    assert_eq!(forever.muted_until, MUTED_FOR_EVER);
    assert_eq!(told(&world, 2).await, 2);
    let read = world.store.acknowledge(2, of(Role::Member), 100).await;
    assert_eq!(read.unwrap().muted_until, MUTED_FOR_EVER);
    world.reopen().await;
    let kept = state(&world, 2, Role::Member).await;
    assert_eq!((kept.muted_until, kept.last_read_id), (MUTED_FOR_EVER, 100));
    let lifted = world.store.mute(2, of(Role::Member), 0).await.unwrap();
    assert_eq!((lifted.muted_until, lifted.last_read_id), (0, 100));
    assert_eq!(told(&world, 2).await, 4);
    let gone = ReadOf {
        channel: 99,
        ..of(Role::Member)
    };
    let gone = world.store.mute(2, gone, 7).await;
    assert!(matches!(gone, Err(Error::NotFound("channel"))), "{gone:?}");
}

pub(crate) async fn read_states_go_with_who_no_longer_sees_the_channel<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    world.join(SERVER, 3).await;
    let secret = Channel {
        member_ids: vec![2],
        ..channel(50, SERVER, ChannelType::Private)
    };
    let made = world
        .store
        .create_channel(secret, OWNER, None, 9, vec![], None);
    made.await.unwrap();
    let reads = [2, 3].map(|user| (user, CHANNEL, 100));
    let reads = reads.into_iter().chain([(2, 50, 100)]).collect();
    world.store.acknowledge_all(reads).await.unwrap();
    mention(&world, 101, OWNER, "<@2> <@3> <@9>").await;
    assert_eq!(count(&world, 9, Role::Member).await, 0, "not a member");
    let read = |user, channel| {
        let of = ReadOf {
            channel,
            ..of(Role::Member)
        };
        let store = world.store.clone();
        async move { store.read_states(user, &[of]).await.unwrap()[0].last_read_id }
    };
    assert_eq!(read(2, 50).await, 100);
    let taken = world.store.remove_channel_member(50, 2, vec![], None);
    assert!(taken.await.unwrap());
    assert_eq!((read(2, 50).await, read(2, CHANNEL).await), (0, 100));
    assert!(
        world
            .store
            .remove_member(SERVER, 2, vec![], None)
            .await
            .unwrap()
    );
    assert_eq!((read(2, CHANNEL).await, read(3, CHANNEL).await), (0, 100));
    assert_eq!(count(&world, 2, Role::Member).await, 0);
    assert_eq!(count(&world, 3, Role::Member).await, 1);
    world.store.delete_account(3, vec![]).await.unwrap();
    assert_eq!(read(3, CHANNEL).await, 0);
    assert_eq!(count(&world, 3, Role::Member).await, 0);
}

pub(crate) async fn settings_are_kept_and_told<P: Place>() {
    let mut world = World::<P>::new().await;
    let default = UserSettings::default();
    assert_eq!(world.store.settings(2).await.unwrap(), default);
    assert_eq!(default.direct_messages, DirectMessages::Everyone);
    let set = |user, direct_messages| {
        let settings = UserSettings { direct_messages };
        let events = vec![event(TopicKey::user(user), 7)];
        world.store.update_settings(user, settings, events)
    };
    set(2, DirectMessages::SharedServers).await.unwrap();
    set(2, DirectMessages::Nobody).await.unwrap();
    assert_eq!(told(&world, 2).await, 2);
    let gone = set(99, DirectMessages::Nobody).await;
    assert!(matches!(gone, Err(Error::NotFound("user"))), "{gone:?}");
    world.reopen().await;
    let kept = UserSettings {
        direct_messages: DirectMessages::Nobody,
    };
    assert_eq!(world.store.settings(2).await.unwrap(), kept);
    assert_eq!(world.store.settings(3).await.unwrap(), default);
    let snapshot = world.store.user_snapshot(2).await.unwrap().unwrap();
    assert_eq!(snapshot.settings, kept);
    world.store.delete_account(2, vec![]).await.unwrap();
    assert_eq!(world.store.settings(2).await.unwrap(), default);
}

pub(crate) async fn blocks_are_listed_by_id<P: Place>() {
    let world = World::<P>::new().await;
    for (user, other) in [(OWNER, 3), (OWNER, 2), (2, 3)] {
        world.store.block(user, other).await.unwrap();
    }
    let list = |after, limit| world.store.blocks_of(OWNER, after, limit);
    let ids = |users: Vec<User>| users.iter().map(|user| user.id).collect::<Vec<_>>();
    assert_eq!(
        list(0, 9).await.unwrap(),
        [account(2).user, account(3).user]
    );
    assert_eq!(ids(list(0, 1).await.unwrap()), [2]);
    assert_eq!(ids(list(2, 9).await.unwrap()), [3]);
    assert!(world.store.blocks_of(3, 0, 9).await.unwrap().is_empty());
}
