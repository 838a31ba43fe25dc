//! Signing in: by password, refresh token, JWT, or a service key's word.

use super::members::joined_events;
use super::passwords::Verdict;
use super::sessions::{expired, invalid, revoked};
use super::tokens::{self, Family, Token, Use};
use super::{Caller, Domain, Error, Reason};
use crate::config::Registration;
use crate::model::{Id, Invite, Session, SessionKind, UnixMs, User, limits};
use crate::store::{self, Account, Join, NewAccount};
use std::net::IpAddr;
use std::sync::Arc;

/// A spent refresh token still counts for so long: the reply that replaced it may have been lost.
const REFRESH_GRACE_MS: i64 = 10_000;

/// What a client keeps to stay signed in. Secret: no Debug.
pub struct Tokens {
    /// The session.
    pub session_id: Id,
    /// Goes with every call.
    pub access: String,
    /// Buys new ones, once; empty for none.
    pub refresh: String,
    /// When `access` ends.
    pub access_expires_at: UnixMs,
    /// When `refresh` ends; 0 for none.
    pub refresh_expires_at: UnixMs,
}

/// A user that signed in.
pub struct SignedIn {
    /// The user.
    pub user: User,
    /// Its new session.
    pub tokens: Tokens,
    /// It came to be by this.
    pub created: bool,
}

/// An account to register. Secret: no Debug.
#[derive(Default)]
pub struct Register {
    /// Its unique name.
    pub username: String,
    /// Its password.
    pub password: String,
    /// What people see; `username` if empty.
    pub display_name: String,
    /// An invitation's code, or empty.
    pub invite_code: String,
    /// The device's name.
    pub device: String,
}

/// Who is signed in on a service key's word.
pub enum Subject {
    /// A user that exists.
    User(Id),
    /// The integrator's own id; the user comes to be on first sight.
    External(String),
}

impl Domain {
    /// Makes an account and signs in.
    pub async fn register(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        register: Register,
    ) -> Result<SignedIn, Error> {
        let device = self.check_device(&register.device)?;
        let invited = !register.invite_code.is_empty();
        let closed = |message| Err(Error::new(Reason::RegistrationClosed, message));
        match self.config.auth.registration {
            Registration::Closed => return closed("Accounts aren't made here."),
            Registration::Invite if !invited => return closed("An invitation is needed."),
            Registration::Open | Registration::Invite => {}
        }
        self.throttle
            .sign_in(from, &limits::name_key(&register.username))?;
        let invite = match invited {
            true => Some(self.open_invite(&register.invite_code).await?),
            false => None,
        };
        let account = self
            .account_with(register.username, register.password, register.display_name)
            .await?;
        self.complete(|domain| async move { domain.settle_in(account, device, invite).await })
            .await
    }

    /// Stores a new account with its first session and, where it was invited, its first server.
    async fn settle_in(
        &self,
        account: Account,
        device: String,
        invite: Option<Invite>,
    ) -> Result<SignedIn, Error> {
        let user = account.user.clone();
        let (tokens, session) = self.new_session(user.id, device)?;
        let mut new = NewAccount {
            session: Some(session),
            ..NewAccount::from(account)
        };
        let (mut events, mut held) = (Vec::new(), None);
        if let Some(invite) = invite {
            held = Some(self.hold_member(invite.server_id, user.id).await);
            let server = self.server_of(invite.server_id).await?;
            let member = self.new_member(server.id, user.id);
            events = joined_events(&server, &member, user.clone());
            new.join = Some(Join {
                member,
                code: invite.code,
                max_members: self.bound(self.limits().members_per_server),
            });
        }
        let _changing = self.roles.changing([user.id]);
        self.store_account(new, events).await?;
        drop(held);
        Ok(SignedIn {
            user,
            tokens,
            created: true,
        })
    }

    /// Makes an account with a password, whoever may register: for the command line.
    pub async fn create_account(
        &self,
        username: String,
        password: String,
        display_name: String,
    ) -> Result<User, Error> {
        let account = self.account_with(username, password, display_name).await?;
        Ok(self.store_account(account.into(), Vec::new()).await?.user)
    }

    async fn account_with(
        &self,
        username: String,
        password: String,
        display_name: String,
    ) -> Result<Account, Error> {
        limits::password(&password).map_err(|problem| Error::field("password", problem))?;
        let user = self.new_user(&username, &display_name, false)?;
        Ok(Account {
            user,
            password_hash: self.passwords.hash(password).await?,
            ..Account::default()
        })
    }

