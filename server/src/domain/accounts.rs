//! Accounts: making and removing them, passwords, sessions, bots, service keys.

use super::passwords::Verdict;
use super::sessions::{SERVICE_BOT, ended_event};
use super::tokens::{self, Use};
use super::{Caller, Domain, Error, Reason};
use crate::model::{
    ChannelType, EventBody, Id, Message, Session, SessionKind, TopicKey, User, limits,
};
use crate::store::{self, Account, NewEvent};

/// A service key and, at its making, its secret. Secret: no Debug.
pub struct NewKey {
    /// Its description.
    pub key: Session,
    /// The key itself, shown this once.
    pub token: String,
}

impl Domain {
    /// The caller's sessions, newest first.
    pub async fn list_sessions(&self, caller: &Caller) -> Result<Vec<Session>, Error> {
        Ok(self.store.sessions_of(caller.user_id).await?)
    }

    /// Ends one of the caller's sessions.
    pub async fn revoke_session(&self, caller: &Caller, session: Id) -> Result<(), Error> {
        let own = self.store.session(session).await?;
        let own = own.filter(|session| session.user_id == caller.user_id);
        if own.is_none() || !self.end_session(caller.user_id, session).await? {
            return Err(Error::not_found("session"));
        }
        Ok(())
    }

    /// Ends the session that calls.
    pub async fn logout(&self, caller: &Caller) -> Result<(), Error> {
        self.end_session(caller.user_id, caller.session_id).await?;
        Ok(())
    }

    /// Changes the caller's password and ends its other sessions.
    pub async fn change_password(
        &self,
        caller: &Caller,
        old: String,
        new: String,
    ) -> Result<(), Error> {
        limits::password(&new).map_err(|problem| Error::field("new_password", problem))?;
        self.prove_password(caller, old).await?;
        let hash = self.passwords.hash(new).await?;
        self.store.set_password(caller.user_id, hash).await?;
        for session in self.store.sessions_of(caller.user_id).await? {
            if session.id != caller.session_id && session.kind == SessionKind::User {
                self.end_session(caller.user_id, session.id).await?;
            }
        }
        Ok(())
    }

    /// Deletes the caller's account; with its password, where it has one.
    pub async fn delete_account(&self, caller: &Caller, password: String) -> Result<(), Error> {
        if caller.is_service() {
            return Err(Error::denied("A service key is revoked, not deleted."));
        }
        let account = self.store.account(caller.user_id).await?;
        if account.is_some_and(|account| !account.password_hash.is_empty()) {
            self.prove_password(caller, password).await?;
        }
        self.remove_account(caller.user_id).await
    }

    async fn prove_password(&self, caller: &Caller, password: String) -> Result<(), Error> {
        self.throttle
            .sign_in(None, &format!("#{}", caller.user_id))?;
        let account = self.store.account(caller.user_id).await?;
        let stored = account
            .map(|account| account.password_hash)
            .unwrap_or_default();
        let fits = limits::password(&password).is_ok();
        if !fits || self.passwords.verify(password, stored).await? == Verdict::Wrong {
            return Err(Error::new(
                Reason::CredentialsWrong,
                "The password is wrong.",
            ));
        }
        Ok(())
    }

    /// Deletes an account: sessions end, memberships go, the name is freed.
    pub(super) async fn remove_account(&self, user: Id) -> Result<(), Error> {
        let servers = self.store.servers_of(user).await?;
        if servers.iter().any(|(server, _)| server.owner_id == user) {
            let message = "It owns a server: hand it on or delete it first.";
            return Err(Error::new(Reason::OwnerLeaves, message));
        }
        let sessions = self.store.sessions_of(user).await?;
        let mut events: Vec<_> = sessions
            .iter()
            .map(|session| ended_event(user, session.id))
            .collect();
        let mut private = Vec::new();
        for (server, _) in &servers {
            events.extend(self.member_left_events(server, user));
            let channels = self.channels_of(server.id).await?;
            let named = channels.iter().filter(|channel| {
                channel.kind == ChannelType::Private && channel.member_ids.contains(&user)
            });
            private.extend(named.cloned());
        }
        let directs = self.directs_of(user).await?;
        self.store.delete_account(user, events).await?;
        for session in sessions {
            self.bus.sessions.revoke(session.id, self.now()).await;
        }
        self.roles.forget(&user);
        self.direct_channels.forget(&user);
        for channel in directs.iter().chain(&private) {
            self.forget_channel(channel);
            self.tell_channel(channel.id).await?;
        }
        Ok(())
    }

