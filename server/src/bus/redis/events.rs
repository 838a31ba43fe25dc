//! The connections for events: what comes in goes to the hub; what was subscribed to is subscribed
//! to again whenever one is built anew, and then nothing counts as heard that wasn't read again.

use super::connection::{Places, Servers};
use super::hub::Hub;
use super::keys::Keys;
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
    pub(super) keys: Keys,
    /// Whether topics are heard of here, and not by another way.
    pub(super) hears_topics: bool,
    pub(super) places: OnceLock<Arc<Places>>,
    /// Held while a group's subscriptions change, so that none ends another's.
    pub(super) changing: Vec<Mutex<()>>,
}

impl Events {
    pub(super) async fn subscribe(&self, live: &Live, topic: TopicKey) -> RedisResult<()> {
        self.ask(live, "SSUBSCRIBE", topic).await
    }

    pub(super) async fn unsubscribe(&self, live: &Live, topic: TopicKey) -> RedisResult<()> {
        self.ask(live, "SUNSUBSCRIBE", topic).await
    }

    async fn ask(&self, live: &Live, command: &str, topic: TopicKey) -> RedisResult<()> {
        let mut ask = redis::cmd(command);
        ask.arg(self.keys.channel(topic));
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
        let channel = std::str::from_utf8(channel).ok();
        let Some(topic) = channel.and_then(|channel| self.keys.topic(channel)) else {
            return;
        };
        self.hub.heard_of(topic, said);
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
                let topic = match info.data.first() {
                    Some(Value::BulkString(channel)) => {
                        let channel = std::str::from_utf8(channel).ok();
                        channel.and_then(|channel| self.keys.topic(channel))
                    }
                    _ => None,
                };
                if topic.is_some_and(|topic| self.hub.is_on(topic, number)) {
                    line.is_broken();
                }
            }
            PushKind::Disconnection => line.is_broken(),
            _ => {}
        }
    }

    async fn up(&self, line: &Line, live: Live) {
        let Some(places) = self.places.get().filter(|_| self.hears_topics) else {
            return;
        };
        let groups = Servers::<Self>::groups_of(places, line);
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
    }
}
