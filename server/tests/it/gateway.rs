//! What a gateway stream promises, over real sockets.

use crate::support::{Stream, TestNode, on_servers};
use crate::world::{User, channel_topic};
use chirm_proto::v1::{
    self, TopicPosition, client_frame, event::Event, result::Result as Answer, server_frame::Frame,
    snapshot::State,
};

/// Positions and messages of the frames, as a client would take them.
fn messages(frames: &[Frame], channel: i64) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for frame in frames {
        if let Frame::Event(event) = frame
            && event.topic == Some(channel_topic(channel))
            && let Some(Event::MessageCreated(created)) = &event.event
        {
            let message = created.message.clone().expect("a message");
            found.push((event.position.expect("a position").seq, message.content));
        }
    }
    found
}

fn snapshot_position(frames: &[Frame], channel: i64) -> v1::Position {
    frames
        .iter()
        .find_map(|frame| match frame {
            Frame::Snapshot(snapshot) if snapshot.topic == Some(channel_topic(channel)) => {
                snapshot.position
            }
            _ => None,
        })
        .expect("a snapshot of the channel")
}

fn held(channel: i64, position: v1::Position) -> Vec<TopicPosition> {
    vec![TopicPosition {
        topic: Some(channel_topic(channel)),
        position: Some(position),
    }]
}

