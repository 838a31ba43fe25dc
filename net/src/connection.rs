//! One connection, from accept to close: handshake, protocol, requests, deadlines.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::debug;

use super::answer::Streams;
use super::caps::Permit;
use super::service::{Activity, ConnectionService};
use super::socket::{Protocol, Socket};
use super::{BoxError, Options, Peer, RequestBody};

/// What all connections of a listener share.
pub(super) struct Shared<S> {
    pub(super) options: Options,
    pub(super) acceptor: Option<tokio_rustls::TlsAcceptor>,
    pub(super) service: S,
    /// Requests in progress may end; there shall be no new ones.
    pub(super) drain: CancellationToken,
    /// The time for that is over.
    pub(super) kill: CancellationToken,
}

/// Serves one connection until it ends or one of its deadlines passed.
pub(super) async fn run<S, B>(
    shared: Arc<Shared<S>>,
    stream: TcpStream,
    mut peer: Peer,
    permit: Permit,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let accepted = Instant::now();
    set_up(&stream, &shared.options);
    // What only the beginning needs is boxed, so that it is freed before the long part.
    let opening = Box::pin(open(&shared, stream, accepted, permit));
    let opened = tokio::select! {
        opened = opening => opened,
        () = shared.drain.cancelled() => return,
    };
    let serving = match opened {
        Some(Opened::Clear(protocol, socket)) => serve(shared, protocol, socket, peer, accepted),
        Some(Opened::Tls(protocol, socket)) => {
            peer.tls = true;
            serve(shared, protocol, *socket, peer, accepted)
        }
        None => return,
    };
    if let Err(problem) = serving.await {
        debug!(peer = %peer.address, %problem, "connection failed");
    }
}

enum Opened {
    Clear(Protocol, Socket<TcpStream>),
    Tls(
        Protocol,
        Box<Socket<tokio_rustls::server::TlsStream<TcpStream>>>,
    ),
}

fn set_up(stream: &TcpStream, options: &Options) {
    let mut result = stream.set_nodelay(true);
    let send_buffer_bytes = options.net.socket_send_buffer_bytes as usize;
    if send_buffer_bytes > 0 {
        let socket = socket2::SockRef::from(stream);
        result = result.and(socket.set_send_buffer_size(send_buffer_bytes));
    }
    if let Err(problem) = result {
        // It works without, only less well.
        debug!(%problem, "socket options not set");
    }
}

/// Does the handshake, if any, and finds out what the client speaks.
async fn open<S>(
    shared: &Shared<S>,
    stream: TcpStream,
    accepted: Instant,
    permit: Permit,
) -> Option<Opened> {
    let net = &shared.options.net;
    let Some(acceptor) = &shared.acceptor else {
        let mut socket = Socket::new(stream, permit, net.answer_timeout);
        let protocol = detect(&mut socket, accepted + net.detect_timeout).await?;
        return Some(Opened::Clear(protocol, socket));
    };
    let deadline = accepted + net.handshake_timeout;
    let stream = match timeout_at(deadline, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(problem)) => {
            debug!(%problem, "TLS handshake failed");
            counter!("chirm_net_handshakes_failed_total", "reason" => "error").increment(1);
            return None;
        }
        Err(_) => {
            counter!("chirm_net_handshakes_failed_total", "reason" => "timeout").increment(1);
            return None;
        }
    };
    let agreed = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(_) => Some(Protocol::Http1),
        None => None,
    };
    let mut socket = Box::new(Socket::new(stream, permit, net.answer_timeout));
    let protocol = match agreed {
        Some(protocol) => protocol,
        None => detect(&mut *socket, Instant::now() + net.detect_timeout).await?,
    };
    Some(Opened::Tls(protocol, socket))
}

async fn detect<T: AsyncRead + Unpin>(
    socket: &mut Socket<T>,
    deadline: Instant,
) -> Option<Protocol> {
    match timeout_at(deadline, socket.detect()).await {
        Ok(result) => result.ok(),
        Err(_) => {
            closed("silent");
            None
        }
    }
}

/// A connection that is served. Boxed: the future of [`run`] would otherwise hold the space of
/// every protocol with and without TLS, several times what one of them takes.
type Serving = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

