-- What the CQL server keeps: messages and what finds them. Statements end with a semicolon at a line's end.
-- Everything else is in Postgres. Compaction is left to the server's default: what suits it best differs
-- between ScyllaDB and Cassandra.

-- bucket: the hours from 2025-01-01T00:00Z to the start of a stretch of ids. A row without author_id is what
-- a late change left of a message that isn't there. flags: bit 0, Postgres has reactions or a pin of it;
-- written once, never taken back. metadata: compact JSON. Deletes are soft: empty values, no tombstones.
CREATE TABLE IF NOT EXISTS messages (
    channel_id bigint,
    bucket int,
    message_id bigint,
    author_id bigint,
    nonce text,
    content text,
    reply_to bigint,
    mentions frozen<list<bigint>>,
    mention_groups int,
    metadata text,
    sent_hash bigint,
    flags int,
    revision bigint,
    edited_at bigint,
    deleted boolean,
    PRIMARY KEY ((channel_id, bucket), message_id)
) WITH CLUSTERING ORDER BY (message_id DESC);

-- Which message an author's nonce made: for a day.
CREATE TABLE IF NOT EXISTS nonces (
    author_id bigint,
    channel_id bigint,
    nonce text,
    message_id bigint,
    PRIMARY KEY ((author_id, channel_id, nonce))
) WITH default_time_to_live = 86400;

-- The buckets of a channel that have messages; written before a bucket's first one.
CREATE TABLE IF NOT EXISTS channel_buckets (
    channel_id bigint,
    bucket int,
    width_hours int,
    PRIMARY KEY (channel_id, bucket)
) WITH CLUSTERING ORDER BY (bucket DESC);

-- Where an author wrote, so that an erasure finds it; written before its first message there.
CREATE TABLE IF NOT EXISTS author_buckets (
    author_id bigint,
    channel_id bigint,
    bucket int,
    PRIMARY KEY (author_id, channel_id, bucket)
);
