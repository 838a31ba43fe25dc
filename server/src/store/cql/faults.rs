//! A server that doesn't answer.

use super::tests::{CHANNEL, ID, Rest, message, settings};
use super::*;
use crate::clock::SystemClock;
use crate::store::Inserted;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// Stands before the server, and can hold everything back.
struct Proxy {
    address: SocketAddr,
    frozen: watch::Sender<bool>,
}

impl Proxy {
    async fn start(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (frozen, is_frozen) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, is_frozen.clone()));
                tokio::spawn(pass(from_server, to_client, is_frozen.clone()));
            }
        });
        Proxy { address, frozen }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        if read == 0 || frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
#[ignore = "needs the real servers: make stack-up"]
async fn a_server_that_freezes_leaves_writes_unknown_and_what_was_told_stands() {
    let mut settings = settings();
    let proxy = Proxy::start(settings.nodes[0].clone()).await;
    settings.nodes = vec![proxy.address.to_string()];
    settings.timeout = Duration::from_millis(300);
    let clock = Arc::new(SystemClock::default());
    let cql = Cql::open(&settings, clock).await.unwrap();
    let rest = Arc::new(Rest::default());
    cql.plan(rest.clone());
    cql.tie(rest);
    let insert = |n: Id, nonce: &str| cql.insert_reserved(message(ID + n, nonce));
    assert_eq!(insert(0, "").await.unwrap(), Inserted::New);

    proxy.frozen.send(true).unwrap();
    let unknown = [insert(1, ""), insert(2, "a nonce")];
    for unknown in futures::future::join_all(unknown).await {
        assert!(matches!(unknown, Err(Error::Unavailable(_))), "{unknown:?}");
    }
    let read = cql.get(CHANNEL, ID).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");

    proxy.frozen.send(false).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while cql.check().await.is_err() {
        assert!(Instant::now() < deadline, "it doesn't come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Whoever was told nothing calls again: nothing doubles.
    for (n, nonce) in [(1, ""), (2, "a nonce")] {
        assert_eq!(insert(n, nonce).await.unwrap(), Inserted::New);
    }
    let page = cql.page(CHANNEL, crate::store::Anchor::Newest, 9).await;
    let ids: Vec<Id> = page.unwrap().messages.iter().map(|row| row.id).collect();
    assert_eq!(ids, [ID, ID + 1, ID + 2]);
}

#[tokio::test]
#[ignore = "takes a quarter of a minute"]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let settings = CqlSettings::new(vec![address.clone()]);
    let open = Cql::open(&settings, Arc::new(SystemClock::default()));
    let opened = tokio::time::timeout(Duration::from_secs(60), open).await;
    let Err(error) = opened.expect("it doesn't hang") else {
        panic!("it is opened");
    };
    assert!(error.to_string().contains(&address), "{error}");
}
