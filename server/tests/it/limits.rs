//! The limits of docs/protocol.md that count: each is met, and one more is refused with its
//! number. Those of single values are in `bad_input`, those of connections beside `net`.

use crate::bad_input::send;
use crate::support::TestNode;
use crate::world::User;
use chirm_proto::v1::channel_service_client::ChannelServiceClient;
use chirm_proto::v1::{self, client_frame, server_frame::Frame};
use chirm_server::rpc::status::Failure;
use tonic::{Code, Status};

fn is_reached(refused: &Status, limit: &str) {
    let failure = Failure::from_status(refused);
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(failure.reason, "LIMIT_REACHED", "{refused:?}");
    assert!(failure.message.contains(limit), "{refused:?}");
}

#[tokio::test]
async fn a_user_is_in_so_many_servers() {
    let node = TestNode::start(&[("limits.servers_per_user", "2")]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let (open, _) = bob.create_server("bob's").await;
    let (_, _) = (ann.create_server("1").await, ann.create_server("2").await);
    let third = v1::CreateServerRequest {
        name: "3".to_owned(),
        ..Default::default()
    };
    let refused = ann.servers().create_server(ann.request(third)).await;
    is_reached(&refused.unwrap_err(), "2");
    let by = Some(v1::join_server_request::By::ServerId(open));
    let join = ann.request(v1::JoinServerRequest { by });
    is_reached(&ann.servers().join_server(join).await.unwrap_err(), "2");
    node.stop().await;
}

#[tokio::test]
async fn a_server_has_so_many_members_and_channels() {
    let node = TestNode::start(&[
        ("limits.members_per_server", "2"),
        ("limits.channels_per_server", "2"),
    ])
    .await;
    let ann = User::mint(&node, "ann").await;
    // Its first channel is there from the start, and its owner.
    let (server, _) = ann.create_server("s").await;
    let channel = |name: &str| v1::CreateChannelRequest {
        server_id: server,
        r#type: v1::ChannelType::Text.into(),
        name: name.to_owned(),
        ..Default::default()
    };
    let mut channels = ChannelServiceClient::new(node.channel().await);
    let second = channels.create_channel(ann.request(channel("2"))).await;
    second.expect("room for a second");
    let third = channels.create_channel(ann.request(channel("3"))).await;
    is_reached(&third.unwrap_err(), "2");
    User::mint(&node, "bob").await.join(server).await;
    let carl = User::mint(&node, "carl").await;
    let by = Some(v1::join_server_request::By::ServerId(server));
    let join = carl.request(v1::JoinServerRequest { by });
    is_reached(&carl.servers().join_server(join).await.unwrap_err(), "2");
    node.stop().await;
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_streams() {
    let node = TestNode::start(&[("limits.sessions_per_user", "2")]).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(User::mint(&node, "ann").await);
    }
    let list = |user: &User| user.request(v1::ListServersRequest::default());
    let (first, last) = (&sessions[0], &sessions[2]);
    let ended = first.servers().list_servers(list(first)).await;
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    last.servers()
        .list_servers(list(last))
        .await
        .expect("stays");

    let (_one, _) = last.connect(vec![]).await;
    let (_two, _) = last.connect(vec![]).await;
    let mut third = last.raw_stream().await;
    third
        .identify(crate::bad_input::identify(&last.token))
        .await;
    let closing = third.closing().await;
    assert_eq!(
        (closing.code, closing.reason.as_str()),
        (4015, "TOO_MANY_SESSIONS")
    );
    node.stop().await;
}

#[tokio::test]
async fn a_user_sends_so_fast_to_a_channel() {
    let node = TestNode::start(&[("limits.send_window_ms", "3600000")]).await;
    let ann = User::mint(&node, "ann").await;
    let ((_, channel), (_, other)) = (ann.create_server("1").await, ann.create_server("2").await);
    for n in 0..5 {
        ann.send(channel, &n.to_string()).await;
    }
    let refused = ann.try_send(send(channel, "6")).await.unwrap_err();
    let failure = Failure::from_status(&refused);
    assert_eq!(failure.reason, "RATE_LIMITED");
    assert!(failure.retry_after.is_some());
    ann.send(other, "elsewhere").await;
    node.stop().await;
}

#[tokio::test]
async fn a_user_calls_so_fast() {
    let node = TestNode::start(&[("limits.calls_per_minute", "3")]).await;
    let ann = User::mint(&node, "ann").await;
    let mut refused = None;
    for _ in 0..4 {
        let list = ann.request(v1::ListServersRequest::default());
        refused = ann.servers().list_servers(list).await.err();
    }
    let failure = Failure::from_status(&refused.expect("the fourth is too fast"));
    assert_eq!(failure.reason, "RATE_LIMITED");
    assert!(failure.retry_after.is_some());
    node.stop().await;
}

#[tokio::test]
async fn a_view_has_so_many_channels_lists_and_users() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let viewed = |channels: usize, lists: usize, users: usize| v1::View {
        channels: vec![v1::ViewedChannel::default(); channels],
        member_lists: vec![v1::MemberListView::default(); lists],
        users: vec![1; users],
    };
    for view in [viewed(101, 0, 0), viewed(0, 11, 0), viewed(0, 0, 101)] {
        let (mut stream, _) = ann.connect(vec![]).await;
        stream.send(client_frame::Frame::View(view.clone())).await;
        let later = stream.closing().await;
        let mut stream = ann.raw_stream().await;
        let first = v1::Identify {
            view: Some(view),
            ..crate::bad_input::identify(&ann.token)
        };
        stream.identify(first).await;
        for closing in [later, stream.closing().await] {
            assert_eq!(
                (closing.code, closing.reason.as_str()),
                (4006, "FIELD_INVALID")
            );
        }
    }
    let (mut stream, _) = ann.connect(vec![]).await;
    stream
        .send(client_frame::Frame::View(viewed(100, 10, 100)))
        .await;
    stream
        .send(client_frame::Frame::Heartbeat(v1::Heartbeat {}))
        .await;
    stream
        .until(|frame| matches!(frame, Frame::HeartbeatAck(_)).then_some(()))
        .await;
    node.stop().await;
}
