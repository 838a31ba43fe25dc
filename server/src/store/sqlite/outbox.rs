//! Positions and events of servers' and users' topics.

use super::channels::CHANNELS_OF_SERVER;
use super::rows::Of;
use super::writer::Tx;
use super::{DAY_MS, Sqlite, members, settings};
use crate::frames;
use crate::model::{Channel, Id, Position, Server, Signal, TopicKey, UnixMs, User};
use crate::store::{Error, NewEvent, Outbox, OutboxEvent, ServerSnapshot, UserSnapshot};
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::SqliteConnection;

/// Events kept a topic.
const RING: i64 = 1000;

/// How long an event is kept.
const RING_MS: i64 = 10 * 60 * 1000;

/// Rows trimmed in a statement.
const TRIMMED: i64 = 5000;

/// An event that waits for its number.
pub(super) struct Draft {
    topic: TopicKey,
    payload: Bytes,
    signal: Signal,
}

/// Encodes events, before the writer is kept busy with it.
pub(super) fn encode(events: Vec<NewEvent>) -> Vec<Draft> {
    let draft = |event: NewEvent| Draft {
        topic: event.topic,
        payload: frames::encode_body(&event.body),
        signal: event.body.signal(),
    };
    events.into_iter().map(draft).collect()
}

/// Numbers the events and stores them; the writer relays them after the commit.
pub(super) async fn publish(tx: &mut Tx, drafts: Vec<Draft>) -> Result<(), Error> {
    let now = tx.now_ms();
    for draft in drafts {
        let seq: i64 = sqlx::query_scalar(
            "INSERT INTO topics VALUES (?, ?, 1)
             ON CONFLICT DO UPDATE SET seq = seq + 1 RETURNING seq",
        )
        .bind(draft.topic.kind as i32)
        .bind(draft.topic.id)
        .fetch_one(&mut tx.connection)
        .await?;
        let (signal, session) = match draft.signal {
            Signal::None => (0, 0),
            Signal::Recheck => (1, 0),
            Signal::Revoked(session) => (2, session),
        };
        sqlx::query("INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(draft.topic.kind as i32)
            .bind(draft.topic.id)
            .bind(seq)
            .bind(signal)
            .bind(session)
            .bind(draft.payload.as_ref())
            .bind(now)
            .execute(&mut tx.connection)
            .await?;
        if seq > RING {
            sqlx::query("DELETE FROM outbox WHERE kind = ? AND topic_id = ? AND seq <= ?")
                .bind(draft.topic.kind as i32)
                .bind(draft.topic.id)
                .bind(seq - RING)
                .execute(&mut tx.connection)
                .await?;
        }
        let epoch = tx.epoch;
        tx.events.push(OutboxEvent {
            topic: draft.topic,
            position: Position { epoch, seq },
            payload: draft.payload,
            signal: draft.signal,
        });
    }
    Ok(())
}

/// Those of the events that are stored under their numbers.
pub(super) async fn stored(
    connection: &mut SqliteConnection,
    events: &[OutboxEvent],
) -> Result<Vec<OutboxEvent>, sqlx::Error> {
    let mut stored = Vec::new();
    for event in events {
        let there: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE kind = ? AND topic_id = ? AND seq = ?)",
        )
        .bind(event.topic.kind as i32)
        .bind(event.topic.id)
        .bind(event.position.seq)
        .fetch_one(&mut *connection)
        .await?;
        if there {
            stored.push(event.clone());
        }
    }
    Ok(stored)
}

#[async_trait]
impl Outbox for Sqlite {
    async fn topic_position(&self, topic: TopicKey) -> Result<Position, Error> {
        let mut connection = self.read.acquire().await?;
        self.position(&mut connection, topic).await
    }

    async fn topic_since(
        &self,
        topic: TopicKey,
        position: Position,
    ) -> Result<Option<Vec<OutboxEvent>>, Error> {
        let mut snapshot = self.snapshot().await?;
        let now = self.position(&mut snapshot, topic).await?;
        if position.epoch != now.epoch || position.seq < 0 || position.seq > now.seq {
            return Ok(None);
        }
        let rows: Vec<(i64, i32, Id, Vec<u8>)> = sqlx::query_as(
            "SELECT seq, signal, session_id, payload FROM outbox
             WHERE kind = ? AND topic_id = ? AND seq > ? ORDER BY seq",
        )
        .bind(topic.kind as i32)
        .bind(topic.id)
        .bind(position.seq)
        .fetch_all(&mut *snapshot)
        .await?;
        if i64::try_from(rows.len()) != Ok(now.seq - position.seq) {
            return Ok(None);
        }
        let event = |(seq, signal, session, payload): (i64, i32, Id, Vec<u8>)| OutboxEvent {
            topic,
            position: Position {
                epoch: now.epoch,
                seq,
            },
            payload: payload.into(),
            signal: match signal {
                0 => Signal::None,
                2 => Signal::Revoked(session),
                _ => Signal::Recheck,
            },
        };
        Ok(Some(rows.into_iter().map(event).collect()))
    }

