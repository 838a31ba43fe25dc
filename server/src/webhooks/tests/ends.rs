//! How attempts end, and when the next one is made.

use super::*;

#[tokio::test]
async fn gone_switches_off_and_what_died_can_be_sent_anew() {
    let receiver = Receiver::start(always(410)).await;
    let world = World::new(|_| {}).await;
    let webhook = world.webhook(receiver.url(""), &MESSAGES).await;
    let (_, general) = world.server().await;
    world.say(general, "one").await;
    let off = async || {
        !world
            .store
            .webhook(webhook.id)
            .await
            .unwrap()
            .unwrap()
            .enabled
    };
    world.until("it is switched off", off).await;
    world.say(general, "unheard").await;
    world.until_nothing_waits(webhook.id).await;
    let letters = world.letters(webhook.id).await;
    let error = (letters.len(), letters[0].error.as_str());
    assert_eq!((error, letters[0].event.attempts), ((1, "HTTP 410"), 1));
    let stored = world.store.webhook(webhook.id).await.unwrap().unwrap();
    assert_eq!(stored.disabled_reason, "the receiver answered 410 Gone");

    receiver.now(always(200));
    let on = WebhookChanges {
        enabled: Some(true),
        ..WebhookChanges::default()
    };
    let (domain, by) = (&world.domain, &world.operator);
    let changed = domain.update_webhook(by, webhook.id, on).await.unwrap();
    assert!(changed.enabled && changed.disabled_reason.is_empty());
    world.say(general, "two").await;
    world.until_nothing_waits(webhook.id).await;
    let again = domain.redeliver_dead_letters(by, webhook.id, 0).await;
    assert_eq!(again.unwrap(), 1);
    world.until_nothing_waits(webhook.id).await;
    let taken = receiver.taken();
    assert_eq!(contents(&taken), ["two", "one"]);
    assert_eq!(taken[1].id, receiver.got()[0].id);
}

#[tokio::test]
async fn what_is_never_taken_dies_after_its_time_and_redirects_lead_nowhere() {
    let elsewhere = Receiver::start(always(200)).await;
    let there = elsewhere.url("");
    let receiver = Receiver::start(Box::new(move |_, _| Reply::Redirect(there.clone()))).await;
    let world = World::new(|settings| settings.retry_for = Duration::from_secs(60)).await;
    let webhook = world.webhook(receiver.url(""), &MESSAGES).await;
    let (_, general) = world.server().await;
    world.say(general, "one").await;
    let dead = async || !world.letters(webhook.id).await.is_empty();
    world.until("it dies", dead).await;
    let letter = world.letters(webhook.id).await.remove(0);
    assert!(
        letter.died_at - letter.event.created_at >= 60_000,
        "{letter:?}"
    );
    // 1, 2, 4 … s apart, each with its random part: at least 6 tries fit.
    assert!((6..=14).contains(&letter.event.attempts), "{letter:?}");
    assert!(elsewhere.got().is_empty());
}

#[tokio::test]
async fn a_receiver_says_when_to_come_again_up_to_a_bound() {
    let receiver = Receiver::start(Box::new(|got, times| match (got.content(), times) {
        ("later", 0) => Reply::Later(429, 30),
        ("later", 1) => Reply::Later(503, 1_000_000),
        _ => Reply::Status(200),
    }));
    let receiver = receiver.await;
    let world = World::new(|_| {}).await;
    let webhook = world.webhook(receiver.url(""), &MESSAGES).await;
    let (server, general) = world.server().await;
    let other = world.channel(server, ChannelType::Text, vec![]).await;
    let tries = || {
        receiver
            .got()
            .iter()
            .filter(|got| got.content() == "later")
            .count()
    };
    // Another event shows that the deliverer has looked.
    let look = async |number: usize| {
        world.say(other, "now").await;
        let taken = async || receiver.taken().len() == number;
        let waiting = async {
            while !taken().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    };
    let attempts = async |attempts: u32| {
        let waiting = async {
            loop {
                let now = world.clock.wall_ms() + 10_000_000;
                let due = world.store.due_events(webhook.id, now, 9).await.unwrap();
                if due
                    .iter()
                    .any(|e| e.lane == general && e.attempts == attempts)
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    };
    world.say(general, "later").await;
    attempts(1).await;
    world.pass(Duration::from_secs(29));
    look(1).await;
    assert_eq!(tries(), 1);
    world.pass(Duration::from_secs(1));
    attempts(2).await;
    world.pass(Duration::from_secs(3_599));
    look(2).await;
    assert_eq!(tries(), 2);
    world.pass(Duration::from_secs(1));
    world.until_nothing_waits(webhook.id).await;
    assert_eq!(tries(), 3);
}
