//! `chirm-bridge-ws`: serves browsers in front of remote gateways, near to where the users are.
//!
//! A WebSocket becomes a gateway's `Session`, one HTTP/2 stream of a connection that it shares with
//! others; everything else is handed on as it is, over the same connections. The bridge keeps
//! nothing: a client whose bridge or gateway went away resumes with the positions that it holds.
//!
//! What one browser doesn't read waits in the window of its own stream, then in the gateway, which
//! closes it. The windows of a connection's streams fit into that of the connection together, so
//! the others never wait for it.
//!
//! - `args`: flags and variables; `serve`: wires the parts, runs them, drains.
//! - `port`: who answers which path; `proxy`: hands on; `session`: a WebSocket's stream.
//! - `pool`: warm connections to gateways; `deframe`: gRPC's messages out of bytes.
//! - `telemetry`: logs, and what `/metrics` shows.

mod args;
mod deframe;
mod pool;
mod port;
mod proxy;
mod serve;
mod session;
mod telemetry;

use bytes::Bytes;
use clap::Parser as _;
use http_body_util::combinators::UnsyncBoxBody;
use std::process::ExitCode;

/// A body that is handed on.
type Body = UnsyncBoxBody<Bytes, chirm_net::BoxError>;

/// Runs the process: until SIGTERM or Ctrl-C, and then until browsers have been asked to go.
#[must_use]
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(Box::pin(serve::run(args))));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