fn serve<S, B, T>(
    shared: Arc<Shared<S>>,
    protocol: Protocol,
    socket: Socket<T>,
    peer: Peer,
    accepted: Instant,
) -> Serving
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new(accepted);
    let places = shared.options.limits.requests_per_connection;
    let service = ConnectionService {
        inner: shared.service.clone(),
        peer,
        trusts_peer: shared.options.trusts(peer.address.ip()),
        activity: Arc::clone(&activity),
        places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
        streams: shared.options.streams,
    };
    match protocol {
        Protocol::Http1 => {
            // No longer than the next request would be waited for.
            let io = TokioIo::new(socket.linger(shared.options.net.header_timeout));
            let connection = http1_builder(&shared.options).serve_connection(io, service);
            let connection = Box::pin(connection.with_upgrades());
            Box::pin(drive(
                shared,
                connection,
                |c| c.graceful_shutdown(),
                activity,
            ))
        }
        Protocol::Http2 => {
            let io = TokioIo::new(socket);
            let connection = http2_builder(&shared.options).serve_connection(io, service);
            let connection = Box::pin(connection);
            Box::pin(drive(
                shared,
                connection,
                |c| c.graceful_shutdown(),
                activity,
            ))
        }
    }
}

fn http1_builder(options: &Options) -> http1::Builder {
    let header_bytes_max = options.limits.header_bytes_max as usize;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(options.net.header_timeout)
        .max_header_size(header_bytes_max)
        // Twice, so that a whole header and the start of a body fit; hyper's least is 8 KiB.
        .max_buf_size((2 * header_bytes_max).max(8192));
    builder
}

fn http2_builder(options: &Options) -> http2::Builder<Streams> {
    let (limits, net) = (&options.limits, &options.net);
    let mut builder = http2::Builder::new(Streams {
        answer_timeout: net.answer_timeout,
    });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_local_error_reset_streams(limits.local_error_resets)
        .max_pending_accept_reset_streams(limits.pending_resets)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_header_list_size(limits.header_bytes_max)
        .max_send_buf_size(net.stream_send_buffer_bytes)
        .keep_alive_interval(net.keepalive)
        .keep_alive_timeout(net.keepalive_timeout);
    builder
}

/// Polls a connection to its end; says goodbye when it is idle or the node drains; drops it when
/// nothing ever came, the goodbye was not heeded, or the drain's time is over.
async fn drive<S, C>(
    shared: Arc<Shared<S>>,
    mut connection: Pin<Box<C>>,
    goodbye: impl Fn(Pin<&mut C>),
    activity: Arc<Activity>,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let (first, idle) = (
        shared.options.first_request,
        shared.options.net.idle_timeout,
    );
    let mut timer = pin!(sleep_until(Instant::now() + first.min(idle)));
    let mut draining = false;
    let mut idled_out = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = shared.kill.cancelled() => return Ok(()),
            () = shared.drain.cancelled(), if !draining => {
                draining = true;
                goodbye(connection.as_mut());
            }
            () = timer.as_mut() => {
                let now = Instant::now();
                // While a request is in progress it is enough to look again in a while.
                let deadline = activity.deadline(first, idle).unwrap_or(now + idle);
                if deadline > now {
                    timer.as_mut().reset(deadline);
                    continue;
                }
                if idled_out || !activity.any() {
                    closed(if activity.any() { "idle" } else { "no_request" });
                    return Ok(());
                }
                idled_out = true;
                goodbye(connection.as_mut());
                timer.as_mut().reset(now + shared.options.net.keepalive_timeout);
            }
        }
    }
}

fn closed(reason: &'static str) {
    counter!("chirm_net_connections_closed_total", "reason" => reason).increment(1);
}

/// Whether accepting again at once would fail the same way: no files or memory are left.
pub(super) fn is_exhaustion(problem: &io::Error) -> bool {
    !matches!(
        problem.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_clients_failure_makes_nobody_wait() {
        assert!(!is_exhaustion(&io::ErrorKind::ConnectionAborted.into()));
        // Too many open files: of this process.
        assert!(is_exhaustion(&io::Error::from_raw_os_error(24)));
    }
}
