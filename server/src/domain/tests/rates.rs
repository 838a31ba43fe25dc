//! How fast callers may be. The clock of rates is real, so they are so low here that nothing comes
//! free again within a test.

use super::*;

/// How many of these are let through until one is refused, which says when to try again.
async fn until_refused<T, W>(mut one: impl FnMut() -> W) -> usize
where
    W: Future<Output = Result<T, Error>>,
{
    for passed in 0.. {
        if let Err(refused) = one().await {
            assert_eq!(refused.reason, Reason::RateLimited, "{refused}");
            assert!(refused.retry_after.is_some_and(|wait| !wait.is_zero()));
            return passed;
        }
    }
    unreachable!()
}

#[tokio::test]
async fn sends_are_limited_by_channel_and_user_a_hundredfold_for_services() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.send_window = Duration::from_secs(86_400);
    })
    .await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let service = world.service().await;
    let (_, one) = world.server(&owner, &[&anna]).await;
    let (_, two) = world.server(&owner, &[&anna]).await;
    for (caller, most) in [(&owner, 5), (&anna, 5), (&service, 500)] {
        for channel in [one, two] {
            let sent = until_refused(|| world.send(caller, channel, "x")).await;
            assert_eq!(sent, most);
        }
    }
}

/// A world of one call a minute, and three for services.
async fn slow() -> World {
    World::with(|config| {
        config.limits.enabled = true;
        config.limits.calls_per_minute = 1;
        config.limits.creates_per_minute = 1;
        config.limits.service_factor = 3;
    })
    .await
}

#[tokio::test]
async fn calls_are_limited_by_user_and_more_are_the_services() {
    let world = slow().await;
    let user = world.user("anna").await;
    let token = async |user: Id| world.sign_in(user).await.1.access;
    let (one, two) = (token(user.user_id).await, token(user.user_id).await);
    let domain = &world.domain;
    domain.admit(&one).await.unwrap();
    let left = until_refused(|| domain.admit(&two)).await;
    assert_eq!(left, 0, "all sessions of a user together");
    let ben = token(world.user("ben").await.user_id).await;
    assert_eq!(until_refused(|| domain.admit(&ben)).await, 1);
    let key = domain.create_key("back end", false, None).await.unwrap();
    assert_eq!(until_refused(|| domain.admit(&key.token)).await, 3);
}

#[tokio::test]
async fn what_is_made_and_joined_is_limited_together() {
    let world = slow().await;
    let service = world.service().await;
    let (server, _) = world.server(&service, &[]).await;
    let domain = &world.domain;
    let (anna, ben) = (&world.user("anna").await, &world.user("ben").await);
    domain.join_by_id(anna, server).await.unwrap();
    let limited = |refused: Error| assert_eq!(refused.reason, Reason::RateLimited, "{refused}");
    let named = NewServer {
        name: "another".into(),
        ..NewServer::default()
    };
    limited(domain.create_server(anna, named).await.err().unwrap());
    limited(world.direct(anna, ben).await.unwrap_err());
    let text = new_channel(server, crate::model::ChannelType::Text, "text");
    limited(domain.create_channel(anna, text).await.unwrap_err());
    world.direct(ben, anna).await.unwrap();
    limited(domain.join_by_id(ben, server).await.err().unwrap());
    let bot = domain.create_bot(ben, "robot", "", "").await;
    limited(bot.err().unwrap());
    let invite = domain.create_invite(&service, new_invite(server, 1, 0));
    let code = invite.await.unwrap().code;
    limited(domain.join_by_invite(ben, code).await.err().unwrap());
    let invite = || domain.create_invite(&service, new_invite(server, 1, 0));
    assert_eq!(until_refused(invite).await, 1, "its third in all");
}

#[tokio::test]
async fn acknowledgements_and_mutes_are_limited_by_channel_and_user() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.send_window = Duration::from_secs(86_400);
    })
    .await;
    let owner = world.user("owner").await;
    let (_, one) = world.server(&owner, &[]).await;
    let (_, two) = world.server(&owner, &[]).await;
    let domain = &world.domain;
    for channel in [one, two] {
        let id = world.send(&owner, channel, "x").await.unwrap();
        for _ in 0..4 {
            domain.mute_channel(&owner, channel, 0).await.unwrap();
        }
        let acked = until_refused(|| domain.ack_message(&owner, channel, id)).await;
        assert_eq!(acked, 6);
    }
}
