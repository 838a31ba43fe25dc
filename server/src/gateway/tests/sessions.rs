//! Directed cases of one session.

use super::*;

#[tokio::test]
async fn who_is_taken_out_while_much_is_replayed_gets_no_more_of_it() {
    let world = World::new(|_| {}).await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (server, channel) = world.server(&ann, &[&bob]).await;
    let topic = TopicKey::channel(channel);
    let start = world.position(channel).await;
    for n in 0..100 {
        world.send(&ann, channel, &format!("m{n}")).await;
    }
    let client = world.connect(
        v1::Identify {
            positions: vec![held(topic, start)],
            ..identify(&bob)
        },
        8,
    );
    let is_event = |frame: &Frame| event_of(frame, topic);
    client.until(is_event).await;
    world.kick(&ann, server, &bob).await;
    // It reads slowly: whatever is scheduled gets its turn between two frames.
    let mut events = 0;
    loop {
        let frame = client.next().await.expect("the stream goes on");
        if is_removed(&frame, topic) {
            break;
        }
        events += usize::from(event_of(&frame, topic).is_some());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(events < 99, "the replay went on");
    let after = client.ready().await;
    assert!(after.iter().all(|frame| event_of(frame, topic).is_none()));
}

#[tokio::test]
async fn a_slow_reader_whose_session_ends_gets_nothing_but_why() {
    let world = World::new(|_| {}).await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (_, channel) = world.server(&ann, &[&bob]).await;
    for deleted in [false, true] {
        let bob = world.user("bob").await;
        let client = world.connect(identify(&bob), 64);
        client.ready().await;
        for n in 0..20 {
            world.send(&ann, channel, &format!("m{n}")).await;
        }
        let reason = if deleted {
            let password = String::new();
            let deleted = world.domain.delete_account(&bob.caller, password).await;
            deleted.expect("deletes");
            "ACCOUNT_DELETED"
        } else {
            world.domain.logout(&bob.caller).await.expect("signs out");
            "SESSION_REVOKED"
        };
        let ended = tokio::time::timeout(PATIENCE, client.outbox.ended()).await;
        ended.expect("the stream ends");
        let (before, told) = client.closing().await;
        assert_eq!((before, told.as_str()), (vec![], reason));
    }
}

#[tokio::test]
async fn a_session_that_ends_before_its_topic_is_attached_ends_all_the_same() {
    let world = World::new(|_| {}).await;
    let bob = world.user("bob").await;
    let inner = &world.gateway.0;
    // As a stream that was let in, but that its own topic's events don't reach yet.
    let transport = Transport {
        outbox: Arc::new(world.gateway.outbox()),
        one_way: true,
    };
    let outbox = transport.outbox.clone();
    let first = identify(&bob);
    let session = session::let_in(inner, &first, &transport).await;
    world.domain.logout(&bob.caller).await.expect("signs out");
    let inputs = futures::stream::pending();
    tokio::spawn(session.live(first, inputs, true));
    let ended = tokio::time::timeout(PATIENCE, outbox.ended()).await;
    ended.expect("the stream ends");
    assert_eq!(outbox.end().map(|end| end.code), Some(16));
}

#[tokio::test]
async fn heartbeats_are_heard_while_a_slow_client_is_brought_up_to_date() {
    let deadline = Duration::from_millis(1_500);
    let world = World::new(|config| config.gateway.deadline = deadline).await;
    let ann = world.user("ann").await;
    let (_, channel) = world.server(&ann, &[]).await;
    let topic = TopicKey::channel(channel);
    let start = world.position(channel).await;
    for n in 0..60 {
        world.send(&ann, channel, &format!("m{n}")).await;
    }
    let client = world.connect(
        v1::Identify {
            positions: vec![held(topic, start)],
            ..identify(&ann)
        },
        8,
    );
    let began = Instant::now();
    let mut events = 0;
    while events < 60 {
        let frame = client.next().await.expect("the stream goes on");
        assert!(!matches!(frame, Frame::Closing(_)), "{frame:?}");
        events += usize::from(event_of(&frame, topic).is_some());
        if began.elapsed() < deadline * 2 {
            // Their answers take room as well.
            if events % 4 == 0 {
                client.send(Input::Heartbeat);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    client.ready().await;
}

#[tokio::test]
async fn who_takes_no_frame_of_a_replay_for_the_deadline_is_too_slow() {
    let change = |config: &mut Config| config.gateway.deadline = Duration::from_millis(100);
    let world = World::new(change).await;
    let ann = world.user("ann").await;
    let (_, channel) = world.server(&ann, &[]).await;
    let topic = TopicKey::channel(channel);
    let start = world.position(channel).await;
    for n in 0..20 {
        world.send(&ann, channel, &format!("m{n}")).await;
    }
    let transport = Transport {
        outbox: Arc::new(Outbox::new(OutboxLimits {
            frames: 8,
            bytes: 1 << 20,
        })),
        one_way: true,
    };
    let outbox = transport.outbox.clone();
    let first = v1::Identify {
        positions: vec![held(topic, start)],
        ..identify(&ann)
    };
    let inputs = futures::stream::iter([Ok(Input::Identify(Box::new(first)))]);
    let inputs = futures::StreamExt::chain(inputs, futures::stream::pending());
    let gateway = world.gateway.clone();
    tokio::spawn(async move { gateway.run(inputs, transport).await });
    let ended = tokio::time::timeout(PATIENCE, outbox.ended()).await;
    ended.expect("the stream ends");
    let last = std::future::poll_fn(|cx| outbox.poll_frame(cx)).await;
    let Frame::Closing(closing) = decode(&last.expect("a last frame")) else {
        panic!("what waited was not dropped")
    };
    assert_eq!(closing.reason, "SLOW_CONSUMER");
}

#[tokio::test]
async fn a_view_that_comes_too_soon_is_only_late() {
    let world = World::new(|config| {
        config.limits.enabled = true;
        config.limits.client_frames_per_minute = 60;
    })
    .await;
    let ann = world.user("ann").await;
    let (_, channel) = world.server(&ann, &[]).await;
    let topic = TopicKey::channel(channel);
    let client = world.connect(viewed(&ann), 256);
    client.ready().await;
    for _ in 0..61 {
        client.send(Input::Heartbeat);
    }
    client.send(Input::View(view(&[])));
    client.send(Input::View(view(&[(channel, None)])));
    let is_snapshot = |frame: &Frame| {
        matches!(frame, Frame::Snapshot(s) if s.topic == Some(frames::topic(topic))).then_some(())
    };
    client.until(is_snapshot).await;
    world.send(&ann, channel, "seen").await;
    client.until(|frame| event_of(frame, topic)).await;
}

#[tokio::test]
async fn a_channel_out_of_view_that_moved_while_the_client_was_away_says_so() {
    let world = World::new(|_| {}).await;
    let ann = world.user("ann").await;
    let (_, channel) = world.server(&ann, &[]).await;
    let topic = TopicKey::channel(channel);
    let start = world.position(channel).await;
    let activity = |frame: &Frame| match frame {
        Frame::ChannelActivity(activity) => Some(*activity),
        _ => None,
    };
    let first = world.send(&ann, channel, "while away").await;
    let edited = world
        .domain
        .edit_message(&ann.caller, channel, first, "edited".into());
    edited.await.expect("edits");
    let now = world.position(channel).await;
    let presented = |position| v1::Identify {
        positions: vec![held(topic, position)],
        ..viewed(&ann)
    };
    let client = world.connect(presented(start), 256);
    let (_, told) = client.until(activity).await;
    assert_eq!((told.channel_id, told.last_message_id), (channel, first));
    assert_eq!(told.position, Some(frames::position(now)));
    // Of what is current nothing is said; of the next edit the newest message is, all the same.
    let client = world.connect(presented(now), 256);
    let mut before = client.ready().await;
    before.extend(client.settled().await);
    assert!(before.iter().all(|frame| activity(frame).is_none()));
    let edited = world
        .domain
        .edit_message(&ann.caller, channel, first, "again".into());
    edited.await.expect("edits");
    let (_, told) = client.until(activity).await;
    assert_eq!(told.last_message_id, first);
}

#[tokio::test]
async fn a_view_without_a_position_brings_a_snapshot_only_of_what_was_out_of_view() {
    let world = World::new(|_| {}).await;
    let ann = world.user("ann").await;
    let (_, channel) = world.server(&ann, &[]).await;
    let topic = TopicKey::channel(channel);
    let is_snapshot = |frame: &Frame| matches!(frame, Frame::Snapshot(_));
    let all = world.connect(identify(&ann), 256);
    all.ready().await;
    world.send(&ann, channel, "m").await;
    all.send(Input::View(view(&[(channel, None)])));
    let (before, _) = all.until(|frame| event_of(frame, topic)).await;
    let after = all.settled().await;
    assert!(!before.iter().chain(&after).any(is_snapshot));
    let out = world.connect(viewed(&ann), 256);
    out.ready().await;
    world.send(&ann, channel, "unseen").await;
    out.send(Input::View(view(&[(channel, None)])));
    let (_, at) = out
        .until(|frame| match frame {
            Frame::Snapshot(snapshot) => snapshot.position,
            _ => None,
        })
        .await;
    assert_eq!(at, frames::position(world.position(channel).await));
    world.send(&ann, channel, "seen").await;
    let (_, seq) = out.until(|frame| event_of(frame, topic)).await;
    assert_eq!(seq, at.seq + 1);
}

#[tokio::test]
async fn an_overflow_that_the_ring_covers_is_no_gap() {
    let world = World::new(|_| {}).await;
    let ann = world.user("ann").await;
    let (_, channel) = world.server(&ann, &[]).await;
    let topic = TopicKey::channel(channel);
    let client = world.connect(identify(&ann), 256);
    client.ready().await;
    let start = world.position(channel).await;
    world.topics.overflow(topic, 5);
    for n in 0..5 {
        world.send(&ann, channel, &format!("m{n}")).await;
    }
    for n in 1..=5 {
        let (_, seq) = client.until(|frame| event_of(frame, topic)).await;
        assert_eq!(seq, start.seq + n);
    }
}
