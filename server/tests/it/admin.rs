//! The listener for operators, over its real socket; and what health and reflection say.

use crate::support::{Raw, TestNode, reason};
use crate::world::{User, with_token};
use chirm_proto::v1::admin_service_client::AdminServiceClient;
use chirm_proto::v1::{self, auth_service_client::AuthServiceClient, server_frame::Frame};
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

async fn admin(node: &TestNode) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(node.admin_channel().await)
}

/// A key made over the wire.
async fn create_key(node: &TestNode, scope: v1::KeyScope) -> v1::CreateKeyResponse {
    let request = v1::CreateKeyRequest {
        name: "made".to_owned(),
        scope: scope.into(),
        ..Default::default()
    };
    let request = with_token(&node.key, request);
    let made = admin(node).await.create_key(request).await;
    made.expect("a key").into_inner()
}

#[tokio::test]
async fn only_a_key_of_admin_scope_is_let_in_and_only_there() {
    let node = TestNode::start(&[]).await;
    let mut operators = admin(&node).await;
    let none = operators.get_figures(v1::GetFiguresRequest {}).await;
    assert_eq!(none.unwrap_err().code(), Code::Unauthenticated);
    let user = User::mint(&node, "ann").await;
    let service = create_key(&node, v1::KeyScope::Service).await;
    for token in [&user.token, &service.token] {
        let refused = operators.get_figures(with_token(token, v1::GetFiguresRequest {}));
        assert_eq!(refused.await.unwrap_err().code(), Code::PermissionDenied);
    }
    let mut public = AdminServiceClient::new(node.channel().await);
    let absent = public.get_figures(with_token(&node.key, v1::GetFiguresRequest {}));
    assert_eq!(absent.await.unwrap_err().code(), Code::Unimplemented);
}

/// Where only this machine gets to it cleartext will do, whatever the port speaks.
#[tokio::test]
async fn operators_get_tls_beyond_loopback() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let cert = file("cert.pem", made.cert.pem());
    let key = file("key.pem", made.signing_key.serialize_pem());
    let tls = [("tls.cert", cert.as_str()), ("tls.key", key.as_str())];
    let figures = |node: &TestNode| with_token(&node.key, v1::GetFiguresRequest {});

    let node = TestNode::start(&tls).await;
    let cleartext = admin(&node).await.get_figures(figures(&node)).await;
    cleartext.expect("figures");
    node.stop().await;

    let node = TestNode::start(&[tls[0], tls[1], ("admin_listen", "0.0.0.0:0")]).await;
    let roots = tonic::transport::Certificate::from_pem(made.cert.pem());
    let trusting = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(roots)
        .domain_name("localhost");
    let endpoint = format!("https://127.0.0.1:{}", node.admin.port());
    let endpoint = Channel::from_shared(endpoint).expect("a URL");
    let channel = endpoint.tls_config(trusting).expect("TLS");
    let channel = channel.connect().await.expect("connects");
    let mut by_tls = AdminServiceClient::new(channel);
    by_tls.get_figures(figures(&node)).await.expect("figures");
    node.stop().await;
}

