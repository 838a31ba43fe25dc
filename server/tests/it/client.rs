//! The Rust client against a real node.

use crate::support::{PATIENCE, TestNode};
use crate::world::User;
use chirm_client::{Api, Client, Config, Event, Events, SendOptions};
use chirm_proto::v1;
use std::time::Duration;

/// The next event that the test is about.
async fn next(events: &mut Events, is_wanted: impl Fn(&Event) -> bool) -> Event {
    let wanted = async {
        loop {
            let event = events.next().await.expect("the client runs");
            if is_wanted(&event) {
                return event;
            }
        }
    };
    let next = tokio::time::timeout(PATIENCE, wanted).await;
    next.expect("the event never came")
}

async fn register(node: &TestNode, name: &str) -> v1::Tokens {
    let request = v1::RegisterRequest {
        username: name.to_owned(),
        password: "correct horse battery".to_owned(),
        ..Default::default()
    };
    let api = Api::connect(&node.url(), "").expect("a URL");
    let answer = api.auth().register(request).await.expect("registers");
    answer.into_inner().tokens.expect("tokens")
}

#[tokio::test]
async fn a_client_outlives_its_access_token() {
    let node = TestNode::start(&[("auth.access_ttl_s", "1")]).await;
    let first = register(&node, "ann").await;
    let api = Api::connect(&node.url(), &first.access_token).expect("a URL");
    let create = v1::CreateServerRequest {
        name: "s".to_owned(),
        ..Default::default()
    };
    let made = api.servers().create_server(create).await.expect("creates");
    let channel = made.into_inner().general_channel_id;
    let mut config = Config::signed_in(node.url(), first.clone());
    // It isn't told when the token ends: the refusal of a call says so.
    config.token_expires_at = None;
    config.listen_only = true;
    let (client, mut events) = Client::start(config);
    client.ready().await.expect("connects");
    while api.users().get_self(v1::GetSelfRequest {}).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent = client
        .send(channel, "late", SendOptions::default())
        .await
        .expect("sends");
    let renewed = next(&mut events, |e| matches!(e, Event::TokensRenewed(_))).await;
    let Event::TokensRenewed(tokens) = renewed else {
        unreachable!("only tokens are wanted")
    };
    assert_eq!(tokens.session_id, first.session_id);
    assert_ne!(tokens.refresh_token, first.refresh_token);
    let heard = next(&mut events, |e| matches!(e, Event::Message { .. })).await;
    assert!(matches!(heard, Event::Message { message, .. } if message.id == sent.id));
    assert_eq!(client.stats().connects, 1);
    client.close().await;
    node.stop().await;
}

#[tokio::test]
async fn leaving_a_server_leaves_the_connection() {
    let node = TestNode::start(&[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    for _ in 0..3 {
        let (server, _) = ann.create_server("s").await;
        bob.join(server).await;
        let (client, mut events) = Client::start(Config::new(node.url(), &bob.token));
        client.ready().await.expect("connects");
        let leave = bob.request(v1::LeaveServerRequest { server_id: server });
        bob.servers().leave_server(leave).await.expect("leaves");
        let kind = v1::TopicKind::Server as i32;
        let left = v1::Topic { kind, id: server };
        next(&mut events, |e| *e == Event::TopicRemoved(left)).await;
        // What comes next on the same connection comes after all that the leaving brought.
        let (server, _) = bob.create_server("own").await;
        let own = Some(v1::Topic { kind, id: server });
        let is_own = |e: &Event| matches!(e, Event::Snapshot(s) if s.topic == own);
        next(&mut events, is_own).await;
        assert_eq!(client.stats().connects, 1);
        client.close().await;
    }
    node.stop().await;
}
