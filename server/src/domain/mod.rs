//! The use cases, one file a noun: who may do what, and what it does to stores, topics and caches.
//!
//! - [`permissions`]: the one rule of who may do what.
//! - `access`: callers, and what they may see.
//! - `sessions`, `tokens`: who calls.
//! - `auth`, `passwords`, `jwt`: signing in; `accounts`; `programs`: bots and service keys.
//! - `servers`, `members`, `crowds` (many at once), `invites`, `channels`, `users`: the nouns.
//! - `settings`: what users set for themselves. `read_states`: what they have read.
//! - `presence`: who is here, and who may know.
//! - `send`, `messages`: the send path; history, edits, deletes. `mentions`: whom they mention.
//! - `reactions`, `pins`, and `marks`: what stands on messages, and how it is written.
//! - `webhooks`: who outside is told of what.
//! - `turns`: in which order. `nonces`: what repeats what.
//! - `hook`: a service that reviews messages before they are accepted.
//! - `audit`, `time_outs`, `slow_mode`, `bulk`, `reports`: moderation.
//! - `throttle`: how fast. `pages`: how much at once.
//! - `cache`: what is remembered of the store. `coalesced`: reads that many share.
//!
//! Every change here runs to its end once it has begun (`Domain::complete`), and marks what the
//! caches hold of it as changing before it writes, so that who lost a right is refused from the
//! commit on.

mod access;
mod accounts;
mod audit;
mod auth;
mod bulk;
mod cache;
mod channels;
mod coalesced;
mod crowds;
mod error;
mod fates;
mod hook;
mod invites;
mod jwt;
mod marks;
mod members;
mod mentions;
mod messages;
mod nonces;
mod pages;
mod passwords;
pub mod permissions;
mod pins;
mod places;
mod presence;
mod programs;
mod reactions;
mod read_states;
mod reports;
mod send;
mod servers;
mod sessions;
mod settings;
mod slow_mode;
mod sweeper;
mod throttle;
mod time_outs;
mod tokens;
mod turns;
mod users;
mod webhooks;

#[cfg(test)]
mod tests;

pub use access::Visible;
pub use auth::{Register, SignedIn, Subject, Tokens};
pub use bulk::{BulkDelete, Selection};
pub use channels::{ChannelChanges, NewChannel};
pub use crowds::NewMember;
pub(crate) use error::RETRY_SOON;
pub use error::{Code, Error, Field, Reason};
pub use invites::NewInvite;
pub use messages::CustomEvent;
pub use pages::Listed;
pub use permissions::Action;
pub use programs::NewKey;
pub use reactions::OnMessage;
pub use read_states::UnreadPage;
pub use reports::NewReport;
pub use send::{Accepted, DEADLINE, SendMessage};
pub use servers::{NewServer, ServerChanges};
pub use sessions::Caller;
pub use settings::SettingsChanges;
pub use users::ProfileChanges;
pub use webhooks::{NewWebhook, Online, WebhookChanges};

use crate::bus;
use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::model::{Channel, Id, Role, Session, UnixMs, UserSettings};
use crate::store::{self, NewEvent};
use crate::traces::Traces;
use cache::Cache;
use coalesced::Coalesced;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};