#[tokio::test]
async fn figures_count_what_happened() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (_stream, _) = ann.connect(Vec::new()).await;
    ann.send(channel, "one").await;
    let figures = admin(&node)
        .await
        .get_figures(with_token(&node.key, v1::GetFiguresRequest {}))
        .await
        .expect("figures")
        .into_inner();
    assert_eq!(figures.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(figures.sessions, 1);
    // The nodes of this process share their counters.
    assert!(figures.messages_sent >= 1 && figures.connections >= 1);
    assert!(!figures.draining);
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked() {
    let node = TestNode::start(&[]).await;
    let made = create_key(&node, v1::KeyScope::Service).await;
    let key_id = made.key.expect("its description").id;
    let mut operators = admin(&node).await;
    let list = operators.list_keys(with_token(&node.key, v1::ListKeysRequest::default()));
    let keys = list.await.expect("keys").into_inner().keys;
    assert_eq!(keys.first().map(|key| key.id), Some(key_id), "newest first");
    let mint = || {
        let subject = v1::mint_session_request::Subject::ExternalId("player-7".to_owned());
        let request = v1::MintSessionRequest {
            subject: Some(subject),
            ..Default::default()
        };
        with_token(&made.token, request)
    };
    let mut auth = AuthServiceClient::new(node.channel().await);
    auth.mint_session(mint()).await.expect("it works");
    let revoke = v1::RevokeKeyRequest { key_id };
    let revoke = operators.revoke_key(with_token(&node.key, revoke));
    revoke.await.expect("revoked");
    let refused = auth.mint_session(mint()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_backup_taken_online_has_what_was_acknowledged() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let sent = ann.send(channel, "keep me").await;
    let copy = node.dir.path().join("copy.chirm");
    let path = copy.display().to_string();
    let request = || with_token(&node.key, v1::BackupRequest { path: path.clone() });
    let mut operators = admin(&node).await;
    let mut progress = operators
        .backup(request())
        .await
        .expect("starts")
        .into_inner();
    let mut last = None;
    while let Some(said) = progress.next().await {
        last = Some(said.expect("progress"));
    }
    assert!(last.is_some_and(|last| last.done && last.bytes_copied > 0));
    let again = match operators.backup(request()).await {
        Ok(answer) => answer.into_inner().next().await.expect("an answer").err(),
        Err(status) => Some(status),
    };
    assert!(
        again
            .expect("refused")
            .message()
            .contains("never overwrites")
    );

    let restored = tempfile::tempdir().expect("a folder");
    std::fs::copy(&copy, restored.path().join("chirm.db")).expect("copies");
    let second = TestNode::start_in(restored.into(), &[]).await;
    let ann = User::mint(&second, "ann").await;
    let request = v1::GetMessageRequest {
        channel_id: channel,
        message_id: sent.id,
    };
    let found = ann.messages().get_message(ann.request(request)).await;
    let message = found.expect("it is there").into_inner().message;
    assert_eq!(message.expect("a message").content, "keep me");
}

#[tokio::test]
async fn an_erased_user_leaves_no_content() {
    let node = TestNode::start(&[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let (server, channel) = ann.create_server("s").await;
    bob.join(server).await;
    let sent = bob.send(channel, "my secret").await;
    let erase = v1::EraseUserRequest { user_id: bob.id };
    let erase = with_token(&node.key, erase);
    let erased = admin(&node).await.erase_user(erase).await;
    let erased = erased.expect("erased").into_inner();
    assert_eq!(erased.messages_erased, 1);
    let request = v1::ListMessagesRequest {
        channel_id: channel,
        ..Default::default()
    };
    let page = ann.messages().list_messages(ann.request(request)).await;
    for message in page.expect("a page").into_inner().messages {
        assert!(message.id != sent.id || message.content.is_empty());
    }
    let request = bob.request(v1::ListServersRequest::default());
    let dead = bob.servers().list_servers(request).await;
    assert_eq!(dead.unwrap_err().code(), Code::Unauthenticated);
}

/// What `grpc.health.v1` says of a service.
async fn health(channel: Channel, service: &str) -> i32 {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let checked = HealthClient::new(channel).check(request).await;
    checked.expect("a status").into_inner().status
}

#[tokio::test]
async fn a_drain_tells_clients_and_probes() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (mut stream, _) = ann.connect(Vec::new()).await;
    let serving = ServingStatus::Serving as i32;
    assert_eq!(health(node.channel().await, "").await, serving);
    assert_eq!(
        health(node.channel().await, "chirm.v1.MessageService").await,
        serving
    );
    let request = with_token(&node.key, v1::DrainRequest::default());
    let told = admin(&node).await.drain(request).await;
    assert_eq!(told.expect("drains").into_inner().sessions, 1);
    stream
        .until(|frame| matches!(frame, Frame::Reconnect(_)).then_some(()))
        .await;
    assert_eq!(stream.closing().await.reason, "DRAINING");
    let mut watch = HealthClient::new(node.channel().await)
        .watch(HealthCheckRequest::default())
        .await
        .expect("a watch")
        .into_inner();
    while let Some(said) = watch.next().await {
        if said.expect("a status").status == ServingStatus::NotServing as i32 {
            break;
        }
    }
    let mut late = ann.raw_stream().await;
    late.identify(v1::Identify {
        token: ann.token.clone(),
        ..Default::default()
    })
    .await;
    assert_eq!(late.closing().await.reason, "DRAINING");
}

/// The services that reflection lists.
async fn listed(channel: Channel) -> Vec<String> {
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(Request::new(tokio_stream::once(ask)))
        .await;
    let answer = answers.expect("a stream").into_inner().next().await;
    match answer
        .expect("an answer")
        .expect("no status")
        .message_response
    {
        Some(MessageResponse::ListServicesResponse(list)) => {
            let mut names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
            names.sort();
            names
        }
        other => panic!("not a list: {other:?}"),
    }
}

#[tokio::test]
async fn reflection_lists_what_is_served_there() {
    let node = TestNode::start(&[]).await;
    let public = listed(node.channel().await).await;
    assert_eq!(
        public,
        [
            "chirm.v1.AuthService",
            "chirm.v1.ChannelService",
            "chirm.v1.GatewayService",
            "chirm.v1.MessageService",
            "chirm.v1.ModerationService",
            "chirm.v1.PresenceService",
            "chirm.v1.ReadStateService",
            "chirm.v1.ServerService",
            "chirm.v1.UserService",
            "chirm.v1.WebhookService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
    );
    let operators = listed(node.admin_channel().await).await;
    assert!(operators.contains(&"chirm.v1.AdminService".to_owned()));
    assert!(!operators.contains(&"chirm.v1.MessageService".to_owned()));
}

#[tokio::test]
async fn a_request_that_never_ends_is_answered() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let node = TestNode::start(&[("net.request_timeout_ms", "50")]).await;
    let mut socket = tokio::net::TcpStream::connect(node.address).await.unwrap();
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("DEADLINE_EXCEEDED"), "{answer}");

    let endless = tokio_stream::pending::<bytes::Bytes>();
    let mut grpc = tonic::client::Grpc::new(node.channel().await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/chirm.v1.AuthService/Login");
    let codec = Raw::<v1::LoginResponse>::default();
    let refused = grpc.client_streaming(Request::new(endless), path, codec);
    let status = refused.await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
}
