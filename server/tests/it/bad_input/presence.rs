//! Statuses, reads of presence and bulk calls that can't be; and a status that comes too often.

use super::world;
use crate::support::{TestNode, reason};
use crate::world::{User, with_token};
use chirm_proto::v1::presence_service_client::PresenceServiceClient;
use chirm_proto::v1::{self, PresenceStatus, client_frame, result::Result as Answer};
use chirm_server::rpc::status::Failure;
use std::collections::BTreeMap;
use tonic::{Code, Status};

fn set(status: i32, text: &str) -> v1::SetPresenceRequest {
    v1::SetPresenceRequest {
        status,
        text: Some(text.to_owned()),
    }
}

fn wrong(status: &Status) -> (String, String) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let failure = Failure::from_status(status);
    let wrong = &failure.violations[0];
    (wrong.field.clone(), wrong.description.clone())
}

#[tokio::test]
async fn a_status_that_cannot_be_set_is_named_on_every_path() {
    let (node, ann, _) = world().await;
    let mut client = PresenceServiceClient::new(node.channel().await);
    let online = PresenceStatus::Online as i32;
    let none = client
        .set_presence(ann.request(set(online, "")))
        .await
        .unwrap_err();
    assert_eq!(
        (none.code(), &*reason(&none)),
        (Code::FailedPrecondition, "NOT_CONNECTED")
    );
    let (mut stream, _) = ann.connect(vec![]).await;
    for (call_id, (status, text, field, says)) in [
        (PresenceStatus::Offline as i32, "", "status", "OFFLINE"),
        (99, "", "status", "99"),
        (online, &*"x".repeat(129), "text", "129 characters"),
        (online, "a\u{202e}b", "text", "U+202E"),
    ]
    .into_iter()
    .enumerate()
    {
        let by_call = client.set_presence(ann.request(set(status, text))).await;
        let (named, described) = wrong(&by_call.unwrap_err());
        assert_eq!(named, field);
        assert!(described.contains(says), "{described}");
        let call_id = call_id as u32 + 1;
        let frame = client_frame::Frame::SetPresence(set(status, text));
        stream.call(call_id, frame).await;
        let Answer::Error(error) = stream.result(call_id).await else {
            panic!("taken")
        };
        assert_eq!(Failure::from_proto(&error).violations[0].field, field);
    }
    for ids in [vec![], vec![7; 101]] {
        let size = ids.len();
        let request = ann.request(v1::BatchGetPresenceRequest { user_ids: ids });
        let refused = client.batch_get_presence(request).await.unwrap_err();
        let (field, described) = wrong(&refused);
        assert_eq!(field, "user_ids");
        assert!(
            described.starts_with(&format!("{size} ids; 1 to 100")),
            "{described}"
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn a_status_set_far_too_often_is_limited_and_the_last_one_wins() {
    let node = TestNode::start(&[("limits.client_frames_per_minute", "600")]).await;
    let ann = User::mint(&node, "ann").await;
    let (mut stream, _) = ann.connect(vec![]).await;
    // Beyond what a stream may do in a minute, within what closes it.
    for call_id in 1..=700 {
        let statuses = [PresenceStatus::Idle, PresenceStatus::Online];
        let frame = set(statuses[call_id as usize % 2] as i32, "");
        stream
            .call(call_id, client_frame::Frame::SetPresence(frame))
            .await;
        assert!(matches!(
            stream.result(call_id).await,
            Answer::SetPresence(_)
        ));
    }
    let last = set(PresenceStatus::DoNotDisturb as i32, "last");
    stream
        .call(701, client_frame::Frame::SetPresence(last))
        .await;
    assert!(matches!(stream.result(701).await, Answer::SetPresence(_)));
    let mut client = PresenceServiceClient::new(node.channel().await);
    loop {
        let request = ann.request(v1::BatchGetPresenceRequest {
            user_ids: vec![ann.id],
        });
        let got = client.batch_get_presence(request).await.expect("read");
        let presence = got.into_inner().presences.remove(0);
        if presence.text == "last" {
            assert_eq!(presence.status(), PresenceStatus::DoNotDisturb);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn bulk_calls_are_for_services_and_bounded() {
    let (node, ann, _) = world().await;
    let (server_id, _) = ann.create_server("another").await;
    let member = |id: &str| v1::NewMember {
        subject: Some(v1::new_member::Subject::ExternalId(id.to_owned())),
        display_name: String::new(),
    };
    let request = |members: Vec<v1::NewMember>| v1::BatchAddMembersRequest { server_id, members };
    let mut servers = ann.servers();
    let denied = servers.batch_add_members(ann.request(request(vec![member("a")])));
    assert_eq!(reason(&denied.await.unwrap_err()), "KEY_REQUIRED");
    let long = "x".repeat(129);
    let nobody = v1::NewMember::default();
    for (members, field, says) in [
        (vec![], "members", "0 given; 1 to 500"),
        (vec![member("a"); 501], "members", "501 given"),
        (
            vec![member("a"), member(&long)],
            "members[1].external_id",
            "129",
        ),
        (vec![nobody], "members[0].subject", "missing"),
    ] {
        let request = with_token(&node.key, request(members));
        let refused = ann.servers().batch_add_members(request).await.unwrap_err();
        let (named, described) = wrong(&refused);
        assert_eq!(named, field);
        assert!(described.contains(says), "{described}");
    }
    let absent = v1::BatchAddMembersRequest {
        server_id: 7,
        members: vec![member("a")],
    };
    let absent = servers.batch_add_members(with_token(&node.key, absent));
    assert_eq!(absent.await.unwrap_err().code(), Code::NotFound);
    node.stop().await;
}

#[tokio::test]
async fn member_lists_of_others_and_odd_ranges() {
    let (node, ann, _) = world().await;
    let eve = User::mint(&node, "eve").await;
    let (server_id, _) = ann.create_server("hers").await;
    let (mut stream, _) = eve.connect(vec![]).await;
    let view = |ranges: Vec<v1::MemberRange>| v1::View {
        member_lists: vec![v1::MemberListView { server_id, ranges }],
        ..v1::View::default()
    };
    let range = |start, count| v1::MemberRange { start, count };
    let all = vec![
        range(0, 100),
        range(50, 100),
        range(i32::MAX, 100),
        range(0, 100),
    ];
    stream
        .send(client_frame::Frame::View(view(all.clone())))
        .await;
    // Two ticks and some more: nothing of a server that she may not see.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    stream
        .send(client_frame::Frame::Heartbeat(v1::Heartbeat {}))
        .await;
    stream
        .until(|frame| match frame {
            v1::server_frame::Frame::MemberListChanged(list) => panic!("told: {list:?}"),
            v1::server_frame::Frame::HeartbeatAck(_) => Some(()),
            _ => None,
        })
        .await;
    let (mut own, _) = ann.connect(vec![]).await;
    own.send(client_frame::Frame::View(view(all))).await;
    // A range may come more than once: the list is read anew if it changed while it was read.
    let mut seen = BTreeMap::new();
    while seen.len() < 3 {
        let list = own.until(|frame| match frame {
            v1::server_frame::Frame::MemberListChanged(list) => Some(list.clone()),
            _ => None,
        });
        let list = list.await;
        let range = list.range.expect("a range");
        let first = list.ops[0].items.len();
        seen.entry(range.start).or_insert(first);
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [(0, 2), (50, 0), (i32::MAX, 0)],
        "overlapping, and beyond the end"
    );
    own.send(client_frame::Frame::View(view(vec![range(5, -5)])))
        .await;
    assert_eq!(own.closing().await.reason, "FIELD_INVALID");
    node.stop().await;
}

#[tokio::test]
async fn of_ten_thousand_views_the_last_one_counts() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let (server_id, channel) = ann.create_server("s").await;
    let (mut stream, _) = ann.connect(vec![]).await;
    let view = |start: i32| {
        let ranges = (0..5).map(|n| v1::MemberRange {
            start: start + n,
            count: 100,
        });
        v1::View {
            channels: vec![v1::ViewedChannel {
                channel_id: channel,
                position: None,
            }],
            member_lists: vec![v1::MemberListView {
                server_id,
                ranges: ranges.collect(),
            }],
            users: vec![ann.id; 100],
        }
    };
    for n in 0..10_000 {
        let frame = client_frame::Frame::View(view(1 + n % 1_000));
        stream.send(frame).await;
    }
    stream.send(client_frame::Frame::View(view(0))).await;
    let first = stream.until(|frame| match frame {
        v1::server_frame::Frame::MemberListChanged(list) => {
            let range = list.range.as_ref().expect("a range");
            (range.start == 0).then(|| list.ops[0].items.len())
        }
        _ => None,
    });
    assert_eq!(first.await, 2, "a heading and its one member");
    node.stop().await;
}
