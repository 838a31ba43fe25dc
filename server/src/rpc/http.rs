//! Plain HTTP beside REST: liveness, readiness, metrics.

use super::{Grpc, page, rest};
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::telemetry::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use futures::future::{BoxFuture, join_all};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a part may take to say that it is well.
const CHECK: Duration = Duration::from_secs(2);
/// How long what they said holds: a check is a synced write, and anyone may ask.
const FRESH: Duration = Duration::from_secs(1);

/// What a node can't do without: its name for operators, and how to ask it; an error says what is
/// wrong, for the log alone.
pub struct Part {
    name: &'static str,
    check: Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl Part {
    /// A part that is well if what `check` makes of a handle on it says so.
    pub fn new<H, E, F>(
        name: &'static str,
        handle: &Arc<H>,
        check: impl Fn(Arc<H>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        H: ?Sized + Send + Sync + 'static,
        E: std::fmt::Display,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let handle = handle.clone();
        let check = move || -> BoxFuture<'static, Result<(), String>> {
            let checking = check(handle.clone());
            Box::pin(async move { checking.await.map_err(|error| error.to_string()) })
        };
        Self {
            name,
            check: Box::new(check),
        }
    }

    /// Its name, if it isn't well.
    async fn failing(&self) -> Option<&'static str> {
        let checked = tokio::time::timeout(CHECK, (self.check)()).await;
        let error = match checked {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {} s", CHECK.as_secs()),
        };
        tracing::warn!(part = self.name, error, "a part isn't well");
        Some(self.name)
    }
}

#[derive(Clone)]
struct Health {
    parts: Arc<[Part]>,
    gateway: Gateway,
    checked: Arc<Checked>,
}

/// Which parts weren't well at the last check. Those who ask while one is under way wait for it.
struct Checked {
    last: Mutex<Option<(Duration, Vec<&'static str>)>>,
    clock: Arc<dyn Clock>,
}

impl Checked {
    async fn failing(&self, parts: &[Part]) -> Vec<&'static str> {
        let mut last = self.last.lock().await;
        if let Some((at, failing)) = last.as_ref()
            && self.clock.elapsed() - *at < FRESH
        {
            return failing.clone();
        }
        let failing = join_all(parts.iter().map(Part::failing)).await;
        let failing: Vec<_> = failing.into_iter().flatten().collect();
        *last = Some((self.clock.elapsed(), failing.clone()));
        failing
    }
}

/// Serves all that isn't gRPC.
///
/// # Errors
/// An HTTP annotation of the protocol can't be served; a defect of the build.
pub fn router(
    grpc: Grpc,
    parts: Vec<Part>,
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
        parts: parts.into(),
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

/// Ready means: each part answers, and the node isn't about to stop. Which don't is named.
async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    if health.gateway.figures().draining {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".into());
    }
    let failing = health.checked.failing(&health.parts).await;
    if failing.is_empty() {
        (StatusCode::OK, "ready\n".into())
    } else {
        let failing = format!("unavailable: {}\n", failing.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    #[tokio::test]
    async fn who_asks_often_makes_one_check_a_second() {
        let clock = Arc::new(ManualClock::new(0));
        let checked = Checked {
            last: Mutex::new(None),
            clock: clock.clone(),
        };
        let checks = Arc::new(AtomicU32::new(0));
        let well = Arc::new(AtomicBool::new(true));
        let counted = checks.clone();
        let parts = [Part::new("store", &well, move |well: Arc<AtomicBool>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { well.load(Ordering::SeqCst).then_some(()).ok_or("broken") }
        })];
        assert!(checked.failing(&parts).await.is_empty());
        well.store(false, Ordering::SeqCst);
        let held = checked.failing(&parts).await;
        assert!(held.is_empty(), "what was said holds");
        clock.advance(FRESH);
        assert_eq!(checked.failing(&parts).await, ["store"]);
        well.store(true, Ordering::SeqCst);
        assert_eq!(checked.failing(&parts).await, ["store"]);
        clock.advance(FRESH);
        assert!(checked.failing(&parts).await.is_empty());
        assert_eq!(checks.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn parts_that_fail_or_are_silent_are_named() {
        let checked = Checked {
            last: Mutex::new(None),
            clock: Arc::new(ManualClock::new(0)),
        };
        let nothing = Arc::new(());
        let parts = [
            Part::new("silent", &nothing, |_| {
                std::future::pending::<Result<(), &str>>()
            }),
            Part::new("well", &nothing, |_| async { Ok::<_, &str>(()) }),
            Part::new("broken", &nothing, |_| async { Err("broken") }),
        ];
        assert_eq!(checked.failing(&parts).await, ["silent", "broken"]);
    }
}
