-- How far users have read, whom messages mention, and what users set for themselves.

-- muted_until: 0 not muted, 9223372036854775807 for ever. A channel without a row is read up to when its
-- user joined the server.
CREATE TABLE read_states (
    user_id INTEGER NOT NULL,
    channel_id INTEGER NOT NULL,
    last_read_id INTEGER NOT NULL,
    muted_until INTEGER NOT NULL,
    PRIMARY KEY (user_id, channel_id)
) WITHOUT ROWID;
CREATE INDEX read_states_of_channel ON read_states (channel_id);

-- What was there before read states were kept counts as read: up to this message.
INSERT INTO meta SELECT 'unread_from', coalesce(max(newest), 0)
FROM (SELECT (SELECT max(id) FROM messages m WHERE m.channel_id = c.id) AS newest FROM channels c);

-- Messages that mention a user by its id, until it has read them.
CREATE TABLE mentions (
    channel_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    PRIMARY KEY (channel_id, user_id, message_id)
) WITHOUT ROWID;
CREATE INDEX mentions_of_user ON mentions (user_id);

-- Messages that mention all members of a role and of those above it: of role 1, everyone.
CREATE TABLE group_mentions (
    channel_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    author_id INTEGER NOT NULL,
    least_role INTEGER NOT NULL,
    PRIMARY KEY (channel_id, message_id)
) WITHOUT ROWID;

-- Bits: 1 everyone, 4 moderators, 8 admins, 16 owners.
ALTER TABLE messages ADD COLUMN mention_groups INTEGER NOT NULL DEFAULT 0;

-- direct_messages: 1 everyone, 2 who shares a server, 3 nobody. Without a row: the defaults.
CREATE TABLE user_settings (
    user_id INTEGER PRIMARY KEY,
    direct_messages INTEGER NOT NULL
);
