//! The port over real sockets. Each test shortens the one deadline that it is about and then
//! waits for the close itself, however long that takes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Limits, Net, Options, Peer, RequestBody, serve};

mod answers;
mod caps;
mod deadlines;
mod drain;
mod http2;
mod tls;

const SHORT: Duration = Duration::from_millis(100);
const WATCHDOG: Duration = Duration::from_secs(60);
/// Of HTTP/1, on a connection that ends with it.
const REQUEST: &str = "GET /peer HTTP/1.1\r\nhost: chirm\r\nconnection: close\r\n\r\n";

fn options() -> Options {
    Options {
        streams: &["/hang"],
        ..Options::new(Net::default(), Limits::default(), SHORT * 50)
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// A port that answers, on a free port of this machine.
struct Port {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    wait: Arc<Wait>,
}

/// The requests of `/wait`.
struct Wait {
    /// One permit for each that came.
    came: Semaphore,
    /// One permit for each that may end.
    may_end: Semaphore,
}

impl Port {
    async fn start(change: impl FnOnce(&mut Options)) -> Port {
        let mut options = options();
        change(&mut options);
        Port::with(options).await
    }

    async fn with(options: Options) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let wait = Arc::new(Wait {
            came: Semaphore::new(0),
            may_end: Semaphore::new(0),
        });
        let service = tower::service_fn({
            let wait = Arc::clone(&wait);
            move |request| answer(request, Arc::clone(&wait))
        });
        let until = shutdown.clone();
        let serving = tokio::spawn(async move {
            serve(listener, options, service, until).await.unwrap();
        });
        Port {
            address,
            shutdown,
            serving,
            wait,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects and says `bytes`.
    async fn say(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Whether a new connection gets an answer, as opposed to being closed.
    async fn answers(&self) -> bool {
        let mut stream = self.connect().await;
        // A refused connection may be reset before the request is written.
        let _ = stream.write_all(REQUEST.as_bytes()).await;
        rest(&mut stream).await.starts_with(b"HTTP/1.1 200")
    }
}

/// What `/large` answers: more than every buffer between here and the client holds.
const LARGE_BYTES: usize = 32 << 20;

/// `/peer` says who asks, `/hang` never ends its body, `/read` takes a body, `/wait` answers when
/// told to, `/large` is large, `/upgrade` becomes an echo.
async fn answer(
    mut request: Request<RequestBody>,
    wait: Arc<Wait>,
) -> Result<Response<Body>, Infallible> {
    let peer = *request.extensions().get::<Peer>().unwrap();
    let body = match request.uri().path() {
        "/hang" => {
            let first = futures::stream::iter([Ok(hyper::body::Frame::data("first".into()))]);
            let silence = futures::stream::pending();
            BodyExt::boxed(StreamBody::new(futures::StreamExt::chain(first, silence)))
        }
        "/large" => Full::from(vec![7; LARGE_BYTES]).boxed(),
        "/read" => {
            let body = request.into_body().collect().await.unwrap();
            Full::from(format!("read {}", body.to_bytes().len())).boxed()
        }
        "/wait" => {
            wait.came.add_permits(1);
            wait.may_end.acquire().await.unwrap().forget();
            Full::from("waited").boxed()
        }
        "/upgrade" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let stream = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
                let (mut reader, mut writer) = tokio::io::split(stream);
                // It fails when the client goes without a goodbye.
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
            let mut response = Response::new(Empty::new().boxed());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
                .headers_mut()
                .insert(header::CONNECTION, "upgrade".parse().unwrap());
            response
                .headers_mut()
                .insert(header::UPGRADE, "echo".parse().unwrap());
            return Ok(response);
        }
        _ => Full::from(format!("{} tls={}", peer.address.ip(), peer.tls)).boxed(),
    };
    Ok(Response::new(body))
}

/// All that comes until the other side closes; a reset is a close. A close that never comes fails
/// the test, rather than hang it.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let closed = tokio::time::timeout(WATCHDOG, stream.read_to_end(&mut bytes)).await;
    assert!(closed.is_ok(), "not closed");
    bytes
}

/// Reads until `end` has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

/// An HTTP/2 client, by crate h2.
async fn h2_client(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> (
    h2::client::SendRequest<Bytes>,
    JoinHandle<Result<(), h2::Error>>,
) {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

/// Sends a request by HTTP/2; the answer is still to come.
async fn h2_get(
    client: &h2::client::SendRequest<Bytes>,
    path: &str,
) -> Result<h2::client::ResponseFuture, h2::Error> {
    let request = Request::get(format!("http://chirm{path}"))
        .body(())
        .unwrap();
    let (response, _) = client.clone().ready().await?.send_request(request, true)?;
    Ok(response)
}

async fn h2_bytes(response: h2::client::ResponseFuture) -> Result<Vec<u8>, h2::Error> {
    let mut body = response.await?.into_body();
    let mut all = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

async fn h2_text(response: h2::client::ResponseFuture) -> Result<String, h2::Error> {
    Ok(String::from_utf8(h2_bytes(response).await?).unwrap())
}

#[tokio::test]
async fn a_request_is_answered_over_both_protocols() {
    let port = Port::start(|_| ()).await;
    let mut stream = port.connect().await;
    for _ in 0..2 {
        let request = "GET / HTTP/1.1\r\nhost: chirm\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        until(&mut stream, "127.0.0.1 tls=false").await;
    }
    let (client, _connection) = h2_client(port.connect().await).await;
    for _ in 0..2 {
        let response = h2_get(&client, "/").await.unwrap();
        assert_eq!(h2_text(response).await.unwrap(), "127.0.0.1 tls=false");
    }
}

#[tokio::test]
async fn a_proxys_word_counts_only_where_it_is_trusted() {
    let request = REQUEST.replace(
        "\r\n\r\n",
        "\r\nx-forwarded-for: 10.0.0.1, 192.0.2.7\r\n\r\n",
    );
    let port = Port::start(|_| ()).await;
    let text = rest(&mut port.say(request.as_bytes()).await).await;
    assert!(text.ends_with(b"127.0.0.1 tls=false"));
    let port = Port::start(|config| config.net.trusted_proxies = vec![[127, 0, 0, 1].into()]).await;
    let text = rest(&mut port.say(request.as_bytes()).await).await;
    assert!(text.ends_with(b"192.0.2.7 tls=false"));
}
