//! The cache of sessions in Redis. What can't be reached knows nothing: then the store is asked.

use super::connection::Call;
use super::topics::Shared;
use crate::bus::{Cached, SessionCache};
use crate::hits::Hits;
use crate::model::{Id, Session, SessionKind, UnixMs};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a good session is believed.
const VALID_MS: i64 = 25_000;
/// How long an ended one is remembered as ended.
const REVOKED_MS: i64 = 60_000;
/// An answer that takes longer isn't waited for: the store has it, too.
const WITHIN: Duration = Duration::from_millis(500);

/// The cache of sessions over Redis.
pub struct RedisSessions {
    shared: Arc<Shared>,
    hits: Hits,
}

/// A session as Redis has it, with the time when it was good.
#[derive(Serialize, Deserialize)]
struct Stored {
    at: UnixMs,
    user: Id,
    kind: i32,
    name: String,
    /// Of access token, refresh family, refresh token and the one before.
    hashes: [[u8; 32]; 4],
    access_expires_at: UnixMs,
    refresh_expires_at: UnixMs,
    refreshed_at: UnixMs,
    created_at: UnixMs,
    last_seen_at: UnixMs,
}

impl Stored {
    fn new(session: &Session, at: UnixMs) -> Self {
        Self {
            at,
            user: session.user_id,
            kind: session.kind as i32,
            name: session.name.clone(),
            hashes: [
                session.access_hash,
                session.refresh_family_hash,
                session.refresh_hash,
                session.previous_refresh_hash,
            ],
            access_expires_at: session.access_expires_at,
            refresh_expires_at: session.refresh_expires_at,
            refreshed_at: session.refreshed_at,
            created_at: session.created_at,
            last_seen_at: session.last_seen_at,
        }
    }

    fn session(self, id: Id) -> Option<Session> {
        let [
            access_hash,
            refresh_family_hash,
            refresh_hash,
            previous_refresh_hash,
        ] = self.hashes;
        Some(Session {
            id,
            user_id: self.user,
            kind: SessionKind::from_i32(self.kind)?,
            name: self.name,
            access_hash,
            access_expires_at: self.access_expires_at,
            refresh_family_hash,
            refresh_hash,
            refresh_expires_at: self.refresh_expires_at,
            previous_refresh_hash,
            refreshed_at: self.refreshed_at,
            created_at: self.created_at,
            last_seen_at: self.last_seen_at,
        })
    }
}

/// What is known by what Redis has.
fn read(id: Id, value: &str, now: UnixMs) -> Option<Cached> {
    if let Some(at) = value.strip_prefix('R') {
        let at: UnixMs = at.parse().ok()?;
        return (now - at < REVOKED_MS).then_some(Cached::Revoked);
    }
    let stored: Stored = serde_json::from_str(value).ok()?;
    if now - stored.at >= VALID_MS {
        return None;
    }
    stored
        .session(id)
        .map(|session| Cached::Valid(Arc::new(session)))
}

impl RedisSessions {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let hits = Hits::of("sessions");
        Self { shared, hits }
    }

    async fn value(&self, id: Id) -> Option<String> {
        let mut connection = self.shared.servers.connection(id)?;
        let mut get = redis::cmd("GET");
        get.arg(self.shared.keys.session(id));
        let asked = get.query_async::<Option<String>>(&mut connection);
        timeout(WITHIN, asked).await.ok()?.ok()?
    }
}

#[async_trait]
impl SessionCache for RedisSessions {
    async fn get(&self, id: Id, now: UnixMs) -> Cached {
        let value = self.value(id).await;
        let cached = value.and_then(|value| read(id, &value, now));
        self.hits.note(cached.is_some());
        cached.unwrap_or(Cached::Unknown)
    }

    async fn put(&self, session: Arc<Session>, now: UnixMs) {
        let Ok(stored) = serde_json::to_vec(&Stored::new(&session, now)) else {
            return;
        };
        let call = Call {
            script: &self.shared.scripts.put_session,
            keys: vec![self.shared.keys.session(session.id)],
            args: vec![now.to_string().into_bytes(), stored],
        };
        let put = self.shared.servers.call::<i64>(session.id, call);
        if !matches!(timeout(WITHIN, put).await, Ok(Ok(_))) {
            tracing::debug!(id = session.id, "a session isn't cached");
        }
    }

    async fn revoke(&self, id: Id, now: UnixMs) {
        let script = &self.shared.scripts.end_session;
        let keys = vec![self.shared.keys.session(id)];
        let args = vec![format!("R{now}").into_bytes()];
        if let Err(error) = self
            .shared
            .servers
            .call::<i64>(id, Call { script, keys, args })
            .await
        {
            tracing::warn!(id, %error, "a session's end isn't told; it is believed for 25 s");
        }
    }
}
