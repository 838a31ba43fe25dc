//! What the server sends.

use chirm_proto::{
    google::rpc,
    v1::{
        self, event::Event as Body, member_list_item::Item, result::Result as Answer,
        server_frame::Frame, snapshot::State,
    },
};
use prost::Message;
use prost_types::Any;

use crate::Sample;
use crate::nouns::*;

const POSITION: v1::Position = v1::Position {
    epoch: 8_161_515_101_316_911_234,
    seq: 42,
};

fn sample(name: &'static str, frame: Frame) -> Sample {
    let frame = v1::ServerFrame { frame: Some(frame) };
    Sample {
        name,
        message: "chirm.v1.ServerFrame",
        bytes: frame.encode_to_vec(),
    }
}

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = session();
    samples.extend(results());
    samples.extend(channel_events());
    samples.extend(crate::marks::samples());
    samples.extend(server_events());
    samples.extend(user_events());
    samples.extend(snapshots());
    samples.extend(beside_topics());
    samples.extend(edges());
    samples
}

fn session() -> Vec<Sample> {
    let hello = v1::Hello {
        session_id: 301,
        heartbeat_interval: seconds(20, 0),
        deadline: seconds(40, 0),
        grace: seconds(0, 500_000_000),
        features: vec!["a".to_owned(), "b".to_owned()],
        user: Some(user()),
    };
    let ready = v1::Ready {
        server_ids: vec![101, 102],
        direct_channel_ids: vec![202],
    };
    let closing = v1::Closing {
        code: 4021,
        reason: "SLOW_CONSUMER".to_owned(),
        message: "Read faster.".to_owned(),
        advice: v1::Advice::Resume.into(),
    };
    vec![
        sample("hello", Frame::Hello(hello)),
        sample("ready", Frame::Ready(ready)),
        sample("heartbeat_ack", Frame::HeartbeatAck(v1::HeartbeatAck {})),
        sample(
            "reconnect",
            Frame::Reconnect(v1::Reconnect {
                after: seconds(1, 5_000_000),
            }),
        ),
        sample("closing", Frame::Closing(closing)),
    ]
}

fn result(name: &'static str, call_id: u32, answer: Answer) -> Sample {
    sample(
        name,
        Frame::Result(v1::Result {
            call_id,
            result: Some(answer),
        }),
    )
}

fn results() -> Vec<Sample> {
    let sent = v1::SendMessageResponse {
        message: Some(message()),
    };
    let changed = v1::EditMessageResponse {
        message: Some(edited()),
    };
    let acked = v1::AckMessageResponse {
        read_state: Some(read_state()),
    };
    let added = v1::AddReactionResponse {
        reaction: Some(reaction()),
    };
    let removed = v1::RemoveReactionResponse {
        reaction: Some(v1::Reaction {
            emoji: ":wave:".to_owned(),
            ..Default::default()
        }),
    };
    vec![
        result("result_add_reaction", 8, Answer::AddReaction(added)),
        result("result_remove_reaction", 9, Answer::RemoveReaction(removed)),
        result("result_send_message", 1, Answer::SendMessage(sent)),
        result("result_edit_message", 2, Answer::EditMessage(changed)),
        result(
            "result_delete_message",
            3,
            Answer::DeleteMessage(v1::DeleteMessageResponse {}),
        ),
        result(
            "result_start_typing",
            4,
            Answer::StartTyping(v1::StartTypingResponse {}),
        ),
        result(
            "result_custom_event",
            5,
            Answer::SendCustomEvent(v1::SendCustomEventResponse {}),
        ),
        result("result_ack_message", 6, Answer::AckMessage(acked)),
        result(
            "result_set_presence",
            7,
            Answer::SetPresence(v1::SetPresenceResponse {}),
        ),
        result("result_error", u32::MAX, Answer::Error(error())),
    ]
}

fn error() -> rpc::Status {
    let any = |name: &str, value: Vec<u8>| Any {
        type_url: format!("type.googleapis.com/google.rpc.{name}"),
        value,
    };
    let info = rpc::ErrorInfo {
        reason: "RATE_LIMITED".to_owned(),
        domain: "chirm.dev".to_owned(),
        metadata: [("limit".to_owned(), "5".to_owned())].into(),
    };
    let violation = rpc::bad_request::FieldViolation {
        field: "content".to_owned(),
        description: "1 to 4,000 characters".to_owned(),
        ..Default::default()
    };
    let bad = rpc::BadRequest {
        field_violations: vec![violation],
    };
    let retry = rpc::RetryInfo {
        retry_delay: seconds(1, 200_000_000),
    };
    rpc::Status {
        code: rpc::Code::ResourceExhausted.into(),
        message: "Too many; wait.".to_owned(),
        details: vec![
            any("ErrorInfo", info.encode_to_vec()),
            any("BadRequest", bad.encode_to_vec()),
            any("RetryInfo", retry.encode_to_vec()),
        ],
    }
}

