//! What a session follows: every topic that its user may see, brought from the position held to
//! now.

use super::{Session, close_of, presented};
use crate::domain::Reason;
use crate::gateway::close::Close;
use crate::gateway::hub::{self, Attached, Mode};
use crate::gateway::outbox::Refused;
use crate::gateway::wire;
use crate::model::{Channel, ChannelType, Id, Position, TopicKey, TopicKind};
use bytes::Bytes;
use chirm_proto::v1;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Channels whose newest ids are read at once.
const SNAPSHOT_BATCH: usize = 100;
/// Looks at what is visible, each finding something new, before a session gives up.
const LOOKS_MAX: usize = 50;
/// A failed look at what the user may see is repeated after so long.
const RECHECK_RETRY: Duration = Duration::from_millis(250);
const VIEW_CHANNELS_MAX: usize = 100;
const VIEW_LISTS_MAX: usize = 10;
const VIEW_USERS_MAX: usize = 100;

/// What the user may see, as topics. Servers come before channels.
#[derive(Default)]
struct Wanted {
    servers: Vec<Id>,
    channels: HashMap<Id, Arc<Channel>>,
}

/// What a session follows.
pub(super) struct Follow {
    all: bool,
    viewed: HashSet<Id>,
    modes: HashMap<TopicKey, Mode>,
}

/// Checks the bounds of a view.
pub(super) fn check_view(view: &v1::View) -> Result<(), String> {
    for (field, n, max) in [
        ("view.channels", view.channels.len(), VIEW_CHANNELS_MAX),
        ("view.member_lists", view.member_lists.len(), VIEW_LISTS_MAX),
        ("view.users", view.users.len(), VIEW_USERS_MAX),
    ] {
        if n > max {
            return Err(format!("{field}: {n} given, {max} at most"));
        }
    }
    Ok(())
}

impl Follow {
    pub(super) fn new(identify: &v1::Identify) -> Self {
        let view = identify.view.iter().flat_map(|view| &view.channels);
        Self {
            all: identify.delivery() != v1::Delivery::Viewed,
            viewed: view.map(|channel| channel.channel_id).collect(),
            modes: HashMap::new(),
        }
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = TopicKey> + '_ {
        self.modes.keys().copied()
    }

    fn mode(&self, topic: TopicKey) -> Mode {
        let viewed = topic.kind == TopicKind::Channel && self.viewed.contains(&topic.id);
        Mode {
            full: self.all || viewed || topic.kind != TopicKind::Channel,
            viewed,
        }
    }
}

impl Session {
    /// The part between `Hello` and `Ready`.
    pub(super) async fn bring_up_to_date(&mut self, identify: v1::Identify) -> Result<(), Close> {
        let mut held = presented(&identify);
        let mut intents = 0;
        for intent in identify.intents() {
            intents |= match intent {
                v1::Intent::Typing => wire::INTENT_TYPING,
                v1::Intent::CustomEvents => wire::INTENT_CUSTOM,
                v1::Intent::Presence | v1::Intent::Unspecified => 0,
            };
        }
        self.handle.intents.store(intents, Ordering::Relaxed);
        drop(identify);
        let own = TopicKey::user(self.handle.user_id);
        self.follow_record(own, held.remove(&own)).await?;
        let wanted = self.follow_visible(&mut held).await?;
        for topic in held.into_keys() {
            self.push(wire::topic_removed(topic)).await?;
        }
        let mut servers = wanted.servers;
        servers.sort_unstable();
        let direct = wanted
            .channels
            .values()
            .filter(|c| c.kind == ChannelType::Direct);
        let mut direct: Vec<Id> = direct.map(|channel| channel.id).collect();
        direct.sort_unstable();
        self.push(wire::ready(servers, direct)).await?;
        self.handle.syncing.store(false, Ordering::Release);
        Ok(())
    }

    /// Does what the hub and others asked for.
    pub(super) async fn look(&mut self) -> Result<(), Close> {
        self.handle.syncing.store(true, Ordering::Release);
        let behind = self.handle.take_behind();
        for (topic, held) in behind {
            if self.follow.modes.contains_key(&topic) {
                self.inner.hub.detach([topic], self.handle.serial).await;
                self.follow_topic(topic, Some(held)).await?;
            }
        }
        if self.handle.take_recheck() {
            match self.follow_visible(&mut HashMap::new()).await {
                Ok(wanted) => self.unfollow_others(&wanted).await?,
                Err(Close::StoreUnavailable) => {
                    self.recheck_at = Some(Instant::now() + RECHECK_RETRY);
                }
                Err(close) => return Err(close),
            }
        }
        self.activity();
        self.handle.syncing.store(false, Ordering::Release);
        Ok(())
    }

