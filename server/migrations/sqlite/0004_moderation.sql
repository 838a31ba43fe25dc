-- Moderation: the audit log, time-outs, slow mode, reports.

-- What was done to servers, by model::AuditAction. `number` rises by one with each entry of a server, so that
-- its oldest entries are found without counting. Entries outlive their server.
CREATE TABLE audit_log (
    server_id INTEGER NOT NULL,
    id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    actor_id INTEGER NOT NULL,
    action INTEGER NOT NULL,
    target_id INTEGER NOT NULL,
    channel_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL,
    -- JSON: [field, before, after] of each; NULL for none.
    changes TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (server_id, id)
) WITHOUT ROWID;
CREATE INDEX audit_by_number ON audit_log (server_id, number);
CREATE INDEX audit_by_actor ON audit_log (server_id, actor_id, id);
CREATE INDEX audit_by_action ON audit_log (server_id, action, id);
CREATE INDEX audit_by_age ON audit_log (created_at);

-- Not columns of members: who leaves and joins again is still timed out.
CREATE TABLE time_outs (
    server_id INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (server_id, user_id)
) WITHOUT ROWID;
CREATE INDEX time_outs_of_user ON time_outs (user_id);
CREATE INDEX time_outs_by_end ON time_outs (until);

-- state: 1 open, 2 resolved, 3 dismissed.
CREATE TABLE reports (
    id INTEGER PRIMARY KEY,
    server_id INTEGER NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    channel_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    author_id INTEGER NOT NULL,
    reporter_id INTEGER NOT NULL,
    reason TEXT NOT NULL,
    state INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    resolved_by INTEGER NOT NULL,
    resolved_at INTEGER NOT NULL,
    note TEXT NOT NULL
);
CREATE INDEX reports_of_server ON reports (server_id, id);
CREATE INDEX reports_by_state ON reports (server_id, state, id);
CREATE UNIQUE INDEX open_reports ON reports (channel_id, message_id, reporter_id) WHERE state = 1;
CREATE INDEX reports_by_end ON reports (resolved_at) WHERE state > 1;

-- Seconds between two messages of a user; 0 for no slow mode.
ALTER TABLE channels ADD COLUMN slow_mode_s INTEGER NOT NULL DEFAULT 0;

-- Of a message that a hook rewrote: the hash of what its author sent, which a repeat is compared with.
ALTER TABLE messages ADD COLUMN sent_hash INTEGER;
