//! Whoever keeps a connection without using it loses it.

use super::http2::PREFACE;
use super::*;

#[tokio::test]
async fn a_silent_socket_is_closed() {
    let port = Port::start(|config| config.net.detect_timeout = SHORT).await;
    assert!(rest(&mut port.connect().await).await.is_empty());
    assert!(port.answers().await);
}

#[tokio::test]
async fn part_of_a_preface_is_closed() {
    let port = Port::start(|config| config.net.detect_timeout = SHORT).await;
    assert!(rest(&mut port.say(&PREFACE[..20]).await).await.is_empty());
}

/// Only the deadline for a first request may end a connection here.
async fn only_the_first_request_is_waited_for() -> Port {
    Port::start(|config| {
        config.first_request = SHORT;
        config.net.keepalive = WATCHDOG * 10;
        config.net.idle_timeout = WATCHDOG * 10;
    })
    .await
}

#[tokio::test]
async fn a_bare_preface_is_closed() {
    let port = only_the_first_request_is_waited_for().await;
    rest(&mut port.say(PREFACE).await).await;
}

#[tokio::test]
async fn an_http2_connection_without_a_request_is_closed() {
    let port = only_the_first_request_is_waited_for().await;
    let (_client, connection) = h2_client(port.connect().await).await;
    let _ = connection.await.unwrap();
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go() {
    let port = Port::start(|config| config.net.idle_timeout = SHORT).await;
    let (client, connection) = h2_client(port.connect().await).await;
    let response = h2_get(&client, "/").await.unwrap();
    h2_text(response).await.unwrap();
    // Ok is a GOAWAY without an error, as opposed to a broken connection.
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_with_a_stream_is_not_idle() {
    let port = Port::start(|config| config.net.idle_timeout = SHORT).await;
    let (client, _connection) = h2_client(port.connect().await).await;
    let mut hanging = h2_get(&client, "/hang")
        .await
        .unwrap()
        .await
        .unwrap()
        .into_body();
    assert_eq!(hanging.data().await.unwrap().unwrap(), "first");
    tokio::time::sleep(SHORT * 5).await;
    let response = h2_get(&client, "/").await.unwrap();
    assert_eq!(h2_text(response).await.unwrap(), "127.0.0.1 tls=false");
}

#[tokio::test]
async fn slow_headers_are_closed() {
    let port = Port::start(|config| config.net.header_timeout = SHORT).await;
    let stream = port.say(b"GET / HTTP/1.1\r\nhost: chirm\r\nx-slow: ").await;
    let (mut reader, mut writer) = stream.into_split();
    // A byte now and then does not help.
    let trickle = tokio::spawn(async move {
        while writer.write_all(b"a").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    assert!(!rest(&mut reader).await.starts_with(b"HTTP/1.1 200"));
    trickle.await.unwrap();
}

#[tokio::test]
async fn a_vanished_client_is_noticed() {
    let port = Port::start(|config| {
        config.net.keepalive = SHORT;
        config.net.keepalive_timeout = SHORT;
    })
    .await;
    // A stream is open, but no ping is ever answered.
    let bytes = [PREFACE, &http2::settings(), &http2::headers(1)].concat();
    let received = rest(&mut port.say(&bytes).await).await;
    assert!(!received.is_empty());
}
