//! Topics and positions.

/// What a topic is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum TopicKind {
    /// A channel.
    Channel = 1,
    /// A server.
    Server = 2,
    /// A user.
    User = 3,
}

/// Names one thing that changes for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey {
    /// What it is about.
    pub kind: TopicKind,
    /// The Snowflake of the channel, server or user.
    pub id: i64,
}

impl TopicKey {
    /// A channel's topic.
    #[must_use]
    pub fn channel(id: i64) -> Self {
        Self {
            kind: TopicKind::Channel,
            id,
        }
    }

    /// A server's topic.
    #[must_use]
    pub fn server(id: i64) -> Self {
        Self {
            kind: TopicKind::Server,
            id,
        }
    }

    /// A user's topic.
    #[must_use]
    pub fn user(id: i64) -> Self {
        Self {
            kind: TopicKind::User,
            id,
        }
    }
}

/// A place in a topic's sequence of events; `seq` rises by exactly one within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Random and positive; another one after the sequence's memory was lost.
    pub epoch: i64,
    /// The number of the latest event; 0 before the first.
    pub seq: i64,
}

impl Position {
    /// The position after the next event.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            epoch: self.epoch,
            seq: self.seq + 1,
        }
    }

    /// The position before that of an event.
    #[must_use]
    pub fn before(self) -> Self {
        Self {
            epoch: self.epoch,
            seq: self.seq - 1,
        }
    }
}
