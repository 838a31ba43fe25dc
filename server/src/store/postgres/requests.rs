//! What creating calls with a request id made, for their repeats.

use super::DAY_MS;
use super::tx::Tx;
use crate::model::Id;
use crate::store::Error;
pub(super) use crate::store::requests::{Kind, Made};

/// Keeps the locks of requests apart from others: "Requests".
const REQUESTS: i64 = 0x5265_7175_6573_7473;

/// What the caller's request made in the last 24 hours. Of two calls with one request the second
/// waits here for the first one's end.
pub(super) async fn made(
    tx: &mut Tx,
    kind: Kind,
    request: &Option<(Id, String)>,
) -> Result<Option<Made>, Error> {
    let remembered = !crate::mutation::on("request_id_forgotten");
    let Some((caller, request)) = request.as_ref().filter(|_| remembered) else {
        return Ok(None);
    };
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))")
        .bind(format!("{}:{caller}:{request}", kind as i32))
        .bind(REQUESTS)
        .execute(&mut *tx.connection)
        .await?;
    Ok(sqlx::query_as(
        "SELECT made_id, first_channel_id, code FROM requests
         WHERE kind = $1 AND caller_id = $2 AND request_id = $3 AND created_at > $4",
    )
    .bind(kind as i32)
    .bind(caller)
    .bind(request)
    .bind(tx.now_ms() - DAY_MS)
    .fetch_optional(&mut *tx.connection)
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
        sqlx::query(
            "INSERT INTO requests (kind, caller_id, request_id, made_id, first_channel_id, code,
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (kind, caller_id, request_id) DO UPDATE SET made_id = excluded.made_id,
             first_channel_id = excluded.first_channel_id, code = excluded.code,
             created_at = excluded.created_at",
        )
        .bind(kind as i32)
        .bind(caller)
        .bind(request)
        .bind(made.id)
        .bind(made.first_channel)
        .bind(made.code)
        .bind(tx.now_ms())
        .execute(&mut *tx.connection)
        .await?;
    }
    Ok(())
}
