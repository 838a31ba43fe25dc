//! How far users have read channels.

use super::writer::Tx;
use super::{Sqlite, outbox};
use crate::model::{EventBody, Id, ReadState, SNOWFLAKE_EPOCH_MS, TopicKey, UnixMs};
use crate::mutation;
use crate::store::{Error, NewEvent, ReadOf, ReadStates};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

/// Rows of read mentions that go with an acknowledgement, so that it is short; the others no longer
/// count and go with the next ones.
const MENTIONS_REMOVED: i64 = 1_000;

/// The states of a user (?1) in channels (?2: a list of [channel, role, read at least], as JSON).
/// What it has read is worked out once, and the rest from that. ?3: where Snowflakes' time begins:
/// the first id of the millisecond in which the user joined is unread;
/// ?4: so many mentions are looked at and counted.
const STATES: &str = "
WITH asked AS MATERIALIZED (
    SELECT key AS place, value ->> 0 AS channel, value ->> 1 AS role, value ->> 2 AS least
    FROM json_each(?2)
),
state AS MATERIALIZED (
    SELECT a.place, c.id, a.role, coalesce(r.muted_until, 0) AS muted,
        max(a.least, coalesce(r.last_read_id, 0),
            (SELECT value FROM meta WHERE name = 'unread_from'),
            coalesce((SELECT (max(joined_at - ?3, 0) << 22) - 1 FROM members
                      WHERE server_id = c.server_id AND user_id = ?1), 0)) AS read
    FROM asked a JOIN channels c ON c.id = a.channel
    LEFT JOIN read_states r ON r.user_id = ?1 AND r.channel_id = c.id
)
SELECT s.id, s.read, s.muted,
    coalesce((SELECT max(id) FROM messages WHERE channel_id = s.id), 0),
    min(?4,
        (SELECT count(*) FROM (
            SELECT 1 FROM mentions
            WHERE channel_id = s.id AND user_id = ?1 AND message_id > s.read LIMIT ?4))
        + (SELECT count(*) FROM (
            SELECT message_id, author_id, least_role FROM group_mentions
            WHERE channel_id = s.id AND message_id > s.read
            ORDER BY message_id DESC LIMIT ?4) g
           WHERE least_role <= s.role AND author_id <> ?1 AND NOT EXISTS (
               SELECT 1 FROM mentions m WHERE m.channel_id = s.id AND m.user_id = ?1
               AND m.message_id = g.message_id)))
FROM state s ORDER BY s.place";

/// Mentions that are looked at and counted.
const MENTIONS_COUNTED: i64 = 1_000;

#[async_trait]
impl ReadStates for Sqlite {
    async fn read_states(&self, user: Id, channels: &[ReadOf]) -> Result<Vec<ReadState>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(states(&mut connection, user, channels).await?)
    }

    async fn acknowledge(&self, user: Id, of: ReadOf, message: Id) -> Result<ReadState, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let before = state(tx, user, of).await?;
                if mutation::on("read_state_backwards") {
                    forget(tx, of.channel, user).await?;
                } else if message <= before.last_read_id {
                    return Ok(before);
                }
                acknowledge(tx, user, of.channel, message).await?;
                tell(tx, user, of).await
            })
        })
        .await
    }

    async fn acknowledge_all(&self, reads: Vec<(Id, Id, Id)>) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                for (user, channel, message) in reads {
                    acknowledge(tx, user, channel, message).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn mute(&self, user: Id, of: ReadOf, until: UnixMs) -> Result<ReadState, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let before = state(tx, user, of).await?;
                if before.muted_until == until {
                    return Ok(before);
                }
                sqlx::query(
                    "INSERT INTO read_states VALUES (?, ?, 0, ?)
                     ON CONFLICT DO UPDATE SET muted_until = excluded.muted_until",
                )
                .bind(user)
                .bind(of.channel)
                .bind(until)
                .execute(&mut tx.connection)
                .await?;
                tell(tx, user, of).await
            })
        })
        .await
    }
}

async fn states(
    connection: &mut SqliteConnection,
    user: Id,
    channels: &[ReadOf],
) -> Result<Vec<ReadState>, sqlx::Error> {
    let asked: Vec<(Id, i32, Id)> = channels
        .iter()
        .map(|of| (of.channel, of.role as i32, of.at_least))
        .collect();
    let asked = serde_json::to_string(&asked).expect("a list of numbers is always JSON");
    let rows: Vec<(Id, Id, UnixMs, Id, i32)> = sqlx::query_as(STATES)
        .bind(user)
        .bind(asked)
        .bind(SNOWFLAKE_EPOCH_MS)
        .bind(MENTIONS_COUNTED)
        .fetch_all(connection)
        .await?;
    let state =
        |(channel_id, last_read_id, muted_until, last_message_id, mention_count)| ReadState {
            channel_id,
            last_read_id,
            last_message_id,
            mention_count,
            muted_until,
        };
    Ok(rows.into_iter().map(state).collect())
}

async fn state(tx: &mut Tx, user: Id, of: ReadOf) -> Result<ReadState, Error> {
    let found = states(&mut tx.connection, user, &[of]).await?.pop();
    found.ok_or(Error::NotFound("channel"))
}

async fn acknowledge(tx: &mut Tx, user: Id, channel: Id, message: Id) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO read_states SELECT ?1, id, ?3, 0 FROM channels WHERE id = ?2
         ON CONFLICT DO UPDATE SET last_read_id = max(last_read_id, excluded.last_read_id)",
    )
    .bind(user)
    .bind(channel)
    .bind(message)
    .execute(&mut tx.connection)
    .await?;
    sqlx::query(
        "DELETE FROM mentions WHERE channel_id = ?1 AND user_id = ?2 AND message_id IN
         (SELECT message_id FROM mentions
          WHERE channel_id = ?1 AND user_id = ?2 AND message_id <= ?3 LIMIT ?4)",
    )
    .bind(channel)
    .bind(user)
    .bind(message)
    .bind(MENTIONS_REMOVED)
    .execute(&mut tx.connection)
    .await?;
    Ok(())
}

/// Tells the user's sessions of a state that changed, and answers it.
async fn tell(tx: &mut Tx, user: Id, of: ReadOf) -> Result<ReadState, Error> {
    let now = state(tx, user, of).await?;
    let event = NewEvent {
        topic: TopicKey::user(user),
        body: EventBody::ReadStateChanged(now.clone()),
    };
    outbox::publish(tx, outbox::encode(vec![event])).await?;
    Ok(now)
}

/// Forgets how far a user read a channel that it no longer sees.
pub(super) async fn forget(tx: &mut Tx, channel: Id, user: Id) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM read_states WHERE user_id = ? AND channel_id = ?")
        .bind(user)
        .bind(channel)
        .execute(&mut tx.connection)
        .await
        .map(drop)
}
