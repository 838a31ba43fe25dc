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
    /// Delete one's own messages, take one's own reactions back.
    DeleteOwn = "delete own";
    /// Delete others' messages.
    DeleteOthers = "delete others'";
    /// Mention all who see a channel, as `<@everyone>`.
    MentionEveryone = "mention everyone";
    /// React to messages.
    React = "react";
    /// Pin messages and unpin them.
    Pin = "pin";
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
    /// Time out members, and lift that.
    TimeOut = "time out";
    /// Show messages to the moderators.
    Report = "report message";
    /// List and close reports.
    HandleReports = "list, resolve reports";
    /// Delete what a user wrote in all channels where one deletes others' messages.
    DeleteOthersEverywhere = "delete a user's messages";
    /// Send messages without waiting for the channel's slow mode.
    PassSlowMode = "pass slow mode";
    /// Read what was done to a server, and by whom.
    ReadAuditLog = "read audit log";
    /// Make channels.
    CreateChannel = "create channel";
    /// Change a server's name and the like.
    ManageServer = "change server";
    /// Change the roles of members.
    ManageRoles = "change roles";
    /// Delete the server, hand it on.
    OwnServer = "delete server, hand on";
    /// Have others told of what happens in a server.
    ManageWebhooks = "webhooks";
}

impl Action {
    /// Whether a member that is timed out may do it still: read, take back its own, call for help.
    #[must_use]
    pub fn is_left_in_time_out(self) -> bool {
        matches!(
            self,
            Action::See | Action::ListMembers | Action::DeleteOwn | Action::Report
        )
    }
}

/// The one rule. `role` is the user's role in the server (none: not a member; of a DIRECT channel
/// there is no server).
#[must_use]
pub fn allows(role: Option<Role>, place: Place, action: Action) -> bool {
    match place {
        Place::Server => server_action(action).is_some_and(|least| role >= Some(least)),
        Place::Channel {
            kind: ChannelType::Direct,
            member,
        } => member && direct_action(action),
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

/// The least role for an action on a server as such; none: not a matter of servers.
fn server_action(action: Action) -> Option<Role> {
    Some(match action {
        Action::See | Action::ListMembers => Role::Member,
        Action::Invite
        | Action::Moderate
        | Action::TimeOut
        | Action::HandleReports
        | Action::DeleteOthersEverywhere => Role::Moderator,
        Action::CreateChannel
        | Action::ManageServer
        | Action::ManageRoles
        | Action::ReadAuditLog
        | Action::ManageWebhooks => Role::Admin,
        Action::OwnServer => Role::Owner,
        Action::Write
        | Action::DeleteOwn
        | Action::DeleteOthers
        | Action::Report
        | Action::PassSlowMode
        | Action::MentionEveryone
        | Action::React
        | Action::Pin
        | Action::ManageChannel
        | Action::ManageChannelMembers => return None,
    })
}

/// Whether those in a DIRECT channel may do that there.
fn direct_action(action: Action) -> bool {
    matches!(
        action,
        Action::See
            | Action::Write
            | Action::DeleteOwn
            | Action::React
            | Action::Pin
            | Action::MentionEveryone
    )
}

/// The least role for an action in a seen channel of a server; none: not a matter of such channels.
fn channel_action(kind: ChannelType, action: Action) -> Option<Role> {
    Some(match action {
        Action::Write if kind == ChannelType::Announcement => Role::Moderator,
        Action::See | Action::Write | Action::DeleteOwn | Action::React | Action::Report => {
            Role::Member
        }
        Action::DeleteOthers | Action::Pin | Action::MentionEveryone | Action::PassSlowMode => {
            Role::Moderator
        }
        Action::ManageChannel => Role::Admin,
        Action::ManageChannelMembers if kind == ChannelType::Private => Role::Admin,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = include_str!("../../../docs/permissions.md");
    const ROLES: [(Option<Role>, &str); 5] = [
        (None, "anyone"),
        (Some(Role::Member), "MEMBER"),
        (Some(Role::Moderator), "MODERATOR"),
        (Some(Role::Admin), "ADMIN"),
        (Some(Role::Owner), "OWNER"),
    ];

    fn channel(kind: ChannelType, member: bool) -> Place {
        Place::Channel { kind, member }
    }

    fn least(place: Place, action: Action) -> &'static str {
        let may = |(role, _): &&(Option<Role>, &str)| allows(*role, place, action);
        let found = ROLES.iter().find(may);
        found.map_or("–", |(_, name)| *name)
    }

    #[test]
    fn the_table_of_the_docs_is_the_function() {
        let places = [
            Place::Server,
            channel(ChannelType::Text, false),
            channel(ChannelType::Announcement, false),
            channel(ChannelType::Private, true),
            channel(ChannelType::Private, false),
            channel(ChannelType::Direct, true),
            channel(ChannelType::Direct, false),
        ];
        for action in Action::ALL {
            let cells: Vec<_> = places.iter().map(|place| least(*place, *action)).collect();
            let row = format!("| {} | {} |\n", action.name(), cells.join(" | "));
            assert!(TABLE.contains(&row), "docs/permissions.md has no row {row}");
        }
        let rows = TABLE.lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(rows, Action::ALL.len() + 2, "a row too many");
    }

    #[test]
    fn each_role_may_what_the_next_lower_may() {
        let kinds = [
            ChannelType::Text,
            ChannelType::Announcement,
            ChannelType::Private,
            ChannelType::Direct,
        ];
        let channels = kinds
            .iter()
            .flat_map(|kind| [channel(*kind, true), channel(*kind, false)]);
        for place in channels.chain([Place::Server]) {
            for action in Action::ALL {
                let may = ROLES.map(|(role, _)| allows(role, place, *action));
                assert!(may.is_sorted(), "{place:?} {action:?} {may:?}");
            }
        }
    }

    #[test]
    fn only_from_above() {
        for (role, _) in ROLES {
            for (other, _) in ROLES {
                assert_eq!(outranks(role, other), role > other, "{role:?} {other:?}");
            }
        }
    }
}
