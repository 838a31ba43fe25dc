//! Bad input: a clear error each time, and nothing lost.

use crate::support::{Raw, Stream, TestNode, reason};
use crate::world::{User, channel_topic, with_token};
use bytes::Bytes;
use chirm_proto::v1::{
    self, client_frame, list_messages_request::Anchor, result::Result as Answer,
    server_frame::Frame,
};
use prost::Message as _;
use tonic::{Code, Request};

async fn world() -> (TestNode, User, i64) {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    (node, ann, channel)
}

fn send(channel_id: i64, content: &str) -> v1::SendMessageRequest {
    v1::SendMessageRequest {
        channel_id,
        content: content.to_owned(),
        ..Default::default()
    }
}

fn identify(token: &str) -> v1::Identify {
    v1::Identify {
        token: token.to_owned(),
        ..Default::default()
    }
}

fn first(identify: v1::Identify) -> Bytes {
    let frame = Some(client_frame::Frame::Identify(identify));
    v1::ClientFrame { call_id: 0, frame }.encode_to_vec().into()
}

fn heartbeat() -> Bytes {
    let frame = Some(client_frame::Frame::Heartbeat(v1::Heartbeat {}));
    v1::ClientFrame { call_id: 0, frame }.encode_to_vec().into()
}

/// First frames that end a stream: name, bytes, reason, code.
fn bad_first_frames(token: &str) -> [(&'static str, Bytes, &'static str, i32); 8] {
    let wrong_secret = format!("{}x", &token[..token.len() - 1]);
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

/// Sends that are refused: name, request, code. `elsewhere` is a message of another channel.
fn bad_sends(
    channel: i64,
    hidden: i64,
    elsewhere: i64,
) -> [(&'static str, v1::SendMessageRequest, Code); 11] {
    let text = || send(channel, "x");
    let reply = v1::SendMessageRequest {
        reply_to: elsewhere,
        ..text()
    };
    let nonce = v1::SendMessageRequest {
        nonce: "short".into(),
        ..text()
    };
    let keys = (0..17).map(|n| (n.to_string(), String::new())).collect();
    let keys = v1::SendMessageRequest {
        metadata: keys,
        ..text()
    };
    let heavy = [("k".to_owned(), "v".repeat(4097))].into();
    let heavy = v1::SendMessageRequest {
        metadata: heavy,
        ..text()
    };
    [
        ("empty", send(channel, ""), Code::InvalidArgument),
        (
            "too many characters",
            send(channel, &"é".repeat(4_001)),
            Code::InvalidArgument,
        ),
        (
            "too many bytes",
            send(channel, &"\u{1F600}".repeat(4_097)),
            Code::InvalidArgument,
        ),
        ("no channel", send(0, "x"), Code::NotFound),
        ("negative id", send(-5, "x"), Code::NotFound),
        ("unknown channel", send(i64::MAX, "x"), Code::NotFound),
        ("hidden channel", send(hidden, "x"), Code::NotFound),
        ("reply elsewhere", reply, Code::InvalidArgument),
        ("nonce", nonce, Code::InvalidArgument),
        ("metadata keys", keys, Code::InvalidArgument),
        ("metadata bytes", heavy, Code::InvalidArgument),
    ]
}

#[tokio::test]
async fn bad_sends_are_refused_one_by_one_on_every_path() {
    let (node, ann, channel) = world().await;
    let bob = User::mint(&node, "bob").await;
    let (_, hidden) = bob.create_server("bob's").await;
    let (_, other) = ann.create_server("other").await;
    let elsewhere = ann.send(other, "elsewhere").await;
    let (mut stream, _) = ann.connect(vec![]).await;
    let mut messages = std::collections::HashMap::new();
    for (call, (name, request, code)) in (1..).zip(bad_sends(channel, hidden, elsewhere.id)) {
        let unary = ann.try_send(request.clone()).await.unwrap_err();
        assert_eq!(unary.code(), code, "{name}: {unary:?}");
        assert!(!reason(&unary).is_empty(), "{name}");
        stream
            .call(call, client_frame::Frame::SendMessage(request))
            .await;
        let Answer::Error(error) = stream.result(call).await else {
            panic!("{name}: taken")
        };
        assert_eq!(
            (error.code, error.message.as_str()),
            (code as i32, unary.message()),
            "{name}"
        );
        messages.insert(name, error.message);
    }
    let (hidden, unknown) = (&messages["hidden channel"], &messages["unknown channel"]);
    assert_eq!(hidden, unknown, "hidden and absent are one answer");
    let page = v1::ListMessagesRequest {
        channel_id: channel,
        limit: 50,
        anchor: None,
    };
    let page = ann
        .messages()
        .list_messages(ann.request(page))
        .await
        .unwrap()
        .into_inner();
    assert!(page.messages.is_empty(), "nothing refused was stored");
    node.stop().await;
}

#[tokio::test]
async fn pages_have_bounds() {
    let (node, ann, channel) = world().await;
    for limit in [-1, 101, i32::MAX] {
        let request = v1::ListMessagesRequest {
            channel_id: channel,
            limit,
            anchor: None,
        };
        let error = ann
            .messages()
            .list_messages(ann.request(request))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("limit"), "{}", error.message());
    }
    let before = Some(Anchor::Before(-7));
    let request = v1::ListMessagesRequest {
        channel_id: channel,
        limit: 0,
        anchor: before,
    };
    let error = ann
        .messages()
        .list_messages(ann.request(request))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    node.stop().await;
}

#[tokio::test]
async fn tokens_are_checked_on_every_call() {
    let (node, ann, _) = world().await;
    let list = || v1::ListServersRequest::default();
    let mut servers = ann.servers();
    let missing = servers.list_servers(list()).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::Unauthenticated, "TOKEN_MISSING")
    );
    for token in [
        "",
        "x",
        "v1.1.AAAA",
        "v1.99999999999999999999.AAAA",
        "r1.1.x",
        "é",
    ] {
        let Ok(header) = format!("Bearer {token}").parse() else {
            continue;
        };
        let mut request = tonic::Request::new(list());
        request.metadata_mut().insert("authorization", header);
        let error = servers.list_servers(request).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{token}");
    }
    let logout = v1::LogoutRequest {};
    let (mut stream, _) = ann.connect(vec![]).await;
    ann.auth()
        .logout(ann.request(logout))
        .await
        .expect("signs out");
    assert_eq!(stream.closing().await.reason, "SESSION_REVOKED");
    let error = servers
        .list_servers(with_token(&ann.token, list()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
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

#[tokio::test]
async fn a_slow_reader_is_closed_and_loses_nothing_by_it() {
    let node = TestNode::start(&[
        ("limits.enabled", "false"),
        ("limits.outbound_queue_events", "16"),
    ])
    .await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let mut slow = Stream::open(node.narrow_channel().await).await;
    slow.identify(v1::Identify {
        token: ann.token.clone(),
        ..Default::default()
    })
    .await;
    slow.ready().await;
    // More than its window and every buffer on the way hold.
    let body = "x".repeat(4_000);
    for _ in 0..400 {
        ann.send(channel, &body).await;
    }
    let mut seq = 0;
    let mut closing = None;
    while let Some(frame) = slow.next().await {
        match frame {
            Frame::Event(event) if event.topic == Some(channel_topic(channel)) => {
                let at = event.position.unwrap().seq;
                assert!(seq == 0 || at == seq + 1, "{seq} then {at}");
                seq = at;
            }
            Frame::Closing(c) => closing = Some(c),
            _ => {}
        }
    }
    assert_eq!(closing.expect("closed").reason, "SLOW_CONSUMER");
    node.stop().await;
}

/// Reflection tells what there is; a token is needed for all of it but to get one.
#[tokio::test]
async fn without_a_token_every_call_is_refused_but_those_that_give_one() {
    const GIVE: [&str; 4] = ["Register", "Login", "Refresh", "ExchangeToken"];
    let node = TestNode::start(&[]).await;
    let mut calls = 0;
    for service in chirm_server::rpc::PUBLIC {
        let service = chirm_proto::pool().get_service_by_name(service);
        for method in service.expect("a service").methods() {
            if method.is_client_streaming() || method.is_server_streaming() {
                continue;
            }
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let mut grpc = tonic::client::Grpc::new(node.channel().await);
            grpc.ready().await.expect("ready");
            let (codec, path) = (Raw::<()>::default(), path.parse().expect("a path"));
            let answered = grpc
                .unary(Request::new(bytes::Bytes::new()), path, codec)
                .await;
            let refused = answered.expect_err("nothing works without a token");
            let missing = reason(&refused) == "TOKEN_MISSING";
            assert_eq!(
                missing,
                !GIVE.contains(&method.name()),
                "{}",
                method.full_name()
            );
            calls += 1;
        }
    }
    assert!(calls > 40, "{calls}");
}
