//! Who received which message, and when: shared by the fan-out and its floor.

use crate::latency::Histogram;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// How a bench decides when to publish the next message.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many messages may be unreceived at once.
    InFlight(u32),
    /// So many messages a second, whatever is received.
    Rate(f64),
}

impl Pace {
    /// Of the two flags of which one may be given; none means one in flight.
    #[must_use]
    pub fn of(in_flight: Option<u32>, rate: Option<f64>) -> Self {
        rate.map_or(Self::InFlight(in_flight.unwrap_or(1).max(1)), Self::Rate)
    }

    /// For the report.
    #[must_use]
    pub fn in_flight(self) -> Option<u64> {
        match self {
            Self::InFlight(count) => Some(u64::from(count)),
            Self::Rate(_) => None,
        }
    }
}

/// What is shared between the publisher and all subscribers.
pub struct Tracker {
    start: Instant,
    subscribers: u32,
    published_us: Vec<AtomicU64>,
    received: Vec<AtomicU32>,
    complete: AtomicU64,
    deliveries: AtomicU64,
    last_us: AtomicU64,
    ready: AtomicU64,
    /// One permit for each message that may still be published.
    pub permits: Semaphore,
    /// Signalled when the last message is complete.
    pub finished: Notify,
    /// Signalled when another subscriber is ready.
    pub grown: Notify,
}

/// What one subscriber received.
#[derive(Debug, Default)]
pub struct Seen {
    bitmap: Vec<u64>,
}

/// What a connection's subscribers received together.
#[derive(Debug, Default)]
pub struct Tally {
    /// From publish to receive.
    pub latency: Histogram,
    /// Messages that came to a subscriber again.
    pub duplicated: u64,
    /// Why streams ended before the bench did; the first reasons only.
    pub ended: Vec<String>,
}

/// How many reasons a tally keeps.
const REASONS_MAX: usize = 3;

impl Tally {
    /// Adds what another connection counted.
    pub fn merge(&mut self, other: Self) {
        self.latency.merge(&other.latency);
        self.duplicated += other.duplicated;
        other
            .ended
            .into_iter()
            .for_each(|reason| self.note_end(reason));
    }

    /// Keeps why a stream ended.
    pub fn note_end(&mut self, reason: String) {
        if self.ended.len() < REASONS_MAX {
            self.ended.push(reason);
        }
    }
}

impl Tracker {
    /// For `messages` messages to `subscribers` subscribers.
    #[must_use]
    pub fn new(subscribers: u32, messages: u32, pace: Pace) -> Self {
        let permits = match pace {
            Pace::InFlight(count) => count as usize,
            Pace::Rate(_) => 0,
        };
        Self {
            start: Instant::now(),
            subscribers,
            published_us: (0..messages).map(|_| AtomicU64::new(0)).collect(),
            received: (0..messages).map(|_| AtomicU32::new(0)).collect(),
            complete: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            permits: Semaphore::new(permits),
            finished: Notify::new(),
            grown: Notify::new(),
        }
    }

    /// How many messages there are to publish.
    #[must_use]
    pub fn messages(&self) -> u32 {
        self.published_us.len() as u32
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// Message `index` is published; `due` is when it was to be. A publisher that is late for want
    /// of a processor counts as a slow delivery, not as a later message.
    pub fn published(&self, index: u32, due: Instant) {
        let due = due.saturating_duration_since(self.start).as_micros();
        let due_us = u64::try_from(due).unwrap_or(u64::MAX).max(1);
        self.published_us[index as usize].store(due_us, Ordering::Release);
    }

    /// A subscriber received message `index` now. Unknown indices are passed over.
    pub fn received(&self, index: u32, seen: &mut Seen, tally: &mut Tally) {
        let Some(published) = self.published_us.get(index as usize) else {
            return;
        };
        if !seen.insert(index) {
            tally.duplicated += 1;
            return;
        }
        let now = self.now_us();
        tally
            .latency
            .record_us(now.saturating_sub(published.load(Ordering::Acquire)));
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        let count = self.received[index as usize].fetch_add(1, Ordering::AcqRel) + 1;
        if count == self.subscribers {
            self.last_us.fetch_max(now, Ordering::AcqRel);
            self.permits.add_permits(1);
            let complete = self.complete.fetch_add(1, Ordering::AcqRel) + 1;
            if complete == u64::from(self.messages()) {
                self.finished.notify_one();
            }
        }
    }

    /// Another subscriber is ready for messages.
    pub fn note_ready(&self) {
        self.ready.fetch_add(1, Ordering::AcqRel);
        self.grown.notify_one();
    }

    /// How many subscribers are ready.
    #[must_use]
    pub fn ready(&self) -> u64 {
        self.ready.load(Ordering::Acquire)
    }

    /// Deliveries so far, each counted once.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Acquire)
    }

    /// Deliveries that are to come.
    #[must_use]
    pub fn expected(&self) -> u64 {
        u64::from(self.subscribers) * u64::from(self.messages())
    }

    /// From the first publish to the last message's last receive.
    #[must_use]
    pub fn took(&self) -> Duration {
        let first = self
            .published_us
            .first()
            .map_or(0, |us| us.load(Ordering::Acquire));
        Duration::from_micros(self.last_us.load(Ordering::Acquire).saturating_sub(first))
    }
}

impl Seen {
    /// Whether `index` is new.
    fn insert(&mut self, index: u32) -> bool {
        let (word, bit) = (index as usize / 64, 1_u64 << (index % 64));
        if self.bitmap.len() <= word {
            self.bitmap.resize(word + 1, 0);
        }
        let new = self.bitmap[word] & bit == 0;
        self.bitmap[word] |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_complete_when_all_have_it_and_frees_a_place() {
        let tracker = Tracker::new(2, 1, Pace::InFlight(1));
        tracker.permits.try_acquire().unwrap().forget();
        tracker.published(0, Instant::now());
        let (mut first, mut second, mut tally) =
            (Seen::default(), Seen::default(), Tally::default());
        tracker.received(0, &mut first, &mut tally);
        tracker.received(0, &mut first, &mut tally);
        assert_eq!(tracker.permits.available_permits(), 0);
        assert_eq!((tracker.deliveries(), tally.duplicated), (1, 1));
        tracker.received(0, &mut second, &mut tally);
        assert_eq!(tracker.permits.available_permits(), 1);
        assert_eq!(tracker.deliveries(), tracker.expected());
        tracker.received(7, &mut second, &mut tally);
        assert_eq!(tracker.deliveries(), 2);
    }

    #[test]
    fn a_late_publish_counts_from_when_it_was_due() {
        let tracker = Tracker::new(1, 1, Pace::Rate(1.0));
        let late = Duration::from_millis(50);
        let due = tracker.start;
        std::thread::sleep(late);
        tracker.published(0, due);
        let mut tally = Tally::default();
        tracker.received(0, &mut Seen::default(), &mut tally);
        assert!(tally.latency.max_ms().is_some_and(|ms| ms >= 50.0));
    }
}