    /// Erases a user: its account, and the content of its messages. Answers how many.
    pub async fn erase_user(&self, caller: &Caller, user: Id) -> Result<u64, Error> {
        caller.require_admin()?;
        let account = self.store.account(user).await?;
        let account = account.ok_or_else(|| Error::not_found("user"))?;
        if !account.user.deleted {
            self.remove_account(user).await?;
        }
        let erased = self.store.erase_author(user).await?;
        for (channel, id) in &erased {
            if let Some(row) = self.store.get(*channel, *id).await? {
                self.tell_erased(row).await?;
            }
        }
        Ok(erased.len() as u64)
    }

    async fn tell_erased(&self, row: Message) -> Result<(), Error> {
        let channel = row.channel_id;
        self.publish_to(channel, &EventBody::MessageDeleted(row), 0)
            .await
    }

    /// Makes a bot that the caller owns, and its lasting token. One that a service key makes has a
    /// service's limits.
    pub async fn create_bot(
        &self,
        caller: &Caller,
        username: &str,
        display_name: &str,
    ) -> Result<(User, String), Error> {
        if caller.kind == SessionKind::Bot {
            return Err(Error::denied("A bot doesn't make bots."));
        }
        if !caller.is_service() {
            self.throttle
                .sign_in(None, &format!("#bots {}", caller.user_id))?;
        }
        let user = self.new_user(username, display_name, true)?;
        let account = Account {
            user,
            owner_id: caller.user_id,
            ..Account::default()
        };
        let user = self.store_account(account).await?;
        let name = if caller.is_service() { SERVICE_BOT } else { "" };
        let new = self
            .lasting_session(user.id, SessionKind::Bot, Use::Bot, name)
            .await?;
        Ok((user, new.token))
    }

    /// Makes a service key with a system user that it writes as. For AdminService (which checks its
    /// caller) and the command line (which has the data folder).
    pub async fn create_key(&self, name: &str, admin: bool) -> Result<NewKey, Error> {
        let name = limits::name(name, self.limits().name_chars_max)
            .map_err(|problem| Error::field("name", problem))?;
        let id = self.mint()?;
        let username = format!("service-{id}");
        let user = User {
            id,
            username,
            display_name: name.clone(),
            bot: true,
            ..User::default()
        };
        self.store_account(Account {
            user,
            ..Account::default()
        })
        .await?;
        let kind = if admin {
            SessionKind::Admin
        } else {
            SessionKind::Service
        };
        self.lasting_session(id, kind, Use::Key, &name).await
    }

    /// The service keys, newest first.
    pub async fn list_keys(&self, caller: &Caller) -> Result<Vec<Session>, Error> {
        caller.require_admin()?;
        Ok(self.store.keys().await?)
    }

    /// Ends a service key.
    pub async fn revoke_key(&self, caller: &Caller, key: Id) -> Result<(), Error> {
        caller.require_admin()?;
        let session = self.store.session(key).await?;
        let service = |kind| matches!(kind, SessionKind::Service | SessionKind::Admin);
        let session = session.filter(|session| service(session.kind));
        let session = session.ok_or_else(|| Error::not_found("key"))?;
        self.end_session(session.user_id, key).await?;
        Ok(())
    }

    /// A session whose token doesn't expire.
    async fn lasting_session(
        &self,
        user: Id,
        kind: SessionKind,
        used: Use,
        name: &str,
    ) -> Result<NewKey, Error> {
        let mut key = self.bare_session(user, kind, name.to_owned())?;
        let (token, hash) = tokens::mint(used, key.id);
        key.access_hash = hash;
        self.store.create_session(key.clone(), u32::MAX).await?;
        Ok(NewKey { key, token })
    }

    /// A user with checked names, not stored yet.
    pub(super) fn new_user(
        &self,
        username: &str,
        display_name: &str,
        bot: bool,
    ) -> Result<User, Error> {
        let most = self.limits().name_chars_max;
        let username =
            limits::name(username, most).map_err(|problem| Error::field("username", problem))?;
        let display_name = if display_name.is_empty() {
            username.clone()
        } else {
            limits::name(display_name, most)
                .map_err(|problem| Error::field("display_name", problem))?
        };
        Ok(User {
            id: self.mint()?,
            username,
            display_name,
            bot,
            ..User::default()
        })
    }

    /// Stores an account under its name's key.
    pub(super) async fn store_account(&self, mut account: Account) -> Result<User, Error> {
        account.name_key = limits::name_key(&account.user.username);
        let user = account.user.clone();
        match self.store.create_account(account).await {
            Ok(()) => Ok(user),
            Err(store::Error::Conflict("username")) => Err(Error::new(
                Reason::NameTaken,
                "Another account has this name, or one that looks like it.",
            )),
            Err(error) => Err(error.into()),
        }
    }
}

/// An event on a user's own topic.
pub(super) fn on_user(user: Id, body: EventBody) -> NewEvent {
    NewEvent {
        topic: TopicKey::user(user),
        body,
    }
}
