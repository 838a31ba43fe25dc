//! Sentences about channels.

use super::*;
use crate::store::Error;

async fn make<P>(world: &World<P>, channel: Channel) -> (Channel, bool) {
    let made = world
        .store
        .create_channel(channel, OWNER, None, 100, vec![], None);
    made.await.unwrap()
}

pub(crate) async fn a_channel_is_read_as_it_was_made<P: Place>() {
    let world = World::<P>::new().await;
    for user in [2, 3] {
        world.join(SERVER, user).await;
    }
    for made in [
        channel(50, SERVER, ChannelType::Announcement),
        Channel {
            member_ids: vec![1, 2, 3],
            ..channel(51, SERVER, ChannelType::Private)
        },
        direct(52, &[1, 2, 10]),
    ] {
        assert_eq!(make(&world, made.clone()).await, (made.clone(), true));
        assert_eq!(world.store.channel(made.id).await.unwrap(), Some(made));
    }
    assert_eq!(world.store.channel(99).await.unwrap(), None);
    let strangers = Channel {
        member_ids: vec![1, 4],
        ..channel(53, SERVER, ChannelType::Private)
    };
    let made = world
        .store
        .create_channel(strangers, OWNER, None, 100, vec![], None);
    let made = made.await;
    assert!(matches!(made, Err(Error::NotFound("member"))), "{made:?}");
}

pub(crate) async fn channels_come_by_rank_and_id<P: Place>() {
    let world = World::<P>::new().await;
    for (id, rank) in [(52, -1), (53, 0), (50, 2), (51, -1)] {
        let made = Channel {
            rank,
            ..channel(id, SERVER, ChannelType::Text)
        };
        make(&world, made).await;
    }
    let channels = world.store.channels_of_server(SERVER).await.unwrap();
    let ids: Vec<Id> = channels.iter().map(|channel| channel.id).collect();
    assert_eq!(ids, [51, 52, CHANNEL, 53, 50]);
}

pub(crate) async fn a_request_repeated_answers_the_first_channel<P: Place>() {
    let world = World::<P>::new().await;
    let make = |id, caller: Id| {
        world.store.create_channel(
            channel(id, SERVER, ChannelType::Text),
            caller,
            Some((caller, "a".to_owned())),
            100,
            vec![event(TopicKey::server(SERVER), id)],
            None,
        )
    };
    let first = channel(50, SERVER, ChannelType::Text);
    assert_eq!(make(50, 1).await.unwrap(), (first.clone(), true));
    assert_eq!(make(51, 1).await.unwrap(), (first, false));
    assert!(make(52, 2).await.unwrap().1);
    assert_eq!(world.store.channel(51).await.unwrap(), None);
    assert_eq!(world.relay.events().len(), 2);
}

pub(crate) async fn two_users_have_one_direct_channel<P: Place>() {
    let world = World::<P>::new().await;
    let first = direct(50, &[1, 2]);
    assert_eq!(make(&world, first.clone()).await, (first.clone(), true));
    assert_eq!(make(&world, direct(51, &[2, 1])).await, (first, false));
    assert!(make(&world, direct(52, &[1, 3])).await.1);
    // Of three there may be many.
    assert!(make(&world, direct(53, &[1, 2, 3])).await.1);
    assert!(make(&world, direct(54, &[1, 2, 3])).await.1);
}

pub(crate) async fn a_server_has_so_many_channels_at_most<P: Place>() {
    let world = World::<P>::new().await;
    let make = |id, server| {
        let made = channel(id, server, ChannelType::Text);
        world
            .store
            .create_channel(made, OWNER, None, 2, vec![], None)
    };
    assert!(make(50, SERVER).await.unwrap().1);
    let full = make(51, SERVER).await;
    assert!(
        matches!(full, Err(Error::LimitReached("channels", 2))),
        "{full:?}"
    );
    let nowhere = make(51, 999).await;
    assert!(
        matches!(nowhere, Err(Error::NotFound("server"))),
        "{nowhere:?}"
    );
}

