//! Channels and their members.

use super::requests::{self, Kind};
use super::rows::{Of, direct_key, metadata_json};
use super::tx::Tx;
use super::{Postgres, audit, members, read_states, servers};
use crate::model::{AuditEntry, Channel, ChannelType, Id};
use crate::store::{Channels, Error, NewEvent};
use async_trait::async_trait;
use sqlx::PgConnection;

const CHANNEL: &str = "SELECT c.*, ARRAY(SELECT user_id FROM channel_members m
                                 WHERE m.channel_id = c.id) AS member_ids
                       FROM channels c WHERE c.id = $1";

pub(super) const CHANNELS_OF_SERVER: &str =
    "SELECT c.*, ARRAY(SELECT user_id FROM channel_members m
             WHERE m.channel_id = c.id) AS member_ids
     FROM channels c WHERE c.server_id = $1 ORDER BY c.rank, c.id";

#[async_trait]
impl Channels for Postgres {
    async fn create_channel(
        &self,
        channel: Channel,
        creator: Id,
        request: Option<(Id, String)>,
        max_channels: u32,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(Channel, bool), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                if let Some(made) = requests::made(tx, Kind::Channel, &request).await? {
                    let earlier = get(&mut tx.connection, made.id).await?;
                    return Ok((earlier.ok_or(Error::NotFound("channel"))?, false));
                }
                if let Some(earlier) = create(tx, &channel, creator, max_channels).await? {
                    return Ok((earlier, false));
                }
                let made = requests::Made::id(channel.id);
                requests::remember(tx, Kind::Channel, request, made).await?;
                audit::write_some(tx, audit).await?;
                tx.tell(events);
                Ok((channel, true))
            })
        })
        .await
    }

    async fn channel(&self, id: Id) -> Result<Option<Channel>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(get(&mut connection, id).await?)
    }

    async fn update_channel(
        &self,
        channel: Channel,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE channels SET name = $1, description = $2, rank = $3, metadata = $4,
                     slow_mode_s = $5 WHERE id = $6",
                )
                .bind(channel.name)
                .bind(channel.description)
                .bind(channel.rank)
                .bind(metadata_json(&channel.metadata))
                .bind(channel.slow_mode_s)
                .bind(channel.id)
                .execute(&mut *tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::NotFound("channel"));
                }
                audit::write_some(tx, audit).await?;
                tx.tell(events);
                Ok(())
            })
        })
        .await
    }

    async fn delete_channel(
        &self,
        id: Id,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let gone = sqlx::query("DELETE FROM channels WHERE id = $1")
                    .bind(id)
                    .execute(&mut *tx.connection)
                    .await?;
                if gone.rows_affected() == 0 {
                    return Err(Error::NotFound("channel"));
                }
                removed(tx, &[id]).await?;
                audit::write_some(tx, audit).await?;
                tx.tell(events);
                Ok(())
            })
        })
        .await?;
        self.messages.forget(id);
        self.purge.notify_one();
        Ok(())
    }

    async fn channels_of_server(&self, server: Id) -> Result<Vec<Channel>, Error> {
        let rows: Vec<Of<Channel>> = sqlx::query_as(CHANNELS_OF_SERVER)
            .bind(server)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn direct_channels_of(&self, user: Id) -> Result<Vec<Channel>, Error> {
        let rows: Vec<Of<Channel>> = sqlx::query_as(
            "SELECT c.*, ARRAY(SELECT user_id FROM channel_members m
                         WHERE m.channel_id = c.id) AS member_ids
             FROM channel_members me JOIN channels c ON c.id = me.channel_id
             WHERE me.user_id = $1 AND c.kind = 4 ORDER BY c.id DESC",
        )
        .bind(user)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn add_channel_member(
        &self,
        channel: Id,
        user: Id,
        max_members: u32,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<bool, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let added = add_member(tx, channel, user, max_members).await?;
                if added {
                    audit::write_some(tx, audit).await?;
                    tx.tell(events);
                }
                Ok(added)
            })
        })
        .await
    }

    async fn remove_channel_member(
        &self,
        channel: Id,
        user: Id,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<bool, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "DELETE FROM channel_members WHERE channel_id = $1 AND user_id = $2",
                )
                .bind(channel)
                .bind(user)
                .execute(&mut *tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                read_states::forget(tx, channel, user).await?;
                audit::write_some(tx, audit).await?;
                tx.tell(events);
                Ok(true)
            })
        })
        .await
    }
}

async fn get(connection: &mut PgConnection, id: Id) -> Result<Option<Channel>, sqlx::Error> {
    let row: Option<Of<Channel>> = sqlx::query_as(CHANNEL)
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.0))
}

