//! Raw HTTP/2: what no client library would send.

use super::*;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const ENHANCE_YOUR_CALM: u32 = 11;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// A GET of `/hang` by HPACK: two of the static table, the path and the host as literals.
fn block() -> Vec<u8> {
    [&[0x82, 0x86, 0x04, 5][..], b"/hang", &[0x41, 5], b"chirm"].concat()
}

pub(super) fn headers(stream: u32) -> Vec<u8> {
    frame(HEADERS, 5, stream, &block())
}

pub(super) fn pings(count: usize) -> Vec<u8> {
    frame(PING, 0, 0, &[0; 8]).repeat(count)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// The code of the GOAWAY among the frames that came.
fn goaway_code(mut bytes: &[u8]) -> Option<u32> {
    let mut code = None;
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        if bytes[3] == GOAWAY {
            code = Some(u32::from_be_bytes(bytes[13..17].try_into().unwrap()));
        }
        bytes = bytes.get(9 + length..)?;
    }
    code
}

/// Sends a burst for each of many streams; the answer is a GOAWAY and a close.
async fn assert_ended(port: &Port, of_stream: impl Fn(u32) -> Vec<u8>) {
    let mut bytes = [PREFACE, &settings()].concat();
    for stream in 0..1_000 {
        bytes.extend(of_stream(2 * stream + 1));
    }
    let (mut reader, mut writer) = port.connect().await.into_split();
    let writing = tokio::spawn(async move {
        // It fails when the port closes in the middle.
        let _ = writer.write_all(&bytes).await;
        writer
    });
    let received = rest(&mut reader).await;
    assert_eq!(goaway_code(&received), Some(ENHANCE_YOUR_CALM));
    drop(writing.await.unwrap());
    assert!(port.answers().await);
}

#[tokio::test]
async fn resets_in_a_loop_end_the_connection() {
    let port = Port::start(|_| ()).await;
    assert_ended(&port, |stream| [headers(stream), reset(stream)].concat()).await;
}

#[tokio::test]
async fn errors_of_streams_in_a_loop_end_the_connection() {
    let port = Port::start(|_| ()).await;
    // HTTP/2 has no `connection` header: such a request is an error of its stream alone.
    let malformed = |stream| {
        let field = [&[0x40, 10][..], b"connection", &[1], b"x"].concat();
        frame(HEADERS, 5, stream, &[block(), field].concat())
    };
    assert_ended(&port, malformed).await;
}

/// What the server's first frames say it takes.
#[tokio::test]
async fn settings_are_the_limits() {
    const WINDOW_UPDATE: u8 = 8;
    let port = Port::start(|config| {
        config.limits.streams_per_connection = 77;
        config.limits.stream_window_bytes = 70_000;
        config.limits.connection_window_bytes = 200_000;
        config.limits.header_bytes_max = 5_000;
    })
    .await;
    let mut stream = port.say(&[PREFACE, &settings()].concat()).await;
    let mut wanted = vec![
        // SETTINGS: MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE.
        [&[0, 3][..], &77_u32.to_be_bytes()].concat(),
        [&[0, 4][..], &70_000_u32.to_be_bytes()].concat(),
        [&[0, 6][..], &5_000_u32.to_be_bytes()].concat(),
        // The connection's window begins with 65,535.
        frame(WINDOW_UPDATE, 0, 0, &(200_000_u32 - 65_535).to_be_bytes()),
    ];
    let mut received = Vec::new();
    while !wanted.is_empty() {
        let byte = stream.read_u8().await;
        received.push(byte.unwrap_or_else(|e| panic!("{e}: {received:?} lacks {wanted:?}")));
        wanted.retain(|end| !received.ends_with(end));
    }
}

#[tokio::test]
async fn streams_are_limited() {
    let port = Port::start(|config| config.limits.streams_per_connection = 2).await;
    let (client, _connection) = h2_client(port.connect().await).await;
    let mut bodies = Vec::new();
    for _ in 0..2 {
        bodies.push(
            h2_get(&client, "/hang")
                .await
                .unwrap()
                .await
                .unwrap()
                .into_body(),
        );
    }
    assert_eq!(client.current_max_send_streams(), 2);
    // A third one that is sent all the same is refused, and the other two live on.
    let bytes = [PREFACE, &settings(), &headers(1), &headers(3), &headers(5)];
    let mut stream = port.say(&bytes.concat()).await;
    let mut received = Vec::new();
    let refused = [
        &[0, 0, 4, RST_STREAM, 0][..],
        &5_u32.to_be_bytes(),
        &7_u32.to_be_bytes(),
    ];
    let refused = refused.concat();
    while !received
        .windows(refused.len())
        .any(|window| window == refused)
    {
        received.push(stream.read_u8().await.unwrap());
    }
    for body in &mut bodies {
        assert_eq!(body.data().await.unwrap().unwrap(), "first");
    }
}

#[tokio::test]
async fn large_headers_are_refused() {
    let port = Port::start(|_| ()).await;
    let large = "a".repeat(9_000);
    let request = REQUEST.replace("\r\n\r\n", &format!("\r\nx-large: {large}\r\n\r\n"));
    let answer = rest(&mut port.say(request.as_bytes()).await).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    let (client, _connection) = h2_client(port.connect().await).await;
    let request = Request::get("http://chirm/")
        .header("x-large", large)
        .body(())
        .unwrap();
    let (response, _) = client
        .ready()
        .await
        .unwrap()
        .send_request(request, true)
        .unwrap();
    match response.await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
}
