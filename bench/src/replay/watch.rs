//! The watchers: those by the client library, each with another way to listen, and one by REST.

use super::picture::{LISTS, Picture, views};
use super::rest::Rest;
use super::stage::Stage;
use super::tap::tap;
use crate::history::{Record, Recorder, Seen, Source, hash};
use anyhow::Result;
use chirm_client::{Backoff, Carrier, Client, Config, Event, Events, Looking, Stats};
use chirm_proto::v1;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
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

/// The names of all watchers.
pub(super) const NAMES: [&str; 7] = [
    "grpc-all",
    "grpc-viewed",
    "listen",
    "websocket",
    "websocket-json",
    "grpc-web",
    REST,
];
/// The one that has nothing but REST.
pub(super) const REST: &str = "rest";

/// A watcher by the client library.
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
    run: Option<(Client, JoinHandle<()>)>,
    /// What it took along when it left.
    positions: Vec<v1::TopicPosition>,
}

/// The messages that a watcher has, by channel, and in which of its runs each came, as a program
/// keeps them: the replay's own size bounds them.
#[derive(Default)]
struct Had {
    count: AtomicU64,
    runs: Mutex<HashMap<i64, BTreeMap<i64, usize>>>,
}

impl Had {
    /// In which run the message came first.
    fn insert(&self, channel: i64, id: i64, run: usize) -> usize {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        *runs
            .entry(channel)
            .or_default()
            .entry(id)
            .or_insert_with(|| {
                self.count.fetch_add(1, Ordering::Relaxed);
                run
            })
    }

    /// The newest message of each channel.
    fn last_ids(&self) -> Vec<(i64, i64)> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = runs.iter();
        newest
            .filter_map(|(channel, ids)| Some((*channel, *ids.last_key_value()?.0)))
            .collect()
    }
}

/// How a watcher listens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    All,
    Viewed,
    Listen,
    WebSocket,
    WebSocketJson,
    GrpcWeb,
}

/// All of them, in the order of [`NAMES`].
pub(super) const WAYS: [Way; 6] = [
    Way::All,
    Way::Viewed,
    Way::Listen,
    Way::WebSocket,
    Way::WebSocketJson,
    Way::GrpcWeb,
];

impl Way {
    fn carrier(self) -> Carrier {
        match self {
            Self::All | Self::Viewed | Self::Listen => Carrier::Grpc,
            Self::WebSocket => Carrier::WebSocket,
            Self::WebSocketJson => Carrier::WebSocketJson,
            Self::GrpcWeb => Carrier::GrpcWeb,
        }
    }

    /// Whether browsers use it, and a bridge serves it.
    pub(super) fn is_browsers(self) -> bool {
        self.carrier() != Carrier::Grpc
    }

    /// Whether nothing but `identify` goes to the server.
    fn listens(self) -> bool {
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
            name: NAMES[way as usize],
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
            positions: Vec::new(),
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
        config.positions = std::mem::take(&mut self.positions);
        config.last_ids = self.had.last_ids();
        config.tap = Some(tap(self.name, self.recorder.clone(), self.picture.clone()));
        let (client, events) = Client::start(config);
        let notes = Notes {
            name: self.name,
            recorder: self.recorder.clone(),
            had: self.had.clone(),
            run: self.stats.len(),
        };
        let task = tokio::spawn(notes.take(events));
        client.ready().await?;
        self.run = Some((client, task));
        Ok(())
    }

    /// Ends the connection, as a program does that ends, and keeps its positions.
    pub(super) async fn leave(&mut self) -> Result<()> {
        let Some((client, task)) = self.run.take() else {
            return Ok(());
        };
        client.clone().close().await;
        task.await?;
        self.stats.push(client.stats());
        self.positions = client.positions();
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
        if let Some((client, _)) = &self.run {
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
        if let Some((client, _)) = &self.run
            && self.sees_lists()
        {
            client.look(self.looking());
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
        if let Some((client, _)) = &self.run {
            client.cut();
        }
    }

    /// Messages so far.
    pub(super) fn received(&self) -> u64 {
        self.had.count.load(Ordering::Relaxed)
    }

    /// Ends it. Gives what its clients have been through.
    pub(super) async fn stop(mut self) -> Result<Vec<Stats>> {
        self.leave().await?;
        Ok(self.stats)
    }
}

/// Writes down all that a watcher is told.
struct Notes {
    name: &'static str,
    recorder: Arc<Recorder>,
    had: Arc<Had>,
    run: usize,
}

impl Notes {
    async fn take(self, mut events: Events) {
        while let Some(event) = events.next().await {
            if let Event::Message { message, .. } = &event {
                let first = self.had.insert(message.channel_id, message.id, self.run);
                // What an earlier run had beyond its positions comes again, and is the program's to
                // drop; within a run the client's.
                if first < self.run {
                    continue;
                }
            }
            if let Some(record) = record_of(self.name, event) {
                self.recorder.record(record);
            }
        }
    }
}

fn record_of(name: &str, event: Event) -> Option<Record> {
    let connection = name.to_owned();
    Some(match event {
        Event::Message {
            message, source, ..
        } => Record::Recv {
            connection,
            message: seen(&message),
            source: match source {
                chirm_client::Source::Live => Source::Live,
                chirm_client::Source::Replay => Source::Replay,
                chirm_client::Source::Page => Source::Page,
            },
        },
        Event::Ready(_) => Record::Connect { connection },
        Event::Disconnected { reason } | Event::Closed(reason) => Record::Close {
            connection,
            reason: reason.to_string(),
        },
        _ => return None,
    })
}

pub(super) fn seen(message: &v1::Message) -> Seen {
    Seen {
        id: message.id,
        channel: message.channel_id,
        author: message.author_id,
        nonce: message.nonce.clone(),
        hash: hash(&message.content),
        reply_to: message.reply_to,
    }
}

/// The watcher that has nothing but REST: it reads on from the last message that it has.
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
            newest: HashMap::new(),
        };
        let task = tokio::spawn(polling.run(stop.subscribe()));
        Self { had, stop, task }
    }

    /// Messages so far.
    pub(super) fn received(&self) -> u64 {
        self.had.count.load(Ordering::Relaxed)
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
    newest: HashMap<i64, i64>,
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
        let mut after = self.newest.get(&channel).copied().unwrap_or(0);
        loop {
            let page = self.rest.page(channel, after).await?;
            after = after.max(page.last);
            self.newest.insert(channel, after);
            for message in page.messages {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_has_is_of_the_run_in_which_it_came_first() {
        let had = Had::default();
        assert_eq!((had.insert(1, 20, 0), had.insert(1, 5, 0)), (0, 0));
        assert_eq!((had.insert(1, 5, 1), had.insert(2, 5, 1)), (0, 1));
        assert_eq!(had.count.load(Ordering::Relaxed), 3);
        let mut last_ids = had.last_ids();
        last_ids.sort_unstable();
        assert_eq!(last_ids, [(1, 20), (2, 5)]);
    }

    #[test]
    fn a_message_of_the_client_becomes_a_record() {
        let message = v1::Message {
            id: 5,
            content: "x".into(),
            ..Default::default()
        };
        let source = chirm_client::Source::Replay;
        let event = Event::Message {
            message,
            source,
            position: None,
        };
        let Some(Record::Recv {
            message, source, ..
        }) = record_of("w", event)
        else {
            panic!("a message must be recorded");
        };
        assert_eq!((message.id, source), (5, Source::Replay));
        assert_eq!(
            record_of("w", Event::Activity(v1::ChannelActivity::default())),
            None
        );
    }
}
