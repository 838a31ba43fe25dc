//! Read states and settings that can't be: the same answer over gRPC, REST and on a stream.

use super::calls::{refused, rest};
use super::world;
use crate::world::User;
use bytes::Bytes;
use chirm_proto::v1::{self, client_frame, result::Result as Answer};
use chirm_server::rpc::status::Failure;
use prost::Message;
use serde_json::json;
use tonic::Code;

const ACK: &str = "/chirm.v1.ReadStateService/AckMessage";
const MUTE: &str = "/chirm.v1.ReadStateService/MuteChannel";
const UNREAD: &str = "/chirm.v1.ReadStateService/ListUnread";
const BLOCKS: &str = "/chirm.v1.UserService/ListBlocks";
const LOOKUP: &str = "/chirm.v1.UserService/LookupUser";
const SETTINGS: &str = "/chirm.v1.UserService/UpdateSettings";

fn encoded(message: impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn ack(channel_id: i64, message_id: i64) -> v1::AckMessageRequest {
    v1::AckMessageRequest {
        channel_id,
        message_id,
    }
}

fn mute(channel_id: i64, seconds: i64, nanos: i32) -> Bytes {
    let until = Some(prost_types::Timestamp { seconds, nanos });
    encoded(v1::MuteChannelRequest { channel_id, until })
}

fn lookup(username: String) -> Bytes {
    encoded(v1::LookupUserRequest { username })
}

fn settings(number: i32, path: &str) -> Bytes {
    let settings = Some(v1::UserSettings {
        direct_messages: number,
    });
    let paths = vec![path.to_owned()];
    encoded(v1::UpdateSettingsRequest {
        settings,
        update_mask: Some(prost_types::FieldMask { paths }),
    })
}

#[tokio::test]
async fn what_cannot_be_read_muted_or_set_is_named() {
    let (node, ann, channel) = world().await;
    let newest = ann.send(channel, "x").await.id;
    let unread = |page_size, page_token: &str| v1::ListUnreadRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let blocks = |page_size, page_token: &str| v1::ListBlocksRequest {
        page_size,
        page_token: page_token.to_owned(),
    };
    let calls = [
        (ACK, encoded(ack(channel, 0)), "message_id"),
        (ACK, encoded(ack(channel, -7)), "message_id"),
        (ACK, encoded(ack(channel, newest + 1)), "message_id"),
        (ACK, encoded(ack(channel, i64::MAX)), "message_id"),
        (MUTE, mute(channel, 0, 0), "until"),
        (MUTE, mute(channel, -1, 0), "until"),
        (MUTE, mute(channel, 1_000, 0), "until"),
        (MUTE, mute(channel, i64::MAX, 0), "until"),
        (MUTE, mute(channel, 99_999_999_999, -1), "until"),
        (UNREAD, encoded(unread(-1, "")), "page_size"),
        (UNREAD, encoded(unread(1_001, "")), "page_size"),
        (UNREAD, encoded(unread(0, "nonsense")), "page_token"),
        (BLOCKS, encoded(blocks(1_001, "")), "page_size"),
        (BLOCKS, encoded(blocks(0, "nonsense")), "page_token"),
        (LOOKUP, lookup(String::new()), "username"),
        (LOOKUP, lookup("x".repeat(101)), "username"),
        (LOOKUP, lookup("ab\u{202e}cd".to_owned()), "username"),
        (
            SETTINGS,
            settings(77, "direct_messages"),
            "settings.direct_messages",
        ),
        (
            SETTINGS,
            settings(-1, "direct_messages"),
            "settings.direct_messages",
        ),
        (SETTINGS, settings(1, "colour"), "update_mask"),
    ];
    for (path, request, field) in calls {
        let status = refused(&node, path, &ann.token, vec![request]).await;
        let failure = Failure::from_status(&status);
        assert_eq!(status.code(), Code::InvalidArgument, "{path} {status:?}");
        assert_eq!(failure.reason, "FIELD_INVALID", "{path} {field}");
        assert_eq!(failure.violations[0].field, field, "{path}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_hidden_channel_is_an_absent_one() {
    let (node, ann, channel) = world().await;
    let message = ann.send(channel, "x").await.id;
    let eve = User::mint(&node, "eve").await;
    let absent = i64::MAX;
    for path in [ACK, MUTE] {
        let mut answers = Vec::new();
        for channel in [channel, absent] {
            let request = encoded(ack(channel, message));
            let request = if path == ACK {
                request
            } else {
                mute(channel, 99_999_999_999, 0)
            };
            let status = refused(&node, path, &eve.token, vec![request]).await;
            answers.push((status.code(), status.message().to_owned()));
        }
        assert_eq!(answers[0].0, Code::NotFound, "{path}");
        assert_eq!(answers[0], answers[1], "{path}");
    }
    let (mut stream, _) = eve.connect(vec![]).await;
    for (call, channel) in [(1, channel), (2, absent)] {
        let frame = client_frame::Frame::AckMessage(ack(channel, message));
        stream.call(call, frame).await;
        let Answer::Error(error) = stream.result(call).await else {
            panic!("taken")
        };
        assert_eq!(Failure::from_proto(&error).reason, "NOT_FOUND");
    }
    let path = format!("PUT /v1/read-states/{channel}");
    let body = json!({ "messageId": message.to_string() }).to_string();
    let (status, error) = rest(&eve, &node, &path, &body).await;
    assert_eq!(
        (status, &error["error"]["status"]),
        (404, &json!("NOT_FOUND"))
    );
    node.stop().await;
}
