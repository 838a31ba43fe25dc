//! Who may do what: one function, which every path calls, and docs/permissions.md, which a test
//! holds to it.

use crate::model::{ChannelType, Role};

/// Where something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A server as such.
    Server,
    /// A channel; `member` says whether the user is named in its list of members.
    Channel {
        /// The channel's type.
        kind: ChannelType,
        /// Whether the user is named as a member: of PRIVATE and DIRECT channels.
        member: bool,
    },
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// What is to be done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $variant,)* }

        impl Action {
            /// All of them.
            pub const ALL: &[Action] = &[$(Action::$variant,)*];

            /// Its name in docs/permissions.md.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Action::$variant => $name,)* }
            }
        }
    };
}

actions! {
    /// Know that it exists, get its events, read its history.
    See = "see, read";
    /// Send messages, typing, custom events; edit one's own messages.
    Write = "write, edit own";
    /// Delete one's own messages.
    DeleteOwn = "delete own";
    /// Delete others' messages.
    DeleteOthers = "delete others'";
    /// Change or delete a channel of a server.
    ManageChannel = "change, delete channel";
    /// Let users into a PRIVATE channel and take them out.
    ManageChannelMembers = "channel members";
    /// List a server's members.
    ListMembers = "list members";
    /// Make a server's invitations, list and end them.
    Invite = "invite";
    /// Take out members, ban and unban users.
    Moderate = "kick, ban";
    /// Make channels.
    CreateChannel = "create channel";
    /// Change a server's name and the like.
    ManageServer = "change server";
    /// Change the roles of members.
    ManageRoles = "change roles";
    /// Delete the server, hand it on.
    OwnServer = "delete server, hand on";
}

/// The one rule. `role` is the user's role in the server (none: not a member; of a DIRECT channel
/// there is no server).
#[must_use]
pub fn allows(role: Option<Role>, place: Place, action: Action) -> bool {
    match place {
        Place::Server => role.is_some_and(|role| role >= server_action(action)),
        Place::Channel {
            kind: ChannelType::Direct,
            member,
        } => member && matches!(action, Action::See | Action::Write | Action::DeleteOwn),
        Place::Channel { kind, member } => {
            let Some(role) = role else { return false };
            let seen = kind != ChannelType::Private || member || role >= Role::Admin;
            seen && channel_action(kind, action).is_some_and(|least| role >= least)
        }
    }
}

/// Whether a user of one role may change, take out or ban one of another: only from above.
#[must_use]
pub fn outranks(role: Option<Role>, other: Option<Role>) -> bool {
    role.is_some() && role > other
}

/// The least role for an action on a server.
fn server_action(action: Action) -> Role {
    match action {
        Action::See | Action::Write | Action::DeleteOwn | Action::ListMembers => Role::Member,
        Action::DeleteOthers | Action::Invite | Action::Moderate => Role::Moderator,
        Action::ManageChannel
        | Action::ManageChannelMembers
        | Action::CreateChannel
        | Action::ManageServer
        | Action::ManageRoles => Role::Admin,
        Action::OwnServer => Role::Owner,
    }
}

/// The least role for an action in a seen channel of a server; none: not a matter of channels.
fn channel_action(kind: ChannelType, action: Action) -> Option<Role> {
    match action {
        Action::Write if kind == ChannelType::Announcement => Some(Role::Moderator),
        Action::ManageChannelMembers if kind != ChannelType::Private => None,
        Action::See
        | Action::Write
        | Action::DeleteOwn
        | Action::DeleteOthers
        | Action::ManageChannel
        | Action::ManageChannelMembers => Some(server_action(action)),
        _ => None,
    }
}
