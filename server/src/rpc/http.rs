//! Plain HTTP beside REST: liveness, readiness, metrics.

use super::{Grpc, page, rest};
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::store;
use crate::telemetry::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long the store may take to say that it is well.
const CHECK: Duration = Duration::from_secs(2);
/// How long what it said holds: a check is a synced write, and anyone may ask.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Health {
    store: store::Handle,
    gateway: Gateway,
    checked: Arc<Checked>,
}

/// What a check said last. Those who ask while one is under way wait for it.
struct Checked {
    last: Mutex<Option<(Duration, bool)>>,
    clock: Arc<dyn Clock>,
}

impl Checked {
    async fn is_well(&self, check: impl Future<Output = bool>) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, well)) = *last
            && self.clock.elapsed() - at < FRESH
        {
            return well;
        }
        let well = check.await;
        *last = Some((self.clock.elapsed(), well));
        well
    }
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
    clock: Arc<dyn Clock>,
    with_page: bool,
) -> Result<Router, rest::Error> {
    let request_bytes_max = gateway.limits().request_bytes_max;
    let checked = Arc::new(Checked {
        last: Mutex::new(None),
        clock,
    });
    let health = Health {
        store,
        gateway,
        checked,
    };
    let own = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(health)
        .route(
            "/metrics",
            get(move || std::future::ready(metrics.render())),
        );
    let own = if with_page {
        own.merge(page::router())
    } else {
        own
    };
    let served = |name: &str| super::PUBLIC.contains(&name);
    let transcoder = rest::Transcoder::new(chirm_proto::pool(), served, request_bytes_max)?;
    Ok(own.merge(rest::router(transcoder, grpc)))
}

/// Ready means: the store reads and writes, and the node isn't about to stop.
async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.gateway.figures().draining {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    let check = async {
        let checked = tokio::time::timeout(CHECK, health.store.check()).await;
        matches!(checked, Ok(Ok(())))
    };
    if health.checked.is_well(check).await {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store is unavailable\n",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn who_asks_often_makes_one_check_a_second() {
        let clock = Arc::new(ManualClock::new(0));
        let checked = Checked {
            last: Mutex::new(None),
            clock: clock.clone(),
        };
        let (mut checks, ask) = (0, async |well: bool, checks: &mut i32| {
            let check = async {
                *checks += 1;
                well
            };
            checked.is_well(check).await
        });
        assert!(ask(true, &mut checks).await);
        assert!(ask(false, &mut checks).await, "what was said holds");
        clock.advance(FRESH);
        assert!(!ask(false, &mut checks).await);
        assert!(!ask(true, &mut checks).await);
        clock.advance(FRESH);
        assert!(ask(true, &mut checks).await);
        assert_eq!(checks, 3);
    }
}