    /// Takes what the user now looks at.
    pub(super) async fn view(&mut self, view: v1::View) -> Result<(), Close> {
        check_view(&view).map_err(|_| Close::FieldInvalid)?;
        let before = std::mem::take(&mut self.follow.viewed);
        self.follow.viewed = view.channels.iter().map(|c| c.channel_id).collect();
        self.handle.syncing.store(true, Ordering::Release);
        for channel in before.difference(&self.follow.viewed.clone()) {
            let topic = TopicKey::channel(*channel);
            if self.follow.modes.contains_key(&topic) {
                self.follow_topic(topic, Some(Position { epoch: 0, seq: 0 }))
                    .await?;
            }
        }
        for channel in view.channels {
            let topic = TopicKey::channel(channel.channel_id);
            if self.follow.modes.contains_key(&topic) {
                let held = channel.position.as_ref().map(wire::position);
                self.follow_topic(topic, held).await?;
            } else {
                self.push(wire::topic_removed(topic)).await?;
            }
        }
        self.handle.syncing.store(false, Ordering::Release);
        Ok(())
    }

    /// Follows all that the user may see and that isn't followed yet. A change between reading what
    /// is visible and following it is found by reading again.
    async fn follow_visible(
        &mut self,
        held: &mut HashMap<TopicKey, Position>,
    ) -> Result<Wanted, Close> {
        for _ in 0..LOOKS_MAX {
            let visible = self.inner.domain.visible(self.handle.user_id).await;
            let visible = visible.map_err(|error| close_of(&error))?;
            let wanted = Wanted {
                servers: visible.servers.keys().copied().collect(),
                channels: visible.channels.into_iter().collect(),
            };
            let mut news = false;
            for server in &wanted.servers {
                let topic = TopicKey::server(*server);
                if !self.follow.modes.contains_key(&topic) {
                    news = true;
                    self.follow_record(topic, held.remove(&topic)).await?;
                }
            }
            let mut fresh = Vec::new();
            for channel in wanted.channels.values() {
                let topic = TopicKey::channel(channel.id);
                if self.follow.modes.contains_key(&topic) {
                    continue;
                }
                news = true;
                match held.remove(&topic) {
                    Some(position) => self.follow_topic(topic, Some(position)).await?,
                    None => fresh.push(channel.clone()),
                }
            }
            for channels in fresh.chunks(SNAPSHOT_BATCH) {
                self.follow_new_channels(channels).await?;
            }
            if !news {
                return Ok(wanted);
            }
        }
        // It changes faster than it can be read, or can't be read whole: the client comes again.
        Err(Close::StoreUnavailable)
    }

    async fn unfollow_others(&mut self, wanted: &Wanted) -> Result<(), Close> {
        let own = TopicKey::user(self.handle.user_id);
        let servers: HashSet<Id> = wanted.servers.iter().copied().collect();
        let gone: Vec<TopicKey> = self
            .follow
            .topics()
            .filter(|topic| match topic.kind {
                TopicKind::Channel => !wanted.channels.contains_key(&topic.id),
                TopicKind::Server => !servers.contains(&topic.id),
                TopicKind::User => *topic != own,
            })
            .collect();
        self.inner
            .hub
            .detach(gone.iter().copied(), self.handle.serial)
            .await;
        for topic in gone {
            self.follow.modes.remove(&topic);
            self.push(wire::topic_removed(topic)).await?;
        }
        Ok(())
    }

    async fn follow_topic(&mut self, topic: TopicKey, held: Option<Position>) -> Result<(), Close> {
        match (topic.kind, held) {
            (TopicKind::Channel, Some(held)) => self.attach_channel(topic, held).await,
            (TopicKind::Channel, None) => {
                let visible = self.inner.domain.visible(self.handle.user_id).await;
                let visible = visible.map_err(|error| close_of(&error))?;
                match visible.channels.get(&topic.id) {
                    Some(channel) => {
                        self.follow_new_channels(std::slice::from_ref(channel))
                            .await
                    }
                    None => Ok(()),
                }
            }
            (TopicKind::Server | TopicKind::User, held) => self.follow_record(topic, held).await,
        }
    }

