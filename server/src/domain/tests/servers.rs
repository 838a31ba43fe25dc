use super::*;
use crate::store::Anchor;

#[tokio::test]
async fn who_is_taken_out_is_refused_at_once() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, general) = world.server(&owner, &[&anna]).await;
    let domain = &world.domain;
    world.send(&anna, general, "here").await.unwrap();
    domain
        .kick_member(&owner, server, anna.user_id, String::new())
        .await
        .unwrap();
    assert_eq!(
        why(world.send(&anna, general, "still?").await),
        Reason::NotFound
    );
    let page = domain
        .list_messages(&anna, general, Anchor::Newest, 0)
        .await;
    assert_eq!(why(page), Reason::NotFound);
    assert!(
        domain
            .visible(anna.user_id)
            .await
            .unwrap()
            .channels
            .is_empty()
    );
    let told = world.told_user(&anna).await;
    assert_eq!(told.last(), Some(&topic_removed(TopicKey::server(server))));
    // It may join again, unless it was banned.
    domain.join_by_id(&anna, server).await.unwrap();
    world.send(&anna, general, "back").await.unwrap();
    domain
        .ban_user(&owner, server, anna.user_id, "enough".into(), 0)
        .await
        .unwrap();
    assert_eq!(
        why(world.send(&anna, general, "still?").await),
        Reason::NotFound
    );
    assert_eq!(why(domain.join_by_id(&anna, server).await), Reason::Banned);
    domain
        .unban_user(&owner, server, anna.user_id)
        .await
        .unwrap();
    domain.join_by_id(&anna, server).await.unwrap();
}

#[tokio::test]
async fn roles_are_changed_from_above_only() {
    let world = World::new().await;
    let (owner, admin, other, member) = (
        world.user("owner").await,
        world.user("admin").await,
        world.user("other admin").await,
        world.user("member").await,
    );
    let (server, _) = world.server(&owner, &[&admin, &other, &member]).await;
    let domain = &world.domain;
    world.role(&owner, server, &admin, Role::Admin).await;
    world.role(&owner, server, &other, Role::Admin).await;
    for (target, role) in [
        (&other, Role::Member),
        (&member, Role::Admin),
        (&member, Role::Owner),
    ] {
        let changed = domain
            .update_member(&admin, server, target.user_id, role)
            .await;
        assert_eq!(why(changed), Reason::PermissionDenied, "{role:?}");
    }
    assert_eq!(
        why(domain
            .kick_member(&admin, server, other.user_id, String::new())
            .await),
        Reason::PermissionDenied
    );
    assert_eq!(
        why(domain
            .kick_member(&admin, server, owner.user_id, String::new())
            .await),
        Reason::OwnerLeaves
    );
    assert_eq!(
        why(domain.leave_server(&owner, server).await),
        Reason::OwnerLeaves
    );
    world.role(&admin, server, &member, Role::Moderator).await;
    // Handing the server on.
    world.role(&owner, server, &member, Role::Owner).await;
    assert_eq!(
        domain.get_server(&owner, server).await.unwrap().owner_id,
        member.user_id
    );
    let roles = domain.roles_of(owner.user_id).await.unwrap();
    assert_eq!(roles.get(&server), Some(&Role::Admin));
    domain.leave_server(&owner, server).await.unwrap();
}

#[tokio::test]
async fn joining_is_told_to_the_server_and_to_oneself() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, _) = world.server(&owner, &[&anna]).await;
    let told = world.told_user(&anna).await;
    assert_eq!(told[0], topic_added(TopicKey::server(server)));
    assert!(matches!(told[1], v1::event::Event::MemberJoined(_)));
    let told = world.told(TopicKey::server(server)).await;
    assert!(
        matches!(told[..], [v1::event::Event::MemberJoined(_)]),
        "{told:?}"
    );
    // Joining twice gives the same answer, and no event.
    let again = world.domain.join_by_id(&anna, server).await.unwrap();
    assert_eq!((again.0.member_count, again.1.user_id), (2, anna.user_id));
    assert_eq!(world.told(TopicKey::server(server)).await.len(), 1);
}

#[tokio::test]
async fn invitations_open_closed_servers_as_often_as_they_say() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let domain = &world.domain;
    let new = NewServer {
        name: "closed".into(),
        ..NewServer::default()
    };
    let (server, _) = domain.create_server(&owner, new).await.unwrap();
    let (anna, ben) = (world.user("anna").await, world.user("ben").await);
    assert_eq!(
        why(domain.join_by_id(&anna, server.id).await),
        Reason::NotFound
    );
    assert_eq!(
        why(domain
            .create_invite(&anna, new_invite(server.id, 0, 0))
            .await),
        Reason::NotFound
    );
    let invite = domain
        .create_invite(&owner, new_invite(server.id, 1, 60))
        .await
        .unwrap();
    domain
        .join_by_invite(&anna, invite.code.clone())
        .await
        .unwrap();
    assert_eq!(
        why(domain.join_by_invite(&ben, invite.code).await),
        Reason::NotFound
    );
    let invite = domain
        .create_invite(&owner, new_invite(server.id, 0, 60))
        .await
        .unwrap();
    world.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(
        why(domain.join_by_invite(&ben, invite.code).await),
        Reason::NotFound
    );
    assert_eq!(
        why(domain.join_by_invite(&ben, "no such".into()).await),
        Reason::NotFound
    );
    assert_eq!(
        domain
            .list_invites(&owner, server.id, String::new(), 0)
            .await
            .unwrap()
            .items,
        []
    );
    assert_eq!(
        why(domain
            .create_invite(&anna, new_invite(server.id, 0, 0))
            .await),
        Reason::PermissionDenied
    );
}

