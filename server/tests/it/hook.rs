//! The hook before sends, on a whole node, with a service of an integrator's.

use crate::support::TestNode;
use crate::world::{User, channel_topic};
use axum::routing::post;
use axum::{Json, Router};
use chirm_proto::v1::{
    self, client_frame, event::Event, result::Result as Answer, server_frame::Frame,
};
use chirm_server::rpc::status::Failure;
use serde_json::{Value, json};
use tokio::net::TcpListener;

async fn review(Json(draft): Json<Value>) -> Json<Value> {
    Json(match draft["content"].as_str() {
        Some("bad") => json!({ "action": "reject", "reason": "Be kind." }),
        Some("curse") => json!({ "action": "rewrite", "content": "***" }),
        _ => json!({ "action": "allow" }),
    })
}

#[tokio::test]
async fn a_service_reviews_what_a_stream_sends_and_the_order_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/review", listener.local_addr().expect("it"));
    let service = Router::new().route("/review", post(review));
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let node = TestNode::start(&[
        ("limits.enabled", "false"),
        ("hooks.pre_send.url", &url),
        (
            "hooks.pre_send.secret",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ),
        ("hooks.pre_send.timeout_ms", "3000"),
        ("hooks.pre_send.fail", "closed"),
    ])
    .await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (mut stream, _) = ann.connect(vec![]).await;
    let texts = ["one", "bad", "two", "curse", "three"];
    for (call, content) in texts.iter().enumerate() {
        let send = v1::SendMessageRequest {
            channel_id: channel,
            content: (*content).to_owned(),
            ..Default::default()
        };
        let frame = client_frame::Frame::SendMessage(send);
        stream.call(call as u32 + 1, frame).await;
    }
    let (mut seen, mut refused) = (Vec::new(), None);
    stream
        .until(|frame| {
            match frame {
                Frame::Event(event) if event.topic == Some(channel_topic(channel)) => {
                    if let Some(Event::MessageCreated(made)) = &event.event {
                        seen.push(made.message.clone().expect("it").content);
                    }
                }
                Frame::Result(result) => {
                    if let Some(Answer::Error(error)) = &result.result {
                        refused = Some((result.call_id, Failure::from_proto(error)));
                    }
                }
                _ => {}
            }
            (seen.len() == 4 && refused.is_some()).then_some(())
        })
        .await;
    assert_eq!(seen, ["one", "two", "***", "three"]);
    let (call, failure) = refused.expect("one");
    assert_eq!((call, &*failure.reason), (2, "REJECTED_BY_HOOK"));
    assert_eq!(failure.message, "Be kind.");
    node.stop().await;
    serving.abort();
}
