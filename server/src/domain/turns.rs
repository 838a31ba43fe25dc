//! Turns: what is sent to a channel is queued and published in the order of its ids.
//!
//! An id is reserved and its insertion queued in one step, so that no reader of the store sees an
//! id before a lower one: who pages on from the newest that it has misses nothing. Publications
//! come in the same order, each waiting for the one before.

use crate::model::Id;
use tokio::sync::{Mutex, MutexGuard, oneshot};

/// Channels that don't share a turn's queue, but for chance.
const STRIPES: usize = 256;

/// The turn before, while it isn't over. One that was given up has another one before it.
pub(super) struct Before(oneshot::Receiver<Latest>);

/// The latest turn given out, while it isn't over.
pub(super) type Latest = Option<Before>;

/// The turns of all channels.
pub(super) struct Turns([Mutex<Latest>; STRIPES]);

/// A place in a channel's order of publications. It is over when it is dropped after it came;
/// dropped before that, it is given up, and whoever is next waits for those before it all the same.
pub(super) struct Turn {
    before: Latest,
    over: Option<oneshot::Sender<Latest>>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(None)))
    }

    /// Waits until nobody else reserves and queues in the channel.
    pub(super) async fn hold(&self, channel: Id) -> MutexGuard<'_, Latest> {
        let stripe = (channel ^ (channel >> 22)).unsigned_abs() as usize % STRIPES;
        self.0[stripe].lock().await
    }
}

impl Turn {
    /// The turn after the latest one.
    pub(super) fn after(latest: &mut Latest) -> Self {
        let (over, next) = oneshot::channel();
        Self {
            before: latest.replace(Before(next)),
            over: Some(over),
        }
    }

    /// Waits for the turns before to be over.
    pub(super) async fn come(&mut self) {
        while let Some(before) = &mut self.before {
            self.before = (&mut before.0).await.ok().flatten();
        }
    }

    /// Whether nothing before it is known to be under way, without waiting.
    fn is_here(&mut self) -> bool {
        while let Some(before) = &mut self.before {
            self.before = match before.0.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return false,
                over => over.ok().flatten(),
            };
        }
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // So that no chain builds up of turns that were given up one after the other.
        self.is_here();
        if let Some(over) = self.over.take() {
            let _ = over.send(self.before.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn a_turn_comes_when_those_before_it_are_over() {
        let mut latest = None;
        let (mut first, mut second) = (Turn::after(&mut latest), Turn::after(&mut latest));
        first.come().await;
        assert!(second.come().now_or_never().is_none());
        drop(first);
        second.come().await;
        drop(second);
        Turn::after(&mut latest).come().await;
    }

    #[tokio::test]
    async fn a_turn_that_is_given_up_lets_nobody_overtake() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 1, 3], [2, 3, 1]] {
            let mut latest = None;
            let mut turns: Vec<_> = (0..5).map(|_| Some(Turn::after(&mut latest))).collect();
            let mut last = turns.pop().flatten().unwrap();
            for given_up in order {
                drop(turns[given_up].take());
                assert!(last.come().now_or_never().is_none(), "{order:?}");
            }
            let mut first = turns[0].take().unwrap();
            first.come().await;
            drop(first);
            last.come().await;
        }
    }
}
