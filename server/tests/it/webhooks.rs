//! Webhooks over real sockets: who manages them, what is refused, and that they are told.

use crate::bad_input::rest;
use crate::support::{PATIENCE, TestNode, reason};
use crate::world::{User, with_token};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap};
use chirm_proto::v1::{self, webhook_service_client::WebhookServiceClient};
use chirm_server::outgoing::SigningKey;
use chirm_server::rpc::status::Failure;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::Code;
use tonic::transport::Channel;

const URL: &str = "https://example.com/hook";
const CREATED: &str = "message.created";

async fn service(node: &TestNode) -> WebhookServiceClient<Channel> {
    WebhookServiceClient::new(node.channel().await)
}

fn create(server_id: i64, url: &str, events: &[&str]) -> v1::CreateWebhookRequest {
    v1::CreateWebhookRequest {
        server_id,
        url: url.to_owned(),
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        request_id: String::new(),
    }
}

async fn made(node: &TestNode, token: &str, new: v1::CreateWebhookRequest) -> v1::Webhook {
    let mut webhooks = service(node).await;
    let made = webhooks.create_webhook(with_token(token, new)).await;
    made.expect("made").into_inner().webhook.expect("a webhook")
}

/// Every call about the webhook answers as if there were none.
async fn is_hidden_from(webhooks: &mut WebhookServiceClient<Channel>, bob: &User, id: i64) {
    let update = v1::UpdateWebhookRequest {
        webhook_id: id,
        webhook: Some(v1::Webhook {
            enabled: true,
            ..Default::default()
        }),
        update_mask: None,
    };
    let webhook_id = id;
    let letters = v1::ListDeadLettersRequest {
        webhook_id,
        ..Default::default()
    };
    let letter_id = 0;
    let again = v1::RedeliverDeadLettersRequest {
        webhook_id,
        letter_id,
    };
    let rotate = v1::RotateWebhookSecretRequest { webhook_id };
    let delete = v1::DeleteWebhookRequest { webhook_id };
    for refused in [
        webhooks.update_webhook(bob.request(update)).await.err(),
        webhooks.list_dead_letters(bob.request(letters)).await.err(),
        webhooks
            .redeliver_dead_letters(bob.request(again))
            .await
            .err(),
        webhooks
            .rotate_webhook_secret(bob.request(rotate))
            .await
            .err(),
        webhooks.delete_webhook(bob.request(delete)).await.err(),
    ] {
        assert_eq!(reason(&refused.expect("refused")), "NOT_FOUND");
    }
}

#[tokio::test]
async fn admins_manage_their_servers_webhooks_and_others_find_none() {
    let node = TestNode::start(&[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let (server, _) = ann.create_server("s").await;
    bob.join(server).await;
    let mut webhooks = service(&node).await;
    let of_ann = made(&node, &ann.token, create(server, URL, &[CREATED])).await;
    let of_all = made(
        &node,
        &node.key,
        create(0, URL, &[CREATED, "recipient.offline"]),
    )
    .await;
    assert_eq!(of_all.events, [CREATED, "recipient.offline"]);

    for (new, why) in [
        (create(server, URL, &[CREATED]), "PERMISSION_DENIED"),
        (create(0, URL, &[CREATED]), "KEY_REQUIRED"),
        (create(server + 1, URL, &[CREATED]), "NOT_FOUND"),
    ] {
        let refused = webhooks.create_webhook(bob.request(new)).await;
        assert_eq!(reason(&refused.unwrap_err()), why);
    }
    for id in [of_ann.id, of_all.id, 77, 0, -1] {
        is_hidden_from(&mut webhooks, &bob, id).await;
    }
    let list = v1::ListWebhooksRequest {
        server_id: server,
        ..Default::default()
    };
    let listed = webhooks.list_webhooks(ann.request(list.clone())).await;
    assert_eq!(
        listed.unwrap().into_inner().webhooks,
        std::slice::from_ref(&of_ann)
    );
    let refused = webhooks.list_webhooks(bob.request(list)).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);

    let delete = v1::DeleteWebhookRequest {
        webhook_id: of_ann.id,
    };
    webhooks.delete_webhook(ann.request(delete)).await.unwrap();
    let again = webhooks.delete_webhook(ann.request(delete)).await;
    assert_eq!(reason(&again.unwrap_err()), "NOT_FOUND");
    node.stop().await;
}

#[tokio::test]
async fn wrong_values_are_named_and_bounds_hold() {
    let node = TestNode::start(&[("webhooks.per_server", "2")]).await;
    let ann = User::mint(&node, "ann").await;
    let (server, _) = ann.create_server("s").await;
    let mut webhooks = service(&node).await;
    let long = format!("https://example.com/{}", "a".repeat(2_048));
    let seven = [CREATED; 7];
    for (new, field) in [
        (create(server, "", &[CREATED]), "url"),
        (create(server, &long, &[CREATED]), "url"),
        (create(server, "http://example.com/", &[CREATED]), "url"),
        (
            create(server, "https://a:b@example.com/", &[CREATED]),
            "url",
        ),
        (create(server, "https://127.0.0.1/", &[CREATED]), "url"),
        (create(server, "https://[fd00::1]/", &[CREATED]), "url"),
        (create(server, "https://example.com:22/", &[CREATED]), "url"),
        (create(server, URL, &[]), "events"),
        (create(server, URL, &["message"]), "events"),
        (create(server, URL, &seven), "events"),
    ] {
        let refused = webhooks.create_webhook(ann.request(new)).await;
        let failure = Failure::from_status(&refused.unwrap_err());
        assert_eq!(failure.reason, "FIELD_INVALID", "{failure:?}");
        assert_eq!(failure.violations[0].field, field);
    }
    let with_id = v1::CreateWebhookRequest {
        request_id: "0198c9a0-0000-7000-8000-000000000003".to_owned(),
        ..create(server, URL, &[CREATED])
    };
    let first = webhooks.create_webhook(ann.request(with_id.clone())).await;
    let first = first.unwrap().into_inner();
    let again = webhooks.create_webhook(ann.request(with_id.clone())).await;
    assert_eq!(again.unwrap().into_inner(), first);
    let other = v1::CreateWebhookRequest {
        events: vec!["member.left".to_owned()],
        ..with_id
    };
    let other = webhooks.create_webhook(ann.request(other)).await;
    assert_eq!(reason(&other.unwrap_err()), "NONCE_REUSED");
    made(&node, &ann.token, create(server, URL, &[CREATED])).await;
    let full = webhooks.create_webhook(ann.request(create(server, URL, &[CREATED])));
    assert_eq!(reason(&full.await.unwrap_err()), "LIMIT_REACHED");
    let mut update = v1::UpdateWebhookRequest {
        webhook_id: first.webhook.unwrap().id,
        webhook: Some(v1::Webhook::default()),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["url".to_owned()],
        }),
    };
    let refused = webhooks.update_webhook(ann.request(update.clone())).await;
    let failure = Failure::from_status(&refused.unwrap_err());
    assert_eq!(failure.violations[0].field, "webhook.url");
    update.update_mask.as_mut().unwrap().paths = vec!["secret".to_owned()];
    let refused = webhooks.update_webhook(ann.request(update)).await;
    let failure = Failure::from_status(&refused.unwrap_err());
    assert_eq!(failure.violations[0].field, "update_mask");
    node.stop().await;
}

