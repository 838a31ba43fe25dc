//! Channels and their members.

use super::requests::{self, Kind};
use super::rows::{Of, direct_key, metadata_json};
use super::writer::Tx;
use super::{Sqlite, audit, outbox, read_states};
use crate::model::{AuditEntry, Channel, ChannelType, Id};
use crate::store::{Channels, Error, NewEvent};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

const CHANNEL: &str = "SELECT c.*, (SELECT group_concat(user_id) FROM channel_members m
                                    WHERE m.channel_id = c.id) AS member_ids
                       FROM channels c WHERE c.id = ?";

pub(super) const CHANNELS_OF_SERVER: &str =
    "SELECT c.*, (SELECT group_concat(user_id) FROM channel_members m
                  WHERE m.channel_id = c.id) AS member_ids
     FROM channels c WHERE c.server_id = ? ORDER BY c.rank, c.id";

#[async_trait]
impl Channels for Sqlite {
    async fn create_channel(
        &self,
        channel: Channel,
        creator: Id,
        request: Option<(Id, String)>,
        max_channels: u32,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(Channel, bool), Error> {
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                if let Some(made) = requests::made(tx, Kind::Channel, &request).await? {
                    let earlier = get(&mut tx.connection, made.id).await?;
                    return Ok((earlier.ok_or(Error::NotFound("channel"))?, false));
                }
                if let Some(key) = direct_key(&channel)
                    && let Some(earlier) = direct_channel(tx, &key).await?
                {
                    return Ok((earlier, false));
                }
                match channel.kind {
                    ChannelType::Direct => direct_room(tx, creator, max_channels).await?,
                    _ => room(tx, channel.server_id, max_channels).await?,
                }
                insert(tx, &channel, creator).await?;
                let made = requests::Made::id(channel.id);
                requests::remember(tx, Kind::Channel, request, made).await?;
                audit::write_some(tx, audit).await?;
                outbox::publish(tx, events).await?;
                Ok((channel, true))
            })
        })
        .await
    }

    async fn channel(&self, id: Id) -> Result<Option<Channel>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(get(&mut connection, id).await?)
    }

    async fn update_channel(
        &self,
        channel: Channel,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE channels SET name = ?, description = ?, rank = ?, metadata = ?,
                     slow_mode_s = ? WHERE id = ?",
                )
                .bind(channel.name)
                .bind(channel.description)
                .bind(channel.rank)
                .bind(metadata_json(&channel.metadata))
                .bind(channel.slow_mode_s)
                .bind(channel.id)
                .execute(&mut tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::NotFound("channel"));
                }
                audit::write_some(tx, audit).await?;
                outbox::publish(tx, events).await
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
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                if !remove(tx, id).await? {
                    return Err(Error::NotFound("channel"));
                }
                audit::write_some(tx, audit).await?;
                outbox::publish(tx, events).await
            })
        })
        .await?;
        self.purge.notify_one();
        Ok(())
    }

    async fn channels_of_server(&self, server: Id) -> Result<Vec<Channel>, Error> {
        let rows: Vec<Of<Channel>> = sqlx::query_as(CHANNELS_OF_SERVER)
            .bind(server)
            .fetch_all(&self.read)
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn direct_channels_of(&self, user: Id) -> Result<Vec<Channel>, Error> {
        let rows: Vec<Of<Channel>> = sqlx::query_as(
            "SELECT c.*, (SELECT group_concat(user_id) FROM channel_members m
                          WHERE m.channel_id = c.id) AS member_ids
             FROM channel_members me JOIN channels c ON c.id = me.channel_id
             WHERE me.user_id = ? AND c.kind = 4 ORDER BY c.id DESC",
        )
        .bind(user)
        .fetch_all(&self.read)
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
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO channel_members SELECT id, ? FROM channels WHERE id = ?
                     ON CONFLICT DO NOTHING",
                )
                .bind(user)
                .bind(channel)
                .execute(&mut tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    let there = get(&mut tx.connection, channel).await?.is_some();
                    return if there {
                        Ok(false)
                    } else {
                        Err(Error::NotFound("channel"))
                    };
                }
                let named: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM channel_members WHERE channel_id = ?")
                        .bind(channel)
                        .fetch_one(&mut tx.connection)
                        .await?;
                if named > i64::from(max_members) {
                    return Err(Error::LimitReached("members", max_members));
                }
                audit::write_some(tx, audit).await?;
                outbox::publish(tx, events).await?;
                Ok(true)
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
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let done =
                    sqlx::query("DELETE FROM channel_members WHERE channel_id = ? AND user_id = ?")
                        .bind(channel)
                        .bind(user)
                        .execute(&mut tx.connection)
                        .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                audit::write_some(tx, audit).await?;
                read_states::forget(tx, channel, user).await?;
                outbox::publish(tx, events).await?;
                Ok(true)
            })
        })
        .await
    }
}

