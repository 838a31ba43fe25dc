//! Who belongs to a server: joining, roles, leaving, bans.

use super::rows::{self, Of};
use super::writer::Tx;
use super::{invites, users, webhook_queue};
use crate::model::{Ban, Id, Member, Role, User, WebhookEvent};
use crate::store::Error;
use sqlx::FromRow as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

/// Members that are asked for by their ids at once.
const AMONG_MAX: usize = 1_000;

/// A membership with the end of its time-out.
const MEMBER: &str = "SELECT m.*, coalesce((SELECT until FROM time_outs t
         WHERE t.server_id = m.server_id AND t.user_id = m.user_id), 0) AS timed_out_until
     FROM members m WHERE server_id = ? AND user_id = ?";

pub(super) async fn get(
    connection: &mut SqliteConnection,
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
    read: &SqlitePool,
    server: Id,
    users: &[Id],
) -> Result<Vec<(Member, User)>, sqlx::Error> {
    let ids: Vec<Id> = users.iter().copied().take(AMONG_MAX).collect();
    // CROSS: the users first, whatever the planner thinks of them; else it walks along all members.
    let rows: Vec<SqliteRow> = sqlx::query(
        "SELECT m.*, u.*, coalesce(t.until, 0) AS timed_out_until FROM json_each(?) j
         CROSS JOIN members m ON m.server_id = ? AND m.user_id = j.value
         CROSS JOIN users u ON u.id = m.user_id
         LEFT JOIN time_outs t ON t.server_id = m.server_id AND t.user_id = m.user_id",
    )
    .bind(serde_json::to_string(&ids).unwrap_or_default())
    .bind(server)
    .fetch_all(read)
    .await?;
    let mut found = with_users(&rows)?;
    found.sort_unstable_by_key(|(member, _)| member.user_id);
    Ok(found)
}

/// Members with ids above `after`, ascending.
pub(super) async fn page(
    read: &SqlitePool,
    server: Id,
    after: Id,
    limit: u32,
) -> Result<Vec<(Member, User)>, sqlx::Error> {
    let rows: Vec<SqliteRow> = sqlx::query(
        "SELECT m.*, u.*, coalesce(t.until, 0) AS timed_out_until
         FROM members m JOIN users u ON u.id = m.user_id
         LEFT JOIN time_outs t ON t.server_id = m.server_id AND t.user_id = m.user_id
         WHERE m.server_id = ? AND m.user_id > ? ORDER BY m.user_id LIMIT ?",
    )
    .bind(server)
    .bind(after)
    .bind(limit)
    .fetch_all(read)
    .await?;
    with_users(&rows)
}

fn with_users(rows: &[SqliteRow]) -> Result<Vec<(Member, User)>, sqlx::Error> {
    let of = |row| Ok((Of::<Member>::from_row(row)?.0, Of::<User>::from_row(row)?.0));
    rows.iter().map(of).collect()
}

/// What lists of members are ordered by.
pub(super) async fn names(
    read: &SqlitePool,
    server: Id,
    after: Id,
    limit: u32,
) -> Result<Vec<(Id, Role, String)>, sqlx::Error> {
    let rows: Vec<(Id, i32, String)> = sqlx::query_as(
        "SELECT m.user_id, m.role, u.display_name FROM members m JOIN users u ON u.id = m.user_id
         WHERE m.server_id = ? AND m.user_id > ? ORDER BY m.user_id LIMIT ?",
    )
    .bind(server)
    .bind(after)
    .bind(limit)
    .fetch_all(read)
    .await?;
    let rows = rows.into_iter();
    rows.map(|(id, role, name)| Ok((id, rows::role(role)?, name)))
        .collect()
}

/// The roles of a user in all its servers.
pub(super) async fn roles(
    connection: &mut SqliteConnection,
    user: Id,
) -> Result<Vec<(Id, Role)>, sqlx::Error> {
    let rows: Vec<(Id, i32)> =
        sqlx::query_as("SELECT server_id, role FROM members WHERE user_id = ? ORDER BY server_id")
            .bind(user)
            .fetch_all(connection)
            .await?;
    let roles = rows
        .into_iter()
        .map(|(server, role)| Ok((server, rows::role(role)?)));
    roles.collect()
}

/// In how many servers a user is.
pub(super) async fn count(tx: &mut Tx, user: Id) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM members WHERE user_id = ?")
        .bind(user)
        .fetch_one(&mut tx.connection)
        .await
}

