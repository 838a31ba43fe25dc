-- How wide the buckets of a channel's messages are in CQL: from which hour on (since 2025-01-01T00:00Z), and how
-- many hours. Before the first row: ten days. A row is made a day before it begins, and never changed.
CREATE TABLE channel_widths (
    channel_id BIGINT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    begins INTEGER NOT NULL,
    hours INTEGER NOT NULL,
    PRIMARY KEY (channel_id, begins)
);
