//! Settings of traces.

use super::Error;
use super::check::ensure;
use serde::{Deserialize, Serialize};

/// Traces of sends, by OpenTelemetry.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// Where a collector takes OTLP by gRPC, as `http://host:4317` or `https://host:4317`; empty:
    /// nothing is traced.
    pub endpoint: String,
    /// The share of sends that are traced, 0 to 1. The same on all nodes of a cluster, or traces
    /// have holes.
    pub ratio: f64,
}

impl Tracing {
    /// Whether anything is traced.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.endpoint.is_empty() && self.ratio > 0.0
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        ensure((0.0..=1.0).contains(&self.ratio), "tracing.ratio", || {
            format!("{} isn't between 0 and 1", self.ratio)
        })?;
        let endpoint = &self.endpoint;
        let is_fit = endpoint.is_empty() || is_fit(endpoint);
        // What it says may hold a password: it isn't repeated.
        ensure(is_fit, "tracing.endpoint", || {
            "must be http://host:port or https://host:port, without a user, a path or a query"
                .to_owned()
        })
    }
}

fn is_fit(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else {
        return false;
    };
    let by_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let has_user = uri
        .authority()
        .is_some_and(|place| place.as_str().contains('@'));
    by_http && has_host && !has_user && uri.path() == "/" && uri.query().is_none()
}
