//! `chirm bench`, small: that it measures, not what.

use super::{Machine, utf8};
use serde_json::Value;

#[test]
fn a_fan_out_reaches_every_subscriber_by_each_transport() {
    let machine = Machine::new();
    for transport in ["grpc", "listen", "ws", "ws-json", "grpc-web"] {
        let load = ["--subscribers", "5", "--messages", "20", "--in-flight", "4"];
        let more = ["--transport", transport, "--json"];
        let output = machine.run(&[&["bench", "fanout"][..], &load, &more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{transport}: {said}");
        assert!(!said.contains("ended early"), "{transport}: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["transport"], transport);
        for (field, figure) in [
            ("subscribers", 5),
            ("connections", 5),
            ("messages", 20),
            ("in_flight", 4),
            ("deliveries", 100),
            ("lost", 0),
            ("duplicated", 0),
        ] {
            assert_eq!(report[field], figure, "{transport}, {field}: {report}");
        }
        assert!(report["latency_ms"]["p50"].is_f64(), "{report}");
    }
}

#[test]
fn what_a_fan_out_cannot_do_is_said() {
    let machine = Machine::new();
    let fanout = |flags: &[&str]| machine.error(&[&["bench", "fanout"][..], flags].concat());
    for transport in ["ws", "ws-json", "grpc-web"] {
        let shared = ["--subscribers", "6", "--connections", "3"];
        let error = fanout(&[&shared[..], &["--transport", transport]].concat());
        assert!(
            error.contains("--connections") && error.contains("left out or 6"),
            "{error}"
        );
    }
    for transport in ["grpc", "listen"] {
        let error = fanout(&["--via-bridge", "--transport", transport]);
        assert!(error.contains("ws, ws-json and grpc-web"), "{error}");
    }
    let nowhere = machine.path("nowhere");
    let bridge = format!("--via-bridge={}", utf8(&nowhere));
    let error = fanout(&["--transport", "ws", "--subscribers", "2", &bridge]);
    assert!(error.contains(utf8(&nowhere)), "{error}");
}
