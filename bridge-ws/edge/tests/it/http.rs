//! What isn't a WebSocket.

use crate::support::{Bridge, Server, channel};
use chirm_proto::v1::CreateServerRequest;
use chirm_proto::v1::server_service_client::ServerServiceClient;

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_answers_for_itself() {
    let server = Server::start().await;
    let bridge = Bridge::start(&[&server.url()], &[]).await;
    bridge.ready().await;
    assert_eq!(bridge.get("/healthz").await, (200, "ok\n".to_owned()));
    let (status, text) = bridge.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(
        text.contains("# HELP chirm_bridge_upstream_ready"),
        "{text}"
    );
    assert!(
        !text.contains("chirm_sessions"),
        "the gateway's are not shown"
    );
    let post = bridge.request("POST /readyz HTTP/1.1", &[], "{}").await;
    assert!(post.status == 405 && post.head.contains("allow: get"));
    let plain = bridge.get("/gateway").await;
    assert!(plain.0 == 426 && plain.1.contains("UPGRADE_REQUIRED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_is_handed_on() {
    let server = Server::start_with(|config| {
        config.browsers.allowed_origins = vec!["https://app.example.com".to_owned()];
    })
    .await;
    let ann = server.user("ann").await;
    let bridge = Bridge::start(&[&server.url()], &[]).await;
    bridge.ready().await;
    let token = format!("authorization: Bearer {}", ann.token);
    let headers = [
        token.as_str(),
        "content-type: application/json",
        "origin: https://app.example.com",
    ];
    let line = "POST /v1/servers HTTP/1.1";
    let made = bridge
        .request(line, &headers, r#"{"name": "by REST"}"#)
        .await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert!(made.body.contains("by REST"), "{}", made.body);
    let cors = "access-control-allow-origin: https://app.example.com";
    assert!(made.head.contains(cors), "{}", made.head);
    let refused = bridge
        .request(line, &headers[1..], r#"{"name": "x"}"#)
        .await;
    assert!(refused.status == 401 && refused.body.contains("TOKEN_MISSING"));

    let mut servers = ServerServiceClient::new(channel(bridge.address).await);
    let mut request = tonic::Request::new(CreateServerRequest {
        name: "by gRPC".to_owned(),
        ..Default::default()
    });
    let bearer = format!("Bearer {}", ann.token).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let made = servers.create_server(request).await.unwrap().into_inner();
    assert_eq!(made.server.unwrap().name, "by gRPC");
    let refused = servers.create_server(CreateServerRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unauthenticated);
}
