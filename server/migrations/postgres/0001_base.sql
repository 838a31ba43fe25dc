-- Everything of a cluster but the messages, which are in CQL. Ids are Snowflakes, times are milliseconds
-- since the Unix epoch; metadata and changes are compact JSON as text (jsonb would refuse U+0000), NULL for
-- none. What is compared by order has the collation "C", as the other stores compare it.

-- epoch: of the topics of servers and users. unread_from: what was there before read states were kept counts
-- as read, up to this message. high_water: no message's id is above it.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
-- 60 random bits of a UUID, as a positive number.
INSERT INTO meta VALUES
    ('epoch', ('x' || left(replace(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint
              & 9223372036854775807 | 1),
    ('unread_from', 0),
    ('high_water', 0),
    ('checks', 0);

CREATE TABLE users (
    id BIGINT PRIMARY KEY,
    username TEXT NOT NULL,
    name_key TEXT UNIQUE,
    display_name TEXT NOT NULL,
    bot BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL,
    password_hash TEXT NOT NULL,
    external_id TEXT UNIQUE,
    owner_id BIGINT NOT NULL,
    metadata TEXT
);
-- The bots of an owner.
CREATE INDEX users_of_owner ON users (owner_id, id) WHERE owner_id <> 0;

CREATE TABLE blocks (
    user_id BIGINT NOT NULL,
    other_id BIGINT NOT NULL,
    PRIMARY KEY (user_id, other_id)
);
CREATE INDEX blocks_of_other ON blocks (other_id);

-- direct_messages: 1 everyone, 2 who shares a server, 3 nobody. Without a row: the defaults.
CREATE TABLE user_settings (
    user_id BIGINT PRIMARY KEY,
    direct_messages INTEGER NOT NULL
);

CREATE TABLE sessions (
    id BIGINT PRIMARY KEY,
    user_id BIGINT NOT NULL,
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    access_hash BYTEA NOT NULL,
    access_expires_at BIGINT NOT NULL,
    refresh_family_hash BYTEA NOT NULL,
    refresh_hash BYTEA NOT NULL,
    refresh_expires_at BIGINT NOT NULL,
    previous_refresh_hash BYTEA NOT NULL,
    refreshed_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id, id);
CREATE INDEX sessions_of_services ON sessions (id) WHERE kind IN (3, 4);
CREATE INDEX sessions_by_end ON sessions (refresh_expires_at) WHERE kind = 1;

CREATE TABLE servers (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    owner_id BIGINT NOT NULL,
    open BOOLEAN NOT NULL,
    member_count INTEGER NOT NULL,
    metadata TEXT
);
CREATE INDEX servers_of_owner ON servers (owner_id);

CREATE TABLE members (
    server_id BIGINT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL,
    role INTEGER NOT NULL,
    joined_at BIGINT NOT NULL,
    PRIMARY KEY (server_id, user_id)
);
CREATE INDEX members_of_user ON members (user_id, server_id);
-- Those who see every private channel.
CREATE INDEX admins_of_server ON members (server_id, user_id) WHERE role >= 3;

-- Not columns of members: who leaves and joins again is still timed out.
CREATE TABLE time_outs (
    server_id BIGINT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (server_id, user_id)
);
CREATE INDEX time_outs_of_user ON time_outs (user_id);
CREATE INDEX time_outs_by_end ON time_outs (until);

CREATE TABLE bans (
    server_id BIGINT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL,
    banned_by BIGINT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (server_id, user_id)
);

CREATE TABLE invites (
    code TEXT COLLATE "C" PRIMARY KEY,
    server_id BIGINT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    creator_id BIGINT NOT NULL,
    max_uses INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX invites_of_server ON invites (server_id, code);
CREATE INDEX invites_by_end ON invites (expires_at);

-- server_id is NULL and direct_key set ("lesser:greater") for the direct channel of two users. slow_mode_s:
-- seconds between two messages of a user, 0 for no slow mode.
CREATE TABLE channels (
    id BIGINT PRIMARY KEY,
    server_id BIGINT REFERENCES servers (id),
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    rank INTEGER NOT NULL,
    direct_key TEXT UNIQUE,
    creator_id BIGINT NOT NULL,
    metadata TEXT,
    slow_mode_s INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX channels_of_server ON channels (server_id, rank, id);
CREATE INDEX directs_of_creator ON channels (creator_id) WHERE kind = 4;

CREATE TABLE channel_members (
    channel_id BIGINT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL,
    PRIMARY KEY (channel_id, user_id)
);
CREATE INDEX channels_of_member ON channel_members (user_id, channel_id);

-- Channels that are gone and whose messages are still to be removed.
CREATE TABLE purges (channel_id BIGINT PRIMARY KEY);

-- A kind of reaction to a message, in the order of ids, which are never used again: what is still to be
-- removed of a kind that is gone doesn't count for one that came later. gone: nothing names it any more, its
-- reactions are still to be removed.
CREATE TABLE reaction_kinds (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel_id BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    emoji TEXT NOT NULL,
    count INTEGER NOT NULL,
    gone BOOLEAN NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX reaction_kinds_of_message ON reaction_kinds (channel_id, message_id, emoji) WHERE NOT gone;
CREATE INDEX reaction_kinds_gone ON reaction_kinds (id) WHERE gone;

CREATE TABLE reactions (
    kind_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    PRIMARY KEY (kind_id, user_id)
);
CREATE INDEX reactions_of_user ON reactions (user_id, kind_id);

-- id: a Snowflake, made when it was pinned.
CREATE TABLE pins (
    channel_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    PRIMARY KEY (channel_id, id),
    UNIQUE (channel_id, message_id)
);

-- muted_until: 0 not muted, 9223372036854775807 for ever. A channel without a row is read up to when its
-- user joined the server.
CREATE TABLE read_states (
    user_id BIGINT NOT NULL,
    channel_id BIGINT NOT NULL,
    last_read_id BIGINT NOT NULL,
    muted_until BIGINT NOT NULL,
    PRIMARY KEY (user_id, channel_id)
);
CREATE INDEX read_states_of_channel ON read_states (channel_id);

-- Messages that mention a user by its id, until it has read them.
CREATE TABLE mentions (
    channel_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    PRIMARY KEY (channel_id, user_id, message_id)
);
CREATE INDEX mentions_of_user ON mentions (user_id);
CREATE INDEX mentions_of_message ON mentions (channel_id, message_id);

-- Messages that mention all members of a role and of those above it: of role 1, everyone.
CREATE TABLE group_mentions (
    channel_id BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    author_id BIGINT NOT NULL,
    least_role INTEGER NOT NULL,
    PRIMARY KEY (channel_id, message_id)
);

-- What was done to servers, by model::AuditAction. `number` rises by one with each entry of a server, so that
-- its oldest entries are found without counting. Entries outlive their server.
CREATE TABLE audit_log (
    server_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    number BIGINT NOT NULL,
    actor_id BIGINT NOT NULL,
    action INTEGER NOT NULL,
    target_id BIGINT NOT NULL,
    channel_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL,
    -- JSON: [field, before, after] of each; NULL for none.
    changes TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (server_id, id)
);
CREATE INDEX audit_by_number ON audit_log (server_id, number);
CREATE INDEX audit_by_actor ON audit_log (server_id, actor_id, id);
CREATE INDEX audit_by_action ON audit_log (server_id, action, id);
CREATE INDEX audit_by_age ON audit_log (created_at);

-- The number of each server's latest entry; whoever writes one holds the row until it is committed.
CREATE TABLE audit_numbers (
    server_id BIGINT PRIMARY KEY,
    number BIGINT NOT NULL
);

-- state: 1 open, 2 resolved, 3 dismissed.
CREATE TABLE reports (
    id BIGINT PRIMARY KEY,
    server_id BIGINT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    channel_id BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    author_id BIGINT NOT NULL,
    reporter_id BIGINT NOT NULL,
    reason TEXT NOT NULL,
    state INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    resolved_by BIGINT NOT NULL,
    resolved_at BIGINT NOT NULL,
    note TEXT NOT NULL
);
CREATE INDEX reports_of_server ON reports (server_id, id);
CREATE INDEX reports_by_state ON reports (server_id, state, id);
CREATE UNIQUE INDEX open_reports ON reports (channel_id, message_id, reporter_id) WHERE state = 1;
CREATE INDEX reports_by_end ON reports (resolved_at) WHERE state > 1;

-- What creating calls with a request id made. kind: 1 a server (and its first channel), 2 a channel, 3 a bot,
-- 4 a service key (by its system user), 5 an invitation (by its code), 6 a webhook.
CREATE TABLE requests (
    kind INTEGER NOT NULL,
    caller_id BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    made_id BIGINT NOT NULL,
    first_channel_id BIGINT NOT NULL,
    code TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (kind, caller_id, request_id)
);
CREATE INDEX requests_by_age ON requests (created_at);

-- Positions of servers' (kind 2) and users' (3) topics. A change that tells of something holds the rows of its
-- topics until it is committed, so that the numbers are in the order of the commits. Rows are updated in place.
CREATE TABLE topics (
    kind INTEGER NOT NULL,
    id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 70);

-- The rings of servers' and users' topics. signal: 0 none, 1 recheck, 2 session_id ends.
CREATE TABLE outbox (
    kind INTEGER NOT NULL,
    topic_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    signal INTEGER NOT NULL,
    session_id BIGINT NOT NULL,
    payload BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (kind, topic_id, seq)
);
CREATE INDEX outbox_by_age ON outbox (created_at);

-- Webhooks: who is told of what, and what waits to be told. Events are of model/webhook.rs: one bit each.

-- server_id: 0 for all servers. key signs; it can't be a hash. queued: rows of webhook_queue, kept by
-- triggers. dropped: events that are in neither table any more though nobody took them.
CREATE TABLE webhooks (
    id BIGINT PRIMARY KEY,
    server_id BIGINT NOT NULL,
    creator_id BIGINT NOT NULL,
    url TEXT NOT NULL,
    events INTEGER NOT NULL,
    enabled BOOLEAN NOT NULL,
    disabled_reason TEXT NOT NULL,
    key BYTEA NOT NULL,
    previous_key BYTEA NOT NULL,
    rotated_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    queued BIGINT NOT NULL DEFAULT 0,
    dropped BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX webhooks_of_server ON webhooks (server_id, id);
CREATE INDEX webhooks_waiting ON webhooks (id) WHERE queued > 0;

-- What waits, by reference: what is told of a message is the message as it is when it is told. lane: the
-- channel, or the server for its members; within one, the order of ids is kept. subject_id: the message or
-- the user.
CREATE TABLE webhook_queue (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id BIGINT NOT NULL,
    event INTEGER NOT NULL,
    lane BIGINT NOT NULL,
    subject_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX webhook_queue_by_lane ON webhook_queue (webhook_id, lane, id);
CREATE INDEX webhook_queue_by_age ON webhook_queue (webhook_id, created_at, id);

-- The lanes in which something waits, and when their first may be tried.
CREATE TABLE webhook_lanes (
    webhook_id BIGINT NOT NULL,
    lane BIGINT NOT NULL,
    due BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (webhook_id, lane)
);
CREATE INDEX webhook_lanes_by_due ON webhook_lanes (webhook_id, due);

-- What nobody took. The ids are those of the queue.
CREATE TABLE webhook_dead (
    id BIGINT PRIMARY KEY,
    webhook_id BIGINT NOT NULL,
    event INTEGER NOT NULL,
    lane BIGINT NOT NULL,
    subject_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    died_at BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL
);
CREATE INDEX webhook_dead_of_webhook ON webhook_dead (webhook_id, id);

-- Webhooks that are gone and whose rows are still to be removed.
CREATE TABLE webhook_purges (webhook_id BIGINT PRIMARY KEY);

-- Once a statement, not a row; webhooks in the order of their ids, so that two changes don't wait for each
-- other.
CREATE FUNCTION webhook_queue_inserted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM 1 FROM webhooks WHERE id IN (SELECT webhook_id FROM added) ORDER BY id FOR NO KEY UPDATE;
    UPDATE webhooks w SET queued = w.queued + a.rows
    FROM (SELECT webhook_id, count(*) AS rows FROM added GROUP BY webhook_id) a WHERE w.id = a.webhook_id;
    INSERT INTO webhook_lanes
    SELECT webhook_id, lane, min(created_at), 0, '' FROM added GROUP BY webhook_id, lane
    ORDER BY webhook_id, lane ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_queue_inserted AFTER INSERT ON webhook_queue
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION webhook_queue_inserted();

CREATE FUNCTION webhook_queue_deleted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM 1 FROM webhooks WHERE id IN (SELECT webhook_id FROM removed) ORDER BY id FOR NO KEY UPDATE;
    UPDATE webhooks w SET queued = w.queued - r.rows
    FROM (SELECT webhook_id, count(*) AS rows FROM removed GROUP BY webhook_id) r WHERE w.id = r.webhook_id;
    DELETE FROM webhook_lanes l USING (SELECT DISTINCT webhook_id, lane FROM removed) r
    WHERE l.webhook_id = r.webhook_id AND l.lane = r.lane
    AND NOT EXISTS (SELECT 1 FROM webhook_queue q WHERE q.webhook_id = r.webhook_id AND q.lane = r.lane);
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_queue_deleted AFTER DELETE ON webhook_queue
REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION webhook_queue_deleted();

CREATE FUNCTION webhooks_deleted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO webhook_purges SELECT id FROM removed ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER webhooks_deleted AFTER DELETE ON webhooks
REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION webhooks_deleted();

CREATE FUNCTION webhooks_go_with_their_server() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM webhooks WHERE server_id IN (SELECT id FROM removed);
    RETURN NULL;
END $$;
CREATE TRIGGER webhooks_go_with_their_server AFTER DELETE ON servers
REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION webhooks_go_with_their_server();

-- The numbers that tell nodes' ids apart. high_water: no id was made with the number whose time (milliseconds
-- since the Unix epoch) is above it; who leases it next waits until that has passed.
CREATE TABLE workers (
    id SMALLINT PRIMARY KEY,
    holder UUID,
    until TIMESTAMPTZ NOT NULL DEFAULT 'epoch',
    high_water BIGINT NOT NULL DEFAULT 0
);
INSERT INTO workers (id) SELECT generate_series(0, 1023);
