//! Invitations.

use super::DAY_MS;
use super::rows::Of;
use super::tx::Tx;
use crate::model::{Id, Invite, Member, UnixMs, limits};
use crate::store::Error;
use sqlx::PgConnection;

pub(super) async fn get(
    connection: &mut PgConnection,
    code: &str,
) -> Result<Option<Invite>, sqlx::Error> {
    let row: Option<Of<Invite>> = sqlx::query_as("SELECT * FROM invites WHERE code = $1")
        .bind(code)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.0))
}

/// A server's invitations that are open, by code.
pub(super) async fn open(
    connection: &mut PgConnection,
    server: Id,
    now: UnixMs,
    after: String,
    limit: u32,
) -> Result<Vec<Invite>, sqlx::Error> {
    let rows: Vec<Of<Invite>> = sqlx::query_as(
        "SELECT * FROM invites WHERE server_id = $1 AND code > $2
         AND (expires_at = 0 OR expires_at > $3) AND (max_uses = 0 OR uses < max_uses)
         ORDER BY code LIMIT $4",
    )
    .bind(server)
    .bind(after)
    .bind(now)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Stores an invitation, unless as many are open as may be. The server's row is held by the caller,
/// so that of many at once no more are stored.
pub(super) async fn insert(tx: &mut Tx, invite: &Invite) -> Result<(), Error> {
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM invites WHERE server_id = $1
         AND (expires_at = 0 OR expires_at > $2) AND (max_uses = 0 OR uses < max_uses)",
    )
    .bind(invite.server_id)
    .bind(tx.now_ms())
    .fetch_one(&mut *tx.connection)
    .await?;
    if open >= i64::from(limits::INVITES_MAX) {
        return Err(Error::LimitReached("invites", limits::INVITES_MAX));
    }
    let done = sqlx::query(
        "INSERT INTO invites (code, server_id, creator_id, max_uses, uses, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(invite.code.as_str())
    .bind(invite.server_id)
    .bind(invite.creator_id)
    .bind(invite.max_uses)
    .bind(invite.uses)
    .bind(invite.expires_at)
    .execute(&mut *tx.connection)
    .await?;
    match done.rows_affected() {
        0 => Err(Error::Conflict("invite")),
        _ => Ok(()),
    }
}

/// Counts an invitation's use. After its last one it is over in a day.
pub(super) async fn spend(tx: &mut Tx, member: &Member, code: &str) -> Result<(), Error> {
    let done = sqlx::query(
        "UPDATE invites SET uses = uses + 1, expires_at = CASE
             WHEN uses + 1 = max_uses AND (expires_at = 0 OR expires_at > $4) THEN $4
             ELSE expires_at END
         WHERE code = $1 AND server_id = $2 AND (max_uses = 0 OR uses < max_uses)
         AND (expires_at = 0 OR expires_at > $3)",
    )
    .bind(code)
    .bind(member.server_id)
    .bind(member.joined_at)
    .bind(member.joined_at.saturating_add(DAY_MS))
    .execute(&mut *tx.connection)
    .await?;
    match done.rows_affected() {
        0 => Err(Error::NotFound("invite")),
        _ => Ok(()),
    }
}