pub(crate) fn event(name: &'static str, topic: Option<v1::Topic>, body: Body) -> Sample {
    let event = v1::Event {
        topic,
        position: Some(POSITION),
        event: Some(body),
    };
    sample(name, Frame::Event(event))
}

fn channel_events() -> Vec<Sample> {
    let created = v1::MessageCreated {
        message: Some(message()),
    };
    let updated = v1::MessageUpdated {
        message: Some(edited()),
    };
    let mentioning = v1::MessageCreated {
        message: Some(mentioning()),
    };
    let gone = v1::MessageDeleted {
        message: Some(deleted()),
    };
    let changed = v1::ChannelUpdated {
        channel: Some(direct()),
    };
    let ended = v1::ChannelDeleted { channel_id: 201 };
    vec![
        event(
            "message_created",
            channel_topic(),
            Body::MessageCreated(created),
        ),
        event(
            "message_mentioning_groups",
            channel_topic(),
            Body::MessageCreated(mentioning),
        ),
        event(
            "message_updated",
            channel_topic(),
            Body::MessageUpdated(updated),
        ),
        event(
            "message_deleted",
            channel_topic(),
            Body::MessageDeleted(gone),
        ),
        event(
            "channel_updated",
            channel_topic(),
            Body::ChannelUpdated(changed),
        ),
        event(
            "channel_deleted",
            channel_topic(),
            Body::ChannelDeleted(ended),
        ),
    ]
}

fn server_events() -> Vec<Sample> {
    let created = v1::ChannelCreated {
        channel: Some(channel()),
    };
    let joined = v1::MemberJoined {
        member: Some(member()),
    };
    let updated = v1::MemberUpdated {
        member: Some(member()),
    };
    let left = v1::MemberLeft {
        server_id: 101,
        user_id: 1,
    };
    let changed = v1::ServerUpdated {
        server: Some(server()),
    };
    let ended = v1::ServerDeleted { server_id: 101 };
    vec![
        event(
            "channel_created",
            server_topic(),
            Body::ChannelCreated(created),
        ),
        event("member_joined", server_topic(), Body::MemberJoined(joined)),
        event(
            "member_updated",
            server_topic(),
            Body::MemberUpdated(updated),
        ),
        event("member_left", server_topic(), Body::MemberLeft(left)),
        event(
            "server_updated",
            server_topic(),
            Body::ServerUpdated(changed),
        ),
        event("server_deleted", server_topic(), Body::ServerDeleted(ended)),
    ]
}

fn user_events() -> Vec<Sample> {
    let added = v1::TopicAdded {
        topic: server_topic(),
    };
    let removed = v1::TopicRemoved {
        topic: channel_topic(),
    };
    let moved = v1::ReadStateChanged {
        read_state: Some(read_state()),
    };
    let muted = v1::ReadStateChanged {
        read_state: Some(muted()),
    };
    let set = v1::UserSettingsUpdated {
        settings: Some(settings()),
    };
    let mentioned = v1::Mentioned {
        channel_id: 201,
        message_id: 401,
    };
    let revoked = v1::SessionRevoked { session_id: 301 };
    let changed = v1::UserUpdated { user: Some(user()) };
    vec![
        event("topic_added", user_topic(), Body::TopicAdded(added)),
        event(
            "event_topic_removed",
            user_topic(),
            Body::TopicRemoved(removed),
        ),
        event(
            "read_state_changed",
            user_topic(),
            Body::ReadStateChanged(moved),
        ),
        event(
            "read_state_muted",
            user_topic(),
            Body::ReadStateChanged(muted),
        ),
        event(
            "user_settings_updated",
            user_topic(),
            Body::UserSettingsUpdated(set),
        ),
        event("mentioned", user_topic(), Body::Mentioned(mentioned)),
        event(
            "session_revoked",
            user_topic(),
            Body::SessionRevoked(revoked),
        ),
        event("user_updated", user_topic(), Body::UserUpdated(changed)),
    ]
}

fn snapshot(name: &'static str, topic: Option<v1::Topic>, state: State) -> Sample {
    let snapshot = v1::Snapshot {
        topic,
        position: Some(POSITION),
        state: Some(state),
    };
    sample(name, Frame::Snapshot(snapshot))
}

