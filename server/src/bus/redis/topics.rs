//! Topics at positions, numbered by Redis.

use super::connection::{Call, Servers};
use super::events::Events;
use super::fanout::Fanout;
use super::hub::Hub;
use super::keys::{Keys, group_of, name, padded};
use super::scripts::Scripts;
use super::wire;
use crate::bus::local::feed::LocalSubscriber;
use crate::bus::{
    Draft, Error, Feed, Operation, OperationKind, Since, Subscriber, Topics, Transient,
};
use crate::frames;
use crate::model::{Id, Position, TopicKey, TopicKind};
use async_trait::async_trait;
use redis::{Script, Value};
use std::sync::Arc;

/// What all parts of the bus share.
pub(super) struct Shared {
    pub(super) servers: Arc<Servers<Events>>,
    pub(super) events: Arc<Events>,
    pub(super) hub: Arc<Hub>,
    pub(super) keys: Keys,
    pub(super) scripts: Scripts,
    pub(super) fanout: Fanout,
}

/// How an answer begins: a word, and the topic's position.
pub(super) type Said = (String, String, String);

/// What an event's script answers: a word, the position, and who has the nonce, if another.
pub(super) fn said((word, epoch, seq): &Said) -> Result<(&str, Position), Error> {
    let (Ok(epoch), Ok(seq)) = (epoch.parse(), seq.parse()) else {
        return Err(unread());
    };
    Ok((word, Position { epoch, seq }))
}

/// What no script of ours answers.
pub(super) fn unread() -> Error {
    Error::Unavailable("Redis answered what isn't understood".into())
}

/// `1` or nothing.
pub(super) fn flag(is: bool) -> Vec<u8> {
    if is { b"1".to_vec() } else { Vec::new() }
}

impl Shared {
    /// What the scripts of a topic take first.
    pub(super) fn args(&self, topic: TopicKey) -> Vec<Vec<u8>> {
        let limits = self.hub.limits();
        let mut args = self.servers.head();
        let age = limits.age.as_millis();
        let kept = [limits.events as u128, limits.bytes as u128, age];
        args.extend(kept.map(|number| number.to_string().into_bytes()));
        args.push(name(topic).into_bytes());
        args
    }

    /// A call of a topic's script.
    pub(super) fn call<'a>(&self, script: &'a Script, topic: TopicKey) -> Call<'a> {
        Call {
            script,
            keys: self.keys.of_topic(topic),
            args: self.args(topic),
        }
    }

    pub(super) async fn position(&self, topic: TopicKey) -> Result<Position, Error> {
        let mut call = self.call(&self.scripts.position, topic);
        call.args.push(flag(topic.kind != TopicKind::Channel));
        let (epoch, seq): (String, String) = self.servers.call(topic.id, call).await?;
        let (_, position) = said(&(String::new(), epoch, seq))?;
        if topic.kind == TopicKind::Channel {
            self.hub.hear(topic.id, position.epoch);
        }
        self.hub.tell(topic, position);
        Ok(position)
    }

    /// What publish.lua and settle.lua take of an event that may end an operation.
    pub(super) fn call_event<'a>(&self, script: &'a Script, draft: &Draft) -> Call<'a> {
        let mut call = self.call(script, draft.topic);
        call.args.extend(wire::event_args(draft, self.hub.now_ms()));
        let channel = draft.topic.id;
        let deleted = frames::deleted_message(&draft.payload);
        let operation = draft.operation.as_ref();
        call.keys.extend(self.keys.pending(group_of(channel)));
        let message = operation.map_or(deleted.unwrap_or_default(), |o| o.message);
        call.keys.push(self.keys.deleted(channel, message));
        if let Some(key) = operation.and_then(|operation| self.nonce_of(operation)) {
            call.keys.push(key);
        }
        let (kind, text, epoch, top) = match operation {
            Some(o) => (
                kind_of(o.kind),
                member(o),
                o.epoch,
                o.message.max(o.revision),
            ),
            None => ("", String::new(), 0, 0),
        };
        let texts = [
            kind.into(),
            text,
            epoch.to_string(),
            padded(message),
            padded(top),
        ];
        call.args.extend(texts.map(String::into_bytes));
        call.args.push(flag(deleted.is_some()));
        call
    }

    /// The key of a send's nonce, if it has one.
    pub(super) fn nonce_of(&self, operation: &Operation) -> Option<String> {
        let Operation {
            channel,
            author,
            nonce,
            ..
        } = operation;
        let has = operation.kind == OperationKind::Create && !nonce.is_empty();
        has.then(|| self.keys.nonce(*channel, *author, nonce))
    }
}

fn kind_of(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Create => "c",
        OperationKind::Edit => "e",
        OperationKind::Delete => "d",
    }
}

/// What stands before and after the message of an operation among what is pending.
pub(super) fn around(operation: &Operation) -> [String; 2] {
    let Operation {
        channel,
        revision,
        author,
        nonce,
        ..
    } = operation;
    [
        format!("{} {channel} ", kind_of(operation.kind)),
        format!(" {revision} {author} {nonce}"),
    ]
}

/// How a channel's new messages begin among what is pending; their ids follow.
pub(super) fn sends_of(channel: Id) -> String {
    format!("{} {channel} ", kind_of(OperationKind::Create))
}

/// An operation among what is pending. Its epoch is none of it.
pub(super) fn member(operation: &Operation) -> String {
    let [before, after] = around(operation);
    format!("{before}{}{after}", padded(operation.message))
}

