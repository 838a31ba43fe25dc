//! Plain data and pure rules. No I/O, no protobuf.

mod event;
pub mod limits;
mod mention;
mod moderation;
mod presence;
mod read_state;
mod topic;
mod webhook;

pub use event::{EventBody, Mark, Signal};
pub use mention::{Groups, Mentions};
pub use moderation::{
    AUDIT_ENTRIES_MAX, AuditAction, AuditChange, AuditEntry, Report, ReportState,
};
pub use presence::{Presence, Status, Touched};
pub use read_state::{DirectMessages, MUTED_FOR_EVER, ReadState, UserSettings};
pub use topic::{Position, TopicKey, TopicKind};
pub use webhook::{DeadLetter, QueuedEvent, Webhook, WebhookData, WebhookEvent};

use std::collections::BTreeMap;

/// A Snowflake: 41 bits of milliseconds since 2025-01-01T00:00Z, 10 bits of worker, 12 of sequence.
pub type Id = i64;

/// What an integrator attached: at most 16 keys, 4 KiB in all.
pub type Metadata = BTreeMap<String, String>;

/// Milliseconds since the Unix epoch.
pub type UnixMs = i64;

/// Milliseconds from the Unix epoch to 2025-01-01T00:00Z, where Snowflakes start.
pub const SNOWFLAKE_EPOCH_MS: i64 = 1_735_689_600_000;

/// When a Snowflake was made, in milliseconds since the Unix epoch.
#[must_use]
pub fn id_time_ms(id: Id) -> UnixMs {
    (id >> 22) + SNOWFLAKE_EPOCH_MS
}

/// An id below all that are made from a time on.
#[must_use]
pub fn id_before(ms: UnixMs) -> Id {
    let since = ms.saturating_sub(SNOWFLAKE_EPOCH_MS);
    (since.clamp(0, Id::MAX >> 22) << 22).saturating_sub(1)
}

/// A user, bot or service key's system user.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct User {
    /// Snowflake.
    pub id: Id,
    /// Unique name; a placeholder once deleted.
    pub username: String,
    /// What people see.
    pub display_name: String,
    /// A program, not a person.
    pub bot: bool,
    /// The account was deleted.
    pub deleted: bool,
    /// What the integrator attached.
    pub metadata: Metadata,
}

/// What a member may do. Ordered: each may do all that the next lower may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum Role {
    /// Reads and writes.
    Member = 1,
    /// Also deletes others' messages, kicks, bans, announces.
    Moderator = 2,
    /// Also makes channels, sees private ones, changes roles.
    Admin = 3,
    /// Everything.
    Owner = 4,
}

impl Role {
    /// The role of a stored or received number.
    #[must_use]
    pub fn from_i32(value: i32) -> Option<Role> {
        Some(match value {
            1 => Role::Member,
            2 => Role::Moderator,
            3 => Role::Admin,
            4 => Role::Owner,
            _ => return None,
        })
    }
}

/// A community of users.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Server {
    /// Snowflake.
    pub id: Id,
    /// 1 to 100 characters.
    pub name: String,
    /// At most 1,024 characters.
    pub description: String,
    /// The one member whose role is [`Role::Owner`].
    pub owner_id: Id,
    /// Whether anyone may join by id.
    pub open: bool,
    /// How many members it has.
    pub member_count: i32,
    /// What the integrator attached.
    pub metadata: Metadata,
}

/// A user's membership of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The server.
    pub server_id: Id,
    /// The user.
    pub user_id: Id,
    /// What it may do.
    pub role: Role,
    /// When it joined.
    pub joined_at: UnixMs,
    /// Until when it may read but not write; 0, or past: it isn't timed out.
    pub timed_out_until: UnixMs,
}

/// Who sees a channel and who writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ChannelType {
    /// Every member sees it and writes to it.
    Text = 1,
    /// Every member sees it; moderators and above write.
    Announcement = 2,
    /// Named members and admins.
    Private = 3,
    /// Two to ten users, no server.
    Direct = 4,
}

impl ChannelType {
    /// The type of a stored or received number.
    #[must_use]
    pub fn from_i32(value: i32) -> Option<ChannelType> {
        Some(match value {
            1 => ChannelType::Text,
            2 => ChannelType::Announcement,
            3 => ChannelType::Private,
            4 => ChannelType::Direct,
            _ => return None,
        })
    }
}

