//! The client against a server over real sockets.

mod server;
mod tokens;

use chirm_client::{
    Advice, Backoff, Client, Code, Config, Error, Event, Events, GapCause, MemoryOutbox,
    OutboxEntry, OutboxStore, SendOptions, Source,
    v1::{self, server_frame::Frame},
};
use server::{CHANNEL, Server, TOKEN};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::Notify;

fn config(address: SocketAddr) -> Config {
    let mut config = Config::new(format!("http://{address}"), TOKEN);
    config.backoff = Backoff {
        base: Duration::from_millis(5),
        max: Duration::from_millis(20),
    };
    config
}

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
    // Not an assertion: it keeps a failing test from hanging.
    tokio::time::timeout(Duration::from_secs(30), wanted)
        .await
        .expect("the event never came")
}

async fn messages(events: &mut Events, count: usize) -> Vec<(i64, Source)> {
    let mut messages = Vec::new();
    while messages.len() < count {
        match next(events, |e| matches!(e, Event::Message { .. })).await {
            Event::Message {
                message, source, ..
            } => messages.push((message.id, source)),
            _ => unreachable!("only messages are wanted"),
        }
    }
    messages
}

async fn ready(events: &mut Events) {
    next(events, |e| matches!(e, Event::Ready(_))).await;
}

#[tokio::test]
async fn what_happens_arrives_live() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(config(address));
    client.ready().await.unwrap();
    server.create(101);
    server.create(102);
    assert_eq!(
        messages(&mut events, 2).await,
        [(101, Source::Live), (102, Source::Live)]
    );
    client.close().await;
    let closed = next(&mut events, |e| matches!(e, Event::Closed(_))).await;
    assert!(matches!(closed, Event::Closed(error) if error.reason == "CLIENT_CLOSED"));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_cut_is_resumed_at_the_position_held() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(config(address));
    ready(&mut events).await;
    server.create(101);
    messages(&mut events, 1).await;
    client.cut();
    let lost = next(&mut events, |e| matches!(e, Event::Disconnected { .. })).await;
    assert!(matches!(lost, Event::Disconnected { reason } if reason.advice == Advice::Resume));
    server.create(102);
    server.create(103);
    let ids: Vec<_> = messages(&mut events, 2)
        .await
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, [102, 103]);
    let presented = &server.presented()[1];
    assert_eq!(presented.len(), 1);
    assert_eq!(
        presented[0].position,
        Some(v1::Position { epoch: 1, seq: 1 })
    );
    ready(&mut events).await;
    assert_eq!(client.stats().connects, 2);
    assert_eq!(client.stats().gaps, 0);
}

#[tokio::test]
async fn a_gap_is_paged_and_nothing_comes_twice() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(config(address));
    ready(&mut events).await;
    server.create(101);
    messages(&mut events, 1).await;
    client.cut();
    next(&mut events, |e| matches!(e, Event::Disconnected { .. })).await;
    for id in 102..=350 {
        server.create(id);
    }
    server.forget();
    // Whether it comes back before or after that, a position of the old epoch says too little.
    client.cut();
    server.create(351);
    let ids: Vec<_> = messages(&mut events, 250)
        .await
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, (102..=351).collect::<Vec<_>>());
    server.create(352);
    assert_eq!(messages(&mut events, 1).await[0].0, 352);
    let held = client.positions();
    assert_eq!(held[0].position.map(|p| p.epoch), Some(2));
}

#[tokio::test]
async fn what_a_run_left_lets_the_next_go_on_though_a_channel_had_no_message() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(config(address));
    ready(&mut events).await;
    assert_eq!(client.last_ids(), [(CHANNEL, 0)]);
    client.clone().close().await;
    for id in 101..=103 {
        server.create(id);
    }
    server.forget();
    let left = Config {
        positions: client.positions(),
        last_ids: client.last_ids(),
        ..config(address)
    };
    assert_eq!(left.positions.len(), 1);
    let (client, mut events) = Client::start(left);
    let paged = [101, 102, 103].map(|id| (id, Source::Page));
    assert_eq!(messages(&mut events, 3).await, paged);
    // The last of them is still at hand.
    assert_eq!(client.last_ids(), [(CHANNEL, 102)]);
    assert_eq!(client.positions(), []);
    server.create(104);
    assert_eq!(messages(&mut events, 1).await[0].0, 104);
    assert_eq!(client.last_ids(), [(CHANNEL, 103)]);
    assert_eq!(client.positions().len(), 1);
}

