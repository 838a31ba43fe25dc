//! What creating calls with a request id made, for their repeats.

use super::DAY_MS;
use super::writer::Tx;
use crate::model::Id;
use crate::store::Error;

/// What a request made.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(super) enum Kind {
    Server = 1,
    Channel = 2,
    Bot = 3,
    Key = 4,
}

/// What the caller's request made in the last 24 hours: its id, and its first channel's.
pub(super) async fn made(
    tx: &mut Tx,
    kind: Kind,
    request: &Option<(Id, String)>,
) -> Result<Option<(Id, Id)>, Error> {
    let Some((caller, request)) = request else {
        return Ok(None);
    };
    Ok(sqlx::query_as(
        "SELECT made_id, first_channel_id FROM requests
         WHERE kind = ? AND caller_id = ? AND request_id = ? AND created_at > ?",
    )
    .bind(kind as i32)
    .bind(caller)
    .bind(request)
    .bind(tx.now_ms() - DAY_MS)
    .fetch_optional(&mut tx.connection)
    .await?)
}

/// Remembers what the request made.
pub(super) async fn remember(
    tx: &mut Tx,
    kind: Kind,
    request: Option<(Id, String)>,
    made: Id,
    first_channel: Id,
) -> Result<(), Error> {
    if let Some((caller, request)) = request {
        sqlx::query("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?)")
            .bind(kind as i32)
            .bind(caller)
            .bind(request)
            .bind(made)
            .bind(first_channel)
            .bind(tx.now_ms())
            .execute(&mut tx.connection)
            .await?;
    }
    Ok(())
}
