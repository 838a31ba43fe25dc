//! A bus that loses what it should bring.

use crate::bus::local::LocalTopics;
use crate::bus::{Delivery, Draft, Error, Feed, Since, Subscriber, Topics, Transient};
use crate::model::{Position, TopicKey};
use crate::store::{OutboxEvent, Relay as _};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, mpsc};

#[derive(Default)]
struct Faults {
    /// So many of the next events don't come.
    lose: usize,
    /// In place of the last of them: this topic is said to be dirty.
    dirty: Option<TopicKey>,
}

/// The real topics with a feed that can lose events, and a ring that can be slow to read.
pub(crate) struct LossyTopics {
    topics: LocalTopics,
    faults: Arc<Mutex<Faults>>,
    /// Reads of the past need one of these.
    pub(crate) reads: Semaphore,
}

impl LossyTopics {
    pub(crate) fn new(topics: LocalTopics) -> Self {
        Self {
            topics,
            faults: Arc::default(),
            reads: Semaphore::new(1_000_000),
        }
    }

    /// Brings events that the store numbered.
    pub(crate) fn relay(&self, events: Vec<OutboxEvent>) {
        self.topics.relay(events);
    }

    /// The next events reach nobody.
    pub(crate) fn lose(&self, events: usize) {
        let mut faults = self.faults.lock().expect("no panic");
        faults.lose = events;
    }

    /// The same, and the feed confesses it of the topic.
    pub(crate) fn overflow(&self, topic: TopicKey, events: usize) {
        let mut faults = self.faults.lock().expect("no panic");
        faults.lose = events;
        faults.dirty = Some(topic);
    }
}

#[async_trait]
impl Topics for LossyTopics {
    async fn publish(&self, draft: Draft) -> Result<Position, Error> {
        self.topics.publish(draft).await
    }

    async fn position(&self, topic: TopicKey) -> Result<Position, Error> {
        self.topics.position(topic).await
    }

    async fn since(&self, topic: TopicKey, position: Position) -> Result<Since, Error> {
        self.reads.acquire().await.expect("never closed").forget();
        self.topics.since(topic, position).await
    }

    async fn announce(&self, transient: Transient) -> Result<(), Error> {
        self.topics.announce(transient).await
    }

    async fn trim(&self) -> Result<(), Error> {
        self.topics.trim().await
    }

    async fn check(&self) -> Result<(), Error> {
        self.topics.check().await
    }

    fn subscriber(&self) -> (Arc<dyn Subscriber>, Feed) {
        let (subscriber, mut feed) = self.topics.subscriber();
        let (sender, out) = mpsc::channel(1_024);
        let faults = self.faults.clone();
        tokio::spawn(async move {
            while let Some(delivery) = feed.recv().await {
                let Some(delivery) = faults.lock().expect("no panic").take(delivery) else {
                    continue;
                };
                if sender.send(delivery).await.is_err() {
                    return;
                }
            }
        });
        (subscriber, out)
    }
}

impl Faults {
    fn take(&mut self, delivery: Delivery) -> Option<Delivery> {
        if self.lose == 0 || !matches!(delivery, Delivery::Event(_)) {
            return Some(delivery);
        }
        self.lose -= 1;
        let dirty = if self.lose == 0 {
            self.dirty.take()
        } else {
            None
        };
        dirty.map(Delivery::Dirty)
    }
}
