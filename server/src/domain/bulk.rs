//! Deleting many messages as a moderator.

use super::access::may;
use super::audit::check_reason;
use super::permissions::Action;
use super::{Caller, Domain, Error};
use crate::model::{AuditAction, AuditEntry, Channel, Id, UnixMs, id_before};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Messages deleted by their ids in a call.
const IDS_MAX: usize = 100;
/// An author's messages deleted in a call.
const DELETED_MAX: usize = 1_000;
/// Those in one transaction, which others' writes wait for.
const STEP: u32 = 200;
/// A call begins no step after so long: what it did is to be answered within its deadline.
const STEPS_WITHIN: Duration = Duration::from_secs(2);
/// An author's messages of so long ago are deleted.
const SINCE_MS_MAX: i64 = 14 * 24 * 60 * 60 * 1_000;
/// What is deleted with a ban, in seconds.
const BAN_DELETES_S_MAX: i32 = 7 * 24 * 60 * 60;

/// Which messages to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Of a channel, by their ids.
    Ids(Vec<Id>),
    /// What a user wrote since a time.
    OfAuthor(Id, UnixMs),
}

/// Many messages to delete.
#[derive(Clone, Debug)]
pub struct BulkDelete {
    /// The server.
    pub server_id: Id,
    /// A channel of it; 0 for all that the caller moderates.
    pub channel_id: Id,
    /// Which.
    pub selection: Selection,
    /// At most 512 characters.
    pub reason: String,
}

/// Where to delete an author's messages, and which.
struct Sweep {
    channels: Vec<Id>,
    author: Id,
    /// Above this id.
    after: Id,
    /// Up to this one.
    until: Id,
    /// So many at most.
    most: usize,
    /// No step begins after this but the first.
    ends: Option<Instant>,
}

impl Domain {
    /// Deletes messages by their ids, or those of an author. Answers how many it deleted, and
    /// whether there may be more of the author's.
    pub async fn bulk_delete(
        self: &Arc<Self>,
        caller: &Caller,
        delete: BulkDelete,
    ) -> Result<(usize, bool), Error> {
        check_reason(&delete.reason)?;
        self.check_selection(&delete)?;
        let server = delete.server_id;
        let channels = self.moderated(caller, server, delete.channel_id).await?;
        self.throttle.transient(caller, server)?;
        let audit = AuditEntry {
            channel_id: delete.channel_id,
            reason: delete.reason,
            ..self.audit(caller, server, AuditAction::MessagesBulkDeleted)?
        };
        let until = self.mint()?;
        self.complete_in_time(move |domain| async move {
            match delete.selection {
                Selection::Ids(ids) => {
                    let deleted = domain.delete_ids(delete.channel_id, ids, audit).await?;
                    Ok((deleted, false))
                }
                Selection::OfAuthor(author, since) => {
                    let sweep = Sweep {
                        channels,
                        author,
                        after: id_before(since),
                        until,
                        most: DELETED_MAX,
                        ends: Some(Instant::now() + STEPS_WITHIN),
                    };
                    let audit = AuditEntry {
                        user_id: author,
                        ..audit
                    };
                    domain.sweep(sweep, audit).await
                }
            }
        })
        .await
    }

    fn check_selection(&self, delete: &BulkDelete) -> Result<(), Error> {
        match &delete.selection {
            Selection::Ids(ids) => {
                if delete.channel_id <= 0 {
                    return Err(Error::field("channel_id", "missing; message_ids need it"));
                }
                if ids.is_empty() || ids.len() > IDS_MAX {
                    let problem = format!("{} ids; 1 to {IDS_MAX} are allowed", ids.len());
                    return Err(Error::field("message_ids", problem));
                }
            }
            Selection::OfAuthor(author, since) => {
                if *author <= 0 {
                    let problem = "missing; that or message_ids is needed";
                    return Err(Error::field("author_id", problem));
                }
                let ago = self.now().saturating_sub(*since);
                if ago > SINCE_MS_MAX {
                    let most = SINCE_MS_MAX / 1_000;
                    let problem = format!("{} s ago; at most {most} are allowed", ago / 1_000);
                    return Err(Error::field("since", problem));
                }
            }
        }
        Ok(())
    }

