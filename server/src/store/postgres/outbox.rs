//! Positions and events of servers' and users' topics.

use super::channels::CHANNELS_OF_SERVER;
use super::rows::Of;
use super::{DAY_MS, Postgres, members, settings};
use crate::frames;
use crate::model::{Channel, Id, Position, Server, Signal, TopicKey, UnixMs, User};
use crate::store::{Error, NewEvent, Outbox, OutboxEvent, ServerSnapshot, UserSnapshot};
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{PgConnection, PgPool};
use std::collections::BTreeMap;

/// Events kept a topic.
const RING: i64 = 1000;

/// How long an event is kept.
const RING_MS: i64 = 10 * 60 * 1000;

/// Rows trimmed in a statement.
const TRIMMED: i64 = 5000;

/// An event that waits for its number.
pub(super) struct Draft {
    pub(super) topic: TopicKey,
    payload: Bytes,
    signal: Signal,
}

/// Encodes events, before a row of their topics is locked for them.
pub(super) fn encode(events: Vec<NewEvent>) -> impl Iterator<Item = Draft> {
    events.into_iter().map(|event| Draft {
        topic: event.topic,
        payload: frames::encode_body(&event.body),
        signal: event.body.signal(),
    })
}

/// Numbers the events and stores them. The rows of their topics are then locked, in the order of
/// the topics.
pub(super) async fn number(
    connection: &mut PgConnection,
    epoch: i64,
    now: UnixMs,
    drafts: Vec<Draft>,
) -> Result<Vec<OutboxEvent>, Error> {
    let mut counts: BTreeMap<(i32, i64), i64> = BTreeMap::new();
    for draft in &drafts {
        *counts.entry(key(draft.topic)).or_default() += 1;
    }
    let mut next = raise(connection, &counts).await?;
    let mut events = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let seq = next.get_mut(&key(draft.topic)).ok_or_else(lost)?;
        *seq += 1;
        events.push(OutboxEvent {
            topic: draft.topic,
            position: Position { epoch, seq: *seq },
            payload: draft.payload,
            signal: draft.signal,
        });
    }
    store(connection, now, &events).await?;
    trim_rings(connection, &next).await?;
    Ok(events)
}

fn key(topic: TopicKey) -> (i32, i64) {
    (topic.kind as i32, topic.id)
}

fn lost() -> Error {
    Error::Unavailable("Postgres didn't answer a topic's position".into())
}

/// Raises the positions by so many each; answers what they were before.
async fn raise(
    connection: &mut PgConnection,
    counts: &BTreeMap<(i32, i64), i64>,
) -> Result<BTreeMap<(i32, i64), i64>, Error> {
    let (kinds, ids): (Vec<i32>, Vec<i64>) = counts.keys().copied().unzip();
    let added: Vec<i64> = counts.values().copied().collect();
    let rows: Vec<(i32, i64, i64)> = sqlx::query_as(
        "INSERT INTO topics AS t (kind, id, seq)
         SELECT kind, id, added FROM unnest($1::int[], $2::bigint[], $3::bigint[])
             AS new (kind, id, added) ORDER BY kind, id
         ON CONFLICT (kind, id) DO UPDATE SET seq = t.seq + excluded.seq
         RETURNING kind, id, seq",
    )
    .bind(kinds)
    .bind(ids)
    .bind(added)
    .fetch_all(connection)
    .await?;
    let before = |(kind, id, seq)| ((kind, id), seq - counts.get(&(kind, id)).unwrap_or(&0));
    Ok(rows.into_iter().map(before).collect())
}

async fn store(
    connection: &mut PgConnection,
    now: UnixMs,
    events: &[OutboxEvent],
) -> Result<(), Error> {
    let mut kinds = Vec::with_capacity(events.len());
    let mut ids = Vec::with_capacity(events.len());
    let mut seqs = Vec::with_capacity(events.len());
    let mut signals = Vec::with_capacity(events.len());
    let mut sessions = Vec::with_capacity(events.len());
    let mut payloads = Vec::with_capacity(events.len());
    for event in events {
        let (signal, session) = match event.signal {
            Signal::None => (0, 0),
            Signal::Recheck => (1, 0),
            Signal::Revoked(session) => (2, session),
        };
        kinds.push(event.topic.kind as i32);
        ids.push(event.topic.id);
        seqs.push(event.position.seq);
        signals.push(signal);
        sessions.push(session);
        payloads.push(event.payload.as_ref());
    }
    sqlx::query(
        "INSERT INTO outbox (kind, topic_id, seq, signal, session_id, payload, created_at)
         SELECT *, $7 FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::int[], $5::bigint[],
             $6::bytea[])",
    )
    .bind(kinds)
    .bind(ids)
    .bind(seqs)
    .bind(signals)
    .bind(sessions)
    .bind(payloads)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes what is beyond the rings' bound.
