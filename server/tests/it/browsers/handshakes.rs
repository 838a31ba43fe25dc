//! Requests that become no WebSocket, and pages of other sites.

use crate::support::{PATIENCE, TestNode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const GOOD: &[(&str, &str)] = &[
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-protocol", "chirm.v1.json"),
];

/// The answer to a request whose good headers are replaced or joined by others; an empty value
/// leaves one out.
async fn answer(node: &TestNode, line: &str, changes: &[(&str, &str)]) -> String {
    let mut text = format!("{line} HTTP/1.1\r\nhost: {}\r\n", node.address);
    let kept = GOOD
        .iter()
        .filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    for (name, value) in kept.chain(changes).filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut stream = TcpStream::connect(node.address).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("writes");
    let mut read = Vec::new();
    while !is_whole(&String::from_utf8_lossy(&read)) {
        let more = tokio::time::timeout(PATIENCE, stream.read_buf(&mut read));
        if more.await.expect("an answer").expect("reads") == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&read).to_lowercase()
}

/// Whether the head is there, and as much of a body as it says.
fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| length.parse() == Ok(body.len()))
}

/// A request: its line, what is changed of a good one, the status and words of its answer.
type Handshake<'a> = (
    &'static str,
    Vec<(&'static str, &'a str)>,
    u16,
    &'static str,
);

fn handshakes(own: &str) -> Vec<Handshake<'_>> {
    vec![
        (
            "GET /gateway",
            vec![],
            101,
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        ),
        (
            "GET /gateway",
            vec![("origin", "https://app.test")],
            101,
            "chirm.v1.json",
        ),
        ("GET /gateway", vec![("origin", own)], 101, "chirm.v1.json"),
        (
            "GET /gateway",
            vec![("origin", "https://evil.test")],
            403,
            "origin_refused",
        ),
        (
            "GET /gateway",
            vec![("origin", "null")],
            403,
            "origin_refused",
        ),
        ("GET /gateway?token=secret", vec![], 400, "identify"),
        (
            "GET /gateway",
            vec![("upgrade", "")],
            426,
            "upgrade_required",
        ),
        (
            "GET /gateway",
            vec![("sec-websocket-protocol", "")],
            400,
            "chirm.v1.proto",
        ),
        (
            "GET /gateway",
            vec![("sec-websocket-protocol", "graphql-ws")],
            400,
            "chirm.v1.json",
        ),
        (
            "GET /gateway",
            vec![("sec-websocket-version", "8")],
            400,
            "sec-websocket-version",
        ),
        (
            "GET /gateway",
            vec![("sec-websocket-key", "x")],
            400,
            "sec-websocket-key",
        ),
        ("POST /gateway", vec![], 400, "get"),
    ]
}

#[tokio::test]
async fn what_is_no_handshake_is_refused_in_words() {
    let node = TestNode::start(&[("browsers.allowed_origins", "https://app.test")]).await;
    let own = format!("http://{}", node.address);
    for (line, changes, status, words) in handshakes(&own) {
        let answer = answer(&node, line, &changes).await;
        let expected = format!("http/1.1 {status} ");
        assert!(
            answer.starts_with(&expected),
            "{line} {changes:?}: {answer}"
        );
        assert!(answer.contains(words), "{line} {changes:?}: {answer}");
        assert!(
            !answer.contains("secret"),
            "a token isn't repeated: {answer}"
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_call() {
    let node = TestNode::start(&[("browsers.allowed_origins", "https://app.test")]).await;
    for (origin, may) in [("https://app.test", true), ("https://evil.test", false)] {
        let changes = [
            ("connection", ""),
            ("upgrade", ""),
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization,x-grpc-web"),
        ];
        let asked = answer(&node, "OPTIONS /v1/servers", &changes).await;
        let allowed = asked.contains(&format!("access-control-allow-origin: {origin}"));
        assert_eq!(allowed, may, "{asked}");
        let plain = [("connection", ""), ("upgrade", ""), ("origin", origin)];
        let got = answer(&node, "GET /v1/servers", &plain).await;
        let exposed = got.contains("access-control-expose-headers: grpc-status")
            && got.contains(&format!("access-control-allow-origin: {origin}"));
        assert_eq!(exposed, may, "{got}");
    }
    node.stop().await;
}
