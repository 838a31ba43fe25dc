//! One shard of the hub.

use super::past::Past;
use super::topic::{BURST_MAX, Taken, Topic};
use super::{Attach, Attached, Command, Error, Meter};
use crate::bus::{Delivery, Feed, Publication, Subscriber, Transient, TransientKind};
use crate::gateway::wire;
use crate::model::{Position, TopicKey};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A topic without sessions is unsubscribed after so long.
const IDLE: Duration = Duration::from_secs(30);

/// A fan-out that took less is followed by the next at once: timers are no finer.
const REST_FROM: Duration = Duration::from_millis(1);
/// Longer than this no event waits for others.
const REST_MAX: Duration = Duration::from_millis(5);

/// A topic that is being subscribed to.
#[derive(Default)]
struct Opening {
    waiting: Vec<Waiting>,
    /// The latest event that came meanwhile.
    latest: Option<Position>,
}

enum Waiting {
    Position(oneshot::Sender<Result<Position, Error>>),
    Attach(Attach, oneshot::Sender<Result<Attached, Error>>),
}

enum Place {
    Opening(Opening),
    Open(Topic),
}

/// What a task of the shard's found out.
enum Found {
    Position(TopicKey, Result<Position, Error>),
    Missed(TopicKey, Result<Option<Vec<Arc<Publication>>>, Error>),
}

/// Where what is to be handed out comes from.
struct Intake {
    feed: Feed,
    /// What was taken from the feed and has its turn next.
    aside: Option<Delivery>,
    /// Until when the next events gather.
    rest: Option<Instant>,
}

impl Intake {
    /// What has its turn, after the rest. Nothing is lost if it is dropped while it waits.
    async fn next(&mut self) -> Option<Delivery> {
        if let Some(until) = self.rest {
            tokio::time::sleep_until(until).await;
            self.rest = None;
        }
        match self.aside.take() {
            Some(delivery) => Some(delivery),
            None => self.feed.recv().await,
        }
    }
}

pub(super) struct Shard {
    past: Past,
    subscriber: Arc<dyn Subscriber>,
    intake: Intake,
    /// Events that are handed out together; empty between, and kept for its memory.
    burst: Vec<Arc<Publication>>,
    topics: HashMap<TopicKey, Place>,
    tail_max: usize,
    meter: Meter,
    /// At most one a topic.
    tasks: JoinSet<Found>,
}

