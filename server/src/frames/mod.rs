//! What encodes frames: from plain data to the protocol's bytes. An event is encoded once; its
//! bytes are then only shared.

mod convert;
mod webhook;

pub use convert::{
    channel, member, message, pin, position, presence, reaction, read_state, server, settings,
    timestamp, topic, user,
};
pub use webhook::{webhook_body, webhook_event_id};

use crate::model::{EventBody, Id, Position, TopicKey, UnixMs};
use bytes::{BufMut, Bytes, BytesMut};
use chirm_proto::v1;
use prost::Message as _;

/// Length of the gRPC prefix: a flag byte and four of length.
pub const PREFIX_BYTES: usize = 5;

/// The tag of `ServerFrame.event` (field 5, length-delimited).
const EVENT_TAG: u8 = 5 << 3 | 2;

/// The tag of `Event.message_deleted` (field 12, length-delimited).
const MESSAGE_DELETED_TAG: u8 = 12 << 3 | 2;

/// Encodes what happened, without topic and position: the fields of `Event` from 10 on.
#[must_use]
pub fn encode_body(body: &EventBody) -> Bytes {
    let event = v1::Event {
        topic: None,
        position: None,
        event: Some(convert::event(body)),
    };
    event.encode_to_vec().into()
}

/// Makes the whole frame, gRPC prefix included, of an event's payload at a position. Concatenated
/// protobuf fields are one message, so the payload is copied as it is.
#[must_use]
pub fn event_frame(topic: TopicKey, position: Position, payload: &[u8]) -> Bytes {
    let head = v1::Event {
        topic: Some(convert::topic(topic)),
        position: Some(convert::position(position)),
        event: None,
    };
    let event_len = head.encoded_len() + payload.len();
    let frame_len = 1 + prost::length_delimiter_len(event_len) + event_len;
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + frame_len);
    put_prefix(&mut out, frame_len);
    out.put_u8(EVENT_TAG);
    prost::encoding::encode_varint(event_len as u64, &mut out);
    head.encode_raw(&mut out);
    out.put_slice(payload);
    out.freeze()
}

/// The length of [`event_frame`], but for the few bytes by which positions differ.
#[must_use]
pub fn event_frame_len(topic: TopicKey, payload: &[u8]) -> usize {
    let position = Position {
        epoch: i64::MAX,
        seq: 1,
    };
    event_frame(topic, position, &[]).len() + payload.len()
}

/// The message whose deletion a payload of [`encode_body`] tells of.
#[must_use]
pub fn deleted_message(payload: &[u8]) -> Option<Id> {
    if payload.first() != Some(&MESSAGE_DELETED_TAG) {
        return None;
    }
    match v1::Event::decode(payload).ok()?.event? {
        v1::event::Event::MessageDeleted(deleted) => deleted.message.map(|message| message.id),
        _ => None,
    }
}

/// Encodes any other frame with its gRPC prefix.
#[must_use]
pub fn encode(frame: v1::server_frame::Frame) -> Bytes {
    let frame = v1::ServerFrame { frame: Some(frame) };
    let len = frame.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + len);
    put_prefix(&mut out, len);
    frame.encode_raw(&mut out);
    out.freeze()
}

/// The frame that shows that a user types.
#[must_use]
pub fn typing(channel_id: Id, user_id: Id, started_at: UnixMs) -> Bytes {
    encode(v1::server_frame::Frame::TypingStarted(v1::TypingStarted {
        channel_id,
        user_id,
        started_at: timestamp(started_at),
    }))
}

/// The frame of an integrator's own event.
#[must_use]
pub fn custom_event(channel_id: Id, user_id: Id, name: String, data: Bytes) -> Bytes {
    encode(v1::server_frame::Frame::CustomEvent(v1::CustomEvent {
        channel_id,
        user_id,
        name,
        data,
    }))
}

fn put_prefix(out: &mut BytesMut, len: usize) {
    out.put_u8(0);
    out.put_u32(u32::try_from(len).expect("frames are bounded far below 4 GiB"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, TopicKey};

    #[test]
    fn an_event_frame_decodes_as_the_message_it_stands_for() {
        let message = Message {
            id: 7,
            channel_id: 3,
            content: "hé".into(),
            ..Message::default()
        };
        let payload = encode_body(&EventBody::MessageCreated(message));
        let frame = event_frame(
            TopicKey::channel(3),
            Position { epoch: 9, seq: 4 },
            &payload,
        );
        let len = u32::from_be_bytes(frame[1..5].try_into().expect("4 bytes")) as usize;
        assert_eq!(len, frame.len() - PREFIX_BYTES);
        let decoded = v1::ServerFrame::decode(&frame[PREFIX_BYTES..]).expect("decodes");
        let Some(v1::server_frame::Frame::Event(event)) = decoded.frame else {
            panic!("no event")
        };
        assert_eq!(event.position, Some(v1::Position { epoch: 9, seq: 4 }));
        assert_eq!(event.topic.map(|t| t.id), Some(3));
        let Some(v1::event::Event::MessageCreated(created)) = event.event else {
            panic!("other")
        };
        assert_eq!(created.message.map(|m| m.content).as_deref(), Some("hé"));
    }
}
