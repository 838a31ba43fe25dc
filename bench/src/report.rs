//! What a bench found: a table for people, and one JSON object for scripts.

use crate::latency::Histogram;
use comfy_table::Table;
use serde::Serialize;

/// A bench's figures. A field without meaning for a bench is `null` in JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `fanout`, `send` or `floor`.
    pub bench: &'static str,
    /// What carried the frames: a [`Transport`](crate::Transport)'s name, or of the floor `tcp` or
    /// `tcp-coalesced`.
    pub transport: &'static str,
    /// How many subscribers received each message.
    pub subscribers: Option<u64>,
    /// TCP connections that subscribers (or senders) shared.
    pub connections: u64,
    /// Messages that were published.
    pub messages: u64,
    /// How many messages might be unreceived (of `send`: unacknowledged a connection) at once.
    pub in_flight: Option<u64>,
    /// Messages received, over all subscribers.
    pub deliveries: Option<u64>,
    /// Deliveries a second, from the first publish to the last receive.
    pub deliveries_per_s: Option<f64>,
    /// The server's CPU-seconds for a million deliveries (of `send`: for a million messages), with
    /// the bridge's if there is one.
    pub cpu_s_per_million: Option<f64>,
    /// The bridge's part of it; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_s_per_million_bridge: Option<f64>,
    /// From publish to receive (of `send`: to the acknowledgement), in milliseconds.
    pub latency_ms: LatencyMs,
    /// The server's resident memory that came with the connections, by connection, when idle, with
    /// the bridge's if there is one.
    pub rss_bytes_per_connection: Option<f64>,
    /// The bridge's part of it; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes_per_connection_bridge: Option<f64>,
    /// Durable sends a second.
    pub acked_per_s: Option<f64>,
    /// Deliveries (of `send`: acknowledgements) that never came.
    pub lost: Option<u64>,
    /// Deliveries that came more than once.
    pub duplicated: Option<u64>,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LatencyMs {
    /// The median.
    pub p50: Option<f64>,
    /// 99 of 100 were no slower.
    pub p99: Option<f64>,
    /// The slowest.
    pub max: Option<f64>,
}

impl From<&Histogram> for LatencyMs {
    fn from(histogram: &Histogram) -> Self {
        Self {
            p50: histogram.quantile_ms(0.5),
            p99: histogram.quantile_ms(0.99),
            max: histogram.max_ms(),
        }
    }
}

impl Report {
    /// The JSON object, on one line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report has string keys and plain numbers only")
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = table();
        table.set_header(["what", "figure"]);
        let mut row = |what: &str, figure: Option<String>| {
            if let Some(figure) = figure {
                table.add_row([what.to_owned(), figure]);
            }
        };
        row(
            "bench",
            Some(format!("{} over {}", self.bench, self.transport)),
        );
        row("subscribers", self.subscribers.map(|n| n.to_string()));
        row("connections", Some(self.connections.to_string()));
        row("messages", Some(self.messages.to_string()));
        row("in flight", self.in_flight.map(|n| n.to_string()));
        row("deliveries", self.deliveries.map(|n| n.to_string()));
        row(
            "deliveries a second",
            self.deliveries_per_s.map(|n| format!("{n:.0}")),
        );
        row(
            "CPU-seconds a million",
            self.cpu_s_per_million.map(|n| format!("{n:.2}")),
        );
        row(
            "of them the bridge's",
            self.cpu_s_per_million_bridge.map(|n| format!("{n:.2}")),
        );
        row(
            "latency p50",
            self.latency_ms.p50.map(|ms| format!("{ms:.2} ms")),
        );
        row(
            "latency p99",
            self.latency_ms.p99.map(|ms| format!("{ms:.2} ms")),
        );
        row(
            "latency max",
            self.latency_ms.max.map(|ms| format!("{ms:.2} ms")),
        );
        row(
            "memory a connection",
            self.rss_bytes_per_connection.map(kib),
        );
        row(
            "of it the bridge's",
            self.rss_bytes_per_connection_bridge.map(kib),
        );
        row(
            "acknowledged a second",
            self.acked_per_s.map(|n| format!("{n:.0}")),
        );
        row("lost", self.lost.map(|n| n.to_string()));
        row("duplicated", self.duplicated.map(|n| n.to_string()));
        table
    }

    pub(crate) fn with_subscribers(mut self, subscribers: u64) -> Self {
        self.subscribers = Some(subscribers);
        self
    }

    /// Whether nothing was lost or came twice.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.unwrap_or(0) == 0 && self.duplicated.unwrap_or(0) == 0
    }
}

fn kib(bytes: f64) -> String {
    format!("{:.1} KiB", bytes / 1024.0)
}

/// A table in the style of all of this crate's.
pub(crate) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_promised_keys_in_order_and_null_where_nothing_is_meant() {
        let mut report = Report {
            bench: "floor",
            transport: "tcp",
            subscribers: Some(10),
            connections: 2,
            messages: 3,
            in_flight: Some(1),
            deliveries: Some(30),
            deliveries_per_s: Some(10.5),
            cpu_s_per_million: Some(5.0),
            cpu_s_per_million_bridge: None,
            latency_ms: LatencyMs {
                p50: Some(1.0),
                p99: Some(2.0),
                max: Some(3.0),
            },
            rss_bytes_per_connection: None,
            rss_bytes_per_connection_bridge: None,
            acked_per_s: None,
            lost: Some(0),
            duplicated: Some(0),
        };
        assert_eq!(
            report.json(),
            r#"{"bench":"floor","transport":"tcp","subscribers":10,"connections":2,"messages":3,"#
                .to_owned()
                + r#""in_flight":1,"deliveries":30,"deliveries_per_s":10.5,"#
                + r#""cpu_s_per_million":5.0,"latency_ms":{"p50":1.0,"p99":2.0,"max":3.0},"#
                + r#""rss_bytes_per_connection":null,"acked_per_s":null,"lost":0,"duplicated":0}"#
        );
        assert!(report.is_clean());
        assert!(report.table().to_string().contains("deliveries a second"));
        assert!(!report.table().to_string().contains("bridge"));
        report.cpu_s_per_million_bridge = Some(2.0);
        report.rss_bytes_per_connection_bridge = Some(2048.0);
        let json = report.json();
        assert!(json.contains(r#","cpu_s_per_million_bridge":2.0,"latency_ms""#));
        assert!(json.contains(r#","rss_bytes_per_connection_bridge":2048.0,"acked_per_s""#));
        assert!(report.table().to_string().contains("2.0 KiB"));
    }
}
