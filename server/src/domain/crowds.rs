//! Many members at once.

use super::{Caller, Domain, Error, Subject};
use crate::model::{Id, limits};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::sync::Arc;

/// Users of one call.
const BATCH_MAX: usize = 500;
/// Users that are written at once: they share the store's commits.
const AT_ONCE: usize = 64;

/// A user that is to be a member.
pub struct NewMember {
    /// Who.
    pub subject: Subject,
    /// The name to give one that comes to be; empty for its own id.
    pub display_name: String,
}

impl Domain {
    /// Makes users members without their doing; those that are new come to be. Their ids, in the
    /// order asked. What was done before a failure stays done; a repeat goes on.
    pub async fn add_members(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        members: Vec<NewMember>,
    ) -> Result<Vec<Id>, Error> {
        caller.require_service()?;
        let count = members.len();
        if count == 0 || count > BATCH_MAX {
            let problem = format!("{count} given; 1 to {BATCH_MAX} are allowed");
            return Err(Error::field("members", problem));
        }
        for (index, member) in members.iter().enumerate() {
            if let Subject::External(id) = &member.subject {
                limits::external_id(id).map_err(|problem| {
                    Error::field(format!("members[{index}].external_id"), problem)
                })?;
            }
        }
        self.server_of(server).await?;
        self.complete(|domain| async move {
            let added = stream::iter(members).map(|member| domain.bring(server, member));
            added.buffered(AT_ONCE).try_collect().await
        })
        .await
    }

    async fn bring(&self, server: Id, member: NewMember) -> Result<Id, Error> {
        let user = match member.subject {
            Subject::User(id) => id,
            Subject::External(id) => self.external_user(id, &member.display_name).await?.0.id,
        };
        self.add(server, user, None, u32::MAX).await?;
        Ok(user)
    }
}
