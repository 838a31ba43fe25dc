//! Bots and service keys.

use super::*;

const REQUEST: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

#[tokio::test]
async fn keys_and_bots() {
    let world = World::new().await;
    let domain = &world.domain;
    let key = domain
        .create_key("operator", true, None)
        .await
        .ok()
        .unwrap();
    let admin = domain.authenticate(&key.token).await.unwrap();
    let (service, user) = (world.service().await, world.user("anna").await);
    assert!(admin.is_admin() && service.is_service() && !service.is_admin());
    assert_eq!(
        why(domain.list_keys(&service, Id::MAX, 0).await),
        Reason::KeyRequired
    );
    assert_eq!(
        domain
            .list_keys(&admin, Id::MAX, 0)
            .await
            .unwrap()
            .items
            .len(),
        2
    );
    let minted = domain
        .mint_session(&user, Subject::User(user.user_id), "", "")
        .await;
    assert_eq!(why(minted), Reason::KeyRequired);
    let subject = || Subject::External("player-1".into());
    let first = domain
        .mint_session(&service, subject(), "Player", "")
        .await
        .ok()
        .unwrap();
    let again = domain
        .mint_session(&service, subject(), "Other", "")
        .await
        .ok()
        .unwrap();
    assert!(first.created && !again.created && again.user == first.user);
    let (bot, token) = domain.create_bot(&user, "helper", "", "").await.unwrap();
    let bot_caller = domain.authenticate(&token).await.unwrap();
    assert!(bot.bot && bot_caller.user_id == bot.id && !bot_caller.is_favoured());
    assert_eq!(
        why(domain.create_bot(&bot_caller, "more", "", "").await),
        Reason::PermissionDenied
    );
    let (_, token) = domain.create_bot(&service, "worker", "", "").await.unwrap();
    let worker = domain.authenticate(&token).await.unwrap();
    assert!(worker.is_favoured() && !worker.is_service());
    domain.revoke_key(&admin, service.session_id).await.unwrap();
    assert_eq!(
        why(domain.revalidate(&service).await),
        Reason::SessionRevoked
    );
    assert_eq!(
        why(domain.revoke_key(&admin, user.session_id).await),
        Reason::NotFound
    );
}

#[tokio::test]
async fn a_bots_token_is_reset_and_the_bot_deleted_by_its_owner() {
    let world = World::new().await;
    let domain = &world.domain;
    let (anna, eve) = (world.user("anna").await, world.user("eve").await);
    let service = world.service().await;
    let (bot, token) = domain.create_bot(&anna, "helper", "", "").await.unwrap();
    domain.authenticate(&token).await.unwrap();
    assert_eq!(
        domain.list_bots(&anna, 0, Id::MAX, 0).await.unwrap().items,
        std::slice::from_ref(&bot)
    );
    for other in [&eve, &service] {
        let reset = domain.reset_bot_token(other, bot.id).await;
        assert_eq!(why(reset), Reason::NotFound);
        let deleted = domain.delete_bot(other, bot.id).await;
        assert_eq!(why(deleted), Reason::NotFound);
        let listed = domain.list_bots(other, anna.user_id, Id::MAX, 0).await;
        assert_eq!(why(listed), Reason::KeyRequired);
    }
    assert_eq!(
        why(domain.delete_bot(&anna, eve.user_id).await),
        Reason::NotFound
    );
    let second = domain.reset_bot_token(&anna, bot.id).await.unwrap();
    assert_eq!(
        why(domain.authenticate(&token).await),
        Reason::SessionRevoked
    );
    let caller = domain.authenticate(&second).await.unwrap();
    assert_eq!(caller.user_id, bot.id);
    // An operator may, too.
    let key = domain
        .create_key("operator", true, None)
        .await
        .ok()
        .unwrap();
    let admin = domain.authenticate(&key.token).await.unwrap();
    let listed = domain.list_bots(&admin, anna.user_id, Id::MAX, 0).await;
    assert_eq!(listed.unwrap().items.len(), 1);
    domain.delete_bot(&admin, bot.id).await.unwrap();
    assert_eq!(
        why(domain.authenticate(&second).await),
        Reason::SessionRevoked
    );
    let listed = domain.list_bots(&anna, 0, Id::MAX, 0).await.unwrap();
    assert!(listed.items.is_empty());
    let reset = domain.reset_bot_token(&anna, bot.id).await;
    assert_eq!(why(reset), Reason::NotFound);
}

