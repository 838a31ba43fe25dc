//! Who calls: tokens to callers; ending sessions.

use super::tokens::{self, Use};
use super::{Domain, Error, Reason};
use crate::bus::{Cached, Whose};
use crate::model::{Id, Session, SessionKind, UnixMs};
use crate::mutation;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// When a session was last seen is kept to the minute.
const SEEN_EVERY_MS: i64 = 60_000;
/// Sessions whose sighting waits to be written; more are noted at their next call.
const SEEN_MAX: usize = 50_000;
/// The name of a bot's session that a service key made: it has the limits of a service.
pub(super) const SERVICE_BOT: &str = "service";

/// Sightings that wait to be written.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<Id, UnixMs>>);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: Id,
    /// The session that its token belongs to.
    pub session_id: Id,
    /// What kind of credential that is.
    pub kind: SessionKind,
    /// A bot that the operator's back end made: it has a service's limits, not its rights.
    pub service_bot: bool,
}

impl Caller {
    /// Whether it calls by a service key: it may do what an owner may, in every server.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self.kind, SessionKind::Service | SessionKind::Admin)
    }

    /// Whether it calls by a service key that may also administer.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.kind == SessionKind::Admin
    }

    /// Whether it has `limits.service_factor` times the rates.
    #[must_use]
    pub fn is_favoured(&self) -> bool {
        self.is_service() || self.service_bot
    }

    /// Refuses callers without a service key.
    pub fn require_service(&self) -> Result<(), Error> {
        if self.is_service() {
            return Ok(());
        }
        Err(Error::new(
            Reason::KeyRequired,
            "Only a service key may call this.",
        ))
    }

    /// Refuses callers without an admin's key.
    pub fn require_admin(&self) -> Result<(), Error> {
        if self.is_admin() || self.is_service() && mutation::on("service_key_any_scope") {
            return Ok(());
        }
        let message = "Only a service key of the admin scope may call this.";
        Err(Error::new(Reason::KeyRequired, message))
    }

    pub(super) fn of(session: &Session) -> Self {
        Self {
            user_id: session.user_id,
            session_id: session.id,
            kind: session.kind,
            service_bot: session.kind == SessionKind::Bot && session.name == SERVICE_BOT,
        }
    }
}

impl Domain {
    /// Who a token stands for. Looks into the store at most every 25 s a session.
    pub async fn authenticate(&self, token: &str) -> Result<Caller, Error> {
        let token = tokens::parse(token).ok_or_else(invalid)?;
        if token.kind == Use::Refresh {
            return Err(invalid());
        }
        let (mut session, cached) = self.session(token.session).await?;
        if cached && !tokens::same(&session.access_hash, &token.hash) {
            // It may have been refreshed since it was cached.
            session = self.read_session(token.session).await?;
        }
        if !tokens::same(&session.access_hash, &token.hash) {
            return Err(invalid());
        }
        let now = self.now();
        if session.access_expires_at != 0 && session.access_expires_at <= now {
            return Err(expired());
        }
        self.seen.note(&session, now);
        Ok(Caller::of(&session))
    }

    /// Who a call's token stands for, unless it calls too fast.
    pub async fn admit(&self, token: &str) -> Result<Caller, Error> {
        let caller = self.authenticate(token).await?;
        self.throttle.call(&caller)?;
        // Who only listens on its stream calls like this.
        let whose = Whose::Credential(caller.session_id);
        self.bus.presences.active(caller.user_id, whose);
        Ok(caller)
    }

    /// Whether a caller's session still stands, as stored: another process may have ended it, of
    /// which the cache hears nothing. For streams, which outlive access tokens: they last as long
    /// as the session can be refreshed.
    pub async fn revalidate(&self, caller: &Caller) -> Result<(), Error> {
        let session = self
            .read_session(caller.session_id)
            .await
            .map_err(|error| {
                if error.reason == Reason::TokenInvalid {
                    revoked()
                } else {
                    error
                }
            })?;
        let now = self.now();
        let lasts = session.access_expires_at == 0
            || session.access_expires_at.max(session.refresh_expires_at) > now;
        if !lasts {
            return Err(expired());
        }
        self.seen.note(&session, now);
        Ok(())
    }

    /// The session, and whether it is only what the cache had.
    async fn session(&self, id: Id) -> Result<(Arc<Session>, bool), Error> {
        match self.bus.sessions.get(id, self.now()).await {
            Cached::Valid(session) => Ok((session, true)),
            Cached::Revoked => Err(revoked()),
            Cached::Unknown => Ok((self.read_session(id).await?, false)),
        }
    }

    /// The session as stored, now cached. The cache refuses one that was ended meanwhile.
    async fn read_session(&self, id: Id) -> Result<Arc<Session>, Error> {
        let store = self.store.clone();
        let read = async move { Ok(store.session(id).await?.map(Arc::new)) };
        let session = self.session_reads.read(&id, read).await?;
        let session = session.ok_or_else(invalid)?;
        self.bus.sessions.put(session.clone(), self.now()).await;
        match self.bus.sessions.get(id, self.now()).await {
            Cached::Revoked => Err(revoked()),
            Cached::Valid(_) | Cached::Unknown => Ok(session),
        }
    }

    /// Ends a session: its calls are refused and its streams closed from here on.
    pub(super) async fn end_session(&self, session: Id) -> Result<bool, Error> {
        let ended = self.store.end_session(session).await?;
        self.forget_sessions(&[session]).await;
        Ok(ended)
    }

    /// Refuses calls of sessions that the store has ended.
    pub(super) async fn forget_sessions(&self, ended: &[Id]) {
        for session in ended
            .iter()
            .filter(|_| !mutation::on("revoked_token_lives"))
        {
            self.bus.sessions.revoke(*session, self.now()).await;
        }
    }

    /// Writes when sessions were last seen.
    pub(super) async fn flush_seen(&self) {
        let seen: Vec<_> = self.seen.lock().drain().collect();
        if seen.is_empty() {
            return;
        }
        if let Err(error) = self.store.touch_sessions(seen).await {
            tracing::warn!(%error, "when sessions were last seen couldn't be written");
        }
    }
}

impl Seen {
    fn note(&self, session: &Session, now: UnixMs) {
        if now - session.last_seen_at < SEEN_EVERY_MS {
            return;
        }
        let mut seen = self.lock();
        if seen.len() < SEEN_MAX || seen.contains_key(&session.id) {
            seen.insert(session.id, now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Id, UnixMs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn invalid() -> Error {
    Error::new(Reason::TokenInvalid, "The token isn't valid; sign in.")
}

pub(super) fn expired() -> Error {
    Error::new(
        Reason::TokenExpired,
        "The token's time is over; refresh it.",
    )
}

pub(super) fn revoked() -> Error {
    Error::new(Reason::SessionRevoked, "The session was ended; sign in.")
}
