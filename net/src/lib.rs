//! The port: accepts connections, does TLS, speaks HTTP/1.1 and HTTP/2, and holds every
//! connection to its limits before any request of it is looked at.
//!
//! A socket that says nothing, a handshake that stops half way, HTTP/2's preface with nothing
//! after it, headers that trickle, a connection without requests, and a client that doesn't take
//! its answers are all closed after a time that [`Net`] sets. Connections are
//! counted, in all and by address. What a client can make HTTP/2 hold for it is bounded: streams,
//! requests answered at once, resets, windows, headers.
//!
//! Used by the start-up code alone; the service that answers knows nothing of sockets but
//! [`Peer`], an extension of every request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use metrics::counter;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::Service;
use tracing::{info, warn};

mod answer;
mod caps;
mod connection;
mod figures;
mod files;
mod options;
mod request;
mod service;
mod signals;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

pub use figures::{COUNTERS, GAUGES};
pub use files::raise_open_files;
pub use options::{Limits, Net, Options, Tls, millis};
pub use request::RequestBody;
pub use signals::stop_on_signals;
pub use tls::Error;

/// What a service or a body may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The longest pause after a failed accept.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where a request came from: an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's address; behind a trusted proxy the one that the proxy named, with the port
    /// of the proxy's own connection.
    pub address: SocketAddr,
    /// Whether the connection to this node is encrypted.
    pub tls: bool,
}

/// Serves `listener` until `shutdown`; then no more connections are accepted, those there are
/// told to go, requests in progress have [`Net::drain`] to end, and what is left is closed.
pub async fn serve<S, B>(
    listener: TcpListener,
    options: Options,
    service: S,
    shutdown: CancellationToken,
) -> Result<(), Error>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let limits = &options.limits;
    let per_address_max = limits.connections_per_address;
    let proxies = options.net.trusted_proxies.clone();
    let caps = caps::Caps::new(limits.connections, per_address_max, proxies);
    let acceptor = options
        .certificate
        .as_ref()
        .map(tls::Certificate::acceptor)
        .transpose()?;
    let _reloading = options.certificate.clone().map(|certificate| {
        AbortOnDropHandle::new(tokio::spawn(certificate.reload(options.net.tls_reload)))
    });
    let drain_time = options.net.drain;
    let kill = CancellationToken::new();
    let _kill_at_the_end = kill.clone().drop_guard();
    let shared = connection::Shared {
        options,
        acceptor,
        service,
        drain: shutdown.clone(),
        kill,
    };
    let shared = Arc::new(shared);

    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                failures = 0;
                let Some(permit) = caps.take(address.ip()) else {
                    continue;
                };
                let peer = Peer {
                    address,
                    tls: false,
                };
                tokio::spawn(connection::run(Arc::clone(&shared), stream, peer, permit));
            }
            Err(problem) => {
                counter!("chirm_net_accept_errors_total").increment(1);
                if connection::is_exhaustion(&problem) {
                    failures += 1;
                    warn!(%problem, "connections can't be accepted now");
                    let pause = Duration::from_millis(10 << failures.min(7));
                    tokio::select! {
                        () = tokio::time::sleep(pause.min(ACCEPT_PAUSE_MAX)) => {}
                        () = shutdown.cancelled() => break,
                    }
                }
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(drain_time, caps.empty())
        .await
        .is_err()
    {
        info!("closing the connections that are left");
    }
    Ok(())
}
