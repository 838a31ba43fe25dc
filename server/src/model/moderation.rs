//! What moderators do: the audit log, reports.

use super::{Id, UnixMs};

/// Entries that a server's audit log keeps; the oldest go first.
pub const AUDIT_ENTRIES_MAX: i64 = 50_000;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// That of a stored or received number.
            #[must_use]
            pub fn from_i32(value: i32) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| *known as i32 == value)
            }
        }
    };
}

numbered! {
    /// What was done to a server.
    AuditAction {
        /// The server's properties changed.
        ServerUpdated = 1,
        /// The server was deleted.
        ServerDeleted = 2,
        /// A channel was made.
        ChannelCreated = 3,
        /// A channel's properties changed.
        ChannelUpdated = 4,
        /// A channel was deleted.
        ChannelDeleted = 5,
        /// A member was taken out.
        MemberKicked = 6,
        /// A user was banned.
        UserBanned = 7,
        /// A user's ban was lifted.
        UserUnbanned = 8,
        /// A member's role changed.
        MemberRoleChanged = 9,
        /// A member was timed out, or that was lifted.
        MemberTimedOut = 10,
        /// An invitation was made.
        InviteCreated = 11,
        /// An invitation was ended.
        InviteRevoked = 12,
        /// A user was let into a private channel.
        ChannelMemberAdded = 13,
        /// A user was taken out of a private channel by another.
        ChannelMemberRemoved = 14,
        /// A message was deleted by another than its author.
        MessageDeleted = 15,
        /// Many messages were deleted.
        MessagesBulkDeleted = 16,
        /// A report was closed.
        ReportResolved = 17,
    }
}

numbered! {
    /// What became of a report.
    ReportState {
        /// Nobody has closed it.
        Open = 1,
        /// Something was done about the message.
        Resolved = 2,
        /// Nothing has to be done about it.
        Dismissed = 3,
    }
}

/// A field that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditChange {
    /// Its name, as in the protocol.
    pub field: String,
    /// As it was; empty where it wasn't set or is too long to be kept.
    pub before: String,
    /// As it is now; empty likewise.
    pub after: String,
}

/// One entry of a server's audit log. It never has the content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Snowflake.
    pub id: Id,
    /// The server.
    pub server_id: Id,
    /// Who did it.
    pub actor_id: Id,
    /// What was done.
    pub action: AuditAction,
    /// To what, by the action: a user, channel, message or report; 0 for none, or several.
    pub target_id: Id,
    /// The channel that it was done in; 0 for none, or several.
    pub channel_id: Id,
    /// The author of what was deleted or reported; 0 for none, or several.
    pub user_id: Id,
    /// How many messages were deleted.
    pub count: i32,
    /// At most 512 characters.
    pub reason: String,
    /// What changed.
    pub changes: Vec<AuditChange>,
    /// When.
    pub created_at: UnixMs,
}

/// A message that somebody showed to the moderators of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Snowflake.
    pub id: Id,
    /// The server.
    pub server_id: Id,
    /// The message's channel.
    pub channel_id: Id,
    /// The message; it may be deleted since.
    pub message_id: Id,
    /// Who wrote it.
    pub author_id: Id,
    /// Who reported it.
    pub reporter_id: Id,
    /// At most 1,024 characters.
    pub reason: String,
    /// What became of it.
    pub state: ReportState,
    /// When it was reported.
    pub created_at: UnixMs,
    /// Who closed it; 0 while it is open.
    pub resolved_by: Id,
    /// When it was closed; 0 while it is open.
    pub resolved_at: UnixMs,
    /// At most 512 characters.
    pub note: String,
}