/// A place that holds messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Snowflake.
    pub id: Id,
    /// The server; 0 for [`ChannelType::Direct`].
    pub server_id: Id,
    /// Who sees it and who writes to it.
    pub kind: ChannelType,
    /// 1 to 100 characters; empty for direct channels.
    pub name: String,
    /// At most 1,024 characters.
    pub description: String,
    /// Place in the server's list.
    pub rank: i32,
    /// Members of a private or direct channel, ascending; empty otherwise.
    pub member_ids: Vec<Id>,
    /// What the integrator attached.
    pub metadata: Metadata,
    /// Seconds that a user waits between two messages; 0 for none.
    pub slow_mode_s: i32,
}

/// One message of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Message {
    /// Snowflake.
    pub id: Id,
    /// The channel.
    pub channel_id: Id,
    /// Who wrote it.
    pub author_id: Id,
    /// The text; empty when deleted.
    pub content: String,
    /// The message that it answers; 0 for none.
    pub reply_to: Id,
    /// The author's nonce; empty for none.
    pub nonce: String,
    /// 0 until the first edit; the highest wins.
    pub revision: i64,
    /// When last edited, 0 for never.
    pub edited_at: UnixMs,
    /// Deleted is final.
    pub deleted: bool,
    /// Users mentioned.
    pub mentions: Vec<Id>,
    /// Roles and everyone mentioned.
    pub groups: Groups,
    /// What the integrator attached.
    pub metadata: Metadata,
    /// Where a hook changed the content: a hash of what was sent. Never sent to clients.
    pub sent_hash: Option<u64>,
    /// The kinds of reactions, the one that came first in front.
    pub reactions: Vec<Reaction>,
    /// Whether it stands in the channel's list of pins.
    pub pinned: bool,
}

/// A kind of reaction to a message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reaction {
    /// Its name in the store, never used again for another kind.
    pub kind: Id,
    /// As [`limits::emoji`] has it.
    pub emoji: String,
    /// How many users reacted so.
    pub count: i32,
    /// Whether the caller did; false where there is none.
    pub own: bool,
}

/// A message's place in its channel's list of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Snowflake: made when it was pinned.
    pub id: Id,
    /// Who pinned it.
    pub user_id: Id,
    /// The message.
    pub message: Message,
}

/// A way into a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// 10 characters.
    pub code: String,
    /// The server.
    pub server_id: Id,
    /// Who made it.
    pub creator_id: Id,
    /// 0 for no limit.
    pub max_uses: i32,
    /// How often used.
    pub uses: i32,
    /// 0 for never.
    pub expires_at: UnixMs,
}

/// A user that is kept out of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The server.
    pub server_id: Id,
    /// Who.
    pub user_id: Id,
    /// By whom.
    pub banned_by: Id,
    /// At most 512 characters.
    pub reason: String,
    /// When.
    pub created_at: UnixMs,
}

/// What kind of credential a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum SessionKind {
    /// A person's device.
    User = 1,
    /// A bot's lasting token.
    Bot = 2,
    /// A service key.
    Service = 3,
    /// A service key that may also administer.
    Admin = 4,
}

impl SessionKind {
    /// The kind of a stored number.
    #[must_use]
    pub fn from_i32(value: i32) -> Option<SessionKind> {
        Some(match value {
            1 => SessionKind::User,
            2 => SessionKind::Bot,
            3 => SessionKind::Service,
            4 => SessionKind::Admin,
            _ => return None,
        })
    }
}

/// A credential as stored: hashes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Snowflake; part of the tokens.
    pub id: Id,
    /// Whose.
    pub user_id: Id,
    /// What it is.
    pub kind: SessionKind,
    /// The device's or key's name.
    pub name: String,
    /// SHA-256 of the access token.
    pub access_hash: [u8; 32],
    /// When the access token ends; 0 for never.
    pub access_expires_at: UnixMs,
    /// SHA-256 of what all its refresh tokens have in common; all zero for none.
    pub refresh_family_hash: [u8; 32],
    /// SHA-256 of the refresh token; all zero for none.
    pub refresh_hash: [u8; 32],
    /// When the refresh token ends.
    pub refresh_expires_at: UnixMs,
    /// SHA-256 of the refresh token before, which counts for a moment; all zero for none.
    pub previous_refresh_hash: [u8; 32],
    /// When the refresh token was last changed.
    pub refreshed_at: UnixMs,
    /// When made.
    pub created_at: UnixMs,
    /// When last seen, to the minute.
    pub last_seen_at: UnixMs,
}
