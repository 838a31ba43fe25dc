//! Wires the parts, runs them until a signal, lets browsers go.

use crate::args::Args;
use crate::pool::Gateways;
use crate::port::Port;
use crate::session::{LISTEN, Remote, SESSION};
use crate::telemetry::{self, Metrics};
use anyhow::Context as _;
use chirm_bridge_ws::{Bridge, Drain, Options};
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Bytes of a client's first frame, and of the others: the protocol's limits.
const IDENTIFY_BYTES_MAX: usize = 256 << 10;
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// From accept to the first request, and from the handshake to the first frame.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(5);
/// How long sockets have to end after the drain, before their connections are closed.
const DRAINED_WITHIN: Duration = Duration::from_secs(6);

/// Runs the process.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    telemetry::init_logs(&args.log_level, args.log_format)?;
    let origins = args.origins()?;
    let mut options = args.port(IDENTIFY_WITHIN)?;
    options.streams = &[SESSION, LISTEN];
    let draining = CancellationToken::new();
    chirm_net::stop_on_signals(draining.clone(), "browsers")?;
    let metrics = Metrics::install()?;
    chirm_net::raise_open_files((args.connections + args.upstream_connections) as usize);
    let listener = bind(args.listen).await?;
    let address = listener.local_addr()?;
    let gateways = Gateways::start(&args)?;
    let drain = Drain::new();
    let bridge = Options {
        origins,
        identify_bytes_max: IDENTIFY_BYTES_MAX,
        request_bytes_max: REQUEST_BYTES_MAX,
        identify_deadline: IDENTIFY_WITHIN,
    };
    let port = Arc::new(Port {
        bridge: Bridge::new(Remote::new(gateways.clone()), bridge).with_drain(drain.clone()),
        gateways,
        metrics,
        draining: draining.clone(),
    });
    let service = tower::service_fn(move |request| {
        let port = Arc::clone(&port);
        async move { Ok::<_, Infallible>(port.answer(request).await) }
    });
    let closed = CancellationToken::new();
    let serving = tokio::spawn(chirm_net::serve(listener, options, service, closed.clone()));
    announce(args.tls_cert.is_some(), address);

    draining.cancelled().await;
    drain.begin(args.drain());
    if timeout(args.drain() + DRAINED_WITHIN, drain.ended())
        .await
        .is_err()
    {
        tracing::warn!("some sockets did not end; their connections are closed");
    }
    closed.cancel();
    serving.await.context("the port's task failed")??;
    Ok(())
}

fn announce(tls: bool, address: SocketAddr) {
    let scheme = if tls { "https" } else { "http" };
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "chirm-bridge-ws ready on {scheme}://{address}");
    if let Err(error) = written.and_then(|()| out.flush()) {
        tracing::warn!(%error, "standard output can't be written to");
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("can't listen at {address}: choose another with --listen"))
}
