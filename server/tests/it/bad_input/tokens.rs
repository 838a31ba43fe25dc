//! Tokens: none, wrong ones, ended ones.

use super::{identify, world, wrong_secret};
use crate::support::{Raw, TestNode, reason};
use crate::world::{User, with_token};
use chirm_proto::v1::{self, auth_service_client::AuthServiceClient};
use chirm_server::rpc::status::Failure;
use std::time::Duration;
use tonic::{Code, Request};

#[tokio::test]
async fn tokens_are_checked_on_every_call() {
    let (node, ann, _) = world().await;
    let list = v1::ListServersRequest::default;
    let mut servers = ann.servers();
    let missing = servers.list_servers(list()).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::Unauthenticated, "TOKEN_MISSING")
    );
    for token in [
        "",
        "x",
        "v1.1.AAAA",
        "v1.99999999999999999999.AAAA",
        "r1.1.x",
        "é",
    ] {
        let Ok(header) = format!("Bearer {token}").parse() else {
            continue;
        };
        let mut request = tonic::Request::new(list());
        request.metadata_mut().insert("authorization", header);
        let error = servers.list_servers(request).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{token}");
    }
    let logout = v1::LogoutRequest {};
    let (mut stream, _) = ann.connect(vec![]).await;
    ann.auth()
        .logout(ann.request(logout))
        .await
        .expect("signs out");
    assert_eq!(stream.closing().await.reason, "SESSION_REVOKED");
    let error = servers
        .list_servers(with_token(&ann.token, list()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    node.stop().await;
}

#[tokio::test]
async fn a_token_that_is_well_formed_needs_its_secret() {
    let (node, ann, _) = world().await;
    for token in [&ann.token, &node.key] {
        let token = wrong_secret(token);
        let list = with_token(&token, v1::ListServersRequest::default());
        let refused = ann.servers().list_servers(list).await.unwrap_err();
        assert_eq!(reason(&refused), "TOKEN_INVALID");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    node.stop().await;
}

#[tokio::test]
async fn an_expired_token_says_so_on_calls_and_streams() {
    let node = TestNode::start(&[("auth.access_ttl_s", "1")]).await;
    let ann = User::mint(&node, "ann").await;
    let refused = loop {
        let list = ann.request(v1::ListServersRequest::default());
        match ann.servers().list_servers(list).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(reason(&refused), "TOKEN_EXPIRED");
    let mut stream = ann.raw_stream().await;
    stream.identify(identify(&ann.token)).await;
    let closing = stream.closing().await;
    assert_eq!(
        (closing.code, closing.reason.as_str()),
        (4011, "TOKEN_EXPIRED")
    );
    assert_eq!(closing.advice(), v1::Advice::Reauthenticate);
    node.stop().await;
}

/// Reflection tells what there is; a token is needed for all of it but to get one.
#[tokio::test]
async fn without_a_token_every_call_is_refused_but_those_that_give_one() {
    const GIVE: [&str; 4] = ["Register", "Login", "Refresh", "ExchangeToken"];
    let node = TestNode::start(&[]).await;
    let mut calls = 0;
    for service in chirm_server::rpc::PUBLIC {
        let service = chirm_proto::pool().get_service_by_name(service);
        for method in service.expect("a service").methods() {
            if method.is_client_streaming() || method.is_server_streaming() {
                continue;
            }
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let mut grpc = tonic::client::Grpc::new(node.channel().await);
            grpc.ready().await.expect("ready");
            let (codec, path) = (Raw::<()>::default(), path.parse().expect("a path"));
            let answered = grpc
                .unary(Request::new(bytes::Bytes::new()), path, codec)
                .await;
            let refused = answered.expect_err("nothing works without a token");
            let missing = reason(&refused) == "TOKEN_MISSING";
            assert_eq!(
                missing,
                !GIVE.contains(&method.name()),
                "{}",
                method.full_name()
            );
            calls += 1;
        }
    }
    assert!(calls > 40, "{calls}");
}

#[tokio::test]
async fn tokens_are_changed_so_often_for_an_address() {
    let node = TestNode::start(&[]).await;
    let mut auth = AuthServiceClient::new(node.channel().await);
    let refresh = || v1::RefreshRequest {
        refresh_token: "r1.1.x".to_owned(),
    };
    let mut calls = 0;
    let limited = loop {
        let refused = auth.refresh(refresh()).await.expect_err("no token");
        if reason(&refused) != "TOKEN_INVALID" {
            break refused;
        }
        calls += 1;
        assert!(calls < 10_000, "nothing limits it");
    };
    assert!(calls >= 600, "{calls}");
    let exchange = v1::ExchangeTokenRequest::default();
    let exchange = auth.exchange_token(exchange).await.expect_err("limited");
    for refused in [limited, exchange] {
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let failure = Failure::from_status(&refused);
        assert_eq!(failure.reason, "RATE_LIMITED");
        assert!(failure.retry_after.is_some());
    }
    node.stop().await;
}
