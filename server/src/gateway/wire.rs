//! Between the gateway's plain data and the protocol's frames.

use super::close::Ending;
use crate::bus::{Publication, SetPresence};
use crate::frames;
use crate::model::{
    Channel, Id, Message, Position, Reaction, ReadState, Role, Server, Status, TopicKey, TopicKind,
    User,
};
use crate::mutation;
use crate::store::{OutboxEvent, UserSnapshot};
use bytes::Bytes;
use chirm_proto::google::rpc;
use chirm_proto::v1::{self, result::Result as Answer, server_frame::Frame};
use std::time::Duration;

/// Bit of [`v1::Intent::Typing`].
pub(super) const INTENT_TYPING: u8 = 1;
/// Bit of [`v1::Intent::Presence`].
pub(super) const INTENT_PRESENCE: u8 = 4;
/// Bit of [`v1::Intent::CustomEvents`].
pub(super) const INTENT_CUSTOM: u8 = 2;

/// The last frame of a stream.
pub(super) fn closing(ending: &Ending) -> Bytes {
    frames::encode(Frame::Closing(v1::Closing {
        code: ending.close.code(),
        reason: ending.close.reason().to_owned(),
        message: ending.message().to_owned(),
        advice: ending.close.advice() as i32,
    }))
}

/// What a client sent.
#[derive(Debug)]
pub enum Input {
    /// The first frame.
    Identify(Box<v1::Identify>),
    /// It lives.
    Heartbeat,
    /// What the user looks at.
    View(v1::View),
    /// A request with its call id.
    Request(u32, Request),
    /// A frame that this server doesn't know: ignored.
    Unknown,
}

/// A request on the stream.
#[derive(Debug)]
pub enum Request {
    /// See MessageService.
    Send(v1::SendMessageRequest),
    /// See MessageService.
    Edit(v1::EditMessageRequest),
    /// See MessageService.
    Delete(v1::DeleteMessageRequest),
    /// See MessageService.
    Typing(Id),
    /// See MessageService.
    Custom(v1::SendCustomEventRequest),
    /// See PresenceService.
    Presence(v1::SetPresenceRequest),
    /// See ReadStateService.
    Ack(v1::AckMessageRequest),
    /// See MessageService.
    React(v1::AddReactionRequest),
    /// See MessageService.
    Unreact(v1::RemoveReactionRequest),
}

/// Takes a decoded frame apart.
#[must_use]
pub fn input(frame: v1::ClientFrame) -> Input {
    use v1::client_frame::Frame as F;
    let call = frame.call_id;
    match frame.frame {
        None => Input::Unknown,
        Some(F::Identify(identify)) => Input::Identify(Box::new(identify)),
        Some(F::Heartbeat(_)) => Input::Heartbeat,
        Some(F::View(view)) => Input::View(view),
        Some(F::SendMessage(r)) => Input::Request(call, Request::Send(r)),
        Some(F::EditMessage(r)) => Input::Request(call, Request::Edit(r)),
        Some(F::DeleteMessage(r)) => Input::Request(call, Request::Delete(r)),
        Some(F::StartTyping(r)) => Input::Request(call, Request::Typing(r.channel_id)),
        Some(F::SendCustomEvent(r)) => Input::Request(call, Request::Custom(r)),
        Some(F::AckMessage(r)) => Input::Request(call, Request::Ack(r)),
        Some(F::SetPresence(r)) => Input::Request(call, Request::Presence(r)),
        Some(F::AddReaction(r)) => Input::Request(call, Request::React(r)),
        Some(F::RemoveReaction(r)) => Input::Request(call, Request::Unreact(r)),
    }
}

/// A topic as received; None if it isn't one.
pub(super) fn topic_key(topic: Option<&v1::Topic>) -> Option<TopicKey> {
    let topic = topic?;
    let kind = match v1::TopicKind::try_from(topic.kind).ok()? {
        v1::TopicKind::Channel => TopicKind::Channel,
        v1::TopicKind::Server => TopicKind::Server,
        v1::TopicKind::User => TopicKind::User,
        v1::TopicKind::Unspecified => return None,
    };
    (topic.id > 0).then_some(TopicKey { kind, id: topic.id })
}

