//! Clients that don't read.

use super::identify;
use crate::support::{PATIENCE, Stream, TestNode};
use crate::world::{User, channel_topic};
use bytes::{BufMut as _, Bytes, BytesMut};
use chirm_proto::v1::{self, event, server_frame::Frame};
use prost::Message as _;
use tokio::net::TcpStream;

/// What a reader has of a channel.
#[derive(Default)]
struct Got {
    position: v1::Position,
    ids: Vec<i64>,
}

impl Got {
    /// Takes an event of the channel, which must be the next one.
    fn take(&mut self, channel: i64, frame: Frame) {
        let Frame::Event(event) = frame else { return };
        if event.topic != Some(channel_topic(channel)) {
            return;
        }
        let at = event.position.expect("a position");
        let before = self.position.seq;
        assert!(self.ids.is_empty() || at.seq == before + 1, "{at:?}");
        self.position = at;
        if let Some(event::Event::MessageCreated(created)) = event.event {
            self.ids.push(created.message.expect("a message").id);
        }
    }
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_loses_nothing_by_it() {
    let node = TestNode::start(&[
        ("limits.enabled", "false"),
        ("limits.outbound_queue_events", "16"),
        ("limits.ring_bytes", "4194304"),
    ])
    .await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let mut slow = Stream::open(node.narrow_channel().await).await;
    slow.identify(identify(&ann.token)).await;
    slow.ready().await;
    // More than its window and every buffer on the way hold.
    let body = "x".repeat(4_000);
    let mut sent = Vec::new();
    for _ in 0..400 {
        sent.push(ann.send(channel, &body).await.id);
    }
    let mut got = Got::default();
    let mut closing = None;
    while let Some(frame) = slow.next().await {
        match frame {
            Frame::Closing(last) => closing = Some(last),
            frame => got.take(channel, frame),
        }
    }
    assert_eq!(closing.expect("closed").reason, "SLOW_CONSUMER");
    assert!(got.ids.len() < sent.len());
    // It comes back with what it holds, and gets the rest.
    let held = v1::TopicPosition {
        topic: Some(channel_topic(channel)),
        position: Some(got.position),
    };
    let (_, frames) = ann.connect(vec![held]).await;
    for frame in frames {
        got.take(channel, frame);
    }
    assert_eq!(got.ids, sent);
    node.stop().await;
}

/// A client that takes nothing of any answer, though it answers pings.
async fn closed_window(node: &TestNode) -> h2::client::SendRequest<Bytes> {
    let socket = TcpStream::connect(node.address).await.expect("connects");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let (client, connection) = builder.handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

/// Calls a gRPC method; `message` is its one message, and without it the request stays open. The
/// request's end is what keeps it open.
async fn call(
    client: &h2::client::SendRequest<Bytes>,
    path: &str,
    token: &str,
    message: Option<Vec<u8>>,
) -> (h2::RecvStream, h2::SendStream<Bytes>) {
    let request = http::Request::post(format!("http://chirm{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .expect("a request");
    let mut client = client.clone().ready().await.expect("ready");
    let (answer, mut body) = client.send_request(request, false).expect("sent");
    if let Some(message) = message {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).expect("small"));
        framed.put_slice(&message);
        body.send_data(framed.freeze(), true).expect("sent");
    }
    let answer = answer.await.expect("the head comes without a window");
    assert_eq!(answer.status(), 200);
    (answer.into_body(), body)
}

async fn reset(mut answer: h2::RecvStream) -> Option<h2::Reason> {
    let end = tokio::time::timeout(PATIENCE, answer.data()).await;
    let end = end.expect("it doesn't last").expect("not a clean end");
    end.expect_err("no window for data").reason()
}

#[tokio::test]
async fn unread_answers_and_goodbyes_are_given_up() {
    let node = TestNode::start(&[
        ("net.answer_timeout_ms", "200"),
        ("gateway.identify_deadline_ms", "50"),
        ("limits.requests_per_connection", "2"),
    ])
    .await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    ann.send(channel, "hello").await;
    let client = closed_window(&node).await;
    // The server closes these, and its last frame is not taken.
    for path in chirm_server::rpc::gateway::STREAMS {
        let (answer, _open) = call(&client, path, "", None).await;
        assert_eq!(reset(answer).await, Some(h2::Reason::CANCEL), "{path}");
    }
    let request = v1::ListMessagesRequest {
        channel_id: channel,
        ..Default::default()
    };
    let mut pages = Vec::new();
    // More than are answered at once: the later ones find the places of the first.
    for _ in 0..5 {
        let path = "/chirm.v1.MessageService/ListMessages";
        pages.push(call(&client, path, &ann.token, Some(request.encode_to_vec())).await);
    }
    for (page, _) in pages {
        assert_eq!(reset(page).await, Some(h2::Reason::CANCEL));
    }
    node.stop().await;
}
