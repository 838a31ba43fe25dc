//! Changes of a webhook hold for what waits for it, and for what is about to be told.

use super::*;

const OFFLINE: [WebhookEvent; 1] = [WebhookEvent::RecipientOffline];

async fn change(world: &World, webhook: &Webhook, changes: WebhookChanges) {
    let changed = world
        .domain
        .update_webhook(&world.operator, webhook.id, changes);
    changed.await.unwrap();
}

fn paths(receiver: &Receiver) -> Vec<String> {
    let mut paths: Vec<_> = receiver.got().into_iter().map(|got| got.path).collect();
    paths.sort_unstable();
    paths
}

#[tokio::test]
async fn what_is_no_longer_asked_for_is_not_told_and_the_rest_goes_where_it_now_should() {
    let receiver = Receiver::start(always(500)).await;
    let world = World::new(|_| {}).await;
    let all = [
        WebhookEvent::MessageCreated,
        WebhookEvent::MessageUpdated,
        WebhookEvent::MemberJoined,
    ];
    let webhook = world.webhook(receiver.url("old"), &all).await;
    let (server, general) = world.server().await;
    let (by, domain) = (&world.operator, &world.domain);
    let said = world.say(general, "one").await;
    let edited = domain.edit_message(by, general, said, "two".into());
    edited.await.unwrap();
    // Both lanes have failed, and wait for the time to pass.
    let failed = async || {
        let later = world.clock.wall_ms() + 1_000_000;
        let due = world.store.due_events(webhook.id, later, 9).await.unwrap();
        due.len() == 2 && due.iter().all(|event| event.attempts > 0)
    };
    let waiting = async {
        while !failed().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    let changes = WebhookChanges {
        url: Some(receiver.url("new")),
        events: Some(vec!["message.updated".into()]),
        enabled: None,
    };
    change(&world, &webhook, changes).await;
    let before = receiver.got().len();
    receiver.now(always(200));
    world.until_nothing_waits(webhook.id).await;
    let told = &receiver.got()[before..];
    let told: Vec<_> = told.iter().map(|got| (&got.path[..], got.kind())).collect();
    assert_eq!(told, [("/new", "message.updated")]);

    // Nor when it is queued anew.
    receiver.now(always(410));
    let on = WebhookChanges {
        events: Some(vec!["message.created".into()]),
        ..WebhookChanges::default()
    };
    change(&world, &webhook, on).await;
    world.say(general, "three").await;
    let dead = async || world.letters(webhook.id).await.len() == 1;
    world.until("it dies", dead).await;
    receiver.now(always(200));
    let other = WebhookChanges {
        events: Some(vec!["member.joined".into()]),
        enabled: Some(true),
        ..WebhookChanges::default()
    };
    change(&world, &webhook, other).await;
    let again = domain.redeliver_dead_letters(by, webhook.id, 0).await;
    assert_eq!(again.unwrap(), 1);
    let ann = world.user("ann").await;
    domain.join_by_id(&ann, server).await.unwrap();
    world.until_nothing_waits(webhook.id).await;
    let taken = receiver.taken();
    let kinds: Vec<_> = taken.iter().map(Got::kind).collect();
    assert_eq!(kinds, ["message.updated", "member.joined"]);
}

#[tokio::test]
async fn a_webhook_that_is_changed_while_its_request_is_made_up_is_told_as_it_is_then() {
    let receiver = Receiver::start(always(200)).await;
    let world = World::new(|_| {}).await;
    let mut webhooks = Vec::new();
    for name in ["deleted", "deselected", "kept", "moved", "off"] {
        webhooks.push(world.webhook(receiver.url(name), &OFFLINE).await);
    }
    let ann = world.user("ann").await;
    let direct = vec![ann.user_id];
    let direct = world.channel(0, ChannelType::Direct, direct).await;

    let hidden = world.hidden.write().await;
    world.say(direct, "hello").await;
    let asked = async || world.asked.load(Ordering::Relaxed) == webhooks.len();
    world.until("all are made up", asked).await;
    let [deleted, deselected, kept, moved, off] = &webhooks[..] else {
        panic!("five of them");
    };
    let gone = world.domain.delete_webhook(&world.operator, deleted.id);
    gone.await.unwrap();
    let others = WebhookChanges {
        events: Some(vec!["message.created".into()]),
        ..WebhookChanges::default()
    };
    change(&world, deselected, others).await;
    let url = WebhookChanges {
        url: Some(receiver.url("elsewhere")),
        ..WebhookChanges::default()
    };
    change(&world, moved, url).await;
    let enabled = |enabled| WebhookChanges {
        enabled: Some(enabled),
        ..WebhookChanges::default()
    };
    change(&world, off, enabled(false)).await;
    drop(hidden);
    for webhook in [deselected, kept, moved] {
        world.until_nothing_waits(webhook.id).await;
    }
    // What is under way ends before the deliverer does.
    let world = world.restart(false).await;
    assert_eq!(paths(&receiver), ["/elsewhere", "/kept"]);

    // What waited for the one that is off was not lost.
    change(&world, off, enabled(true)).await;
    world.until_nothing_waits(off.id).await;
    assert_eq!(paths(&receiver), ["/elsewhere", "/kept", "/off"]);
}