async fn next_message(stream: &mut Stream, channel: i64) -> (v1::Position, v1::Message) {
    stream
        .until(|frame| match frame {
            Frame::Event(event) if event.topic == Some(channel_topic(channel)) => {
                match &event.event {
                    Some(Event::MessageCreated(created)) => {
                        Some((event.position?, created.message.clone()?))
                    }
                    _ => None,
                }
            }
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_message_reaches_those_who_may_see_it_as_it_was_sent() {
    let node = TestNode::start(&[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let (server, channel) = ann.create_server("s").await;
    bob.join(server).await;
    let (mut stream, before) = bob.connect(vec![]).await;
    let start = snapshot_position(&before, channel);
    let sent = ann.send(channel, "héllo <@1> \u{1F600}").await;
    let (position, got) = next_message(&mut stream, channel).await;
    assert_eq!(got, sent);
    assert_eq!((position.epoch, position.seq), (start.epoch, start.seq + 1));
    node.stop().await;
}

#[tokio::test]
async fn a_send_on_the_stream_is_answered_and_a_repeat_is_the_same_message() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (mut stream, _) = ann.connect(vec![]).await;
    let mut send = v1::SendMessageRequest {
        channel_id: channel,
        content: "once".into(),
        nonce: "0198c9a0-0000-7000-8000-000000000001".into(),
        ..Default::default()
    };
    stream
        .call(1, client_frame::Frame::SendMessage(send.clone()))
        .await;
    let Answer::SendMessage(first) = stream.result(1).await else {
        panic!("refused")
    };
    send.attempt = 1;
    stream
        .call(2, client_frame::Frame::SendMessage(send.clone()))
        .await;
    let Answer::SendMessage(again) = stream.result(2).await else {
        panic!("refused")
    };
    assert_eq!(first.message, again.message);
    send.content = "other".into();
    stream.call(3, client_frame::Frame::SendMessage(send)).await;
    let Answer::Error(error) = stream.result(3).await else {
        panic!("taken")
    };
    assert_eq!(error.code, tonic::Code::AlreadyExists as i32);
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_held_a_position_gets_just_what_it_missed() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (_, before) = ann.connect(vec![]).await;
    let start = snapshot_position(&before, channel);
    for n in 0..300 {
        ann.send(channel, &format!("m{n}")).await;
    }
    for missed in [0, 1, 20, 299, 300] {
        let position = v1::Position {
            epoch: start.epoch,
            seq: start.seq + 300 - missed,
        };
        let (_, frames) = ann.connect(held(channel, position)).await;
        let got = messages(&frames, channel);
        let expected: Vec<_> = (300 - missed..300)
            .map(|n| (start.seq + n + 1, format!("m{n}")))
            .collect();
        assert_eq!(got, expected, "{missed} missed");
        assert!(!frames.iter().any(|f| matches!(f, Frame::Gap(_))));
    }
    node.stop().await;
}

#[tokio::test]
async fn what_the_ring_forgot_is_a_gap_and_so_are_positions_never_given() {
    let node = TestNode::start(&[("limits.enabled", "false"), ("limits.ring_events", "10")]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (_, before) = ann.connect(vec![]).await;
    let start = snapshot_position(&before, channel);
    for n in 0..30 {
        ann.send(channel, &format!("m{n}")).await;
    }
    let now = v1::Position {
        epoch: start.epoch,
        seq: start.seq + 30,
    };
    for position in [
        start,
        v1::Position {
            epoch: start.epoch,
            seq: now.seq + 5,
        },
        v1::Position {
            epoch: start.epoch ^ 1,
            seq: now.seq,
        },
        v1::Position {
            epoch: -1,
            seq: i64::MIN,
        },
        v1::Position { epoch: 0, seq: 0 },
    ] {
        let (mut stream, frames) = ann.connect(held(channel, position)).await;
        let gaps: Vec<_> = frames
            .iter()
            .filter(|f| matches!(f, Frame::Gap(_)))
            .collect();
        let gap = v1::Gap {
            topic: Some(channel_topic(channel)),
            position: Some(now),
            channel: None,
        };
        assert_eq!(gaps, [&Frame::Gap(gap)], "{position:?}");
        assert!(messages(&frames, channel).is_empty());
        stream
            .send(client_frame::Frame::Heartbeat(v1::Heartbeat {}))
            .await;
        stream
            .until(|f| matches!(f, Frame::HeartbeatAck(_)).then_some(()))
            .await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_positions_but_those_that_the_bus_forgot() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (server, channel) = ann.create_server("s").await;
    let sent = ann.send(channel, "before").await;
    let (_, before) = ann.connect(vec![]).await;
    let positions: Vec<TopicPosition> = before
        .iter()
        .filter_map(|frame| match frame {
            Frame::Snapshot(s) => Some(TopicPosition {
                topic: s.topic,
                position: s.position,
            }),
            _ => None,
        })
        .collect();
    assert!(
        positions
            .iter()
            .any(|p| p.topic.is_some_and(|t| t.id == server))
    );
    let dir = node.stop().await;
    let node = TestNode::start_in(dir, &[]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, after) = ann.connect(positions).await;
    let gaps: Vec<_> = after
        .iter()
        .filter(|f| matches!(f, Frame::Gap(_)))
        .collect();
    // The local bus began a new epoch of the channel; Redis goes on.
    let forgotten = usize::from(!on_servers());
    assert_eq!(gaps.len(), forgotten, "the channel's: {after:?}");
    assert!(
        !after.iter().any(|f| matches!(f, Frame::Snapshot(_))),
        "{after:?}"
    );
    let list = v1::ListMessagesRequest {
        channel_id: channel,
        limit: 0,
        anchor: None,
    };
    let page = ann
        .messages()
        .list_messages(ann.request(list))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page.messages, [sent]);
    node.stop().await;
}

#[tokio::test]
async fn viewed_delivery_sends_events_of_viewed_channels_and_word_of_others() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let mut stream = ann.raw_stream().await;
    let delivery = v1::Delivery::Viewed as i32;
    stream
        .identify(v1::Identify {
            token: ann.token.clone(),
            delivery,
            ..Default::default()
        })
        .await;
    let start = snapshot_position(&stream.ready().await, channel);
    let sent = ann.send(channel, "unseen").await;
    let activity = stream
        .until(|frame| match frame {
            Frame::Event(event) if event.topic == Some(channel_topic(channel)) => {
                panic!("an event of a channel out of view")
            }
            Frame::ChannelActivity(activity) => Some(*activity),
            _ => None,
        })
        .await;
    assert_eq!(
        (activity.channel_id, activity.last_message_id),
        (channel, sent.id)
    );
    let channels = vec![v1::ViewedChannel {
        channel_id: channel,
        position: Some(start),
    }];
    let view = v1::View {
        channels,
        ..Default::default()
    };
    stream.send(client_frame::Frame::View(view)).await;
    let (position, got) = next_message(&mut stream, channel).await;
    assert_eq!((position.seq, got), (start.seq + 1, sent));
    let live = ann.send(channel, "seen").await;
    assert_eq!(next_message(&mut stream, channel).await.1, live);
    node.stop().await;
}

#[tokio::test]
async fn joining_and_leaving_change_what_a_live_stream_carries() {
    let node = TestNode::start(&[]).await;
    let (ann, bob) = (
        User::mint(&node, "ann").await,
        User::mint(&node, "bob").await,
    );
    let (server, channel) = ann.create_server("s").await;
    let (mut stream, before) = bob.connect(vec![]).await;
    assert!(!before.iter().any(|f| matches!(f, Frame::Snapshot(s)
        if matches!(s.state, Some(State::Channel(_) | State::Server(_))))));
    bob.join(server).await;
    stream
        .until(|f| {
            matches!(f, Frame::Snapshot(s) if s.topic == Some(channel_topic(channel))).then_some(())
        })
        .await;
    let sent = ann.send(channel, "welcome").await;
    assert_eq!(next_message(&mut stream, channel).await.1, sent);
    let kick = v1::KickMemberRequest {
        server_id: server,
        user_id: bob.id,
        reason: String::new(),
    };
    ann.servers()
        .kick_member(ann.request(kick))
        .await
        .expect("kicks");
    stream
        .until(|f| {
            matches!(f, Frame::TopicRemoved(r) if r.topic == Some(channel_topic(channel)))
                .then_some(())
        })
        .await;
    ann.send(channel, "secret").await;
    stream
        .send(client_frame::Frame::Heartbeat(v1::Heartbeat {}))
        .await;
    stream
        .until(|frame| match frame {
            Frame::Event(event) if event.topic == Some(channel_topic(channel)) => {
                panic!("delivered after the end of the membership")
            }
            Frame::HeartbeatAck(_) => Some(()),
            _ => None,
        })
        .await;
    let refused = bob.try_send(v1::SendMessageRequest {
        channel_id: channel,
        content: "still here?".into(),
        ..Default::default()
    });
    assert_eq!(refused.await.unwrap_err().code(), tonic::Code::NotFound);
    node.stop().await;
}

#[tokio::test]
async fn listen_carries_the_same_events() {
    let node = TestNode::start(&[]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let mut client = v1::gateway_service_client::GatewayServiceClient::new(node.channel().await);
    let identify = v1::Identify {
        token: ann.token.clone(),
        ..Default::default()
    };
    let mut frames = client.listen(identify).await.expect("listens").into_inner();
    while !matches!(
        frames.message().await.unwrap().unwrap().frame,
        Some(Frame::Ready(_))
    ) {}
    let sent = ann.send(channel, "hello").await;
    let got = loop {
        let frame = frames.message().await.unwrap().unwrap().frame;
        if let Some(Frame::Event(v1::Event {
            event: Some(Event::MessageCreated(m)),
            ..
        })) = frame
        {
            break m.message.unwrap();
        }
    };
    assert_eq!(got, sent);
    node.stop().await;
}

#[tokio::test]
async fn a_stop_says_goodbye_and_loses_nothing() {
    let node = TestNode::start(&[("gateway.drain_ms", "100")]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (mut stream, _) = ann.connect(vec![]).await;
    let sent = ann.send(channel, "kept").await;
    let stopping = tokio::spawn(node.stop());
    stream
        .until(|f| matches!(f, Frame::Reconnect(_)).then_some(()))
        .await;
    assert_eq!(stream.closing().await.reason, "DRAINING");
    let dir = stopping.await.expect("stops");
    let node = TestNode::start_in(dir, &[]).await;
    let ann = User::mint(&node, "ann").await;
    let get = v1::GetMessageRequest {
        channel_id: channel,
        message_id: sent.id,
    };
    let got = ann
        .messages()
        .get_message(ann.request(get))
        .await
        .expect("there")
        .into_inner();
    assert_eq!(got.message, Some(sent));
    node.stop().await;
}
