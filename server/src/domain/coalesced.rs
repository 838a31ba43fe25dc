//! Identical reads of the store, made once for all who ask at the same time.

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use metrics::Counter;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::task::AbortOnDropHandle;

/// Reads that are under way, by what they read.
///
/// Of each key one read is sent at a time, and one more waits for its end. Who asks joins the one
/// that waits, and never the one that is sent: that may have looked before something was written of
/// which the asker has heard. So an answer is as good as one of a read of the asker's own. What is
/// shared is the whole answer, errors included.
///
/// A read runs in a task of its own: it goes on as long as anyone waits for it, whoever asked
/// first, and whether or not that one is polled. Keys are kept while someone waits: there are never
/// more than callers.
pub(super) struct Coalesced<K, V> {
    keys: Keys<K, V>,
    joined: Counter,
}

type Keys<K, V> = Arc<Mutex<HashMap<K, UnderWay<V>>>>;
/// None: it panicked, which the log has, and so do its callers.
type Read<V> = Shared<BoxFuture<'static, Option<V>>>;

/// The reads of a key.
struct UnderWay<V> {
    callers: usize,
    /// The latest that was sent, ended or not.
    sent: Option<Read<V>>,
    /// The one that waits for its end.
    waiting: Option<Read<V>>,
}

/// Someone who waits. The last one of a key removes it.
struct Caller<'a, K: Eq + Hash, V> {
    keys: &'a Keys<K, V>,
    key: &'a K,
}

impl<K, V> Coalesced<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// `what` is read, as the metric has it.
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            keys: Keys::default(),
            joined: metrics::counter!("chirm_reads_coalesced_total", "read" => what),
        }
    }

    /// What `read` gives, or another one's that wasn't sent before this was called. Nothing of
    /// `read` may happen before it is polled.
    pub(super) async fn read<F>(&self, key: &K, read: F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        // In this order, so that the answer isn't held here any more when it is returned.
        let read = self.join(key, read);
        let caller = Caller {
            keys: &self.keys,
            key,
        };
        let answer = read.await;
        drop(caller);
        answer.unwrap_or_else(|| panic!("the read that was shared panicked"))
    }

    fn join<F>(&self, key: &K, read: F) -> Read<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut keys = lock(&self.keys);
        let under_way = keys.entry(key.clone()).or_insert(UnderWay {
            callers: 0,
            sent: None,
            waiting: None,
        });
        under_way.callers += 1;
        if let Some(waiting) = &under_way.waiting {
            self.joined.increment(1);
            return waiting.clone();
        }
        let before = under_way.sent.clone();
        let waiting = wait_and_read(self.keys.clone(), key.clone(), before, read);
        let waiting = waiting.boxed().shared();
        under_way.waiting = Some(waiting.clone());
        waiting
    }
}

async fn wait_and_read<K: Eq + Hash, V: Clone + Send + 'static>(
    keys: Keys<K, V>,
    key: K,
    before: Option<Read<V>>,
    read: impl Future<Output = V> + Send + 'static,
) -> Option<V> {
    if let Some(before) = before {
        before.await;
    }
    // From here on nobody joins. What was sent before is let go after the lock.
    let before = lock(&keys).get_mut(&key).and_then(|under_way| {
        let this = under_way.waiting.take();
        std::mem::replace(&mut under_way.sent, this)
    });
    drop(before);
    AbortOnDropHandle::new(tokio::spawn(read)).await.ok()
}

