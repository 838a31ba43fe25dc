//! One shard of the hub.

use super::{Attached, Command, Error, Mode};
use crate::bus::{
    Delivery, Feed, Publication, Since, Subscriber, Topics, Transient, TransientKind,
};
use crate::gateway::close::Close;
use crate::gateway::handle::SessionHandle;
use crate::gateway::outbox::Refused;
use crate::gateway::wire;
use crate::model::{Position, Signal, TopicKey, TopicKind};
use crate::store;
use indexmap::IndexMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A fan-out lets others run after so many sessions: a ping under saturation takes 0.5 ms so, not
/// 47.
const YIELD_EVERY: usize = 64;
/// Missed events that are put into an outbox while others wait for the shard.
const INLINE_EVENTS_MAX: usize = 32;
/// A topic without sessions is unsubscribed after so long.
const IDLE: Duration = Duration::from_secs(30);

struct Attachment {
    session: Arc<SessionHandle>,
    mode: Mode,
    /// Events up to this `seq` of the topic's epoch are in its outbox.
    after: i64,
}

struct Topic {
    position: Position,
    sessions: IndexMap<u64, Attachment>,
    used_at: Instant,
}

pub(super) struct Shard {
    bus: Arc<dyn Topics>,
    store: store::Handle,
    subscriber: Arc<dyn Subscriber>,
    feed: Feed,
    topics: HashMap<TopicKey, Topic>,
    /// Attachments to remove after a fan-out; kept for its memory.
    leaving: Vec<u64>,
}

