//! What is told, to whom, signed by what.

use super::*;

#[tokio::test]
async fn those_who_are_away_are_named_and_nobody_else() {
    let receiver = Receiver::start(always(200)).await;
    let world = World::new(|_| {}).await;
    let (ann, bob, eve) = (
        world.user("ann").await,
        world.user("bob").await,
        world.user("eve").await,
    );
    let (server, _) = world.server().await;
    for user in [&ann, &bob, &eve] {
        world.domain.join_by_id(user, server).await.unwrap();
    }
    let private = vec![ann.user_id, bob.user_id];
    let private = world.channel(server, ChannelType::Private, private).await;
    let direct = vec![ann.user_id, bob.user_id];
    let direct = world.channel(0, ChannelType::Direct, direct).await;
    let offline = [WebhookEvent::RecipientOffline];
    let webhook = world.webhook(receiver.url(""), &offline).await;
    world.here.lock().unwrap().insert(bob.user_id);

    // Eve may not see it, Bob is here, the operator wrote it.
    let all = [
        ann.user_id,
        bob.user_id,
        eve.user_id,
        world.operator.user_id,
    ];
    let mentions: String = all.iter().map(|user| format!("<@{user}>")).collect();
    world.say(private, &mentions).await;
    world.say(private, "to nobody").await;
    world.say(private, &format!("<@{}>", eve.user_id)).await;
    world.until_nothing_waits(webhook.id).await;
    world.say(direct, "to both").await;
    world.until_nothing_waits(webhook.id).await;
    let got = receiver.got();
    let told: Vec<_> = got
        .iter()
        .map(|got| (got.content(), &got.json["recipientIds"]))
        .collect();
    let away = serde_json::json!([ann.user_id.to_string()]);
    assert_eq!(told, [(mentions.as_str(), &away), ("to both", &away)]);
    assert_eq!(got[0].kind(), "recipient.offline");
    assert_eq!(got[0].json["serverId"], server.to_string());
    assert_eq!(got[1].json.get("serverId"), None);
}

#[tokio::test]
async fn members_are_told_of_and_a_new_secret_signs_beside_the_old_one_for_a_day() {
    let receiver = Receiver::start(always(200)).await;
    let world = World::new(|_| {}).await;
    let (server, _) = world.server().await;
    let members = [WebhookEvent::MemberJoined, WebhookEvent::MemberLeft];
    let webhook = world.webhook(receiver.url(""), &members).await;
    let old = secret(&webhook);
    let ann = world.user("ann").await;
    world.domain.join_by_id(&ann, server).await.unwrap();
    world.until_nothing_waits(webhook.id).await;
    let rotated = world.domain.rotate_webhook_key(&world.operator, webhook.id);
    let new = secret(&rotated.await.unwrap());
    assert_ne!(old, new);
    world.domain.leave_server(&ann, server).await.unwrap();
    world.until_nothing_waits(webhook.id).await;
    world.clock.advance(Duration::from_secs(24 * 60 * 60));
    world.domain.join_by_id(&ann, server).await.unwrap();
    world.until_nothing_waits(webhook.id).await;
    let got = receiver.got();
    let signed: Vec<_> = got
        .iter()
        .map(|got| {
            (
                got.kind(),
                got.is_signed_with(&old),
                got.is_signed_with(&new),
            )
        })
        .collect();
    let expected = [
        ("member.joined", true, false),
        ("member.left", true, true),
        ("member.joined", false, true),
    ];
    assert_eq!(signed, expected);
    for got in &got {
        let member = &got.json["member"];
        assert_eq!(member["userId"], ann.user_id.to_string());
        assert_eq!(member["user"]["displayName"], "ann");
        let joined = got.kind() == "member.joined";
        assert_eq!(member.get("role").is_some(), joined, "{member}");
    }
}

#[tokio::test]
async fn the_oldest_of_too_many_die_and_what_was_erased_is_not_told() {
    let receiver = Receiver::start(always(500)).await;
    let world = World::new(|settings| settings.queue_max = 3).await;
    let webhook = world.webhook(receiver.url(""), &MESSAGES).await;
    let (_, general) = world.server().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(world.say(general, &format!("{number}")).await);
    }
    let two = async || world.letters(webhook.id).await.len() == 2;
    world.until("two die", two).await;
    let letters = world.letters(webhook.id).await;
    let dead: Vec<_> = letters
        .iter()
        .map(|letter| letter.event.subject_id)
        .collect();
    assert_eq!(dead, ids[..2]);
    // The first that is told now was deleted meanwhile, which makes room for one more to die.
    let deleted = world
        .domain
        .delete_message(&world.operator, general, ids[3]);
    deleted.await.unwrap();
    let three = async || world.letters(webhook.id).await.len() == 3;
    world.until("a third dies", three).await;
    receiver.now(always(200));
    world.until_nothing_waits(webhook.id).await;
    let taken = receiver.taken();
    let told: Vec<_> = taken
        .iter()
        .map(|got| {
            (
                got.kind(),
                got.content(),
                got.json["message"]["deleted"] == true,
            )
        })
        .collect();
    let expected = [
        ("message.created", "", true),
        ("message.created", "4", false),
        ("message.deleted", "", true),
    ];
    assert_eq!(told, expected);
}
