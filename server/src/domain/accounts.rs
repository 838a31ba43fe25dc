//! Accounts: making and removing them, passwords, sessions.

use super::passwords::Verdict;
use super::servers::request_reused;
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{EventBody, Id, Role, Session, TopicKey, Touched, User, limits};
use crate::store::{self, Made, NewAccount, NewEvent};
use std::sync::Arc;

impl Domain {
    /// A page of the caller's sessions, newest first, of ids below one.
    pub async fn list_sessions(
        &self,
        caller: &Caller,
        before: Id,
        size: i32,
    ) -> Result<Listed<Session>, Error> {
        let size = pages::whole(size)?;
        let sessions = self.store.sessions_of(caller.user_id, before, size + 1);
        Ok(pages::cut(sessions.await?, size))
    }

    /// Ends one of the caller's sessions.
    pub async fn revoke_session(
        self: &Arc<Self>,
        caller: &Caller,
        session: Id,
    ) -> Result<(), Error> {
        let own = self.store.session(session).await?;
        let own = own.filter(|session| session.user_id == caller.user_id);
        let own = own.ok_or_else(|| Error::not_found("session"))?;
        self.complete(|domain| async move {
            if !domain.end_session(own.id).await? {
                return Err(Error::not_found("session"));
            }
            Ok(())
        })
        .await
    }

    /// Ends the session that calls.
    pub async fn logout(self: &Arc<Self>, caller: &Caller) -> Result<(), Error> {
        let session = caller.session_id;
        self.complete(|domain| async move { domain.end_session(session).await.map(|_| ()) })
            .await
    }

    /// Changes the caller's password and ends its other sessions.
    pub async fn change_password(
        self: &Arc<Self>,
        caller: &Caller,
        old: String,
        new: String,
    ) -> Result<(), Error> {
        limits::password(&new).map_err(|problem| Error::field("new_password", problem))?;
        let proved = self.prove_password(caller, old).await?;
        let hash = self.passwords.hash(new).await?;
        let (user, keep) = (caller.user_id, caller.session_id);
        self.complete(move |domain| async move {
            let ended = domain.store.set_password(user, proved, hash, Some(keep));
            domain.forget_sessions(&ended.await?).await;
            Ok(())
        })
        .await
    }

    /// Deletes the caller's account; with its password, where it has one.
    pub async fn delete_account(
        self: &Arc<Self>,
        caller: &Caller,
        password: String,
    ) -> Result<(), Error> {
        if caller.is_service() {
            return Err(Error::denied("A service key is revoked, not deleted."));
        }
        let caller = caller.clone();
        self.complete(|domain| async move {
            let account = domain.store.account(caller.user_id).await?;
            if account.is_some_and(|account| !account.password_hash.is_empty()) {
                domain.prove_password(&caller, password).await?;
            }
            domain.remove_account(caller.user_id).await
        })
        .await
    }

    /// Refuses a wrong password; answers the hash of the right one.
    async fn prove_password(&self, caller: &Caller, password: String) -> Result<String, Error> {
        self.throttle
            .sign_in(None, &format!("#{}", caller.user_id))?;
        let account = self.store.account(caller.user_id).await?;
        let stored = account.map(|account| account.password_hash);
        let stored = stored.unwrap_or_default();
        let fits = limits::password(&password).is_ok();
        let verdict = self.passwords.verify(password, stored.clone()).await?;
        if !fits || verdict == Verdict::Wrong {
            return Err(Error::new(
                Reason::CredentialsWrong,
                "The password is wrong.",
            ));
        }
        Ok(stored)
    }

    /// Deletes an account, its bots first: sessions end, memberships go, names are freed.
    pub(super) async fn remove_account(&self, user: Id) -> Result<(), Error> {
        let _held = self.hold(user).await;
        for bot in self.store.owned_by(user, Id::MAX, u32::MAX).await? {
            self.remove_one(bot.id).await?;
        }
        self.remove_one(user).await
    }

    async fn remove_one(&self, user: Id) -> Result<(), Error> {
        let _held = self.hold_user(user).await;
        let roles = self.roles_of(user).await?;
        if roles.values().any(|role| *role == Role::Owner) {
            return Err(owns_a_server());
        }
        let mut events = Vec::new();
        let mut channels = self.directs_of(user).await?.to_vec();
        for server in roles.keys() {
            let there = self.server_of(*server).await?;
            events.extend(self.member_left_events(&there, user));
            channels.extend(self.private_channels(*server, user, true).await?);
        }
        let changing = channels
            .iter()
            .map(|channel| self.changing_channel(channel));
        let _changing = (
            self.roles.changing([user]),
            self.direct_channels.changing([user]),
            changing.collect::<Vec<_>>(),
        );
        let departed = self.store.delete_account(user, events).await;
        for server in roles.keys() {
            self.touch(Touched::Member(*server, user));
        }
        let departed = departed.map_err(|error| match error {
            store::Error::Conflict("owns a server") => owns_a_server(),
            other => other.into(),
        })?;
        self.forget_sessions(&departed.sessions).await;
        for channel in departed.channels {
            self.tell_channel(channel).await?;
        }
        Ok(())
    }

    /// Erases a user: its account, its reactions, and the content of its messages. Answers how many
    /// those were. It takes as long as the store is large, and goes on when nobody waits for it any
    /// more.
    pub async fn erase_user(self: &Arc<Self>, caller: &Caller, user: Id) -> Result<u64, Error> {
        caller.require_admin()?;
        let account = self.store.account(user).await?;
        let account = account.ok_or_else(|| Error::not_found("user"))?;
        self.complete(move |domain| async move {
            if !account.user.deleted {
                domain.remove_account(user).await?;
            }
            let erased = domain.erase_marks_and_messages(user).await;
            match &erased {
                Ok(messages) => tracing::info!(user, messages, "a user is erased"),
                Err(error) => tracing::error!(%error, user, "a user isn't erased; repeat the call"),
            }
            erased
        })
        .await
    }

    async fn erase_marks_and_messages(self: &Arc<Self>, user: Id) -> Result<u64, Error> {
        self.erase_reactions(user).await?;
        self.erase_messages(user).await
    }

    /// Each step is told before the next is taken: what is erased is soon gone from screens, too.
    async fn erase_messages(&self, author: Id) -> Result<u64, Error> {
        let (mut erased, mut from) = (0, Some((0, 0)));
        while let Some(after) = from {
            let step = self.store.erase_author(author, after).await?;
            erased += step.messages.len() as u64;
            self.tell_deleted(step.messages).await?;
            from = step.next;
        }
        Ok(erased)
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

    /// Stores an account, under its name's key, with what it begins with.
    pub(super) async fn store_account(
        &self,
        mut new: NewAccount,
        events: Vec<NewEvent>,
    ) -> Result<Made, Error> {
        new.account.name_key = limits::name_key(&new.account.user.username);
        let made = self.store.create_account(new, events).await;
        made.map_err(|error| match error {
            store::Error::Conflict("username") => Error::new(
                Reason::NameTaken,
                "Another account has this name, or one that looks like it.",
            ),
            store::Error::Conflict("request") => request_reused(),
            other => other.into(),
        })
    }
}

fn owns_a_server() -> Error {
    let message = "It, or a bot of its, owns a server: hand that on or delete it first.";
    Error::new(Reason::OwnerLeaves, message)
}

/// An event on a user's own topic.
pub(super) fn on_user(user: Id, body: EventBody) -> NewEvent {
    NewEvent {
        topic: TopicKey::user(user),
        body,
    }
}
