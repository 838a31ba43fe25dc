//! Messages that are refused, and pages that can't be.

use super::{send, world};
use crate::support::reason;
use crate::world::User;
use chirm_proto::v1::{
    self, client_frame, list_messages_request::Anchor, result::Result as Answer,
};
use tonic::Code;

/// Sends that are refused: name, request, code. `elsewhere` is a message of another channel.
fn bad_sends(
    channel: i64,
    hidden: i64,
    elsewhere: i64,
) -> [(&'static str, v1::SendMessageRequest, Code); 11] {
    let text = || send(channel, "x");
    let reply = v1::SendMessageRequest {
        reply_to: elsewhere,
        ..text()
    };
    let nonce = v1::SendMessageRequest {
        nonce: "short".into(),
        ..text()
    };
    let keys = (0..17).map(|n| (n.to_string(), String::new())).collect();
    let keys = v1::SendMessageRequest {
        metadata: keys,
        ..text()
    };
    let heavy = [("k".to_owned(), "v".repeat(4097))].into();
    let heavy = v1::SendMessageRequest {
        metadata: heavy,
        ..text()
    };
    [
        ("empty", send(channel, ""), Code::InvalidArgument),
        (
            "too many characters",
            send(channel, &"é".repeat(4_001)),
            Code::InvalidArgument,
        ),
        (
            "too many bytes",
            send(channel, &"\u{1F600}".repeat(4_097)),
            Code::InvalidArgument,
        ),
        ("no channel", send(0, "x"), Code::NotFound),
        ("negative id", send(-5, "x"), Code::NotFound),
        ("unknown channel", send(i64::MAX, "x"), Code::NotFound),
        ("hidden channel", send(hidden, "x"), Code::NotFound),
        ("reply elsewhere", reply, Code::InvalidArgument),
        ("nonce", nonce, Code::InvalidArgument),
        ("metadata keys", keys, Code::InvalidArgument),
        ("metadata bytes", heavy, Code::InvalidArgument),
    ]
}

#[tokio::test]
async fn bad_sends_are_refused_one_by_one_on_every_path() {
    let (node, ann, channel) = world().await;
    let bob = User::mint(&node, "bob").await;
    let (_, hidden) = bob.create_server("bob's").await;
    let (_, other) = ann.create_server("other").await;
    let elsewhere = ann.send(other, "elsewhere").await;
    let (mut stream, _) = ann.connect(vec![]).await;
    let mut messages = std::collections::HashMap::new();
    for (call, (name, request, code)) in (1..).zip(bad_sends(channel, hidden, elsewhere.id)) {
        let unary = ann.try_send(request.clone()).await.unwrap_err();
        assert_eq!(unary.code(), code, "{name}: {unary:?}");
        assert!(!reason(&unary).is_empty(), "{name}");
        stream
            .call(call, client_frame::Frame::SendMessage(request))
            .await;
        let Answer::Error(error) = stream.result(call).await else {
            panic!("{name}: taken")
        };
        assert_eq!(
            (error.code, error.message.as_str()),
            (code as i32, unary.message()),
            "{name}"
        );
        messages.insert(name, error.message);
    }
    let (hidden, unknown) = (&messages["hidden channel"], &messages["unknown channel"]);
    assert_eq!(hidden, unknown, "hidden and absent are one answer");
    let page = v1::ListMessagesRequest {
        channel_id: channel,
        limit: 50,
        anchor: None,
    };
    let page = ann
        .messages()
        .list_messages(ann.request(page))
        .await
        .unwrap()
        .into_inner();
    assert!(page.messages.is_empty(), "nothing refused was stored");
    node.stop().await;
}

#[tokio::test]
async fn pages_have_bounds() {
    let (node, ann, channel) = world().await;
    for limit in [-1, 101, i32::MAX] {
        let request = v1::ListMessagesRequest {
            channel_id: channel,
            limit,
            anchor: None,
        };
        let error = ann
            .messages()
            .list_messages(ann.request(request))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("limit"), "{}", error.message());
    }
    let before = Some(Anchor::Before(-7));
    let request = v1::ListMessagesRequest {
        channel_id: channel,
        limit: 0,
        anchor: before,
    };
    let error = ann
        .messages()
        .list_messages(ann.request(request))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    node.stop().await;
}
