//! The watchers: three by the client library, each with another way to listen, one by REST alone.

use super::rest::Rest;
use crate::history::{At, Record, Recorder, Seen, Source, hash};
use anyhow::Result;
use chirm_client::{Backoff, Client, Config, Event, Events, Stats};
use chirm_proto::v1;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
pub(super) const NAMES: [&str; 4] = ["grpc-all", "grpc-viewed", "listen", "rest"];

/// A watcher by the client library.
pub(super) struct Watcher {
    pub(super) name: &'static str,
    pub(super) client: Client,
    received: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// How a watcher listens.
#[derive(Clone, Copy)]
pub(super) enum Way {
    All,
    Viewed,
    Listen,
}

impl Watcher {
    /// Connects, and waits until every topic was dealt with.
    pub(super) async fn start(
        way: Way,
        url: &str,
        token: &str,
        channels: &[i64],
        recorder: Arc<Recorder>,
    ) -> Result<Self> {
        let mut config = Config::new(url, token);
        config.backoff = BACKOFF;
        let name = match way {
            Way::All => NAMES[0],
            Way::Viewed => {
                config.delivery = v1::Delivery::Viewed;
                config.viewed = channels.to_vec();
                NAMES[1]
            }
            Way::Listen => {
                config.listen_only = true;
                NAMES[2]
            }
        };
        let (client, events) = Client::start(config);
        let received = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(note(name, events, recorder, received.clone()));
        client.ready().await?;
        Ok(Self {
            name,
            client,
            received,
            task,
        })
    }

    /// Messages so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends the connection. Gives what the client has been through.
    pub(super) async fn stop(self) -> Result<(&'static str, Stats)> {
        let stats = self.client.stats();
        self.client.close().await;
        self.task.await?;
        Ok((self.name, stats))
    }
}

/// Writes down all that a watcher is told.
async fn note(
    name: &'static str,
    mut events: Events,
    recorder: Arc<Recorder>,
    received: Arc<AtomicU64>,
) {
    while let Some(event) = events.next().await {
        let is_message = matches!(event, Event::Message { .. });
        if let Some(record) = record_of(name, event) {
            recorder.record(record);
        }
        if is_message {
            received.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn record_of(name: &str, event: Event) -> Option<Record> {
    let connection = name.to_owned();
    Some(match event {
        Event::Message {
            message,
            source,
            position,
        } => Record::Recv {
            connection,
            message: seen(&message),
            source: match source {
                chirm_client::Source::Live => Source::Live,
                chirm_client::Source::Replay => Source::Replay,
                chirm_client::Source::Page => Source::Page,
            },
            position: position.map(at),
        },
        Event::Topic(event) => {
            let (topic, position) = (topic_name(event.topic?), at(event.position?));
            Record::Event {
                connection,
                topic,
                position,
            }
        }
        Event::Snapshot(snapshot) => {
            let (topic, position) = (topic_name(snapshot.topic?), at(snapshot.position?));
            Record::Snapshot {
                connection,
                topic,
                position,
            }
        }
        Event::Gap(gap) => {
            let (topic, position) = (topic_name(gap.topic?), at(gap.position?));
            Record::Gap {
                connection,
                topic,
                position,
            }
        }
        Event::TopicRemoved(topic) => Record::Removed {
            connection,
            topic: topic_name(topic),
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

fn at(position: v1::Position) -> At {
    At {
        epoch: position.epoch,
        seq: position.seq,
    }
}

fn topic_name(topic: v1::Topic) -> String {
    let kind = match topic.kind() {
        v1::TopicKind::Channel => "channel",
        v1::TopicKind::Server => "server",
        v1::TopicKind::User => "user",
        v1::TopicKind::Unspecified => "unspecified",
    };
    format!("{kind}:{}", topic.id)
}

/// The watcher that has nothing but REST: it reads on from the last message that it has.
pub(super) struct RestWatcher {
    received: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl RestWatcher {
    pub(super) fn start(rest: Rest, channels: Vec<i64>, recorder: Arc<Recorder>) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(poll(
            rest,
            channels,
            recorder,
            received.clone(),
            stop.subscribe(),
        ));
        Self {
            received,
            stop,
            task,
        }
    }

    /// Messages so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends it, after a last round.
    pub(super) async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

async fn poll(
    rest: Rest,
    channels: Vec<i64>,
    recorder: Arc<Recorder>,
    received: Arc<AtomicU64>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut newest: HashMap<i64, i64> = HashMap::new();
    loop {
        let is_last = *stop.borrow();
        for &channel in &channels {
            loop {
                let after = newest.get(&channel).copied().unwrap_or(0);
                let page = match rest.page(channel, after).await {
                    Ok(page) => page,
                    // While the server is down there is nothing to read; after the end there must.
                    Err(error) if is_last => return Err(error),
                    Err(_) => break,
                };
                for message in page.messages {
                    newest.insert(channel, message.id);
                    recorder.record(Record::Recv {
                        connection: NAMES[3].to_owned(),
                        message,
                        source: Source::Page,
                        position: None,
                    });
                    received.fetch_add(1, Ordering::Relaxed);
                }
                if !page.has_newer {
                    break;
                }
            }
        }
        if is_last {
            return Ok(());
        }
        let _ = tokio::time::timeout(ROUND_EVERY, stop.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_is_told_becomes_a_record() {
        let topic = v1::Topic {
            kind: v1::TopicKind::Server as i32,
            id: 4,
        };
        let position = v1::Position { epoch: 2, seq: 3 };
        let gap = v1::Gap {
            topic: Some(topic),
            position: Some(position),
        };
        let record = record_of("w", Event::Gap(gap));
        let expected = Record::Gap {
            connection: "w".into(),
            topic: "server:4".into(),
            position: At { epoch: 2, seq: 3 },
        };
        assert_eq!(record, Some(expected));
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
