//! What a client sends.

use chirm_proto::v1::{self, client_frame::Frame};
use prost::Message;

use crate::Sample;

fn sample(name: &'static str, call_id: u32, frame: Frame) -> Sample {
    let frame = v1::ClientFrame {
        call_id,
        frame: Some(frame),
    };
    Sample {
        name,
        message: "chirm.v1.ClientFrame",
        bytes: frame.encode_to_vec(),
    }
}

fn position(kind: v1::TopicKind, id: i64, epoch: i64, seq: i64) -> v1::TopicPosition {
    v1::TopicPosition {
        topic: Some(v1::Topic {
            kind: kind.into(),
            id,
        }),
        position: Some(v1::Position { epoch, seq }),
    }
}

fn view() -> v1::View {
    v1::View {
        channels: vec![
            v1::ViewedChannel {
                channel_id: 201,
                position: Some(v1::Position { epoch: 5, seq: 9 }),
            },
            v1::ViewedChannel {
                channel_id: 202,
                position: None,
            },
        ],
        member_lists: vec![v1::MemberListView {
            server_id: 101,
            ranges: vec![
                v1::MemberRange {
                    start: 0,
                    count: 100,
                },
                v1::MemberRange {
                    start: 100,
                    count: 50,
                },
            ],
        }],
        users: vec![1, 2, i64::MAX],
    }
}

fn identify() -> v1::Identify {
    v1::Identify {
        token: "v1.301.secret".to_owned(),
        delivery: v1::Delivery::Viewed.into(),
        intents: vec![v1::Intent::Typing.into(), v1::Intent::Presence.into()],
        presence: v1::PresenceStatus::Idle.into(),
        device: "phone".to_owned(),
        positions: vec![
            position(v1::TopicKind::Channel, 201, 5, 9),
            position(v1::TopicKind::Server, 101, i64::MAX, 0),
            position(v1::TopicKind::User, 1, 1, i64::MAX),
        ],
        view: Some(view()),
        features: vec!["a".to_owned()],
    }
}

fn message() -> v1::SendMessageRequest {
    v1::SendMessageRequest {
        channel_id: 201,
        content: "Grüße <@7> \u{1F44B}\u{1F3FD}\n\t\"\\\u{0}\u{7f}\u{2028}".to_owned(),
        nonce: "0192f0c1-2b3c-7d4e-8f50-617283940a1b".to_owned(),
        reply_to: 9_007_199_254_740_993,
        attempt: 1,
        metadata: [("kind".to_owned(), "hint".to_owned())].into(),
    }
}

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = session();
    samples.extend(requests());
    samples.extend(edges());
    samples
}

fn session() -> Vec<Sample> {
    let least = v1::Identify {
        token: "b1.secret".to_owned(),
        ..Default::default()
    };
    vec![
        sample("identify", 0, Frame::Identify(identify())),
        sample("identify_least", 0, Frame::Identify(least)),
        sample("heartbeat", 0, Frame::Heartbeat(v1::Heartbeat {})),
        sample("view", 0, Frame::View(view())),
        sample("view_nothing", 0, Frame::View(v1::View::default())),
    ]
}

fn requests() -> Vec<Sample> {
    let edit = v1::EditMessageRequest {
        channel_id: 201,
        message_id: 401,
        content: "better".to_owned(),
    };
    let event = v1::SendCustomEventRequest {
        channel_id: 201,
        name: "dice".to_owned(),
        data: vec![0x00, 0x7f, 0x80, 0xfb, 0xff].into(),
    };
    let presence = v1::SetPresenceRequest {
        status: v1::PresenceStatus::DoNotDisturb.into(),
        text: Some("in a game".to_owned()),
    };
    let delete = v1::DeleteMessageRequest {
        channel_id: 201,
        message_id: 401,
    };
    let typing = v1::StartTypingRequest { channel_id: 201 };
    let ack = v1::AckMessageRequest {
        channel_id: 201,
        message_id: 401,
    };
    let react = v1::AddReactionRequest {
        channel_id: 201,
        message_id: 401,
        emoji: "\u{2764}\u{FE0F}".to_owned(),
    };
    let unreact = v1::RemoveReactionRequest {
        channel_id: 201,
        message_id: 401,
        emoji: ":wave:".to_owned(),
        user_id: 2,
    };
    vec![
        sample("add_reaction", 7, Frame::AddReaction(react)),
        sample("remove_reaction", 8, Frame::RemoveReaction(unreact)),
        sample("send_message", 1, Frame::SendMessage(message())),
        sample("edit_message", 2, Frame::EditMessage(edit)),
        sample("delete_message", 3, Frame::DeleteMessage(delete)),
        sample("start_typing", 4, Frame::StartTyping(typing)),
        sample("send_custom_event", 5, Frame::SendCustomEvent(event)),
        sample("ack_message", 6, Frame::AckMessage(ack)),
        sample("set_presence", u32::MAX, Frame::SetPresence(presence)),
    ]
}

fn edges() -> Vec<Sample> {
    let extreme = v1::AckMessageRequest {
        channel_id: i64::MAX,
        message_id: i64::MIN,
    };
    // An absent text leaves it as it is; an empty one takes it away.
    let cleared = v1::SetPresenceRequest {
        status: 0,
        text: Some(String::new()),
    };
    let kept = v1::SetPresenceRequest {
        status: 0,
        text: None,
    };
    let of_later = v1::SetPresenceRequest {
        status: 99,
        text: None,
    };
    vec![
        Sample {
            name: "empty",
            message: "chirm.v1.ClientFrame",
            bytes: Vec::new(),
        },
        sample("64_bit_extremes", 1, Frame::AckMessage(extreme)),
        sample("text_cleared", 1, Frame::SetPresence(cleared)),
        sample("text_kept", 1, Frame::SetPresence(kept)),
        sample("enum_value_of_later", 1, Frame::SetPresence(of_later)),
    ]
}
