-- Reactions and pins.

-- reactions: the kinds in the order in which they came, as compact JSON: [[kind, "emoji", count], …]; NULL for
-- none. A page's messages so bring their counts along. pinned: whether `pins` has it.
ALTER TABLE messages ADD COLUMN reactions TEXT;
ALTER TABLE messages ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;

-- A kind of reaction to a message. Ids are never used again: what is still to be removed of a kind that is gone
-- doesn't count for one that came later. gone: nothing names it any more, its reactions are still to be removed.
CREATE TABLE reaction_kinds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    emoji TEXT NOT NULL,
    gone INTEGER NOT NULL
);
CREATE INDEX reaction_kinds_gone ON reaction_kinds (id) WHERE gone = 1;

CREATE TABLE reactions (
    kind_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    PRIMARY KEY (kind_id, user_id)
) WITHOUT ROWID;
CREATE INDEX reactions_of_user ON reactions (user_id, kind_id);

-- id: a Snowflake, made when it was pinned.
CREATE TABLE pins (
    channel_id INTEGER NOT NULL,
    id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    PRIMARY KEY (channel_id, id),
    UNIQUE (channel_id, message_id)
) WITHOUT ROWID;
