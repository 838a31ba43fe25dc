//! A frame as a WebSocket message: its bytes, or its JSON.

use crate::cache::Cache;
use bytes::Bytes;
use chirm_proto::json;
use prost_reflect::MessageDescriptor;

/// Levels of nesting of a client's frame in JSON, at most.
const DEPTH_MAX: usize = 16;
/// The first bytes of encoded `ServerFrame`s that many sessions are sent the same: `event`,
/// `presence_changed`, `typing_started`, `member_list_changed`, `custom_event`.
const SHARED_TAGS: [u8; 5] = [
    5 << 3 | 2,
    10 << 3 | 2,
    11 << 3 | 2,
    12 << 3 | 2,
    13 << 3 | 2,
];

/// What a subprotocol's messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `chirm.v1.proto`: a binary message is an encoded frame.
    Proto,
    /// `chirm.v1.json`: a text message is a frame as proto3 JSON.
    Json,
}

impl Form {
    /// Of a subprotocol's name.
    #[must_use]
    pub fn of(subprotocol: &str) -> Option<Self> {
        [Self::Proto, Self::Json]
            .into_iter()
            .find(|form| form.subprotocol() == subprotocol)
    }

    /// The opcode of a data frame.
    pub(crate) fn opcode(self) -> u8 {
        match self {
            Self::Json => 1,
            Self::Proto => 2,
        }
    }

    /// The subprotocol's name.
    #[must_use]
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Proto => "chirm.v1.proto",
            Self::Json => "chirm.v1.json",
        }
    }
}

/// Makes messages of frames and frames of messages.
pub(crate) struct Transcoder {
    client_frame: MessageDescriptor,
    server_frame: MessageDescriptor,
    cache: Cache,
}

impl Transcoder {
    pub(crate) fn new() -> Self {
        Self {
            client_frame: json::client_frame(),
            server_frame: json::server_frame(),
            cache: Cache::new(),
        }
    }

    /// A server's frame as a message's payload; `None` if it is none, which no server sends.
    pub(crate) fn payload(&self, form: Form, frame: Bytes) -> Option<Bytes> {
        match form {
            Form::Proto => Some(frame),
            Form::Json => {
                let is_shared = frame.first().is_some_and(|tag| SHARED_TAGS.contains(tag));
                let make = || json::of_encoded(&self.server_frame, frame.clone()).map(Into::into);
                if is_shared {
                    self.cache.get_or_make(&frame, make)
                } else {
                    make()
                }
            }
        }
    }

    /// A client's frame, encoded, of its JSON.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub(crate) fn frame(&self, text: &str) -> Result<Bytes, String> {
        json::to_encoded(&self.client_frame, text, DEPTH_MAX).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chirm_proto::v1::{self, client_frame, server_frame};
    use prost::Message as _;

    #[test]
    fn frames_become_json_and_json_frames() {
        let transcoder = Transcoder::new();
        let text = r#"{"callId": 7, "sendMessage": {"channelId": "5", "content": "ä", "odd": 1}}"#;
        let frame = transcoder.frame(text).unwrap();
        let frame = v1::ClientFrame::decode(frame).unwrap();
        let Some(client_frame::Frame::SendMessage(send)) = frame.frame else {
            panic!("a send");
        };
        assert_eq!((frame.call_id, send.channel_id), (7, 5));
        let started = v1::TypingStarted {
            channel_id: 1 << 60,
            user_id: 2,
            started_at: None,
        };
        let started = v1::ServerFrame {
            frame: Some(server_frame::Frame::TypingStarted(started)),
        };
        let started = Bytes::from(started.encode_to_vec());
        assert_eq!(started[0], SHARED_TAGS[2]);
        let expected = r#"{"typingStarted":{"channelId":"1152921504606846976","userId":"2"}}"#;
        for _ in 0..2 {
            let payload = transcoder.payload(Form::Json, started.clone());
            assert_eq!(payload, Some(expected.into()));
        }
        let binary = transcoder.payload(Form::Proto, started.clone());
        assert_eq!(binary, Some(started));
        let none = transcoder.payload(Form::Json, Bytes::from_static(b"\xff"));
        assert_eq!(none, None);
    }

    #[test]
    fn what_is_shared_is_what_many_are_sent() {
        use server_frame::Frame;
        let first = |frame| v1::ServerFrame { frame: Some(frame) }.encode_to_vec()[0];
        let shared = [
            first(Frame::Event(v1::Event::default())),
            first(Frame::PresenceChanged(v1::PresenceChanged::default())),
            first(Frame::TypingStarted(v1::TypingStarted::default())),
            first(Frame::MemberListChanged(v1::MemberListChanged::default())),
            first(Frame::CustomEvent(v1::CustomEvent::default())),
        ];
        assert_eq!(shared, SHARED_TAGS);
    }

    #[test]
    fn what_is_no_frame_is_refused_with_its_place() {
        let transcoder = Transcoder::new();
        for (text, problem) in [
            ("", "usable JSON"),
            ("[]", "object"),
            (r#"{"heartbeat": {}, "heartbeat": {}}"#, "twice"),
            (
                r#"{"setPresence": {"status": "AWAY"}}"#,
                "set_presence.status",
            ),
            (
                r#"{"sendMessage": {"channelId": "x"}}"#,
                "send_message.channel_id",
            ),
            (r#"{"heartbeat": {}, "view": {}}"#, "at most one"),
        ] {
            let error = transcoder.frame(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
        assert!(transcoder.frame(&"[".repeat(1_000)).is_err());
    }
}
