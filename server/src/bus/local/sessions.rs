//! The cache of sessions, in process.

use crate::bus::{Cached, SessionCache};
use crate::hits::Hits;
use crate::model::{Id, Session, UnixMs};
use async_trait::async_trait;
use quick_cache::sync::Cache;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a good session is believed.
const VALID_MS: i64 = 25_000;
/// How long an ended one is remembered as ended.
const REVOKED_MS: i64 = 60_000;
/// Sessions remembered; beyond them the least used are read from the store again.
const SESSIONS_MAX: usize = 100_000;

#[derive(Clone)]
enum Entry {
    Valid(Arc<Session>, UnixMs),
    Revoked(UnixMs),
}

/// The cache of sessions, in process.
pub struct LocalSessions {
    cache: Cache<Id, Entry>,
    /// Held over a look and what is written because of it.
    writing: Mutex<()>,
    hits: Hits,
}

impl LocalSessions {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cache: Cache::new(SESSIONS_MAX),
            writing: Mutex::new(()),
            hits: Hits::of("sessions"),
        }
    }

    fn look(&self, id: Id, now: UnixMs) -> Cached {
        match self.cache.get(&id) {
            Some(Entry::Valid(session, at)) if now - at < VALID_MS => Cached::Valid(session),
            Some(Entry::Revoked(at)) if now - at < REVOKED_MS => Cached::Revoked,
            _ => Cached::Unknown,
        }
    }

    fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for LocalSessions {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl SessionCache for LocalSessions {
    async fn get(&self, id: Id, now: UnixMs) -> Cached {
        let cached = self.look(id, now);
        self.hits.note(!matches!(cached, Cached::Unknown));
        cached
    }

    async fn put(&self, session: Arc<Session>, now: UnixMs) {
        let id = session.id;
        let _writing = self.write();
        if !matches!(self.look(id, now), Cached::Revoked) {
            self.cache.insert(id, Entry::Valid(session, now));
        }
    }

    async fn revoke(&self, id: Id, now: UnixMs) {
        let _writing = self.write();
        self.cache.insert(id, Entry::Revoked(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::suite::sessions::session;

    #[tokio::test]
    async fn no_more_sessions_are_remembered_than_fit() {
        let sessions = LocalSessions::new();
        for id in 0..SESSIONS_MAX as Id + 20_000 {
            sessions.put(session(id), 0).await;
        }
        let kept = sessions.cache.len();
        // Each of its parts may have one more than its share.
        assert!(
            (SESSIONS_MAX / 2..=SESSIONS_MAX + 1_000).contains(&kept),
            "{kept}"
        );
    }
}
