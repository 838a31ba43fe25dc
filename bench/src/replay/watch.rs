//! The watchers: those by the client library, each with another way to listen, and one by REST.

use super::driver::{Driver, Kept, Left, Package};
use super::notes::{Had, Notes};
use super::picture::{LISTS, Picture, views};
use super::rest::Rest;
use super::stage::Stage;
use super::tap::tap;
use crate::history::{Record, Recorder, Source};
use anyhow::{Context, Result};
use chirm_client::{Backoff, Carrier, Client, Config, Looking, Stats};
use chirm_proto::v1;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A pause between two rounds of the REST watcher over all channels.
const ROUND_EVERY: Duration = Duration::from_millis(200);
/// Watchers must come back soon after a kill, and give the server time to start.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    max: Duration::from_millis(1000),
};

/// The one that has nothing but REST.
pub(super) const REST: &str = "rest";

/// A watcher by a client library.
pub(super) struct Watcher {
    pub(super) name: &'static str,
    way: Way,
    url: String,
    token: String,
    channels: Vec<i64>,
    /// The servers whose member lists are in view.
    lists: Vec<i64>,
    /// What it was shown of people.
    picture: Arc<Mutex<Picture>>,
    /// Of delivery VIEWED: every other channel, which, or all.
    looks_at: Option<usize>,
    recorder: Arc<Recorder>,
    /// What it has, over all its runs.
    had: Arc<Had>,
    stats: Vec<Stats>,
    /// The present run; `None` while it is away.
    run: Option<Run>,
    /// What it took along when it left.
    kept: Kept,
}

/// How a watcher listens: by the Rust client, but for the last.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Way {
    All,
    Viewed,
    Listen,
    WebSocket,
    WebSocketJson,
    GrpcWeb,
    TypeScript(Package),
}

/// All of them; the TypeScript client's if its package is there.
pub(super) fn ways(package: Option<Package>) -> Vec<Way> {
    let mut ways = vec![
        Way::All,
        Way::Viewed,
        Way::Listen,
        Way::WebSocket,
        Way::WebSocketJson,
        Way::GrpcWeb,
    ];
    ways.extend(package.map(Way::TypeScript));
    ways
}

/// The names of the watchers that go these ways, and of the one that goes none.
pub(super) fn names(ways: &[Way]) -> Vec<&'static str> {
    ways.iter().map(Way::name).chain([REST]).collect()
}

impl Way {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::All => "grpc-all",
            Self::Viewed => "grpc-viewed",
            Self::Listen => "listen",
            Self::WebSocket => "websocket",
            Self::WebSocketJson => "websocket-json",
            Self::GrpcWeb => "grpc-web",
            Self::TypeScript(_) => "typescript",
        }
    }

    fn carrier(&self) -> Carrier {
        match self {
            Self::All | Self::Viewed | Self::Listen => Carrier::Grpc,
            Self::WebSocket | Self::TypeScript(_) => Carrier::WebSocket,
            Self::WebSocketJson => Carrier::WebSocketJson,
            Self::GrpcWeb => Carrier::GrpcWeb,
        }
    }

    /// Whether it goes through the bridge, if there is one: the Rust client's ways that browsers
    /// have. The TypeScript client stays with the server, so that both serve WebSockets.
    pub(super) fn may_have_bridge(&self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketJson | Self::GrpcWeb)
    }

    /// Whether nothing but `identify` goes to the server.
    fn listens(&self) -> bool {
        matches!(self, Self::Listen | Self::GrpcWeb)
    }
}

impl Watcher {
    /// Connects, and waits until every topic was dealt with.
    pub(super) async fn start(
        way: Way,
        url: &str,
        token: &str,
        stages: &[Stage],
        recorder: Arc<Recorder>,
    ) -> Result<Self> {
        let servers = stages.iter().map(|stage| stage.server_id);
        let mut watcher = Self {
            name: way.name(),
            way,
            url: url.to_owned(),
            token: token.to_owned(),
            channels: stages.iter().map(|stage| stage.channel_id).collect(),
            lists: servers.take(LISTS).collect(),
            picture: Arc::default(),
            looks_at: None,
            recorder,
            had: Arc::default(),
            stats: Vec::new(),
            run: None,
            kept: Kept::default(),
        };
        watcher.come().await?;
        Ok(watcher)
    }

    /// Connects with what it took along, unless it is there.
    pub(super) async fn come(&mut self) -> Result<()> {
        if self.run.is_some() {
            return Ok(());
        }
        let mut config = Config::new(&self.url, &self.token);
        config.backoff = BACKOFF;
        config.listen_only = self.way.listens();
        config.carrier = self.way.carrier();
        config.intents = vec![v1::Intent::Presence];
        config.looking = self.looking();
        if self.way == Way::Viewed {
            config.delivery = v1::Delivery::Viewed;
            config.viewed = self.viewed();
        }
        let kept = std::mem::take(&mut self.kept);
        config.positions = kept.positions;
        config.last_ids = kept.last_ids;
        config.tap = Some(tap(self.name, self.recorder.clone(), self.picture.clone()));
        let notes = Notes {
            name: self.name,
            recorder: self.recorder.clone(),
            had: self.had.clone(),
            run: self.stats.len(),
        };
        self.run = Some(match &self.way {
            Way::TypeScript(package) => {
                Run::TypeScript(Driver::start(package, &config, notes).await?)
            }
            _ => Run::rust(config, notes).await?,
        });
        Ok(())
    }