async fn trim_rings(
    connection: &mut PgConnection,
    positions: &BTreeMap<(i32, i64), i64>,
) -> Result<(), Error> {
    let full = positions.iter().filter(|(_, seq)| **seq > RING);
    let (topics, ends): (Vec<(i32, i64)>, Vec<i64>) =
        full.map(|(topic, seq)| (*topic, seq - RING)).unzip();
    if topics.is_empty() {
        return Ok(());
    }
    let (kinds, ids): (Vec<i32>, Vec<i64>) = topics.into_iter().unzip();
    sqlx::query(
        "DELETE FROM outbox o
         USING unnest($1::int[], $2::bigint[], $3::bigint[]) AS full_ring (kind, id, ends)
         WHERE o.kind = full_ring.kind AND o.topic_id = full_ring.id AND o.seq <= full_ring.ends",
    )
    .bind(kinds)
    .bind(ids)
    .bind(ends)
    .execute(connection)
    .await?;
    Ok(())
}

/// Those of the events that are stored under their numbers. Waits for the transaction that would
/// store them, should it still be under way.
pub(super) async fn stored(
    pool: &PgPool,
    events: &[OutboxEvent],
) -> Result<Vec<OutboxEvent>, Error> {
    let mut tx = pool.begin().await?;
    let topics = events.iter().map(|event| (key(event.topic), 0)).collect();
    raise(&mut tx, &topics).await?;
    let mut stored = Vec::new();
    for event in events {
        let there: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM outbox
             WHERE kind = $1 AND topic_id = $2 AND seq = $3 AND payload = $4)",
        )
        .bind(event.topic.kind as i32)
        .bind(event.topic.id)
        .bind(event.position.seq)
        .bind(event.payload.as_ref())
        .fetch_one(&mut *tx)
        .await?;
        if there {
            stored.push(event.clone());
        }
    }
    // Nothing was changed but rows of topics to which nothing ever happened.
    tx.rollback().await?;
    Ok(stored)
}

#[async_trait]
impl Outbox for Postgres {
    async fn topic_position(&self, topic: TopicKey) -> Result<Position, Error> {
        let mut connection = self.pool.acquire().await?;
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
             WHERE kind = $1 AND topic_id = $2 AND seq > $3 ORDER BY seq",
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
        self.change(move |tx| {
            Box::pin(async move {
                tx.tell(events);
                Ok(())
            })
        })
        .await
    }

    async fn server_snapshot(&self, id: Id) -> Result<Option<ServerSnapshot>, Error> {
        let mut snapshot = self.snapshot().await?;
        let server: Option<Of<Server>> = sqlx::query_as("SELECT * FROM servers WHERE id = $1")
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
        let user: Option<Of<User>> = sqlx::query_as("SELECT * FROM users WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some(Of(user)) = user else {
            return Ok(None);
        };
        let servers = members::roles(&mut snapshot, id).await?;
        let channels: Vec<Of<Channel>> = sqlx::query_as(
            "SELECT c.*, ARRAY(SELECT user_id FROM channel_members m
                          WHERE m.channel_id = c.id) AS member_ids
             FROM channel_members me JOIN channels c ON c.id = me.channel_id
             WHERE me.user_id = $1 ORDER BY c.id",
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
                 (SELECT kind, topic_id, seq FROM outbox WHERE created_at < $1 LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
                now - RING_MS,
            ),
            (
                "DELETE FROM requests WHERE (kind, caller_id, request_id) IN
                 (SELECT kind, caller_id, request_id FROM requests WHERE created_at < $1 LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
                now - DAY_MS,
            ),
            (
                "DELETE FROM invites WHERE code IN
                 (SELECT code FROM invites WHERE expires_at > 0 AND expires_at <= $1 LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
                now,
            ),
            (
                "DELETE FROM sessions WHERE id IN
                 (SELECT id FROM sessions
                  WHERE kind = 1 AND refresh_expires_at < $1 AND access_expires_at < $1
                  LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
                now - DAY_MS,
            ),
        ] {
            while self.trim_some(statement, before).await? {}
        }
        Ok(())
    }
}

impl Postgres {
    async fn position(
        &self,
        connection: &mut PgConnection,
        topic: TopicKey,
    ) -> Result<Position, Error> {
        let seq: Option<i64> =
            sqlx::query_scalar("SELECT seq FROM topics WHERE kind = $1 AND id = $2")
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
                    .execute(&mut *tx.connection)
                    .await?;
                Ok(done.rows_affected() == TRIMMED as u64)
            })
        })
        .await
    }
}
