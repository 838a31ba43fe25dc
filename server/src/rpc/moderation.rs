//! `ModerationService`.

use super::caller::{caller, refused};
use super::pages;
use crate::domain::{BulkDelete, Domain, Error, NewReport, Selection};
use crate::frames;
use crate::model::{AuditAction, AuditEntry, Id, Report, ReportState, UnixMs};
use crate::store::AuditFilter;
use chirm_proto::v1::{self, moderation_service_server::ModerationService};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service over the use cases.
pub(super) struct Moderation(pub(super) Arc<Domain>);

fn entry(entry: AuditEntry) -> v1::AuditEntry {
    let changes = entry.changes.into_iter().map(|change| v1::AuditChange {
        field: change.field,
        old_value: change.before,
        new_value: change.after,
    });
    v1::AuditEntry {
        id: entry.id,
        server_id: entry.server_id,
        actor_id: entry.actor_id,
        action: entry.action as i32,
        target_id: entry.target_id,
        channel_id: entry.channel_id,
        user_id: entry.user_id,
        count: entry.count,
        reason: entry.reason,
        changes: changes.collect(),
        created_at: frames::timestamp(entry.created_at),
    }
}

fn report(report: Report) -> v1::Report {
    v1::Report {
        id: report.id,
        server_id: report.server_id,
        channel_id: report.channel_id,
        message_id: report.message_id,
        author_id: report.author_id,
        reporter_id: report.reporter_id,
        reason: report.reason,
        state: report.state as i32,
        created_at: frames::timestamp(report.created_at),
        resolved_by: report.resolved_by,
        resolved_at: frames::timestamp(report.resolved_at),
        note: report.note,
    }
}

/// A received time. What is out of any bound stays so.
fn unix_ms(time: prost_types::Timestamp) -> UnixMs {
    let millis = i64::from(time.nanos).div_euclid(1_000_000);
    time.seconds.saturating_mul(1_000).saturating_add(millis)
}

/// The state that a filter names; None for any.
fn state_filter(state: i32) -> Result<Option<ReportState>, Status> {
    if state == 0 {
        return Ok(None);
    }
    let found = ReportState::from_i32(state);
    let problem = || format!("{state}; OPEN, RESOLVED, DISMISSED or none is");
    found
        .map(Some)
        .ok_or_else(|| refused(Error::field("state", problem())))
}

fn filter(actor_id: Id, action: i32) -> Result<AuditFilter, Status> {
    let known = AuditAction::from_i32(action);
    if action != 0 && known.is_none() {
        let problem = format!("{action}; one of AuditAction is");
        return Err(refused(Error::field("action", problem)));
    }
    Ok(AuditFilter {
        actor: (actor_id != 0).then_some(actor_id),
        action: known,
    })
}

/// Which messages a request names.
fn selection(
    message_ids: Vec<Id>,
    author_id: Id,
    since: Option<prost_types::Timestamp>,
) -> Result<Selection, Error> {
    if author_id == 0 {
        return match since {
            None => Ok(Selection::Ids(message_ids)),
            Some(_) => Err(Error::field("since", "given; it goes with author_id")),
        };
    }
    if !message_ids.is_empty() {
        let problem = format!("{} ids; none go with author_id", message_ids.len());
        return Err(Error::field("message_ids", problem));
    }
    let since = since.ok_or_else(|| Error::field("since", "missing; author_id needs it"))?;
    Ok(Selection::OfAuthor(author_id, unix_ms(since)))
}

#[tonic::async_trait]
impl ModerationService for Moderation {
    async fn list_audit_log(
        &self,
        request: Request<v1::ListAuditLogRequest>,
    ) -> Result<Response<v1::ListAuditLogResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListAuditLogRequest {
            server_id,
            actor_id,
            action,
            page_size,
            page_token,
        } = request.into_inner();
        let filter = filter(actor_id, action)?;
        let before = pages::from(&page_token)?.unwrap_or(Id::MAX);
        let page = self
            .0
            .list_audit_log(&caller, server_id, filter, before, page_size)
            .await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListAuditLogResponse {
            next_page_token: pages::next(&page, |entry| entry.id),
            entries: page.items.into_iter().map(entry).collect(),
        }))
    }

    async fn time_out_member(
        &self,
        request: Request<v1::TimeOutMemberRequest>,
    ) -> Result<Response<v1::TimeOutMemberResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::TimeOutMemberRequest {
            server_id,
            user_id,
            until,
            reason,
        } = request.into_inner();
        // The Unix epoch itself is a time long past, not the sign that lifts.
        let until = until.map_or(0, |until| match unix_ms(until) {
            0 => -1,
            until => until,
        });
        let member = self
            .0
            .time_out_member(&caller, server_id, user_id, until, reason)
            .await;
        let member = Some(frames::member(&member.map_err(refused)?, None));
        Ok(Response::new(v1::TimeOutMemberResponse { member }))
    }

    async fn bulk_delete_messages(
        &self,
        request: Request<v1::BulkDeleteMessagesRequest>,
    ) -> Result<Response<v1::BulkDeleteMessagesResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::BulkDeleteMessagesRequest {
            server_id,
            channel_id,
            message_ids,
            author_id,
            since,
            reason,
        } = request.into_inner();
        let delete = BulkDelete {
            server_id,
            channel_id,
            selection: selection(message_ids, author_id, since).map_err(refused)?,
            reason,
        };
        let deleted = self.0.bulk_delete(&caller, delete).await;
        let (deleted, more) = deleted.map_err(refused)?;
        Ok(Response::new(v1::BulkDeleteMessagesResponse {
            deleted_count: i32::try_from(deleted).unwrap_or(i32::MAX),
            more,
        }))
    }

    async fn report_message(
        &self,
        request: Request<v1::ReportMessageRequest>,
    ) -> Result<Response<v1::ReportMessageResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let new = NewReport {
            server_id: request.server_id,
            channel_id: request.channel_id,
            message_id: request.message_id,
            reason: request.reason,
        };
        let made = self.0.report_message(&caller, new).await;
        let report = Some(report(made.map_err(refused)?));
        Ok(Response::new(v1::ReportMessageResponse { report }))
    }

    async fn list_reports(
        &self,
        request: Request<v1::ListReportsRequest>,
    ) -> Result<Response<v1::ListReportsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ListReportsRequest {
            server_id,
            state,
            page_size,
            page_token,
        } = request.into_inner();
        let state = state_filter(state)?;
        let before = pages::from(&page_token)?.unwrap_or(Id::MAX);
        let page = self
            .0
            .list_reports(&caller, server_id, state, before, page_size)
            .await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListReportsResponse {
            next_page_token: pages::next(&page, |report| report.id),
            reports: page.items.into_iter().map(report).collect(),
        }))
    }

    async fn resolve_report(
        &self,
        request: Request<v1::ResolveReportRequest>,
    ) -> Result<Response<v1::ResolveReportResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let v1::ResolveReportRequest {
            server_id,
            report_id,
            state,
            note,
        } = request.into_inner();
        let state = ReportState::from_i32(state).ok_or_else(|| {
            let problem = format!("{state}; RESOLVED or DISMISSED is");
            refused(Error::field("state", problem))
        })?;
        let closed = self
            .0
            .resolve_report(&caller, server_id, report_id, state, note)
            .await;
        let report = Some(report(closed.map_err(refused)?));
        Ok(Response::new(v1::ResolveReportResponse { report }))
    }
}
