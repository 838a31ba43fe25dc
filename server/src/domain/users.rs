//! Profiles and blocks.

use super::accounts::on_user;
use super::{Caller, Domain, Error};
use crate::model::{EventBody, Id, Metadata, Touched, User, limits};
use std::sync::Arc;

/// Profiles read at once.
const BATCH_MAX: usize = 100;

/// Changes of a profile: what is given.
#[derive(Clone, Debug, Default)]
pub struct ProfileChanges {
    /// What people see.
    pub display_name: Option<String>,
    /// What the integrator attaches.
    pub metadata: Option<Metadata>,
}

impl Domain {
    /// A user's public profile, deleted or not.
    pub async fn get_user(&self, id: Id) -> Result<User, Error> {
        let user = self.store.users(&[id]).await?.pop();
        user.ok_or_else(|| Error::not_found("user"))
    }

    /// The user of a name, or of one that looks like it.
    pub async fn lookup_user(&self, name: &str) -> Result<User, Error> {
        let name = self.check_name("username", name)?;
        let found = self.store.account_by_name(&limits::name_key(&name)).await?;
        let account = found.ok_or_else(|| Error::not_found("user"))?;
        Ok(account.user)
    }

    /// Profiles of those that exist, in the order asked.
    pub async fn batch_get_users(&self, ids: &[Id]) -> Result<Vec<User>, Error> {
        if ids.is_empty() || ids.len() > BATCH_MAX {
            let problem = format!("{} ids; 1 to {BATCH_MAX} are allowed", ids.len());
            return Err(Error::field("user_ids", problem));
        }
        Ok(self.store.users(ids).await?)
    }

    /// Changes what is given of the caller's own profile.
    pub async fn update_profile(
        self: &Arc<Self>,
        caller: &Caller,
        changes: ProfileChanges,
    ) -> Result<User, Error> {
        let id = caller.user_id;
        self.complete(|domain| async move {
            let _held = domain.hold(id).await;
            let mut user = domain.profile(id).await?;
            if let Some(name) = changes.display_name {
                user.display_name = domain.check_name("user.display_name", &name)?;
            }
            if let Some(metadata) = changes.metadata {
                domain.check_metadata(&metadata)?;
                user.metadata = metadata;
            }
            let events = vec![on_user(user.id, EventBody::UserUpdated(user.clone()))];
            let written = domain.store.update_profile(user.clone(), events).await;
            domain.touch(Touched::User(id));
            written?;
            Ok(user)
        })
        .await
    }

    /// Blocks a user.
    pub async fn block_user(self: &Arc<Self>, caller: &Caller, other: Id) -> Result<(), Error> {
        let id = caller.user_id;
        if other == id {
            return Err(Error::field(
                "user_id",
                "the caller's own; another is needed",
            ));
        }
        self.profile(other).await?;
        self.complete(|domain| async move {
            let _changing = domain.changing_block(id, other);
            Ok(domain.store.block(id, other).await?)
        })
        .await
    }

    /// Lifts a block.
    pub async fn unblock_user(self: &Arc<Self>, caller: &Caller, other: Id) -> Result<(), Error> {
        let id = caller.user_id;
        self.complete(|domain| async move {
            let _changing = domain.changing_block(id, other);
            Ok(domain.store.unblock(id, other).await?)
        })
        .await
    }
}
