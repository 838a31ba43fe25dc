//! Topics' events by NATS. The client connects again by itself, for ever, and subscribes again to
//! all that it had; what it lost meanwhile it doesn't tell. So each connection has a number here,
//! and when there is a new one, or NATS dropped something, nothing counts as heard that wasn't read
//! from the rings again. While there is none, what happens is found by the check alone.

mod reach;

pub use reach::NatsSettings;

use super::OpenError;
use super::events::Events;
use super::hub::Hub;
use super::keys::name;
use super::wire;
use crate::model::TopicKey;
use async_nats::Client;
use async_nats::connection::State;
use futures::StreamExt as _;
use reach::Signals;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// The connection is looked at so often, should nothing point to a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the server may take to confirm what it was asked for.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);
/// What is told waits so long for room in the queue to NATS; then it isn't told.
const TELL_WITHIN: Duration = Duration::from_millis(100);
/// Groups whose subscriptions are confirmed at once on a new connection.
const AT_ONCE: usize = 16;

/// A lock that nobody poisons for others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client of NATS, and what this node hears by it.
pub(super) struct Nats {
    client: Client,
    address: String,
    hub: Arc<Hub>,
    /// What stands before every subject.
    prefix: String,
    /// Where this node asks itself whether the server has come to its question.
    own: String,
    signals: Arc<Signals>,
    /// The number of the connection on which topics are heard of; 0 for none.
    line: AtomicU64,
    /// Some topic that is used is not subscribed to.
    unsettled: AtomicBool,
    topics: Mutex<HashMap<TopicKey, AbortOnDropHandle<()>>>,
    questions: Arc<Questions>,
    _answers: AbortOnDropHandle<()>,
}

/// Questions of a node to itself, which come back when the server has done all before them.
#[derive(Default)]
struct Questions {
    next: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

/// One of them; forgotten when nobody waits any more.
struct Question<'a>(&'a Questions, u64);

impl Drop for Question<'_> {
    fn drop(&mut self) {
        lock(&self.0.open).remove(&self.1);
    }
}

impl Questions {
    fn ask(&self) -> (Question<'_>, oneshot::Receiver<()>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.open).insert(number, answer);
        (Question(self, number), answered)
    }

    fn answer(&self, said: &[u8]) {
        let number = std::str::from_utf8(said)
            .ok()
            .and_then(|said| said.parse().ok());
        let open = number.and_then(|number: u64| lock(&self.open).remove(&number));
        if let Some(answer) = open {
            let _ = answer.send(());
        }
    }
}

impl Nats {
    /// Connects, and sees that what is published here comes back.
    ///
    /// # Errors
    /// It can't be reached, or doesn't let this user do that. Within some 5 s.
    pub(super) async fn open(
        settings: &NatsSettings,
        hub: Arc<Hub>,
    ) -> Result<Arc<Self>, OpenError> {
        let signals = Arc::new(Signals::default());
        let (client, address) = reach::connect(settings, &signals).await?;
        let own = format!("{}n.{}", settings.prefix, uuid::Uuid::new_v4().simple());
        let failed = |problem: String| OpenError::nats(&address, &problem);
        let subscribed = client.subscribe(own.clone()).await;
        let mut answers = subscribed.map_err(|error| failed(error.to_string()))?;
        let questions = Arc::new(Questions::default());
        let asked = questions.clone();
        let answering = tokio::spawn(async move {
            while let Some(message) = answers.next().await {
                asked.answer(&message.payload);
            }
        });
        let nats = Self {
            client,
            address: address.clone(),
            hub,
            prefix: settings.prefix.clone(),
            own,
            signals,
            line: AtomicU64::new(0),
            unsettled: AtomicBool::new(false),
            topics: Mutex::default(),
            questions,
            _answers: AbortOnDropHandle::new(answering),
        };
        let number = nats.number();
        match timeout(CONFIRM_WITHIN, nats.confirmed(number)).await {
            Ok(Ok(())) => nats.line.store(number, Ordering::SeqCst),
            _ => {
                let prefix = &nats.prefix;
                return Err(failed(format!(
                    "what is published there doesn't come back; its user must be allowed to \
                     publish and to subscribe to {prefix}>"
                )));
            }
        }
        Ok(Arc::new(nats))
    }

    fn subject(&self, topic: TopicKey) -> String {
        format!("{}t.{}", self.prefix, name(topic))
    }

    /// The number of the connection as the client has it; 0 for none. Each is above the one before.
    fn number(&self) -> u64 {
        match self.client.connection_state() {
            State::Connected => self.client.statistics().connects.load(Ordering::SeqCst),
            _ => 0,
        }
    }

    /// Tells what happened to a topic. What can't be told is found by the check.
    pub(super) async fn tell(&self, topic: TopicKey, said: Vec<u8>) {
        // What waits for a new connection would come after the rings were read again.
        if self.number() == 0 {
            return unsent();
        }
        let fits = said.len() <= self.client.max_payload();
        let said = if fits { said } else { wire::DIRTY.to_vec() };
        let telling = self.client.publish(self.subject(topic), said.into());
        if !matches!(timeout(TELL_WITHIN, telling).await, Ok(Ok(()))) {
            unsent();
        }
    }

