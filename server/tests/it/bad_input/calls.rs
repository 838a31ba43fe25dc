//! Calls that no service is asked: they can't be decoded, are too large, or there is no such
//! method. The same answer over gRPC and REST.

use super::{send, world};
use crate::support::{PATIENCE, Raw, TestNode, reason};
use crate::world::{User, with_token};
use bytes::Bytes;
use chirm_server::rpc::status::Failure;
use http::uri::PathAndQuery;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Status;

const SEND: &str = "/chirm.v1.MessageService/SendMessage";

/// Calls a method with these messages, as they are; it has to be refused.
pub(super) async fn refused(
    node: &TestNode,
    path: &'static str,
    token: &str,
    messages: Vec<Bytes>,
) -> Status {
    let mut grpc = tonic::client::Grpc::new(node.channel().await);
    grpc.ready().await.expect("ready");
    let request = with_token(token, tokio_stream::iter(messages));
    let path = PathAndQuery::from_static(path);
    let answer = grpc.client_streaming(request, path, Raw::<()>::default());
    answer.await.expect_err("refused")
}

/// A call over REST; its HTTP status and JSON.
pub(crate) async fn rest(user: &User, node: &TestNode, call: &str, body: &str) -> (u16, Value) {
    let token = &user.token;
    let length = body.len();
    let request = format!(
        "{call} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    plain(node, &request).await
}

async fn plain(node: &TestNode, request: &str) -> (u16, Value) {
    let socket = tokio::net::TcpStream::connect(node.address).await;
    let (mut reader, mut writer) = socket.expect("connects").into_split();
    let bytes = request.to_owned();
    // Beside the reading: the answer may come before all was written. The socket stays whole.
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(bytes.as_bytes()).await;
        writer
    });
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)).await;
    read.expect("an end").expect("an answer");
    drop(writing.await);
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let json = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
    (status.expect("a status"), json)
}

fn reason_of(error: &Value) -> &Value {
    &error["error"]["details"][0]["reason"]
}

#[tokio::test]
async fn what_cannot_be_decoded_says_so() {
    let (node, ann, channel) = world().await;
    let sound = Bytes::from(send(channel, "x").encode_to_vec());
    // Field 2, content: two bytes that are no UTF-8.
    let bad_utf8 = Bytes::from_static(&[0x12, 2, 0xc3, 0x28]);
    let cases: [(&str, Vec<Bytes>); 4] = [
        ("garbage", vec![Bytes::from_static(&[0xff; 40])]),
        ("invalid UTF-8", vec![bad_utf8]),
        ("cut short", vec![sound.slice(..sound.len() - 1)]),
        ("no message", vec![]),
    ];
    for (name, messages) in cases {
        let status = refused(&node, SEND, &ann.token, messages).await;
        let failure = Failure::from_status(&status);
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{name}");
        assert_eq!(failure.reason, "MALFORMED", "{name}");
        assert!(!failure.message.is_empty(), "{name}");
    }
    node.stop().await;
}

#[tokio::test]
async fn what_is_too_large_says_how_large() {
    let (node, ann, channel) = world().await;
    let large: Bytes = send(channel, &"x".repeat(65 << 10)).encode_to_vec().into();
    let status = refused(&node, SEND, &ann.token, vec![large.clone()]).await;
    let failure = Failure::from_status(&status);
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(failure.reason, "REQUEST_TOO_LARGE");
    let size = large.len().to_string();
    let metadata = [("limit", "65536"), ("size", &size)];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(failure.metadata, metadata.into());

    let path = format!("POST /v1/channels/{channel}/messages");
    let body = json!({ "content": "x".repeat(65 << 10) }).to_string();
    let (status, error) = rest(&ann, &node, &path, &body).await;
    assert_eq!(
        (status, reason_of(&error)),
        (413, &json!("REQUEST_TOO_LARGE"))
    );

    // As JSON it fits: -1 has two characters there, and ten bytes in protobuf.
    let body = json!({ "type": "CHANNEL_TYPE_DIRECT", "memberIds": vec![-1; 9_000] });
    let body = body.to_string();
    assert!(body.len() < 64 << 10);
    let (status, error) = rest(&ann, &node, "POST /v1/channels", &body).await;
    assert_eq!(
        (status, reason_of(&error)),
        (413, &json!("REQUEST_TOO_LARGE"))
    );
    node.stop().await;
}

#[tokio::test]
async fn the_limit_is_the_one_that_is_set() {
    let node = TestNode::start(&[("limits.request_bytes_max", "2000")]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let path = format!("POST /v1/channels/{channel}/messages");
    for (chars, fits) in [(1_900, true), (2_001, false)] {
        let text = "x".repeat(chars);
        let sent = ann.try_send(send(channel, &text)).await;
        assert_eq!(sent.is_ok(), fits, "{chars}");
        let (status, _) = rest(&ann, &node, &path, &json!({ "content": text }).to_string()).await;
        assert_eq!(status, if fits { 200 } else { 413 }, "{chars}");
    }
    node.stop().await;
}

#[tokio::test]
async fn what_is_not_there_yet_is_told_from_what_never_was() {
    let (node, ann, _) = world().await;
    for path in [
        "/chirm.v1.PresenceService/Nothing",
        "/chirm.v1.ReadStateService/Nothing",
        "/chirm.v1.MessageService/Nothing",
        "/chirm.v1.GatewayService/Nothing",
        "/chirm.v1.NothingService/Nothing",
    ] {
        let status = refused(&node, path, &ann.token, vec![Bytes::new()]).await;
        assert_eq!(status.code(), tonic::Code::Unimplemented, "{path}");
        assert_eq!(reason(&status), "NOT_IMPLEMENTED", "{path}");
    }
    for (call, expected, reason) in [
        ("GET /v1/read-states/7", 405, "METHOD_NOT_ALLOWED"),
        ("GET /v1/nothing", 404, "PATH_NOT_FOUND"),
    ] {
        let (status, error) = rest(&ann, &node, call, "").await;
        assert_eq!(
            (status, reason_of(&error)),
            (expected, &json!(reason)),
            "{call}"
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn grpc_in_another_form_is_refused_in_words() {
    let (node, _, _) = world().await;
    let requests = [
        (
            "POST",
            "application/grpc-web+json",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            "POST",
            "application/grpc+json",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("PUT", "application/grpc", 405, "METHOD_NOT_ALLOWED"),
    ];
    for (method, kind, expected, reason) in requests {
        for path in [SEND, chirm_server::rpc::gateway::SESSION] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 content-type: {kind}\r\ncontent-length: 0\r\n\r\n"
            );
            let (status, error) = plain(&node, &request).await;
            assert_eq!(
                (status, reason_of(&error)),
                (expected, &json!(reason)),
                "{kind}"
            );
        }
    }
    node.stop().await;
}
