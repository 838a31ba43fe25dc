use super::*;
use crate::model::ChannelType;

#[tokio::test]
async fn a_private_channel_is_there_for_its_members_and_admins_only() {
    let world = World::new().await;
    let (owner, anna, ben) = (
        world.user("owner").await,
        world.user("anna").await,
        world.user("ben").await,
    );
    let (server, _) = world.server(&owner, &[&anna, &ben]).await;
    let secret = world.private(&owner, server, &[&anna]).await;
    let (domain, topic) = (&world.domain, TopicKey::channel(secret));
    world.send(&anna, secret, "psst").await.unwrap();
    // Hidden and absent are the same answer.
    let hidden = world.send(&ben, secret, "?").await.unwrap_err();
    let absent = world.send(&ben, 12_345, "?").await.unwrap_err();
    assert_eq!(hidden, absent);
    assert_eq!(
        world.told_user(&anna).await.last(),
        Some(&topic_added(topic))
    );
    assert!(!world.told_user(&ben).await.contains(&topic_added(topic)));
    // Let in, taken out.
    domain
        .add_channel_member(&owner, secret, ben.user_id)
        .await
        .unwrap();
    world.send(&ben, secret, "thanks").await.unwrap();
    assert_eq!(
        world.told_user(&ben).await.last(),
        Some(&topic_added(topic))
    );
    domain
        .remove_channel_member(&ben, secret, ben.user_id)
        .await
        .unwrap();
    assert_eq!(why(world.send(&ben, secret, "?").await), Reason::NotFound);
    assert_eq!(
        world.told_user(&ben).await.last(),
        Some(&topic_removed(topic))
    );
    let told = world.told(topic).await;
    let updated = |event: &&v1::event::Event| matches!(event, v1::event::Event::ChannelUpdated(_));
    assert_eq!(told.iter().filter(updated).count(), 2);
    // An admin sees it without being named; no longer an admin, it doesn't.
    world.role(&owner, server, &ben, Role::Admin).await;
    world.send(&ben, secret, "now").await.unwrap();
    assert_eq!(
        world.told_user(&ben).await.last(),
        Some(&topic_added(topic))
    );
    assert!(
        domain
            .user_snapshot(ben.user_id)
            .await
            .unwrap()
            .channels
            .iter()
            .any(|c| c.id == secret)
    );
    world.role(&owner, server, &ben, Role::Member).await;
    assert_eq!(why(world.send(&ben, secret, "?").await), Reason::NotFound);
    assert_eq!(
        world.told_user(&ben).await.last(),
        Some(&topic_removed(topic))
    );
    let snapshot = domain.server_snapshot(ben.user_id, server).await.unwrap();
    assert!(snapshot.channels.iter().all(|channel| channel.id != secret));
}

#[tokio::test]
async fn leaving_a_server_leaves_its_private_channels() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, _) = world.server(&owner, &[&anna]).await;
    let secret = world.private(&owner, server, &[&anna]).await;
    world.domain.leave_server(&anna, server).await.unwrap();
    world.domain.join_by_id(&anna, server).await.unwrap();
    assert_eq!(why(world.send(&anna, secret, "?").await), Reason::NotFound);
    let channel = world.domain.get_channel(&owner, secret).await.unwrap();
    assert_eq!(channel.member_ids, [owner.user_id]);
}

#[tokio::test]
async fn announcements_are_the_moderators() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, _) = world.server(&owner, &[&anna]).await;
    let new = new_channel(server, ChannelType::Announcement, "news");
    let denied = world.domain.create_channel(&anna, new.clone()).await;
    assert_eq!(why(denied), Reason::PermissionDenied);
    let news = world.domain.create_channel(&owner, new).await.unwrap().id;
    assert_eq!(
        why(world.send(&anna, news, "?").await),
        Reason::PermissionDenied
    );
    assert_eq!(
        why(world.domain.start_typing(&anna, news).await),
        Reason::PermissionDenied
    );
    world.role(&owner, server, &anna, Role::Moderator).await;
    world.send(&anna, news, "extra").await.unwrap();
    let added = world
        .domain
        .add_channel_member(&owner, news, anna.user_id)
        .await;
    assert_eq!(why(added), Reason::WrongChannelType);
}

#[tokio::test]
async fn open_channels_are_told_on_the_servers_topic() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (server, _) = world.server(&owner, &[]).await;
    let domain = &world.domain;
    let new = new_channel(server, ChannelType::Text, "talk");
    let id = domain.create_channel(&owner, new).await.unwrap().id;
    let changes = ChannelChanges {
        name: Some("chat".into()),
        ..ChannelChanges::default()
    };
    let updated = domain.update_channel(&owner, id, changes).await.unwrap();
    assert_eq!(updated.name, "chat");
    assert_eq!(domain.get_channel(&owner, id).await.unwrap().name, "chat");
    domain.delete_channel(&owner, id).await.unwrap();
    assert_eq!(why(domain.get_channel(&owner, id).await), Reason::NotFound);
    use v1::event::Event::{ChannelCreated, ChannelDeleted, ChannelUpdated};
    let told = world.told(TopicKey::server(server)).await;
    assert!(matches!(
        told[..],
        [ChannelCreated(_), ChannelUpdated(_), ChannelDeleted(_)]
    ));
}

