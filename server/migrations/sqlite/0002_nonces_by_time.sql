-- The nonce first: those of version 7 begin with the time, so new rows go to the end of one tree, not to
-- a place for each channel. That is half the pages that a commit writes.
CREATE TABLE nonces_by_time (
    channel_id INTEGER NOT NULL,
    author_id INTEGER NOT NULL,
    nonce BLOB NOT NULL,
    message_id INTEGER NOT NULL,
    PRIMARY KEY (nonce, author_id, channel_id)
) WITHOUT ROWID;
INSERT INTO nonces_by_time SELECT channel_id, author_id, nonce, message_id FROM nonces;
DROP TABLE nonces;
ALTER TABLE nonces_by_time RENAME TO nonces;
CREATE INDEX nonces_by_age ON nonces (message_id);
