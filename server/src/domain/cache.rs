//! Bounded caches over the store, in which nothing stale stays.

use super::Error;
use super::coalesced::Coalesced;
use crate::hits::Hits;
use quick_cache::sync::Cache as Bounded;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps what was read until it is changed here.
///
/// Whoever changes something says so before it writes, by [`Cache::changing`], and keeps the guard
/// until it knows how the write ended. From the one to the other, reads of those keys go to the
/// store: word of a change goes out as soon as it is committed, before the one who made it hears
/// of it, and whoever looks anew because of that word must not find what was kept before. A read
/// that a change overtook is used once and not kept.
///
/// Those who miss the same at once share a read, as [`Coalesced`] has it.
pub(super) struct Cache<K, V, E = Error> {
    name: &'static str,
    kept: Arc<Kept<K, V>>,
    reads: Coalesced<K, Result<V, E>>,
    hits: Hits,
}

struct Kept<K, V> {
    values: Bounded<K, V>,
    changes: Mutex<Changes<K>>,
}

struct Changes<K> {
    /// Rises when a change begins and when it ends.
    count: u64,
    /// How many changes of a key are under way.
    keys: HashMap<K, usize>,
    /// How many changes of unknown keys are under way.
    all: usize,
}

/// A change that is under way. It is over when this is dropped.
#[must_use]
pub(super) struct Changing<'a, K: Eq + Hash, V> {
    kept: &'a Kept<K, V>,
    /// None: all of them.
    keys: Option<Vec<K>>,
}

impl<K, V, E> Cache<K, V, E>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// `name` is the metrics' own; at most `capacity` are kept, of which those that are read least
    /// go first.
    pub(super) fn new(name: &'static str, capacity: usize) -> Self {
        let changes = Changes {
            count: 0,
            keys: HashMap::new(),
            all: 0,
        };
        Self {
            name,
            kept: Arc::new(Kept {
                values: Bounded::new(capacity),
                changes: Mutex::new(changes),
            }),
            reads: Coalesced::new(name),
            hits: Hits::of(name),
        }
    }

    /// What is kept, or what the future of `read` gives.
    pub(super) async fn get<F>(&self, key: &K, read: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let found = self.kept.values.get(key);
        self.hits.note(found.is_some());
        if let Some(value) = found {
            return Ok(value);
        }
        let (kept, of, read) = (self.kept.clone(), key.clone(), read());
        let read = async move {
            // Who waited for another read may find what that one kept.
            if let Some(value) = kept.values.get(&of) {
                return Ok(value);
            }
            let before = kept.lock().count;
            let value = read.await?;
            kept.keep(of, &value, before);
            Ok(value)
        };
        self.reads.read(key, read).await
    }

    /// These change from now on until the guard is dropped.
    pub(super) fn changing(&self, keys: impl IntoIterator<Item = K>) -> Changing<'_, K, V> {
        let keys: Vec<K> = keys.into_iter().collect();
        let mut changes = self.kept.lock();
        changes.count += 1;
        for key in &keys {
            *changes.keys.entry(key.clone()).or_default() += 1;
            self.kept.values.remove(key);
        }
        Changing {
            kept: &self.kept,
            keys: Some(keys),
        }
    }

    /// Any of them may change from now on until the guard is dropped.
    pub(super) fn changing_all(&self) -> Changing<'_, K, V> {
        let mut changes = self.kept.lock();
        changes.count += 1;
        changes.all += 1;
        self.kept.values.clear();
        Changing {
            kept: &self.kept,
            keys: None,
        }
    }

    /// Tells the metrics how many are kept.
    pub(super) fn count(&self) {
        let entries = self.kept.values.len();
        metrics::gauge!("chirm_cache_entries", "cache" => self.name).set(entries as f64);
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// Keeps what was read, unless something changed since `before`.
    fn keep(&self, key: K, value: &V, before: u64) {
        let changes = self.lock();
        if changes.count == before && changes.all == 0 && !changes.keys.contains_key(&key) {
            self.values.insert(key, value.clone());
        }
    }
}

