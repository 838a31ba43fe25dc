//! Logs and metrics.
//!
//! Both are of the process: the first call of [`init_logs`] and of [`metrics`](fn@metrics) sets
//! them up, later ones find them there. Until then log lines and metrics go nowhere.

use std::sync::{Mutex, OnceLock, PoisonError};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Why logs or metrics can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is neither a level nor directives.
    #[error("configuration: log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Metrics go elsewhere in this process already.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// The client of NATS tells at `info` each thing that happens to its connection, which is told once
/// more in our words.
const NATS: &str = "async_nats";

/// Sends log lines to standard error as `log` says. Standard output is for what scripts read.
pub fn init_logs(log: &Log) -> Result<(), Error> {
    let mut filter = EnvFilter::try_new(&log.level)?;
    if !log.level.contains(NATS) {
        filter = filter.add_directive(format!("{NATS}=warn").parse()?);
    }
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Fails only when there is a subscriber already, which then stays.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// What `/metrics` shows. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Metrics")
    }
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Works off the samples that histograms have collected; to be called every few seconds, or
    /// they pile up until the next [`Metrics::render`].
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// The metrics of this process.
pub fn metrics() -> Result<Metrics, Error> {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    static SETTING_UP: Mutex<()> = Mutex::new(());
    let _one_at_a_time = SETTING_UP.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(metrics) = METRICS.get() {
        return Ok(metrics.clone());
    }
    let lag = Matcher::Full("chirm_message_lag_seconds".to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets(&BUCKETS_S)
        .and_then(|builder| builder.set_buckets_for_metric(lag, &LAG_BUCKETS_S))
        .and_then(PrometheusBuilder::install_recorder);
    let handle = handle.map_err(|error| Error::Metrics(error.to_string()))?;
    describe();
    Ok(METRICS.get_or_init(|| Metrics { handle }).clone())
}

/// Upper bounds of histograms' buckets, in seconds.
const BUCKETS_S: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
];

/// The same of messages' lag: clocks tell milliseconds, and what was fetched again comes late.
const LAG_BUCKETS_S: [f64; 13] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0,
];

/// What `/metrics` says of each counter of the server's own; docs/operations.md says more.
const COUNTERS: &[(&str, &str)] = &[
    ("chirm_messages_sent_total", "Messages made durable."),
    (
        "chirm_pre_send_hook_total",
        "Messages shown to the hook before sends, by outcome.",
    ),
    ("chirm_events_delivered_total", "Events handed to sessions."),
    (
        "chirm_replayed_events_total",
        "Events that connecting clients had missed.",
    ),
    (
        "chirm_slow_consumers_total",
        "Sessions closed because they did not read.",
    ),
    (
        "chirm_topic_jumps_total",
        "Events out of order, fetched again.",
    ),
    (
        "chirm_sweeps_total",
        "Looks at operations that stopped half-way, by how they ended.",
    ),
    (
        "chirm_redis_disconnects_total",
        "Connections to Redis that were lost.",
    ),
    (
        "chirm_nats_disconnects_total",
        "Connections to NATS that were lost.",
    ),
    (
        "chirm_nats_unsent_total",
        "Events that could not be told by NATS; other nodes find them in Redis.",
    ),
    (
        "chirm_events_held_total",
        "Events that overtook another one by NATS, and waited for it.",
    ),
    (
        "chirm_relay_lost_total",
        "Events of the store that could not be carried, and are told as missing.",
    ),
    (
        "chirm_topics_behind_total",
        "Topics of which Redis had more than was heard here.",
    ),
    (
        "chirm_presence_changes_total",
        "Presences that changed, after coalescing.",
    ),
    (
        "chirm_presence_reaped_total",
        "Users of nodes that said nothing of them any more, as far as this node looked after them.",
    ),
    (
        "chirm_presence_frames_total",
        "Frames of presences to sessions.",
    ),
    (
        "chirm_presence_jumps_total",
        "Lost batches of presence, after which all was read again.",
    ),
    (
        "chirm_member_list_frames_total",
        "Frames of member lists to viewers.",
    ),
    (
        "chirm_webhook_events_total",
        "Ends of attempts to tell webhooks of events: delivered, failed, dead.",
    ),
    (
        "chirm_cache_reads_total",
        "Looks into caches, by whether it was there.",
    ),
    (
        "chirm_reads_coalesced_total",
        "Reads of the store that were one with another's, by what was read.",
    ),
    (
        "chirm_calls_shed_total",
        "Calls refused because as many as may be were under way.",
    ),
    (
        "chirm_topics_resumed_total",
        "Topics that went live for a client, by how: current, replay, snapshot, gap.",
    ),
    (
        "chirm_reservations_total",
        "Ids of messages and of changes that were asked for, by outcome.",
    ),
    (
        "chirm_bucket_widths_total",
        "Widths of buckets that were decided for channels, by hours.",
    ),
    (
        "chirm_trace_spans_total",
        "Spans for the collector, by what became of them.",
    ),
];

fn describe() {
    for (name, text) in COUNTERS.iter().chain(chirm_net::COUNTERS) {
        ::metrics::describe_counter!(*name, *text);
    }
    for (name, text) in chirm_net::GAUGES.iter().chain(chirm_bridge_ws::GAUGES) {
        ::metrics::describe_gauge!(*name, *text);
    }
    let redis = "How long a call of a script of Redis took, waiting for its turn included.";
    ::metrics::describe_histogram!("chirm_redis_call_seconds", redis);
    let cql = "How long a request to the CQL servers took, by kind.";
    ::metrics::describe_histogram!("chirm_cql_request_seconds", cql);
    let lag = "How long after its publication an event was handed to the sessions of this node.";
    ::metrics::describe_histogram!("chirm_message_lag_seconds", lag);
    let pools = "Connections to a store, by state: in_use, idle.";
    ::metrics::describe_gauge!("chirm_pool_connections", pools);
    let queued = "Writes to a store that wait.";
    ::metrics::describe_gauge!("chirm_store_queued", queued);
    ::metrics::describe_gauge!("chirm_sessions", "Gateway streams that are signed in.");
    ::metrics::describe_gauge!("chirm_hub_topics", "Topics that some session here follows.");
    let present = "Users with a live session on this node, or in its grace.";
    ::metrics::describe_gauge!("chirm_users_present", present);
    let lists = "Servers whose members are kept for sessions here.";
    ::metrics::describe_gauge!("chirm_member_lists", lists);
    let queued = "Events that wait for webhooks.";
    ::metrics::describe_gauge!("chirm_webhook_events_queued", queued);
    let lag = "How long ago the oldest event that waits for a webhook happened.";
    ::metrics::describe_gauge!("chirm_webhook_lag_seconds", lag);
    ::metrics::describe_gauge!("chirm_cache_entries", "What caches of rights keep.");
    let ahead = "How far the latest id is ahead of the clock.";
    ::metrics::describe_gauge!("chirm_ids_ahead_seconds", ahead);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_of_the_process() {
        let first = metrics().unwrap();
        ::metrics::counter!("chirm_test_total", "reason" => "a").increment(3);
        let second = metrics().unwrap();
        first.upkeep();
        let text = second.render();
        assert!(text.contains("chirm_test_total{reason=\"a\"} 3"), "{text}");
    }

    #[test]
    fn a_wrong_level_is_an_error() {
        let log = Log {
            level: "loud=very=much".to_owned(),
            format: LogFormat::Text,
        };
        let message = init_logs(&log).unwrap_err().to_string();
        assert!(message.contains("log.level"), "{message}");
    }
}
