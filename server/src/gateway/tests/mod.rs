//! Sessions in process: the real store, domain and hub, a bus that can lose events, and clients
//! that read as fast or as slowly as a test wants.

pub(crate) mod lossy;
mod people;
mod sessions;
mod simulation;

use super::*;
use crate::bus::local::{self, LocalTopics, RingLimits};
use crate::clock::SystemClock;
use crate::domain::{Caller, NewChannel, NewServer, SendMessage, Subject};
use crate::frames::{self, PREFIX_BYTES};
use crate::model::{ChannelType, Id, Position, TopicKey};
use crate::store::sqlite::Sqlite;
use chirm_proto::v1::{self, server_frame::Frame};
use lossy::LossyTopics;
use prost::Message as _;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a test waits for what must come. Only ends a hanging test.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct World {
    pub(super) domain: Arc<Domain>,
    pub(super) store: store::Handle,
    pub(super) presences: Arc<dyn bus::Presences>,
    gateway: Gateway,
    topics: Arc<LossyTopics>,
    service: Caller,
    _dir: TempDir,
}

#[derive(Clone)]
pub(crate) struct User {
    pub(crate) caller: Caller,
    token: String,
}

impl World {
    /// Limits of rates are off unless `change` says otherwise.
    pub(super) async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.limits.enabled = false;
        change(&mut config);
        let clock = Arc::new(SystemClock::default());
        let limits = RingLimits {
            events: config.limits.ring_events,
            ..RingLimits::default()
        };
        let topics = LocalTopics::new(limits, clock.clone());
        let relay = Arc::new(topics.clone());
        let store = Sqlite::open(&dir.path().join("store"), relay).await;
        let store: store::Handle = Arc::new(store.expect("opens"));
        let mut bus = local::open(topics.clone(), 0, config.gateway.grace, clock.clone());
        let topics = Arc::new(LossyTopics::new(topics));
        bus.topics = topics.clone();
        let config = Arc::new(config);
        let domain = Domain::new(store.clone(), bus.clone(), config.clone(), clock);
        let at_hand = store.clone();
        let gateway = Gateway::start(domain.clone(), &bus, at_hand, config, |error| rpc::Status {
            message: error.message.to_string(),
            ..rpc::Status::default()
        });
        let key = domain.create_key("tests", true, None).await.expect("a key");
        let service = domain.authenticate(&key.token).await.expect("it is good");
        Self {
            domain,
            store,
            presences: bus.presences,
            gateway,
            topics,
            service,
            _dir: dir,
        }
    }

    pub(super) async fn user(&self, name: &str) -> User {
        user(&self.domain, &self.service, name).await
    }

    /// A new open server with its first channel.
    pub(super) async fn server(&self, owner: &User, members: &[&User]) -> (Id, Id) {
        let new = NewServer {
            name: "s".into(),
            open: true,
            ..NewServer::default()
        };
        let made = self.domain.create_server(&owner.caller, new).await;
        let (server, channel) = made.expect("creates");
        for member in members {
            self.join(member, server.id).await;
        }
        (server.id, channel)
    }

    /// A new open channel.
    async fn channel(&self, owner: &User, server_id: Id) -> Id {
        let new = NewChannel {
            server_id,
            kind: ChannelType::Text,
            name: "c".into(),
            description: String::new(),
            rank: 0,
            member_ids: Vec::new(),
            metadata: Default::default(),
            request_id: String::new(),
            slow_mode_s: 0,
        };
        let made = self.domain.create_channel(&owner.caller, new).await;
        made.expect("creates").id
    }

    async fn join(&self, user: &User, server: Id) {
        let joined = self.domain.join_by_id(&user.caller, server).await;
        joined.expect("joins");
    }

    async fn kick(&self, owner: &User, server: Id, user: &User) {
        let kicked =
            self.domain
                .kick_member(&owner.caller, server, user.caller.user_id, String::new());
        kicked.await.expect("kicks");
    }

    async fn send(&self, user: &User, channel_id: Id, content: &str) -> Id {
        let send = SendMessage {
            channel_id,
            content: content.to_owned(),
            ..SendMessage::default()
        };
        let sent = self.domain.send_message(&user.caller, send).await;
        sent.expect("sends").id
    }

    async fn position(&self, channel: Id) -> Position {
        let topic = TopicKey::channel(channel);
        let position = bus::Topics::position(&*self.topics, topic).await;
        position.expect("a position")
    }

    fn connect(&self, identify: v1::Identify, frames: usize) -> Client {
        connect(&self.gateway, identify, frames)
    }
}

/// A user that is signed in.
pub(crate) async fn user(domain: &Arc<Domain>, service: &Caller, name: &str) -> User {
    let subject = Subject::External(name.to_owned());
    let minted = domain.mint_session(service, subject, name, "").await;
    let token = minted.expect("mints").tokens.access;
    let caller = domain.authenticate(&token).await.expect("it is good");
    User { caller, token }
}

