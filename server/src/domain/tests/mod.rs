//! The use cases over the real store and the real bus.

mod auth;
mod bulk;
mod caches;
mod channels;
mod clocks;
mod hook;
mod jwt;
mod marks;
mod messages;
mod moderation;
mod pages;
mod programs;
mod rates;
mod read_states;
mod refresh;
mod reports;
mod servers;
mod settings;
mod slow_mode;

use super::*;
use crate::bus::local::{self, LocalTopics, RingLimits};
use crate::clock::ManualClock;
use crate::model::{Position, SNOWFLAKE_EPOCH_MS, TopicKey};
use crate::store::sqlite::Sqlite;
use crate::store::{OutboxEvent, Relay};
use chirm_proto::v1;
use prost::Message as _;
use std::time::Duration;
use tempfile::TempDir;

/// How long a test waits for what must come. Never asserted on; only ends a hanging test.
const PATIENCE: Duration = Duration::from_secs(20);
const PASSWORD: &str = "correct horse";

/// Hands events on; then a test may look around, before the writer that committed them is answered.
struct Probe {
    topics: LocalTopics,
    look: std::sync::Mutex<Option<Look>>,
}

type Look = Box<dyn Fn() + Send>;

impl Relay for Probe {
    fn relay(&self, events: Vec<OutboxEvent>) {
        self.topics.relay(events);
        if let Some(look) = &*self.look.lock().unwrap() {
            look();
        }
    }
}

struct World {
    domain: Arc<Domain>,
    clock: Arc<ManualClock>,
    probe: Arc<Probe>,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose settings `change` has changed. Limits of rates are off unless it says
    /// otherwise.
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.limits.enabled = false;
        change(&mut config);
        let clock = Arc::new(ManualClock::new(SNOWFLAKE_EPOCH_MS + 1_000_000));
        Self::open(dir, Arc::new(config), clock).await
    }

    async fn open(dir: TempDir, config: Arc<Config>, clock: Arc<ManualClock>) -> Self {
        let topics = LocalTopics::new(RingLimits::default(), clock.clone());
        let probe = Arc::new(Probe {
            topics: topics.clone(),
            look: std::sync::Mutex::default(),
        });
        let path = dir.path().join("store");
        let store = Sqlite::open_with_clock(&path, probe.clone(), clock.clone()).await;
        let store: store::Handle = Arc::new(store.unwrap());
        let bus = local::open(
            topics,
            store.highest().await.unwrap(),
            std::time::Duration::from_secs(20),
            clock.clone(),
        );
        let domain = Domain::new(store, bus, config, clock.clone());
        Self {
            domain,
            clock,
            probe,
            dir,
        }
    }

    /// The node ends, and begins anew on what it stored.
    async fn restart(self) -> Self {
        self.domain.store.close().await;
        Self::open(self.dir, self.domain.config.clone(), self.clock).await
    }

    /// A user that is signed in.
    async fn user(&self, name: &str) -> Caller {
        let user = self.domain.new_user(name, "", false).unwrap();
        let user = self
            .domain
            .store_account(
                store::NewAccount::from(store::Account {
                    user,
                    ..Default::default()
                }),
                Vec::new(),
            )
            .await;
        self.sign_in(user.unwrap().user.id).await.0
    }

    async fn sign_in(&self, user: Id) -> (Caller, Tokens) {
        let started = self.domain.start_session(user, String::new(), None).await;
        let tokens = started.ok().unwrap();
        (
            self.domain.authenticate(&tokens.access).await.unwrap(),
            tokens,
        )
    }

    /// A back end with a service key.
    async fn service(&self) -> Caller {
        let key = self
            .domain
            .create_key("back end", false, None)
            .await
            .unwrap();
        self.domain.authenticate(&key.token).await.unwrap()
    }

    /// A server of the owner's with the members, and its general channel.
    async fn server(&self, owner: &Caller, members: &[&Caller]) -> (Id, Id) {
        let new = NewServer {
            name: "home".into(),
            open: true,
            ..NewServer::default()
        };
        let (server, general) = self.domain.create_server(owner, new).await.unwrap();
        for member in members {
            self.domain.join_by_id(member, server.id).await.unwrap();
        }
        (server.id, general)
    }

    async fn role(&self, owner: &Caller, server: Id, member: &Caller, role: Role) {
        self.domain
            .update_member(owner, server, member.user_id, role)
            .await
            .unwrap();
    }

    async fn private(&self, owner: &Caller, server: Id, members: &[&Caller]) -> Id {
        let member_ids = members.iter().map(|member| member.user_id).collect();
        let new = NewChannel {
            member_ids,
            ..new_channel(server, crate::model::ChannelType::Private, "secret")
        };
        self.domain.create_channel(owner, new).await.unwrap().id
    }

    async fn direct(&self, caller: &Caller, other: &Caller) -> Result<Id, Error> {
        let new = NewChannel {
            member_ids: vec![other.user_id],
            ..new_channel(0, crate::model::ChannelType::Direct, "")
        };
        self.domain
            .create_channel(caller, new)
            .await
            .map(|channel| channel.id)
    }

    async fn send(&self, caller: &Caller, channel_id: Id, content: &str) -> Result<Id, Error> {
        let send = SendMessage {
            channel_id,
            content: content.into(),
            ..SendMessage::default()
        };
        self.domain
            .send_message(caller, send)
            .await
            .map(|message| message.id)
    }

    /// The events of a topic so far, by name, as clients get them.
    async fn told(&self, topic: TopicKey) -> Vec<v1::event::Event> {
        let end = self.domain.bus.topics.position(topic).await.unwrap();
        let begin = Position { seq: 0, ..end };
        let since = self.domain.bus.topics.since(topic, begin).await.unwrap();
        let crate::bus::Since::Events(events) = since else {
            panic!("the ring is cut")
        };
        let decoded = events.iter().map(|event| {
            let frame = v1::ServerFrame::decode(&event.frame[crate::frames::PREFIX_BYTES..]);
            match frame.unwrap().frame {
                Some(v1::server_frame::Frame::Event(event)) => event.event.unwrap(),
                other => panic!("no event: {other:?}"),
            }
        });
        decoded.collect()
    }

    async fn told_user(&self, user: &Caller) -> Vec<v1::event::Event> {
        self.told(TopicKey::user(user.user_id)).await
    }
}

fn new_channel(server_id: Id, kind: crate::model::ChannelType, name: &str) -> NewChannel {
    NewChannel {
        server_id,
        kind,
        name: name.into(),
        description: String::new(),
        rank: 0,
        member_ids: Vec::new(),
        metadata: Default::default(),
        request_id: String::new(),
        slow_mode_s: 0,
    }
}

fn new_invite(server_id: Id, max_uses: i32, ttl_s: i32) -> NewInvite {
    NewInvite {
        server_id,
        max_uses,
        ttl_s,
        request_id: String::new(),
    }
}

fn topic_added(topic: TopicKey) -> v1::event::Event {
    let topic = Some(crate::frames::topic(topic));
    v1::event::Event::TopicAdded(v1::TopicAdded { topic })
}

fn topic_removed(topic: TopicKey) -> v1::event::Event {
    let topic = Some(crate::frames::topic(topic));
    v1::event::Event::TopicRemoved(v1::TopicRemoved { topic })
}

/// Why it was refused.
fn why<T>(result: Result<T, Error>) -> Reason {
    result.err().expect("refused").reason
}