type Got = (HeaderMap, Bytes);

/// A receiver that takes everything.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Got>) {
    let (sender, got) = mpsc::unbounded_channel();
    let take = async |State(sender): State<mpsc::UnboundedSender<Got>>,
                      headers: HeaderMap,
                      body: Bytes| {
        let _ = sender.send((headers, body));
    };
    let router = Router::new().fallback(take).with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, got)
}

#[tokio::test]
async fn what_is_sent_by_rest_is_told_and_signed() {
    let node = TestNode::start(&[("webhooks.allow_private", "true")]).await;
    let ann = User::mint(&node, "ann").await;
    let (server, channel) = ann.create_server("s").await;
    let (url, mut got) = receiver().await;
    let body = format!(r#"{{"serverId": "{server}", "url": "{url}", "events": ["{CREATED}"]}}"#);
    let (status, made) = rest(&ann, &node, "POST /v1/webhooks", &body).await;
    assert_eq!(status, 200, "{made}");
    let secret = made["secret"].as_str().expect("a secret");
    let list = format!("GET /v1/webhooks?serverId={server}");
    let (status, listed) = rest(&ann, &node, &list, "").await;
    assert_eq!((status, &listed["webhooks"][0]), (200, &made["webhook"]));
    assert!(!listed.to_string().contains("whsec_"), "{listed}");

    let sent = ann.send(channel, "told").await;
    let told = tokio::time::timeout(PATIENCE, got.recv()).await;
    let (headers, body) = told.expect("told").expect("a request");
    let json: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(json["type"], CREATED);
    assert_eq!(json["message"]["id"], sent.id.to_string());
    assert_eq!(json["message"]["content"], "told");
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let key = SigningKey::parse(secret).expect("a key");
    let at = header("webhook-timestamp").parse().expect("a number");
    let signature = key.sign(&header("webhook-id"), at, &body);
    assert_eq!(header("webhook-signature"), signature);

    let id = made["webhook"]["id"].as_str().expect("an id");
    let rotate = format!("POST /v1/webhooks/{id}:rotateSecret");
    let (status, rotated) = rest(&ann, &node, &rotate, "{}").await;
    assert_eq!(status, 200, "{rotated}");
    assert_ne!(rotated["secret"], made["secret"]);
    let letters = format!("GET /v1/webhooks/{id}/dead-letters");
    let (status, letters) = rest(&ann, &node, &letters, "").await;
    assert_eq!((status, letters), (200, serde_json::json!({})));
    let again = format!("POST /v1/webhooks/{id}/dead-letters:redeliver");
    let (status, again) = rest(&ann, &node, &again, "{}").await;
    assert_eq!((status, again), (200, serde_json::json!({})));
    node.stop().await;
}
