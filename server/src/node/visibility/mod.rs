//! Nobody is told what it may not see: random changes of rights under random traffic on a whole
//! node, each frame and each request to a webhook held against what its receiver could see when it
//! came.

mod clients;
mod rights;
mod traffic;
mod truth;
mod webhooks;

use super::*;
use crate::domain::{self, Caller, NewChannel, NewServer};
use crate::gateway::tests::{self as sessions, User};
use crate::model::{ChannelType, Id, Role, WebhookEvent};
use clients::Connection;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tempfile::TempDir;
use tokio::time::Instant;
use truth::{Seen, Server, Thing, Truth, Who};
use webhooks::Webhooks;

/// What was lost may be told for a second still; one more for a machine that is busy.
const ALLOWED: Duration = Duration::from_secs(2);
/// How long a test waits for what must come. Only ends a hanging test.
const PATIENCE: Duration = Duration::from_secs(120);
const USERS: usize = 6;
const STEPS: usize = 300;

/// A text of a message, and whom it mentions.
struct Text {
    message: Id,
    mentioned: usize,
}

/// A node, those who use it, and what is known of them.
struct Play {
    node: Node,
    service: Caller,
    users: Vec<User>,
    ids: Vec<Id>,
    connections: Vec<Connection>,
    webhooks: Webhooks,
    truth: Truth,
    seen: Seen,
    rng: StdRng,
    /// Each channel that ever was with its server, 0 for none.
    homes: HashMap<Id, Id>,
    /// Who wrote which message.
    authors: HashMap<Id, usize>,
    /// All texts that were ever tried.
    texts: Vec<Text>,
    delivering: JoinHandle<()>,
    shutdown: CancellationToken,
    _dir: TempDir,
}

