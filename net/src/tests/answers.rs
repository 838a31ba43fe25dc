//! Answers: large ones come whole, unread ones are given up, and there are only so many at once.

use futures::FutureExt as _;

use super::caps::answers_soon;
use super::*;

/// An HTTP/2 client that takes nothing of any answer; it does answer pings.
async fn closed_window(port: &Port) -> h2::client::SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let (client, connection) = builder.handshake(port.connect().await).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn a_large_answer_comes_whole() {
    let port = Port::start(|_| ()).await;
    let (client, _connection) = h2_client(port.connect().await).await;
    let response = h2_get(&client, "/large").await.unwrap();
    assert_eq!(h2_bytes(response).await.unwrap(), vec![7; LARGE_BYTES]);
    let request = REQUEST.replace("/peer", "/large");
    let answer = rest(&mut port.say(request.as_bytes()).await).await;
    assert!(answer.ends_with(&[7; 1 << 10]) && answer.len() > LARGE_BYTES);
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_reset() {
    let port = Port::start(|config| config.net.answer_timeout = SHORT).await;
    let client = closed_window(&port).await;
    for path in ["/large", "/hang"] {
        let response = h2_get(&client, path).await.unwrap().await.unwrap();
        assert_eq!(response.status(), 200);
        let error = response.into_body().data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{path}");
    }
}

#[tokio::test]
async fn a_stream_that_is_read_lasts() {
    let port = Port::start(|config| config.net.answer_timeout = SHORT).await;
    let (client, _connection) = h2_client(port.connect().await).await;
    let response = h2_get(&client, "/hang").await.unwrap().await.unwrap();
    let mut hanging = response.into_body();
    assert_eq!(hanging.data().await.unwrap().unwrap(), "first");
    let silence = tokio::time::timeout(SHORT * 5, hanging.data()).await;
    assert!(silence.is_err(), "it has said all, and was not cut");
}

#[tokio::test]
async fn an_unread_answer_keeps_no_connection() {
    let port = Port::start(|config| {
        config.limits.connections_per_address = Some(1);
        config.net.answer_timeout = SHORT;
        config.net.idle_timeout = SHORT;
    })
    .await;
    let client = closed_window(&port).await;
    let _response = h2_get(&client, "/large").await.unwrap().await.unwrap();
    answers_soon(&port).await;
}

#[tokio::test]
async fn a_socket_that_takes_nothing_is_closed() {
    for greeting in [
        REQUEST.replace("/peer", "/large").into_bytes(),
        // Pings that nobody reads the answers of.
        [http2::PREFACE, &http2::settings(), &http2::pings(1 << 19)].concat(),
    ] {
        let port = Port::start(|config| {
            config.limits.connections_per_address = Some(1);
            config.net.answer_timeout = SHORT;
            config.first_request = WATCHDOG * 10;
            config.net.header_timeout = WATCHDOG * 10;
            config.net.keepalive = WATCHDOG * 10;
        })
        .await;
        let mut stream = port.connect().await;
        let writing = tokio::spawn(async move {
            // It fails, or waits, when the port reads no more.
            let _ = stream.write_all(&greeting).await;
            stream
        });
        answers_soon(&port).await;
        drop(writing.await.unwrap());
    }
}

#[tokio::test]
async fn only_so_many_requests_of_a_connection_are_answered_at_once() {
    let port = Port::start(|config| config.limits.requests_per_connection = 2).await;
    let (client, _connection) = h2_client(port.connect().await).await;
    // A stream that lasts is none of them.
    let mut hanging = h2_get(&client, "/hang").await.unwrap().await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(h2_get(&client, "/wait").await.unwrap());
    }
    port.wait.came.acquire_many(2).await.unwrap().forget();
    // Another connection has places of its own.
    assert!(port.answers().await);
    assert_eq!(port.wait.came.available_permits(), 0, "the third one waits");
    port.wait.may_end.add_permits(3);
    for answer in answers {
        assert_eq!(h2_text(answer).await.unwrap(), "waited");
    }
    assert_eq!(hanging.body_mut().data().await.unwrap().unwrap(), "first");
}

#[tokio::test]
async fn an_unread_answer_keeps_its_place_until_it_is_given_up() {
    let port = Port::start(|config| {
        config.limits.requests_per_connection = 1;
        config.net.answer_timeout = SHORT;
    })
    .await;
    let client = closed_window(&port).await;
    let unread = h2_get(&client, "/large").await.unwrap().await.unwrap();
    let next = h2_get(&client, "/").await.unwrap().await.unwrap();
    assert_eq!(next.status(), 200);
    let mut unread = unread.into_body();
    let ended = unread.data().now_or_never();
    let error = ended.expect("ended before").unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn an_answer_taken_in_drops_is_given_up() {
    let port = Port::start(|config| config.net.answer_timeout = SHORT * 5).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16 << 10);
    let socket = port.connect().await;
    let (client, connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
    tokio::spawn(connection);
    let large = h2_get(&client, "/large").await.unwrap().await.unwrap();
    let mut body = large.into_body();
    // Each piece is taken in time, and never much.
    let error = loop {
        match body.data().await.unwrap() {
            Ok(bytes) => {
                tokio::time::sleep(SHORT).await;
                // It fails once the stream was reset, which the next read tells.
                let _ = body.flow_control().release_capacity(bytes.len());
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
}

/// More than every buffer between here and the server holds.
const BODY: &[u8] = &[7; 32 << 20];

fn post(path: &str) -> String {
    let length = BODY.len();
    format!("POST {path} HTTP/1.1\r\nhost: chirm\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn an_answer_that_comes_before_the_requests_end_is_not_lost() {
    let port = Port::start(|config| config.net.header_timeout = WATCHDOG).await;
    let mut stream = port.say(post("/peer").as_bytes()).await;
    // Nobody asks for the body. To close now would break what is being sent.
    stream.write_all(BODY).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.ends_with(b"127.0.0.1 tls=false"));
    // Or the client would send its next request to where nobody listens.
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_connection_goes_on_after_a_body_that_was_read() {
    let port = Port::start(|_| ()).await;
    let mut stream = port.connect().await;
    for (framing, body) in [
        ("content-length: 4", "four"),
        ("content-length: 0", ""),
        ("transfer-encoding: chunked", "4\r\nfour\r\n0\r\n\r\n"),
    ] {
        let head = format!("POST /read HTTP/1.1\r\nhost: chirm\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let expected = if body.is_empty() { "read 0" } else { "read 4" };
        let answer = until(&mut stream, expected).await;
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_that_goes_on_after_its_answer_ends_in_time() {
    let port = Port::start(|config| config.net.header_timeout = SHORT).await;
    let (mut reader, mut writer) = port.say(post("/peer").as_bytes()).await.into_split();
    let sending = tokio::spawn(async move {
        while writer.write_all(&BODY[..1 << 10]).await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    assert!(rest(&mut reader).await.starts_with(b"HTTP/1.1 200"));
    tokio::time::timeout(WATCHDOG, sending)
        .await
        .unwrap()
        .unwrap();
}
