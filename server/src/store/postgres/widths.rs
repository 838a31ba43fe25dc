//! Keeps how wide the buckets of a channel's messages are in CQL.

use crate::model::{Id, SNOWFLAKE_EPOCH_MS, UnixMs};
use crate::store::Error;
use crate::store::cql::{Plans, Widths};
use async_trait::async_trait;
use sqlx::PgPool;
use std::sync::Arc;

/// What was decided, and Postgres's time.
const READ: &str = "SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint,
        array_agg(begins ORDER BY begins), array_agg(hours ORDER BY begins)
    FROM channel_widths WHERE channel_id = $1";

/// $1 channel, $2 hours, $3 the time in ms from which hours are counted. Whoever reads counts on it
/// that what isn't there yet begins a day later, so the time is that of this very moment, and
/// nothing is waited for but the row's own commit. No id may have been given out that lies beyond.
const DECIDE: &str = "INSERT INTO channel_widths (channel_id, begins, hours)
    SELECT c.id, n.begins, $2
    FROM channels c
    CROSS JOIN LATERAL (
        SELECT now_h, (now_h / 24 + 2) * 24 AS begins FROM (
            SELECT ((extract(epoch FROM clock_timestamp()) * 1000)::bigint - $3) / 3600000 AS now_h
        ) t
    ) n
    WHERE c.id = $1 AND n.now_h > 0
    AND NOT EXISTS (SELECT 1 FROM channel_widths w WHERE w.channel_id = $1
        AND (w.begins > n.now_h OR (w.hours < $2 AND w.begins > n.now_h - 240)))
    AND n.begins > (SELECT (value >> 22) / 3600000 FROM meta WHERE name = 'high_water')
    ON CONFLICT DO NOTHING
    RETURNING begins";

struct Kept(PgPool);

/// What the messages in CQL ask.
pub(super) fn plans(pool: &PgPool) -> Arc<dyn Plans> {
    Arc::new(Kept(pool.clone()))
}

#[async_trait]
impl Plans for Kept {
    async fn widths(&self, channel: Id) -> Result<(Widths, UnixMs), Error> {
        type Told = (UnixMs, Option<Vec<i32>>, Option<Vec<i32>>);
        let read = sqlx::query_as(READ).bind(channel).fetch_one(&self.0);
        let (now_ms, begins, hours): Told = read.await?;
        let decided = begins
            .into_iter()
            .flatten()
            .zip(hours.into_iter().flatten());
        Ok((Widths::new(decided.collect()), now_ms))
    }

    async fn decide(&self, channel: Id, hours: i32) -> Result<Option<i32>, Error> {
        let decide = sqlx::query_scalar(DECIDE)
            .bind(channel)
            .bind(hours)
            .bind(SNOWFLAKE_EPOCH_MS)
            .fetch_optional(&self.0);
        Ok(decide.await?)
    }
}
