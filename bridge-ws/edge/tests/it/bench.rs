//! `chirm bench fanout --via-bridge`, small: that it measures, not what.

use crate::support::Server;
use chirm_bench::{FanoutOptions, Front, Target, Transport, fanout, tracker::Pace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_through_a_bridge_reaches_everyone_and_counts_both_processes() {
    let server = Server::start().await;
    for transport in [Transport::Ws, Transport::WsJson, Transport::GrpcWeb] {
        let options = FanoutOptions {
            target: Target {
                server: Some(server.url()),
                // The server runs in this process.
                pid: Some(std::process::id()),
                key: Some(server.key.clone()),
                binary: None,
            },
            subscribers: 5,
            connections: 5,
            messages: 20,
            pace: Pace::InFlight(4),
            transport,
            front: Front::Bridge(Some(env!("CARGO_BIN_EXE_chirm-bridge-ws").into())),
            content_bytes: 200,
        };
        let report = fanout(options).await.expect("measures");
        assert!(report.is_clean(), "{}", report.json());
        assert_eq!(report.deliveries, Some(100));
        let cpu = (report.cpu_s_per_million, report.cpu_s_per_million_bridge);
        let rss = (
            report.rss_bytes_per_connection,
            report.rss_bytes_per_connection_bridge,
        );
        for (all, of_bridge) in [cpu, rss] {
            let pair = all.zip(of_bridge).expect("both are known");
            assert!(pair.0 >= pair.1, "{transport:?}: {pair:?}");
        }
    }
}
