-- Everything of an embedded deployment. Times are milliseconds since the Unix epoch; metadata and
-- mentions are compact JSON, NULL for none.

-- epoch: of the topics of servers and users. highest: the highest id among the messages of channels that
-- were deleted, which no other row may remember. copied: the file is a copy; whoever serves it first begins
-- a new epoch.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', (random() & 9223372036854775807) | 1), ('highest', 0);

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    username TEXT NOT NULL,
    name_key TEXT UNIQUE,
    display_name TEXT NOT NULL,
    bot INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    password_hash TEXT NOT NULL,
    external_id TEXT UNIQUE,
    owner_id INTEGER NOT NULL,
    metadata TEXT
);
-- The bots of an owner.
CREATE INDEX users_of_owner ON users (owner_id, id) WHERE owner_id <> 0;

CREATE TABLE blocks (
    user_id INTEGER NOT NULL,
    other_id INTEGER NOT NULL,
    PRIMARY KEY (user_id, other_id)
) WITHOUT ROWID;
CREATE INDEX blocks_of_other ON blocks (other_id);

CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    access_hash BLOB NOT NULL,
    access_expires_at INTEGER NOT NULL,
    refresh_family_hash BLOB NOT NULL,
    refresh_hash BLOB NOT NULL,
    refresh_expires_at INTEGER NOT NULL,
    previous_refresh_hash BLOB NOT NULL,
    refreshed_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_of_services ON sessions (id) WHERE kind IN (3, 4);
CREATE INDEX sessions_by_end ON sessions (refresh_expires_at) WHERE kind = 1;

CREATE TABLE servers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    owner_id INTEGER NOT NULL,
    open INTEGER NOT NULL,
    member_count INTEGER NOT NULL,
    metadata TEXT
);
CREATE INDEX servers_of_owner ON servers (owner_id);

CREATE TABLE members (
    server_id INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL,
    role INTEGER NOT NULL,
    joined_at INTEGER NOT NULL,
    PRIMARY KEY (server_id, user_id)
) WITHOUT ROWID;
CREATE INDEX members_of_user ON members (user_id, server_id);
-- Those who see every private channel.
CREATE INDEX admins_of_server ON members (server_id, user_id) WHERE role >= 3;

CREATE TABLE bans (
    server_id INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL,
    banned_by INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (server_id, user_id)
) WITHOUT ROWID;

CREATE TABLE invites (
    code TEXT PRIMARY KEY,
    server_id INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    creator_id INTEGER NOT NULL,
    max_uses INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX invites_of_server ON invites (server_id, code);
CREATE INDEX invites_by_end ON invites (expires_at);

-- server_id is NULL and direct_key set ("lesser:greater") for the direct channel of two users.
CREATE TABLE channels (
    id INTEGER PRIMARY KEY,
    server_id INTEGER REFERENCES servers (id),
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    rank INTEGER NOT NULL,
    direct_key TEXT UNIQUE,
    creator_id INTEGER NOT NULL,
    metadata TEXT
);
CREATE INDEX channels_of_server ON channels (server_id, rank, id);
CREATE INDEX directs_of_creator ON channels (creator_id) WHERE kind = 4;

CREATE TABLE channel_members (
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL,
    PRIMARY KEY (channel_id, user_id)
) WITHOUT ROWID;
CREATE INDEX channels_of_member ON channel_members (user_id, channel_id);

-- Channels that are gone and whose messages are still to be removed.
CREATE TABLE purges (channel_id INTEGER PRIMARY KEY);

-- Clustered by channel and id, so that a page is one walk along the table.
CREATE TABLE messages (
    channel_id INTEGER NOT NULL,
    id INTEGER NOT NULL,
    author_id INTEGER NOT NULL,
    nonce BLOB,
    content TEXT NOT NULL,
    reply_to INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    edited_at INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    mentions TEXT,
    metadata TEXT,
    PRIMARY KEY (channel_id, id)
) WITHOUT ROWID;

-- The nonce first: those of version 7 begin with the time, so new rows go to the end of the tree, not to a
-- place for each channel.
CREATE UNIQUE INDEX messages_by_nonce ON messages (nonce, author_id, channel_id) WHERE nonce IS NOT NULL;

-- What creating calls with a request id made. kind: 1 a server (and its first channel), 2 a channel,
-- 3 a bot, 4 a service key (by its system user), 5 an invitation (by its code).
CREATE TABLE requests (
    kind INTEGER NOT NULL,
    caller_id INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    made_id INTEGER NOT NULL,
    first_channel_id INTEGER NOT NULL,
    code TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (kind, caller_id, request_id)
) WITHOUT ROWID;
CREATE INDEX requests_by_age ON requests (created_at);

CREATE TABLE topics (
    kind INTEGER NOT NULL,
    id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

-- The rings of servers' and users' topics. signal: 0 none, 1 recheck, 2 session_id ends.
CREATE TABLE outbox (
    kind INTEGER NOT NULL,
    topic_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    signal INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    payload BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (kind, topic_id, seq)
) WITHOUT ROWID;
CREATE INDEX outbox_by_age ON outbox (created_at);