impl Play {
    async fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config {
            data: dir.path().to_owned(),
            ..Config::default()
        };
        config.limits.enabled = false;
        config.gateway.grace = Duration::from_millis(500);
        config.webhooks.allow_private = true;
        config.webhooks.retry_wait_max = Duration::from_millis(200);
        let config = Arc::new(config);
        let node = Node::open(config.clone()).await.expect("opens");
        let shutdown = CancellationToken::new();
        let delivering = node.deliver(&config, &shutdown).expect("delivers");
        let key = node.domain.create_key("tests", true, None).await;
        let service = node.domain.authenticate(&key.expect("a key").token).await;
        let service = service.expect("it is good");
        let mut users = Vec::new();
        for n in 0..USERS {
            users.push(sessions::user(&node.domain, &service, &format!("user {n}")).await);
        }
        let mut play = Self {
            service,
            ids: users.iter().map(|user| user.caller.user_id).collect(),
            users,
            connections: (0..USERS).map(|_| Connection::default()).collect(),
            webhooks: Webhooks::start().await,
            truth: Truth::default(),
            seen: Seen::default(),
            rng: StdRng::seed_from_u64(seed),
            homes: HashMap::new(),
            authors: HashMap::new(),
            texts: Vec::new(),
            delivering,
            shutdown,
            _dir: dir,
            node,
        };
        play.truth.away = (0..USERS).collect();
        play.begin().await;
        play
    }

    /// Two servers, two direct channels, webhooks that stay as they are, everybody here.
    async fn begin(&mut self) {
        for owner in 0..2 {
            self.found_server(owner).await;
        }
        for two in [[2, 3], [0, 4]] {
            let began = Instant::now();
            let other = BTreeSet::from([two[1]]);
            let direct = self
                .make_channel(two[0], 0, ChannelType::Direct, &other)
                .await;
            let mut next = self.truth.clone();
            next.directs.insert(direct, two);
            self.made(began, next);
        }
        self.keep_webhooks().await;
        for user in 0..USERS {
            self.come(user).await;
        }
    }

    fn everybody(&self) -> Vec<Who> {
        let users = (0..USERS).map(Who::User);
        let webhooks = (0..self.webhooks.count).map(Who::Webhook);
        users.chain(webhooks).chain([Who::Anyone]).collect()
    }

    fn user_of(&self, id: Id) -> usize {
        let user = self.ids.iter().position(|of| *of == id);
        user.expect("a user")
    }

    fn caller(&self, user: usize) -> Caller {
        self.users[user].caller.clone()
    }

    /// Does a change: what it gives may be told from its begin on, what it takes until it is
    /// acknowledged. Some write meanwhile.
    async fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Truth),
        call: impl Future<Output = Result<T, domain::Error>>,
    ) -> T {
        let began = Instant::now();
        let mut next = self.truth.clone();
        change(&mut next);
        let everybody = self.everybody();
        self.seen.gain(&next, &everybody, began);
        let burst = self.burst();
        let (done, said) = tokio::join!(call, burst);
        let done = done.unwrap_or_else(|error| panic!("refused: {error:?}"));
        for said in said.into_iter().flatten() {
            self.said(&mut next, said, began);
        }
        self.seen.lose(&next, &everybody);
        self.truth = next;
        done
    }

    /// Takes in what was made since a moment, and had no id before.
    fn made(&mut self, began: Instant, next: Truth) {
        self.seen.gain(&next, &self.everybody(), began);
        self.truth = next;
    }

    async fn found_server(&mut self, owner: usize) {
        let began = Instant::now();
        let new = NewServer {
            name: "s".into(),
            open: true,
            ..NewServer::default()
        };
        let caller = self.caller(owner);
        let made = self.node.domain.create_server(&caller, new);
        let (server, open) = made.await.expect("creates");
        self.homes.insert(open, server.id);
        let mut next = self.truth.clone();
        let founded = Server {
            owner,
            members: BTreeMap::from([(owner, Role::Owner)]),
            banned: BTreeSet::new(),
            open,
            private: None,
        };
        next.servers.insert(server.id, founded);
        self.made(began, next);
        self.happened(
            WebhookEvent::MemberJoined,
            Thing::Server(server.id),
            self.ids[owner],
        );
        self.found_private(server.id, BTreeSet::new()).await;
    }

    /// Makes a server's private channel, with these of its members and its owner.
    async fn found_private(&mut self, server: Id, mut named: BTreeSet<usize>) {
        let began = Instant::now();
        let owner = self.truth.servers[&server].owner;
        let made = self.make_channel(owner, server, ChannelType::Private, &named);
        let channel = made.await;
        named.insert(owner);
        let mut next = self.truth.clone();
        next.server(server).private = Some((channel, named));
        self.made(began, next);
    }

    async fn make_channel(
        &mut self,
        owner: usize,
        server_id: Id,
        kind: ChannelType,
        named: &BTreeSet<usize>,
    ) -> Id {
        let name = if server_id == 0 { "" } else { "private" };
        let new = NewChannel {
            server_id,
            kind,
            name: name.into(),
            description: String::new(),
            rank: 0,
            member_ids: named.iter().map(|user| self.ids[*user]).collect(),
            metadata: Default::default(),
            request_id: String::new(),
            slow_mode_s: 0,
        };
        let caller = self.caller(owner);
        let made = self.node.domain.create_channel(&caller, new);
        let channel = made.await.expect("creates").id;
        self.homes.insert(channel, server_id);
        channel
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.delivering.await.expect("ends");
        self.node.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_it_may_not_see() {
    let mut tally = webhooks::Tally::default();
    for seed in 0..3 {
        let mut play = Play::new(seed).await;
        for step in 0..STEPS {
            match step % 8 {
                0 | 4 => play.rights().await,
                2 => play.change_webhooks(step > STEPS / 2).await,
                _ => play.traffic().await,
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        tokio::time::sleep(ALLOWED).await;
        play.take_all().await;
        play.judge_frames(seed);
        play.judge_requests(seed, &mut tally);
        play.end().await;
    }
    tally.judge();
}
