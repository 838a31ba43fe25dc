//! Reports of messages.

use super::audit;
use super::rows::Of;
use super::writer::Tx;
use crate::model::{AuditEntry, Id, Report, ReportState};
use crate::store::{Error, ReportBounds};
use sqlx::sqlite::SqliteConnection;

pub(super) async fn get(
    connection: &mut SqliteConnection,
    server: Id,
    id: Id,
) -> Result<Option<Report>, sqlx::Error> {
    let row: Option<Of<Report>> =
        sqlx::query_as("SELECT * FROM reports WHERE server_id = ? AND id = ?")
            .bind(server)
            .bind(id)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|row| row.0))
}

/// Newest first.
pub(super) async fn list(
    connection: &mut SqliteConnection,
    server: Id,
    state: Option<ReportState>,
    before: Id,
    limit: u32,
) -> Result<Vec<Report>, sqlx::Error> {
    let statement = match state {
        None => "SELECT * FROM reports WHERE server_id = ? AND id < ? ORDER BY id DESC LIMIT ?3",
        Some(_) => {
            "SELECT * FROM reports WHERE server_id = ? AND id < ? AND state = ?4
             ORDER BY id DESC LIMIT ?3"
        }
    };
    let mut query = sqlx::query_as::<_, Of<Report>>(statement)
        .bind(server)
        .bind(before)
        .bind(limit);
    if let Some(state) = state {
        query = query.bind(state as i32);
    }
    let rows = query.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

pub(super) async fn create(
    tx: &mut Tx,
    report: Report,
    bounds: ReportBounds,
) -> Result<Report, Error> {
    let earlier: Option<Of<Report>> = sqlx::query_as(
        "SELECT * FROM reports
         WHERE channel_id = ? AND message_id = ? AND reporter_id = ? AND state = 1",
    )
    .bind(report.channel_id)
    .bind(report.message_id)
    .bind(report.reporter_id)
    .fetch_optional(&mut tx.connection)
    .await?;
    if let Some(Of(earlier)) = earlier {
        return Ok(earlier);
    }
    let (there, open, own): (bool, i64, i64) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM servers WHERE id = ?1),
                count(*), coalesce(sum(reporter_id = ?2), 0)
         FROM reports WHERE server_id = ?1 AND state = 1",
    )
    .bind(report.server_id)
    .bind(report.reporter_id)
    .fetch_one(&mut tx.connection)
    .await?;
    if !there {
        return Err(Error::NotFound("server"));
    }
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
        "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, 0, 0, '') ON CONFLICT DO NOTHING",
    )
    .bind(report.id)
    .bind(report.server_id)
    .bind(report.channel_id)
    .bind(report.message_id)
    .bind(report.author_id)
    .bind(report.reporter_id)
    .bind(report.reason.as_str())
    .bind(report.created_at)
    .execute(&mut tx.connection)
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
        "UPDATE reports SET state = ?, resolved_by = ?, resolved_at = ?, note = ?
         WHERE server_id = ? AND id = ? AND state = 1",
    )
    .bind(report.state as i32)
    .bind(report.resolved_by)
    .bind(report.resolved_at)
    .bind(report.note.as_str())
    .bind(report.server_id)
    .bind(report.id)
    .execute(&mut tx.connection)
    .await?;
    if done.rows_affected() == 1 {
        audit::write(tx, &entry).await?;
    }
    let now = get(&mut tx.connection, report.server_id, report.id).await?;
    now.ok_or(Error::NotFound("report"))
}