/// A position as received. One that can't be is made one of no epoch: epochs are positive.
pub(super) fn position(position: &v1::Position) -> Position {
    if position.epoch <= 0 || position.seq < 0 {
        return Position { epoch: -1, seq: 0 };
    }
    Position {
        epoch: position.epoch,
        seq: position.seq,
    }
}

/// A status as received; None leaves it as it is.
///
/// # Errors
/// It is none that can be set: why.
pub(super) fn status(status: i32) -> Result<Option<Status>, String> {
    match v1::PresenceStatus::try_from(status) {
        Ok(v1::PresenceStatus::Unspecified) => Ok(None),
        Ok(v1::PresenceStatus::Idle) => Ok(Some(Status::Idle)),
        Ok(v1::PresenceStatus::Online) => Ok(Some(Status::Online)),
        Ok(v1::PresenceStatus::DoNotDisturb) => Ok(Some(Status::DoNotDisturb)),
        Ok(v1::PresenceStatus::Invisible) => Ok(Some(Status::Invisible)),
        Ok(v1::PresenceStatus::Offline) => {
            Err("OFFLINE is shown, never set; INVISIBLE is what hides".into())
        }
        Err(_) => Err(format!("{status} is no status")),
    }
}

/// What a user sets of its presence.
///
/// # Errors
/// The status is none that can be set: why.
pub fn set_presence(request: v1::SetPresenceRequest) -> Result<SetPresence, String> {
    Ok(SetPresence {
        status: status(request.status)?,
        text: request.text,
    })
}