fn snapshots() -> Vec<Sample> {
    let of_channel = v1::ChannelState {
        channel: Some(channel()),
        last_message_id: 401,
        read_state: Some(read_state()),
    };
    let of_server = v1::ServerState {
        server: Some(server()),
        self_: Some(member()),
        channels: vec![channel()],
    };
    let of_user = v1::UserState {
        user: Some(user()),
        server_ids: vec![101],
        channel_ids: vec![202],
        settings: Some(settings()),
    };
    vec![
        snapshot(
            "snapshot_channel",
            channel_topic(),
            State::Channel(of_channel),
        ),
        snapshot("snapshot_server", server_topic(), State::Server(of_server)),
        snapshot("snapshot_user", user_topic(), State::User(of_user)),
    ]
}

fn beside_topics() -> Vec<Sample> {
    let gap = v1::Gap {
        topic: channel_topic(),
        position: Some(POSITION),
        channel: None,
    };
    let direct_gap = v1::Gap {
        topic: Some(topic(v1::TopicKind::Channel, direct().id)),
        channel: Some(direct()),
        ..gap.clone()
    };
    let activity = v1::ChannelActivity {
        channel_id: 201,
        position: Some(POSITION),
        last_message_id: 401,
    };
    let presences = v1::PresenceChanged {
        presences: vec![presence()],
        stale: true,
    };
    let typing = v1::TypingStarted {
        channel_id: 201,
        user_id: 1,
        started_at: time(1_735_689_600, 123_456_789),
    };
    let custom = v1::CustomEvent {
        channel_id: 201,
        user_id: 1,
        name: "dice".to_owned(),
        data: vec![0x00, 0x7f, 0x80, 0xfb, 0xff].into(),
    };
    let removed = v1::TopicRemoved {
        topic: channel_topic(),
    };
    vec![
        sample("gap", Frame::Gap(gap)),
        sample("gap_of_a_direct_channel", Frame::Gap(direct_gap)),
        sample("topic_removed", Frame::TopicRemoved(removed)),
        sample("channel_activity", Frame::ChannelActivity(activity)),
        sample("presence_changed", Frame::PresenceChanged(presences)),
        sample("typing_started", Frame::TypingStarted(typing)),
        sample(
            "member_list_changed",
            Frame::MemberListChanged(member_list()),
        ),
        sample("custom_event", Frame::CustomEvent(custom)),
    ]
}

fn member_list() -> v1::MemberListChanged {
    let group = v1::MemberListGroup {
        role: v1::Role::Owner.into(),
        count: 1,
    };
    let heading = v1::MemberListItem {
        item: Some(Item::Group(group)),
        presence: None,
    };
    let place = v1::MemberListItem {
        item: Some(Item::Member(member())),
        presence: Some(presence()),
    };
    let op = |kind: v1::member_list_op::Kind, index, items| v1::MemberListOp {
        kind: kind.into(),
        index,
        items,
    };
    v1::MemberListChanged {
        server_id: 101,
        range: Some(v1::MemberRange {
            start: 0,
            count: 100,
        }),
        seq: 3,
        ops: vec![
            op(
                v1::member_list_op::Kind::Sync,
                0,
                vec![heading, place.clone()],
            ),
            op(v1::member_list_op::Kind::Update, 1, vec![place]),
            op(v1::member_list_op::Kind::Delete, 1, Vec::new()),
        ],
        groups: vec![group],
    }
}

fn edges() -> Vec<Sample> {
    let first = v1::Position { epoch: 1, seq: 0 };
    let unknown_event = v1::Event {
        topic: user_topic(),
        position: Some(first),
        event: None,
    };
    let early = v1::TypingStarted {
        started_at: time(-1, 0),
        ..Default::default()
    };
    let last = v1::TypingStarted {
        started_at: time(253_402_300_799, 999_999_999),
        ..early
    };
    let closing = v1::Closing {
        code: 4099,
        advice: 77,
        ..Default::default()
    };
    let extremes = v1::Ready {
        server_ids: vec![0, i64::MAX, i64::MIN],
        ..Default::default()
    };
    vec![
        Sample {
            name: "empty",
            message: "chirm.v1.ServerFrame",
            bytes: Vec::new(),
        },
        sample("hello_of_nothing", Frame::Hello(v1::Hello::default())),
        sample("event_of_no_known_kind", Frame::Event(unknown_event)),
        sample("time_before_1970", Frame::TypingStarted(early)),
        sample("last_time", Frame::TypingStarted(last)),
        sample("enum_value_of_later", Frame::Closing(closing)),
        sample("64_bit_extremes", Frame::Ready(extremes)),
        sample("empty_data", Frame::CustomEvent(v1::CustomEvent::default())),
    ]
}