/// A stream whose outbox takes `frames`.
pub(crate) fn connect(gateway: &Gateway, identify: v1::Identify, frames: usize) -> Client {
    let outbox = Arc::new(Outbox::new(OutboxLimits {
        frames,
        bytes: 1 << 20,
    }));
    let transport = Transport {
        outbox: outbox.clone(),
        one_way: false,
    };
    let (inputs, received) = mpsc::unbounded_channel();
    let received = tokio_stream::wrappers::UnboundedReceiverStream::new(received);
    let gateway = gateway.clone();
    tokio::spawn(async move { gateway.run(received, transport).await });
    let client = Client { inputs, outbox };
    client.send(Input::Identify(Box::new(identify)));
    client
}

pub(crate) fn identify(user: &User) -> v1::Identify {
    v1::Identify {
        token: user.token.clone(),
        ..v1::Identify::default()
    }
}

fn viewed(user: &User) -> v1::Identify {
    v1::Identify {
        delivery: v1::Delivery::Viewed as i32,
        ..identify(user)
    }
}

fn held(topic: TopicKey, position: Position) -> v1::TopicPosition {
    v1::TopicPosition {
        topic: Some(frames::topic(topic)),
        position: Some(frames::position(position)),
    }
}

pub(crate) fn view(channels: &[(Id, Option<Position>)]) -> v1::View {
    let channel = |(id, position): &(Id, Option<Position>)| v1::ViewedChannel {
        channel_id: *id,
        position: position.map(frames::position),
    };
    v1::View {
        channels: channels.iter().map(channel).collect(),
        ..v1::View::default()
    }
}

/// A client's end of a stream.
pub(crate) struct Client {
    inputs: mpsc::UnboundedSender<Result<Input, InputError>>,
    pub(crate) outbox: Arc<Outbox>,
}

impl Client {
    fn send(&self, input: Input) {
        // A stream that has ended takes nothing; its frames tell.
        let _ = self.inputs.send(Ok(input));
    }

    /// The next frame; None after the end.
    async fn next(&self) -> Option<Frame> {
        let frame = std::future::poll_fn(|cx| self.outbox.poll_frame(cx));
        let frame = tokio::time::timeout(PATIENCE, frame).await;
        Some(decode(&frame.expect("a frame or the end must come")?))
    }

    /// A frame that waits already, if one does.
    async fn at_hand(&self) -> Option<Frame> {
        let frame = std::future::poll_fn(|cx| {
            let frame = self.outbox.poll_frame(cx);
            std::task::Poll::Ready(match frame {
                std::task::Poll::Ready(frame) => frame,
                std::task::Poll::Pending => None,
            })
        });
        frame.await.map(|frame| decode(&frame))
    }

    /// Frames up to and including the first that `wanted` takes; all before it and what it made
    /// of it.
    async fn until<T>(&self, mut wanted: impl FnMut(&Frame) -> Option<T>) -> (Vec<Frame>, T) {
        let mut seen = Vec::new();
        while let Some(frame) = self.next().await {
            if let Some(found) = wanted(&frame) {
                return (seen, found);
            }
            seen.push(frame);
        }
        panic!("the stream ended before the wanted frame; seen: {seen:#?}");
    }

    async fn ready(&self) -> Vec<Frame> {
        let is_ready = |frame: &Frame| matches!(frame, Frame::Ready(_)).then_some(());
        self.until(is_ready).await.0
    }

    /// Reads to the end: the reason of `Closing`, which must be last, and what came before it.
    async fn closing(&self) -> (Vec<Frame>, String) {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        match frames.pop() {
            Some(Frame::Closing(closing)) => (frames, closing.reason),
            other => panic!("the last frame was not Closing: {other:?}"),
        }
    }

    /// All that is on its way when this is called has come before what this returns ends.
    async fn settled(&self) -> Vec<Frame> {
        self.send(Input::Heartbeat);
        let is_ack = |frame: &Frame| matches!(frame, Frame::HeartbeatAck(_)).then_some(());
        self.until(is_ack).await.0
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.outbox.peer_gone();
    }
}

/// The topic that a frame names, if it is one.
pub(crate) fn topic_key(topic: &v1::Topic) -> Option<TopicKey> {
    wire::topic_key(Some(topic))
}

pub(crate) fn decode(frame: &bytes::Bytes) -> Frame {
    let frame = v1::ServerFrame::decode(&frame[PREFIX_BYTES..]).expect("a frame");
    frame.frame.expect("a known frame")
}

/// The event's place, if the frame is one of the topic.
fn event_of(frame: &Frame, topic: TopicKey) -> Option<i64> {
    match frame {
        Frame::Event(event) if event.topic == Some(frames::topic(topic)) => {
            Some(event.position?.seq)
        }
        _ => None,
    }
}

fn is_removed(frame: &Frame, topic: TopicKey) -> bool {
    matches!(frame, Frame::TopicRemoved(removed)
        if removed.topic == Some(frames::topic(topic)))
}
