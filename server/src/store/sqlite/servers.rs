//! Servers, members, invitations, bans.

use super::requests::{self, Kind};
use super::rows::{Of, metadata_json};
use super::writer::Tx;
use super::{Sqlite, audit, channels, invites, members, outbox, users};
use crate::model::{AuditEntry, Ban, Channel, Id, Invite, Member, Role, Server, UnixMs, User};
use crate::store::{Error, NewEvent, Servers};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

#[async_trait]
impl Servers for Sqlite {
    async fn create_server(
        &self,
        server: Server,
        owner: Member,
        general: Channel,
        request: Option<(Id, String)>,
        max_servers: u32,
        events: Vec<NewEvent>,
    ) -> Result<(Server, Id), Error> {
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                if let Some(made) = requests::made(tx, Kind::Server, &request).await? {
                    let earlier = get(&mut tx.connection, made.id).await?;
                    let earlier = earlier.ok_or(Error::NotFound("server"))?;
                    return Ok((earlier, made.first_channel));
                }
                users::require(tx, server.owner_id).await?;
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
                outbox::publish(tx, events).await?;
                Ok((server, general.id))
            })
        })
        .await
    }

    async fn server(&self, id: Id) -> Result<Option<Server>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(get(&mut connection, id).await?)
    }

    async fn update_server(
        &self,
        server: Server,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE servers SET name = ?, description = ?, open = ?, metadata = ?
                     WHERE id = ?",
                )
                .bind(server.name)
                .bind(server.description)
                .bind(server.open)
                .bind(metadata_json(&server.metadata))
                .bind(server.id)
                .execute(&mut tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::NotFound("server"));
                }
                audit::write_some(tx, audit).await?;
                outbox::publish(tx, events).await
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
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                remove(tx, id).await?;
                audit::write_some(tx, audit).await?;
                outbox::publish(tx, events).await
            })
        })
        .await?;
        self.purge.notify_one();
        Ok(())
    }

    async fn roles_of(&self, user: Id) -> Result<Vec<(Id, Role)>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(members::roles(&mut connection, user).await?)
    }

    async fn servers_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<Server>, Error> {
        let rows: Vec<Of<Server>> = sqlx::query_as(
            "SELECT s.* FROM members m JOIN servers s ON s.id = m.server_id
             WHERE m.user_id = ? AND m.server_id > ? ORDER BY m.server_id LIMIT ?",
        )
        .bind(user)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
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
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let added = members::add(tx, member, invite, max_members, max_servers).await?;
                if added.1 {
                    outbox::publish(tx, events).await?;
                }
                Ok(added)
            })
        })
        .await
    }

    async fn admins(&self, server: Id) -> Result<Vec<Id>, Error> {
        Ok(
            sqlx::query_scalar("SELECT user_id FROM members WHERE server_id = ? AND role >= 3")
                .bind(server)
                .fetch_all(&self.read)
                .await?,
        )
    }

    async fn member(&self, server: Id, user: Id) -> Result<Option<Member>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(members::get(&mut connection, server, user).await?)
    }

    async fn members(
        &self,
        server: Id,
        after: Id,
        limit: u32,
    ) -> Result<Vec<(Member, User)>, Error> {
        Ok(members::page(&self.read, server, after, limit).await?)
    }

    async fn members_among(&self, server: Id, users: &[Id]) -> Result<Vec<(Member, User)>, Error> {
        Ok(members::among(&self.read, server, users).await?)
    }

    async fn member_names(
        &self,
        server: Id,
        after: Id,
        limit: u32,
    ) -> Result<Vec<(Id, Role, String)>, Error> {
        Ok(members::names(&self.read, server, after, limit).await?)
    }

    async fn set_role(
        &self,
        server: Id,
        user: Id,
        role: Role,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<Member, Error> {
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let member = members::set_role(tx, server, user, role).await?;
                audit::write_some(tx, audit).await?;
                outbox::publish(tx, events).await?;
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
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let removed = members::remove(tx, server, user).await?;
                if removed {
                    audit::write_some(tx, audit).await?;
                    outbox::publish(tx, events).await?;
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
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                if members::ban(tx, ban).await? {
                    audit::write_some(tx, audit).await?;
                    outbox::publish(tx, events).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn unban(&self, server: Id, user: Id, audit: Option<AuditEntry>) -> Result<bool, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM bans WHERE server_id = ? AND user_id = ?")
                    .bind(server)
                    .bind(user)
                    .execute(&mut tx.connection)
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
            "SELECT * FROM bans WHERE server_id = ? AND user_id > ? ORDER BY user_id LIMIT ?",
        )
        .bind(server)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
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
        let mut connection = self.read.acquire().await?;
        Ok(invites::get(&mut connection, code).await?)
    }

    async fn invites(
        &self,
        server: Id,
        now: UnixMs,
        after: String,
        limit: u32,
    ) -> Result<Vec<Invite>, Error> {
        let mut connection = self.read.acquire().await?;
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
                let done = sqlx::query("DELETE FROM invites WHERE server_id = ? AND code = ?")
                    .bind(server)
                    .bind(code)
                    .execute(&mut tx.connection)
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

async fn get(connection: &mut SqliteConnection, id: Id) -> Result<Option<Server>, sqlx::Error> {
    let row: Option<Of<Server>> = sqlx::query_as("SELECT * FROM servers WHERE id = ?")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.0))
}

/// Stores a server, whose owner is its one member.
async fn insert(tx: &mut Tx, mut server: Server) -> Result<Server, Error> {
    server.member_count = 1;
    let done =
        sqlx::query("INSERT INTO servers VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(server.id)
            .bind(server.name.as_str())
            .bind(server.description.as_str())
            .bind(server.owner_id)
            .bind(server.open)
            .bind(server.member_count)
            .bind(metadata_json(&server.metadata))
            .execute(&mut tx.connection)
            .await?;
    match done.rows_affected() {
        0 => Err(Error::Conflict("server")),
        _ => Ok(server),
    }
}

async fn remove(tx: &mut Tx, id: Id) -> Result<(), Error> {
    let channels: Vec<Id> = sqlx::query_scalar("SELECT id FROM channels WHERE server_id = ?")
        .bind(id)
        .fetch_all(&mut tx.connection)
        .await?;
    for channel in channels {
        channels::remove(tx, channel).await?;
    }
    let done = sqlx::query("DELETE FROM servers WHERE id = ?")
        .bind(id)
        .execute(&mut tx.connection)
        .await?;
    match done.rows_affected() {
        0 => Err(Error::NotFound("server")),
        _ => Ok(()),
    }
}
