//! How what happens to topics reaches the nodes that somebody subscribed on: by Redis's own
//! Pub/Sub, where the scripts themselves tell it, or by NATS, where whoever called a script does.
//! Numbers and rings are Redis's in both cases, and so is the check that finds what never came.

use super::events::Events;
use super::keys::group_of;
use super::nats::Nats;
use super::topics::Shared;
use super::wire;
use crate::bus::{Draft, Error};
use crate::model::{Position, TopicKey};
use redis::RedisError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a subscription may take.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(3);

/// By what.
pub(super) enum Fanout {
    /// Sharded Pub/Sub of the servers that have the topics.
    Redis,
    /// Events may then overtake each other, and what is told may be lost.
    Nats(Arc<Nats>),
}

impl Shared {
    /// Tells of an event that has its position and stands in the ring.
    pub(super) async fn tell(&self, draft: &Draft, at: Position) {
        self.hub.tell(draft.topic, at);
        if let Fanout::Nats(nats) = &self.fanout {
            nats.tell(draft.topic, wire::event(draft, at, self.hub.now_ms()))
                .await;
        }
    }

    /// Tells that events of a topic may be missing.
    pub(super) async fn tell_dirty(&self, topic: TopicKey) {
        if let Fanout::Nats(nats) = &self.fanout {
            nats.tell(topic, wire::DIRTY.to_vec()).await;
        }
    }

    /// Says once what has no position.
    pub(super) async fn say(&self, topic: TopicKey, said: Vec<u8>) -> Result<(), Error> {
        match &self.fanout {
            Fanout::Redis => {
                let channel = self.keys.channel(topic);
                self.servers.say(topic.id, &channel, &said).await
            }
            Fanout::Nats(nats) => {
                nats.tell(topic, said).await;
                Ok(())
            }
        }
    }

    /// Until a pinned topic is heard of. `on`: the connection on which it is already. Without NATS
    /// it is heard of later, and until then by the check.
    pub(super) async fn listen(&self, topic: TopicKey, on: u64) -> Result<(), Error> {
        match &self.fanout {
            Fanout::Redis => {
                let listening = timeout(SUBSCRIBE_WITHIN, self.listen_to_redis(topic, on)).await;
                let late = |_| Err(Error::Unavailable("Redis didn't answer in time".into()));
                listening.unwrap_or_else(late)
            }
            Fanout::Nats(nats) => {
                nats.listen(self.changing(topic), topic, on).await;
                Ok(())
            }
        }
    }

    fn changing(&self, topic: TopicKey) -> &tokio::sync::Mutex<()> {
        &self.events.changing[usize::from(group_of(topic.id))]
    }

    async fn listen_to_redis(&self, topic: TopicKey, on: u64) -> Result<(), Error> {
        let line = self.servers.of(group_of(topic.id))?.events.clone();
        let failed = |why: &str| {
            let address = &line.address;
            Error::Unavailable(format!("Redis at {address} can't be listened to: {why}"))
        };
        let live = line.live().ok_or_else(|| failed("it can't be reached"))?;
        if on == live.number {
            return Ok(());
        }
        let _changing = self.changing(topic).lock().await;
        if self.hub.is_on(topic, live.number) {
            return Ok(());
        }
        let subscribed = self.events.subscribe(&live, topic).await;
        subscribed.map_err(|error: RedisError| {
            self.servers.reread.notify_one();
            failed(&error.to_string())
        })?;
        self.hub.confirm(topic, live.number);
        self.hub.lose(topic);
        Ok(())
    }

    /// Ends subscriptions of a group, whose lock the caller holds.
    pub(super) async fn stop_listening(&self, group: u8, gone: Vec<(TopicKey, u64)>) {
        if let Fanout::Nats(nats) = &self.fanout {
            gone.iter().for_each(|(topic, _)| nats.leave(*topic));
            return;
        }
        let Some(live) = self.servers.of(group).ok().and_then(|s| s.events.live()) else {
            return;
        };
        for (topic, line) in gone {
            let events: &Events = &self.events;
            if line == live.number && events.unsubscribe(&live, topic).await.is_err() {
                return;
            }
        }
    }
}
