//! A node at the bound of its calls refuses those beyond, and says when to come again.

use crate::support::{PATIENCE, TestNode};
use crate::world::User;
use axum::routing::post;
use axum::{Json, Router};
use chirm_proto::v1;
use chirm_server::rpc::status::Failure;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// A service that reviews messages when it may, and tells how many came.
struct Reviewer {
    url: String,
    came: Arc<Semaphore>,
    may: Arc<Semaphore>,
}

impl Reviewer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (came, may) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (coming, allowed) = (came.clone(), may.clone());
        let review = move || async move {
            coming.add_permits(1);
            allowed.acquire().await.expect("open").forget();
            Json::<Value>(json!({ "action": "allow" }))
        };
        let service = Router::new().route("/review", post(review));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            url: format!("http://{address}/review"),
            came,
            may,
        }
    }
}

fn is_shed(status: &Status) {
    let failure = Failure::from_status(status);
    assert_eq!(
        (failure.code, &*failure.reason),
        (Code::Unavailable, "OVERLOADED"),
        "{status:?}"
    );
    assert!(failure.retry_after > Some(Duration::ZERO), "{status:?}");
}

/// A call by REST, as it comes over the wire.
async fn get(node: &TestNode, path: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(node.address).await.expect("connects");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: chirm\r\nauthorization: Bearer {token}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// Calls again and again until one is refused, as it must be at the bound.
async fn until_shed<T, F: Future<Output = Result<T, Status>>>(call: impl Fn() -> F) {
    let shed = async {
        loop {
            if let Err(refused) = call().await {
                return is_shed(&refused);
            }
        }
    };
    timeout(PATIENCE, shed).await.expect("no call is refused");
}

#[tokio::test]
async fn a_node_at_its_bound_refuses_calls_with_retry_info_and_recovers() {
    let reviewer = Reviewer::start().await;
    let node = TestNode::start(&[
        ("limits.enabled", "false"),
        ("limits.calls", "2"),
        ("hooks.pre_send.url", &reviewer.url),
        (
            "hooks.pre_send.secret",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ),
        ("hooks.pre_send.timeout_ms", "3000"),
        ("hooks.pre_send.fail", "closed"),
    ])
    .await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let (_, channel) = ann.create_server("s").await;
    // Two sends are under way at any time: one that isn't reviewed in time is followed by another.
    let over = CancellationToken::new();
    let senders = [0, 1].map(|_| {
        let (ann, over) = (ann.clone(), over.clone());
        tokio::spawn(async move {
            while !over.is_cancelled() {
                let send = v1::SendMessageRequest {
                    channel_id: channel,
                    content: "held".to_owned(),
                    ..Default::default()
                };
                // In time, too late or shed itself: the next one follows.
                let _ = ann.try_send(send).await;
            }
        })
    });
    reviewer.came.acquire_many(2).await.expect("open").forget();

    let list = || bob.request(v1::ListServersRequest::default());
    until_shed(|| async { bob.servers().list_servers(list()).await }).await;
    let rest = async {
        loop {
            let answer = get(&node, "/v1/servers", &bob.token).await;
            if !answer.starts_with("HTTP/1.1 200 ") {
                return answer;
            }
        }
    };
    let refused = timeout(PATIENCE, rest).await.expect("no call is refused");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    for part in ["OVERLOADED", "google.rpc.RetryInfo", "retryDelay"] {
        assert!(refused.contains(part), "{refused}");
    }
    let well = get(&node, "/readyz", "").await;
    assert!(well.starts_with("HTTP/1.1 200 "), "{well}");
    // What is open isn't a call.
    bob.connect(vec![]).await;

    over.cancel();
    reviewer.may.add_permits(1_000);
    for sender in senders {
        sender.await.expect("it ends");
    }
    let listed = bob.servers().list_servers(list()).await;
    listed.expect("there is room again");
    let listed = get(&node, "/v1/servers", &bob.token).await;
    assert!(listed.starts_with("HTTP/1.1 200 "), "{listed}");
    node.stop().await;
}

/// The request's head, and no more of it than that.
#[tokio::test]
async fn who_sends_a_request_slowly_takes_nobodys_place() {
    let node = TestNode::start(&[("limits.enabled", "false"), ("limits.calls", "1")]).await;
    let ann = User::mint(&node, "ann").await;
    let stream = TcpStream::connect(node.address).await.expect("connects");
    let socket = h2::client::handshake(stream).await;
    let (mut client, connection) = socket.expect("HTTP/2");
    let request = http::Request::post(format!("{}/chirm.v1.ServerService/ListServers", node.url()))
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {}", ann.token))
        .body(())
        .expect("a request");
    let (answer, mut body) = client.send_request(request, false).expect("sends");
    let slow = async {
        body.send_data(bytes::Bytes::from_static(&[0]), false)
            .expect("sends");
        for _ in 0..3 {
            let list = ann.request(v1::ListServersRequest::default());
            let listed = ann.servers().list_servers(list).await;
            listed.expect("there is room");
        }
        body.send_data(bytes::Bytes::from_static(&[0; 4]), true)
            .expect("sends");
        answer.await.expect("an answer")
    };
    tokio::select! {
        answer = slow => assert_eq!(answer.status(), 200),
        ended = connection => panic!("the connection ended: {ended:?}"),
    }
    node.stop().await;
}
