//! How far users have read channels.
//!
//! The newest message of a channel is read after what Postgres knows, so that a state never counts
//! a mention that is newer than its newest message; what a change tells has the newest from before.

use super::Postgres;
use super::tx::Tx;
use crate::model::{EventBody, Id, ReadState, SNOWFLAKE_EPOCH_MS, TopicKey, UnixMs};
use crate::mutation;
use crate::store::{Error, NewEvent, ReadOf, ReadStates};
use async_trait::async_trait;
use sqlx::PgConnection;

/// Rows of read mentions that go with an acknowledgement, so that it is short; the others no longer
/// count and go with the next ones.
const MENTIONS_REMOVED: i64 = 1_000;

/// The states of a user ($1) in channels ($2, with roles $3 and what is read at least $4).
/// What it has read is worked out once, and the rest from that. $5: where Snowflakes' time begins:
/// the first id of the millisecond in which the user joined is unread;
/// $6: so many mentions are looked at and counted.
const STATES: &str = "
WITH state AS MATERIALIZED (
    SELECT a.place, c.id, a.role, coalesce(r.muted_until, 0) AS muted,
        greatest(a.least, coalesce(r.last_read_id, 0),
            (SELECT value FROM meta WHERE name = 'unread_from'),
            (greatest(m.joined_at - $5, 0) << 22) - 1, 0) AS read
    FROM unnest($2::bigint[], $3::integer[], $4::bigint[]) WITH ORDINALITY
        AS a (channel, role, least, place)
    JOIN channels c ON c.id = a.channel
    LEFT JOIN members m ON m.server_id = c.server_id AND m.user_id = $1
    LEFT JOIN read_states r ON r.user_id = $1 AND r.channel_id = c.id
)
SELECT s.id, s.read, s.muted,
    least($6,
        (SELECT count(*) FROM (
            SELECT 1 FROM mentions
            WHERE channel_id = s.id AND user_id = $1 AND message_id > s.read LIMIT $6) named)
        + (SELECT count(*) FROM (
            SELECT message_id, author_id, least_role FROM group_mentions
            WHERE channel_id = s.id AND message_id > s.read
            ORDER BY message_id DESC LIMIT $6) g
           WHERE least_role <= s.role AND author_id <> $1 AND NOT EXISTS (
               SELECT 1 FROM mentions m WHERE m.channel_id = s.id AND m.user_id = $1
               AND m.message_id = g.message_id)))::integer
FROM state s ORDER BY s.place";

/// Mentions that are looked at and counted.
const MENTIONS_COUNTED: i64 = 1_000;

/// Reads ($1: users, $2: channels, $3: messages) of channels that are there, in one order, so that
/// two calls don't wait for each other.
const ACKNOWLEDGE: &str = "
INSERT INTO read_states AS r (user_id, channel_id, last_read_id, muted_until)
SELECT a.reader, c.id, max(a.message), 0
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS a (reader, channel, message)
JOIN channels c ON c.id = a.channel
GROUP BY a.reader, c.id ORDER BY a.reader, c.id
ON CONFLICT (user_id, channel_id) DO UPDATE SET last_read_id = excluded.last_read_id
WHERE r.last_read_id < excluded.last_read_id";

/// Mentions that were read, $4 of each. What an edit or a deletion holds goes with that anyway.
const FORGET_MENTIONS: &str = "
DELETE FROM mentions USING (
    SELECT old.channel_id, old.user_id, old.message_id
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS a (reader, channel, message)
    CROSS JOIN LATERAL (
        SELECT channel_id, user_id, message_id FROM mentions
        WHERE channel_id = a.channel AND user_id = a.reader AND message_id <= a.message
        LIMIT $4 FOR UPDATE SKIP LOCKED) old) gone
WHERE mentions.channel_id = gone.channel_id AND mentions.user_id = gone.user_id
AND mentions.message_id = gone.message_id";

#[async_trait]
impl ReadStates for Postgres {
    async fn read_states(&self, user: Id, channels: &[ReadOf]) -> Result<Vec<ReadState>, Error> {
        let mut connection = self.pool.acquire().await?;
        let mut states = states(&mut connection, user, channels).await?;
        drop(connection);
        let ids: Vec<Id> = states.iter().map(|state| state.channel_id).collect();
        let newest = self.messages.newest(&ids).await?;
        for (state, newest) in states.iter_mut().zip(newest) {
            state.last_message_id = newest;
        }
        Ok(states)
    }