    /// The channels of a server where the caller deletes others' messages: this one, or all of
    /// them.
    async fn moderated(&self, caller: &Caller, server: Id, channel: Id) -> Result<Vec<Id>, Error> {
        if channel != 0 {
            self.authorise_server(caller, server, Action::See).await?;
            let found = self.authorise(caller, channel, Action::See).await?;
            if found.server_id != server {
                return Err(Error::not_found("channel"));
            }
            self.authorise(caller, channel, Action::DeleteOthers)
                .await?;
            return Ok(vec![channel]);
        }
        let action = Action::DeleteOthersEverywhere;
        let role = self.authorise_server(caller, server, action).await?;
        let channels = self.channels_of(server).await?;
        let moderated = |channel: &&Arc<Channel>| {
            may(caller.user_id, Some(role), channel, Action::DeleteOthers)
        };
        Ok(channels
            .iter()
            .filter(moderated)
            .map(|channel| channel.id)
            .collect())
    }

    async fn delete_ids(
        &self,
        channel: Id,
        ids: Vec<Id>,
        audit: AuditEntry,
    ) -> Result<usize, Error> {
        let rows = self.store.delete_messages(channel, ids, audit).await?;
        let deleted = rows.len();
        self.tell_deleted(rows).await?;
        Ok(deleted)
    }

    /// Each step is told before the next is taken. Answers how many it deleted, and whether it
    /// stopped there.
    async fn sweep(&self, sweep: Sweep, audit: AuditEntry) -> Result<(usize, bool), Error> {
        let mut deleted = 0;
        for channel in sweep.channels {
            let mut from = Some(sweep.after);
            while let Some(after) = from {
                let left = sweep.most - deleted;
                let is_over = sweep.ends.is_some_and(|end| Instant::now() >= end);
                if left == 0 || (is_over && deleted > 0) {
                    return Ok((deleted, true));
                }
                let limit = STEP.min(u32::try_from(left).unwrap_or(STEP));
                let within = (after, sweep.until);
                let audit = audit.clone();
                let step = self
                    .store
                    .delete_of_author(channel, sweep.author, within, limit, audit)
                    .await?;
                deleted += step.messages.len();
                self.tell_deleted(step.messages).await?;
                from = step.next;
            }
        }
        Ok((deleted, false))
    }

    /// Deletes what a user who was banned wrote in the last seconds, in the background. `ban` is
    /// the ban's entry.
    pub(super) async fn delete_banned(
        self: &Arc<Self>,
        ban: &AuditEntry,
        seconds: i32,
    ) -> Result<(), Error> {
        if seconds == 0 {
            return Ok(());
        }
        let (server, author) = (ban.server_id, ban.target_id);
        let since = self.now().saturating_sub(i64::from(seconds) * 1_000);
        let channels = self.channels_of(server).await?;
        let sweep = Sweep {
            channels: channels.iter().map(|channel| channel.id).collect(),
            author,
            after: id_before(since),
            until: self.mint()?,
            most: usize::MAX,
            ends: None,
        };
        let audit = AuditEntry {
            id: self.mint()?,
            action: AuditAction::MessagesBulkDeleted,
            target_id: 0,
            user_id: author,
            ..ban.clone()
        };
        let domain = self.clone();
        tokio::spawn(async move {
            // So many at once; the others wait for their turn.
            let Ok(_permit) = domain.sweeps.clone().acquire_owned().await else {
                return;
            };
            match domain.sweep(sweep, audit).await {
                Ok((messages, _)) => {
                    tracing::info!(server, author, messages, "a banned user's are deleted");
                }
                Err(error) => {
                    tracing::error!(%error, server, author, "they aren't; repeat the ban");
                }
            }
        });
        Ok(())
    }
}

/// Refuses a time that no ban looks back.
pub(super) fn check_ban_deletes(seconds: i32) -> Result<(), Error> {
    if (0..=BAN_DELETES_S_MAX).contains(&seconds) {
        return Ok(());
    }
    let problem = format!("{seconds}; 0 to {BAN_DELETES_S_MAX} is allowed");
    Err(Error::field("delete_message_seconds", problem))
}
