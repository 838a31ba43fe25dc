//! Servers, members, invitations, bans.

use super::requests::{self, Kind};
use super::rows::{Of, metadata_json};
use super::tx::Tx;
use super::{Postgres, audit, channels, invites, members};
use crate::model::{AuditEntry, Ban, Channel, Id, Invite, Member, Role, Server, UnixMs, User};
use crate::store::{Error, NewEvent, Servers};
use async_trait::async_trait;
use sqlx::PgConnection;

#[async_trait]
impl Servers for Postgres {
    async fn create_server(
        &self,
        server: Server,
        owner: Member,
        general: Channel,
        request: Option<(Id, String)>,
        max_servers: u32,
        events: Vec<NewEvent>,
    ) -> Result<(Server, Id), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                if let Some(made) = requests::made(tx, Kind::Server, &request).await? {
                    let earlier = get(&mut tx.connection, made.id).await?;
                    let earlier = earlier.ok_or(Error::NotFound("server"))?;
                    return Ok((earlier, made.first_channel));
                }
                if !members::hold_user(tx, server.owner_id).await? {
                    return Err(Error::NotFound("user"));
                }
                if members::count(tx, server.owner_id).await? >= i64::from(max_servers) {
                    return Err(Error::LimitReached("servers", max_servers));
                }
                let server = insert(tx, server).await?;
                members::insert(tx, &owner).await?;
                channels::insert(tx, &general, server.owner_id).await?;
                let made = requests::Made {
                    id: server.id,
                    first_channel: general.id,
                    code: None,
                };
                requests::remember(tx, Kind::Server, request, made).await?;
                tx.tell(events);
                Ok((server, general.id))
            })
        })
        .await
    }

    async fn server(&self, id: Id) -> Result<Option<Server>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(get(&mut connection, id).await?)
    }

    async fn update_server(
        &self,
        server: Server,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE servers SET name = $1, description = $2, open = $3, metadata = $4
                     WHERE id = $5",
                )
                .bind(server.name)
                .bind(server.description)
                .bind(server.open)
                .bind(metadata_json(&server.metadata))
                .bind(server.id)
                .execute(&mut *tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::NotFound("server"));
                }
                audit::write_some(tx, audit).await?;
                tx.tell(events);
                Ok(())
            })
        })
        .await
    }

    async fn delete_server(
        &self,
        id: Id,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        let channels = self
            .change(move |tx| {
                Box::pin(async move {
                    let channels = remove(tx, id).await?;
                    audit::write_some(tx, audit).await?;
                    tx.tell(events);
                    Ok(channels)
                })
            })
            .await?;
        for channel in channels {
            self.messages.forget(channel);
        }
        self.purge.notify_one();
        Ok(())
    }

    async fn roles_of(&self, user: Id) -> Result<Vec<(Id, Role)>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(members::roles(&mut connection, user).await?)
    }

    async fn servers_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<Server>, Error> {
        let rows: Vec<Of<Server>> = sqlx::query_as(
            "SELECT s.* FROM members m JOIN servers s ON s.id = m.server_id
             WHERE m.user_id = $1 AND m.server_id > $2 ORDER BY m.server_id LIMIT $3",
        )
        .bind(user)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn add_member(
        &self,
        member: Member,
        invite: Option<String>,
        max_members: u32,
        max_servers: u32,
        events: Vec<NewEvent>,
    ) -> Result<(Member, bool), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let added = members::add(tx, member, invite, max_members, max_servers).await?;
                if added.1 {
                    tx.tell(events);
                }
                Ok(added)
            })
        })
        .await
    }

    async fn admins(&self, server: Id) -> Result<Vec<Id>, Error> {
        Ok(
            sqlx::query_scalar("SELECT user_id FROM members WHERE server_id = $1 AND role >= 3")
                .bind(server)
                .fetch_all(&self.pool)
                .await?,
        )
    }

    async fn member(&self, server: Id, user: Id) -> Result<Option<Member>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(members::get(&mut connection, server, user).await?)
    }

    async fn members(
        &self,
        server: Id,
        after: Id,
        limit: u32,
    ) -> Result<Vec<(Member, User)>, Error> {
        Ok(members::page(&self.pool, server, after, limit).await?)
    }

    async fn members_among(&self, server: Id, users: &[Id]) -> Result<Vec<(Member, User)>, Error> {
        Ok(members::among(&self.pool, server, users).await?)
    }

    async fn member_names(
        &self,
        server: Id,
        after: Id,
        limit: u32,
    ) -> Result<Vec<(Id, Role, String)>, Error> {
        Ok(members::names(&self.pool, server, after, limit).await?)
    }

    async fn set_role(
        &self,
        server: Id,
        user: Id,
        role: Role,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<Member, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let member = members::set_role(tx, server, user, role).await?;
                audit::write_some(tx, audit).await?;
                tx.tell(events);
                Ok(member)
            })
        })
        .await
    }

    async fn remove_member(
        &self,
        server: Id,
        user: Id,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<bool, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let removed = members::remove(tx, server, user).await?;
                if removed {
                    audit::write_some(tx, audit).await?;
                    tx.tell(events);
                }
                Ok(removed)
            })
        })
        .await
    }

    async fn ban(
        &self,
        ban: Ban,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                if members::ban(tx, ban).await? {
                    audit::write_some(tx, audit).await?;
                    tx.tell(events);
                }
                Ok(())
            })
        })
        .await
    }

    async fn unban(&self, server: Id, user: Id, audit: Option<AuditEntry>) -> Result<bool, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM bans WHERE server_id = $1 AND user_id = $2")
                    .bind(server)
                    .bind(user)
                    .execute(&mut *tx.connection)
                    .await?;
                let lifted = done.rows_affected() == 1;
                if lifted {
                    audit::write_some(tx, audit).await?;
                }
                Ok(lifted)
            })
        })
        .await
    }

    async fn bans(&self, server: Id, after: Id, limit: u32) -> Result<Vec<Ban>, Error> {
        let rows: Vec<Of<Ban>> = sqlx::query_as(
            "SELECT * FROM bans WHERE server_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3",
        )
        .bind(server)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn create_invite(
        &self,
        invite: Invite,
        request: Option<(Id, String)>,
        audit: Option<AuditEntry>,
    ) -> Result<Invite, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                if let Some(made) = requests::made(tx, Kind::Invite, &request).await? {
                    let code = made.code.unwrap_or_default();
                    let earlier = invites::get(&mut tx.connection, &code).await?;
                    return earlier.ok_or(Error::NotFound("invite"));
                }
                if hold(tx, invite.server_id).await?.is_none() {
                    return Err(Error::NotFound("server"));
                }
                invites::insert(tx, &invite).await?;
                let made = requests::Made {
                    code: Some(invite.code.clone()),
                    ..requests::Made::default()
                };
                requests::remember(tx, Kind::Invite, request, made).await?;
                audit::write_some(tx, audit).await?;
                Ok(invite)
            })
        })
        .await
    }

    async fn invite(&self, code: &str) -> Result<Option<Invite>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(invites::get(&mut connection, code).await?)
    }

    async fn invites(
        &self,
        server: Id,
        now: UnixMs,
        after: String,
        limit: u32,
    ) -> Result<Vec<Invite>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(invites::open(&mut connection, server, now, after, limit).await?)
    }

    async fn revoke_invite(
        &self,
        server: Id,
        code: &str,
        audit: Option<AuditEntry>,
    ) -> Result<bool, Error> {
        let code = code.to_owned();
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM invites WHERE server_id = $1 AND code = $2")
                    .bind(server)
                    .bind(code)
                    .execute(&mut *tx.connection)
                    .await?;
                let ended = done.rows_affected() == 1;
                if ended {
                    audit::write_some(tx, audit).await?;
                }
                Ok(ended)
            })
        })
        .await
    }
}

