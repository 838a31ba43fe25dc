//! Messages in a CQL server (ScyllaDB or Cassandra). Nothing outside of this folder knows CQL.
//!
//! Each write names its time: that of its id or revision, so that one which comes late or twice
//! undoes nothing newer. What is written to a channel is queued (`writer`) and written in order,
//! many at once; different channels don't wait for each other. Reads walk along buckets (`buckets`,
//! `pages`). There is no transaction over this and Postgres; [`Ties`] is what the two have to do
//! with each other.

mod buckets;
mod changes;
#[cfg(test)]
mod faults;
mod hot;
mod insert;
mod moving;
mod nonces;
mod pages;
mod rows;
mod scan;
mod session;
mod settings;
mod statements;
#[cfg(test)]
mod tests;
mod walk;
#[cfg(test)]
mod width_tests;
mod widths;
mod writer;

pub use changes::Changed;
pub use scan::Wrote;
pub use settings::{CqlSettings, Replication};
pub use widths::{Plans, Widths};

use super::Error;
use crate::clock::Clock;
use crate::model::{Id, Message, UnixMs, id_time_ms};
use async_trait::async_trait;
use buckets::Noted;
use hot::Heat;
use session::Link;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;
use writer::Queues;

/// What messages have to do with the rest of the store.
#[async_trait]
pub trait Ties: Send + Sync + 'static {
    /// The server of a channel, 0 for a direct one; None if there is no such channel (any more).
    async fn server_of(&self, channel: Id) -> Result<Option<Id>, Error>;
    /// Remembers, before a message is written, that ids up to this one were used. Answers up to
    /// which id it needn't be told again.
    async fn raise(&self, id: Id) -> Result<Id, Error>;
    /// Does what belongs to messages of a channel that are new and stored, in their order. They are
    /// acknowledged after it.
    async fn inserted(&self, messages: &[Message]) -> Result<(), Error>;
}

/// Messages. A handle: clones share everything.
#[derive(Clone)]
pub struct Cql {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    keys: Keys,
    clock: Arc<dyn Clock>,
    ties: OnceLock<Arc<dyn Ties>>,
    plans: OnceLock<Arc<dyn Plans>>,
    queues: Queues,
    noted: Noted,
    widths: widths::Known,
    heat: Heat,
    /// Up to which id `Ties::raise` needn't be told again, and who is telling it.
    raised: AtomicI64,
    raising: Mutex<()>,
}

/// Ids of channels and authors in keys: moved by the salt, in the same order.
#[derive(Clone, Copy, Debug)]
struct Keys(i64);

impl Keys {
    fn key(self, id: Id) -> i64 {
        id.wrapping_add(self.0)
    }

    fn id_of(self, key: i64) -> Id {
        key.wrapping_sub(self.0)
    }
}

impl Cql {
    /// Connects, and makes keyspace and tables where they are missing. It reads and takes messages
    /// once it has its [`Cql::plan`], and takes them once it has its [`Cql::tie`].
    ///
    /// # Errors
    /// `Unavailable`, naming the address, if the servers can't be reached within some 15 s;
    /// `Unusable` if the settings make no sense or the schema is newer than this program.
    pub async fn open(settings: &CqlSettings, clock: Arc<dyn Clock>) -> Result<Cql, Error> {
        let inner = Inner {
            link: Link::open(settings).await?,
            keys: Keys(settings.salt),
            clock,
            ties: OnceLock::new(),
            plans: OnceLock::new(),
            queues: Queues::default(),
            noted: Noted::default(),
            widths: widths::Known::default(),
            heat: Heat::default(),
            raised: AtomicI64::new(0),
            raising: Mutex::default(),
        };
        Ok(Cql {
            inner: Arc::new(inner),
        })
    }

    /// Ties it to the rest of the store, once.
    pub fn tie(&self, ties: Arc<dyn Ties>) {
        // The first stays: there is one store.
        let _ = self.inner.ties.set(ties);
    }

    /// Tells it, once, who keeps the widths of buckets.
    pub fn plan(&self, plans: Arc<dyn Plans>) {
        // The first stays: there is one store.
        let _ = self.inner.plans.set(plans);
    }

    fn plans(&self) -> Result<&Arc<dyn Plans>, Error> {
        let untied = || Error::Unavailable("nobody keeps the widths of buckets".into());
        self.inner.plans.get().ok_or_else(untied)
    }

    fn ties(&self) -> Result<&Arc<dyn Ties>, Error> {
        let untied = || Error::Unavailable("the store of messages isn't tied to the others".into());
        self.inner.ties.get().ok_or_else(untied)
    }

    /// Forgets that a channel is there: whoever deletes it calls this, so that the next insertion
    /// asks.
    pub fn forget(&self, channel: Id) {
        self.inner.noted.forget(channel);
        self.inner.widths.forget(channel);
    }

    /// Fails if the servers don't answer.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn check(&self) -> Result<(), Error> {
        self.buckets(0, true, 0, 1).await.map(drop)
    }

    fn link(&self) -> &Link {
        &self.inner.link
    }

    fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    fn now_us(&self) -> i64 {
        self.inner.clock.wall_ms().saturating_mul(1_000)
    }
}

/// The time of a write: the Unix microseconds of its id or revision. The raw number would lie far
/// ahead, which servers refuse.
fn stamp(id: Id) -> i64 {
    const LOW: i64 = (1 << 22) - 1;
    let ms: UnixMs = id_time_ms(id.max(0));
    ms * 1_000 + (((id.max(0) & LOW) * 1_000) >> 22)
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::model::SNOWFLAKE_EPOCH_MS;

    #[test]
    fn a_stamp_is_the_time_of_an_id_in_its_order() {
        assert_eq!(stamp(0), SNOWFLAKE_EPOCH_MS * 1_000);
        assert_eq!(stamp(5 << 22), (SNOWFLAKE_EPOCH_MS + 5) * 1_000);
        assert_eq!(stamp((6 << 22) - 1), (SNOWFLAKE_EPOCH_MS + 5) * 1_000 + 999);
        assert!(stamp(Id::MAX) > 0);
    }
}
