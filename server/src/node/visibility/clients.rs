//! Clients that look at everything, and what they get.

use super::*;
use crate::gateway::tests::{Client, connect, decode, identify, topic_key, view};
use crate::model::TopicKind;
use chirm_proto::v1::{self, server_frame::Frame};
use std::sync::Mutex;

type Log = Arc<Mutex<Vec<(Instant, Frame)>>>;

/// A user's stream, if it has one now, and all that came by its streams.
#[derive(Default)]
pub(super) struct Connection {
    log: Log,
    live: Option<(Client, JoinHandle<()>)>,
}

/// Keeps all that a client gets, as it comes. Ends once the stream is ready, and goes on keeping.
async fn follow(client: &Client, log: Log) -> JoinHandle<()> {
    let outbox = client.outbox.clone();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut ready = Some(ready);
        while let Some(frame) = std::future::poll_fn(|cx| outbox.poll_frame(cx)).await {
            let (at, frame) = (Instant::now(), decode(&frame));
            if matches!(frame, Frame::Ready(_)) {
                // Nobody waits any more where the test has failed.
                ready.take().map(|ready| ready.send(()));
            }
            log.lock().unwrap().push((at, frame));
        }
    });
    let is_ready = tokio::time::timeout(PATIENCE, is_ready).await;
    is_ready.expect("it comes").expect("it becomes ready");
    task
}

/// What a frame tells of.
fn told(frame: &Frame, own: Id) -> Vec<Thing> {
    let topic = |topic: Option<&v1::Topic>| match topic.and_then(topic_key) {
        Some(topic) if topic.kind == TopicKind::Channel => vec![Thing::Channel(topic.id)],
        Some(topic) if topic.kind == TopicKind::Server => vec![Thing::Server(topic.id)],
        Some(topic) => vec![Thing::User(topic.id)],
        None => Vec::new(),
    };
    match frame {
        Frame::Event(event) => match &event.event {
            Some(v1::event::Event::Mentioned(m)) => vec![Thing::Channel(m.channel_id)],
            Some(v1::event::Event::ReadStateChanged(r)) => {
                let state = r.read_state.as_ref().expect("a state");
                vec![Thing::Channel(state.channel_id)]
            }
            _ => topic(event.topic.as_ref()),
        },
        Frame::Snapshot(snapshot) => topic(snapshot.topic.as_ref()),
        Frame::Gap(gap) => topic(gap.topic.as_ref()),
        Frame::ChannelActivity(activity) => vec![Thing::Channel(activity.channel_id)],
        Frame::TypingStarted(t) => vec![Thing::Channel(t.channel_id), Thing::User(t.user_id)],
        Frame::PresenceChanged(changed) => {
            // A bare OFFLINE tells nothing: it is how all are shown who can't be seen.
            let bare = v1::Presence {
                status: v1::PresenceStatus::Offline as i32,
                ..v1::Presence::default()
            };
            let told = changed.presences.iter().filter(|p| {
                **p != v1::Presence {
                    user_id: p.user_id,
                    ..bare.clone()
                }
            });
            let users = told.map(|p| p.user_id);
            users.filter(|user| *user != own).map(Thing::User).collect()
        }
        Frame::MemberListChanged(changed) => {
            let items = changed.ops.iter().flat_map(|op| &op.items);
            let members = items.filter_map(|item| match &item.item {
                Some(v1::member_list_item::Item::Member(m)) => Some(Thing::User(m.user_id)),
                _ => None,
            });
            members.chain([Thing::Server(changed.server_id)]).collect()
        }
        _ => Vec::new(),
    }
}

impl Play {
    /// A user ends its stream, and may begin another at once; or begins one.
    pub(super) async fn come_or_go(&mut self, user: usize) {
        if let Some((client, task)) = self.connections[user].live.take() {
            let gone = |truth: &mut Truth| {
                truth.away.insert(user);
            };
            let go = async {
                task.abort();
                drop(client);
                Ok(())
            };
            self.change(gone, go).await;
            if self.rng.random_bool(0.5) {
                return;
            }
        }
        self.come(user).await;
    }

    /// A user begins a stream that looks at everything, whether or not it may be seen.
    pub(super) async fn come(&mut self, user: usize) {
        let list = |server_id: &Id| v1::MemberListView {
            server_id: *server_id,
            ranges: vec![v1::MemberRange {
                start: 0,
                count: 100,
            }],
        };
        let channels = self.truth.channels();
        let looked = channels.iter().map(|id| (*id, None)).collect::<Vec<_>>();
        let identify = v1::Identify {
            intents: vec![v1::Intent::Presence as i32, v1::Intent::Typing as i32],
            view: Some(v1::View {
                users: self.ids.clone(),
                member_lists: self.truth.servers.keys().map(list).collect(),
                ..view(&looked)
            }),
            ..identify(&self.users[user])
        };
        let client = connect(&self.node.gateway, identify, 1_024);
        let log = self.connections[user].log.clone();
        let here = |truth: &mut Truth| {
            truth.away.remove(&user);
        };
        let ready = async { Ok(follow(&client, log).await) };
        let task = self.change(here, ready).await;
        self.connections[user].live = Some((client, task));
    }

    /// Whether a user could be told of that at a moment. Of another user: while both were in a
    /// server, or have a direct channel.
    fn could(&self, user: usize, thing: Thing, at: Instant) -> bool {
        let Thing::User(id) = thing else {
            return self.seen.could(Who::User(user), thing, at);
        };
        let other = self.user_of(id);
        let mut servers = self.homes.values().filter(|server| **server != 0);
        let mut directs = self.truth.directs.values();
        let both = |server: &Id| {
            let of = [user, other];
            of.iter()
                .all(|of| self.seen.could(Who::User(*of), Thing::Server(*server), at))
        };
        user == other
            || directs.any(|two| two.contains(&user) && two.contains(&other))
            || servers.any(both)
    }

    /// Holds all frames against what their receivers could see.
    pub(super) fn judge_frames(&self, seed: u64) {
        let (mut checked, mut lost) = (HashMap::new(), 0);
        for (user, connection) in self.connections.iter().enumerate() {
            for (at, frame) in connection.log.lock().unwrap().iter() {
                assert!(!matches!(frame, Frame::Closing(_)), "{user}: {frame:?}");
                for thing in told(frame, self.ids[user]) {
                    let could = self.could(user, thing, *at);
                    assert!(
                        could,
                        "seed {seed}: user {user} was told of {thing:?}: {frame:?}"
                    );
                    *checked.entry(std::mem::discriminant(frame)).or_insert(0) += 1;
                    lost += usize::from(!self.seen.holds_now(Who::User(user), thing));
                }
            }
        }
        assert!(checked.len() >= 5, "few kinds of frames came: {checked:?}");
        assert!(lost > 0, "nobody ever lost anything");
    }
}