impl<K, V> Kept<K, V> {
    fn lock(&self) -> MutexGuard<'_, Changes<K>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Drop for Changing<'_, K, V> {
    fn drop(&mut self) {
        let mut changes = self.kept.lock();
        changes.count += 1;
        let Some(keys) = &self.keys else {
            changes.all -= 1;
            return;
        };
        for key in keys {
            if let Some(under_way) = changes.keys.get_mut(key) {
                *under_way -= 1;
                if *under_way == 0 {
                    changes.keys.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Semaphore;

    type Small = Cache<u8, u8, ()>;

    /// One that reads, which have their own tasks, can hold.
    fn small() -> &'static Small {
        Box::leak(Box::new(Cache::new("test", 8)))
    }

    async fn get(cache: &Small, key: u8, stored: u8) -> u8 {
        cache
            .get(&key, move || async move { Ok(stored) })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_was_read_is_kept() {
        let cache = small();
        assert_eq!(get(cache, 1, 1).await, 1);
        assert_eq!(get(cache, 1, 2).await, 1);
    }

    #[tokio::test]
    async fn while_something_changes_it_is_read_from_the_store() {
        let cache = small();
        get(cache, 1, 1).await;
        get(cache, 2, 1).await;
        let first = cache.changing([1]);
        let second = cache.changing([1, 1]);
        assert_eq!(get(cache, 1, 2).await, 2);
        assert_eq!(get(cache, 2, 2).await, 1, "another one is kept");
        drop(first);
        assert_eq!(get(cache, 1, 3).await, 3, "the other one goes on");
        drop(second);
        assert_eq!(get(cache, 1, 4).await, 4);
        assert_eq!(get(cache, 1, 5).await, 4);
    }

    #[tokio::test]
    async fn while_all_may_change_all_is_read_from_the_store() {
        let cache = small();
        get(cache, 1, 1).await;
        let all = cache.changing_all();
        assert_eq!(get(cache, 1, 2).await, 2);
        assert_eq!(get(cache, 1, 3).await, 3);
        drop(all);
        assert_eq!(get(cache, 1, 4).await, 4);
        assert_eq!(get(cache, 1, 5).await, 4);
    }

    #[tokio::test]
    async fn a_read_that_a_change_overtook_is_not_kept() {
        let cache = small();
        // It began before the change, and ends before it ends, or after it.
        for _ in 0..2 {
            let change = Arc::new(Mutex::new(None));
            let begun = change.clone();
            let old = cache.get(&1, move || async move {
                *begun.lock().unwrap() = Some(cache.changing([1]));
                Ok(1)
            });
            assert_eq!(old.await, Ok(1));
            assert_eq!(get(cache, 1, 2).await, 2);
            drop(change);
            let old = cache.get(&1, move || async move {
                drop(cache.changing([1]));
                Ok(1)
            });
            assert_eq!(old.await, Ok(1));
        }
        // It began during the change, and ends after it.
        let change = cache.changing([1]);
        let old = cache.get(&1, move || async move {
            drop(change);
            Ok(1)
        });
        assert_eq!(old.await, Ok(1));
        assert_eq!(get(cache, 1, 3).await, 3);
    }

    #[tokio::test]
    async fn no_more_are_kept_than_fit() {
        const CAPACITY: usize = 64;
        let cache: Cache<u32, u32, ()> = Cache::new("test", CAPACITY);
        for key in 0..10_000 {
            let kept = cache.get(&key, move || async move { Ok(key) }).await;
            assert_eq!(kept, Ok(key));
            // Each of its parts may have one more than its share.
            assert!(cache.kept.values.len() <= 2 * CAPACITY);
        }
        assert!(cache.kept.values.len() > CAPACITY / 2, "it is used");
        drop(cache.changing(0..10_000));
        assert_eq!(cache.kept.values.len(), 0);
        assert!(cache.kept.lock().keys.is_empty());
    }

    #[tokio::test]
    async fn those_who_miss_the_same_at_once_read_once() {
        let cache = small();
        let reads = Arc::new(AtomicU32::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let asked: Vec<_> = (0..20)
            .map(|_| {
                let (reads, gate) = (reads.clone(), gate.clone());
                tokio::spawn(cache.get(&1, move || async move {
                    reads.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.map_err(drop)?.forget();
                    Ok(7)
                }))
            })
            .collect();
        while reads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        for asked in asked {
            assert_eq!(asked.await.unwrap(), Ok(7));
        }
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn who_asks_after_a_change_does_not_share_an_older_read() {
        let cache = small();
        let (sent, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (looked, answer) = (sent.clone(), gate.clone());
        let old = tokio::spawn(cache.get(&1, move || async move {
            looked.add_permits(1);
            answer.acquire().await.map_err(drop)?.forget();
            Ok(1)
        }));
        sent.acquire().await.unwrap().forget();
        let change = cache.changing([1]);
        let new = tokio::spawn(cache.get(&1, || async { Ok(2) }));
        tokio::task::yield_now().await;
        gate.add_permits(1);
        assert_eq!(old.await.unwrap(), Ok(1));
        assert_eq!(new.await.unwrap(), Ok(2));
        drop(change);
        assert_eq!(get(cache, 1, 3).await, 3, "neither was kept");
    }
}