    async fn acknowledge(&self, user: Id, of: ReadOf, message: Id) -> Result<ReadState, Error> {
        let newest = self.newest_in(of.channel).await?;
        self.change(move |tx| {
            Box::pin(async move {
                let before = state(tx, user, of, newest).await?;
                if mutation::on("read_state_backwards") {
                    forget(tx, of.channel, user).await?;
                } else if message <= before.last_read_id {
                    return Ok(before);
                }
                if acknowledge(tx, &[(user, of.channel, message)]).await? {
                    return tell(tx, user, of, newest).await;
                }
                // Another call was faster, and told.
                state(tx, user, of, newest).await
            })
        })
        .await
    }

    async fn acknowledge_all(&self, reads: Vec<(Id, Id, Id)>) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                acknowledge(tx, &reads).await?;
                Ok(())
            })
        })
        .await
    }

    async fn mute(&self, user: Id, of: ReadOf, until: UnixMs) -> Result<ReadState, Error> {
        let newest = self.newest_in(of.channel).await?;
        self.change(move |tx| {
            Box::pin(async move {
                let before = state(tx, user, of, newest).await?;
                if before.muted_until == until {
                    return Ok(before);
                }
                let done = sqlx::query(
                    "INSERT INTO read_states AS r (user_id, channel_id, last_read_id, muted_until)
                     VALUES ($1, $2, 0, $3) ON CONFLICT (user_id, channel_id)
                     DO UPDATE SET muted_until = excluded.muted_until
                     WHERE r.muted_until <> excluded.muted_until",
                )
                .bind(user)
                .bind(of.channel)
                .bind(until)
                .execute(&mut *tx.connection)
                .await?;
                if done.rows_affected() == 1 {
                    return tell(tx, user, of, newest).await;
                }
                state(tx, user, of, newest).await
            })
        })
        .await
    }
}

impl Postgres {
    /// The newest message id of a channel, 0 for none.
    async fn newest_in(&self, channel: Id) -> Result<Id, Error> {
        let newest = self.messages.newest(&[channel]).await?;
        Ok(newest.first().copied().unwrap_or(0))
    }
}

/// The states without the channels' newest messages, which Postgres doesn't know.
async fn states(
    connection: &mut PgConnection,
    user: Id,
    channels: &[ReadOf],
) -> Result<Vec<ReadState>, sqlx::Error> {
    let ids: Vec<Id> = channels.iter().map(|of| of.channel).collect();
    let roles: Vec<i32> = channels.iter().map(|of| of.role as i32).collect();
    let least: Vec<Id> = channels.iter().map(|of| of.at_least).collect();
    let rows: Vec<(Id, Id, UnixMs, i32)> = sqlx::query_as(STATES)
        .bind(user)
        .bind(ids)
        .bind(roles)
        .bind(least)
        .bind(SNOWFLAKE_EPOCH_MS)
        .bind(MENTIONS_COUNTED)
        .fetch_all(connection)
        .await?;
    let state = |(channel_id, last_read_id, muted_until, mention_count)| ReadState {
        channel_id,
        last_read_id,
        last_message_id: 0,
        mention_count,
        muted_until,
    };
    Ok(rows.into_iter().map(state).collect())
}

async fn state(tx: &mut Tx, user: Id, of: ReadOf, newest: Id) -> Result<ReadState, Error> {
    let found = states(&mut tx.connection, user, &[of]).await?.pop();
    let found = found.ok_or(Error::NotFound("channel"))?;
    Ok(ReadState {
        last_message_id: newest,
        ..found
    })
}

/// Reads of (user, channel, message). False if nothing was further than what is stored.
async fn acknowledge(tx: &mut Tx, reads: &[(Id, Id, Id)]) -> Result<bool, Error> {
    let users: Vec<Id> = reads.iter().map(|read| read.0).collect();
    let channels: Vec<Id> = reads.iter().map(|read| read.1).collect();
    let messages: Vec<Id> = reads.iter().map(|read| read.2).collect();
    let done = sqlx::query(ACKNOWLEDGE)
        .bind(&users)
        .bind(&channels)
        .bind(&messages)
        .execute(&mut *tx.connection)
        .await?;
    sqlx::query(FORGET_MENTIONS)
        .bind(&users)
        .bind(&channels)
        .bind(&messages)
        .bind(MENTIONS_REMOVED)
        .execute(&mut *tx.connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Tells the user's sessions of a state that changed, and answers it.
async fn tell(tx: &mut Tx, user: Id, of: ReadOf, newest: Id) -> Result<ReadState, Error> {
    let now = state(tx, user, of, newest).await?;
    tx.tell(vec![NewEvent {
        topic: TopicKey::user(user),
        body: EventBody::ReadStateChanged(now.clone()),
    }]);
    Ok(now)
}

/// Forgets how far a user read a channel that it no longer sees.
pub(super) async fn forget(tx: &mut Tx, channel: Id, user: Id) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM read_states WHERE user_id = $1 AND channel_id = $2")
        .bind(user)
        .bind(channel)
        .execute(&mut *tx.connection)
        .await
        .map(drop)
}