    async fn append(&self, events: Vec<NewEvent>) -> Result<(), Error> {
        let events = encode(events);
        self.change(move |tx| Box::pin(publish(tx, events))).await
    }

    async fn server_snapshot(&self, id: Id) -> Result<Option<ServerSnapshot>, Error> {
        let mut snapshot = self.snapshot().await?;
        let server: Option<Of<Server>> = sqlx::query_as("SELECT * FROM servers WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some(Of(server)) = server else {
            return Ok(None);
        };
        let channels: Vec<Of<Channel>> = sqlx::query_as(CHANNELS_OF_SERVER)
            .bind(id)
            .fetch_all(&mut *snapshot)
            .await?;
        Ok(Some(ServerSnapshot {
            position: self.position(&mut snapshot, TopicKey::server(id)).await?,
            server,
            channels: channels.into_iter().map(|row| row.0).collect(),
        }))
    }

    async fn user_snapshot(&self, id: Id) -> Result<Option<UserSnapshot>, Error> {
        let mut snapshot = self.snapshot().await?;
        let user: Option<Of<User>> = sqlx::query_as("SELECT * FROM users WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some(Of(user)) = user else {
            return Ok(None);
        };
        let servers = members::roles(&mut snapshot, id).await?;
        let channels: Vec<Of<Channel>> = sqlx::query_as(
            "SELECT c.*, (SELECT group_concat(user_id) FROM channel_members m
                          WHERE m.channel_id = c.id) AS member_ids
             FROM channel_members me JOIN channels c ON c.id = me.channel_id
             WHERE me.user_id = ? ORDER BY c.id",
        )
        .bind(id)
        .fetch_all(&mut *snapshot)
        .await?;
        Ok(Some(UserSnapshot {
            position: self.position(&mut snapshot, TopicKey::user(id)).await?,
            user,
            servers,
            channels: channels.into_iter().map(|row| row.0).collect(),
            settings: settings::get(&mut snapshot, id).await?,
        }))
    }

    async fn trim(&self, now: UnixMs) -> Result<(), Error> {
        for (statement, before) in [
            (
                "DELETE FROM outbox WHERE (kind, topic_id, seq) IN
                 (SELECT kind, topic_id, seq FROM outbox WHERE created_at < ? LIMIT ?)",
                now - RING_MS,
            ),
            (
                "DELETE FROM requests WHERE (kind, caller_id, request_id) IN
                 (SELECT kind, caller_id, request_id FROM requests WHERE created_at < ? LIMIT ?)",
                now - DAY_MS,
            ),
            (
                "DELETE FROM invites WHERE code IN
                 (SELECT code FROM invites WHERE expires_at > 0 AND expires_at <= ? LIMIT ?)",
                now,
            ),
            (
                "DELETE FROM sessions WHERE id IN
                 (SELECT id FROM sessions
                  WHERE kind = 1 AND refresh_expires_at < ?1 AND access_expires_at < ?1
                  LIMIT ?2)",
                now - DAY_MS,
            ),
        ] {
            while self.trim_some(statement, before).await? {}
        }
        Ok(())
    }
}

impl Sqlite {
    async fn position(
        &self,
        connection: &mut SqliteConnection,
        topic: TopicKey,
    ) -> Result<Position, Error> {
        let seq: Option<i64> =
            sqlx::query_scalar("SELECT seq FROM topics WHERE kind = ? AND id = ?")
                .bind(topic.kind as i32)
                .bind(topic.id)
                .fetch_optional(connection)
                .await?;
        Ok(Position {
            epoch: self.epoch,
            seq: seq.unwrap_or(0),
        })
    }

    /// True: there may be more.
    pub(super) async fn trim_some(
        &self,
        statement: &'static str,
        before: i64,
    ) -> Result<bool, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(statement)
                    .bind(before)
                    .bind(TRIMMED)
                    .execute(&mut tx.connection)
                    .await?;
                Ok(done.rows_affected() == TRIMMED as u64)
            })
        })
        .await
    }
}