    /// Channels of which the client holds nothing: their position, then (so that nothing falls
    /// between) what the store has.
    async fn follow_new_channels(&mut self, channels: &[Arc<Channel>]) -> Result<(), Close> {
        let mut positions = Vec::with_capacity(channels.len());
        for channel in channels {
            let position = self.inner.hub.position(TopicKey::channel(channel.id)).await;
            positions.push(position.map_err(|error| failed(&error))?);
        }
        let ids: Vec<Id> = channels.iter().map(|channel| channel.id).collect();
        let newest = self.inner.store.newest(&ids).await;
        let newest = newest.map_err(|_| Close::StoreUnavailable)?;
        for ((channel, position), last) in channels.iter().zip(positions).zip(newest) {
            self.push(wire::channel_snapshot(channel, position, last))
                .await?;
            metrics::counter!("chirm_topics_resumed_total", "by" => "snapshot").increment(1);
            self.attach_channel(TopicKey::channel(channel.id), position)
                .await?;
        }
        Ok(())
    }

    async fn attach_channel(&mut self, topic: TopicKey, held: Position) -> Result<(), Close> {
        let mut held = held;
        loop {
            match self.attach(topic, held).await? {
                Attached::Live => return Ok(()),
                Attached::Behind(events) => {
                    for event in events {
                        self.push(event.frame.clone()).await?;
                        held = event.position;
                    }
                }
                Attached::Gone(position) => {
                    metrics::counter!("chirm_topics_resumed_total", "by" => "gap").increment(1);
                    self.push(wire::gap(topic, position)).await?;
                    held = position;
                }
            }
        }
    }

    /// A server's or the user's own topic: small enough for a snapshot where events don't reach
    /// back.
    async fn follow_record(
        &mut self,
        topic: TopicKey,
        mut held: Option<Position>,
    ) -> Result<(), Close> {
        loop {
            let position = match held {
                Some(held) => held,
                None => match self.snapshot(topic).await? {
                    Some(position) => position,
                    None => return Ok(()),
                },
            };
            match self.attach(topic, position).await? {
                Attached::Live => return Ok(()),
                Attached::Behind(events) => {
                    for event in events {
                        self.push(event.frame.clone()).await?;
                        held = Some(event.position);
                    }
                }
                Attached::Gone(_) => held = None,
            }
        }
    }

    async fn attach(&mut self, topic: TopicKey, held: Position) -> Result<Attached, Close> {
        let mode = self.follow.mode(topic);
        let attached = self
            .inner
            .hub
            .attach(topic, self.handle.clone(), mode, held)
            .await;
        let attached = attached.map_err(|error| failed(&error))?;
        if matches!(attached, Attached::Live) {
            self.follow.modes.insert(topic, mode);
        }
        Ok(attached)
    }

    /// Sends the snapshot of a server or of the user; None if it is gone.
    async fn snapshot(&mut self, topic: TopicKey) -> Result<Option<Position>, Close> {
        let (domain, user) = (&self.inner.domain, self.handle.user_id);
        let (frame, position) = if topic.kind == TopicKind::Server {
            let s = match domain.server_snapshot(user, topic.id).await {
                Ok(snapshot) => snapshot,
                Err(error) if error.reason == Reason::NotFound => return Ok(None),
                Err(error) => return Err(close_of(&error)),
            };
            let visible = domain
                .visible(user)
                .await
                .map_err(|error| close_of(&error))?;
            let Some(role) = visible.servers.get(&topic.id) else {
                return Ok(None);
            };
            let open: Vec<Channel> = s
                .channels
                .into_iter()
                .filter(|c| c.kind != ChannelType::Private)
                .collect();
            let frame = wire::server_snapshot(&s.server, &open, (user, *role), s.position);
            (frame, s.position)
        } else {
            let s = match domain.user_snapshot(user).await {
                Ok(snapshot) => snapshot,
                Err(error) => return Err(close_of(&error)),
            };
            let servers = s.servers.iter().map(|(id, _)| *id).collect();
            let channels = s.channels.iter().map(|c| c.id).collect();
            (
                wire::user_snapshot(&s.user, servers, channels, s.position),
                s.position,
            )
        };
        metrics::counter!("chirm_topics_resumed_total", "by" => "snapshot").increment(1);
        self.push(frame).await?;
        Ok(Some(position))
    }

    /// Sends as fast as the client reads; one that reads nothing for a deadline is too slow.
    async fn push(&self, frame: Bytes) -> Result<(), Close> {
        let deadline = self.inner.config.gateway.deadline;
        match timeout(deadline, self.handle.outbox.push_when_drained(frame)).await {
            Ok(Ok(()) | Err(Refused::Ended)) => Ok(()),
            Ok(Err(Refused::Full)) | Err(_) => Err(Close::SlowConsumer),
        }
    }
}

fn failed(error: &hub::Error) -> Close {
    tracing::warn!(%error, "a topic can't be followed");
    Close::StoreUnavailable
}
