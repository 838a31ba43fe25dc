//! The use cases, one file a noun: who may do what, and what it does to stores, topics and caches.
//!
//! - [`permissions`]: the one rule of who may do what.
//! - `access`: callers, and what they may see.
//! - `sessions`, `tokens`: who calls.
//! - `auth`, `passwords`, `jwt`: signing in; `accounts`: accounts, bots, service keys.
//! - `servers`, `members`, `invites`, `channels`, `users`: the nouns.
//! - `send`, `messages`: the send path; history, edits, deletes.
//! - `turns`: in which order.
//! - `throttle`: how fast.
//! - `cache`: what is remembered of the store.
//!
//! Every change here forgets what the caches hold of it after its commit and before its answer, so
//! that who lost a right is refused from then on.

mod access;
mod accounts;
mod auth;
mod cache;
mod channels;
mod error;
mod invites;
mod jwt;
mod members;
mod messages;
mod passwords;
pub mod permissions;
mod send;
mod servers;
mod sessions;
mod throttle;
mod tokens;
mod turns;
mod users;

#[cfg(test)]
mod tests;

pub use access::Visible;
pub use accounts::NewKey;
pub use auth::{Register, SignedIn, Subject, Tokens};
pub use channels::{ChannelChanges, NewChannel};
pub use error::{Code, Error, Field, Reason};
pub use messages::CustomEvent;
pub use permissions::Action;
pub use send::{Accepted, DEADLINE, SendMessage};
pub use servers::{NewServer, ServerChanges};
pub use sessions::Caller;
pub use users::ProfileChanges;

use crate::bus;
use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::model::{Channel, Id, Role, UnixMs};
use crate::store::{self, NewEvent};
use cache::Cache;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};

/// Entries of the caches of channels and of users each.
const CACHE_ENTRIES: usize = 50_000;
/// Changes of one server, channel or user wait for each other; these many don't share a queue.
const STRIPES: usize = 64;
/// The same for members who come and go: after a restart thousands do at once.
const MEMBER_STRIPES: usize = 4_096;
/// Messages whose fate the store couldn't tell, followed up at once.
const FOLLOW_UPS_MAX: usize = 1_024;

/// The roles of a user in its servers.
type Roles = Arc<BTreeMap<Id, Role>>;
/// Channels in the order of their ranks.
type Channels = Arc<Vec<Arc<Channel>>>;

/// All use cases, over one store and one bus.
pub struct Domain {
    store: store::Handle,
    bus: bus::Handle,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    channels: Cache<Id, Arc<Channel>>,
    server_channels: Cache<Id, Channels>,
    direct_channels: Cache<Id, Channels>,
    roles: Cache<Id, Roles>,
    blocks: Cache<(Id, Id), bool>,
    throttle: throttle::Throttle,
    passwords: passwords::Passwords,
    jwt: Arc<jwt::Verifier>,
    seen: sessions::Seen,
    locks: [RwLock<()>; STRIPES],
    members: Box<[Mutex<()>]>,
    turns: turns::Turns,
    follow_ups: Arc<Semaphore>,
}

impl Domain {
    /// The use cases over a store and a bus. Nothing runs until it is called.
    #[must_use]
    pub fn new(
        store: store::Handle,
        bus: bus::Handle,
        config: Arc<Config>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            bus,
            throttle: throttle::Throttle::new(&config.limits),
            passwords: passwords::Passwords::new(),
            jwt: Arc::new(jwt::Verifier::new(config.auth.jwt.clone())),
            config,
            clock,
            channels: Cache::new(CACHE_ENTRIES),
            server_channels: Cache::new(CACHE_ENTRIES / 10),
            direct_channels: Cache::new(CACHE_ENTRIES),
            roles: Cache::new(CACHE_ENTRIES),
            blocks: Cache::new(CACHE_ENTRIES),
            seen: sessions::Seen::default(),
            locks: std::array::from_fn(|_| RwLock::new(())),
            members: (0..MEMBER_STRIPES).map(|_| Mutex::new(())).collect(),
            turns: turns::Turns::new(),
            follow_ups: Arc::new(Semaphore::new(FOLLOW_UPS_MAX)),
        })
    }

    /// What has to be done now and then: call it each minute.
    pub async fn upkeep(&self) {
        self.throttle.forget_idle();
        self.flush_seen().await;
        if let Err(error) = self.store.trim(self.now()).await {
            tracing::warn!(%error, "old rows couldn't be removed");
        }
    }

    fn now(&self) -> UnixMs {
        self.clock.wall_ms()
    }

    fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// A stored bound, or none where limits are off.
    fn bound(&self, limit: u32) -> u32 {
        if self.limits().enabled {
            limit
        } else {
            u32::MAX
        }
    }

    /// A new Snowflake.
    fn mint(&self) -> Result<Id, Error> {
        Ok(self.bus.reservations.mint(0)?)
    }

    /// Waits for other changes of the same thing: reading, changing and writing it is one step.
    async fn hold(&self, id: Id) -> RwLockWriteGuard<'_, ()> {
        self.locks[stripe(id, STRIPES)].write().await
    }

    /// Waits for changes of a server, and of this one member of it, but not for other members who
    /// come and go: each of those waits for a commit, and one after the other they would take a
    /// server's whole crowd minutes.
    async fn hold_member(
        &self,
        server: Id,
        user: Id,
    ) -> (RwLockReadGuard<'_, ()>, MutexGuard<'_, ()>) {
        // Always in this order.
        let server = self.locks[stripe(server, STRIPES)].read().await;
        (
            server,
            self.members[stripe(user, MEMBER_STRIPES)].lock().await,
        )
    }

    /// Numbers and publishes events of servers' and users' topics that belong to no other change.
    async fn append(&self, events: Vec<NewEvent>) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        Ok(self.store.append(events).await?)
    }
}

/// Where an id's lock is: the upper bits are the time, the lower ones the worker and a count.
fn stripe(id: Id, stripes: usize) -> usize {
    (id ^ (id >> 22)).unsigned_abs() as usize % stripes
}
