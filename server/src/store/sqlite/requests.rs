//! What creating calls with a request id made, for their repeats.

use super::DAY_MS;
use super::writer::Tx;
use crate::model::Id;
use crate::store::Error;
pub(super) use crate::store::requests::{Kind, Made};

/// What the caller's request made in the last 24 hours.
pub(super) async fn made(
    tx: &mut Tx,
    kind: Kind,
    request: &Option<(Id, String)>,
) -> Result<Option<Made>, Error> {
    let remembered = !crate::mutation::on("request_id_forgotten");
    let Some((caller, request)) = request.as_ref().filter(|_| remembered) else {
        return Ok(None);
    };
    Ok(sqlx::query_as(
        "SELECT made_id, first_channel_id, code FROM requests
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
    made: Made,
) -> Result<(), Error> {
    if let Some((caller, request)) = request {
        sqlx::query("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(kind as i32)
            .bind(caller)
            .bind(request)
            .bind(made.id)
            .bind(made.first_channel)
            .bind(made.code)
            .bind(tx.now_ms())
            .execute(&mut tx.connection)
            .await?;
    }
    Ok(())
}
