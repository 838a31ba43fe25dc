//! Bounded caches over the store, in which nothing stale stays.

use quick_cache::sync::Cache as Bounded;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps what was read until it is changed here.
///
/// Whoever changes something says so before it writes, by [`Cache::changing`], and keeps the guard
/// until it knows how the write ended. From the one to the other, reads of those keys go to the
/// store: word of a change goes out as soon as it is committed, before the one who made it hears
/// of it, and whoever looks anew because of that word must not find what was kept before. A read
/// that a change overtook is used once and not kept.
pub(super) struct Cache<K, V> {
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
    cache: &'a Cache<K, V>,
    /// None: all of them.
    keys: Option<Vec<K>>,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            values: Bounded::new(capacity),
            changes: Mutex::new(Changes {
                count: 0,
                keys: HashMap::new(),
                all: 0,
            }),
        }
    }

    /// What is kept, or what `read` gives.
    pub(super) async fn get<E>(
        &self,
        key: &K,
        read: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        if let Some(value) = self.values.get(key) {
            return Ok(value);
        }
        let before = self.lock().count;
        let value = read.await?;
        let changes = self.lock();
        if changes.count == before && changes.all == 0 && !changes.keys.contains_key(key) {
            self.values.insert(key.clone(), value.clone());
        }
        Ok(value)
    }

    /// These change from now on until the guard is dropped.
    pub(super) fn changing(&self, keys: impl IntoIterator<Item = K>) -> Changing<'_, K, V> {
        let keys: Vec<K> = keys.into_iter().collect();
        let mut changes = self.lock();
        changes.count += 1;
        for key in &keys {
            *changes.keys.entry(key.clone()).or_default() += 1;
            self.values.remove(key);
        }
        Changing {
            cache: self,
            keys: Some(keys),
        }
    }

    /// Any of them may change from now on until the guard is dropped.
    pub(super) fn changing_all(&self) -> Changing<'_, K, V> {
        let mut changes = self.lock();
        changes.count += 1;
        changes.all += 1;
        self.values.clear();
        Changing {
            cache: self,
            keys: None,
        }
    }
}

impl<K, V> Cache<K, V> {
    fn lock(&self) -> MutexGuard<'_, Changes<K>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Drop for Changing<'_, K, V> {
    fn drop(&mut self) {
        let mut changes = self.cache.lock();
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

    async fn get(cache: &Cache<u8, u8>, key: u8, stored: u8) -> u8 {
        cache
            .get(&key, async { Ok::<_, ()>(stored) })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_was_read_is_kept() {
        let cache = Cache::new(8);
        assert_eq!(get(&cache, 1, 1).await, 1);
        assert_eq!(get(&cache, 1, 2).await, 1);
    }

    #[tokio::test]
    async fn while_something_changes_it_is_read_from_the_store() {
        let cache = Cache::new(8);
        get(&cache, 1, 1).await;
        get(&cache, 2, 1).await;
        let first = cache.changing([1]);
        let second = cache.changing([1, 1]);
        assert_eq!(get(&cache, 1, 2).await, 2);
        assert_eq!(get(&cache, 2, 2).await, 1, "another one is kept");
        drop(first);
        assert_eq!(get(&cache, 1, 3).await, 3, "the other one goes on");
        drop(second);
        assert_eq!(get(&cache, 1, 4).await, 4);
        assert_eq!(get(&cache, 1, 5).await, 4);
    }

    #[tokio::test]
    async fn while_all_may_change_all_is_read_from_the_store() {
        let cache = Cache::new(8);
        get(&cache, 1, 1).await;
        let all = cache.changing_all();
        assert_eq!(get(&cache, 1, 2).await, 2);
        assert_eq!(get(&cache, 1, 3).await, 3);
        drop(all);
        assert_eq!(get(&cache, 1, 4).await, 4);
        assert_eq!(get(&cache, 1, 5).await, 4);
    }

    #[tokio::test]
    async fn a_read_that_a_change_overtook_is_not_kept() {
        let cache = Cache::<u8, u8>::new(8);
        // It began before the change, and ends before it ends, or after it.
        for _ in 0..2 {
            let mut change = None;
            let old = cache.get(&1, async {
                change = Some(cache.changing([1]));
                Ok::<_, ()>(1)
            });
            assert_eq!(old.await, Ok(1));
            assert_eq!(get(&cache, 1, 2).await, 2);
            drop(change);
            let old = cache.get(&1, async {
                drop(cache.changing([1]));
                Ok::<_, ()>(1)
            });
            assert_eq!(old.await, Ok(1));
        }
        // It began during the change, and ends after it.
        let change = cache.changing([1]);
        let old = cache.get(&1, async {
            drop(change);
            Ok::<_, ()>(1)
        });
        assert_eq!(old.await, Ok(1));
        assert_eq!(get(&cache, 1, 3).await, 3);
    }
}
