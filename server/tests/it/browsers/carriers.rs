//! Every carrier brings the same.

use super::Socket;
use crate::bad_input::{identify, send, world};
use crate::support::Stream;
use bytes::{BufMut as _, Bytes, BytesMut};
use chirm_proto::v1::{self, client_frame, event::Event as Happened, server_frame::Frame};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;

/// The event of a new message.
fn created(frame: &Frame) -> Option<v1::Event> {
    match frame {
        Frame::Event(event) if matches!(event.event, Some(Happened::MessageCreated(_))) => {
            Some(event.clone())
        }
        _ => None,
    }
}

impl Socket {
    async fn created(&mut self) -> v1::Event {
        loop {
            let frame = self.next().await.expect("goes on");
            if let Some(event) = created(&frame) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn every_carrier_brings_the_same_events() {
    let (node, ann, channel) = world().await;
    let mut grpc = Stream::open(node.channel().await).await;
    grpc.identify(identify(&ann.token)).await;
    grpc.ready().await;
    let mut proto = Socket::signed_in(&node, "chirm.v1.proto", identify(&ann.token)).await;
    let mut json = Socket::signed_in(&node, "chirm.v1.json", identify(&ann.token)).await;
    let mut web = web_listen(&node, &ann.token).await;
    for (index, content) in ["ä → 😀", "<b>\"\\\n</b>", "last"].iter().enumerate() {
        // Each carrier sends, too.
        let frame = client_frame::Frame::SendMessage(send(channel, content));
        match index {
            0 => json.send(frame).await,
            1 => proto.send(frame).await,
            _ => drop(ann.send(channel, content).await),
        }
        let expected = grpc.until(created).await;
        assert_eq!(proto.created().await, expected);
        assert_eq!(json.created().await, expected);
        assert_eq!(web.created().await, expected);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_socket_goes_on_at_its_positions() {
    let (node, ann, channel) = world().await;
    let mut first = Socket::signed_in(&node, "chirm.v1.json", identify(&ann.token)).await;
    ann.send(channel, "seen").await;
    let held = first.created().await;
    drop(first);
    let missed = ann.send(channel, "missed").await;
    let position = v1::TopicPosition {
        topic: held.topic,
        position: held.position,
    };
    let mut second = Socket::open(&node, "chirm.v1.proto").await;
    let identify = v1::Identify {
        positions: vec![position],
        ..identify(&ann.token)
    };
    second.send(client_frame::Frame::Identify(identify)).await;
    let event = second.created().await;
    let seq = |event: &v1::Event| event.position.map(|position| position.seq);
    assert_eq!(seq(&event), seq(&held).map(|seq| seq + 1));
    let Some(Happened::MessageCreated(created)) = event.event else {
        panic!("a message");
    };
    assert_eq!(created.message.map(|m| m.id), Some(missed.id));
    node.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_says_so_to_sockets() {
    let (node, ann, _) = world().await;
    let mut socket = Socket::signed_in(&node, "chirm.v1.proto", identify(&ann.token)).await;
    let stopping = tokio::spawn(node.stop());
    let (closing, code) = socket.closing().await;
    assert_eq!((closing.reason.as_str(), code), ("DRAINING", 4030));
    stopping.await.expect("it stops");
}

/// A `Listen` by gRPC-Web, as a browser's fetch reads it.
struct Web {
    body: hyper::body::Incoming,
    read: BytesMut,
}

async fn web_listen(node: &crate::support::TestNode, token: &str) -> Web {
    let mut message = BytesMut::new();
    let identify = identify(token).encode_to_vec();
    message.put_u8(0);
    message.put_u32(identify.len() as u32);
    message.put_slice(&identify);
    let request = http::Request::post(format!("{}/chirm.v1.GatewayService/Listen", node.url()))
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(Full::new(Bytes::from(message)))
        .expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.expect("an answer");
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/grpc-web+proto");
    let mut web = Web {
        body: response.into_body(),
        read: BytesMut::new(),
    };
    while !matches!(web.next().await, Frame::Ready(_)) {}
    web
}

impl Web {
    async fn next(&mut self) -> Frame {
        loop {
            if self.read.len() >= 5 {
                let length =
                    u32::from_be_bytes([self.read[1], self.read[2], self.read[3], self.read[4]])
                        as usize;
                if self.read.len() >= 5 + length {
                    let frame = self.read.split_to(5 + length);
                    assert_eq!(frame[0], 0, "no trailers yet");
                    let frame = v1::ServerFrame::decode(&frame[5..]).expect("a frame");
                    return frame.frame.expect("a known frame");
                }
            }
            let data = tokio::time::timeout(crate::support::PATIENCE, self.body.frame());
            let data = data
                .await
                .expect("in time")
                .expect("goes on")
                .expect("whole");
            self.read.put(data.into_data().expect("data"));
        }
    }

    async fn created(&mut self) -> v1::Event {
        loop {
            if let Some(event) = created(&self.next().await) {
                return event;
            }
        }
    }
}