#[tokio::test]
async fn a_jump_is_noticed_and_closed() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(config(address));
    ready(&mut events).await;
    server.create(101);
    messages(&mut events, 1).await;
    server.create(102);
    let event = v1::Event {
        topic: Some(v1::Topic {
            kind: v1::TopicKind::Channel as i32,
            id: CHANNEL,
        }),
        position: Some(v1::Position { epoch: 1, seq: 9 }),
        event: None,
    };
    server.tell(&Frame::Event(event));
    assert_eq!(messages(&mut events, 1).await[0].0, 102);
    let gap = next(&mut events, |e| matches!(e, Event::Gap { .. })).await;
    assert!(
        matches!(gap, Event::Gap { cause, gap } if cause == GapCause::Jump
            && gap.position == Some(v1::Position { epoch: 1, seq: 8 }))
    );
    assert_eq!(client.stats().jumps, 1);
}

#[tokio::test]
async fn a_server_that_answers_no_heartbeat_is_given_up() {
    let (server, address) = Server::start().await;
    server.be_deaf();
    let (_client, mut events) = Client::start(config(address));
    ready(&mut events).await;
    let lost = next(&mut events, |e| matches!(e, Event::Disconnected { .. })).await;
    assert!(matches!(lost, Event::Disconnected { reason } if reason.message.contains("heartbeat")));
    ready(&mut events).await;
}

#[tokio::test]
async fn a_channel_never_seen_is_paged_when_history_is_wanted() {
    let (server, address) = Server::start().await;
    for id in 1..=250 {
        server.create(id);
    }
    let (client, mut events) = Client::start(Config {
        history: true,
        ..config(address)
    });
    let all: Vec<_> = (1..=250).map(|id| (id, Source::Page)).collect();
    assert_eq!(messages(&mut events, 250).await, all);
    assert_eq!(client.stats().pages, 3);
}

#[tokio::test]
async fn a_send_whose_answer_is_lost_is_repeated_by_its_nonce() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(config(address));
    ready(&mut events).await;
    server.lose_answers(2);
    // Sending and taking events go together: the answer comes by the same connection.
    let (sent, received) = tokio::join!(
        client.send(CHANNEL, "once", SendOptions::default()),
        messages(&mut events, 1)
    );
    let sent = sent.unwrap();
    assert_eq!(sent.content, "once");
    assert_eq!(received[0].0, sent.id);
    assert_eq!(server.attempts(), [0, 1, 2]);
    assert_eq!(client.stats().resent, 2);
}

#[tokio::test]
async fn listening_sends_by_unary_calls() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(Config {
        listen_only: true,
        ..config(address)
    });
    ready(&mut events).await;
    let sent = client
        .send(CHANNEL, "unary", SendOptions::default())
        .await
        .unwrap();
    assert_eq!(messages(&mut events, 1).await[0].0, sent.id);
    client.view(vec![CHANNEL]);
    ready(&mut events).await;
    assert_eq!(server.presented().len(), 2);
}

