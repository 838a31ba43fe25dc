//! One of each thing that frames tell of.

use chirm_proto::v1;
use prost_types::{Duration, Timestamp};

pub(crate) fn topic(kind: v1::TopicKind, id: i64) -> v1::Topic {
    v1::Topic {
        kind: kind.into(),
        id,
    }
}

pub(crate) fn channel_topic() -> Option<v1::Topic> {
    Some(topic(v1::TopicKind::Channel, 201))
}

pub(crate) fn server_topic() -> Option<v1::Topic> {
    Some(topic(v1::TopicKind::Server, 101))
}

pub(crate) fn user_topic() -> Option<v1::Topic> {
    Some(topic(v1::TopicKind::User, 1))
}

pub(crate) fn time(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

pub(crate) fn seconds(seconds: i64, nanos: i32) -> Option<Duration> {
    Some(Duration { seconds, nanos })
}

pub(crate) fn metadata() -> std::collections::HashMap<String, String> {
    [("k".to_owned(), "ä".to_owned())].into()
}

pub(crate) fn user() -> v1::User {
    v1::User {
        id: 1,
        username: "ada".to_owned(),
        display_name: "Ada Ö.".to_owned(),
        bot: true,
        metadata: metadata(),
        deleted: false,
    }
}

pub(crate) fn server() -> v1::Server {
    v1::Server {
        id: 101,
        name: "Harbour".to_owned(),
        description: "Boats".to_owned(),
        owner_id: 1,
        open: true,
        member_count: 2,
        metadata: metadata(),
    }
}

pub(crate) fn channel() -> v1::Channel {
    v1::Channel {
        id: 201,
        server_id: 101,
        r#type: v1::ChannelType::Text.into(),
        name: "general".to_owned(),
        description: String::new(),
        rank: -1,
        member_ids: Vec::new(),
        metadata: metadata(),
        slow_mode_seconds: 30,
    }
}

pub(crate) fn direct() -> v1::Channel {
    v1::Channel {
        id: 202,
        r#type: v1::ChannelType::Direct.into(),
        member_ids: vec![1, 2],
        ..Default::default()
    }
}

pub(crate) fn message() -> v1::Message {
    v1::Message {
        id: 401,
        channel_id: 201,
        author_id: 1,
        content: "Grüße <@2> \u{1F44B}\u{1F3FD}\n".to_owned(),
        reply_to: 400,
        nonce: "0192f0c1-2b3c-7d4e-8f50-617283940a1b".to_owned(),
        mentions: vec![2],
        metadata: metadata(),
        ..Default::default()
    }
}

pub(crate) fn edited() -> v1::Message {
    v1::Message {
        revision: 402,
        edited_at: time(1_735_689_600, 120_000_000),
        ..message()
    }
}

pub(crate) fn reaction() -> v1::Reaction {
    v1::Reaction {
        emoji: "\u{2764}\u{FE0F}".to_owned(),
        count: 3,
        own: true,
    }
}

/// As an event has it: nobody's own.
pub(crate) fn marked() -> v1::Message {
    v1::Message {
        reactions: vec![v1::Reaction {
            own: false,
            ..reaction()
        }],
        pinned: true,
        ..edited()
    }
}

pub(crate) fn deleted() -> v1::Message {
    v1::Message {
        id: 401,
        channel_id: 201,
        author_id: 1,
        revision: 403,
        deleted: true,
        ..Default::default()
    }
}

pub(crate) fn member() -> v1::Member {
    v1::Member {
        server_id: 101,
        user_id: 1,
        role: v1::Role::Owner.into(),
        joined_at: time(1_735_689_600, 0),
        user: Some(user()),
        timed_out_until: time(1_735_693_200, 0),
    }
}

pub(crate) fn read_state() -> v1::ReadState {
    v1::ReadState {
        channel_id: 201,
        last_read_id: 399,
        last_message_id: 401,
        mention_count: 1,
        ..Default::default()
    }
}

pub(crate) fn muted() -> v1::ReadState {
    v1::ReadState {
        muted: true,
        muted_until: time(1_735_693_200, 0),
        ..read_state()
    }
}

pub(crate) fn mentioning() -> v1::Message {
    v1::Message {
        content: "<@everyone> <@&moderator> <@&admin>".to_owned(),
        mention_roles: vec![v1::Role::Moderator.into(), v1::Role::Admin.into()],
        mention_everyone: true,
        ..message()
    }
}

pub(crate) fn settings() -> v1::UserSettings {
    v1::UserSettings {
        direct_messages: v1::DirectMessages::SharedServers.into(),
    }
}

pub(crate) fn presence() -> v1::Presence {
    v1::Presence {
        user_id: 1,
        status: v1::PresenceStatus::Online.into(),
        text: "here".to_owned(),
        last_active_at: time(1_735_689_660, 0),
    }
}
