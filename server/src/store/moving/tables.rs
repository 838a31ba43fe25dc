//! What moves: tables with their columns, as both stores know them, in the order in which they are
//! written. What doesn't move is named, too, with the reason: a test holds both lists against the
//! schemas.

/// What a column holds. Any may be NULL where its store allows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number of 64 bits.
    Int,
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// A table, without what only one of the stores has.
#[derive(Debug)]
pub struct Table {
    /// Its name, in both stores and in the file.
    pub name: &'static str,
    /// Its columns; those of the key come first.
    pub columns: &'static [(&'static str, Kind)],
    /// How many columns the key has. Rows are in its order.
    pub keys: usize,
    /// The condition of the rows that move, in the SQL of both; empty for all.
    pub only: &'static str,
}

use Kind::{Bool, Bytes, Int, Text};

const fn table(
    name: &'static str,
    keys: usize,
    only: &'static str,
    columns: &'static [(&'static str, Kind)],
) -> Table {
    Table {
        name,
        columns,
        keys,
        only,
    }
}

/// Of what belongs to a channel: not of one that is gone, whose rows are about to be removed.
const OF_A_CHANNEL: &str = "EXISTS (SELECT 1 FROM channels c WHERE c.id = channel_id)";
const OF_A_WEBHOOK: &str = "EXISTS (SELECT 1 FROM webhooks w WHERE w.id = webhook_id)";
const OF_A_KIND: &str = "EXISTS (SELECT 1 FROM reaction_kinds k \
     WHERE k.id = kind_id AND k.gone = false \
     AND EXISTS (SELECT 1 FROM channels c WHERE c.id = k.channel_id))";
const NOT_GONE: &str = "gone = false AND EXISTS (SELECT 1 FROM channels c WHERE c.id = channel_id)";

/// The messages. Each store writes them in its own way.
pub static MESSAGES: &str = "messages";

/// Numbers that are of no table: see [`COUNTERS`].
pub static META: &str = "meta";

/// What the section [`META`] has, in this order. `highest_id`: no id is above it. `reaction_kinds`,
/// `webhook_queue`: the highest numbers that these tables gave. `unread_from`: up to which message
/// all counts as read.
pub const COUNTERS: [&str; 4] = [
    "highest_id",
    "reaction_kinds",
    "unread_from",
    "webhook_queue",
];