    /// Until the server has done all that it was asked for before, on this connection.
    async fn confirmed(&self, number: u64) -> Result<(), String> {
        let (question, answered) = self.questions.ask();
        let asking = self
            .client
            .publish(self.own.clone(), question.1.to_string().into());
        asking.await.map_err(|error| error.to_string())?;
        answered.await.map_err(|error| error.to_string())?;
        if number != 0 && self.number() == number {
            Ok(())
        } else {
            Err("the connection is another one".into())
        }
    }

    /// Asks for a topic. Its group's lock is held.
    async fn subscribe(&self, topic: TopicKey) -> Result<(), String> {
        if lock(&self.topics).contains_key(&topic) {
            return Ok(());
        }
        let asking = self.client.subscribe(self.subject(topic));
        let mut events = asking.await.map_err(|error| error.to_string())?;
        let hub = self.hub.clone();
        let hearing = tokio::spawn(async move {
            while let Some(message) = events.next().await {
                hub.heard_of(topic, &message.payload);
            }
        });
        lock(&self.topics).insert(topic, AbortOnDropHandle::new(hearing));
        Ok(())
    }

    /// Until a topic is heard of. If that can't be now, it will be later. `changing`: its group's
    /// lock; `on`: the connection on which it is heard of already.
    pub(super) async fn listen(&self, changing: &tokio::sync::Mutex<()>, topic: TopicKey, on: u64) {
        let number = self.line.load(Ordering::SeqCst);
        if number != 0 && on == number {
            return;
        }
        let listening = async {
            let _changing = changing.lock().await;
            if number == 0 || self.hub.is_on(topic, number) {
                return Ok(number != 0);
            }
            self.subscribe(topic).await?;
            self.confirmed(number).await?;
            self.hub.confirm(topic, number);
            self.hub.lose(topic);
            Ok::<_, String>(true)
        };
        if !matches!(timeout(CONFIRM_WITHIN, listening).await, Ok(Ok(true))) {
            self.unsettled.store(true, Ordering::SeqCst);
            self.signals.wake.notify_one();
        }
    }

    /// Ends a topic's subscription. Its group's lock is held.
    pub(super) fn leave(&self, topic: TopicKey) {
        lock(&self.topics).remove(&topic);
    }

    /// Follows the connection for ever.
    pub(super) async fn keep(self: Arc<Self>, events: Arc<Events>) {
        loop {
            let _ = timeout(LOOK_EVERY, self.signals.wake.notified()).await;
            self.look(&events).await;
        }
    }

    async fn look(&self, events: &Events) {
        let (number, before) = (self.number(), self.line.load(Ordering::SeqCst));
        if number != before {
            if before != 0 {
                self.hub.cut(before);
                metrics::counter!("chirm_nats_disconnects_total").increment(1);
                tracing::warn!(address = self.address, "lost the connection to NATS");
            }
            if number != 0 {
                tracing::info!(address = self.address, "connected to NATS again");
                self.unsettled.store(true, Ordering::SeqCst);
            }
            self.line.store(number, Ordering::SeqCst);
        }
        if self.signals.dropped.swap(false, Ordering::SeqCst) {
            tracing::warn!("NATS brought events faster than they were taken; all are read again");
            for group in 0..=u8::MAX {
                let used = self.hub.used(group);
                used.into_iter().for_each(|topic| self.hub.lose(topic));
            }
        }
        if number != 0 && self.unsettled.swap(false, Ordering::SeqCst) {
            futures::stream::iter(0..=u8::MAX)
                .for_each_concurrent(AT_ONCE, |group| self.settle(events, group, number))
                .await;
        }
    }

    /// Has all used topics of a group heard of on this connection, or says that it must be tried
    /// again.
    async fn settle(&self, events: &Events, group: u8, number: u64) {
        let settling = async {
            let _changing = events.changing[usize::from(group)].lock().await;
            let off = self.hub.off(group, number);
            if off.is_empty() {
                return Ok(());
            }
            for topic in &off {
                self.subscribe(*topic).await?;
            }
            self.confirmed(number).await?;
            for topic in off {
                self.hub.confirm(topic, number);
                self.hub.lose(topic);
            }
            Ok::<_, String>(())
        };
        let settled = timeout(CONFIRM_WITHIN, settling).await;
        let problem = match settled {
            Ok(Ok(())) => return,
            Ok(Err(problem)) => problem,
            Err(_) => "no answer in time".into(),
        };
        self.unsettled.store(true, Ordering::SeqCst);
        tracing::debug!(group, problem, "topics aren't heard of by NATS yet");
    }
}

fn unsent() {
    metrics::counter!("chirm_nats_unsent_total").increment(1);
}
