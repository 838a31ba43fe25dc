//! Tokens that end, and what renews them.

use crate::{
    config, messages, next, ready,
    server::{CHANNEL, Server, TOKEN},
};
use chirm_client::{
    Advice, Client, Code, Config, Error, Event, Events, SendOptions, TokenSource,
    v1::{self, server_frame::Frame},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

const RENEWED: &str = "v1.1.renewed";

/// Renews to [`RENEWED`], once the refusals that were asked for are used up.
#[derive(Default)]
struct Source {
    asked: AtomicUsize,
    refusals: AtomicUsize,
    is_over: bool,
}

#[tonic::async_trait]
impl TokenSource for Source {
    async fn renew(&self, _: &str) -> Result<v1::Tokens, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let refused = |advice| Error::local(Code::Unknown, "TEST", "not now", advice);
        if self.is_over {
            return Err(refused(Advice::Stop));
        }
        let one_less = |left: usize| left.checked_sub(1);
        let refusals = &self.refusals;
        if refusals
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
        {
            return Err(refused(Advice::Retry));
        }
        Ok(v1::Tokens {
            access_token: RENEWED.to_owned(),
            ..v1::Tokens::default()
        })
    }
}

/// What lies up to here can't be sent again.
fn gap(seq: i64) -> Frame {
    Frame::Gap(v1::Gap {
        topic: Some(v1::Topic {
            kind: v1::TopicKind::Channel as i32,
            id: CHANNEL,
        }),
        position: Some(v1::Position { epoch: 1, seq }),
        channel: None,
    })
}

/// The client has 101 and misses 102, whose page takes another token.
async fn miss(server: &Server, events: &mut Events) {
    ready(events).await;
    server.create(101);
    messages(events, 1).await;
    server.take_token(RENEWED);
    server.create_unsaid(102);
    server.tell(&gap(2));
}

#[tokio::test]
async fn a_page_refused_for_its_token_is_read_with_a_new_one() {
    let (server, address) = Server::start().await;
    let source = Arc::new(Source::default());
    let (client, mut events) = Client::start(Config {
        token_source: Some(source.clone()),
        ..config(address)
    });
    miss(&server, &mut events).await;
    next(&mut events, |e| matches!(e, Event::TokensRenewed(_))).await;
    assert_eq!(messages(&mut events, 1).await[0].0, 102);
    // The connection stayed.
    assert_eq!(client.stats().connects, 1);
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_page_refused_for_its_token_asks_for_another_one() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(config(address));
    miss(&server, &mut events).await;
    let lost = next(&mut events, |e| matches!(e, Event::Disconnected { .. })).await;
    assert!(
        matches!(lost, Event::Disconnected { reason } if reason.advice == Advice::Reauthenticate)
    );
    client.set_token(RENEWED.to_owned());
    assert_eq!(messages(&mut events, 1).await[0].0, 102);
}

#[tokio::test]
async fn another_token_goes_with_calls_of_the_open_connection() {
    let (server, address) = Server::start().await;
    let (client, mut events) = Client::start(Config {
        listen_only: true,
        ..config(address)
    });
    ready(&mut events).await;
    server.take_token(RENEWED);
    client.set_token(RENEWED.to_owned());
    client
        .send(CHANNEL, "unary", SendOptions::default())
        .await
        .unwrap();
    assert_eq!(client.stats().connects, 1);
    assert_eq!(server.attempts(), [0]);
}

#[tokio::test]
async fn a_refused_connection_renews_its_token_and_tells_the_program() {
    let (server, address) = Server::start().await;
    server.take_token(RENEWED);
    let source = Source {
        refusals: AtomicUsize::new(2),
        ..Source::default()
    };
    let source = Arc::new(source);
    let (client, mut events) = Client::start(Config {
        token_source: Some(source.clone()),
        ..config(address)
    });
    client.ready().await.unwrap();
    let lost = next(&mut events, |e| matches!(e, Event::Disconnected { .. })).await;
    assert!(matches!(lost, Event::Disconnected { reason } if reason.advice == Advice::Resume));
    let renewed = next(&mut events, |e| matches!(e, Event::TokensRenewed(_))).await;
    assert!(!format!("{renewed:?}").contains(RENEWED));
    assert!(matches!(renewed, Event::TokensRenewed(tokens) if tokens.access_token == RENEWED));
    ready(&mut events).await;
    assert_eq!(source.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_cant_be_renewed_is_the_programs_to_know() {
    let (server, address) = Server::start().await;
    server.take_token(RENEWED);
    let source = Source {
        is_over: true,
        ..Source::default()
    };
    let (client, _events) = Client::start(Config {
        token_source: Some(Arc::new(source)),
        ..config(address)
    });
    let error = client.ready().await.unwrap_err();
    assert_eq!(
        (error.reason.as_str(), error.advice),
        ("TEST", Advice::Reauthenticate)
    );
}

#[test]
fn what_signing_in_gave_is_kept_from_debug() {
    let config = Config::signed_in(
        "http://127.0.0.1:1",
        v1::Tokens {
            access_token: TOKEN.to_owned(),
            refresh_token: RENEWED.to_owned(),
            access_expires_at: Some(prost_types::Timestamp {
                seconds: 60,
                nanos: 0,
            }),
            ..v1::Tokens::default()
        },
    );
    assert_eq!(
        (config.token.as_str(), config.refresh_token.as_str()),
        (TOKEN, RENEWED)
    );
    assert!(config.token_expires_at.is_some());
    let told = format!("{config:?}");
    assert!(!told.contains(TOKEN) && !told.contains(RENEWED), "{told}");
}