impl Shard {
    pub(super) fn new(past: Past, tail_max: usize, meter: Meter) -> Self {
        let (subscriber, feed) = past.subscriber();
        Self {
            past,
            subscriber,
            intake: Intake {
                feed,
                aside: None,
                rest: None,
            },
            burst: Vec::new(),
            topics: HashMap::new(),
            tail_max,
            meter,
            tasks: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut sweep = tokio::time::interval(IDLE / 2);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(delivery) = self.intake.next() => match delivery {
                    Delivery::Event(event) => self.events(event).await,
                    Delivery::Transient(transient) => self.transient(&transient),
                    Delivery::Dirty(topic) => self.fetch_missed(topic),
                },
                Some(Ok(found)) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.found(found).await;
                }
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Position(key, answer) => match self.place(key) {
                Place::Opening(opening) => opening.waiting.push(Waiting::Position(answer)),
                Place::Open(topic) => answer_with(answer, Ok(topic.position())),
            },
            Command::Attach(attach, answer) => match self.place(attach.topic) {
                Place::Opening(opening) => opening.waiting.push(Waiting::Attach(attach, answer)),
                Place::Open(topic) => answer_with(answer, Ok(topic.attach(attach))),
            },
            Command::Mode(key, session, mode) => {
                if let Some(Place::Open(topic)) = self.topics.get_mut(&key) {
                    topic.set_mode(session, mode);
                }
            }
            Command::Detach(keys, session, answer) => {
                for key in keys {
                    match self.topics.get_mut(&key) {
                        None => {}
                        Some(Place::Open(topic)) => topic.detach(session),
                        Some(Place::Opening(opening)) => opening.forget(session),
                    }
                }
                answer_with(answer, ());
            }
        }
    }

    /// The topic; subscribes first.
    fn place(&mut self, key: TopicKey) -> &mut Place {
        match self.topics.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let (past, subscriber) = (self.past.clone(), self.subscriber.clone());
                self.tasks.spawn(async move {
                    Found::Position(key, past.subscribe(key, &*subscriber).await)
                });
                entry.insert(Place::Opening(Opening::default()))
            }
        }
    }

    async fn found(&mut self, found: Found) {
        match found {
            Found::Position(key, position) => self.open(key, position),
            Found::Missed(key, missed) => self.fill(key, missed).await,
        }
    }

    fn open(&mut self, key: TopicKey, position: Result<Position, Error>) {
        let Some(Place::Opening(opening)) = self.topics.remove(&key) else {
            return;
        };
        let position = match position {
            Ok(position) => position,
            Err(error) => {
                self.subscriber.unsubscribe(key);
                for waiting in opening.waiting {
                    match waiting {
                        Waiting::Position(answer) => answer_with(answer, Err(error.clone())),
                        Waiting::Attach(_, answer) => answer_with(answer, Err(error.clone())),
                    }
                }
                return;
            }
        };
        // An event that overtook the answer is delivered to nobody: whoever attaches below it
        // fetches it. Of two epochs the bus must say which is over.
        let doubtful = opening.latest.is_some_and(|l| l.epoch != position.epoch);
        let later = |latest: &Position| latest.epoch == position.epoch && latest.seq > position.seq;
        let position = opening.latest.filter(later).unwrap_or(position);
        let mut topic = Topic::new(key, position, self.tail_max);
        for waiting in opening.waiting {
            match waiting {
                Waiting::Position(answer) => answer_with(answer, Ok(topic.position())),
                Waiting::Attach(attach, answer) => answer_with(answer, Ok(topic.attach(attach))),
            }
        }
        self.topics.insert(key, Place::Open(topic));
        if doubtful {
            self.fetch_missed(key);
        }
    }

    /// Takes an event, and those that wait behind it: while a fan-out is under way more come, which
    /// a session then gets in one write. The order counts within a topic alone.
    async fn events(&mut self, first: Arc<Publication>) {
        let mut burst = std::mem::take(&mut self.burst);
        burst.push(first);
        while burst.len() < BURST_MAX {
            match self.intake.feed.try_recv() {
                Ok(Delivery::Event(event)) => burst.push(event),
                Ok(other) => {
                    self.intake.aside = Some(other);
                    break;
                }
                // Whether it waits or has ended, the next turn finds out.
                Err(_) => break,
            }
        }
        let began = Instant::now();
        // Stable: the events of a topic stay in their order.
        burst.sort_by_key(|event| event.topic);
        for events in burst.chunk_by(|a, b| a.topic == b.topic) {
            self.events_of(events[0].topic, events).await;
        }
        self.intake.rest =
            rest_after(burst.len(), began.elapsed()).map(|rest| Instant::now() + rest);
        burst.clear();
        self.burst = burst;
    }

    async fn events_of(&mut self, key: TopicKey, events: &[Arc<Publication>]) {
        let taken = match self.topics.get_mut(&key) {
            None => return,
            Some(Place::Opening(opening)) => {
                opening.latest = events.last().map(|last| last.position);
                return;
            }
            Some(Place::Open(topic)) => topic.take(events, &self.meter).await,
        };
        if taken == Taken::Jumped {
            metrics::counter!("chirm_topic_jumps_total").increment(1);
            self.fetch_missed(key);
        }
    }

    /// Fetches what the feed left out; what comes meanwhile waits.
    fn fetch_missed(&mut self, key: TopicKey) {
        let Some(Place::Open(topic)) = self.topics.get_mut(&key) else {
            return;
        };
        let Some(at) = topic.begin_filling() else {
            return;
        };
        let past = self.past.clone();
        self.tasks
            .spawn(async move { Found::Missed(key, past.since(key, at, at).await) });
    }

    /// Delivers what was fetched. Of what isn't remembered any more sessions get a `Gap` (channels)
    /// or a new snapshot (servers, users).
    async fn fill(&mut self, key: TopicKey, missed: Result<Option<Vec<Arc<Publication>>>, Error>) {
        let missed = missed.unwrap_or_else(|error| {
            tracing::warn!(%error, "a topic's jump could not be filled; its sessions resume");
            None
        });
        let Some(Place::Open(topic)) = self.topics.get_mut(&key) else {
            return;
        };
        let Some(missed) = missed else {
            // Sessions attach anew from where they were: that finds the position as it now is.
            if let Some(Place::Open(topic)) = self.topics.remove(&key) {
                self.subscriber.unsubscribe(key);
                topic.give_up();
            }
            return;
        };
        if topic.fill(missed, &self.meter).await == Taken::Jumped {
            self.fetch_missed(key);
        }
    }

    fn transient(&self, transient: &Transient) {
        let intent = match transient.kind {
            TransientKind::Typing => wire::INTENT_TYPING,
            TransientKind::Custom => wire::INTENT_CUSTOM,
        };
        let key = TopicKey::channel(transient.channel);
        if let Some(Place::Open(topic)) = self.topics.get(&key) {
            topic.announce(intent, &transient.frame);
        }
    }

    fn sweep(&mut self) {
        let Self {
            topics, subscriber, ..
        } = self;
        topics.retain(|key, place| {
            let idle = match place {
                Place::Opening(_) => false,
                Place::Open(topic) => topic.is_idle(IDLE),
            };
            if idle {
                subscriber.unsubscribe(*key);
            }
            !idle
        });
        metrics::gauge!("chirm_hub_topics").set(self.topics.len() as f64);
    }
}

impl Opening {
    fn forget(&mut self, session: u64) {
        self.waiting.retain(|waiting| match waiting {
            Waiting::Position(_) => true,
            Waiting::Attach(attach, _) => attach.session.serial != session,
        });
    }
}

/// How long events gather after a burst of so many took so long: about as long again. While one
/// burst is under way the next one gathers, and clients that wait for their message to come back
/// send no more; without a rest two halves follow each other, each written by itself.
fn rest_after(events: usize, took: Duration) -> Option<Duration> {
    // Alone, it had nothing to gather with; of a full burst the rest is waiting already.
    let gathers = (2..BURST_MAX).contains(&events) && took >= REST_FROM;
    gathers.then(|| took.min(REST_MAX))
}

/// A caller that went away needs no answer: what it may have attached it detaches.
fn answer_with<T>(answer: oneshot::Sender<T>, with: T) {
    let _ = answer.send(with);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_fan_out_is_followed_by_a_rest() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(8, ms(3)), Some(ms(3)));
        assert_eq!(rest_after(8, ms(300)), Some(REST_MAX));
        assert_eq!(rest_after(8, Duration::from_micros(900)), None);
        assert_eq!(rest_after(1, ms(3)), None);
        assert_eq!(rest_after(BURST_MAX, ms(3)), None);
    }
}
