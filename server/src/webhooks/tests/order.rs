//! Order, and who holds up whom.

use super::*;

/// Each request fails once or twice, by its id; two restarts come in between, one of them hard.
#[tokio::test]
async fn each_event_arrives_signed_and_in_the_order_of_its_channel() {
    let receiver = Receiver::start(Box::new(|got, times| {
        let odd = got.id.bytes().map(usize::from).sum::<usize>() % 3;
        Reply::Status(if times < odd { 503 } else { 204 })
    }));
    let receiver = receiver.await;
    let mut world = World::new(|_| {}).await;
    let webhook = world.webhook(receiver.url("all"), &MESSAGES).await;
    let (server, general) = world.server().await;
    let mut channels = vec![general];
    for _ in 0..3 {
        channels.push(world.channel(server, ChannelType::Text, vec![]).await);
    }
    let mut expected: HashMap<String, Vec<(&str, String)>> = HashMap::new();
    for round in 0..15 {
        for channel in &channels {
            let id = world.say(*channel, &format!("{round}")).await;
            let told = expected.entry(channel.to_string()).or_default();
            told.push(("message.created", id.to_string()));
            if round % 5 == 0 {
                let by = &world.operator;
                let edited = world.domain.edit_message(by, *channel, id, "edited".into());
                edited.await.unwrap();
                told.push(("message.updated", id.to_string()));
                world.domain.delete_message(by, *channel, id).await.unwrap();
                told.push(("message.deleted", id.to_string()));
            }
        }
        if round % 5 == 2 {
            world = world.restart(round == 7).await;
        }
    }
    world.until_nothing_waits(webhook.id).await;
    for (channel, expected) in &expected {
        let mut got = receiver.got();
        got.retain(|got| got.json["message"]["channelId"] == channel.as_str());
        // Repeats come only right after what they repeat.
        got.dedup_by(|later, earlier| later.id == earlier.id);
        let told: Vec<_> = got
            .iter()
            .map(|got| (got.kind(), got.json["message"]["id"].as_str().unwrap()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, id)| (*kind, id.as_str()))
            .collect();
        assert_eq!(told, expected);
    }
    let ids: HashSet<_> = receiver.taken().into_iter().map(|got| got.id).collect();
    assert_eq!(ids.len(), expected.values().map(Vec::len).sum::<usize>());
    assert!(world.letters(webhook.id).await.is_empty());
    let secret = secret(&webhook);
    for got in receiver.got() {
        assert!(got.is_signed_with(&secret), "{got:?}");
        assert_eq!(got.json["id"], got.id.as_str());
        assert_eq!(got.json["serverId"], server.to_string());
    }
}

#[tokio::test]
async fn a_channel_whose_event_hangs_holds_up_itself_alone() {
    let receiver = Receiver::start(Box::new(|got, times| match (got.content(), times) {
        ("first", 0) => Reply::Never,
        _ => Reply::Status(200),
    }));
    let receiver = receiver.await;
    let world = World::new(|settings| settings.timeout = Duration::from_millis(500)).await;
    let webhook = world.webhook(receiver.url(""), &MESSAGES).await;
    let (server, general) = world.server().await;
    let other = world.channel(server, ChannelType::Text, vec![]).await;
    world.say(general, "first").await;
    world.say(general, "second").await;
    world
        .until("it hangs", async || receiver.got().len() == 1)
        .await;
    world.say(other, "beside").await;
    world
        .until("the other goes on", async || !receiver.taken().is_empty())
        .await;
    assert_eq!(contents(&receiver.got()), ["first", "beside"]);
    world.until_nothing_waits(webhook.id).await;
    assert_eq!(contents(&receiver.taken()), ["beside", "first", "second"]);
}

#[tokio::test]
async fn a_receiver_that_fails_holds_up_no_other() {
    let receiver = Receiver::start(Box::new(|got, _| {
        Reply::Status(if got.path == "/fails" { 500 } else { 200 })
    }));
    let receiver = receiver.await;
    let world = World::new(|settings| settings.concurrency = 4).await;
    let failing = world.webhook(receiver.url("fails"), &MESSAGES).await;
    let working = world.webhook(receiver.url("works"), &MESSAGES).await;
    let (server, general) = world.server().await;
    let mut channels = vec![general];
    for _ in 0..30 {
        channels.push(world.channel(server, ChannelType::Text, vec![]).await);
    }
    for channel in &channels {
        world.say(*channel, "to all").await;
    }
    world.until_nothing_waits(working.id).await;
    assert_eq!(receiver.taken().len(), channels.len());
    // Once it has failed in a row it is tried ever more rarely, however many channels wait.
    let failures = || receiver.got().iter().filter(|got| !got.taken).count();
    let enough = FAILING as usize;
    world.until("it fails", async || failures() >= enough).await;
    let before = failures();
    for _ in 0..100 {
        world.pass(Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(failures() <= before + 4, "{before} {}", failures());
    receiver.now(always(200));
    world.until_nothing_waits(failing.id).await;
}
