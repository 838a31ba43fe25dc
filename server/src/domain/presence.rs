//! Who is here, and who may know.

use super::{Caller, Domain, Error, Reason};
use crate::bus::{SetPresence, Whose};
use crate::model::{Id, Presence, Touched, limits};
use std::collections::HashSet;

/// Characters of a user's own words.
const TEXT_CHARS_MAX: usize = 128;
/// Users whose presence is read at once.
const BATCH_MAX: usize = 100;

impl Domain {
    /// Checks what a user sets of its presence.
    pub fn check_presence(&self, set: &SetPresence) -> Result<(), Error> {
        if let Some(text) = &set.text {
            limits::words(text, TEXT_CHARS_MAX).map_err(|problem| Error::field("text", problem))?;
        }
        Ok(())
    }

    /// Sets the status of sessions of the caller's, and the user's words.
    pub async fn set_presence(
        &self,
        caller: &Caller,
        whose: Whose,
        set: SetPresence,
    ) -> Result<(), Error> {
        self.check_presence(&set)?;
        if !self.bus.presences.set(caller.user_id, whose, set).await? {
            let message = "The session has no open stream, so it has no presence.";
            return Err(Error::new(Reason::NotConnected, message));
        }
        Ok(())
    }

    /// Sets the status of all streams that the caller's credential has open.
    pub async fn set_own_presence(&self, caller: &Caller, set: SetPresence) -> Result<(), Error> {
        let whose = Whose::Credential(caller.session_id);
        self.set_presence(caller, whose, set).await
    }

    /// The presences of those of the users that the caller may know of, in the order asked.
    pub async fn batch_get_presence(
        &self,
        caller: &Caller,
        users: &[Id],
    ) -> Result<Vec<Presence>, Error> {
        if users.is_empty() || users.len() > BATCH_MAX {
            let problem = format!("{} ids; 1 to {BATCH_MAX} are allowed", users.len());
            return Err(Error::field("user_ids", problem));
        }
        let known = if caller.is_service() {
            self.existing_users(users).await?
        } else {
            self.known_to(caller.user_id, users).await?
        };
        Ok(self.bus.presences.get(&known).await?)
    }

    async fn existing_users(&self, users: &[Id]) -> Result<Vec<Id>, Error> {
        let there = self.store.users(users).await?.into_iter();
        Ok(there.map(|user| user.id).collect())
    }

    /// Those of the users whose presence a user may know: itself, and those with whom it shares a
    /// server or a direct channel.
    pub async fn known_to(&self, user: Id, others: &[Id]) -> Result<Vec<Id>, Error> {
        let own = self.roles_of(user).await?;
        let directs = self.directs_of(user).await?;
        let members = directs.iter().flat_map(|channel| &channel.member_ids);
        let met: HashSet<Id> = members.copied().chain([user]).collect();
        let mut known = Vec::with_capacity(others.len());
        for other in others {
            let knows = met.contains(other) || {
                let roles = self.roles_of(*other).await?;
                roles.keys().any(|server| own.contains_key(server))
            };
            if knows {
                known.push(*other);
            }
        }
        Ok(known)
    }

    /// Tells those who keep lists of people what changed, after it did.
    pub(super) fn touch(&self, touched: Touched) {
        self.bus.presences.touch(touched);
    }
}
