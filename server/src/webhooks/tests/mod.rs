//! Over the real store, use cases and sockets; the time is the tests' own.

mod changes;
mod ends;
mod order;
pub(crate) mod receiver;
mod told;

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
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::sync::RwLock;
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
    /// Who is here isn't told while this is held for writing.
    hidden: Arc<RwLock<()>>,
    /// How often it was asked for.
    asked: Arc<AtomicUsize>,
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
        let (hidden, asked) = (Arc::<RwLock<()>>::default(), Arc::<AtomicUsize>::default());
        let online: Online = {
            let (here, hidden, asked) = (here.clone(), hidden.clone(), asked.clone());
            Arc::new(move |user| {
                let is_here = here.lock().unwrap().contains(&user);
                asked.fetch_add(1, Ordering::Relaxed);
                let hidden = hidden.clone();
                Box::pin(async move {
                    let _shown = hidden.read().await;
                    is_here
                })
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
            hidden,
            asked,
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
            slow_mode_s: 0,
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