    /// Ends the connection, as a program does that ends, and keeps what its client says.
    pub(super) async fn leave(&mut self) -> Result<()> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let Left { kept, stats } = run.leave().await.context(self.name)?;
        self.stats.push(stats);
        self.kept = kept;
        Ok(())
    }

    /// Looks at one half of the channels, and then at the other.
    pub(super) fn look_elsewhere(&mut self) {
        let half = usize::from(self.looks_at != Some(1));
        self.look_at(Some(half));
    }

    /// Looks at every other channel, beginning with this; or at all.
    pub(super) fn look_at(&mut self, half: Option<usize>) {
        self.looks_at = half;
        if let Some(Run::Rust(client, _)) = &self.run {
            client.view(self.viewed());
        }
    }

    fn viewed(&self) -> Vec<i64> {
        let (first, step) = self.looks_at.map_or((0, 1), |half| (half, 2));
        let viewed = self.channels.iter().skip(first).step_by(step);
        viewed.copied().collect()
    }

    /// Whether member lists are in its view: of `Listen` that takes a new stream each time, so
    /// that watcher is shown presences alone.
    pub(super) fn sees_lists(&self) -> bool {
        !self.way.listens()
    }

    /// Looks at these servers' member lists instead of others.
    pub(super) fn look_at_lists(&mut self, servers: &[i64]) {
        if self.lists == servers {
            return;
        }
        self.lists = servers.to_vec();
        if let Some(run) = &self.run
            && self.sees_lists()
        {
            run.look(self.looking());
        }
    }

    fn looking(&self) -> Looking {
        let lists = if self.sees_lists() {
            views(&self.lists)
        } else {
            Vec::new()
        };
        Looking {
            lists,
            users: Vec::new(),
        }
    }

    /// What it was shown of people so far.
    pub(super) fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the connection, as a network does.
    pub(super) fn cut(&self) {
        if let Some(run) = &self.run {
            run.cut();
        }
    }

    /// Messages so far.
    pub(super) fn received(&self) -> u64 {
        self.had.count()
    }

    /// Ends it. Gives what its clients have been through.
    pub(super) async fn stop(mut self) -> Result<Vec<Stats>> {
        self.leave().await?;
        Ok(self.stats)
    }
}

/// A watcher's client, from connecting to leaving.
enum Run {
    Rust(Client, JoinHandle<()>),
    TypeScript(Driver),
}

impl Run {
    async fn rust(config: Config, notes: Notes) -> Result<Self> {
        let (client, events) = Client::start(config);
        let task = tokio::spawn(notes.take(events));
        client.ready().await?;
        Ok(Self::Rust(client, task))
    }

    fn look(&self, looking: Looking) {
        match self {
            Self::Rust(client, _) => client.look(looking),
            Self::TypeScript(driver) => driver.look(&looking),
        }
    }

    fn cut(&self) {
        match self {
            Self::Rust(client, _) => client.cut(),
            Self::TypeScript(driver) => driver.cut(),
        }
    }

    async fn leave(self) -> Result<Left> {
        match self {
            Self::Rust(client, task) => {
                client.clone().close().await;
                task.await?;
                let kept = Kept {
                    positions: client.positions(),
                    last_ids: client.last_ids(),
                };
                let stats = client.stats();
                Ok(Left { kept, stats })
            }
            Self::TypeScript(driver) => driver.leave().await,
        }
    }
}

/// The watcher that has nothing but REST: it reads on from where history is final.
pub(super) struct RestWatcher {
    had: Arc<Had>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl RestWatcher {
    pub(super) fn start(rest: Rest, channels: Vec<i64>, recorder: Arc<Recorder>) -> Self {
        let had = Arc::new(Had::default());
        let stop = watch::Sender::new(false);
        let polling = Polling {
            rest,
            channels,
            recorder,
            had: had.clone(),
            settled: HashMap::new(),
            seen: HashSet::new(),
        };
        let task = tokio::spawn(polling.run(stop.subscribe()));
        Self { had, stop, task }
    }

    /// Messages so far.
    pub(super) fn received(&self) -> u64 {
        self.had.count()
    }

    /// Ends it, after a last round.
    pub(super) async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

struct Polling {
    rest: Rest,
    channels: Vec<i64>,
    recorder: Arc<Recorder>,
    had: Arc<Had>,
    /// Where to read on, of each channel.
    settled: HashMap<i64, i64>,
    /// Messages that it has had, by channel and id: it reads some again.
    seen: HashSet<(i64, i64)>,
}

impl Polling {
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        loop {
            let is_last = *stop.borrow();
            for place in 0..self.channels.len() {
                let result = self.read(self.channels[place]).await;
                // While the server is down there is nothing to read; at the end there must be.
                if is_last {
                    result?;
                }
            }
            if is_last {
                return Ok(());
            }
            let _ = tokio::time::timeout(ROUND_EVERY, stop.changed()).await;
        }
    }

    async fn read(&mut self, channel: i64) -> Result<()> {
        let mut settled = self.settled.get(&channel).copied().unwrap_or(0);
        let mut after = settled;
        loop {
            let page = self.rest.page(channel, after).await?;
            if after == settled {
                settled = page.settled;
                self.settled.insert(channel, settled);
            }
            after = after.max(page.last);
            for message in page.messages {
                if !self.seen.insert((channel, message.id)) {
                    continue;
                }
                self.had.insert(channel, message.id, 0);
                self.recorder.record(Record::Recv {
                    connection: REST.to_owned(),
                    message,
                    source: Source::Page,
                });
            }
            if !page.has_newer {
                break;
            }
        }
        Ok(())
    }
}
