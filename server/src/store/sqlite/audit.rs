//! The audit log.

use super::rows::{Of, changes_json};
use super::writer::Tx;
use crate::model::{AUDIT_ENTRIES_MAX, AuditEntry, Id};
use crate::store::{AuditFilter, Error};
use sqlx::sqlite::SqliteConnection;

/// Writes an entry of the change that the transaction makes. One that is there already, of an
/// earlier step of the same change, counts on.
pub(super) async fn write(tx: &mut Tx, entry: &AuditEntry) -> Result<(), Error> {
    let done = sqlx::query("UPDATE audit_log SET count = count + ? WHERE server_id = ? AND id = ?")
        .bind(entry.count)
        .bind(entry.server_id)
        .bind(entry.id)
        .execute(&mut tx.connection)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let number: i64 = sqlx::query_scalar(
        "INSERT INTO audit_log
         SELECT ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
         FROM audit_log WHERE server_id = ?1 RETURNING number",
    )
    .bind(entry.server_id)
    .bind(entry.id)
    .bind(entry.actor_id)
    .bind(entry.action as i32)
    .bind(entry.target_id)
    .bind(entry.channel_id)
    .bind(entry.user_id)
    .bind(entry.count)
    .bind(entry.reason.as_str())
    .bind(changes_json(&entry.changes))
    .bind(entry.created_at)
    .fetch_one(&mut tx.connection)
    .await?;
    sqlx::query("DELETE FROM audit_log WHERE server_id = ? AND number <= ?")
        .bind(entry.server_id)
        .bind(number - AUDIT_ENTRIES_MAX)
        .execute(&mut tx.connection)
        .await?;
    Ok(())
}

/// As [`write`], where there is one.
pub(super) async fn write_some(tx: &mut Tx, entry: Option<AuditEntry>) -> Result<(), Error> {
    match entry {
        Some(entry) => write(tx, &entry).await,
        None => Ok(()),
    }
}

pub(super) async fn read(
    connection: &mut SqliteConnection,
    server: Id,
    filter: AuditFilter,
    before: Id,
    limit: u32,
) -> Result<Vec<AuditEntry>, sqlx::Error> {
    // A text for each, so that each has the index that it needs.
    let statement = match (filter.actor, filter.action) {
        (None, None) => {
            "SELECT * FROM audit_log WHERE server_id = ? AND id < ?
             ORDER BY id DESC LIMIT ?3"
        }
        (Some(_), None) => {
            "SELECT * FROM audit_log WHERE server_id = ? AND id < ? AND actor_id = ?4
             ORDER BY id DESC LIMIT ?3"
        }
        (None, Some(_)) => {
            "SELECT * FROM audit_log WHERE server_id = ? AND id < ? AND action = ?5
             ORDER BY id DESC LIMIT ?3"
        }
        (Some(_), Some(_)) => {
            "SELECT * FROM audit_log WHERE server_id = ? AND id < ? AND actor_id = ?4
             AND action = ?5 ORDER BY id DESC LIMIT ?3"
        }
    };
    let mut query = sqlx::query_as::<_, Of<AuditEntry>>(statement)
        .bind(server)
        .bind(before)
        .bind(limit);
    if filter.actor.is_some() || filter.action.is_some() {
        query = query.bind(filter.actor);
    }
    if let Some(action) = filter.action {
        query = query.bind(action as i32);
    }
    let rows = query.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}
