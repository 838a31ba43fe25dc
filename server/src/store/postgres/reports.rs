//! Reports of messages.

use super::rows::Of;
use super::tx::Tx;
use super::{audit, servers};
use crate::model::{AuditEntry, Id, Report, ReportState};
use crate::store::{Error, ReportBounds};
use sqlx::PgConnection;

pub(super) async fn get(
    connection: &mut PgConnection,
    server: Id,
    id: Id,
) -> Result<Option<Report>, sqlx::Error> {
    let row: Option<Of<Report>> =
        sqlx::query_as("SELECT * FROM reports WHERE server_id = $1 AND id = $2")
            .bind(server)
            .bind(id)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|row| row.0))
}

/// Newest first.
pub(super) async fn list(
    connection: &mut PgConnection,
    server: Id,
    state: Option<ReportState>,
    before: Id,
    limit: u32,
) -> Result<Vec<Report>, sqlx::Error> {
    let statement = match state {
        None => "SELECT * FROM reports WHERE server_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        Some(_) => {
            "SELECT * FROM reports WHERE server_id = $1 AND id < $2 AND state = $4
             ORDER BY id DESC LIMIT $3"
        }
    };
    let mut query = sqlx::query_as::<_, Of<Report>>(statement)
        .bind(server)
        .bind(before)
        .bind(i64::from(limit));
    if let Some(state) = state {
        query = query.bind(state as i32);
    }
    let rows = query.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// The server's row is locked, so that of many at once no more are stored than may be.
pub(super) async fn create(
    tx: &mut Tx,
    report: Report,
    bounds: ReportBounds,
) -> Result<Report, Error> {
    let there = servers::hold(tx, report.server_id).await?.is_some();
    let earlier: Option<Of<Report>> = sqlx::query_as(
        "SELECT * FROM reports
         WHERE channel_id = $1 AND message_id = $2 AND reporter_id = $3 AND state = 1",
    )
    .bind(report.channel_id)
    .bind(report.message_id)
    .bind(report.reporter_id)
    .fetch_optional(&mut *tx.connection)
    .await?;
    if let Some(Of(earlier)) = earlier {
        return Ok(earlier);
    }
    if !there {
        return Err(Error::NotFound("server"));
    }
    let (open, own): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE reporter_id = $2)
         FROM reports WHERE server_id = $1 AND state = 1",
    )
    .bind(report.server_id)
    .bind(report.reporter_id)
    .fetch_one(&mut *tx.connection)
    .await?;
    if own >= i64::from(bounds.reporter) {
        return Err(Error::LimitReached(
            "open reports of yours",
            bounds.reporter,
        ));
    }
    if open >= i64::from(bounds.server) {
        return Err(Error::LimitReached("open reports", bounds.server));
    }
    let done = sqlx::query(
        "INSERT INTO reports (id, server_id, channel_id, message_id, author_id, reporter_id,
         reason, state, created_at, resolved_by, resolved_at, note)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, 0, 0, '') ON CONFLICT DO NOTHING",
    )
    .bind(report.id)
    .bind(report.server_id)
    .bind(report.channel_id)
    .bind(report.message_id)
    .bind(report.author_id)
    .bind(report.reporter_id)
    .bind(report.reason.as_str())
    .bind(report.created_at)
    .execute(&mut *tx.connection)
    .await?;
    match done.rows_affected() {
        0 => Err(Error::Conflict("report")),
        _ => Ok(report),
    }
}

pub(super) async fn resolve(
    tx: &mut Tx,
    report: Report,
    entry: AuditEntry,
) -> Result<Report, Error> {
    let done = sqlx::query(
        "UPDATE reports SET state = $1, resolved_by = $2, resolved_at = $3, note = $4
         WHERE server_id = $5 AND id = $6 AND state = 1",
    )
    .bind(report.state as i32)
    .bind(report.resolved_by)
    .bind(report.resolved_at)
    .bind(report.note.as_str())
    .bind(report.server_id)
    .bind(report.id)
    .execute(&mut *tx.connection)
    .await?;
    if done.rows_affected() == 1 {
        audit::write(tx, &entry).await?;
    }
    let now = get(&mut tx.connection, report.server_id, report.id).await?;
    now.ok_or(Error::NotFound("report"))
}