/// All of them, in their order: none refers to one that comes later.
pub static TABLES: &[Table] = &[
    table(
        "users",
        1,
        "",
        &[
            ("id", Int),
            ("username", Text),
            ("name_key", Text),
            ("display_name", Text),
            ("bot", Bool),
            ("deleted", Bool),
            ("password_hash", Text),
            ("external_id", Text),
            ("owner_id", Int),
            ("metadata", Text),
        ],
    ),
    table("blocks", 2, "", &[("user_id", Int), ("other_id", Int)]),
    table(
        "user_settings",
        1,
        "",
        &[("user_id", Int), ("direct_messages", Int)],
    ),
    table(
        "sessions",
        1,
        "",
        &[
            ("id", Int),
            ("user_id", Int),
            ("kind", Int),
            ("name", Text),
            ("access_hash", Bytes),
            ("access_expires_at", Int),
            ("refresh_family_hash", Bytes),
            ("refresh_hash", Bytes),
            ("refresh_expires_at", Int),
            ("previous_refresh_hash", Bytes),
            ("refreshed_at", Int),
            ("created_at", Int),
            ("last_seen_at", Int),
        ],
    ),
    table(
        "servers",
        1,
        "",
        &[
            ("id", Int),
            ("name", Text),
            ("description", Text),
            ("owner_id", Int),
            ("open", Bool),
            ("member_count", Int),
            ("metadata", Text),
        ],
    ),
    table(
        "members",
        2,
        "",
        &[
            ("server_id", Int),
            ("user_id", Int),
            ("role", Int),
            ("joined_at", Int),
        ],
    ),
    table(
        "time_outs",
        2,
        "",
        &[("server_id", Int), ("user_id", Int), ("until", Int)],
    ),
    table(
        "bans",
        2,
        "",
        &[
            ("server_id", Int),
            ("user_id", Int),
            ("banned_by", Int),
            ("reason", Text),
            ("created_at", Int),
        ],
    ),
    table(
        "invites",
        1,
        "",
        &[
            ("code", Text),
            ("server_id", Int),
            ("creator_id", Int),
            ("max_uses", Int),
            ("uses", Int),
            ("expires_at", Int),
        ],
    ),
    table(
        "channels",
        1,
        "",
        &[
            ("id", Int),
            ("server_id", Int),
            ("kind", Int),
            ("name", Text),
            ("description", Text),
            ("rank", Int),
            ("direct_key", Text),
            ("creator_id", Int),
            ("metadata", Text),
            ("slow_mode_s", Int),
        ],
    ),
    table(
        "channel_members",
        2,
        "",
        &[("channel_id", Int), ("user_id", Int)],
    ),
    table(
        "messages",
        2,
        OF_A_CHANNEL,
        &[
            ("channel_id", Int),
            ("id", Int),
            ("author_id", Int),
            ("nonce", Text),
            ("content", Text),
            ("reply_to", Int),
            ("revision", Int),
            ("edited_at", Int),
            ("deleted", Bool),
            ("mentions", Text),
            ("mention_groups", Int),
            ("metadata", Text),
            ("sent_hash", Int),
        ],
    ),
    table(
        "reaction_kinds",
        1,
        NOT_GONE,
        &[
            ("id", Int),
            ("channel_id", Int),
            ("message_id", Int),
            ("emoji", Text),
        ],
    ),
    table(
        "reactions",
        2,
        OF_A_KIND,
        &[("kind_id", Int), ("user_id", Int)],
    ),
    table(
        "pins",
        2,
        OF_A_CHANNEL,
        &[
            ("channel_id", Int),
            ("id", Int),
            ("message_id", Int),
            ("user_id", Int),
        ],
    ),
    table(
        "read_states",
        2,
        OF_A_CHANNEL,
        &[
            ("user_id", Int),
            ("channel_id", Int),
            ("last_read_id", Int),
            ("muted_until", Int),
        ],
    ),
    table(
        "mentions",
        3,
        OF_A_CHANNEL,
        &[("channel_id", Int), ("user_id", Int), ("message_id", Int)],
    ),
    table(
        "group_mentions",
        2,
        OF_A_CHANNEL,
        &[
            ("channel_id", Int),
            ("message_id", Int),
            ("author_id", Int),
            ("least_role", Int),
        ],
    ),
    table(
        "audit_log",
        2,
        "",
        &[
            ("server_id", Int),
            ("id", Int),
            ("number", Int),
            ("actor_id", Int),
            ("action", Int),
            ("target_id", Int),
            ("channel_id", Int),
            ("user_id", Int),
            ("count", Int),
            ("reason", Text),
            ("changes", Text),
            ("created_at", Int),
        ],
    ),
    table(
        "reports",
        1,
        "",
        &[
            ("id", Int),
            ("server_id", Int),
            ("channel_id", Int),
            ("message_id", Int),
            ("author_id", Int),
            ("reporter_id", Int),
            ("reason", Text),
            ("state", Int),
            ("created_at", Int),
            ("resolved_by", Int),
            ("resolved_at", Int),
            ("note", Text),
        ],
    ),
    table(
        "requests",
        3,
        "",
        &[
            ("kind", Int),
            ("caller_id", Int),
            ("request_id", Text),
            ("made_id", Int),
            ("first_channel_id", Int),
            ("code", Text),
            ("created_at", Int),
        ],
    ),
    table(
        "webhooks",
        1,
        "",
        &[
            ("id", Int),
            ("server_id", Int),
            ("creator_id", Int),
            ("url", Text),
            ("events", Int),
            ("enabled", Bool),
            ("disabled_reason", Text),
            ("key", Bytes),
            ("previous_key", Bytes),
            ("rotated_at", Int),
            ("created_at", Int),
            ("dropped", Int),
        ],
    ),
    // Before the queue, whose trigger makes the lanes that are missing.
    table(
        "webhook_lanes",
        2,
        OF_A_WEBHOOK,
        &[
            ("webhook_id", Int),
            ("lane", Int),
            ("due", Int),
            ("attempts", Int),
            ("error", Text),
        ],
    ),
    table(
        "webhook_queue",
        1,
        OF_A_WEBHOOK,
        &[
            ("id", Int),
            ("webhook_id", Int),
            ("event", Int),
            ("lane", Int),
            ("subject_id", Int),
            ("created_at", Int),
        ],
    ),
    table(
        "webhook_dead",
        1,
        OF_A_WEBHOOK,
        &[
            ("id", Int),
            ("webhook_id", Int),
            ("event", Int),
            ("lane", Int),
            ("subject_id", Int),
            ("created_at", Int),
            ("died_at", Int),
            ("attempts", Int),
            ("error", Text),
        ],
    ),
    table("meta", 1, "", &[("name", Text), ("value", Int)]),
];

/// Tables, and columns as `table.column`, that don't move, and why.
#[cfg(test)]
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "topics",
        "the target begins a new epoch, in which its positions begin anew",
    ),
    ("outbox", "the rings of the old epoch's topics"),
    (
        "purges",
        "what belongs to channels that are gone doesn't move",
    ),
    (
        "webhook_purges",
        "what belongs to webhooks that are gone doesn't move",
    ),
    (
        "workers",
        "leases of the nodes; their times are raised above all ids that move",
    ),
    (
        "channel_widths",
        "how the target lays its messages out is its own",
    ),
    ("chirm_schema", "the target has its own schema"),
    (
        "sqlite_sequence",
        "in meta: reaction_kinds and webhook_queue",
    ),
    ("audit_numbers", "made from audit_log"),
    ("reaction_kinds.count", "made from reactions"),
    ("reaction_kinds.gone", "what is gone doesn't move"),
    (
        "messages.reactions",
        "made from reaction_kinds and reactions",
    ),
    ("messages.pinned", "made from pins"),
    (
        "webhooks.queued",
        "counted by the triggers of webhook_queue",
    ),
    ("messages.bucket", "made from the id"),
    ("messages.message_id", "moves as messages.id"),
    ("messages.flags", "made from reaction_kinds and pins"),
    ("nonces", "made from messages, of those of the last day"),
    ("channel_buckets", "made from messages"),
    ("author_buckets", "made from messages"),
];

impl Table {
    /// Whether its rows are messages.
    #[must_use]
    pub fn is_messages(&self) -> bool {
        self.name == MESSAGES
    }

    /// Whether its rows are [`COUNTERS`].
    #[must_use]
    pub fn is_meta(&self) -> bool {
        self.name == META
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.columns.iter().map(|(name, _)| *name)
    }
}
