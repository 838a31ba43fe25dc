//! Logs, and what `/metrics` shows.

use crate::args::LogFormat;
use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Sends log lines to standard error; standard output is for what scripts read.
pub(crate) fn init_logs(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level).context("--log-level")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("logs: {error}"))
}

/// What `/metrics` shows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

impl Metrics {
    /// Those of this process; once.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let handle = PrometheusBuilder::new().install_recorder();
        let handle = handle.context("metrics")?;
        for (name, text) in COUNTERS.iter().chain(chirm_net::COUNTERS) {
            metrics::describe_counter!(*name, *text);
        }
        let others = chirm_net::GAUGES.iter().chain(chirm_bridge_ws::GAUGES);
        for (name, text) in GAUGES.iter().chain(others) {
            metrics::describe_gauge!(*name, *text);
        }
        Ok(Self(handle))
    }

    /// All of them in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.0.render()
    }
}

/// What `/metrics` says of each of the bridge's own; docs/operations.md says more.
const COUNTERS: &[(&str, &str)] = &[
    (
        "chirm_bridge_frames_total",
        "Frames of WebSockets, by direction: in from browsers, out to them.",
    ),
    (
        "chirm_bridge_bytes_total",
        "Bytes of those frames, as protobuf.",
    ),
    (
        "chirm_bridge_handshakes_refused_total",
        "Requests for a WebSocket that became none, by reason.",
    ),
    (
        "chirm_bridge_sessions_lost_total",
        "Sessions whose gateway was lost or couldn't be had, by reason.",
    ),
    (
        "chirm_bridge_requests_total",
        "Requests handed on, by outcome.",
    ),
    (
        "chirm_bridge_connect_failures_total",
        "Failures to connect to a gateway.",
    ),
];

/// As [`COUNTERS`].
const GAUGES: &[(&str, &str)] = &[
    (
        "chirm_bridge_sessions",
        "Sessions on a gateway, by upstream.",
    ),
    (
        "chirm_bridge_upstream_connections",
        "Open connections to a gateway, by upstream.",
    ),
    (
        "chirm_bridge_upstream_ready",
        "Whether a gateway said that it is ready (1) when asked last.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_and_documented() {
        let page = include_str!("../../../docs/operations.md");
        let all = [
            COUNTERS,
            GAUGES,
            chirm_net::COUNTERS,
            chirm_net::GAUGES,
            chirm_bridge_ws::GAUGES,
        ]
        .concat();
        for (name, _) in &all {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
        let sources = [
            include_str!("pool/gateway.rs"),
            include_str!("port.rs"),
            include_str!("proxy.rs"),
            include_str!("session.rs"),
            include_str!("../../src/socket.rs"),
        ];
        let mut used = 0;
        for source in sources {
            for kind in ["counter!(", "gauge!("] {
                for rest in source.split(kind).skip(1) {
                    let name = rest.trim_start().trim_start_matches('"');
                    let name = name.split('"').next().unwrap();
                    let described = all.iter().any(|(n, _)| *n == name);
                    assert!(described, "{name}");
                    used += 1;
                }
            }
        }
        assert!(used > 8, "the search found hardly any: {used}");
    }
}