    /// Signs in with a name and a password. Which of them is wrong isn't told.
    pub async fn login(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        username: &str,
        password: String,
        device: &str,
    ) -> Result<SignedIn, Error> {
        let device = self.check_device(device)?;
        if limits::password(&password).is_err()
            || username.len() > 16 * self.limits().name_chars_max
        {
            return Err(credentials_wrong());
        }
        let name_key = limits::name_key(username);
        self.throttle.sign_in(from, &name_key)?;
        let account = self
            .store
            .account_by_name(&name_key)
            .await?
            .unwrap_or_default();
        let mut proved = account.password_hash;
        let verdict = self
            .passwords
            .verify(password.clone(), proved.clone())
            .await?;
        let user = account.user;
        if verdict == Verdict::Wrong || user.deleted {
            return Err(credentials_wrong());
        }
        if verdict == Verdict::RightButOld {
            let hash = self.passwords.hash(password).await?;
            let replaced = self.store.set_password(user.id, proved, hash.clone(), None);
            replaced.await.map_err(changed_meanwhile)?;
            proved = hash;
        }
        let tokens = self.start_session(user.id, device, Some(proved)).await?;
        Ok(SignedIn {
            user,
            tokens,
            created: false,
        })
    }

    /// Whether an address may have a token changed for new ones now: to be asked before
    /// [`Domain::refresh`] and [`Domain::exchange_token`].
    pub fn admit_exchange(&self, from: Option<IpAddr>) -> Result<(), Error> {
        self.throttle.exchange(from)
    }

    /// Changes a refresh token for new tokens. A spent one, used again later, ends the session:
    /// one of its two users stole it.
    pub async fn refresh(self: &Arc<Self>, token: &str) -> Result<Tokens, Error> {
        let token = tokens::parse(token).filter(|token| token.kind == Use::Refresh);
        let token = token.ok_or_else(invalid)?;
        self.complete(|domain| async move { domain.refresh_by(token).await })
            .await
    }

    async fn refresh_by(&self, token: Token) -> Result<Tokens, Error> {
        let _held = self.hold(token.session).await;
        let before = self.store.session(token.session).await?;
        let before = before.ok_or_else(invalid)?;
        if !tokens::same(&before.refresh_family_hash, &token.family.hash(before.id)) {
            return Err(invalid());
        }
        let now = self.now();
        let current = tokens::same(&before.refresh_hash, &token.hash);
        let lately = tokens::same(&before.previous_refresh_hash, &token.hash)
            && now - before.refreshed_at <= REFRESH_GRACE_MS;
        if !current && !lately {
            self.end_session(before.id).await?;
            return Err(revoked());
        }
        if before.refresh_expires_at <= now {
            return Err(expired());
        }
        let expected = before.refresh_hash;
        let (tokens, mut session) = self.renew(before, token.family, now);
        if current {
            session.previous_refresh_hash = expected;
            session.refreshed_at = now;
        }
        self.store
            .refresh_session(session.clone(), expected)
            .await?;
        self.bus.sessions.put(Arc::new(session), now).await;
        Ok(tokens)
    }

    /// Changes a JWT that the integrator signed for a session.
    pub async fn exchange_token(
        self: &Arc<Self>,
        jwt: String,
        device: &str,
    ) -> Result<SignedIn, Error> {
        let device = self.check_device(device)?;
        let (verifier, now_s) = (self.jwt.clone(), self.now().div_euclid(1_000));
        let checked = tokio::task::spawn_blocking(move || verifier.verify(&jwt, now_s)).await;
        let claims = checked.map_err(|_| Error::new(Reason::Internal, "A check failed."))??;
        let refused =
            |problem| Error::new(Reason::JwtInvalid, format!("The JWT's sub: {problem}."));
        limits::external_id(&claims.sub).map_err(refused)?;
        let name = claims.name.unwrap_or_default();
        self.sign_in_external(claims.sub, &name, device).await
    }

    /// Signs a user in on a service key's word.
    pub async fn mint_session(
        self: &Arc<Self>,
        caller: &Caller,
        subject: Subject,
        display_name: &str,
        device: &str,
    ) -> Result<SignedIn, Error> {
        caller.require_service()?;
        let device = self.check_device(device)?;
        match subject {
            Subject::User(id) => {
                let account = self.store.account(id).await?.filter(|a| !a.user.deleted);
                let user = account.ok_or_else(|| Error::not_found("user"))?.user;
                let tokens = self.start_session(id, device, None).await?;
                Ok(SignedIn {
                    user,
                    tokens,
                    created: false,
                })
            }
            Subject::External(external_id) => {
                limits::external_id(&external_id)
                    .map_err(|problem| Error::field("external_id", problem))?;
                self.sign_in_external(external_id, display_name, device)
                    .await
            }
        }
    }

    /// Reads the keys that JWTs are checked with; says what is wrong with them. For the start.
    pub fn check_keys(&self) -> Result<(), String> {
        if self.config.auth.jwt.is_enabled() {
            self.jwt.check_keys()
        } else {
            Ok(())
        }
    }

