//! Positions of topics that aren't, and positions that never were. Those of channels are
//! `gateway`'s, which become gaps.

use super::world;
use crate::world::{User, channel_topic};
use chirm_proto::v1::{self, TopicKind, TopicPosition, server_frame::Frame};

fn at(topic: v1::Topic, epoch: i64, seq: i64) -> TopicPosition {
    TopicPosition {
        topic: Some(topic),
        position: Some(v1::Position { epoch, seq }),
    }
}

fn topic(kind: TopicKind, id: i64) -> v1::Topic {
    v1::Topic {
        kind: kind.into(),
        id,
    }
}

#[tokio::test]
async fn topics_that_are_not_there_and_those_of_others_are_removed() {
    let (node, ann, _) = world().await;
    let bob = User::mint(&node, "bob").await;
    let (hidden_server, hidden_channel) = bob.create_server("bob's").await;
    let never = i64::MAX;
    let presented = [
        channel_topic(never),
        channel_topic(hidden_channel),
        topic(TopicKind::Server, never),
        topic(TopicKind::Server, hidden_server),
        topic(TopicKind::User, never),
        topic(TopicKind::User, bob.id),
    ];
    let positions = presented.iter().map(|topic| at(*topic, 1, 1)).collect();
    let (_, frames) = ann.connect(positions).await;
    for topic in presented {
        let removed = v1::TopicRemoved { topic: Some(topic) };
        assert!(frames.contains(&Frame::TopicRemoved(removed)), "{topic:?}");
        let told = frames.iter().filter(|frame| match frame {
            Frame::Snapshot(snapshot) => snapshot.topic == Some(topic),
            Frame::Event(event) => event.topic == Some(topic),
            Frame::Gap(gap) => gap.topic == Some(topic),
            _ => false,
        });
        assert_eq!(told.count(), 0, "nothing else is told of {topic:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn records_begin_anew_where_the_position_never_was() {
    let (node, ann, _) = world().await;
    let (server, _) = ann.create_server("s").await;
    let (_, before) = ann.connect(vec![]).await;
    for topic in [
        topic(TopicKind::Server, server),
        topic(TopicKind::User, ann.id),
    ] {
        let snapshot = |frames: &[Frame]| {
            frames.iter().find_map(|frame| match frame {
                Frame::Snapshot(snapshot) if snapshot.topic == Some(topic) => snapshot.position,
                _ => None,
            })
        };
        let now = snapshot(&before).expect("a snapshot");
        let current = ann.connect(vec![at(topic, now.epoch, now.seq)]).await.1;
        assert_eq!(snapshot(&current), None, "the position is current");
        for (epoch, seq) in [
            (now.epoch, now.seq + 5),
            (now.epoch, -1),
            (now.epoch, i64::MIN),
            (now.epoch, i64::MAX),
            (now.epoch ^ 1, now.seq),
            (0, 0),
            (-1, now.seq),
        ] {
            let (_, frames) = ann.connect(vec![at(topic, epoch, seq)]).await;
            assert_eq!(snapshot(&frames), Some(now), "{topic:?} at {epoch}, {seq}");
        }
    }
    node.stop().await;
}
