//! Reactions and pins over real sockets: by calls, on the stream, after a restart.

use crate::support::{Stream, TestNode, reason};
use crate::world::{User, channel_topic};
use chirm_proto::v1::{
    self, client_frame, event::Event, result::Result as Answer, server_frame::Frame,
};
use tonic::Code;

const HEART: &str = "\u{2764}\u{fe0f}";

fn add(channel_id: i64, message_id: i64, emoji: &str) -> v1::AddReactionRequest {
    v1::AddReactionRequest {
        channel_id,
        message_id,
        emoji: emoji.to_owned(),
    }
}

async fn next_event(stream: &mut Stream, channel: i64) -> Event {
    stream
        .until(|frame| match frame {
            Frame::Event(event) if event.topic == Some(channel_topic(channel)) => {
                event.event.clone()
            }
            _ => None,
        })
        .await
}

/// What answers a call, and the channel's next event: either may come first.
async fn answer_and_event(stream: &mut Stream, call_id: u32, channel: i64) -> (Answer, Event) {
    let (mut answer, mut event) = (None, None);
    while answer.is_none() || event.is_none() {
        let wanted = |frame: &Frame| match frame {
            Frame::Result(result) if result.call_id == call_id => {
                answer = result.result.clone();
                Some(())
            }
            Frame::Event(told) if told.topic == Some(channel_topic(channel)) => {
                event.get_or_insert(told.event.clone()?);
                Some(())
            }
            _ => None,
        };
        stream.until(wanted).await;
    }
    (answer.expect("there"), event.expect("there"))
}

async fn reactions(user: &User, channel_id: i64, message_id: i64) -> Vec<(String, i32, bool)> {
    let request = user.request(v1::GetMessageRequest {
        channel_id,
        message_id,
    });
    let got = user.messages().get_message(request).await.expect("there");
    let message = got.into_inner().message.expect("a message");
    let kinds = message.reactions.into_iter();
    kinds
        .map(|kind| (kind.emoji, kind.count, kind.own))
        .collect()
}

#[tokio::test]
async fn a_reaction_on_the_stream_is_answered_told_and_kept() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let bob = User::mint(&node, "bob").await;
    let (server, channel) = ann.create_server("s").await;
    bob.join(server).await;
    let id = ann.send(channel, "hello").await.id;
    let (mut anns, _) = ann.connect(vec![]).await;
    let (mut bobs, _) = bob.connect(vec![]).await;
    let frame = client_frame::Frame::AddReaction(add(channel, id, HEART));
    bobs.call(1, frame).await;
    let told = Event::ReactionAdded(v1::ReactionAdded {
        channel_id: channel,
        message_id: id,
        user_id: bob.id,
        emoji: HEART.to_owned(),
        count: 1,
    });
    assert_eq!(next_event(&mut anns, channel).await, told);
    let (Answer::AddReaction(added), event) = answer_and_event(&mut bobs, 1, channel).await else {
        panic!("refused")
    };
    assert_eq!(event, told);
    let added = added.reaction.expect("a reaction");
    assert_eq!((added.count, added.own), (1, true));

    let both = ann.request(add(channel, id, HEART));
    ann.messages().add_reaction(both).await.expect("reacts");
    let remove = v1::RemoveReactionRequest {
        channel_id: channel,
        message_id: id,
        emoji: HEART.to_owned(),
        user_id: 0,
    };
    bobs.call(2, client_frame::Frame::RemoveReaction(remove))
        .await;
    let Answer::RemoveReaction(removed) = bobs.result(2).await else {
        panic!("refused")
    };
    assert_eq!(removed.reaction.expect("a reaction").count, 1);
    let Event::ReactionAdded(added) = next_event(&mut anns, channel).await else {
        panic!("another event")
    };
    assert_eq!((added.user_id, added.count), (ann.id, 2));
    let Event::ReactionRemoved(removed) = next_event(&mut anns, channel).await else {
        panic!("another event")
    };
    assert_eq!((removed.user_id, removed.count), (bob.id, 1));
    drop((anns, bobs));

    let dir = node.stop().await;
    let node = TestNode::start_in(dir, &[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let heart = |own| vec![(HEART.to_owned(), 1, own)];
    assert_eq!(reactions(&ann, channel, id).await, heart(true));
    assert_eq!(reactions(&bob, channel, id).await, heart(false));
    node.stop().await;
}

#[tokio::test]
async fn who_reacted_is_listed_in_pages() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let (server, channel) = ann.create_server("s").await;
    let id = ann.send(channel, "hello").await.id;
    let mut expected = Vec::new();
    for name in ["bob", "cid", "dee"] {
        let user = User::mint(&node, name).await;
        user.join(server).await;
        let request = user.request(add(channel, id, "yes"));
        user.messages().add_reaction(request).await.expect("reacts");
        expected.push(user.id);
    }
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ann.request(v1::ListReactionsRequest {
            channel_id: channel,
            message_id: id,
            emoji: "yes".to_owned(),
            page_size: 2,
            page_token,
        });
        let page = ann.messages().list_reactions(request).await.expect("lists");
        let page = page.into_inner();
        assert!(page.users.len() <= 2);
        listed.extend(page.users.iter().map(|user| user.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, expected);
    node.stop().await;
}

#[tokio::test]
async fn pins_are_told_and_listed_and_go_with_their_message() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let bob = User::mint(&node, "bob").await;
    let (server, channel) = ann.create_server("s").await;
    bob.join(server).await;
    let (first, second) = (
        ann.send(channel, "1").await.id,
        bob.send(channel, "2").await.id,
    );
    let (mut stream, _) = bob.connect(vec![]).await;
    let pin = |message_id| v1::PinMessageRequest {
        channel_id: channel,
        message_id,
    };
    let refused = bob.messages().pin_message(bob.request(pin(second))).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    for id in [first, second] {
        let request = ann.request(pin(id));
        ann.messages().pin_message(request).await.expect("pins");
        let told = Event::MessagePinned(v1::MessagePinned {
            channel_id: channel,
            message_id: id,
            user_id: ann.id,
        });
        assert_eq!(next_event(&mut stream, channel).await, told);
    }
    let list = async || {
        let request = bob.request(v1::ListPinsRequest {
            channel_id: channel,
            ..Default::default()
        });
        let listed = bob.messages().list_pins(request).await.expect("lists");
        let pins = listed.into_inner().pins.into_iter();
        pins.map(|pin| {
            let message = pin.message.expect("a message");
            assert!(message.pinned && pin.pinned_by == ann.id && pin.pinned_at.is_some());
            message.id
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(list().await, [second, first]);
    let delete = bob.request(v1::DeleteMessageRequest {
        channel_id: channel,
        message_id: second,
    });
    bob.messages()
        .delete_message(delete)
        .await
        .expect("deletes");
    assert_eq!(list().await, [first]);
    let unpin = ann.request(v1::UnpinMessageRequest {
        channel_id: channel,
        message_id: first,
    });
    ann.messages().unpin_message(unpin).await.expect("unpins");
    assert!(list().await.is_empty());
    let gone = ann.request(pin(second));
    let gone = ann.messages().pin_message(gone).await.unwrap_err();
    assert_eq!(
        (gone.code(), reason(&gone)),
        (Code::NotFound, "NOT_FOUND".to_owned())
    );
    node.stop().await;
}
