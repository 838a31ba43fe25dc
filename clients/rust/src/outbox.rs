//! Where sends wait until the server has answered them.

use crate::error::{Advice, Error};
use async_trait::async_trait;
use chirm_proto::v1;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tonic::Code;

/// Most sends that [`MemoryOutbox`] keeps by default.
const ENTRIES_MAX: usize = 1024;

/// A send that has no answer yet.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// The message's nonce: the entry's key.
    pub nonce: String,
    /// The request, as first sent. Its `attempt` is counted by the client.
    pub request: v1::SendMessageRequest,
}

/// Keeps sends that have no answer yet. With a durable store a message survives its program: the
/// next one that starts with the same store sends it, as a repeat, under the same nonce.
#[async_trait]
pub trait OutboxStore: Send + Sync + 'static {
    /// Keeps an entry, or replaces the one with its nonce. A durable store has it on disk before
    /// it answers. Refuses when full: an outbox is bounded.
    async fn put(&self, entry: &OutboxEntry) -> Result<(), Error>;
    /// Forgets an entry: it was answered. Absent entries are no error. The connection waits for
    /// this, so it must be quick.
    async fn remove(&self, nonce: &str) -> Result<(), Error>;
    /// All entries, oldest first. Called once, when a client starts.
    async fn load(&self) -> Result<Vec<OutboxEntry>, Error>;
}

#[derive(Debug, Default)]
struct Entries {
    by_nonce: HashMap<String, (u64, OutboxEntry)>,
    next: u64,
}

/// Keeps sends as long as the program runs.
#[derive(Debug)]
pub struct MemoryOutbox {
    entries: Mutex<Entries>,
    entries_max: usize,
}

impl MemoryOutbox {
    /// An outbox of at most so many entries.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: Mutex::default(),
            entries_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryOutbox {
    fn default() -> Self {
        Self::new(ENTRIES_MAX)
    }
}

#[async_trait]
impl OutboxStore for MemoryOutbox {
    async fn put(&self, entry: &OutboxEntry) -> Result<(), Error> {
        let mut entries = self.lock();
        let (count, known) = (entries.by_nonce.len(), entries.by_nonce.get(&entry.nonce));
        if known.is_none() && count >= self.entries_max {
            let text = format!("{count} messages wait to be sent");
            return Err(Error::local(
                Code::ResourceExhausted,
                "OUTBOX_FULL",
                text,
                Advice::Retry,
            ));
        }
        let order = known.map_or(entries.next, |(order, _)| *order);
        entries.next += 1;
        entries
            .by_nonce
            .insert(entry.nonce.clone(), (order, entry.clone()));
        Ok(())
    }

    async fn remove(&self, nonce: &str) -> Result<(), Error> {
        self.lock().by_nonce.remove(nonce);
        Ok(())
    }

    async fn load(&self) -> Result<Vec<OutboxEntry>, Error> {
        let mut entries: Vec<_> = self.lock().by_nonce.values().cloned().collect();
        entries.sort_by_key(|(order, _)| *order);
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }
}