/// Reads one.
pub(super) fn operation_of(member: &str) -> Option<Operation> {
    let mut parts = member.splitn(6, ' ');
    let kind = match parts.next()? {
        "c" => OperationKind::Create,
        "e" => OperationKind::Edit,
        "d" => OperationKind::Delete,
        _ => return None,
    };
    let mut id = || parts.next()?.parse::<Id>().ok();
    Some(Operation {
        kind,
        channel: id()?,
        message: id()?,
        revision: id()?,
        author: id()?,
        nonce: parts.next()?.to_owned(),
        epoch: 0,
        began: 0,
    })
}

/// Topics at positions over Redis.
pub struct RedisTopics(pub(super) Arc<Shared>);

/// An entry of a ring: seq, meta, payload, time.
type Entry = (i64, String, Vec<u8>, String);

#[async_trait]
impl Topics for RedisTopics {
    async fn publish(&self, draft: Draft) -> Result<Position, Error> {
        let call = self.0.call_event(&self.0.scripts.publish, &draft);
        let answer: Said = self.0.servers.call(draft.topic.id, call).await?;
        let (word, position) = said(&answer)?;
        self.0.hub.hear(draft.topic.id, position.epoch);
        match word {
            "published" => {
                self.0.tell(&draft, position).await;
                Ok(position)
            }
            "ended" => Ok(position),
            "refused" => Err(Error::Refused),
            "deleted" => Err(Error::Deleted),
            _ => Err(unread()),
        }
    }

    async fn position(&self, topic: TopicKey) -> Result<Position, Error> {
        self.0.position(topic).await
    }

    async fn since(&self, topic: TopicKey, position: Position) -> Result<Since, Error> {
        if position.seq < 0 || position.seq >= 1 << 53 {
            return Ok(Since::Gone);
        }
        if let Some(events) = self.0.hub.since(topic, position) {
            return Ok(Since::Events(events));
        }
        let mut call = self.0.call(&self.0.scripts.since, topic);
        call.args.push(flag(topic.kind != TopicKind::Channel));
        let of = [position.epoch, position.seq];
        call.args
            .extend(of.map(|number| number.to_string().into_bytes()));
        let answer: Vec<Value> = self.0.servers.call(topic.id, call).await?;
        let mut answer = answer.into_iter();
        let mut text = || text_of(answer.next());
        let head = (text()?, text()?, text()?);
        let (word, now) = said(&head)?;
        if word == "gone" {
            // Whoever asks begins anew, not before this.
            if now.epoch != 0 {
                self.0.hub.learn(topic, now);
            }
            return Ok(Since::Gone);
        }
        let entries = answer.next().unwrap_or(Value::Nil);
        let entries: Vec<Entry> = redis::from_redis_value(entries).map_err(|_| unread())?;
        let mut events = Vec::with_capacity(entries.len());
        for (seq, meta, payload, _) in entries {
            let epoch = now.epoch;
            match wire::publication(topic, Position { epoch, seq }, &meta, &payload) {
                Some(event) => events.push(event),
                None => return Ok(Since::Gone),
            }
        }
        self.0.hub.learn(topic, now);
        Ok(Since::Events(events))
    }

    async fn announce(&self, transient: Transient) -> Result<(), Error> {
        let topic = TopicKey::channel(transient.channel);
        self.0.say(topic, wire::transient(&transient)).await
    }

    async fn trim(&self) -> Result<(), Error> {
        self.0.hub.trim();
        Ok(())
    }

    async fn check(&self) -> Result<(), Error> {
        self.0.servers.check().await
    }

    fn subscriber(&self) -> (Arc<dyn Subscriber>, Feed) {
        let (feed, events) = LocalSubscriber::new();
        let shared = self.0.clone();
        (Arc::new(Subscription { shared, feed }), events)
    }
}

fn text_of(value: Option<Value>) -> Result<String, Error> {
    redis::from_redis_value(value.unwrap_or(Value::Nil)).map_err(|_| unread())
}

struct Subscription {
    shared: Arc<Shared>,
    feed: Arc<LocalSubscriber>,
}

/// Unpins when it is dropped, however the subscription ended.
struct Pin<'a>(&'a Hub, TopicKey);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.0.unpin(self.1);
    }
}

#[async_trait]
impl Subscriber for Subscription {
    async fn subscribe(&self, topic: TopicKey) -> Result<Position, Error> {
        let on = self.shared.hub.pin(topic);
        let _pin = Pin(&self.shared.hub, topic);
        self.shared.listen(topic, on).await?;
        let position = self.shared.position(topic).await?;
        self.shared.hub.join(topic, &self.feed, position);
        Ok(position)
    }

    fn unsubscribe(&self, topic: TopicKey) {
        self.shared.hub.leave(topic, self.feed.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_read_as_it_was_written() {
        let operation = |kind, nonce: &str| Operation {
            kind,
            channel: 3,
            message: i64::MAX,
            revision: 9,
            author: 7,
            nonce: nonce.into(),
            epoch: 0,
            began: 0,
        };
        for kind in [
            OperationKind::Create,
            OperationKind::Edit,
            OperationKind::Delete,
        ] {
            for nonce in ["", "a b c", "é"] {
                let operation = operation(kind, nonce);
                assert_eq!(operation_of(&member(&operation)), Some(operation));
            }
        }
        for member in ["", "c", "x 1 2 3 4 n", "c 1 2 3 4", "c 1 two 3 4 n"] {
            assert_eq!(operation_of(member), None, "{member}");
        }
    }
}
