//! Carries the events that the store numbers. Whoever committed them doesn't wait: they go through
//! a bounded queue. What couldn't be carried is told, when Redis can be reached again, as missing.

use super::topics::{Shared, flag};
use super::wire;
use crate::bus::Draft;
use crate::bus::Error;
use crate::model::{Position, TopicKey};
use crate::store::{OutboxEvent, Relay};
use futures::StreamExt as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Events that wait to be carried.
const QUEUED_MAX: usize = 16_384;
/// Events taken up at once.
const BATCH: usize = 256;
/// Topics that are worked on at once.
const AT_ONCE: usize = 32;
/// Topics of which it is remembered that events couldn't be carried.
const LOST_MAX: usize = 100_000;
/// What couldn't be carried is told again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// The furthest position of each topic that wasn't carried.
type Lost = Mutex<HashMap<TopicKey, Position>>;

/// The store's [`Relay`] over Redis.
pub struct RedisRelay {
    queue: mpsc::Sender<OutboxEvent>,
    lost: Arc<Lost>,
    wake: Arc<Notify>,
}

fn lose(lost: &Lost, topic: TopicKey, position: Position) {
    let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
    if lost.len() < LOST_MAX || lost.contains_key(&topic) {
        lost.insert(topic, position);
    } else {
        tracing::error!(
            ?topic,
            "too many topics couldn't be told of; this one waits for its next event"
        );
    }
    metrics::counter!("chirm_relay_lost_total").increment(1);
}

impl RedisRelay {
    /// With the task that carries.
    pub(super) fn new(shared: Arc<Shared>) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, events) = mpsc::channel(QUEUED_MAX);
        let (lost, wake) = (Arc::new(Lost::default()), Arc::new(Notify::new()));
        let relay = Self {
            queue,
            lost: lost.clone(),
            wake: wake.clone(),
        };
        (relay, carry(shared, events, lost, wake))
    }
}

impl Relay for RedisRelay {
    fn relay(&self, events: Vec<OutboxEvent>) {
        for event in events {
            if let Err(refused) = self.queue.try_send(event) {
                let event = refused.into_inner();
                lose(&self.lost, event.topic, event.position);
                self.wake.notify_one();
            }
        }
    }
}

async fn carry(
    shared: Arc<Shared>,
    mut events: mpsc::Receiver<OutboxEvent>,
    lost: Arc<Lost>,
    wake: Arc<Notify>,
) {
    let mut batch = Vec::new();
    loop {
        let due = !lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        tokio::select! {
            taken = events.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
                    return;
                }
            }
            () = wake.notified() => {}
            () = tokio::time::sleep(AGAIN), if due => {}
        }
        let mut topics: HashMap<TopicKey, Vec<OutboxEvent>> = HashMap::new();
        for event in batch.drain(..) {
            topics.entry(event.topic).or_default().push(event);
        }
        let each = futures::stream::iter(topics.into_values());
        each.for_each_concurrent(AT_ONCE, |events| carry_topic(&shared, &lost, events))
            .await;
        tell_lost(&shared, &lost).await;
    }
}

/// Carries the events of one topic in their order; those after one that can't be, neither.
async fn carry_topic(shared: &Shared, lost: &Lost, events: Vec<OutboxEvent>) {
    let mut failed = None;
    for event in events {
        let (topic, position) = (event.topic, event.position);
        if failed.is_none()
            && let Err(error) = say(shared, draft_of(event), position, false).await
        {
            tracing::warn!(?topic, %error, "an event couldn't be carried");
            failed = Some(error);
        }
        if failed.is_some() {
            lose(lost, topic, position);
        }
    }
}

/// Tells which events are missing, as far as Redis can be reached.
async fn tell_lost(shared: &Shared, lost: &Lost) {
    let guard = || lost.lock().unwrap_or_else(PoisonError::into_inner);
    let due: Vec<_> = guard().iter().map(|(topic, at)| (*topic, *at)).collect();
    for (topic, position) in due {
        let nothing = Draft {
            topic,
            payload: bytes::Bytes::new(),
            signal: crate::model::Signal::None,
            message_id: 0,
            operation: None,
        };
        if say(shared, nothing, position, true).await.is_err() {
            return;
        }
        let mut lost = guard();
        if lost.get(&topic) == Some(&position) {
            lost.remove(&topic);
        }
    }
}

async fn say(shared: &Shared, draft: Draft, at: Position, is_lost: bool) -> Result<(), Error> {
    let mut call = shared.call(&shared.scripts.relay, draft.topic);
    let of = [at.epoch, at.seq];
    call.args
        .extend(of.map(|number| number.to_string().into_bytes()));
    call.args
        .extend(wire::event_args(&draft, shared.hub.now_ms()));
    call.args.push(flag(is_lost));
    let said: String = shared.servers.call(draft.topic.id, call).await?;
    if said == "told" {
        if is_lost {
            shared.tell_dirty(draft.topic).await;
        } else {
            shared.tell(&draft, at).await;
        }
    }
    Ok(())
}

fn draft_of(event: OutboxEvent) -> Draft {
    Draft {
        topic: event.topic,
        payload: event.payload,
        signal: event.signal,
        message_id: 0,
        operation: None,
    }
}
