-- Webhooks: who is told of what, and what waits to be told. Events are of model/webhook.rs: one bit each.

-- server_id: 0 for all servers. key signs; it can't be a hash. queued: rows of webhook_queue, kept by
-- triggers. dropped: events that are in neither table any more though nobody took them.
CREATE TABLE webhooks (
    id INTEGER PRIMARY KEY,
    server_id INTEGER NOT NULL,
    creator_id INTEGER NOT NULL,
    url TEXT NOT NULL,
    events INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    disabled_reason TEXT NOT NULL,
    key BLOB NOT NULL,
    previous_key BLOB NOT NULL,
    rotated_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    queued INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX webhooks_of_server ON webhooks (server_id, id);
CREATE INDEX webhooks_waiting ON webhooks (id) WHERE queued > 0;

-- What waits, by reference: what is told of a message is the message as it is when it is told. lane: the
-- channel, or the server for its members; within one, the order of ids is kept. subject_id: the message or
-- the user.
CREATE TABLE webhook_queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id INTEGER NOT NULL,
    event INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    subject_id INTEGER NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX webhook_queue_by_lane ON webhook_queue (webhook_id, lane, id);
CREATE INDEX webhook_queue_by_age ON webhook_queue (webhook_id, created_at, id);

-- The lanes in which something waits, and when their first may be tried.
CREATE TABLE webhook_lanes (
    webhook_id INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (webhook_id, lane)
) WITHOUT ROWID;
CREATE INDEX webhook_lanes_by_due ON webhook_lanes (webhook_id, due);

-- What nobody took. The ids are those of the queue.
CREATE TABLE webhook_dead (
    id INTEGER PRIMARY KEY,
    webhook_id INTEGER NOT NULL,
    event INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    subject_id INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    died_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL
);
CREATE INDEX webhook_dead_of_webhook ON webhook_dead (webhook_id, id);

-- Webhooks that are gone and whose rows are still to be removed.
CREATE TABLE webhook_purges (webhook_id INTEGER PRIMARY KEY);

CREATE TRIGGER webhook_queue_inserted AFTER INSERT ON webhook_queue BEGIN
    UPDATE webhooks SET queued = queued + 1 WHERE id = NEW.webhook_id;
    INSERT INTO webhook_lanes VALUES (NEW.webhook_id, NEW.lane, NEW.created_at, 0, '')
    ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER webhook_queue_deleted AFTER DELETE ON webhook_queue BEGIN
    UPDATE webhooks SET queued = queued - 1 WHERE id = OLD.webhook_id;
    DELETE FROM webhook_lanes WHERE webhook_id = OLD.webhook_id AND lane = OLD.lane
    AND NOT EXISTS (SELECT 1 FROM webhook_queue WHERE webhook_id = OLD.webhook_id AND lane = OLD.lane);
END;
CREATE TRIGGER webhooks_deleted AFTER DELETE ON webhooks BEGIN
    INSERT INTO webhook_purges VALUES (OLD.id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER webhooks_go_with_their_server AFTER DELETE ON servers BEGIN
    DELETE FROM webhooks WHERE server_id = OLD.id;
END;
