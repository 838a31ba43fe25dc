//! Bounded caches over the store, in which nothing stale stays.

use quick_cache::sync::Cache as Bounded;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Keeps what was read until it is changed here. A read that was under way while something
/// changed is used once and not kept: it may be older than the change.
pub(super) struct Cache<K, V> {
    values: Bounded<K, V>,
    changes: Mutex<u64>,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            values: Bounded::new(capacity),
            changes: Mutex::new(0),
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
        let before = *self.lock();
        let value = read.await?;
        let changes = self.lock();
        if *changes == before {
            self.values.insert(key.clone(), value.clone());
        }
        Ok(value)
    }

    /// Forgets one.
    pub(super) fn forget(&self, key: &K) {
        let mut changes = self.lock();
        *changes += 1;
        self.values.remove(key);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        let mut changes = self.lock();
        *changes += 1;
        self.values.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_a_change_overtook_is_not_kept() {
        let cache = Cache::<u8, u8>::new(8);
        let old = cache
            .get(&1, async {
                cache.forget(&1);
                Ok::<_, ()>(1)
            })
            .await;
        assert_eq!(old, Ok(1));
        assert_eq!(cache.get(&1, async { Ok::<_, ()>(2) }).await, Ok(2));
        assert_eq!(cache.get(&1, async { Ok::<_, ()>(3) }).await, Ok(2));
        cache.clear();
        assert_eq!(cache.get(&1, async { Ok::<_, ()>(4) }).await, Ok(4));
    }
}
