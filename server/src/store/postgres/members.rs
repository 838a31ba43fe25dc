//! Who belongs to a server: joining, roles, leaving, bans. Every change of a server's members locks
//! the server's row, so that it is counted right, whatever runs at once.

use super::rows::{self, Of};
use super::tx::Tx;
use super::{invites, servers, webhook_queue};
use crate::model::{Ban, Id, Member, Role, User, WebhookEvent};
use crate::store::Error;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{FromRow as _, PgConnection};

/// Members that are asked for by their ids at once.
const AMONG_MAX: usize = 1_000;

/// A membership with the end of its time-out.
const MEMBER: &str = "SELECT m.*, coalesce(t.until, 0) AS timed_out_until FROM members m
     LEFT JOIN time_outs t ON t.server_id = m.server_id AND t.user_id = m.user_id
     WHERE m.server_id = $1 AND m.user_id = $2";

pub(super) async fn get(
    connection: &mut PgConnection,
    server: Id,
    user: Id,
) -> Result<Option<Member>, sqlx::Error> {
    let row: Option<Of<Member>> = sqlx::query_as(MEMBER)
        .bind(server)
        .bind(user)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.0))
}

/// Those of the users that are members, by their ids.
pub(super) async fn among(
    pool: &PgPool,
    server: Id,
    users: &[Id],
) -> Result<Vec<(Member, User)>, sqlx::Error> {
    let rows: Vec<PgRow> = sqlx::query(
        "SELECT m.*, u.*, coalesce(t.until, 0) AS timed_out_until
         FROM members m JOIN users u ON u.id = m.user_id
         LEFT JOIN time_outs t ON t.server_id = m.server_id AND t.user_id = m.user_id
         WHERE m.server_id = $1 AND m.user_id = ANY($2) ORDER BY m.user_id",
    )
    .bind(server)
    .bind(&users[..users.len().min(AMONG_MAX)])
    .fetch_all(pool)
    .await?;
    with_users(&rows)
}

/// Members with ids above `after`, ascending.
pub(super) async fn page(
    pool: &PgPool,
    server: Id,
    after: Id,
    limit: u32,
) -> Result<Vec<(Member, User)>, sqlx::Error> {
    let rows: Vec<PgRow> = sqlx::query(
        "SELECT m.*, u.*, coalesce(t.until, 0) AS timed_out_until
         FROM members m JOIN users u ON u.id = m.user_id
         LEFT JOIN time_outs t ON t.server_id = m.server_id AND t.user_id = m.user_id
         WHERE m.server_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3",
    )
    .bind(server)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    with_users(&rows)
}

fn with_users(rows: &[PgRow]) -> Result<Vec<(Member, User)>, sqlx::Error> {
    let of = |row| Ok((Of::<Member>::from_row(row)?.0, Of::<User>::from_row(row)?.0));
    rows.iter().map(of).collect()
}

/// What lists of members are ordered by.
pub(super) async fn names(
    pool: &PgPool,
    server: Id,
    after: Id,
    limit: u32,
) -> Result<Vec<(Id, Role, String)>, sqlx::Error> {
    let rows: Vec<(Id, i32, String)> = sqlx::query_as(
        "SELECT m.user_id, m.role, u.display_name FROM members m JOIN users u ON u.id = m.user_id
         WHERE m.server_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3",
    )
    .bind(server)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let rows = rows.into_iter();
    rows.map(|(id, role, name)| Ok((id, rows::role(role)?, name)))
        .collect()
}

/// The roles of a user in all its servers.
pub(super) async fn roles(
    connection: &mut PgConnection,
    user: Id,
) -> Result<Vec<(Id, Role)>, sqlx::Error> {
    let rows: Vec<(Id, i32)> =
        sqlx::query_as("SELECT server_id, role FROM members WHERE user_id = $1 ORDER BY server_id")
            .bind(user)
            .fetch_all(connection)
            .await?;
    let roles = rows
        .into_iter()
        .map(|(server, role)| Ok((server, rows::role(role)?)));
    roles.collect()
}

/// In how many servers a user is. It stays so while the user's row is held (see [`hold_user`]).
pub(super) async fn count(tx: &mut Tx, user: Id) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM members WHERE user_id = $1")
        .bind(user)
        .fetch_one(&mut *tx.connection)
        .await
}

/// Locks a user's row until the transaction ends, so that nobody else adds to what is bounded a
/// user. False if the user isn't there (any more). Users are locked before servers.
pub(super) async fn hold_user(tx: &mut Tx, user: Id) -> Result<bool, sqlx::Error> {
    let held: Option<Id> =
        sqlx::query_scalar("SELECT id FROM users WHERE id = $1 AND NOT deleted FOR NO KEY UPDATE")
            .bind(user)
            .fetch_optional(&mut *tx.connection)
            .await?;
    Ok(held.is_some())
}

