//! Programs: bots of users and back ends, and the service keys of back ends and operators.

use super::servers::check_request;
use super::sessions::SERVICE_BOT;
use super::tokens::{self, Use};
use super::{Caller, Domain, Error, Listed, pages};
use crate::model::{Id, Session, SessionKind, User, limits};
use crate::store::{Account, NewAccount};
use std::sync::Arc;

/// A service key and, at its making, its secret. Secret: no Debug.
pub struct NewKey {
    /// Its description.
    pub key: Session,
    /// The key itself, shown this once.
    pub token: String,
}

impl Domain {
    /// Makes a bot that the caller owns, and its lasting token. One that a service key makes has a
    /// service's limits.
    pub async fn create_bot(
        self: &Arc<Self>,
        caller: &Caller,
        username: &str,
        display_name: &str,
        request_id: &str,
    ) -> Result<(User, String), Error> {
        if caller.kind == SessionKind::Bot {
            return Err(Error::denied("A bot doesn't make bots."));
        }
        let request = check_request(caller, request_id)?;
        self.throttle.create(caller)?;
        let user = self.new_user(username, display_name, true)?;
        let name = if caller.is_service() { SERVICE_BOT } else { "" };
        let (session, token) = self.lasting(user.id, SessionKind::Bot, name)?;
        let most = self.favoured(caller, self.limits().bots_per_user);
        let new = NewAccount {
            account: Account {
                user,
                owner_id: caller.user_id,
                ..Account::default()
            },
            session: Some(session),
            request,
            max_owned: most,
            ..NewAccount::default()
        };
        let owner = caller.user_id;
        let user = self.complete(move |domain| async move {
            // Its owner isn't deleted meanwhile.
            let _held = domain.hold(owner).await;
            domain.store_program(new).await
        });
        Ok((user.await?, token))
    }

    /// A page of the caller's bots, newest first, of ids below one; with a key of the admin scope,
    /// of any owner's.
    pub async fn list_bots(
        &self,
        caller: &Caller,
        owner: Id,
        before: Id,
        size: i32,
    ) -> Result<Listed<User>, Error> {
        let size = pages::whole(size)?;
        let owner = if owner == 0 { caller.user_id } else { owner };
        if owner != caller.user_id {
            caller.require_admin()?;
        }
        let bots = self.store.owned_by(owner, before, size + 1).await?;
        Ok(pages::cut(bots, size))
    }

    /// Ends a bot's token, and gives it a new one.
    pub async fn reset_bot_token(
        self: &Arc<Self>,
        caller: &Caller,
        bot: Id,
    ) -> Result<String, Error> {
        self.own_bot(caller, bot).await?;
        self.complete(move |domain| async move {
            let _held = domain.hold(bot).await;
            // It keeps the limits that it was made with.
            let before = domain.store.sessions_of(bot, Id::MAX, 1).await?.pop();
            let name = before.map(|session| session.name).unwrap_or_default();
            let (session, token) = domain.lasting(bot, SessionKind::Bot, &name)?;
            let ended = domain.store.replace_sessions(session).await?;
            domain.forget_sessions(&ended).await;
            Ok(token)
        })
        .await
    }

    /// Deletes a bot, as an account is deleted.
    pub async fn delete_bot(self: &Arc<Self>, caller: &Caller, bot: Id) -> Result<(), Error> {
        self.own_bot(caller, bot).await?;
        self.complete(move |domain| async move { domain.remove_account(bot).await })
            .await
    }

    /// Refuses what isn't a bot of the caller's, or with a key of the admin scope no bot at all.
    async fn own_bot(&self, caller: &Caller, bot: Id) -> Result<(), Error> {
        let found = self.store.account(bot).await?;
        found
            .filter(|account| !account.user.deleted && account.owner_id != 0)
            .filter(|account| account.owner_id == caller.user_id || caller.is_admin())
            .map(|_| ())
            .ok_or_else(|| Error::not_found("bot"))
    }

    /// Makes a service key, at an operator's request.
    pub async fn create_key_for(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
        admin: bool,
        request_id: &str,
    ) -> Result<NewKey, Error> {
        caller.require_admin()?;
        let request = check_request(caller, request_id)?;
        self.create_key(name, admin, request).await
    }

    /// Makes a service key with a system user that it writes as: for the command line, which has
    /// the data folder.
    pub async fn create_key(
        self: &Arc<Self>,
        name: &str,
        admin: bool,
        request: Option<(Id, String)>,
    ) -> Result<NewKey, Error> {
        let name = limits::name(name, self.limits().name_chars_max)
            .map_err(|problem| Error::field("name", problem))?;
        let id = self.mint()?;
        let user = User {
            id,
            username: format!("service-{id}"),
            display_name: name.clone(),
            bot: true,
            ..User::default()
        };
        let kind = if admin {
            SessionKind::Admin
        } else {
            SessionKind::Service
        };
        let (key, token) = self.lasting(id, kind, &name)?;
        let new = NewAccount {
            session: Some(key.clone()),
            request,
            ..NewAccount::from(Account {
                user,
                ..Account::default()
            })
        };
        let user = self.complete(move |domain| async move { domain.store_program(new).await });
        let key = Session {
            user_id: user.await?.id,
            ..key
        };
        Ok(NewKey { key, token })
    }

    /// A page of the service keys, newest first, of ids below one.
    pub async fn list_keys(
        &self,
        caller: &Caller,
        before: Id,
        size: i32,
    ) -> Result<Listed<Session>, Error> {
        caller.require_admin()?;
        let size = pages::whole(size)?;
        let keys = self.store.keys(before, size + 1).await?;
        Ok(pages::cut(keys, size))
    }

    /// Ends a service key.
    pub async fn revoke_key(self: &Arc<Self>, caller: &Caller, key: Id) -> Result<(), Error> {
        caller.require_admin()?;
        self.complete(move |domain| async move {
            let session = domain.store.session(key).await?;
            let service = |kind| matches!(kind, SessionKind::Service | SessionKind::Admin);
            let session = session.filter(|session| service(session.kind));
            let session = session.ok_or_else(|| Error::not_found("key"))?;
            domain.end_session(session.id).await.map(|_| ())
        })
        .await
    }

    async fn store_program(&self, new: NewAccount) -> Result<User, Error> {
        let made = self.store_account(new, Vec::new()).await?;
        self.forget_sessions(&made.ended).await;
        Ok(made.user)
    }

    /// A session whose token doesn't expire, not stored yet.
    fn lasting(&self, user: Id, kind: SessionKind, name: &str) -> Result<(Session, String), Error> {
        let mut session = self.bare_session(user, kind, name.to_owned())?;
        let used = match kind {
            SessionKind::Bot => Use::Bot,
            _ => Use::Key,
        };
        let (token, hash) = tokens::mint(used, session.id);
        session.access_hash = hash;
        Ok((session, token))
    }
}
