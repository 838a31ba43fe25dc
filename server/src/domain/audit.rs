//! The audit log: what was done to a server, and by whom.
//!
//! The entries are written with the changes that they tell of, in their transactions; so each use
//! case makes its own.

use super::permissions::Action;
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{
    AuditAction, AuditChange, AuditEntry, Channel, Id, Role, Server, UnixMs, limits,
};
use crate::store::AuditFilter;

/// Entries of a page, where the caller doesn't say.
const PAGE: u32 = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

impl Domain {
    /// A page of a server's audit log, newest first, of ids below one.
    pub async fn list_audit_log(
        &self,
        caller: &Caller,
        server: Id,
        filter: AuditFilter,
        before: Id,
        size: i32,
    ) -> Result<Listed<AuditEntry>, Error> {
        let size = pages::size(size, PAGE)?;
        let action = Action::ReadAuditLog;
        let refused = self.authorise_server(caller, server, action).await.err();
        // Who drives servers also looks into what became of one that is gone.
        let gone = |error: &Error| caller.is_service() && error.reason == Reason::NotFound;
        if let Some(error) = refused.clone().filter(|error| !gone(error)) {
            return Err(error);
        }
        let entries = self.store.audit_log(server, filter, before, size + 1);
        match (entries.await?, refused) {
            (entries, Some(error)) if entries.is_empty() => Err(error),
            (entries, _) => Ok(pages::cut(entries, size)),
        }
    }

    /// An entry of what the caller does now, to be completed.
    pub(super) fn audit(
        &self,
        caller: &Caller,
        server_id: Id,
        action: AuditAction,
    ) -> Result<AuditEntry, Error> {
        Ok(AuditEntry {
            id: self.mint()?,
            server_id,
            actor_id: caller.user_id,
            action,
            target_id: 0,
            channel_id: 0,
            user_id: 0,
            count: 0,
            reason: String::new(),
            changes: Vec::new(),
            created_at: self.now(),
        })
    }

    /// An entry about a user.
    pub(super) fn user_audit(
        &self,
        caller: &Caller,
        server: Id,
        user: Id,
        action: AuditAction,
        reason: String,
    ) -> Result<AuditEntry, Error> {
        Ok(AuditEntry {
            target_id: user,
            reason,
            ..self.audit(caller, server, action)?
        })
    }

    /// An entry about a channel.
    pub(super) fn channel_audit(
        &self,
        caller: &Caller,
        channel: &Channel,
        action: AuditAction,
    ) -> Result<AuditEntry, Error> {
        Ok(AuditEntry {
            target_id: channel.id,
            channel_id: channel.id,
            ..self.audit(caller, channel.server_id, action)?
        })
    }

    /// An entry about who is in a channel.
    pub(super) fn channel_member_audit(
        &self,
        caller: &Caller,
        channel: &Channel,
        user: Id,
        action: AuditAction,
    ) -> Result<AuditEntry, Error> {
        Ok(AuditEntry {
            target_id: user,
            ..self.channel_audit(caller, channel, action)?
        })
    }

    /// From when on entries and closed reports are kept.
    pub(super) fn audit_kept_from(&self) -> UnixMs {
        self.now() - i64::from(self.limits().audit_days) * DAY_MS
    }
}

/// Refuses a reason that is too long.
pub(super) fn check_reason(reason: &str) -> Result<(), Error> {
    limits::text(reason, limits::REASON_CHARS_MAX)
        .map_err(|problem| Error::field("reason", problem))
}

/// Refuses a slow mode out of its bounds.
pub(super) fn check_slow_mode(path: &'static str, seconds: i32) -> Result<(), Error> {
    let most = limits::SLOW_MODE_S_MAX;
    if (0..=most).contains(&seconds) {
        return Ok(());
    }
    Err(Error::field(
        path,
        format!("{seconds}; 0 to {most} is allowed"),
    ))
}

/// A field's change.
pub(super) fn change(field: &str, before: impl ToString, after: impl ToString) -> AuditChange {
    AuditChange {
        field: field.to_owned(),
        before: before.to_string(),
        after: after.to_string(),
    }
}

/// A role's change, by the names that the protocol has.
pub(super) fn role_change(before: Role, after: Role) -> AuditChange {
    let name = |role| match role {
        Role::Member => "MEMBER",
        Role::Moderator => "MODERATOR",
        Role::Admin => "ADMIN",
        Role::Owner => "OWNER",
    };
    change("role", name(before), name(after))
}

/// What differs between two states of a server.
pub(super) fn server_changes(before: &Server, after: &Server) -> Vec<AuditChange> {
    let mut changes = Vec::new();
    if before.name != after.name {
        changes.push(change("name", &before.name, &after.name));
    }
    if before.description != after.description {
        changes.push(change("description", "", ""));
    }
    if before.open != after.open {
        changes.push(change("open", before.open, after.open));
    }
    if before.metadata != after.metadata {
        changes.push(change("metadata", "", ""));
    }
    changes
}

/// What differs between two states of a channel.
pub(super) fn channel_changes(before: &Channel, after: &Channel) -> Vec<AuditChange> {
    let mut changes = Vec::new();
    if before.name != after.name {
        changes.push(change("name", &before.name, &after.name));
    }
    if before.description != after.description {
        changes.push(change("description", "", ""));
    }
    if before.rank != after.rank {
        changes.push(change("rank", before.rank, after.rank));
    }
    if before.metadata != after.metadata {
        changes.push(change("metadata", "", ""));
    }
    if before.slow_mode_s != after.slow_mode_s {
        let (before, after) = (before.slow_mode_s, after.slow_mode_s);
        changes.push(change("slow_mode_seconds", before, after));
    }
    changes
}
