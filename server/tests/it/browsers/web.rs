//! gRPC-Web's `Listen`, and bad input by it.

use crate::bad_input::{bad_listens, identify, world};
use crate::support::{PATIENCE, TestNode};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use chirm_proto::{v1, v1::server_frame::Frame};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;

/// What a part of the answer is, by its first byte.
const TRAILERS: u8 = 0x80;

/// A `Listen` by gRPC-Web, as a browser's fetch reads it.
pub(super) struct Web {
    body: hyper::body::Incoming,
    read: BytesMut,
}

/// A message as it goes over the wire.
fn prefixed(message: &[u8]) -> Bytes {
    let mut wire = BytesMut::new();
    wire.put_u8(0);
    wire.put_u32(message.len() as u32);
    wire.put_slice(message);
    wire.freeze()
}

impl Web {
    /// Begins one with these bytes as the request's body.
    async fn open(node: &TestNode, body: Bytes) -> Self {
        let request = http::Request::post(format!("{}/chirm.v1.GatewayService/Listen", node.url()))
            .header("content-type", "application/grpc-web+proto")
            .header("x-grpc-web", "1")
            .body(Full::new(body))
            .expect("a request");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.expect("an answer");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/grpc-web+proto");
        Self {
            body: response.into_body(),
            read: BytesMut::new(),
        }
    }

    /// Begins one, and reads to `Ready`.
    pub(super) async fn signed_in(node: &TestNode, token: &str) -> Self {
        let identify = identify(token).encode_to_vec();
        let mut web = Self::open(node, prefixed(&identify)).await;
        while !matches!(web.next().await, Frame::Ready(_)) {}
        web
    }

    /// The next frame, which must come.
    pub(super) async fn next(&mut self) -> Frame {
        let (kind, part) = self.part().await.expect("goes on");
        assert_eq!(kind, 0, "no trailers yet");
        let frame = v1::ServerFrame::decode(part).expect("a frame");
        frame.frame.expect("a known frame")
    }

    /// The next part: a frame, or the trailers. None: the body ended.
    async fn part(&mut self) -> Option<(u8, Bytes)> {
        loop {
            if let Some(mut head) = self.read.get(..5) {
                let (kind, length) = (head.get_u8(), head.get_u32() as usize);
                if self.read.len() >= 5 + length {
                    let part = self.read.split_to(5 + length).freeze();
                    return Some((kind, part.slice(5..)));
                }
            }
            let data = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let data = data.expect("in time")?.expect("whole");
            self.read.put(data.into_data().expect("data"));
        }
    }

    /// Reads to the end: the reason of the last frame, if it was `Closing`, and the trailers.
    async fn end(&mut self) -> (Option<String>, String) {
        let mut reason = None;
        while let Some((kind, part)) = self.part().await {
            if kind == TRAILERS {
                let text = String::from_utf8(part.to_vec()).expect("UTF-8");
                assert!(self.part().await.is_none(), "trailers come last");
                return (reason, text);
            }
            let frame = v1::ServerFrame::decode(part).expect("a frame").frame;
            reason = match frame {
                Some(Frame::Closing(closing)) => Some(closing.reason),
                _ => None,
            };
        }
        panic!("it ended without trailers");
    }
}

#[tokio::test]
async fn bad_first_messages_end_a_listener_as_they_end_a_stream() {
    let (node, ann, _) = world().await;
    for (name, bytes, expected) in bad_listens(&ann.token) {
        let mut web = Web::open(&node, prefixed(&bytes)).await;
        let (reason, trailers) = web.end().await;
        assert_eq!(reason.as_deref(), Some(expected), "{name}: {trailers}");
    }
    node.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_grpc_web_are_ended_in_words() {
    let (node, ann, channel) = world().await;
    let whole = prefixed(&identify(&ann.token).encode_to_vec());
    let compressed = {
        let mut bytes = BytesMut::from(&whole[..]);
        bytes[0] = 1;
        bytes.freeze()
    };
    let cut = whole.slice(..whole.len() - 3);
    let endless = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    for (name, body) in [
        ("nothing", Bytes::new()),
        ("half a prefix", whole.slice(..3)),
        ("a message that is cut", cut),
        ("a message of 4 GiB", endless),
        ("a compressed message", compressed),
        ("a prefix of no kind", Bytes::from_static(&[9, 0, 0, 0, 0])),
    ] {
        let (reason, trailers) = Web::open(&node, body).await.end().await;
        assert_ne!(trailers.trim(), "grpc-status:0", "{name}");
        assert!(
            reason.is_some() || trailers.contains("grpc-message"),
            "{name}: {trailers}"
        );
    }
    // Nobody else is disturbed.
    ann.send(channel, "still here").await;
    node.stop().await;
}
