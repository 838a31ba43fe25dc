//! Sockets that break the carrier: each a last `Closing` frame, then the right close code.

use super::Socket;
use crate::bad_input::{bad_first_frames, heartbeat, identify, send, world};
use crate::support::{PATIENCE, TestNode};
use chirm_proto::v1::client_frame::Frame as Sent;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn bad_first_frames_end_a_socket_as_they_end_a_stream() {
    let (node, ann, _) = world().await;
    for (name, bytes, reason, code) in bad_first_frames(&ann.token) {
        let mut socket = Socket::open(&node, "chirm.v1.proto").await;
        socket.send_message(Message::Binary(bytes)).await;
        let (closing, close) = socket.closing().await;
        assert_eq!(
            (closing.reason.as_str(), closing.code),
            (reason, code),
            "{name}"
        );
        let expected = match code {
            4001 => 1007,
            4002 => 1009,
            other => other,
        };
        assert_eq!(i32::from(close), expected, "{name}");
    }
    node.stop().await;
}

#[tokio::test]
async fn messages_of_the_wrong_kind_or_no_json_end_a_socket() {
    let (node, ann, channel) = world().await;
    let large = format!(
        r#"{{"sendMessage": {{"content": "{}"}}}}"#,
        "x".repeat(70_000)
    );
    for (subprotocol, message, reason, code) in [
        ("chirm.v1.proto", Message::text("{}"), "MALFORMED", 1003),
        (
            "chirm.v1.json",
            Message::Binary(heartbeat()),
            "MALFORMED",
            1003,
        ),
        (
            "chirm.v1.json",
            Message::text("{nonsense"),
            "MALFORMED",
            1007,
        ),
        ("chirm.v1.json", Message::text("[]"), "MALFORMED", 1007),
        (
            "chirm.v1.json",
            Message::text(r#"{"heartbeat": {}, "heartbeat": {}}"#),
            "MALFORMED",
            1007,
        ),
        (
            "chirm.v1.json",
            Message::text(large),
            "REQUEST_TOO_LARGE",
            1009,
        ),
        (
            "chirm.v1.proto",
            Message::Binary(vec![0; 300 << 10].into()),
            "REQUEST_TOO_LARGE",
            1009,
        ),
    ] {
        let mut socket = Socket::signed_in(&node, subprotocol, identify(&ann.token)).await;
        socket.send_message(message).await;
        let (closing, close) = socket.closing().await;
        assert_eq!(
            (closing.reason.as_str(), close),
            (reason, code),
            "{}",
            closing.message
        );
    }
    // Nobody else is disturbed.
    ann.send(channel, "still here").await;
    node.stop().await;
}

#[tokio::test]
async fn a_socket_that_never_identifies_is_closed() {
    let deadline = [("gateway.identify_deadline_ms", "100")];
    let node = TestNode::start(&deadline).await;
    let mut socket = Socket::open(&node, "chirm.v1.proto").await;
    let (closing, close) = socket.closing().await;
    assert_eq!((closing.reason.as_str(), close), ("IDENTIFY_TIMEOUT", 4005));
    node.stop().await;
}

#[tokio::test]
async fn a_page_that_floods_is_closed() {
    let limits = [("limits.client_frames_per_minute", "60")];
    let node = TestNode::start(&limits).await;
    let ann = crate::world::User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let mut socket = Socket::signed_in(&node, "chirm.v1.json", identify(&ann.token)).await;
    for _ in 0..2_000 {
        socket.send(Sent::SendMessage(send(channel, "x"))).await;
    }
    let (closing, close) = socket.closing().await;
    assert_eq!((closing.reason.as_str(), close), ("RATE_LIMITED", 4022));
    node.stop().await;
}

/// A handshake done by hand, so that what follows can be no WebSocket, or nothing.
pub(crate) async fn raw(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let text = "GET /gateway HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                sec-websocket-protocol: chirm.v1.json\r\n\r\n";
    stream.write_all(text.as_bytes()).await.expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the answer's head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    stream
}

/// A frame of the client's: first byte, payload, masked with zeros or not.
fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(mask | length as u8),
        length => {
            frame.push(mask | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

/// The close code at the end of what a server sends.
async fn close_code(stream: &mut TcpStream) -> u16 {
    let mut read = Vec::new();
    let all = tokio::time::timeout(PATIENCE, async {
        while stream.read_buf(&mut read).await.is_ok_and(|n| n > 0) {
            if read.len() >= 4 && read[read.len() - 4..read.len() - 2] == [0x88, 2] {
                break;
            }
        }
    });
    all.await.expect("the end must come");
    assert!(read.windows(9).any(|w| w == b"\"closing\""), "{read:?}");
    u16::from_be_bytes([read[read.len() - 2], read[read.len() - 1]])
}

#[tokio::test]
async fn what_is_no_websocket_is_closed_with_the_code_for_it() {
    let (node, _, _) = world().await;
    const TEXT: u8 = 0x81;
    let never_ending = {
        let mut frames = frame(0x01, &[b' '; 100_000], true);
        for _ in 0..12 {
            frames.extend(frame(0x00, &[b' '; 100_000], true));
        }
        frames
    };
    for (name, bytes, code) in [
        ("not masked", frame(TEXT, b"{}", false), 1002),
        ("a fragmented ping", frame(0x09, b"x", true), 1002),
        ("a ping of 126 bytes", frame(0x89, &[0; 126], true), 1002),
        ("an unknown opcode", frame(0x83, b"x", true), 1002),
        ("a reserved bit", frame(0xc1, b"x", true), 1002),
        ("a continuation of nothing", frame(0x80, b"x", true), 1002),
        (
            "text that isn't UTF-8",
            frame(TEXT, &[0xc3, 0x28], true),
            1007,
        ),
        ("fragments without end", never_ending, 1009),
    ] {
        let mut stream = raw(node.address).await;
        let _ = stream.write_all(&bytes).await;
        assert_eq!(close_code(&mut stream).await, code, "{name}");
    }
    node.stop().await;
}

#[tokio::test]
async fn pings_between_fragments_are_answered() {
    let (node, ann, _) = world().await;
    let mut stream = raw(node.address).await;
    let text = format!(r#"{{"identify": {{"token": "{}"}}}}"#, ann.token);
    let (head, tail) = text.as_bytes().split_at(10);
    let mut bytes = frame(0x01, head, true);
    bytes.extend(frame(0x89, b"here", true));
    bytes.extend(frame(0x80, tail, true));
    stream.write_all(&bytes).await.expect("writes");
    let mut read = Vec::new();
    let has = |read: &[u8], what: &[u8]| read.windows(what.len()).any(|w| w == what);
    while !has(&read, b"\"ready\"") {
        let more = tokio::time::timeout(PATIENCE, stream.read_buf(&mut read));
        assert!(more.await.expect("in time").expect("reads") > 0, "it ended");
    }
    assert!(has(&read, b"\x8a\x04here"), "a pong with the ping's bytes");
    node.stop().await;
}
