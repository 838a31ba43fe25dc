//! Every carrier brings the same.

use super::Socket;
use super::web::Web;
use crate::bad_input::{identify, send, world};
use crate::support::Stream;
use chirm_proto::v1::{self, client_frame, event::Event as Happened, server_frame::Frame};

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

impl Web {
    async fn created(&mut self) -> v1::Event {
        loop {
            if let Some(event) = created(&self.next().await) {
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
    let mut web = Web::signed_in(&node, &ann.token).await;
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