async fn get(connection: &mut PgConnection, id: Id) -> Result<Option<Server>, sqlx::Error> {
    let row: Option<Of<Server>> = sqlx::query_as("SELECT * FROM servers WHERE id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.0))
}

/// Locks a server's row until the transaction ends, so that nobody else adds to what is bounded a
/// server. Answers how many members it has; None if it isn't there (any more). Servers are locked
/// after users and before channels.
pub(super) async fn hold(tx: &mut Tx, server: Id) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar("SELECT member_count FROM servers WHERE id = $1 FOR NO KEY UPDATE")
        .bind(server)
        .fetch_optional(&mut *tx.connection)
        .await
}

/// Stores a server, whose owner is its one member.
async fn insert(tx: &mut Tx, mut server: Server) -> Result<Server, Error> {
    server.member_count = 1;
    let done = sqlx::query(
        "INSERT INTO servers (id, name, description, owner_id, open, member_count, metadata)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(server.id)
    .bind(server.name.as_str())
    .bind(server.description.as_str())
    .bind(server.owner_id)
    .bind(server.open)
    .bind(server.member_count)
    .bind(metadata_json(&server.metadata))
    .execute(&mut *tx.connection)
    .await?;
    match done.rows_affected() {
        0 => Err(Error::Conflict("server")),
        _ => Ok(server),
    }
}

/// Takes a server out, and answers the channels that went with it.
async fn remove(tx: &mut Tx, id: Id) -> Result<Vec<Id>, Error> {
    if hold(tx, id).await?.is_none() {
        return Err(Error::NotFound("server"));
    }
    let gone: Vec<Id> = sqlx::query_scalar(
        "WITH held AS (
             SELECT id FROM channels WHERE server_id = $1 ORDER BY id FOR UPDATE)
         DELETE FROM channels USING held WHERE channels.id = held.id RETURNING channels.id",
    )
    .bind(id)
    .fetch_all(&mut *tx.connection)
    .await?;
    channels::removed(tx, &gone).await?;
    sqlx::query("DELETE FROM servers WHERE id = $1")
        .bind(id)
        .execute(&mut *tx.connection)
        .await?;
    Ok(gone)
}