#[tokio::test]
async fn two_users_have_one_direct_channel_until_one_blocks_the_other() {
    let world = World::new().await;
    let (anna, ben, eve) = (
        world.user("anna").await,
        world.user("ben").await,
        world.user("eve").await,
    );
    let direct = world.direct(&anna, &ben).await.unwrap();
    assert_eq!(world.direct(&ben, &anna).await, Ok(direct));
    world.send(&ben, direct, "hi").await.unwrap();
    assert_eq!(why(world.send(&eve, direct, "?").await), Reason::NotFound);
    assert!(
        world
            .told_user(&ben)
            .await
            .contains(&topic_added(TopicKey::channel(direct)))
    );
    world.domain.block_user(&ben, anna.user_id).await.unwrap();
    assert_eq!(why(world.send(&anna, direct, "?").await), Reason::Blocked);
    assert_eq!(why(world.direct(&anna, &ben).await), Reason::Blocked);
    world.domain.unblock_user(&ben, anna.user_id).await.unwrap();
    world.send(&anna, direct, "again").await.unwrap();
    let deleted = world.domain.delete_channel(&anna, direct).await;
    assert_eq!(why(deleted), Reason::WrongChannelType);
}

#[tokio::test]
async fn all_direct_channels_are_seen_however_many() {
    let world = World::new().await;
    let anna = world.user("anna").await;
    let made = (1..=600).map(|id| {
        let channel = Channel {
            id,
            server_id: 0,
            kind: ChannelType::Direct,
            name: String::new(),
            description: String::new(),
            rank: 0,
            member_ids: vec![id, anna.user_id],
            slow_mode_s: 0,
            metadata: Default::default(),
        };
        let store = &world.domain.store;
        store.create_channel(channel, id, None, u32::MAX, Vec::new(), None)
    });
    for made in futures::future::join_all(made).await {
        made.unwrap();
    }
    let visible = world.domain.visible(anna.user_id).await.unwrap();
    assert_eq!(visible.channels.len(), 600);
    world.send(&anna, 1, "the oldest").await.unwrap();
}

#[tokio::test]
async fn a_direct_channel_of_three_is_left_and_one_of_two_is_not() {
    let world = World::new().await;
    let (anna, ben, cleo) = (
        world.user("anna").await,
        world.user("ben").await,
        world.user("cleo").await,
    );
    let domain = &world.domain;
    let new = NewChannel {
        member_ids: vec![ben.user_id, cleo.user_id],
        ..new_channel(0, ChannelType::Direct, "")
    };
    let three = domain.create_channel(&anna, new).await.unwrap().id;
    let others = domain
        .remove_channel_member(&anna, three, ben.user_id)
        .await;
    assert_eq!(why(others), Reason::WrongChannelType);
    let added = domain.add_channel_member(&anna, three, ben.user_id).await;
    assert_eq!(why(added), Reason::WrongChannelType);
    domain
        .remove_channel_member(&ben, three, ben.user_id)
        .await
        .unwrap();
    assert_eq!(why(world.send(&ben, three, "?").await), Reason::NotFound);
    assert_eq!(
        world.told_user(&ben).await.last(),
        Some(&topic_removed(TopicKey::channel(three)))
    );
    let left = domain.get_channel(&anna, three).await.unwrap();
    assert_eq!(left.member_ids, [anna.user_id, cleo.user_id]);
    world.send(&anna, three, "he is gone").await.unwrap();
    let told = world.told(TopicKey::channel(three)).await;
    assert!(matches!(told[0], v1::event::Event::ChannelUpdated(_)));
    let two = world.direct(&anna, &ben).await.unwrap();
    for channel in [three, two] {
        let stays = domain.remove_channel_member(&anna, channel, anna.user_id);
        assert_eq!(why(stays.await), Reason::WrongChannelType);
    }
}

#[tokio::test]
async fn a_user_makes_so_many_direct_channels_and_a_service_a_hundredfold() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.direct_channels_per_user = 1;
        config.limits.service_factor = 2;
    })
    .await;
    let (anna, service) = (world.user("anna").await, world.service().await);
    let others = [
        world.user("ben").await,
        world.user("cleo").await,
        world.user("dora").await,
    ];
    for (caller, most) in [(&anna, 1), (&service, 2)] {
        for (n, other) in others.iter().enumerate() {
            let made = world.direct(caller, other).await;
            if n < most {
                made.unwrap();
            } else {
                let refused = made.unwrap_err();
                assert_eq!(refused.reason, Reason::LimitReached);
                let limit = refused.metadata.unwrap();
                assert_eq!(limit, ("limit", most.to_string().into()));
            }
        }
    }
}
