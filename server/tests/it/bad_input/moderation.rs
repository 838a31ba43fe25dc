//! What moderators and their members can get wrong.

use super::calls::{refused, rest};
use crate::support::TestNode;
use crate::world::User;
use bytes::Bytes;
use chirm_proto::v1;
use chirm_server::rpc::status::Failure;
use prost::Message;
use serde_json::json;
use tonic::Code;

const SERVICE: [&str; 5] = [
    "/chirm.v1.ModerationService/ListAuditLog",
    "/chirm.v1.ModerationService/TimeOutMember",
    "/chirm.v1.ModerationService/BulkDeleteMessages",
    "/chirm.v1.ModerationService/ReportMessage",
    "/chirm.v1.ModerationService/ResolveReport",
];

fn encoded(message: impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// A call that is refused, and the field that is named.
type Wrong = (&'static str, Bytes, &'static str);

fn bulk_deletes(server_id: i64, channel_id: i64) -> Vec<Wrong> {
    let mut calls = Vec::new();
    let mut bulk = |field, change: &dyn Fn(&mut v1::BulkDeleteMessagesRequest)| {
        let mut request = v1::BulkDeleteMessagesRequest {
            server_id,
            channel_id,
            ..Default::default()
        };
        change(&mut request);
        calls.push((SERVICE[2], encoded(request), field));
    };
    bulk("message_ids", &|_| {});
    bulk("message_ids", &|r| r.message_ids = vec![5; 101]);
    bulk("channel_id", &|r| {
        r.channel_id = 0;
        r.message_ids = vec![5];
    });
    bulk("since", &|r| r.author_id = 5);
    bulk("since", &|r| {
        r.author_id = 5;
        r.since = at(5);
    });
    bulk("since", &|r| {
        r.author_id = 5;
        r.since = at(i64::MIN);
    });
    bulk("since", &|r| {
        r.message_ids = vec![5];
        r.since = at(5);
    });
    bulk("author_id", &|r| {
        r.author_id = -5;
        r.since = at(5);
    });
    bulk("message_ids", &|r| {
        r.author_id = 5;
        r.message_ids = vec![5];
    });
    bulk("reason", &|r| {
        r.message_ids = vec![5];
        r.reason = "é".repeat(513);
    });
    calls
}

fn of_members(server_id: i64, user_id: i64) -> Vec<Wrong> {
    let mut calls = Vec::new();
    for (field, until, reason) in [
        ("until", at(5), 0),
        ("until", at(0), 0),
        ("until", at(-1), 0),
        ("until", at(i64::MAX), 0),
        ("until", at(253_402_300_799), 0),
        ("reason", None, 513),
    ] {
        let request = v1::TimeOutMemberRequest {
            server_id,
            user_id,
            until,
            reason: "é".repeat(reason),
        };
        calls.push((SERVICE[1], encoded(request), field));
    }
    for delete_message_seconds in [-1, 604_801, i32::MAX] {
        let request = v1::BanUserRequest {
            server_id,
            user_id,
            delete_message_seconds,
            ..Default::default()
        };
        let path = "/chirm.v1.ServerService/BanUser";
        calls.push((path, encoded(request), "delete_message_seconds"));
    }
    let kick = v1::KickMemberRequest {
        server_id,
        user_id,
        reason: "é".repeat(513),
    };
    let path = "/chirm.v1.ServerService/KickMember";
    calls.push((path, encoded(kick), "reason"));
    for (field, action, page_size, page_token) in [
        ("action", 18, 0, ""),
        ("action", -1, 0, ""),
        ("page_size", 0, 1_001, ""),
        ("page_size", 0, -1, ""),
        ("page_token", 0, 0, "x"),
    ] {
        let request = v1::ListAuditLogRequest {
            server_id,
            action,
            page_size,
            page_token: page_token.to_owned(),
            actor_id: 0,
        };
        calls.push((SERVICE[0], encoded(request), field));
    }
    calls
}

fn of_reports(server_id: i64, channel_id: i64) -> Vec<Wrong> {
    let mut calls = Vec::new();
    for reason in [0, 1_025] {
        let request = v1::ReportMessageRequest {
            server_id,
            channel_id,
            message_id: 5,
            reason: "é".repeat(reason),
        };
        calls.push((SERVICE[3], encoded(request), "reason"));
    }
    for (field, state, note) in [
        ("state", 0, 0),
        ("state", 1, 0),
        ("state", 4, 0),
        ("note", 2, 513),
    ] {
        let request = v1::ResolveReportRequest {
            server_id,
            report_id: 5,
            state,
            note: "é".repeat(note),
        };
        calls.push((SERVICE[4], encoded(request), field));
    }
    let list = v1::ListReportsRequest {
        server_id,
        state: 4,
        ..Default::default()
    };
    let path = "/chirm.v1.ModerationService/ListReports";
    calls.push((path, encoded(list), "state"));
    calls
}

#[tokio::test]
async fn what_moderators_get_wrong_is_named() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let bob = User::mint(&node, "bob").await;
    let (server, channel) = ann.create_server("s").await;
    bob.join(server).await;
    let mut calls = bulk_deletes(server, channel);
    calls.extend(of_members(server, bob.id));
    calls.extend(of_reports(server, channel));
    for (path, request, field) in calls {
        let status = refused(&node, path, &ann.token, vec![request]).await;
        let failure = Failure::from_status(&status);
        assert_eq!(status.code(), Code::InvalidArgument, "{path} {field}");
        assert_eq!(failure.reason, "FIELD_INVALID", "{path} {field}");
        let named = failure.violations.first().map(|wrong| wrong.field.as_str());
        assert_eq!(named, Some(field), "{path}: {failure:?}");
    }
    for slow_mode_seconds in [-1, 21_601] {
        let path = format!("PATCH /v1/channels/{channel}");
        let body = json!({ "channel": { "slowModeSeconds": slow_mode_seconds } });
        let (status, error) = rest(&ann, &node, &path, &body.to_string()).await;
        assert_eq!(status, 400, "{error}");
        let field = &error["error"]["details"][1]["fieldViolations"][0]["field"];
        assert_eq!(field, "channel.slow_mode_seconds", "{error}");
    }
    node.stop().await;
}

#[tokio::test]
async fn what_one_does_not_see_is_absent_to_moderators_too() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let bob = User::mint(&node, "bob").await;
    let (server, _) = ann.create_server("s").await;
    let requests = |server_id| {
        let bulk = v1::BulkDeleteMessagesRequest {
            server_id,
            channel_id: 5,
            message_ids: vec![5],
            ..Default::default()
        };
        let report = v1::ReportMessageRequest {
            server_id,
            channel_id: 5,
            message_id: 5,
            reason: "x".to_owned(),
        };
        let resolve = v1::ResolveReportRequest {
            server_id,
            report_id: 5,
            state: 2,
            note: String::new(),
        };
        let log = v1::ListAuditLogRequest {
            server_id,
            ..Default::default()
        };
        let time_out = v1::TimeOutMemberRequest {
            server_id,
            user_id: 5,
            ..Default::default()
        };
        [
            encoded(log),
            encoded(time_out),
            encoded(bulk),
            encoded(report),
            encoded(resolve),
        ]
    };
    for server in [server, 5, -5] {
        for (path, request) in SERVICE.into_iter().zip(requests(server)) {
            let status = refused(&node, path, &bob.token, vec![request]).await;
            assert_eq!(status.code(), Code::NotFound, "{path} {server}");
        }
    }
    node.stop().await;
}