fn lock<K, V>(keys: &Keys<K, V>) -> MutexGuard<'_, HashMap<K, UnderWay<V>>> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq + Hash, V> Drop for Caller<'_, K, V> {
    fn drop(&mut self) {
        let mut keys = lock(self.keys);
        let Some(under_way) = keys.get_mut(self.key) else {
            return;
        };
        under_way.callers -= 1;
        if under_way.callers == 0 {
            let gone = keys.remove(self.key);
            // A read that nobody waits for ends here, and not under the lock.
            drop(keys);
            drop(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::panic::AssertUnwindSafe;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Semaphore;

    /// A store of one value, whose reads look at once and answer when they may.
    struct Gate {
        reads: Coalesced<u8, Result<u32, String>>,
        stored: AtomicU32,
        sent: AtomicU32,
        answers: Semaphore,
    }

    impl Gate {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                reads: Coalesced::new("test"),
                stored: AtomicU32::new(1),
                sent: AtomicU32::new(0),
                answers: Semaphore::new(0),
            })
        }

        fn ask(self: &Arc<Self>, key: u8) -> BoxFuture<'static, Result<u32, String>> {
            let (gate, store) = (self.clone(), self.clone());
            Box::pin(async move {
                let read = async move {
                    store.sent.fetch_add(1, Ordering::SeqCst);
                    let found = store.stored.load(Ordering::SeqCst);
                    store.answers.acquire().await.unwrap().forget();
                    (found < 100).then_some(found).ok_or("broken".to_owned())
                };
                gate.reads.read(&key, read).await
            })
        }

        fn sent(&self) -> u32 {
            self.sent.load(Ordering::SeqCst)
        }

        /// Polls, and waits until so many reads were sent in all.
        async fn poll_until<F: Future + Unpin>(&self, asked: &mut [F], sent: u32) {
            for asked in asked.iter_mut() {
                assert!(poll!(Pin::new(asked)).is_pending());
            }
            while self.sent() < sent {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn who_asks_while_a_read_is_sent_joins_the_next_one() {
        let gate = Gate::new();
        let mut first = [gate.ask(1)];
        gate.poll_until(&mut first, 1).await;
        let mut others: Vec<_> = (0..50).map(|_| gate.ask(1)).collect();
        gate.poll_until(&mut others, 1).await;
        // The first read looked before this.
        gate.stored.store(2, Ordering::SeqCst);
        gate.answers.add_permits(2);
        let [first] = first;
        assert_eq!(first.await, Ok(1));
        for other in futures::future::join_all(others).await {
            assert_eq!(other, Ok(2));
        }
        assert_eq!(gate.sent(), 2, "one for the first, one for all others");
        assert!(lock(&gate.reads.keys).is_empty());
    }

    #[tokio::test]
    async fn one_read_of_a_key_is_sent_at_a_time_and_other_keys_do_not_wait() {
        let gate = Gate::new();
        let mut asked = [gate.ask(1), gate.ask(2)];
        gate.poll_until(&mut asked, 2).await;
        let mut later = [gate.ask(1), gate.ask(2)];
        gate.poll_until(&mut later, 2).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.sent(), 2);
        assert_eq!(lock(&gate.reads.keys).len(), 2);
        gate.answers.add_permits(4);
        futures::future::join_all(asked.into_iter().chain(later)).await;
        assert_eq!(gate.sent(), 4);
        assert!(lock(&gate.reads.keys).is_empty());
    }

    #[tokio::test]
    async fn who_goes_away_ends_nothing_for_the_others() {
        let gate = Gate::new();
        let mut sent = vec![gate.ask(1)];
        gate.poll_until(&mut sent, 1).await;
        let mut waiting = vec![gate.ask(1), gate.ask(1)];
        gate.poll_until(&mut waiting, 1).await;
        // The one whose read it is, of what was sent and of what waits.
        sent.clear();
        drop(waiting.remove(0));
        gate.stored.store(2, Ordering::SeqCst);
        let mut later = vec![gate.ask(1)];
        gate.poll_until(&mut later, 1).await;
        gate.answers.add_permits(2);
        let answers = futures::future::join_all(waiting.into_iter().chain(later)).await;
        assert_eq!(answers, [Ok(2), Ok(2)]);
        assert_eq!(gate.sent(), 2);
        assert!(lock(&gate.reads.keys).is_empty());
    }

    #[tokio::test]
    async fn a_read_goes_on_while_who_asked_first_is_not_polled() {
        let gate = Gate::new();
        let mut first = [gate.ask(1)];
        gate.poll_until(&mut first, 1).await;
        gate.answers.add_permits(2);
        // The first one is kept, and stands still.
        assert_eq!(gate.ask(1).await, Ok(1));
        assert_eq!(gate.sent(), 2);
        drop(first);
        assert!(lock(&gate.reads.keys).is_empty());
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_is_ended() {
        let gate = Gate::new();
        let mut asked = vec![gate.ask(1)];
        gate.poll_until(&mut asked, 1).await;
        assert!(Arc::strong_count(&gate) > 1);
        asked.clear();
        assert!(lock(&gate.reads.keys).is_empty());
        while Arc::strong_count(&gate) > 1 {
            tokio::task::yield_now().await;
        }
    }

    fn fails() -> Result<u32, String> {
        panic!("on purpose")
    }

    #[tokio::test]
    async fn errors_and_panics_are_shared_and_the_next_read_is_a_new_one() {
        let gate = Gate::new();
        gate.stored.store(100, Ordering::SeqCst);
        let mut asked = vec![gate.ask(1)];
        gate.poll_until(&mut asked, 1).await;
        asked.extend([gate.ask(1), gate.ask(1)]);
        gate.answers.add_permits(2);
        for answer in futures::future::join_all(asked).await {
            assert_eq!(answer, Err("broken".to_owned()));
        }
        assert_eq!(gate.sent(), 2);
        let failing = gate.reads.read(&1, async { fails() });
        let mut failing = pin!(AssertUnwindSafe(failing).catch_unwind());
        assert!(poll!(&mut failing).is_pending());
        gate.stored.store(3, Ordering::SeqCst);
        gate.answers.add_permits(1);
        assert_eq!(
            gate.ask(1).await,
            Ok(3),
            "it waited for the one that failed"
        );
        assert!(failing.await.is_err());
        assert!(lock(&gate.reads.keys).is_empty());
    }
}
