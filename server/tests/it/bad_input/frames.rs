//! Frames that break the protocol, too many of them, or none.

use super::{first, heartbeat, identify, send, world, wrong_secret};
use crate::support::{Stream, TestNode};
use crate::world::{User, channel_topic};
use bytes::Bytes;
use chirm_proto::v1::{self, client_frame, result::Result as Answer, server_frame::Frame};
use prost::Message as _;
use tonic::Code;

/// First frames that end a stream: name, bytes, reason, code.
pub(crate) fn bad_first_frames(token: &str) -> [(&'static str, Bytes, &'static str, i32); 8] {
    let wrong_secret = wrong_secret(token);
    let unknown_delivery = v1::Identify {
        delivery: 77,
        ..identify(token)
    };
    let one = v1::TopicPosition {
        topic: Some(channel_topic(1)),
        position: None,
    };
    let many = v1::Identify {
        positions: vec![one; 5_000],
        ..identify(token)
    };
    let garbage = Bytes::from_static(&[0xff; 40]);
    let bad_utf8 = Bytes::from_static(&[0x12, 4, 0x0a, 2, 0xc3, 0x28]);
    [
        ("garbage", garbage, "MALFORMED", 4001),
        ("invalid UTF-8", bad_utf8, "MALFORMED", 4001),
        (
            "300 KiB",
            vec![0; 300 << 10].into(),
            "REQUEST_TOO_LARGE",
            4002,
        ),
        ("no identify", heartbeat(), "NOT_IDENTIFIED", 4003),
        (
            "nonsense",
            first(identify("nonsense")),
            "TOKEN_INVALID",
            4010,
        ),
        (
            "a wrong secret",
            first(identify(&wrong_secret)),
            "TOKEN_INVALID",
            4010,
        ),
        (
            "unknown delivery",
            first(unknown_delivery),
            "FIELD_INVALID",
            4006,
        ),
        ("5,000 positions", first(many), "FIELD_INVALID", 4006),
    ]
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_the_stream_and_say_why() {
    let (node, ann, _) = world().await;
    for (name, bytes, reason, code) in bad_first_frames(&ann.token) {
        let mut stream = ann.raw_stream().await;
        stream.send_bytes(bytes).await;
        let closing = stream.closing().await;
        assert_eq!(
            (closing.reason.as_str(), closing.code),
            (reason, code),
            "{name}"
        );
        assert!(!closing.message.is_empty(), "{name}");
    }
    let later_frames: [(&str, Bytes, &str); 3] = [
        ("again", first(identify(&ann.token)), "ALREADY_IDENTIFIED"),
        ("garbage", vec![0xff; 9].into(), "MALFORMED"),
        ("65 KiB", frame_of(65 << 10).into(), "REQUEST_TOO_LARGE"),
    ];
    for (name, bytes, reason) in later_frames {
        let (mut stream, _) = ann.connect(vec![]).await;
        stream.send_bytes(bytes).await;
        assert_eq!(stream.closing().await.reason, reason, "{name}");
    }
    node.stop().await;
}

/// Messages that end a `Listen`: name, bytes, reason.
pub(crate) fn bad_listens(token: &str) -> [(&'static str, Bytes, &'static str); 8] {
    let held = v1::TopicPosition {
        topic: Some(channel_topic(i64::MAX)),
        position: Some(v1::Position {
            epoch: i64::MAX,
            seq: i64::MAX,
        }),
    };
    let with = |count| v1::Identify {
        positions: vec![held; count],
        ..identify(token)
    };
    let unknown_delivery = v1::Identify {
        delivery: 77,
        ..identify(token)
    };
    let large = with(8_000).encode_to_vec();
    assert!(large.len() > 256 << 10, "{}", large.len());
    let of = |identify: v1::Identify| Bytes::from(identify.encode_to_vec());
    let bad_utf8 = Bytes::from_static(&[0x0a, 2, 0xc3, 0x28]);
    [
        ("garbage", vec![0xff; 40].into(), "MALFORMED"),
        ("invalid UTF-8", bad_utf8, "MALFORMED"),
        ("300 KiB of positions", large.into(), "REQUEST_TOO_LARGE"),
        ("no token", Bytes::new(), "TOKEN_INVALID"),
        ("nonsense", of(identify("nonsense")), "TOKEN_INVALID"),
        (
            "a wrong secret",
            of(identify(&wrong_secret(token))),
            "TOKEN_INVALID",
        ),
        ("unknown delivery", of(unknown_delivery), "FIELD_INVALID"),
        ("5,000 positions", of(with(5_000)), "FIELD_INVALID"),
    ]
}

#[tokio::test]
async fn a_listener_is_held_to_the_same() {
    let (node, ann, _) = world().await;
    for (name, bytes, reason) in bad_listens(&ann.token) {
        let mut stream = Stream::listen(node.channel().await).await;
        stream.send_bytes(bytes).await;
        assert_eq!(stream.closing().await.reason, reason, "{name}");
    }
    node.stop().await;
}

fn frame_of(bytes: usize) -> Vec<u8> {
    let frame = Some(client_frame::Frame::SendMessage(send(
        1,
        &"x".repeat(bytes),
    )));
    v1::ClientFrame { call_id: 1, frame }.encode_to_vec()
}

#[tokio::test]
async fn a_silent_stream_and_a_silent_client_are_closed() {
    let node = TestNode::start(&[
        ("gateway.identify_deadline_ms", "200"),
        ("gateway.heartbeat_ms", "100"),
        ("gateway.deadline_ms", "400"),
    ])
    .await;
    let ann = User::mint(&node, "ann").await;
    let mut silent = ann.raw_stream().await;
    assert_eq!(silent.closing().await.reason, "IDENTIFY_TIMEOUT");
    let mut silent = Stream::listen(node.channel().await).await;
    assert_eq!(silent.closing().await.reason, "IDENTIFY_TIMEOUT");
    let (mut stream, _) = ann.connect(vec![]).await;
    assert_eq!(stream.closing().await.reason, "HEARTBEAT_TIMEOUT");
    node.stop().await;
}

#[tokio::test]
async fn unknown_frames_are_ignored() {
    let (node, ann, _) = world().await;
    let (mut stream, _) = ann.connect(vec![]).await;
    // Field 900, a string: a frame of the future.
    stream.send_bytes(vec![0xa2, 0x38, 2, b'h', b'i']).await;
    stream
        .send(client_frame::Frame::Heartbeat(v1::Heartbeat {}))
        .await;
    stream
        .until(|f| matches!(f, Frame::HeartbeatAck(_)).then_some(()))
        .await;
    node.stop().await;
}

#[tokio::test]
async fn the_121st_frame_of_a_minute_is_refused_and_the_stream_lives() {
    let (node, ann, _) = world().await;
    let (mut stream, _) = ann.connect(vec![]).await;
    for call in 1..=125 {
        let typing = v1::StartTypingRequest { channel_id: 1 };
        stream
            .call(call, client_frame::Frame::StartTyping(typing))
            .await;
    }
    let (mut limited, mut answered) = (0, 0);
    // The answers come in the order in which they are ready.
    stream
        .until(|frame| {
            let Frame::Result(result) = frame else {
                return None;
            };
            answered += 1;
            if let Some(Answer::Error(error)) = &result.result {
                limited += i32::from(error.code == Code::ResourceExhausted as i32);
            }
            (answered == 125).then_some(())
        })
        .await;
    assert!(
        (1..=5).contains(&limited),
        "{limited} were beyond the limit"
    );
    for _ in 0..150 {
        stream
            .send(client_frame::Frame::Heartbeat(v1::Heartbeat {}))
            .await;
    }
    assert_eq!(stream.closing().await.reason, "RATE_LIMITED");
    node.stop().await;
}
