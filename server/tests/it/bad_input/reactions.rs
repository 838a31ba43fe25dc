//! Reactions that can't be, on every path, and emoji in REST paths.

use super::calls::rest;
use super::world;
use crate::support::reason;
use chirm_proto::v1::{self, client_frame, result::Result as Answer};
use chirm_server::rpc::status::Failure;
use tonic::Code;

fn add(channel_id: i64, message_id: i64, emoji: &str) -> v1::AddReactionRequest {
    v1::AddReactionRequest {
        channel_id,
        message_id,
        emoji: emoji.to_owned(),
    }
}

#[tokio::test]
async fn a_bad_emoji_is_named_with_its_size_on_every_path() {
    let (node, ann, channel) = world().await;
    let id = ann.send(channel, "hello").await.id;
    let (mut stream, _) = ann.connect(vec![]).await;
    for (n, (emoji, says)) in [
        ("", "0 characters"),
        ("two words", "U+0020"),
        (&*"x".repeat(65), "65 characters"),
        (&*"x".repeat(300), "300 bytes"),
        ("a\u{0}", "U+0000"),
        ("\u{202e}a", "U+202E"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = ann.request(add(channel, id, emoji));
        let status = ann.messages().add_reaction(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let by_call = Failure::from_status(&status);
        let call_id = n as u32 + 1;
        let frame = client_frame::Frame::AddReaction(add(channel, id, emoji));
        stream.call(call_id, frame).await;
        let Answer::Error(error) = stream.result(call_id).await else {
            panic!("taken")
        };
        for failure in [by_call, Failure::from_proto(&error)] {
            assert_eq!(failure.reason, "FIELD_INVALID");
            let wrong = &failure.violations[0];
            assert_eq!(wrong.field, "emoji");
            assert!(wrong.description.contains(says), "{wrong:?}");
        }
    }
    let nobody = ann.request(v1::RemoveReactionRequest {
        user_id: -7,
        channel_id: channel,
        message_id: id,
        emoji: "a".to_owned(),
    });
    let nobody = ann.messages().remove_reaction(nobody).await.unwrap_err();
    assert_eq!(Failure::from_status(&nobody).violations[0].field, "user_id");
    for size in [-1, 1_001] {
        let pins = ann.request(v1::ListPinsRequest {
            channel_id: channel,
            page_size: size,
            ..Default::default()
        });
        let refused = ann.messages().list_pins(pins).await.unwrap_err();
        assert_eq!(
            Failure::from_status(&refused).violations[0].field,
            "page_size"
        );
    }
    let token = ann.request(v1::ListReactionsRequest {
        channel_id: channel,
        message_id: id,
        emoji: "a".to_owned(),
        page_token: "nonsense".to_owned(),
        ..Default::default()
    });
    let refused = ann.messages().list_reactions(token).await.unwrap_err();
    assert_eq!(
        Failure::from_status(&refused).violations[0].field,
        "page_token"
    );
    for (channel, id) in [(channel, id + 1), (channel + 1, id), (0, 0), (-1, i64::MIN)] {
        let request = ann.request(add(channel, id, "a"));
        let absent = ann.messages().add_reaction(request).await;
        assert_eq!(reason(&absent.unwrap_err()), "NOT_FOUND");
    }
    node.stop().await;
}

#[tokio::test]
async fn any_emoji_fits_into_a_path() {
    let (node, ann, channel) = world().await;
    let id = ann.send(channel, "hello").await.id;
    let base = format!("/v1/channels/{channel}/messages/{id}/reactions");
    for (path, emoji) in [
        ("%E2%9D%A4%EF%B8%8F", "\u{2764}\u{fe0f}"),
        ("a%2Fb%3Fc", "a/b?c"),
        ("%3Awave%3A", ":wave:"),
    ] {
        let (status, answer) = rest(&ann, &node, &format!("PUT {base}/{path}"), "").await;
        assert_eq!((status, &answer["reaction"]["emoji"]), (200, &emoji.into()));
        let (status, who) = rest(&ann, &node, &format!("GET {base}/{path}"), "").await;
        assert_eq!(status, 200);
        assert_eq!(who["users"][0]["id"], ann.id.to_string());
    }
    let (status, error) = rest(&ann, &node, &format!("PUT {base}/a%20b"), "").await;
    assert_eq!((status, &error["error"]["code"]), (400, &400.into()));
    let (status, _) = rest(&ann, &node, &format!("DELETE {base}/a%2Fb%3Fc"), "").await;
    assert_eq!(status, 200);
    let (status, _) = rest(&ann, &node, &format!("DELETE {base}?emoji=%3Awave%3A"), "").await;
    assert_eq!(status, 200);
    let call = format!("GET /v1/channels/{channel}/messages/{id}");
    let (_, got) = rest(&ann, &node, &call, "").await;
    let heart = serde_json::json!([{"emoji": "\u{2764}\u{fe0f}", "count": 1, "own": true}]);
    assert_eq!(got["message"]["reactions"], heart);
    node.stop().await;
}