pub(crate) async fn a_user_makes_so_many_direct_channels_at_most<P: Place>() {
    let world = World::<P>::new().await;
    let make = |id, creator, members: &[Id]| {
        let made = direct(id, members);
        world
            .store
            .create_channel(made, creator, None, 2, vec![], None)
    };
    // Those that others made with one don't count.
    for id in 50..55 {
        assert!(make(id, id, &[1, id]).await.unwrap().1);
    }
    assert!(make(60, 1, &[1, 2]).await.unwrap().1);
    assert!(make(61, 1, &[1, 2, 3]).await.unwrap().1);
    let more = make(62, 1, &[1, 3]).await;
    assert!(
        matches!(more, Err(Error::LimitReached("direct channels", 2))),
        "{more:?}"
    );
    // One that is there is given back.
    assert!(!make(62, 1, &[1, 2]).await.unwrap().1);
    assert_eq!(world.store.direct_channels_of(1).await.unwrap().len(), 7);
}

pub(crate) async fn a_channel_has_so_many_members_at_most<P: Place>() {
    let world = World::<P>::new().await;
    make(&world, channel(50, SERVER, ChannelType::Private)).await;
    let add = |user| {
        let events = vec![event(TopicKey::user(user), 50)];
        world.store.add_channel_member(50, user, 2, events, None)
    };
    assert!(add(1).await.unwrap() && add(2).await.unwrap());
    let full = add(3).await;
    assert!(
        matches!(full, Err(Error::LimitReached("members", 2))),
        "{full:?}"
    );
    assert!(!add(2).await.unwrap(), "it is in already");
    let channel = world.store.channel(50).await.unwrap().unwrap();
    assert_eq!(channel.member_ids, [1, 2]);
    assert_eq!(world.relay.events().len(), 2);
}

pub(crate) async fn a_channel_is_changed_and_deleted<P: Place>() {
    let world = World::<P>::new().await;
    let changed = Channel {
        name: "new".into(),
        description: String::new(),
        rank: 7,
        metadata: Metadata::new(),
        ..channel(CHANNEL, SERVER, ChannelType::Text)
    };
    world
        .store
        .update_channel(changed.clone(), vec![], None)
        .await
        .unwrap();
    assert_eq!(
        world.store.channel(CHANNEL).await.unwrap(),
        Some(changed.clone())
    );
    world
        .store
        .delete_channel(CHANNEL, vec![], None)
        .await
        .unwrap();
    assert_eq!(world.store.channel(CHANNEL).await.unwrap(), None);
    let update = world.store.update_channel(changed, vec![], None).await;
    assert!(
        matches!(update, Err(Error::NotFound("channel"))),
        "{update:?}"
    );
    let delete = world.store.delete_channel(CHANNEL, vec![], None).await;
    assert!(
        matches!(delete, Err(Error::NotFound("channel"))),
        "{delete:?}"
    );
}

pub(crate) async fn members_of_a_channel_come_and_go<P: Place>() {
    let world = World::<P>::new().await;
    make(&world, channel(50, SERVER, ChannelType::Private)).await;
    let event = || vec![event(TopicKey::user(2), 50)];
    assert!(
        world
            .store
            .add_channel_member(50, 2, 9, event(), None)
            .await
            .unwrap()
    );
    assert!(
        !world
            .store
            .add_channel_member(50, 2, 9, event(), None)
            .await
            .unwrap()
    );
    let there = world.store.channel(50).await.unwrap().unwrap();
    assert_eq!(there.member_ids, [2]);
    assert!(
        world
            .store
            .remove_channel_member(50, 2, event(), None)
            .await
            .unwrap()
    );
    assert!(
        !world
            .store
            .remove_channel_member(50, 2, event(), None)
            .await
            .unwrap()
    );
    assert_eq!(world.relay.events().len(), 2);
    let nowhere = world.store.add_channel_member(99, 2, 9, vec![], None).await;
    assert!(
        matches!(nowhere, Err(Error::NotFound("channel"))),
        "{nowhere:?}"
    );
}

pub(crate) async fn direct_channels_come_newest_first<P: Place>() {
    let world = World::<P>::new().await;
    for (id, others) in [(50, [1, 2]), (52, [1, 3]), (51, [1, 4]), (53, [2, 3])] {
        make(&world, direct(id, &others)).await;
    }
    let private = Channel {
        member_ids: vec![1],
        ..channel(60, SERVER, ChannelType::Private)
    };
    make(&world, private).await;
    let channels = world.store.direct_channels_of(1).await.unwrap();
    let expected = [
        direct(52, &[1, 3]),
        direct(51, &[1, 4]),
        direct(50, &[1, 2]),
    ];
    assert_eq!(channels, expected);
}
