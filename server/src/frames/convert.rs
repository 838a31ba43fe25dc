//! Plain data to protobuf.

use crate::model::{
    Channel, EventBody, Id, MUTED_FOR_EVER, Mark, Member, Message, Metadata, Pin, Position,
    Presence, Reaction, ReadState, Server, Status, TopicKey, UnixMs, User, UserSettings,
    id_time_ms,
};
use chirm_proto::v1;
use std::collections::HashMap;

/// A time; 0 means none.
#[must_use]
pub fn timestamp(ms: UnixMs) -> Option<prost_types::Timestamp> {
    (ms != 0).then(|| prost_types::Timestamp {
        seconds: ms.div_euclid(1000),
        nanos: (ms.rem_euclid(1000) * 1_000_000) as i32,
    })
}

fn metadata(metadata: &Metadata) -> HashMap<String, String> {
    metadata
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// A topic.
#[must_use]
pub fn topic(topic: TopicKey) -> v1::Topic {
    v1::Topic {
        kind: topic.kind as i32,
        id: topic.id,
    }
}

/// A position.
#[must_use]
pub fn position(position: Position) -> v1::Position {
    v1::Position {
        epoch: position.epoch,
        seq: position.seq,
    }
}

/// A message.
#[must_use]
pub fn message(message: &Message) -> v1::Message {
    v1::Message {
        id: message.id,
        channel_id: message.channel_id,
        author_id: message.author_id,
        content: message.content.clone(),
        reply_to: message.reply_to,
        nonce: message.nonce.clone(),
        revision: message.revision,
        edited_at: timestamp(message.edited_at),
        deleted: message.deleted,
        mentions: message.mentions.clone(),
        metadata: metadata(&message.metadata),
        reactions: message.reactions.iter().map(reaction).collect(),
        pinned: message.pinned,
        mention_roles: message.groups.roles().map(|role| role as i32).collect(),
        mention_everyone: message.groups.everyone(),
    }
}

/// A kind of reaction.
#[must_use]
pub fn reaction(reaction: &Reaction) -> v1::Reaction {
    v1::Reaction {
        emoji: reaction.emoji.clone(),
        count: reaction.count,
        own: reaction.own,
    }
}

/// A pinned message.
#[must_use]
pub fn pin(pin: &Pin) -> v1::Pin {
    v1::Pin {
        message: Some(message(&pin.message)),
        pinned_by: pin.user_id,
        pinned_at: timestamp(id_time_ms(pin.id)),
    }
}

/// A user.
#[must_use]
pub fn user(user: &User) -> v1::User {
    v1::User {
        id: user.id,
        username: user.username.clone(),
        display_name: user.display_name.clone(),
        bot: user.bot,
        metadata: metadata(&user.metadata),
        deleted: user.deleted,
    }
}

/// A server.
#[must_use]
pub fn server(server: &Server) -> v1::Server {
    v1::Server {
        id: server.id,
        name: server.name.clone(),
        description: server.description.clone(),
        owner_id: server.owner_id,
        open: server.open,
        member_count: server.member_count,
        metadata: metadata(&server.metadata),
    }
}

/// A channel.
#[must_use]
pub fn channel(channel: &Channel) -> v1::Channel {
    v1::Channel {
        id: channel.id,
        server_id: channel.server_id,
        r#type: channel.kind as i32,
        name: channel.name.clone(),
        description: channel.description.clone(),
        rank: channel.rank,
        member_ids: channel.member_ids.clone(),
        metadata: metadata(&channel.metadata),
        slow_mode_seconds: channel.slow_mode_s,
    }
}

/// A membership, with the user's profile where it is at hand.
#[must_use]
pub fn member(member: &Member, profile: Option<&User>) -> v1::Member {
    v1::Member {
        server_id: member.server_id,
        user_id: member.user_id,
        role: member.role as i32,
        joined_at: timestamp(member.joined_at),
        user: profile.map(user),
        timed_out_until: timestamp(member.timed_out_until),
    }
}

/// A presence.
#[must_use]
pub fn presence(presence: &Presence) -> v1::Presence {
    let status = match presence.status {
        Status::Offline | Status::Invisible => v1::PresenceStatus::Offline,
        Status::Idle => v1::PresenceStatus::Idle,
        Status::Online => v1::PresenceStatus::Online,
        Status::DoNotDisturb => v1::PresenceStatus::DoNotDisturb,
    };
    v1::Presence {
        user_id: presence.user_id,
        status: status as i32,
        text: presence.text.clone(),
        last_active_at: timestamp(presence.last_active_at),
    }
}

/// A read state.
#[must_use]
pub fn read_state(state: &ReadState) -> v1::ReadState {
    let ends = state.muted_until != MUTED_FOR_EVER;
    v1::ReadState {
        channel_id: state.channel_id,
        last_read_id: state.last_read_id,
        last_message_id: state.last_message_id,
        mention_count: state.mention_count,
        muted: state.muted_until != 0,
        muted_until: timestamp(state.muted_until).filter(|_| ends),
    }
}

/// A user's settings.
#[must_use]
pub fn settings(settings: &UserSettings) -> v1::UserSettings {
    v1::UserSettings {
        direct_messages: settings.direct_messages as i32,
    }
}

pub(super) fn event(body: &EventBody) -> v1::event::Event {
    use v1::event::Event as E;
    match body {
        EventBody::MessageCreated(m) => E::MessageCreated(v1::MessageCreated {
            message: Some(message(m)),
        }),
        EventBody::MessageUpdated(m) => E::MessageUpdated(v1::MessageUpdated {
            message: Some(message(m)),
        }),
        EventBody::MessageDeleted(m) => E::MessageDeleted(v1::MessageDeleted {
            message: Some(message(m)),
        }),
        EventBody::Marked(channel, message, mark) => marked(*channel, *message, mark),
        EventBody::ChannelCreated(c) => E::ChannelCreated(v1::ChannelCreated {
            channel: Some(channel(c)),
        }),
        EventBody::ChannelUpdated(c) => E::ChannelUpdated(v1::ChannelUpdated {
            channel: Some(channel(c)),
        }),
        EventBody::ChannelDeleted(id) => E::ChannelDeleted(v1::ChannelDeleted { channel_id: *id }),
        EventBody::MemberJoined(m, u) => E::MemberJoined(v1::MemberJoined {
            member: Some(member(m, Some(u))),
        }),
        EventBody::MemberUpdated(m, u) => E::MemberUpdated(v1::MemberUpdated {
            member: Some(member(m, Some(u))),
        }),
        EventBody::MemberLeft(server_id, user_id) => E::MemberLeft(v1::MemberLeft {
            server_id: *server_id,
            user_id: *user_id,
        }),
        EventBody::ServerUpdated(s) => E::ServerUpdated(v1::ServerUpdated {
            server: Some(server(s)),
        }),
        EventBody::ServerDeleted(id) => E::ServerDeleted(v1::ServerDeleted { server_id: *id }),
        EventBody::TopicAdded(t) => E::TopicAdded(v1::TopicAdded {
            topic: Some(topic(*t)),
        }),
        EventBody::TopicRemoved(t) => E::TopicRemoved(v1::TopicRemoved {
            topic: Some(topic(*t)),
        }),
        EventBody::SessionRevoked(id) => E::SessionRevoked(v1::SessionRevoked { session_id: *id }),
        EventBody::UserUpdated(u) => E::UserUpdated(v1::UserUpdated {
            user: Some(user(u)),
        }),
        EventBody::Mentioned(channel_id, message_id) => E::Mentioned(v1::Mentioned {
            channel_id: *channel_id,
            message_id: *message_id,
        }),
        EventBody::ReadStateChanged(state) => E::ReadStateChanged(v1::ReadStateChanged {
            read_state: Some(read_state(state)),
        }),
        EventBody::UserSettingsUpdated(s) => E::UserSettingsUpdated(v1::UserSettingsUpdated {
            settings: Some(settings(s)),
        }),
    }
}

fn marked(channel_id: Id, message_id: Id, mark: &Mark) -> v1::event::Event {
    use v1::event::Event as E;
    match mark {
        Mark::ReactionAdded {
            user_id,
            emoji,
            count,
        } => E::ReactionAdded(v1::ReactionAdded {
            channel_id,
            message_id,
            user_id: *user_id,
            emoji: emoji.clone(),
            count: *count,
        }),
        Mark::ReactionRemoved {
            user_id,
            emoji,
            count,
        } => E::ReactionRemoved(v1::ReactionRemoved {
            channel_id,
            message_id,
            user_id: *user_id,
            emoji: emoji.clone(),
            count: *count,
        }),
        Mark::ReactionsCleared(emoji) => E::ReactionsCleared(v1::ReactionsCleared {
            channel_id,
            message_id,
            emoji: emoji.clone(),
        }),
        Mark::Pinned(user_id) => E::MessagePinned(v1::MessagePinned {
            channel_id,
            message_id,
            user_id: *user_id,
        }),
        Mark::Unpinned(user_id) => E::MessageUnpinned(v1::MessageUnpinned {
            channel_id,
            message_id,
            user_id: *user_id,
        }),
    }
}