async fn get(connection: &mut SqliteConnection, id: Id) -> Result<Option<Channel>, sqlx::Error> {
    let row: Option<Of<Channel>> = sqlx::query_as(CHANNEL)
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.0))
}

async fn direct_channel(tx: &mut Tx, key: &str) -> Result<Option<Channel>, sqlx::Error> {
    let id: Option<Id> = sqlx::query_scalar("SELECT id FROM channels WHERE direct_key = ?")
        .bind(key)
        .fetch_optional(&mut tx.connection)
        .await?;
    match id {
        Some(id) => get(&mut tx.connection, id).await,
        None => Ok(None),
    }
}

/// Refuses a server that isn't there or is full.
async fn room(tx: &mut Tx, server: Id, max_channels: u32) -> Result<(), Error> {
    let (there, channels): (bool, i64) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM servers WHERE id = ?1),
                (SELECT count(*) FROM channels WHERE server_id = ?1)",
    )
    .bind(server)
    .fetch_one(&mut tx.connection)
    .await?;
    if !there {
        return Err(Error::NotFound("server"));
    }
    if channels >= i64::from(max_channels) {
        return Err(Error::LimitReached("channels", max_channels));
    }
    Ok(())
}

/// Refuses who made as many direct channels as it may.
async fn direct_room(tx: &mut Tx, creator: Id, max_channels: u32) -> Result<(), Error> {
    let made: i64 =
        sqlx::query_scalar("SELECT count(*) FROM channels WHERE creator_id = ? AND kind = 4")
            .bind(creator)
            .fetch_one(&mut tx.connection)
            .await?;
    if made >= i64::from(max_channels) {
        return Err(Error::LimitReached("direct channels", max_channels));
    }
    Ok(())
}

/// Stores a channel with its members.
pub(super) async fn insert(tx: &mut Tx, channel: &Channel, creator: Id) -> Result<(), Error> {
    let server_id = Some(channel.server_id).filter(|id| *id != 0);
    let done = sqlx::query(
        "INSERT INTO channels (id, server_id, kind, name, description, rank, direct_key, creator_id,
         metadata, slow_mode_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
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
    .execute(&mut tx.connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::Conflict("channel"));
    }
    for member in &channel.member_ids {
        let done = sqlx::query(
            "INSERT INTO channel_members SELECT ?1, ?2
             WHERE ?3 IS NULL OR EXISTS (
                 SELECT 1 FROM members WHERE server_id = ?3 AND user_id = ?2)",
        )
        .bind(channel.id)
        .bind(member)
        .bind(server_id)
        .execute(&mut tx.connection)
        .await?;
        if done.rows_affected() == 0 {
            return Err(Error::NotFound("member"));
        }
    }
    Ok(())
}

/// Takes a channel out, its messages later. False if there was none.
pub(super) async fn remove(tx: &mut Tx, id: Id) -> Result<bool, Error> {
    // The ids of the messages to be removed must not be minted again.
    sqlx::query(
        "UPDATE meta SET value =
         max(value, coalesce((SELECT max(id) FROM messages WHERE channel_id = ?), 0))
         WHERE name = 'highest'",
    )
    .bind(id)
    .execute(&mut tx.connection)
    .await?;
    let done = sqlx::query("DELETE FROM channels WHERE id = ?")
        .bind(id)
        .execute(&mut tx.connection)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM pins WHERE channel_id = ?")
        .bind(id)
        .execute(&mut tx.connection)
        .await?;
    sqlx::query("INSERT INTO purges VALUES (?) ON CONFLICT DO NOTHING")
        .bind(id)
        .execute(&mut tx.connection)
        .await?;
    Ok(true)
}
