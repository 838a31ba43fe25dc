//! Who is here.

use super::{Id, UnixMs};

/// How reachable a user is. Ordered by what a user with several sessions shows: the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No session, or none that is shown.
    #[default]
    Offline,
    /// Of a session alone: connected, shown as offline.
    Invisible,
    /// Connected, not active for five minutes, or set so.
    Idle,
    /// Connected and active.
    Online,
    /// Connected; asks not to be disturbed.
    DoNotDisturb,
}

impl Status {
    /// What others see of it.
    #[must_use]
    pub fn shown(self) -> Self {
        match self {
            Status::Invisible => Status::Offline,
            other => other,
        }
    }
}

/// A user's presence as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub user_id: Id,
    /// The most present of its sessions'; never `Invisible`.
    pub status: Status,
    /// The user's own words; empty while it is offline.
    pub text: String,
    /// When it was last active, to the minute; 0 if that isn't known.
    pub last_active_at: UnixMs,
}

impl Presence {
    /// Of a user of whom nothing is known.
    #[must_use]
    pub fn offline(user_id: Id) -> Self {
        Self {
            user_id,
            ..Self::default()
        }
    }

    /// Whether others are shown something else than before. When it was last active comes along
    /// with what changes, and makes no change by itself.
    #[must_use]
    pub fn differs(&self, before: &Self) -> bool {
        (self.status, &self.text) != (before.status, &before.text)
    }
}

/// Something about people that changed, other than their presence, of which lists of members are
/// to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    /// A membership (server, user) came, went or changed.
    Member(Id, Id),
    /// A user's profile changed.
    User(Id),
    /// A server is gone.
    Server(Id),
}
