//! Over the real store, use cases and sockets; the time is the tests' own.

mod receiver;

use super::*;
use crate::bus::local::{self, LocalTopics, RingLimits};
use crate::clock::ManualClock;
use crate::config::Config;
use crate::domain::{Caller, NewChannel, NewServer, NewWebhook, SendMessage, WebhookChanges};
use crate::model::{ChannelType, SNOWFLAKE_EPOCH_MS, WebhookEvent};
use crate::outgoing::{SigningKey, SystemResolver};
use crate::store::sqlite::Sqlite;
use receiver::{Got, Receiver, Reply, Script};
use std::collections::HashMap;
use std::sync::Mutex;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// How long a test waits for what must come. Never asserted on; only ends a hanging test.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    dir: Arc<TempDir>,
    config: Arc<Config>,
    clock: Arc<ManualClock>,
    domain: Arc<Domain>,
    store: store::Handle,
    here: Arc<Mutex<HashSet<Id>>>,
    stop: CancellationToken,
    delivering: JoinHandle<()>,
    operator: Caller,
}

impl World {
    async fn new(change: impl FnOnce(&mut config::Webhooks)) -> World {
        let mut config = Config::default();
        config.limits.enabled = false;
        config.webhooks.allow_private = true;
        change(&mut config.webhooks);
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::new(SNOWFLAKE_EPOCH_MS + 1_000_000));
        Self::open(dir, Arc::new(config), clock).await
    }

    async fn open(dir: Arc<TempDir>, config: Arc<Config>, clock: Arc<ManualClock>) -> World {
        let topics = LocalTopics::new(RingLimits::default(), clock.clone());
        let path = dir.path().join("store");
        let relay = Arc::new(topics.clone());
        let store = Sqlite::open_with_clock(&path, relay, clock.clone()).await;
        let store: store::Handle = Arc::new(store.unwrap());
        let bus = local::open(
            topics,
            store.highest().await.unwrap(),
            Duration::ZERO,
            clock.clone(),
        );
        let domain = Domain::new(store.clone(), bus, config.clone(), clock.clone());
        let here = Arc::new(Mutex::new(HashSet::new()));
        let online: Online = {
            let here = here.clone();
            Arc::new(move |user| {
                let is_here = here.lock().unwrap().contains(&user);
                Box::pin(async move { is_here })
            })
        };
        let deliverer = Deliverer::new(
            store.clone(),
            domain.clone(),
            clock.clone(),
            config.webhooks.clone(),
            Arc::new(SystemResolver),
            online,
        );
        let stop = CancellationToken::new();
        let delivering = tokio::spawn(deliverer.unwrap().run(stop.clone()));
        let key = domain.create_key("operator", true, None).await.unwrap();
        let operator = domain.authenticate(&key.token).await.unwrap();
        World {
            dir,
            config,
            clock,
            domain,
            store,
            here,
            stop,
            delivering,
            operator,
        }
    }

    /// The node ends, by itself or as if killed, and begins anew on what it stored.
    async fn restart(self, killed: bool) -> World {
        if killed {
            self.delivering.abort();
        }
        self.stop.cancel();
        let _ = self.delivering.await;
        self.store.close().await;
        Self::open(self.dir, self.config, self.clock).await
    }

    async fn webhook(&self, url: String, events: &[WebhookEvent]) -> Webhook {
        let new = NewWebhook {
            url,
            events: events.iter().map(|event| event.name().to_owned()).collect(),
            ..NewWebhook::default()
        };
        self.domain
            .create_webhook(&self.operator, new)
            .await
            .unwrap()
    }

    async fn user(&self, name: &str) -> Caller {
        let minted = crate::domain::Subject::External(name.to_owned());
        let signed_in = self
            .domain
            .mint_session(&self.operator, minted, name, "")
            .await;
        let tokens = signed_in.unwrap().tokens;
        self.domain.authenticate(&tokens.access).await.unwrap()
    }

    /// A server of the operator's, and its first channel.
    async fn server(&self) -> (Id, Id) {
        let new = NewServer {
            name: "home".into(),
            open: true,
            ..NewServer::default()
        };
        let made = self.domain.create_server(&self.operator, new).await;
        let (server, general) = made.unwrap();
        (server.id, general)
    }

    async fn channel(&self, server_id: Id, kind: ChannelType, member_ids: Vec<Id>) -> Id {
        let new = NewChannel {
            server_id,
            kind,
            name: if server_id == 0 { "" } else { "another" }.into(),
            description: String::new(),
            rank: 0,
            member_ids,
            metadata: Default::default(),
            request_id: String::new(),
        };
        let made = self.domain.create_channel(&self.operator, new).await;
        made.unwrap().id
    }

    async fn say(&self, channel_id: Id, content: &str) -> Id {
        let send = SendMessage {
            channel_id,
            content: content.into(),
            ..SendMessage::default()
        };
        let sent = self.domain.send_message(&self.operator, send).await;
        sent.unwrap().id
    }

    /// Lets time pass, and the deliverer see it.
    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.store.queued().notify_one();
    }

    /// Lets time pass until it holds.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !holds().await {
                self.pass(Duration::from_millis(200));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "never: {what}");
    }

    async fn until_nothing_waits(&self, webhook: Id) {
        let nothing = async || self.store.webhook(webhook).await.unwrap().unwrap().queued == 0;
        self.until("nothing waits", nothing).await;
    }

    async fn letters(&self, webhook: Id) -> Vec<crate::model::DeadLetter> {
        self.store.dead_letters(webhook, 0, 999).await.unwrap()
    }
}

fn always(status: u16) -> Script {
    Box::new(move |_, _| Reply::Status(status))
}

fn contents(got: &[Got]) -> Vec<&str> {
    got.iter().map(Got::content).collect()
}

fn secret(webhook: &Webhook) -> String {
    SigningKey::from_bytes(webhook.key.clone()).expose()
}

const MESSAGES: [WebhookEvent; 3] = [
    WebhookEvent::MessageCreated,
    WebhookEvent::MessageUpdated,
    WebhookEvent::MessageDeleted,
];

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