    async fn sign_in_external(
        self: &Arc<Self>,
        external_id: String,
        display_name: &str,
        device: String,
    ) -> Result<SignedIn, Error> {
        let (user, created) = self.external_user(external_id, display_name).await?;
        let tokens = self.start_session(user.id, device, None).await?;
        Ok(SignedIn {
            user,
            tokens,
            created,
        })
    }

    /// The user of an integrator's own id; it comes to be on first sight.
    pub(super) async fn external_user(
        &self,
        external_id: String,
        display_name: &str,
    ) -> Result<(User, bool), Error> {
        if let Some(account) = self.store.account_by_external(&external_id).await? {
            return Ok((account.user, false));
        }
        let shown = if display_name.is_empty() {
            &external_id
        } else {
            display_name
        };
        let shown = limits::name(shown, self.limits().name_chars_max)
            .map_err(|problem| Error::field("display_name", problem))?;
        let id = self.mint()?;
        // The name only has to be unique: nobody signs in with it.
        let username = format!("user-{id}");
        let user = User {
            id,
            username,
            display_name: shown,
            ..User::default()
        };
        let account = Account {
            name_key: limits::name_key(&user.username),
            user,
            external_id: external_id.clone(),
            ..Account::default()
        };
        match self.store.create_account(account.into(), Vec::new()).await {
            Ok(made) => Ok((made.user, true)),
            // Another call came first.
            Err(store::Error::Conflict("external_id")) => {
                let account = self.store.account_by_external(&external_id).await?;
                Ok((account.ok_or_else(|| Error::not_found("user"))?.user, false))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A session with new tokens. Beyond the limit the user's longest unseen ones end. It isn't
    /// made if the hash that was `proved` is no longer the password's.
    pub(super) async fn start_session(
        self: &Arc<Self>,
        user: Id,
        device: String,
        proved: Option<String>,
    ) -> Result<Tokens, Error> {
        self.complete(move |domain| async move {
            let (tokens, session) = domain.new_session(user, device)?;
            let most = domain.bound(domain.limits().sessions_per_user);
            let ended = domain.store.create_session(session, most, proved).await;
            let ended = ended.map_err(changed_meanwhile)?;
            domain.forget_sessions(&ended).await;
            Ok(tokens)
        })
        .await
    }

    /// A user's session that isn't stored yet, and its tokens.
    fn new_session(&self, user: Id, device: String) -> Result<(Tokens, Session), Error> {
        let family = Family::new();
        let mut session = self.bare_session(user, SessionKind::User, device)?;
        session.refresh_family_hash = family.hash(session.id);
        let now = session.created_at;
        Ok(self.renew(session, family, now))
    }

    pub(super) fn bare_session(
        &self,
        user_id: Id,
        kind: SessionKind,
        name: String,
    ) -> Result<Session, Error> {
        let now = self.now();
        Ok(Session {
            id: self.mint()?,
            user_id,
            kind,
            name,
            access_hash: [0; 32],
            access_expires_at: 0,
            refresh_family_hash: [0; 32],
            refresh_hash: [0; 32],
            refresh_expires_at: 0,
            previous_refresh_hash: [0; 32],
            refreshed_at: now,
            created_at: now,
            last_seen_at: now,
        })
    }

    /// New tokens for a session, and the session that keeps their hashes.
    fn renew(&self, mut session: Session, family: Family, now: UnixMs) -> (Tokens, Session) {
        let auth = &self.config.auth;
        let after = |ttl: std::time::Duration| {
            now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))
        };
        let (access, access_hash) = tokens::mint(Use::Access, session.id);
        let (refresh, refresh_hash) = tokens::mint_refresh(family, session.id);
        session.access_hash = access_hash;
        session.refresh_hash = refresh_hash;
        session.access_expires_at = after(auth.access_ttl);
        session.refresh_expires_at = after(auth.refresh_ttl);
        session.last_seen_at = now;
        let tokens = Tokens {
            session_id: session.id,
            access,
            refresh,
            access_expires_at: session.access_expires_at,
            refresh_expires_at: session.refresh_expires_at,
        };
        (tokens, session)
    }

    fn check_device(&self, device: &str) -> Result<String, Error> {
        limits::text(device, limits::DEVICE_CHARS_MAX)
            .map_err(|problem| Error::field("device", problem))?;
        Ok(device.to_owned())
    }
}

fn credentials_wrong() -> Error {
    Error::new(
        Reason::CredentialsWrong,
        "The name or the password is wrong.",
    )
}

/// The account was deleted, or its password changed, since it was proved.
fn changed_meanwhile(error: store::Error) -> Error {
    match error {
        store::Error::Conflict("password") => credentials_wrong(),
        other => other.into(),
    }
}
