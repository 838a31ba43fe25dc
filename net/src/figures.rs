//! What `/metrics` says of the metrics of this crate; docs/operations.md says more.

/// Each counter with its description.
pub const COUNTERS: &[(&str, &str)] = &[
    (
        "chirm_net_connections_refused_total",
        "Connections above a cap, by reason.",
    ),
    (
        "chirm_net_connections_closed_total",
        "Connections closed by the server, by reason.",
    ),
    (
        "chirm_net_answers_unread_total",
        "Streams reset because the client took nothing of the answer.",
    ),
    (
        "chirm_net_handshakes_failed_total",
        "TLS handshakes that failed, by reason.",
    ),
    (
        "chirm_net_accept_errors_total",
        "Failures to accept a connection.",
    ),
];

/// Each gauge with its description.
pub const GAUGES: &[(&str, &str)] = &[("chirm_net_connections", "Open connections.")];