#[tokio::test]
async fn a_deleted_server_is_gone_for_all() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, general) = world.server(&owner, &[&anna]).await;
    world.send(&anna, general, "x").await.unwrap();
    let domain = &world.domain;
    assert_eq!(
        why(domain.delete_server(&anna, server).await),
        Reason::PermissionDenied
    );
    domain.delete_server(&owner, server).await.unwrap();
    assert_eq!(why(world.send(&anna, general, "x").await), Reason::NotFound);
    assert!(
        domain
            .visible(anna.user_id)
            .await
            .unwrap()
            .servers
            .is_empty()
    );
    let told = world.told(TopicKey::server(server)).await;
    assert!(matches!(
        told.last(),
        Some(v1::event::Event::ServerDeleted(_))
    ));
}

#[tokio::test]
async fn a_request_id_makes_a_repeat_the_original() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let new = |name: &str| NewServer {
        name: name.into(),
        request_id: "0190163d-8694-739b-aea5-966c26f8ad91".into(),
        ..NewServer::default()
    };
    let first = world
        .domain
        .create_server(&owner, new("one"))
        .await
        .unwrap();
    let again = world
        .domain
        .create_server(&owner, new("one"))
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(
        why(world.domain.create_server(&owner, new("two")).await),
        Reason::NonceReused
    );
    assert_eq!(
        world
            .domain
            .list_servers(&owner, 0, 0)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

#[tokio::test]
async fn a_service_key_drives_servers_it_is_no_member_of() {
    let world = World::new().await;
    let (owner, anna, service) = (
        world.user("owner").await,
        world.user("anna").await,
        world.service().await,
    );
    let (server, general) = world.server(&owner, &[]).await;
    world
        .domain
        .add_member(&service, server, anna.user_id)
        .await
        .unwrap();
    world.send(&anna, general, "hello").await.unwrap();
    world.send(&service, general, "welcome").await.unwrap();
    let refused = world.domain.add_member(&owner, server, anna.user_id).await;
    assert_eq!(why(refused), Reason::KeyRequired);
    let direct = world.direct(&owner, &anna).await.unwrap();
    assert_eq!(
        why(world.send(&service, direct, "x").await),
        Reason::NotFound
    );
}

#[tokio::test]
async fn to_a_service_key_a_server_that_is_not_there_is_absent() {
    let world = World::new().await;
    let (domain, service) = (&world.domain, world.service().await);
    let absent = 12_345;
    let (id, none) = (service.user_id, String::new());
    let refused = [
        why(domain.list_members(&service, absent, 0, 0).await),
        why(domain.list_bans(&service, absent, 0, 0).await),
        why(domain.list_invites(&service, absent, none, 0).await),
        why(domain.list_channels(&service, absent, None, 0).await),
        why(domain.get_server(&service, absent).await),
        why(domain
            .kick_member(&service, absent, id, String::new())
            .await),
        why(domain
            .create_invite(&service, new_invite(absent, 0, 0))
            .await),
    ];
    assert_eq!(refused, [Reason::NotFound; 7]);
}

#[tokio::test]
async fn who_spent_the_last_use_may_repeat_the_call() {
    let world = World::new().await;
    let (owner, anna, ben) = (
        world.user("owner").await,
        world.user("anna").await,
        world.user("ben").await,
    );
    let (server, _) = world.server(&owner, &[]).await;
    let domain = &world.domain;
    let code = domain.create_invite(&owner, new_invite(server, 1, 0)).await;
    let code = code.unwrap().code;
    let first = domain.join_by_invite(&anna, code.clone()).await.unwrap();
    let again = domain.join_by_invite(&anna, code.clone()).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(
        why(domain.join_by_invite(&ben, code).await),
        Reason::NotFound
    );
}

#[tokio::test]
async fn a_request_id_makes_one_invitation_of_repeats() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (server, _) = world.server(&owner, &[]).await;
    let new = |max_uses| NewInvite {
        request_id: "0190163d-8694-739b-aea5-966c26f8ad91".into(),
        ..new_invite(server, max_uses, 0)
    };
    let create = |max_uses| world.domain.create_invite(&owner, new(max_uses));
    assert_eq!(create(1).await.unwrap(), create(1).await.unwrap());
    assert_eq!(why(create(2).await), Reason::NonceReused);
}

#[tokio::test]
async fn a_request_id_gets_no_one_above_the_limit_of_servers() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.servers_per_user = 2;
    })
    .await;
    let owner = world.user("owner").await;
    let make = |n: u8| {
        let new = NewServer {
            name: "home".into(),
            request_id: format!("0190163d-8694-739b-aea5-966c26f8ad{n:02}"),
            ..NewServer::default()
        };
        world.domain.create_server(&owner, new)
    };
    let first = make(1).await.unwrap();
    make(2).await.unwrap();
    assert_eq!(why(make(3).await), Reason::LimitReached);
    assert_eq!(make(1).await.unwrap(), first);
}
