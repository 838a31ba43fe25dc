//! connectrpc's conformance service on the server's own port, for connectconformance and h2spec
//! to try. Everything but the service is what `chirm serve` runs: `chirm-net`, the dispatch by
//! content type, gRPC-Web, CORS, the limits, the reasons that tonic's refusals get.
//!
//! The runner starts one process for each setting that it tries: it writes what it wants to
//! standard input, reads the address from standard output, and ends the process by SIGTERM.

mod answer;
mod service;
mod trailers;

/// The messages and the service of `connectrpc.conformance.v1`.
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::too_many_lines,
    reason = "generated, and the runner's own messages are among them"
)]
mod proto {
    tonic::include_proto!("connectrpc.conformance.v1");
}

use anyhow::{Context as _, ensure};
use chirm_server::config::Config;
use chirm_server::node::Node;
use chirm_server::rpc::status::Failure;
use chirm_server::{rpc, telemetry};
use http::Response;
use prost::Message as _;
use proto::conformance_service_server::ConformanceServiceServer;
use proto::{ServerCompatRequest, ServerCompatResponse};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tower::ServiceExt as _;
use trailers::WithTrailers;

/// Bytes of what the runner asks for: a certificate and its key at most.
const ASKED_BYTES_MAX: usize = 1 << 20;

const USAGE: &str = "usage: chirm-wire-service [--by-hand]\n\
    Without an argument connectconformance starts it. --by-hand serves in cleartext until it is \
    ended, and says where as text.";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let by_hand = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--by-hand"] => true,
        _ => anyhow::bail!(USAGE),
    };
    let asked = if by_hand {
        ServerCompatRequest::default()
    } else {
        read_asked().context(USAGE)?
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(asked, by_hand))
}

/// Each message comes after its length, four bytes in network order.
fn read_asked() -> anyhow::Result<ServerCompatRequest> {
    let mut input = std::io::stdin().lock();
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(
        length <= ASKED_BYTES_MAX,
        "the request has {length} bytes; at most {ASKED_BYTES_MAX} may be"
    );
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(ServerCompatRequest::decode(&*bytes)?)
}

/// Tells the runner where to connect, as it told what it wants.
fn announce(address: SocketAddr, asked: &ServerCompatRequest) -> anyhow::Result<()> {
    let creds = asked.server_creds.as_ref().filter(|_| asked.use_tls);
    let response = ServerCompatResponse {
        host: address.ip().to_string(),
        port: address.port().into(),
        pem_cert: creds.map(|creds| creds.cert.clone()).unwrap_or_default(),
    };
    let message = response.encode_to_vec();
    let mut output = std::io::stdout().lock();
    output.write_all(&u32::try_from(message.len())?.to_be_bytes())?;
    output.write_all(&message)?;
    Ok(output.flush()?)
}

/// The server's settings as they are by default, but for what the runner sets.
fn config(asked: &ServerCompatRequest, folder: &Path) -> anyhow::Result<Config> {
    ensure!(
        asked.client_tls_cert.is_empty(),
        "clients are not asked for certificates"
    );
    let path = |name: &str| folder.join(name).display().to_string();
    let (data, cert, key) = (path("data"), path("cert.pem"), path("key.pem"));
    let limit = asked.message_receive_limit.to_string();
    // The runner is one address, and one of its clients keeps a connection for each case.
    let mut overrides = vec![("data", &*data), ("limits.enabled", "false")];
    if asked.message_receive_limit > 0 {
        overrides.push(("limits.request_bytes_max", &limit));
    }
    if asked.use_tls {
        let creds = asked.server_creds.as_ref();
        let creds = creds.context("TLS is asked for, but no certificate is given")?;
        std::fs::write(&cert, &creds.cert)?;
        std::fs::write(&key, &creds.key)?;
        overrides.extend([("tls.cert", &*cert), ("tls.key", &*key)]);
    }
    Ok(Config::load(None, &overrides)?)
}

async fn run(asked: ServerCompatRequest, by_hand: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = Arc::new(config(&asked, folder.path())?);
    telemetry::init_logs(&config.log)?;
    let stop = CancellationToken::new();
    chirm_net::stop_on_signals(stop.clone(), "clients")?;
    let node = Node::open(config.clone()).await?;
    let port = port(&node, &config)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let port = port.map_response(without_reason);
    let serving = chirm_net::serve(listener, config.listener(true)?, port, stop);
    if by_hand {
        println!("ready on {address}");
    } else {
        announce(address, &asked)?;
    }
    serving.await?;
    node.store.close().await;
    Ok(())
}

/// The server's public port, with the conformance service where its own services would be.
fn port(node: &Node, config: &Config) -> anyhow::Result<rpc::port::Port> {
    let max = config.limits.request_bytes_max;
    let service = ConformanceServiceServer::new(service::Service)
        .max_decoding_message_size(max)
        // The server's own services take and send nothing compressed.
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let grpc = rpc::Grpc::new(Routes::new(WithTrailers(service)), max);
    let http = rpc::http::router(
        grpc.clone(),
        // Nobody asks it whether it is ready.
        Vec::new(),
        node.gateway.clone(),
        telemetry::metrics()?,
        node.clock.clone(),
        config.browsers.page,
    )?;
    let bridge = rpc::websocket::bridge(
        node.gateway.clone(),
        config.origins()?,
        config.gateway.identify_deadline,
    );
    let within = config.net.request_timeout;
    let gateway = node.gateway.clone();
    Ok(rpc::port::Port::new(gateway, bridge, grpc, http, within))
}

/// The runner takes an error for wrong that has details beyond those that its case names, so the
/// reasons that the server adds to its refusals are taken off; the rest is left to be judged.
fn without_reason<B>(mut response: Response<B>) -> Response<B> {
    let status = Status::from_header_map(response.headers());
    if status.is_some_and(|status| !Failure::from_status(&status).reason.is_empty()) {
        response.headers_mut().remove(Status::GRPC_STATUS_DETAILS);
    }
    response
}