/// Adds a member, or answers the membership that is there.
pub(super) async fn add(
    tx: &mut Tx,
    member: Member,
    invite: Option<String>,
    max_members: u32,
    max_servers: u32,
) -> Result<(Member, bool), Error> {
    // Who is there already needs no lock, and mostly it is known here.
    if let Some(there) = get(&mut tx.connection, member.server_id, member.user_id).await? {
        return Ok((there, false));
    }
    if !hold_user(tx, member.user_id).await? {
        return Err(Error::NotFound("user"));
    }
    let members = servers::hold(tx, member.server_id).await?;
    let members = members.ok_or(Error::NotFound("server"))?;
    // Another call may have added it before the lock was ours.
    if let Some(there) = get(&mut tx.connection, member.server_id, member.user_id).await? {
        return Ok((there, false));
    }
    let (banned, servers): (bool, i64) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM bans WHERE server_id = $1 AND user_id = $2),
                (SELECT count(*) FROM members WHERE user_id = $2)",
    )
    .bind(member.server_id)
    .bind(member.user_id)
    .fetch_one(&mut *tx.connection)
    .await?;
    if banned {
        return Err(Error::Conflict("banned"));
    }
    if let Some(code) = invite {
        invites::spend(tx, &member, &code).await?;
    }
    if i64::from(members) >= i64::from(max_members) {
        return Err(Error::LimitReached("members", max_members));
    }
    if servers >= i64::from(max_servers) {
        return Err(Error::LimitReached("servers", max_servers));
    }
    insert(tx, &member).await?;
    count_members(tx, member.server_id, 1).await?;
    Ok((member, true))
}

/// Writes the row, and queues for webhooks that it is there.
pub(super) async fn insert(tx: &mut Tx, member: &Member) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO members (server_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(member.server_id)
    .bind(member.user_id)
    .bind(member.role as i32)
    .bind(member.joined_at)
    .execute(&mut *tx.connection)
    .await?;
    let event = WebhookEvent::MemberJoined;
    webhook_queue::membership(tx, event, member.server_id, member.user_id).await?;
    Ok(())
}

async fn count_members(tx: &mut Tx, server: Id, more: i32) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE servers SET member_count = member_count + $1 WHERE id = $2")
        .bind(more)
        .bind(server)
        .execute(&mut *tx.connection)
        .await
        .map(drop)
}

/// Sets a role. A new owner turns the old one into an admin.
pub(super) async fn set_role(
    tx: &mut Tx,
    server: Id,
    user: Id,
    role: Role,
) -> Result<Member, Error> {
    servers::hold(tx, server).await?;
    let member = get(&mut tx.connection, server, user).await?;
    let mut member = member.ok_or(Error::NotFound("member"))?;
    match (member.role, role) {
        (Role::Owner, Role::Owner) => return Ok(member),
        (Role::Owner, _) => return Err(Error::Conflict("owner")),
        (_, Role::Owner) => {
            sqlx::query(
                "UPDATE members SET role = $1 WHERE server_id = $2 AND user_id =
                 (SELECT owner_id FROM servers WHERE id = $2)",
            )
            .bind(Role::Admin as i32)
            .bind(server)
            .execute(&mut *tx.connection)
            .await?;
            sqlx::query("UPDATE servers SET owner_id = $1 WHERE id = $2")
                .bind(user)
                .bind(server)
                .execute(&mut *tx.connection)
                .await?;
        }
        _ => {}
    }
    sqlx::query("UPDATE members SET role = $1 WHERE server_id = $2 AND user_id = $3")
        .bind(role as i32)
        .bind(server)
        .bind(user)
        .execute(&mut *tx.connection)
        .await?;
    member.role = role;
    Ok(member)
}

/// Takes a member out, of the private channels too. False if it was none.
pub(super) async fn remove(tx: &mut Tx, server: Id, user: Id) -> Result<bool, Error> {
    servers::hold(tx, server).await?;
    let Some(member) = get(&mut tx.connection, server, user).await? else {
        return Ok(false);
    };
    if member.role == Role::Owner {
        return Err(Error::Conflict("owner"));
    }
    sqlx::query(
        "WITH of_server AS (SELECT id FROM channels WHERE server_id = $1),
         named AS (
             DELETE FROM channel_members WHERE user_id = $2
             AND channel_id IN (SELECT id FROM of_server)),
         reading AS (
             DELETE FROM read_states WHERE user_id = $2
             AND channel_id IN (SELECT id FROM of_server)),
         mentioned AS (
             DELETE FROM mentions WHERE user_id = $2
             AND channel_id IN (SELECT id FROM of_server))
         DELETE FROM members WHERE server_id = $1 AND user_id = $2",
    )
    .bind(server)
    .bind(user)
    .execute(&mut *tx.connection)
    .await?;
    count_members(tx, server, -1).await?;
    webhook_queue::membership(tx, WebhookEvent::MemberLeft, server, user).await?;
    Ok(true)
}

/// Bans, and takes the member out. False if the ban was there already.
pub(super) async fn ban(tx: &mut Tx, ban: Ban) -> Result<bool, Error> {
    if servers::hold(tx, ban.server_id).await?.is_none() {
        return Err(Error::NotFound("server"));
    }
    let removed = remove(tx, ban.server_id, ban.user_id).await?;
    let done = sqlx::query(
        "INSERT INTO bans (server_id, user_id, banned_by, reason, created_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(ban.server_id)
    .bind(ban.user_id)
    .bind(ban.banned_by)
    .bind(ban.reason)
    .bind(ban.created_at)
    .execute(&mut *tx.connection)
    .await?;
    Ok(removed || done.rows_affected() == 1)
}
