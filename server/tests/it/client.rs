//! The Rust client against a real node.

use crate::support::{PATIENCE, TestNode};
use crate::world::User;
use chirm_client::{
    Api, Client, Config, Event, Events, MemoryOutbox, OutboxEntry, OutboxStore as _, SendOptions,
};
use chirm_proto::v1;
use std::sync::Arc;
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

/// An outbox of a run before, with so many messages to a channel.
async fn stored(channel_id: i64, count: usize) -> Arc<MemoryOutbox> {
    let outbox = MemoryOutbox::new(count);
    for number in 0..count {
        let nonce = uuid::Uuid::now_v7().to_string();
        let request = v1::SendMessageRequest {
            channel_id,
            content: number.to_string(),
            nonce: nonce.clone(),
            ..Default::default()
        };
        let entry = OutboxEntry { nonce, request };
        outbox.put(&entry).await.expect("room");
    }
    Arc::new(outbox)
}

/// Sends an outbox of so many messages to a server with such limits. Answers their order, and how
/// often the client connected.
async fn send_stored(limits: &[(&str, &str)], count: usize) -> (Vec<String>, u64) {
    let node = TestNode::start(limits).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let mut config = Config::new(node.url(), &ann.token);
    config.outbox = stored(channel, count).await;
    config.backoff.base = Duration::from_millis(5);
    let (client, mut events) = Client::start(config);
    let mut sent = Vec::new();
    while sent.len() < count {
        let event = next(&mut events, |e| matches!(e, Event::Message { .. })).await;
        if let Event::Message { message, .. } = event {
            sent.push((message.id, message.content));
        }
    }
    let connects = client.stats().connects;
    client.close().await;
    node.stop().await;
    sent.sort_unstable();
    (sent.into_iter().map(|(_, text)| text).collect(), connects)
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn sends_beyond_a_channels_rate_keep_their_order() {
    let limits = [
        ("limits.sends_per_window", "5"),
        ("limits.send_window_ms", "250"),
    ];
    let (sent, connects) = send_stored(&limits, 30).await;
    assert_eq!((sent, connects), (numbers(30), 1));
}

#[tokio::test]
async fn sends_beyond_a_streams_rate_keep_their_order_and_the_connection() {
    let limits = [
        ("limits.client_frames_per_minute", "600"),
        ("limits.sends_per_window", "100000"),
    ];
    let (sent, connects) = send_stored(&limits, 640).await;
    assert_eq!((sent, connects), (numbers(640), 1));
}

#[tokio::test]
async fn what_was_read_reaches_the_other_device() {
    let node = TestNode::start(&[]).await;
    let bob = User::mint(&node, "bob").await;
    let ann = register(&node, "ann").await;
    let api = Api::connect(&node.url(), &ann.access_token).expect("a URL");
    let (server, channel) = bob.create_server("s").await;
    let by = Some(v1::join_server_request::By::ServerId(server));
    let join = v1::JoinServerRequest { by };
    api.servers().join_server(join).await.expect("joins");
    let message = bob.send(channel, "<@everyone>").await;
    let (client, mut events) = Client::start(Config::signed_in(node.url(), ann));
    let of_channel = |event: &Event| event.read_state().is_some_and(|s| s.channel_id == channel);
    let shown = next(&mut events, of_channel).await;
    let shown = *shown.read_state().expect("wanted");
    assert_eq!(
        (shown.last_message_id, shown.mention_count),
        (message.id, 1)
    );
    assert_eq!(api.unread(false).await.expect("lists"), [shown]);
    let read = api.ack(channel, message.id).await.expect("acknowledges");
    assert_eq!((read.last_read_id, read.mention_count), (message.id, 0));
    let told = next(&mut events, of_channel).await;
    assert_eq!(told.read_state(), Some(&read));
    assert_eq!(api.unread(true).await.expect("lists"), []);
    let muted = api.mute(channel, None).await.expect("mutes");
    assert_eq!(api.unread(true).await.expect("lists"), [muted]);
    assert!(!api.unmute(channel).await.expect("unmutes").muted);
    let refused = api.ack(channel, message.id + 1).await.unwrap_err();
    assert_eq!(refused.reason, "FIELD_INVALID");
    let set = api
        .allow_direct(v1::DirectMessages::Nobody)
        .await
        .expect("sets");
    assert_eq!(api.settings().await.expect("reads"), set);
    let told = next(&mut events, |event| event.settings() == Some(&set)).await;
    assert!(matches!(told, Event::Topic(_)));
    client.close().await;
    node.stop().await;
}
