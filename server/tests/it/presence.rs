//! Presence and member lists over real sockets: clients that leave, are killed, and fall silent.

use crate::support::{Stream, TestNode};
use crate::world::{User, with_token};
use chirm_proto::v1::presence_service_client::PresenceServiceClient;
use chirm_proto::v1::{self, PresenceStatus, client_frame, server_frame::Frame};
use prost::Message as _;
use tonic::transport::Channel;

fn watching(user: &User) -> v1::Identify {
    v1::Identify {
        token: user.token.clone(),
        intents: vec![v1::Intent::Presence as i32],
        ..v1::Identify::default()
    }
}

async fn watch(node: &TestNode, user: &User) -> Stream {
    let mut stream = Stream::open(node.channel().await).await;
    stream.identify(watching(user)).await;
    stream.ready().await;
    stream
}

/// Waits until a user is told to be so.
async fn told(stream: &mut Stream, user: i64, status: PresenceStatus) -> v1::Presence {
    stream
        .until(|frame| {
            let Frame::PresenceChanged(changed) = frame else {
                return None;
            };
            let of = changed.presences.iter();
            let mut of = of.filter(|p| p.user_id == user && p.status() == status);
            of.next().cloned()
        })
        .await
}

/// Waits until each of them is told to be so.
async fn all_told(stream: &mut Stream, users: &[i64], status: PresenceStatus) {
    let mut left = users.to_vec();
    stream
        .until(|frame| {
            if let Frame::PresenceChanged(changed) = frame {
                let of = |id| changed.presences.iter().find(|p| p.user_id == id);
                left.retain(|id| of(*id).is_none_or(|p| p.status() != status));
            }
            left.is_empty().then_some(())
        })
        .await;
}

async fn presences(node: &TestNode, user: &User, user_ids: Vec<i64>) -> Vec<v1::Presence> {
    let mut client: PresenceServiceClient<Channel> =
        PresenceServiceClient::new(node.channel().await);
    let request = user.request(v1::BatchGetPresenceRequest { user_ids });
    let got = client.batch_get_presence(request).await.expect("read");
    got.into_inner().presences
}

#[tokio::test]
async fn who_is_killed_or_falls_silent_is_gone_after_the_grace() {
    let node = TestNode::start(&[
        ("gateway.grace_ms", "1000"),
        ("gateway.heartbeat_ms", "1000"),
        ("gateway.deadline_ms", "3000"),
    ])
    .await;
    let ann = User::mint(&node, "ann").await;
    let (server, _) = ann.create_server("s").await;
    let (killed, silent) = (
        User::mint(&node, "killed").await,
        User::mint(&node, "silent").await,
    );
    killed.join(server).await;
    silent.join(server).await;
    // It can't send heartbeats, so none are missed.
    let mut watcher = Stream::listen(node.channel().await).await;
    watcher.send_bytes(watching(&ann).encode_to_vec()).await;
    watcher.ready().await;
    let first = watch(&node, &killed).await;
    let second = watch(&node, &silent).await;
    let both = [killed.id, silent.id];
    all_told(&mut watcher, &both, PresenceStatus::Online).await;
    let all = presences(&node, &ann, vec![killed.id, silent.id, ann.id]).await;
    assert!(all.iter().all(|p| p.status() == PresenceStatus::Online));
    assert!(all.iter().all(|p| p.last_active_at.is_some()));
    // Its socket closes without a goodbye; the other one's stays open, and nothing comes.
    drop(first);
    all_told(&mut watcher, &both, PresenceStatus::Offline).await;
    drop(second);
    let left = presences(&node, &ann, vec![killed.id, silent.id]).await;
    assert!(left.iter().all(|p| p.status() == PresenceStatus::Offline));
    node.stop().await;
}

#[tokio::test]
async fn a_status_is_set_on_the_stream_and_by_a_call() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let bob = User::mint(&node, "bob").await;
    let eve = User::mint(&node, "eve").await;
    let (server, _) = ann.create_server("s").await;
    bob.join(server).await;
    let mut watcher = watch(&node, &ann).await;
    let mut stream = watch(&node, &bob).await;
    let set = |status: PresenceStatus, text: &str| v1::SetPresenceRequest {
        status: status as i32,
        text: Some(text.to_owned()),
    };
    let busy = set(PresenceStatus::DoNotDisturb, "at work");
    stream.call(1, client_frame::Frame::SetPresence(busy)).await;
    assert!(matches!(
        stream.result(1).await,
        v1::result::Result::SetPresence(_)
    ));
    let presence = told(&mut watcher, bob.id, PresenceStatus::DoNotDisturb).await;
    assert_eq!(presence.text, "at work");
    let mut client = PresenceServiceClient::new(node.channel().await);
    let hidden = bob.request(set(PresenceStatus::Invisible, ""));
    client.set_presence(hidden).await.expect("is set");
    told(&mut watcher, bob.id, PresenceStatus::Offline).await;
    let seen = presences(&node, &ann, vec![bob.id, eve.id, ann.id]).await;
    let seen: Vec<_> = seen.iter().map(|p| (p.user_id, p.status())).collect();
    let expected = [
        (bob.id, PresenceStatus::Offline),
        (ann.id, PresenceStatus::Online),
    ];
    assert_eq!(seen, expected, "eve is a stranger");
    node.stop().await;
}

#[tokio::test]
async fn many_members_come_by_one_call_and_show_in_the_list() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (server_id, _) = ann.create_server("s").await;
    let member = |n: usize| v1::NewMember {
        subject: Some(v1::new_member::Subject::ExternalId(format!("p-{n}"))),
        display_name: format!("player {n:03}"),
    };
    let request = v1::BatchAddMembersRequest {
        server_id,
        members: (0..300).map(member).collect(),
    };
    let mut servers = ann.servers();
    let added = servers.batch_add_members(with_token(&node.key, request.clone()));
    let added = added.await.expect("adds").into_inner().user_ids;
    assert_eq!(added.len(), 300);
    let again = servers.batch_add_members(with_token(&node.key, request));
    assert_eq!(
        again.await.expect("is as it was").into_inner().user_ids,
        added
    );
    let mut stream = watch(&node, &ann).await;
    let view = v1::View {
        member_lists: vec![v1::MemberListView {
            server_id,
            ranges: vec![v1::MemberRange { start: 0, count: 5 }],
        }],
        ..v1::View::default()
    };
    stream.send(client_frame::Frame::View(view)).await;
    let list = stream.until(|frame| match frame {
        Frame::MemberListChanged(changed) => Some(changed.clone()),
        _ => None,
    });
    let list = list.await;
    let counts: Vec<_> = list.groups.iter().map(|g| (g.role(), g.count)).collect();
    assert_eq!(counts, [(v1::Role::Owner, 1), (v1::Role::Unspecified, 300)]);
    let items = list.ops[0].items.iter();
    let names = items.filter_map(|item| match &item.item {
        Some(v1::member_list_item::Item::Member(member)) => {
            member.user.as_ref().map(|user| user.display_name.clone())
        }
        _ => None,
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["ann", "player 000", "player 001"]
    );
    node.stop().await;
}