#[tokio::test]
async fn a_bot_that_a_service_made_keeps_its_limits() {
    let world = World::new().await;
    let domain = &world.domain;
    let service = world.service().await;
    let (bot, _) = domain.create_bot(&service, "worker", "", "").await.unwrap();
    let token = domain.reset_bot_token(&service, bot.id).await.unwrap();
    assert!(domain.authenticate(&token).await.unwrap().is_favoured());
}

#[tokio::test]
async fn a_deleted_account_takes_its_bots_along() {
    let world = World::new().await;
    let domain = &world.domain;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, _) = world.server(&owner, &[]).await;
    let (_, token) = domain.create_bot(&anna, "helper", "", "").await.unwrap();
    let bot = domain.authenticate(&token).await.unwrap();
    domain.join_by_id(&bot, server).await.unwrap();
    let new = NewServer {
        name: "the bot's".into(),
        ..NewServer::default()
    };
    let (own, _) = domain.create_server(&bot, new).await.unwrap();
    let kept = domain.delete_account(&anna, String::new()).await;
    assert_eq!(why(kept), Reason::OwnerLeaves, "a bot of its owns a server");
    domain.delete_server(&bot, own.id).await.unwrap();
    domain.delete_account(&anna, String::new()).await.unwrap();
    assert_eq!(
        why(domain.authenticate(&token).await),
        Reason::SessionRevoked
    );
    assert!(domain.get_user(bot.user_id).await.unwrap().deleted);
    let members = domain.list_members(&owner, server, 0, 0).await.unwrap();
    assert_eq!(members.items.len(), 1);
}

#[tokio::test]
async fn a_user_has_so_many_bots_at_most() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.bots_per_user = 2;
        config.limits.service_factor = 2;
    })
    .await;
    let domain = &world.domain;
    let (anna, service) = (world.user("anna").await, world.service().await);
    for (caller, most) in [(&anna, 2), (&service, 4)] {
        for n in 0..most {
            let name = format!("bot {n} of {}", caller.user_id);
            domain.create_bot(caller, &name, "", "").await.unwrap();
        }
        let more = domain.create_bot(caller, "one more", "", "").await;
        assert_eq!(why(more), Reason::LimitReached);
    }
}

#[tokio::test]
async fn a_request_id_makes_one_bot_and_one_key_of_repeats() {
    let world = World::new().await;
    let domain = &world.domain;
    let anna = world.user("anna").await;
    let create = |name: &'static str| domain.create_bot(&anna, name, "", REQUEST);
    let (first, lost) = create("helper").await.unwrap();
    domain.authenticate(&lost).await.unwrap();
    let (again, token) = create("helper").await.unwrap();
    assert_eq!(again, first);
    assert_eq!(
        why(domain.authenticate(&lost).await),
        Reason::SessionRevoked
    );
    assert_eq!(domain.authenticate(&token).await.unwrap().user_id, first.id);
    assert_eq!(why(create("other").await), Reason::NonceReused);
    domain.authenticate(&token).await.unwrap();
    let key = domain
        .create_key("operator", true, None)
        .await
        .ok()
        .unwrap();
    let admin = domain.authenticate(&key.token).await.unwrap();
    let create = || domain.create_key_for(&admin, "back end", false, REQUEST);
    let (first, again) = (create().await.ok().unwrap(), create().await.ok().unwrap());
    assert_eq!(first.key.user_id, again.key.user_id);
    assert_eq!(
        why(domain.authenticate(&first.token).await),
        Reason::SessionRevoked
    );
    domain.authenticate(&again.token).await.unwrap();
    assert_eq!(
        domain
            .list_keys(&admin, Id::MAX, 0)
            .await
            .unwrap()
            .items
            .len(),
        2
    );
}
