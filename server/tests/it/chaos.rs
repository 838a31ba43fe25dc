//! Clients that come and go at random moments against a real node, in process: each must end with
//! just what the channel's history has. The seed is printed; `CHIRM_SEED` repeats a run.

use crate::support::{PATIENCE, TestNode};
use crate::world::{User, channel_topic};
use chirm_proto::v1::{self, TopicPosition, event::Event, server_frame::Frame, snapshot::State};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// A small generator, so that a seed means the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn seed() -> u64 {
    let given = std::env::var("CHIRM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("after 1970");
        now.as_nanos() as u64
    });
    println!("CHIRM_SEED={seed}");
    seed
}

/// What a client holds of a channel.
#[derive(Default)]
struct View {
    position: Option<v1::Position>,
    messages: BTreeMap<i64, String>,
    /// A `Gap` whose paging is still to be done, or was cut.
    paging: Option<v1::Position>,
    gaps: usize,
    replayed: usize,
}

impl View {
    /// Takes a frame as the protocol asks clients to. True if history must be paged.
    fn take(&mut self, channel: i64, frame: &Frame, live: bool) -> bool {
        let topic = Some(channel_topic(channel));
        match frame {
            Frame::Snapshot(s) if s.topic == topic => {
                assert!(matches!(s.state, Some(State::Channel(_))));
                self.paging = s.position;
                self.position = None;
                true
            }
            Frame::Gap(gap) if gap.topic == topic => {
                self.gaps += 1;
                self.paging = gap.position;
                self.position = None;
                true
            }
            Frame::Event(event) if event.topic == topic => {
                let at = event.position.expect("a position");
                let held = self.position.expect("an event before a position");
                assert_eq!(
                    (at.epoch, at.seq),
                    (held.epoch, held.seq + 1),
                    "a silent jump"
                );
                self.position = Some(at);
                self.replayed += usize::from(!live);
                if let Some(Event::MessageCreated(created)) = &event.event {
                    let message = created.message.clone().expect("a message");
                    self.messages.insert(message.id, message.content);
                }
                false
            }
            _ => false,
        }
    }

    /// Pages all of history, as after a `Gap`; then holds its position.
    async fn page(&mut self, user: &User, channel: i64) {
        let mut after = 0;
        loop {
            let request = v1::ListMessagesRequest {
                channel_id: channel,
                limit: 100,
                anchor: Some(v1::list_messages_request::Anchor::After(after)),
            };
            let page = user.messages().list_messages(user.request(request)).await;
            let page = page.expect("a page").into_inner();
            for message in page.messages {
                after = message.id;
                self.messages.insert(message.id, message.content);
            }
            if !page.has_newer {
                break;
            }
        }
        self.position = self.paging.take();
    }
}

async fn watch_channel(
    user: User,
    channel: i64,
    mut random: Random,
    finished: watch::Receiver<Option<i64>>,
) -> View {
    let mut view = View::default();
    loop {
        let positions = match view.position {
            Some(position) => {
                vec![TopicPosition {
                    topic: Some(channel_topic(channel)),
                    position: Some(position),
                }]
            }
            None => vec![],
        };
        let (mut stream, before) = user.connect(positions).await;
        for frame in &before {
            if view.take(channel, frame, false) {
                view.page(&user, channel).await;
            }
        }
        let mut left = random.below(120);
        loop {
            let last = *finished.borrow();
            if last.is_some_and(|last| view.messages.contains_key(&last)) {
                return view;
            }
            if left == 0 && last.is_none() {
                break;
            }
            left = left.saturating_sub(1);
            let next = tokio::time::timeout(Duration::from_millis(200), stream.next()).await;
            let Ok(next) = next else { continue };
            let Some(frame) = next else { break };
            if view.take(channel, &frame, true) {
                view.page(&user, channel).await;
            }
        }
        // The stream is cut here, whatever was under way; sometimes it stays away for a while.
        drop(stream);
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_end_with_all_of_history() {
    let seed = seed();
    let node = TestNode::start(&[
        ("limits.enabled", "false"),
        ("limits.ring_events", "40"),
        ("limits.outbound_queue_events", "24"),
    ])
    .await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (finish, finished) = watch::channel(None);
    let mut watchers = Vec::new();
    for n in 0..6 {
        let random = Random(seed.wrapping_add(n));
        watchers.push(tokio::spawn(watch_channel(
            ann.clone(),
            channel,
            random,
            finished.clone(),
        )));
    }
    let mut random = Random(seed ^ 0xabcd);
    let mut sent = BTreeMap::new();
    let mut last = 0;
    for n in 0..600 {
        let message = ann.send(channel, &format!("m{n}")).await;
        assert!(message.id > last, "one author's sends rise");
        last = message.id;
        sent.insert(message.id, message.content);
        if random.below(20) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(30))).await;
        }
    }
    finish.send_replace(Some(last));
    let (mut gaps, mut replayed) = (0, 0);
    for watcher in watchers {
        let view = tokio::time::timeout(PATIENCE, watcher)
            .await
            .expect("ends")
            .expect("no panic");
        assert_eq!(view.messages, sent);
        gaps += view.gaps;
        replayed += view.replayed;
    }
    println!("{gaps} gaps, {replayed} events replayed");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pages_on_from_its_newest_message_misses_none() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let mut writers = Vec::new();
    for writer in 0..8 {
        let ann = ann.clone();
        writers.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for n in 0..60 {
                ids.push(ann.send(channel, &format!("{writer}/{n}")).await.id);
            }
            ids
        }));
    }
    let (mut seen, mut newest) = (Vec::new(), 0);
    loop {
        // Asked before the page: what ended after it may be missing from it.
        let ended = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let request = v1::ListMessagesRequest {
            channel_id: channel,
            limit: 100,
            anchor: Some(v1::list_messages_request::Anchor::After(newest)),
        };
        let page = ann.messages().list_messages(ann.request(request)).await;
        let page = page.expect("a page").into_inner();
        seen.extend(page.messages.iter().map(|message| message.id));
        newest = seen.last().copied().unwrap_or(0);
        if ended && page.messages.is_empty() {
            break;
        }
    }
    let mut sent = Vec::new();
    for writer in writers {
        sent.extend(writer.await.expect("no panic"));
    }
    sent.sort_unstable();
    assert_eq!(seen, sent);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_events_of_one_node_come_in_the_order_of_ids() {
    let node = TestNode::start(&[("limits.enabled", "false")]).await;
    let ann = User::mint(&node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (mut stream, _) = ann.connect(vec![]).await;
    let mut writers = Vec::new();
    for writer in 0..8 {
        let ann = ann.clone();
        writers.push(tokio::spawn(async move {
            for n in 0..30 {
                ann.send(channel, &format!("{writer}/{n}")).await;
            }
        }));
    }
    let (mut last, mut count) = (0, 0);
    stream
        .until(|frame| {
            if let Frame::Event(v1::Event {
                event: Some(Event::MessageCreated(created)),
                ..
            }) = frame
            {
                let id = created.message.as_ref().expect("a message").id;
                assert!(id > last, "{id} after {last}");
                last = id;
                count += 1;
            }
            (count == 8 * 30).then_some(())
        })
        .await;
    for writer in writers {
        writer.await.expect("no panic");
    }
    node.stop().await;
}
