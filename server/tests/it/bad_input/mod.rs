//! Bad input: a clear error each time, and nothing lost.

mod calls;
mod frames;
mod moderation;
mod positions;
mod presence;
mod reactions;
mod readers;
mod reads;
mod sends;
mod tokens;
mod values;

pub(crate) use calls::rest;
pub(crate) use frames::{bad_first_frames, bad_listens};

use crate::support::TestNode;
use crate::world::User;
use bytes::Bytes;
use chirm_proto::v1::{self, client_frame};
use prost::Message as _;

pub(crate) async fn world() -> (TestNode, User, i64) {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    (node, ann, channel)
}

pub(crate) fn send(channel_id: i64, content: &str) -> v1::SendMessageRequest {
    v1::SendMessageRequest {
        channel_id,
        content: content.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn identify(token: &str) -> v1::Identify {
    v1::Identify {
        token: token.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn first(identify: v1::Identify) -> Bytes {
    let frame = Some(client_frame::Frame::Identify(identify));
    v1::ClientFrame { call_id: 0, frame }.encode_to_vec().into()
}

pub(crate) fn heartbeat() -> Bytes {
    let frame = Some(client_frame::Frame::Heartbeat(v1::Heartbeat {}));
    v1::ClientFrame { call_id: 0, frame }.encode_to_vec().into()
}

/// A token that is well-formed, and whose secret isn't the one of its session. Not its last
/// character: that one holds two bits only, so another would often be no base64.
pub(crate) fn wrong_secret(token: &str) -> String {
    let at = token.len() - 20;
    let other = if token.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    let mut wrong = token.to_owned();
    wrong.replace_range(at..=at, other);
    wrong
}