#[tokio::test]
async fn a_refused_token_waits_for_another() {
    let (_server, address) = Server::start().await;
    let mut wrong = config(address);
    wrong.token = "v1.1.wrong".to_owned();
    assert!(!format!("{wrong:?}").contains("wrong"));
    let (client, _events) = Client::start(wrong);
    let error = client.ready().await.unwrap_err();
    assert_eq!(
        (error.code, error.advice),
        (Code::Unauthenticated, Advice::Reauthenticate)
    );
    client.set_token(TOKEN.to_owned());
    // Until the task has taken the token, the old answer stands.
    while client.ready().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_server_can_say_stop() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(config(address));
    ready(&mut events).await;
    let closing = v1::Closing {
        reason: "BANNED".to_owned(),
        advice: v1::Advice::Stop as i32,
        ..v1::Closing::default()
    };
    server.tell(&Frame::Closing(closing));
    let last = next(&mut events, |e| matches!(e, Event::Closed(_))).await;
    assert!(matches!(last, Event::Closed(error) if error.reason == "BANNED"));
    let error = client
        .send(CHANNEL, "late", SendOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.advice, Advice::Stop);
}

#[tokio::test]
async fn a_stored_outbox_is_sent_as_a_repeat() {
    let (server, address) = Server::start().await;
    let outbox = Arc::new(MemoryOutbox::new(2));
    let request = v1::SendMessageRequest {
        channel_id: CHANNEL,
        content: "from before".to_owned(),
        nonce: "01978f3e-0000-7000-8000-000000000001".to_owned(),
        ..v1::SendMessageRequest::default()
    };
    let entry = OutboxEntry {
        nonce: request.nonce.clone(),
        request,
    };
    outbox.put(&entry).await.unwrap();
    let config = Config {
        outbox: outbox.clone(),
        ..config(address)
    };
    let (_client, mut events) = Client::start(config);
    messages(&mut events, 1).await;
    assert_eq!(server.attempts(), [1]);
}

/// An outbox whose `put` takes until it is let through.
struct Slow {
    inner: MemoryOutbox,
    begun: Notify,
    through: Notify,
}

#[tonic::async_trait]
impl OutboxStore for Slow {
    async fn put(&self, entry: &OutboxEntry) -> Result<(), Error> {
        self.begun.notify_one();
        self.through.notified().await;
        self.inner.put(entry).await
    }

    async fn remove(&self, nonce: &str) -> Result<(), Error> {
        self.inner.remove(nonce).await
    }

    async fn load(&self) -> Result<Vec<OutboxEntry>, Error> {
        self.inner.load().await
    }
}

#[tokio::test]
async fn a_send_that_is_dropped_while_it_is_stored_is_sent() {
    let (_server, address) = Server::start().await;
    let outbox = Arc::new(Slow {
        inner: MemoryOutbox::new(1),
        begun: Notify::new(),
        through: Notify::new(),
    });
    let (client, mut events) = Client::start(Config {
        outbox: outbox.clone(),
        ..config(address)
    });
    ready(&mut events).await;
    tokio::select! {
        _ = client.send(CHANNEL, "dropped", SendOptions::default()) => panic!("it can't be stored"),
        () = outbox.begun.notified() => {}
    }
    outbox.through.notify_one();
    messages(&mut events, 1).await;
}

#[tokio::test]
async fn an_outbox_is_bounded() {
    let outbox = MemoryOutbox::new(1);
    let entry = |nonce: &str| OutboxEntry {
        nonce: nonce.to_owned(),
        request: v1::SendMessageRequest::default(),
    };
    outbox.put(&entry("a")).await.unwrap();
    outbox.put(&entry("a")).await.unwrap();
    assert_eq!(
        outbox.put(&entry("b")).await.unwrap_err().reason,
        "OUTBOX_FULL"
    );
    outbox.remove("a").await.unwrap();
    outbox.put(&entry("b")).await.unwrap();
    assert_eq!(outbox.load().await.unwrap(), [entry("b")]);
}

#[tokio::test]
async fn a_url_that_is_none_ends_at_once() {
    for url in ["127.0.0.1", "ftp://127.0.0.1:1", "not a url"] {
        let (client, _events) = Client::start(Config::new(url, TOKEN));
        let error: Error = client.ready().await.unwrap_err();
        assert_eq!(error.reason, "BAD_CONFIG", "{url}: {error}");
    }
}