impl Shard {
    pub(super) fn new(bus: Arc<dyn Topics>, store: store::Handle) -> Self {
        let (subscriber, feed) = bus.subscriber();
        Self {
            bus,
            store,
            subscriber,
            feed,
            topics: HashMap::new(),
            leaving: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut sweep = tokio::time::interval(IDLE / 2);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                Some(delivery) = self.feed.recv() => match delivery {
                    Delivery::Event(event) => self.event(event).await,
                    Delivery::Transient(transient) => self.transient(&transient),
                    Delivery::Dirty(topic) => self.recover(topic).await,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Position(topic, answer) => {
                // A caller that went away needs no answer; so below.
                let _ = answer.send(self.position(topic).await);
            }
            Command::Attach {
                topic,
                session,
                mode,
                held,
                answer,
            } => {
                let _ = answer.send(self.attach(topic, session, mode, held).await);
            }
            Command::Detach(topics, session) => {
                for key in topics {
                    if let Some(topic) = self.topics.get_mut(&key) {
                        topic.sessions.swap_remove(&session);
                        topic.used_at = Instant::now();
                    }
                }
            }
        }
    }

    /// The topic's position; subscribes first. Of a server or user it is the store's.
    async fn position(&mut self, key: TopicKey) -> Result<Position, Error> {
        if let Some(topic) = self.topics.get(&key) {
            return Ok(topic.position);
        }
        let mut position = self.subscriber.subscribe(key).await?;
        if key.kind != TopicKind::Channel {
            position = match self.store.topic_position(key).await {
                Ok(position) => position,
                Err(error) => {
                    self.subscriber.unsubscribe(key);
                    return Err(error.into());
                }
            };
        }
        let topic = Topic {
            position,
            sessions: IndexMap::new(),
            used_at: Instant::now(),
        };
        self.topics.insert(key, topic);
        Ok(position)
    }

    async fn attach(
        &mut self,
        key: TopicKey,
        session: Arc<SessionHandle>,
        mode: Mode,
        held: Position,
    ) -> Result<Attached, Error> {
        let now = self.position(key).await?;
        let attached = self
            .topics
            .get_mut(&key)
            .and_then(|t| t.sessions.get_mut(&session.serial));
        if let Some(attachment) = attached
            && (attachment.mode.full || !mode.full)
        {
            attachment.mode = mode;
            return Ok(Attached::Live);
        }
        let mut after = now.seq;
        if mode.full && held != now && !crate::mutation::on("jump_check_off") {
            let ahead = held.epoch == now.epoch && held.seq > now.seq;
            match self.since(key, held).await? {
                None => return Ok(Attached::Gone(self.position(key).await?)),
                // The feed lags behind the bus; what the client has of it is passed over.
                Some(_) if ahead => after = held.seq,
                Some(missed) => {
                    let missed: Vec<_> = missed
                        .into_iter()
                        .filter(|e| e.position.seq <= now.seq)
                        .collect();
                    if missed.len() > INLINE_EVENTS_MAX {
                        return Ok(Attached::Behind(missed));
                    }
                    for (sent, event) in missed.iter().enumerate() {
                        if session.outbox.push(event.frame.clone()).is_err() {
                            return Ok(Attached::Behind(missed[sent..].to_vec()));
                        }
                    }
                    metrics::counter!("chirm_replayed_events_total").increment(missed.len() as u64);
                }
            }
        }
        if let Some(topic) = self.topics.get_mut(&key) {
            let serial = session.serial;
            topic.sessions.insert(
                serial,
                Attachment {
                    session,
                    mode,
                    after,
                },
            );
        }
        Ok(Attached::Live)
    }

    /// What came after a position, from the bus or, of servers and users, the store.
    async fn since(
        &self,
        key: TopicKey,
        position: Position,
    ) -> Result<Option<Vec<Arc<Publication>>>, Error> {
        if let Since::Events(events) = self.bus.since(key, position).await? {
            return Ok(Some(events));
        }
        if key.kind == TopicKind::Channel {
            return Ok(None);
        }
        let Some(events) = self.store.topic_since(key, position).await? else {
            return Ok(None);
        };
        Ok(Some(
            events
                .iter()
                .map(|event| Arc::new(wire::publication(event)))
                .collect(),
        ))
    }

    async fn event(&mut self, event: Arc<Publication>) {
        let Some(topic) = self.topics.get_mut(&event.topic) else {
            return;
        };
        let at = topic.position;
        if event.position.epoch == at.epoch && event.position.seq <= at.seq {
            return;
        }
        if event.position == at.next() {
            deliver(topic, &event, &mut self.leaving).await;
        } else {
            metrics::counter!("chirm_topic_jumps_total").increment(1);
            self.recover(event.topic).await;
        }
    }

    /// Fills what the feed left out; what can't be filled becomes a `Gap` (channels) or a new
    /// snapshot (servers, users).
    async fn recover(&mut self, key: TopicKey) {
        let Some(at) = self.topics.get(&key).map(|t| t.position) else {
            return;
        };
        let missed = match self.since(key, at).await {
            Ok(missed) => missed,
            Err(error) => {
                tracing::warn!(%error, "a topic's jump could not be filled; its sessions resume");
                None
            }
        };
        if let Some(missed) = missed {
            for event in missed {
                if let Some(topic) = self.topics.get_mut(&key) {
                    deliver(topic, &event, &mut self.leaving).await;
                }
            }
            return;
        }
        // Sessions attach anew from where they were: that finds the position as it now is.
        if let Some(topic) = self.topics.remove(&key) {
            for attachment in topic.sessions.values() {
                attachment.session.behind(key, at);
            }
        }
    }

    fn transient(&self, transient: &Transient) {
        let Some(topic) = self.topics.get(&TopicKey::channel(transient.channel)) else {
            return;
        };
        let intent = match transient.kind {
            TransientKind::Typing => wire::INTENT_TYPING,
            TransientKind::Custom => wire::INTENT_CUSTOM,
        };
        for attachment in topic.sessions.values() {
            if attachment.mode.viewed && attachment.session.wants(intent) {
                // What has no position may be dropped: a full outbox is none the worse for it.
                let _ = attachment.session.outbox.push(transient.frame.clone());
            }
        }
    }

    fn sweep(&mut self) {
        let Self {
            topics, subscriber, ..
        } = self;
        topics.retain(|key, topic| {
            let keep = !topic.sessions.is_empty() || topic.used_at.elapsed() < IDLE;
            if !keep {
                subscriber.unsubscribe(*key);
            }
            keep
        });
        metrics::gauge!("chirm_hub_topics").set(self.topics.len() as f64);
    }
}

/// Hands an event to all sessions of its topic: the same bytes for each.
async fn deliver(topic: &mut Topic, event: &Publication, leaving: &mut Vec<u64>) {
    let before = topic.position;
    topic.position = event.position;
    topic.used_at = Instant::now();
    for (n, (serial, attachment)) in topic.sessions.iter().enumerate() {
        if n % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        let session = &attachment.session;
        if event.position.seq <= attachment.after {
            continue;
        }
        signal(session, event.signal);
        if !attachment.mode.full {
            session.activity(event.topic.id, event.position, event.message_id);
            continue;
        }
        match session.outbox.push(event.frame.clone()) {
            Ok(()) => {}
            Err(Refused::Ended) => leaving.push(*serial),
            Err(Refused::Full) => {
                leaving.push(*serial);
                if session.syncing.load(Ordering::Acquire) {
                    session.behind(event.topic, before);
                } else {
                    metrics::counter!("chirm_slow_consumers_total").increment(1);
                    session.close(Close::SlowConsumer);
                }
            }
        }
    }
    metrics::counter!("chirm_events_delivered_total").increment(topic.sessions.len() as u64);
    for serial in leaving.drain(..) {
        topic.sessions.swap_remove(&serial);
    }
}

fn signal(session: &SessionHandle, signal: Signal) {
    match signal {
        Signal::None => {}
        Signal::Recheck => session.recheck(),
        Signal::Revoked(id) if id == session.session_id => session.close(Close::SessionRevoked),
        Signal::Revoked(_) => {}
    }
}
