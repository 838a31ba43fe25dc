//! What happens to topics.

use super::{Channel, Id, Member, Message, ReadState, Server, TopicKey, User, UserSettings};

/// What happened to a topic. `frames::encode_body` makes its bytes.
#[derive(Clone, Debug)]
pub enum EventBody {
    /// Channel: a new message.
    MessageCreated(Message),
    /// Channel: an edited message.
    MessageUpdated(Message),
    /// Channel: a deleted message.
    MessageDeleted(Message),
    /// Channel: what stands on a message changed, not the message itself: channel and message.
    Marked(Id, Id, Mark),
    /// Server: a new open channel.
    ChannelCreated(Channel),
    /// Server (open channels) or the channel itself.
    ChannelUpdated(Channel),
    /// Server (open channels) or the channel itself: its id.
    ChannelDeleted(Id),
    /// Server of at most 250 members, or the member's own topic.
    MemberJoined(Member, User),
    /// As `MemberJoined`.
    MemberUpdated(Member, User),
    /// As `MemberJoined`: server and user.
    MemberLeft(Id, Id),
    /// Server: it changed.
    ServerUpdated(Server),
    /// Server: it is gone.
    ServerDeleted(Id),
    /// User: a topic became visible.
    TopicAdded(TopicKey),
    /// User: a topic is no longer visible.
    TopicRemoved(TopicKey),
    /// User: a session was ended.
    SessionRevoked(Id),
    /// User: its profile changed.
    UserUpdated(User),
    /// User: somebody mentioned it: channel and message.
    Mentioned(Id, Id),
    /// User: it read on, or muted a channel.
    ReadStateChanged(ReadState),
    /// User: its settings changed.
    UserSettingsUpdated(UserSettings),
}

/// What changed on a message: its reactions, or whether it is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A user reacted.
    ReactionAdded {
        /// Who.
        user_id: Id,
        /// How.
        emoji: String,
        /// How many react so now.
        count: i32,
    },
    /// A user's reaction is gone.
    ReactionRemoved {
        /// Whose.
        user_id: Id,
        /// Which kind.
        emoji: String,
        /// How many react so now.
        count: i32,
    },
    /// All reactions of a kind are gone; of every kind, if it is empty.
    ReactionsCleared(String),
    /// A user pinned it.
    Pinned(Id),
    /// A user unpinned it.
    Unpinned(Id),
}

/// What an event asks of the gateways besides its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Nothing.
    None,
    /// Sessions that hold the topic must look anew at what they may see.
    Recheck,
    /// The session of this id ends.
    Revoked(Id),
}

impl EventBody {
    /// What the event asks of the gateways.
    #[must_use]
    pub fn signal(&self) -> Signal {
        match self {
            EventBody::SessionRevoked(session) => Signal::Revoked(*session),
            EventBody::ChannelCreated(_)
            | EventBody::ChannelDeleted(_)
            | EventBody::ServerDeleted(_)
            | EventBody::MemberUpdated(..)
            | EventBody::MemberLeft(..)
            | EventBody::TopicAdded(_)
            | EventBody::TopicRemoved(_) => Signal::Recheck,
            EventBody::ChannelUpdated(_)
            | EventBody::MemberJoined(..)
            | EventBody::MessageCreated(_)
            | EventBody::MessageUpdated(_)
            | EventBody::MessageDeleted(_)
            | EventBody::Marked(..)
            | EventBody::ServerUpdated(_)
            | EventBody::UserUpdated(_)
            | EventBody::Mentioned(..)
            | EventBody::ReadStateChanged(_)
            | EventBody::UserSettingsUpdated(_) => Signal::None,
        }
    }
}