/// Makes a channel, within the bounds; of two users that have a direct one already, answers that.
async fn create(
    tx: &mut Tx,
    channel: &Channel,
    creator: Id,
    max_channels: u32,
) -> Result<Option<Channel>, Error> {
    if channel.kind == ChannelType::Direct {
        members::hold_user(tx, creator).await?;
    } else if servers::hold(tx, channel.server_id).await?.is_none() {
        return Err(Error::NotFound("server"));
    }
    if let Some(earlier) = direct_channel(tx, channel).await? {
        return Ok(Some(earlier));
    }
    room(tx, channel, creator, max_channels).await?;
    match insert(tx, channel, creator).await {
        Ok(()) => Ok(None),
        // It is taken: by the other of two users, at once with this call?
        Err(error @ Error::Conflict("channel")) => {
            let earlier = direct_channel(tx, channel).await?;
            earlier.map(Some).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The direct channel of the same two users.
async fn direct_channel(tx: &mut Tx, of: &Channel) -> Result<Option<Channel>, sqlx::Error> {
    let Some(key) = direct_key(of) else {
        return Ok(None);
    };
    let id: Option<Id> = sqlx::query_scalar("SELECT id FROM channels WHERE direct_key = $1")
        .bind(key)
        .fetch_optional(&mut *tx.connection)
        .await?;
    match id {
        Some(id) => get(&mut tx.connection, id).await,
        None => Ok(None),
    }
}

/// Refuses a server that is full, and who made as many direct channels as it may. Its row is held
/// by the caller: nobody else fills it up.
async fn room(tx: &mut Tx, channel: &Channel, creator: Id, max: u32) -> Result<(), Error> {
    let (what, statement, of) = match channel.kind {
        ChannelType::Direct => (
            "direct channels",
            "SELECT count(*) FROM channels WHERE creator_id = $1 AND kind = 4",
            creator,
        ),
        _ => (
            "channels",
            "SELECT count(*) FROM channels WHERE server_id = $1",
            channel.server_id,
        ),
    };
    let channels: i64 = sqlx::query_scalar(statement)
        .bind(of)
        .fetch_one(&mut *tx.connection)
        .await?;
    if channels >= i64::from(max) {
        return Err(Error::LimitReached(what, max));
    }
    Ok(())
}

/// Stores a channel with its members.
pub(super) async fn insert(tx: &mut Tx, channel: &Channel, creator: Id) -> Result<(), Error> {
    let server_id = Some(channel.server_id).filter(|id| *id != 0);
    let done = sqlx::query(
        "INSERT INTO channels (id, server_id, kind, name, description, rank, direct_key, creator_id,
         metadata, slow_mode_s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT DO NOTHING",
    )
    .bind(channel.id)
    .bind(server_id)
    .bind(channel.kind as i32)
    .bind(channel.name.as_str())
    .bind(channel.description.as_str())
    .bind(channel.rank)
    .bind(direct_key(channel))
    .bind(creator)
    .bind(metadata_json(&channel.metadata))
    .bind(channel.slow_mode_s)
    .execute(&mut *tx.connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::Conflict("channel"));
    }
    if channel.member_ids.is_empty() {
        return Ok(());
    }
    let named = sqlx::query(
        "INSERT INTO channel_members (channel_id, user_id)
         SELECT $1, named.id FROM unnest($2::bigint[]) AS named (id)
         WHERE $3::bigint IS NULL OR EXISTS (
             SELECT 1 FROM members WHERE server_id = $3 AND user_id = named.id)",
    )
    .bind(channel.id)
    .bind(channel.member_ids.as_slice())
    .bind(server_id)
    .execute(&mut *tx.connection)
    .await?;
    if named.rows_affected() < channel.member_ids.len() as u64 {
        return Err(Error::NotFound("member"));
    }
    Ok(())
}

/// Adds a member; false if it was there. The channel's row is locked: nobody else fills it up.
async fn add_member(tx: &mut Tx, channel: Id, user: Id, max: u32) -> Result<bool, Error> {
    let held: Option<Id> =
        sqlx::query_scalar("SELECT id FROM channels WHERE id = $1 FOR NO KEY UPDATE")
            .bind(channel)
            .fetch_optional(&mut *tx.connection)
            .await?;
    if held.is_none() {
        return Err(Error::NotFound("channel"));
    }
    let done = sqlx::query(
        "INSERT INTO channel_members (channel_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(channel)
    .bind(user)
    .execute(&mut *tx.connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let named: i64 =
        sqlx::query_scalar("SELECT count(*) FROM channel_members WHERE channel_id = $1")
            .bind(channel)
            .fetch_one(&mut *tx.connection)
            .await?;
    if named > i64::from(max) {
        return Err(Error::LimitReached("members", max));
    }
    Ok(true)
}

/// What goes at once with channels that were removed; their messages go later.
pub(super) async fn removed(tx: &mut Tx, channels: &[Id]) -> Result<(), Error> {
    sqlx::query("DELETE FROM pins WHERE channel_id = ANY($1)")
        .bind(channels)
        .execute(&mut *tx.connection)
        .await?;
    sqlx::query(
        "INSERT INTO purges (channel_id) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING",
    )
    .bind(channels)
    .execute(&mut *tx.connection)
    .await?;
    Ok(())
}
