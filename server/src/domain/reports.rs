//! Reports: messages that somebody shows to a server's moderators.

use super::access::may;
use super::permissions::Action;
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{AuditAction, AuditEntry, ChannelType, Id, Report, ReportState, Role, limits};
use crate::store::ReportBounds;
use std::sync::Arc;

/// Reports of a page, where the caller doesn't say.
const PAGE: u32 = 100;
/// Reports read at once to fill a page.
const READ: u32 = 1_000;

/// A message to report.
#[derive(Clone, Debug, Default)]
pub struct NewReport {
    /// The server.
    pub server_id: Id,
    /// A channel of it.
    pub channel_id: Id,
    /// The message.
    pub message_id: Id,
    /// 1 to 1,024 characters.
    pub reason: String,
}

impl Domain {
    /// Shows a message to the server's moderators. Twice is once, while it is open.
    pub async fn report_message(
        self: &Arc<Self>,
        caller: &Caller,
        new: NewReport,
    ) -> Result<Report, Error> {
        if new.reason.is_empty() {
            let most = limits::REPORT_CHARS_MAX;
            let problem = format!("0 characters; 1 to {most} are allowed");
            return Err(Error::field("reason", problem));
        }
        limits::text(&new.reason, limits::REPORT_CHARS_MAX)
            .map_err(|problem| Error::field("reason", problem))?;
        let channel = self.authorise(caller, new.channel_id, Action::See).await?;
        if channel.kind == ChannelType::Direct {
            let message = "A DIRECT channel has no moderators; block the user instead.";
            return Err(Error::new(Reason::WrongChannelType, message));
        }
        self.authorise(caller, channel.id, Action::Report).await?;
        if channel.server_id != new.server_id {
            return Err(Error::not_found("channel"));
        }
        let message = self.existing(channel.id, new.message_id).await?;
        self.throttle.create(caller)?;
        let report = Report {
            id: self.mint()?,
            server_id: channel.server_id,
            channel_id: channel.id,
            message_id: message.id,
            author_id: message.author_id,
            reporter_id: caller.user_id,
            reason: new.reason,
            state: ReportState::Open,
            created_at: self.now(),
            resolved_by: 0,
            resolved_at: 0,
            note: String::new(),
        };
        let bounds = ReportBounds {
            server: self.bound(self.limits().open_reports_per_server),
            reporter: self.favoured(caller, self.limits().open_reports_per_user),
        };
        self.complete(move |domain| async move {
            let made = domain.store.create_report(report, bounds).await;
            Ok(made?)
        })
        .await
    }

    /// A page of the reports of messages in channels that the caller sees, newest first, of ids
    /// below one. Those of channels that are gone are shown to all moderators.
    pub async fn list_reports(
        &self,
        caller: &Caller,
        server: Id,
        state: Option<ReportState>,
        mut before: Id,
        size: i32,
    ) -> Result<Listed<Report>, Error> {
        let size = pages::size(size, PAGE)?;
        let action = Action::HandleReports;
        let role = self.authorise_server(caller, server, action).await?;
        let mut seen = Vec::new();
        loop {
            let read = self.store.reports(server, state, before, READ).await?;
            let last = read.len() < READ as usize;
            before = read.last().map_or(before, |report| report.id);
            for report in read {
                if self.sees_report(caller, role, &report).await? {
                    seen.push(report);
                }
            }
            if last || seen.len() > size as usize {
                return Ok(pages::cut(seen, size));
            }
        }
    }

    /// Closes a report: what became of it, and what there is to say.
    pub async fn resolve_report(
        self: &Arc<Self>,
        caller: &Caller,
        server: Id,
        id: Id,
        state: ReportState,
        note: String,
    ) -> Result<Report, Error> {
        limits::text(&note, limits::REASON_CHARS_MAX)
            .map_err(|problem| Error::field("note", problem))?;
        if state == ReportState::Open {
            let problem = "OPEN; RESOLVED or DISMISSED is";
            return Err(Error::field("state", problem));
        }
        let action = Action::HandleReports;
        let role = self.authorise_server(caller, server, action).await?;
        let absent = || Error::not_found("report");
        let report = self.store.report(server, id).await?.ok_or_else(absent)?;
        if !self.sees_report(caller, role, &report).await? {
            return Err(absent());
        }
        let audit = AuditEntry {
            target_id: id,
            channel_id: report.channel_id,
            user_id: report.author_id,
            reason: note.clone(),
            ..self.audit(caller, server, AuditAction::ReportResolved)?
        };
        let closed = Report {
            state,
            resolved_by: caller.user_id,
            resolved_at: self.now(),
            note,
            ..report
        };
        self.complete(
            move |domain| async move { Ok(domain.store.resolve_report(closed, audit).await?) },
        )
        .await
    }

    async fn sees_report(
        &self,
        caller: &Caller,
        role: Role,
        report: &Report,
    ) -> Result<bool, Error> {
        Ok(match self.channel_of(report.channel_id).await? {
            Some(channel) => may(caller.user_id, Some(role), &channel, Action::See),
            None => true,
        })
    }
}
