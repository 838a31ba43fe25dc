//! Plain HTTP beside REST: liveness, readiness, metrics.

use super::{Grpc, rest};
use crate::gateway::Gateway;
use crate::store;
use crate::telemetry::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::time::Duration;

/// How long the store may take to say that it is well.
const CHECK: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Health {
    store: store::Handle,
    gateway: Gateway,
}

/// Serves all that isn't gRPC.
///
/// # Errors
/// An HTTP annotation of the protocol can't be served; a defect of the build.
pub fn router(
    grpc: Grpc,
    store: store::Handle,
    gateway: Gateway,
    metrics: Metrics,
) -> Result<Router, rest::Error> {
    let request_bytes_max = gateway.limits().request_bytes_max;
    let health = Health { store, gateway };
    let own = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(health)
        .route(
            "/metrics",
            get(move || std::future::ready(metrics.render())),
        );
    let served = |name: &str| super::PUBLIC.contains(&name);
    let transcoder = rest::Transcoder::new(chirm_proto::pool(), served, request_bytes_max)?;
    Ok(own.merge(rest::router(transcoder, grpc)))
}

/// Ready means: the store reads and writes, and the node isn't about to stop.
async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.gateway.figures().draining {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match tokio::time::timeout(CHECK, health.store.check()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(_)) | Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store is unavailable\n",
        ),
    }
}
