//! What users set for themselves: who may write to them directly.

use super::accounts::on_user;
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{DirectMessages, EventBody, Id, User, UserSettings};
use std::sync::Arc;

/// Changes of a user's settings: what is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct SettingsChanges {
    /// Who may write to it directly.
    pub direct_messages: Option<DirectMessages>,
}

impl Domain {
    /// The caller's settings.
    pub async fn get_settings(&self, caller: &Caller) -> Result<UserSettings, Error> {
        self.settings_of(caller.user_id).await
    }

    /// Changes what is given of the caller's settings, and tells its sessions.
    pub async fn update_settings(
        self: &Arc<Self>,
        caller: &Caller,
        changes: SettingsChanges,
    ) -> Result<UserSettings, Error> {
        let id = caller.user_id;
        self.complete(|domain| async move {
            let _held = domain.hold(id).await;
            let before = domain.store.settings(id).await?;
            let direct_messages = changes.direct_messages.unwrap_or(before.direct_messages);
            let settings = UserSettings { direct_messages };
            if settings == before {
                return Ok(before);
            }
            let events = vec![on_user(id, EventBody::UserSettingsUpdated(settings))];
            let _changing = domain.settings.changing([id]);
            domain.store.update_settings(id, settings, events).await?;
            Ok(settings)
        })
        .await
    }

    /// A page of whom the caller blocks, by id, above one.
    pub async fn list_blocks(
        &self,
        caller: &Caller,
        after: Id,
        size: i32,
    ) -> Result<Listed<User>, Error> {
        let size = pages::whole(size)?;
        let users = self
            .store
            .blocks_of(caller.user_id, after, size + 1)
            .await?;
        Ok(pages::cut(users, size))
    }

    /// Refuses to write directly to a user who doesn't want it of the caller. Service keys, by
    /// which the integrator itself speaks, aren't bound by it.
    pub(super) async fn refuse_unwanted(&self, caller: &Caller, to: Id) -> Result<(), Error> {
        if caller.is_service() {
            return Ok(());
        }
        let wanted = match self.settings_of(to).await?.direct_messages {
            DirectMessages::Everyone => true,
            DirectMessages::SharedServers => self.share_a_server(caller.user_id, to).await?,
            DirectMessages::Nobody => false,
        };
        if wanted {
            return Ok(());
        }
        let message = "The user takes no direct messages from the caller.";
        Err(Error::new(Reason::DirectRefused, message))
    }

    async fn share_a_server(&self, a: Id, b: Id) -> Result<bool, Error> {
        let (a, b) = (self.roles_of(a).await?, self.roles_of(b).await?);
        Ok(a.keys().any(|server| b.contains_key(server)))
    }

    async fn settings_of(&self, user: Id) -> Result<UserSettings, Error> {
        let read = || {
            let store = self.store.clone();
            async move { Ok(store.settings(user).await?) }
        };
        self.settings.get(&user, read).await
    }
}
