//! The connections for events: what comes in goes to the hub; what was subscribed to is subscribed
//! to again whenever one is built anew, and then nothing counts as heard that wasn't read again.

use super::connection::{Places, Servers};
use super::hub::Hub;
use super::keys::{Keys, PARTS};
use super::presences::Listening;
use super::supervisor::{Line, Live, Role};
use crate::model::TopicKey;
use futures::StreamExt as _;
use redis::{PushInfo, PushKind, RedisResult, Value};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Subscriptions that are asked for at once when a connection is built anew.
const AT_ONCE: usize = 256;
/// How long one may take.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(2);

/// What is done with a connection for events.
pub(super) struct Events {
    pub(super) hub: Arc<Hub>,
    pub(super) presences: Arc<Listening>,
    pub(super) keys: Keys,
    /// Whether topics are heard of here, and not by another way.
    pub(super) hears_topics: bool,
    pub(super) places: OnceLock<Arc<Places>>,
    /// Held while a group's subscriptions change, so that none ends another's.
    pub(super) changing: Vec<Mutex<()>>,
}

impl Events {
    pub(super) async fn subscribe(&self, live: &Live, topic: TopicKey) -> RedisResult<()> {
        let channel = self.keys.channel(topic);
        self.ask(live, "SSUBSCRIBE", &channel).await
    }

    pub(super) async fn unsubscribe(&self, live: &Live, topic: TopicKey) -> RedisResult<()> {
        let channel = self.keys.channel(topic);
        self.ask(live, "SUNSUBSCRIBE", &channel).await
    }

    async fn ask(&self, live: &Live, command: &str, channel: &str) -> RedisResult<()> {
        let mut ask = redis::cmd(command);
        ask.arg(channel);
        let mut connection = live.connection.clone();
        let asked = ask.query_async::<Value>(&mut connection);
        match timeout(SUBSCRIBE_WITHIN, asked).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    fn heard(&self, data: &[Value]) {
        let [Value::BulkString(channel), Value::BulkString(said)] = data else {
            return;
        };
        let Ok(channel) = std::str::from_utf8(channel) else {
            return;
        };
        let Some(topic) = self.keys.topic(channel) else {
            if let Some(part) = self.keys.part(channel) {
                self.presences.hear(part, said);
            }
            return;
        };
        self.hub.heard_of(topic, said);
    }

    /// Whether a channel is listened to on this connection.
    fn is_on(&self, channel: &str, number: u64) -> bool {
        let topic = self.keys.topic(channel);
        let part = self.keys.part(channel);
        topic.is_some_and(|topic| self.hub.is_on(topic, number))
            || part.is_some_and(|part| self.presences.is_on(part, number))
    }

    /// Listens to a part of presence. What was missed, its next number shows.
    async fn listen(&self, line: &Line, live: &Live, part: u8) {
        if self.presences.is_on(part, live.number) {
            return;
        }
        let channel = &self.keys.of_part(part)[2];
        match self.ask(live, "SSUBSCRIBE", channel).await {
            Ok(()) => self.presences.confirm(part, live.number),
            Err(error) => {
                tracing::warn!(address = line.address, %error, "presence isn't heard of");
                line.is_broken();
            }
        }
    }

    async fn subscribe_again(&self, line: &Line, live: &Live, topic: TopicKey) {
        let _changing = self.changing[usize::from(super::keys::group_of(topic.id))]
            .lock()
            .await;
        match self.subscribe(live, topic).await {
            Ok(()) => self.hub.confirm(topic, live.number),
            Err(error) => {
                tracing::warn!(address = line.address, %error, "a topic isn't heard of");
                line.is_broken();
            }
        }
        self.hub.lose(topic);
    }
}

impl Role for Events {
    fn pushed(&self, line: &Line, number: u64, info: PushInfo) {
        match info.kind {
            PushKind::SMessage => self.heard(&info.data),
            // Not asked for: the slot went to another server. What else is answered is not what
            // was asked for any more.
            PushKind::SUnsubscribe => {
                let channel = match info.data.first() {
                    Some(Value::BulkString(channel)) => std::str::from_utf8(channel).ok(),
                    _ => None,
                };
                if channel.is_some_and(|channel| self.is_on(channel, number)) {
                    line.is_broken();
                }
            }
            PushKind::Disconnection => line.is_broken(),
            _ => {}
        }
    }

    async fn up(&self, line: &Line, live: Live) {
        let Some(places) = self.places.get() else {
            return;
        };
        let groups = Servers::<Self>::groups_of(places, line);
        let parts = groups.iter().copied();
        let parts = parts.filter(|group| usize::from(*group) < PARTS);
        futures::stream::iter(parts)
            .for_each_concurrent(AT_ONCE, |part| self.listen(line, &live, part))
            .await;
        if !self.hears_topics {
            return;
        }
        let topics = groups
            .into_iter()
            .flat_map(|group| self.hub.off(group, live.number));
        futures::stream::iter(topics)
            .for_each_concurrent(AT_ONCE, |topic| self.subscribe_again(line, &live, topic))
            .await;
    }

    fn down(&self, number: u64) {
        if self.hears_topics {
            self.hub.cut(number);
        }
        self.presences.cut(number);
    }
}
