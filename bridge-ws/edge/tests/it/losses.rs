//! Gateways that go away.

use crate::browser::Browser;
use crate::support::{Bridge, Server, Wire, eventually};
use chirm_proto::v1::Advice;
use chirm_proto::v1::GetUserRequest;
use chirm_proto::v1::user_service_client::UserServiceClient;

#[tokio::test(flavor = "multi_thread")]
async fn whose_gateway_is_gone_is_told_to_resume() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let wire = Wire::to(server.address).await;
    let bridge = Bridge::start(&[&wire.url()], &[]).await;
    bridge.ready().await;
    let mut browser = Browser::connect(&bridge).await;
    browser.identify(&ann, vec![]).await;

    let address = wire.address;
    drop(wire);
    let (_, closing) = browser.end().await;
    assert_eq!((closing.code, closing.advice()), (4031, Advice::Resume));
    assert_eq!(browser.code, Some(4031));
    let mut late = Browser::connect(&bridge).await;
    late.ask(&ann, vec![]).await;
    let (_, closing) = late.end().await;
    assert_eq!((closing.code, late.code), (4031, Some(4031)));

    let (status, body) = bridge.get("/v1/users/1").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["error"]["status"]),
        (502, &"UNAVAILABLE".into())
    );
    let reason = &body["error"]["details"][0]["reason"];
    assert_eq!(reason, "UPSTREAM_LOST");
    let mut users = UserServiceClient::new(crate::support::channel(bridge.address).await);
    let refused = users.get_user(GetUserRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    let lost = "chirm_bridge_sessions_lost_total{reason=\"connect\"}";
    assert!(bridge.metric(lost).await >= Some(1.0));
    eventually("not ready", async || {
        (bridge.get("/readyz").await.0 == 503).then_some(())
    })
    .await;

    let _wire = Wire::at(address, server.address).await;
    bridge.ready().await;
    let mut browser = Browser::connect(&bridge).await;
    browser.identify(&ann, vec![]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_spread_over_gateways_and_go_where_one_is_well() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let wires = [
        Wire::to(server.address).await,
        Wire::to(server.address).await,
    ];
    let urls = wires.each_ref().map(Wire::url);
    let bridge = Bridge::start(&urls.each_ref().map(String::as_str), &[]).await;
    for url in &urls {
        let ready = format!("chirm_bridge_upstream_ready{{upstream=\"{url}\"}}");
        eventually("both are ready", async || {
            (bridge.metric(&ready).await == Some(1.0)).then_some(())
        })
        .await;
    }
    let mut browsers = Vec::new();
    for _ in 0..4 {
        let mut browser = Browser::connect(&bridge).await;
        browser.identify(&ann, vec![]).await;
        browsers.push(browser);
    }
    for url in &urls {
        let sessions = format!("chirm_bridge_sessions{{upstream=\"{url}\"}}");
        assert_eq!(bridge.metric(&sessions).await, Some(2.0), "{url}");
    }

    let [first, _second] = wires;
    drop(first);
    let sessions = format!("chirm_bridge_sessions{{upstream=\"{}\"}}", urls[0]);
    eventually("the sessions of the first are over", async || {
        (bridge.metric(&sessions).await == Some(0.0)).then_some(())
    })
    .await;
    for _ in 0..2 {
        let mut browser = Browser::connect(&bridge).await;
        browser.identify(&ann, vec![]).await;
        browsers.push(browser);
    }
    let sessions = format!("chirm_bridge_sessions{{upstream=\"{}\"}}", urls[1]);
    assert_eq!(bridge.metric(&sessions).await, Some(4.0));
    assert_eq!(bridge.get("/readyz").await.0, 200);
}

/// More sessions than a connection may carry open another one.
#[tokio::test(flavor = "multi_thread")]
async fn connections_grow_with_sessions() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let few = [
        "--streams-per-connection",
        "2",
        "--warm-connections",
        "1",
        "--upstream-connections",
        "2",
    ];
    let bridge = Bridge::start(&[&server.url()], &few).await;
    let mut browsers = Vec::new();
    for _ in 0..4 {
        let mut browser = Browser::connect(&bridge).await;
        browser.identify(&ann, vec![]).await;
        browsers.push(browser);
    }
    let upstream = format!("{{upstream=\"{}\"}}", server.url());
    let connections = format!("chirm_bridge_upstream_connections{upstream}");
    assert_eq!(bridge.metric(&connections).await, Some(2.0));
    let mut fifth = Browser::connect(&bridge).await;
    fifth.ask(&ann, vec![]).await;
    assert_eq!(fifth.end().await.1.code, 4031);
    let full = "chirm_bridge_sessions_lost_total{reason=\"full\"}";
    assert_eq!(bridge.metric(full).await, Some(1.0));
    drop(browsers);
    eventually("only the warm one is left", async || {
        (bridge.metric(&connections).await == Some(1.0)).then_some(())
    })
    .await;
}
