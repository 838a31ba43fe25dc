//! A subscriber's feed: bounded; what finds it full is told as dirty when there is room again.

use crate::bus::{Delivery, Feed, Transient};
use crate::model::TopicKey;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Events that wait for one subscriber; beyond them its topics are marked dirty.
const FEED_EVENTS_MAX: usize = 65_536;

pub(in crate::bus) struct LocalSubscriber {
    pub(in crate::bus) id: u64,
    feed: mpsc::Sender<Delivery>,
    /// Topics whose events found the feed full.
    dirty: Arc<Mutex<Vec<TopicKey>>>,
    telling: Arc<AtomicBool>,
}

impl LocalSubscriber {
    /// A new one, and where its events come out.
    pub(in crate::bus) fn new() -> (Arc<Self>, Feed) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (feed, events) = mpsc::channel(FEED_EVENTS_MAX);
        let subscriber = Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            feed,
            dirty: Arc::default(),
            telling: Arc::default(),
        };
        (Arc::new(subscriber), events)
    }

    pub(in crate::bus) fn deliver(&self, topic: TopicKey, delivery: Delivery) {
        if self.feed.try_send(delivery).is_err() {
            self.mark(topic);
        }
    }

    /// Best effort: what finds the feed full is dropped and makes nothing dirty.
    pub(in crate::bus) fn announce(&self, transient: Arc<Transient>) {
        let _ = self.feed.try_send(Delivery::Transient(transient));
    }

    /// Events of the topic may be missing.
    pub(in crate::bus) fn mark(&self, topic: TopicKey) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if !dirty.contains(&topic) {
            dirty.push(topic);
        }
        drop(dirty);
        if !self.telling.swap(true, Ordering::AcqRel) {
            tokio::spawn(tell_dirty(
                self.feed.clone(),
                self.dirty.clone(),
                self.telling.clone(),
            ));
        }
    }
}

/// Waits for room in a feed that overflowed, then tells which topics are dirty.
async fn tell_dirty(
    feed: mpsc::Sender<Delivery>,
    dirty: Arc<Mutex<Vec<TopicKey>>>,
    telling: Arc<AtomicBool>,
) {
    loop {
        let next = dirty.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match next {
            Some(topic) => {
                if feed.send(Delivery::Dirty(topic)).await.is_err() {
                    return;
                }
            }
            None => {
                telling.store(false, Ordering::Release);
                let none = dirty
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .is_empty();
                if none || telling.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        }
    }
}
