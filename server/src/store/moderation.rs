//! The seam to what moderators do.

use super::{Error, NewEvent};
use crate::model::{AuditAction, AuditEntry, Id, Member, Message, Report, ReportState, UnixMs};
use async_trait::async_trait;

/// Which entries of an audit log are wanted; what isn't given doesn't matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this user.
    pub actor: Option<Id>,
    /// Of this action.
    pub action: Option<AuditAction>,
}

/// How many reports may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBounds {
    /// Of a server.
    pub server: u32,
    /// Of a server by one user.
    pub reporter: u32,
}

/// What a step of deleting an author's messages did.
#[derive(Clone, Debug, Default)]
pub struct Deleted {
    /// The rows that were deleted, as they now are.
    pub messages: Vec<Message>,
    /// Where the next step goes on; None: nothing is left.
    pub next: Option<Id>,
}

/// The audit log, time-outs, slow mode, deleting many messages, reports.
///
/// An audit entry that comes with a change, here or in `Servers`, `Channels` and `Messages`, is
/// written in the change's own transaction, and only if something changed: never without its
/// change, and no change without it. A log keeps the latest [`AUDIT_ENTRIES_MAX`] of its server.
///
/// [`AUDIT_ENTRIES_MAX`]: crate::model::AUDIT_ENTRIES_MAX
#[async_trait]
pub trait Moderation: Send + Sync {
    /// Entries of a server's audit log with ids below `before`, newest first, at most `limit`. They
    /// outlive the server.
    async fn audit_log(
        &self,
        server: Id,
        filter: AuditFilter,
        before: Id,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, Error>;
    /// Sets until when a member is timed out; 0 lifts it. Idempotent: the same end changes nothing.
    /// Who isn't a member is `NotFound("member")`, the owner `Conflict("owner")`. It outlives the
    /// membership. Answers the member.
    async fn time_out(
        &self,
        server: Id,
        user: Id,
        until: UnixMs,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<Member, Error>;
    /// The servers that a user is timed out in, and until when, member or not, over or not.
    async fn time_outs_of(&self, user: Id) -> Result<Vec<(Id, UnixMs)>, Error>;
    /// The id of an author's newest message of a channel (deleted included) above `after`. It looks
    /// at the newest 10,000 of the channel alone.
    async fn newest_of_author(
        &self,
        channel: Id,
        author: Id,
        after: Id,
    ) -> Result<Option<Id>, Error>;
    /// The message (deleted or not) that an author sent to a channel under a nonce.
    async fn by_nonce(
        &self,
        channel: Id,
        author: Id,
        nonce: String,
    ) -> Result<Option<Message>, Error>;
    /// Deletes messages of a channel, as `Messages::delete` does, in one transaction. What isn't
    /// there, or is deleted, is passed over; the entry's count is what was deleted. Answers those
    /// rows.
    async fn delete_messages(
        &self,
        channel: Id,
        ids: Vec<Id>,
        audit: AuditEntry,
    ) -> Result<Vec<Message>, Error>;
    /// One step of deleting an author's messages of a channel with ids above `after` and up to
    /// `until`: at most `limit` of them. It is short, however many there are. The steps of one
    /// deletion have one entry, which counts all that they deleted.
    async fn delete_of_author(
        &self,
        channel: Id,
        author: Id,
        (after, until): (Id, Id),
        limit: u32,
        audit: AuditEntry,
    ) -> Result<Deleted, Error>;
    /// Stores a report, or answers the open one of the same reporter and message. A server that
    /// isn't there (any more) is `NotFound("server")`; beyond the bounds it is `LimitReached`, of
    /// the server's `"open reports"` or of `"open reports of yours"`.
    async fn create_report(&self, report: Report, bounds: ReportBounds) -> Result<Report, Error>;
    /// A server's reports, of one state or all, with ids below `before`, newest first, at most
    /// `limit`.
    async fn reports(
        &self,
        server: Id,
        state: Option<ReportState>,
        before: Id,
        limit: u32,
    ) -> Result<Vec<Report>, Error>;
    /// One report.
    async fn report(&self, server: Id, id: Id) -> Result<Option<Report>, Error>;
    /// Closes an open report as the given one (state, by whom, when, note); `NotFound("report")` if
    /// it isn't there. One that is closed stays as it is. Answers it as it now is.
    async fn resolve_report(&self, report: Report, audit: AuditEntry) -> Result<Report, Error>;
    /// Removes audit entries and closed reports from before `kept_from`, and time-outs that are
    /// over at `now`.
    async fn trim_moderation(&self, now: UnixMs, kept_from: UnixMs) -> Result<(), Error>;
}