/// What `hello` tells.
pub(super) struct Times {
    pub(super) heartbeat: Duration,
    pub(super) deadline: Duration,
    pub(super) grace: Duration,
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

pub(super) fn hello(session_id: Id, times: &Times, user: &User) -> Bytes {
    frames::encode(Frame::Hello(v1::Hello {
        session_id,
        heartbeat_interval: duration(times.heartbeat),
        deadline: duration(times.deadline),
        grace: duration(times.grace),
        features: Vec::new(),
        user: Some(frames::user(user)),
    }))
}

pub(super) fn ready(server_ids: Vec<Id>, direct_channel_ids: Vec<Id>) -> Bytes {
    frames::encode(Frame::Ready(v1::Ready {
        server_ids,
        direct_channel_ids,
    }))
}

pub(super) fn heartbeat_ack() -> Bytes {
    frames::encode(Frame::HeartbeatAck(v1::HeartbeatAck {}))
}

/// `channel` is of PRIVATE and DIRECT ones, as they are now.
pub(super) fn gap(topic: TopicKey, position: Position, channel: Option<&Channel>) -> Bytes {
    frames::encode(Frame::Gap(v1::Gap {
        topic: Some(frames::topic(topic)),
        position: Some(frames::position(position)),
        channel: channel.map(frames::channel),
    }))
}

pub(super) fn topic_removed(topic: TopicKey) -> Bytes {
    frames::encode(Frame::TopicRemoved(v1::TopicRemoved {
        topic: Some(frames::topic(topic)),
    }))
}

pub(super) fn reconnect(after: Duration) -> Bytes {
    frames::encode(Frame::Reconnect(v1::Reconnect {
        after: duration(after),
    }))
}

pub(super) fn activity(channel_id: Id, position: Position, last_message_id: Id) -> Bytes {
    frames::encode(Frame::ChannelActivity(v1::ChannelActivity {
        channel_id,
        position: Some(frames::position(position)),
        last_message_id,
    }))
}

fn snapshot(topic: TopicKey, position: Position, state: v1::snapshot::State) -> Bytes {
    let old = mutation::on("snapshot_position_old") && position.seq > 0;
    let position = if old { position.before() } else { position };
    frames::encode(Frame::Snapshot(v1::Snapshot {
        topic: Some(frames::topic(topic)),
        position: Some(frames::position(position)),
        state: Some(state),
    }))
}

pub(super) fn channel_snapshot(channel: &Channel, position: Position, read: &ReadState) -> Bytes {
    let state = v1::ChannelState {
        channel: Some(frames::channel(channel)),
        last_message_id: read.last_message_id,
        read_state: Some(frames::read_state(read)),
    };
    snapshot(
        TopicKey::channel(channel.id),
        position,
        v1::snapshot::State::Channel(state),
    )
}

pub(super) fn server_snapshot(
    server: &Server,
    channels: &[Channel],
    own: (Id, Role),
    position: Position,
) -> Bytes {
    let (user_id, role) = own;
    let state = v1::ServerState {
        server: Some(frames::server(server)),
        self_: None,
        channels: channels.iter().map(frames::channel).collect(),
    };
    let own = v1::Member {
        server_id: server.id,
        user_id,
        role: role as i32,
        ..Default::default()
    };
    let state = v1::ServerState {
        self_: Some(own),
        ..state
    };
    snapshot(
        TopicKey::server(server.id),
        position,
        v1::snapshot::State::Server(state),
    )
}

pub(super) fn user_snapshot(of: &UserSnapshot) -> Bytes {
    let state = v1::UserState {
        user: Some(frames::user(&of.user)),
        server_ids: of.servers.iter().map(|(id, _)| *id).collect(),
        channel_ids: of.channels.iter().map(|channel| channel.id).collect(),
        settings: Some(frames::settings(&of.settings)),
    };
    snapshot(
        TopicKey::user(of.user.id),
        of.position,
        v1::snapshot::State::User(state),
    )
}

/// What a request gave.
pub(super) enum Outcome {
    Sent(Message),
    Edited(Message),
    Deleted,
    Typing,
    Custom,
    Presence,
    Acked(ReadState),
    Reacted(Reaction),
    Unreacted(Reaction),
    Refused(Box<rpc::Status>),
}

pub(super) fn result(call_id: u32, outcome: Outcome) -> Bytes {
    let answer = match outcome {
        Outcome::Sent(m) => Answer::SendMessage(v1::SendMessageResponse {
            message: Some(frames::message(&m)),
        }),
        Outcome::Edited(m) => Answer::EditMessage(v1::EditMessageResponse {
            message: Some(frames::message(&m)),
        }),
        Outcome::Deleted => Answer::DeleteMessage(v1::DeleteMessageResponse {}),
        Outcome::Typing => Answer::StartTyping(v1::StartTypingResponse {}),
        Outcome::Custom => Answer::SendCustomEvent(v1::SendCustomEventResponse {}),
        Outcome::Presence => Answer::SetPresence(v1::SetPresenceResponse {}),
        Outcome::Reacted(r) => Answer::AddReaction(v1::AddReactionResponse {
            reaction: Some(frames::reaction(&r)),
        }),
        Outcome::Unreacted(r) => Answer::RemoveReaction(v1::RemoveReactionResponse {
            reaction: Some(frames::reaction(&r)),
        }),
        Outcome::Acked(state) => Answer::AckMessage(v1::AckMessageResponse {
            read_state: Some(frames::read_state(&state)),
        }),
        Outcome::Refused(status) => Answer::Error(*status),
    };
    frames::encode(Frame::Result(v1::Result {
        call_id,
        result: Some(answer),
    }))
}

/// An event that the store kept, as the bus would bring it.
pub(super) fn publication(event: &OutboxEvent) -> Publication {
    Publication {
        topic: event.topic,
        position: event.position,
        frame: frames::event_frame(event.topic, event.position, &event.payload),
        signal: event.signal,
        message_id: 0,
        published_ms: 0,
    }
}