/// Entries of the caches of channels and of users each.
const CACHE_ENTRIES: usize = 50_000;
/// Changes of one server, channel or user wait for each other; these many don't share a queue.
const STRIPES: usize = 64;
/// The same for members who come and go: after a restart thousands do at once.
const MEMBER_STRIPES: usize = 4_096;
/// Ids this far ahead of the clock are told of: a burst takes them some milliseconds ahead.
const AHEAD_MS: i64 = 2_000;
/// Messages whose fate the store couldn't tell, followed up at once.
const FOLLOW_UPS_MAX: usize = 1_024;
/// Messages whose mentions are told at once.
const MENTIONS_MAX: usize = 64;
/// Banned users whose messages are deleted at once.
const SWEEPS_MAX: usize = 4;

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
    channels: Cache<Id, Arc<Channel>, Option<Error>>,
    server_channels: Cache<Id, Channels>,
    direct_channels: Cache<Id, Channels>,
    roles: Cache<Id, Roles>,
    blocks: Cache<(Id, Id), bool>,
    time_outs: Cache<Id, time_outs::TimeOuts>,
    slow_mode: slow_mode::SlowMode,
    settings: Cache<Id, UserSettings>,
    page_reads: messages::PageReads,
    message_reads: messages::MessageReads,
    session_reads: Coalesced<Id, Result<Option<Arc<Session>>, store::Error>>,
    throttle: throttle::Throttle,
    passwords: passwords::Passwords,
    jwt: Arc<jwt::Verifier>,
    seen: sessions::Seen,
    locks: [RwLock<()>; STRIPES],
    members: Box<[Mutex<()>]>,
    turns: turns::Turns,
    follow_ups: Arc<Semaphore>,
    mentions: Arc<Semaphore>,
    sweeps: Arc<Semaphore>,
    pre_send: OnceLock<hook::Hook>,
    traces: OnceLock<Traces>,
    own_sends: read_states::OwnSends,
    flushing: Mutex<()>,
    ids_ahead: AtomicBool,
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
            channels: Cache::new("channels", CACHE_ENTRIES),
            server_channels: Cache::new("server_channels", CACHE_ENTRIES / 10),
            direct_channels: Cache::new("direct_channels", CACHE_ENTRIES),
            roles: Cache::new("roles", CACHE_ENTRIES),
            blocks: Cache::new("blocks", CACHE_ENTRIES),
            time_outs: Cache::new("time_outs", CACHE_ENTRIES),
            slow_mode: slow_mode::SlowMode::default(),
            settings: Cache::new("settings", CACHE_ENTRIES),
            page_reads: Coalesced::new("page"),
            message_reads: Coalesced::new("message"),
            session_reads: Coalesced::new("session"),
            seen: sessions::Seen::default(),
            locks: std::array::from_fn(|_| RwLock::new(())),
            members: (0..MEMBER_STRIPES).map(|_| Mutex::new(())).collect(),
            turns: turns::Turns::new(),
            follow_ups: Arc::new(Semaphore::new(FOLLOW_UPS_MAX)),
            mentions: Arc::new(Semaphore::new(MENTIONS_MAX)),
            sweeps: Arc::new(Semaphore::new(SWEEPS_MAX)),
            pre_send: OnceLock::new(),
            traces: OnceLock::new(),
            own_sends: read_states::OwnSends::default(),
            flushing: Mutex::new(()),
            ids_ahead: AtomicBool::new(false),
        })
    }

    /// What has to be done now and then: call it each minute.
    pub async fn upkeep(&self) {
        self.throttle.forget_idle();
        self.count_cached();
        self.watch_ids();
        if let Err(error) = self.bus.topics.trim().await {
            tracing::warn!(%error, "old events couldn't be forgotten");
        }
        self.flush_seen().await;
        if let Err(error) = self.store.trim(self.now()).await {
            tracing::warn!(%error, "old rows couldn't be removed");
        }
        let kept_from = self.audit_kept_from();
        if let Err(error) = self.store.trim_moderation(self.now(), kept_from).await {
            tracing::warn!(%error, "old entries of audit logs couldn't be removed");
        }
    }

    /// Says loudly when ids are ahead of the clock, and when it has caught up.
    fn watch_ids(&self) {
        let ahead_ms = self.bus.reservations.ahead_ms();
        metrics::gauge!("chirm_ids_ahead_seconds").set(ahead_ms as f64 / 1_000.0);
        let ahead = ahead_ms > AHEAD_MS;
        if ahead != self.ids_ahead.swap(ahead, Ordering::Relaxed) {
            if ahead {
                tracing::error!(
                    ahead_s = ahead_ms / 1_000,
                    "ids are ahead of the clock: it is wrong now, or was when they were made; \
                     until it has caught up, what is made shows a time that is too late"
                );
            } else {
                tracing::info!("the clock has caught up with the ids");
            }
        }
    }

    /// Records traces of sends from now on. Only the first call counts.
    pub fn trace_to(&self, traces: Traces) {
        let _ = self.traces.set(traces);
    }

    /// Where traces are recorded.
    #[must_use]
    pub fn traces(&self) -> Traces {
        self.traces.get().cloned().unwrap_or_default()
    }

    /// Time, as this node has it.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn count_cached(&self) {
        self.channels.count();
        self.server_channels.count();
        self.direct_channels.count();
        self.roles.count();
        self.blocks.count();
        self.time_outs.count();
        self.settings.count();
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

    /// A stored bound of the caller's: higher where the caller is favoured.
    fn favoured(&self, caller: &Caller, limit: u32) -> u32 {
        let factor = if caller.is_favoured() {
            self.limits().service_factor
        } else {
            1
        };
        self.bound(limit.saturating_mul(factor))
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
        (server, self.hold_user(user).await)
    }

    /// Runs a change to its end, whether or not who asked for it waits: the locks that it holds,
    /// what it marked as changing and what it still has to tell hang on that.
    async fn complete<T, W>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>) -> W,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let ended = tokio::spawn(change(self.clone())).await;
        ended.unwrap_or_else(|failed| {
            tracing::error!(%failed, "a task failed");
            Err(Error::new(
                Reason::Internal,
                "The server failed; its log has the cause.",
            ))
        })
    }

    /// As [`Domain::complete`]; who asked hears at the deadline that the outcome is unknown.
    async fn complete_in_time<T, W>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>) -> W,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let ended = tokio::time::timeout(DEADLINE, self.complete(change)).await;
        ended.unwrap_or_else(|_| Err(Error::too_late()))
    }

    /// Waits for changes of a user's own memberships.
    async fn hold_user(&self, user: Id) -> MutexGuard<'_, ()> {
        self.members[stripe(user, MEMBER_STRIPES)].lock().await
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