/// Adds a member, or answers the membership that is there.
pub(super) async fn add(
    tx: &mut Tx,
    member: Member,
    invite: Option<String>,
    max_members: u32,
    max_servers: u32,
) -> Result<(Member, bool), Error> {
    if let Some(there) = get(&mut tx.connection, member.server_id, member.user_id).await? {
        return Ok((there, false));
    }
    users::require(tx, member.user_id).await?;
    let (members, banned): (Option<i64>, bool) = sqlx::query_as(
        "SELECT (SELECT member_count FROM servers WHERE id = ?1),
                EXISTS (SELECT 1 FROM bans WHERE server_id = ?1 AND user_id = ?2)",
    )
    .bind(member.server_id)
    .bind(member.user_id)
    .fetch_one(&mut tx.connection)
    .await?;
    let members = members.ok_or(Error::NotFound("server"))?;
    if banned {
        return Err(Error::Conflict("banned"));
    }
    if let Some(code) = invite {
        invites::spend(tx, &member, &code).await?;
    }
    if members >= i64::from(max_members) {
        return Err(Error::LimitReached("members", max_members));
    }
    if count(tx, member.user_id).await? >= i64::from(max_servers) {
        return Err(Error::LimitReached("servers", max_servers));
    }
    insert(tx, &member).await?;
    sqlx::query("UPDATE servers SET member_count = member_count + 1 WHERE id = ?")
        .bind(member.server_id)
        .execute(&mut tx.connection)
        .await?;
    Ok((member, true))
}

/// Writes the row, and queues for webhooks that it is there.
pub(super) async fn insert(tx: &mut Tx, member: &Member) -> Result<(), Error> {
    sqlx::query("INSERT INTO members VALUES (?, ?, ?, ?)")
        .bind(member.server_id)
        .bind(member.user_id)
        .bind(member.role as i32)
        .bind(member.joined_at)
        .execute(&mut tx.connection)
        .await?;
    let event = WebhookEvent::MemberJoined;
    webhook_queue::membership(tx, event, member.server_id, member.user_id).await?;
    Ok(())
}

/// Sets a role. A new owner turns the old one into an admin.
pub(super) async fn set_role(
    tx: &mut Tx,
    server: Id,
    user: Id,
    role: Role,
) -> Result<Member, Error> {
    let member = get(&mut tx.connection, server, user).await?;
    let mut member = member.ok_or(Error::NotFound("member"))?;
    match (member.role, role) {
        (Role::Owner, Role::Owner) => return Ok(member),
        (Role::Owner, _) => return Err(Error::Conflict("owner")),
        (_, Role::Owner) => {
            sqlx::query(
                "UPDATE members SET role = ? WHERE server_id = ?2 AND user_id =
                 (SELECT owner_id FROM servers WHERE id = ?2)",
            )
            .bind(Role::Admin as i32)
            .bind(server)
            .execute(&mut tx.connection)
            .await?;
            sqlx::query("UPDATE servers SET owner_id = ? WHERE id = ?")
                .bind(user)
                .bind(server)
                .execute(&mut tx.connection)
                .await?;
        }
        _ => {}
    }
    sqlx::query("UPDATE members SET role = ? WHERE server_id = ? AND user_id = ?")
        .bind(role as i32)
        .bind(server)
        .bind(user)
        .execute(&mut tx.connection)
        .await?;
    member.role = role;
    Ok(member)
}

/// Takes a member out, of the private channels too. False if it was none.
pub(super) async fn remove(tx: &mut Tx, server: Id, user: Id) -> Result<bool, Error> {
    let Some(member) = get(&mut tx.connection, server, user).await? else {
        return Ok(false);
    };
    if member.role == Role::Owner {
        return Err(Error::Conflict("owner"));
    }
    for statement in [
        "DELETE FROM members WHERE server_id = ?1 AND user_id = ?2",
        "DELETE FROM channel_members WHERE user_id = ?2
         AND channel_id IN (SELECT id FROM channels WHERE server_id = ?1)",
        "DELETE FROM read_states WHERE user_id = ?2
         AND channel_id IN (SELECT id FROM channels WHERE server_id = ?1)",
        "DELETE FROM mentions WHERE user_id = ?2
         AND channel_id IN (SELECT id FROM channels WHERE server_id = ?1)",
    ] {
        sqlx::query(statement)
            .bind(server)
            .bind(user)
            .execute(&mut tx.connection)
            .await?;
    }
    sqlx::query("UPDATE servers SET member_count = member_count - 1 WHERE id = ?")
        .bind(server)
        .execute(&mut tx.connection)
        .await?;
    webhook_queue::membership(tx, WebhookEvent::MemberLeft, server, user).await?;
    Ok(true)
}

/// Bans, and takes the member out. False if the ban was there already.
pub(super) async fn ban(tx: &mut Tx, ban: Ban) -> Result<bool, Error> {
    let removed = remove(tx, ban.server_id, ban.user_id).await?;
    let done = sqlx::query(
        "INSERT INTO bans SELECT id, ?, ?, ?, ? FROM servers WHERE id = ? ON CONFLICT DO NOTHING",
    )
    .bind(ban.user_id)
    .bind(ban.banned_by)
    .bind(ban.reason)
    .bind(ban.created_at)
    .bind(ban.server_id)
    .execute(&mut tx.connection)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(true);
    }
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM servers WHERE id = ?)")
        .bind(ban.server_id)
        .fetch_one(&mut tx.connection)
        .await?;
    if there {
        Ok(removed)
    } else {
        Err(Error::NotFound("server"))
    }
}
