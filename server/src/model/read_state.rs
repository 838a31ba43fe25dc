//! What users have read, and what they set for themselves.

use super::{Id, UnixMs};

/// [`ReadState::muted_until`] of a mute without an end.
pub const MUTED_FOR_EVER: UnixMs = UnixMs::MAX;

/// How far a user has read a channel.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReadState {
    /// The channel.
    pub channel_id: Id,
    /// Read up to here: a message, or the moment since when messages count as unread, as an id.
    pub last_read_id: Id,
    /// The channel's last message, deleted or not; 0 for none.
    pub last_message_id: Id,
    /// Unread messages that mention the user; counted to 1,000.
    pub mention_count: i32,
    /// When the mute ends; 0: not muted; [`MUTED_FOR_EVER`].
    pub muted_until: UnixMs,
}

impl ReadState {
    /// Whether the channel has something that the user hasn't read.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.last_message_id > self.last_read_id || self.mention_count > 0
    }
}

/// Who may write to a user directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(i32)]
pub enum DirectMessages {
    /// Whoever isn't blocked.
    #[default]
    Everyone = 1,
    /// Who is in a server with the user.
    SharedServers = 2,
    /// Nobody but service keys.
    Nobody = 3,
}

impl DirectMessages {
    /// The setting of a stored or received number.
    #[must_use]
    pub fn from_i32(value: i32) -> Option<DirectMessages> {
        Some(match value {
            1 => DirectMessages::Everyone,
            2 => DirectMessages::SharedServers,
            3 => DirectMessages::Nobody,
            _ => return None,
        })
    }
}

/// What a user sets for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UserSettings {
    /// Who may write to it directly.
    pub direct_messages: DirectMessages,
}
