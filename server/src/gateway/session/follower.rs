//! What a client gets: every topic that its user may see, each brought from the position held to
//! now and then kept there. What is to be sent is a plan of steps, and between any two of them the
//! session does what it is asked meanwhile: who loses a right while much waits to be sent loses
//! what waits, too.

use super::close_of;
use super::interest::Looking;
use super::plan::Step;
use crate::domain::{Caller, Visible};
use crate::gateway::Inner;
use crate::gateway::close::{Close, Ending};
use crate::gateway::handle::{Behind, SessionHandle};
use crate::gateway::hub::Mode;
use crate::gateway::people::Interest;
use crate::gateway::wire;
use crate::model::{ChannelType, Id, Position, TopicKey, TopicKind};
use crate::mutation;
use bytes::Bytes;
use chirm_proto::v1;
use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How often a session is checked against the store, less a random part: within 30 s.
const REVALIDATE: Duration = Duration::from_secs(28);
/// Checks may fail for want of the store for so long before the stream is closed.
const UNCHECKED_MAX: Duration = Duration::from_secs(90);
/// Word of channels out of view is given at most so often.
const ACTIVITY_EVERY: Duration = Duration::from_secs(1);
/// A failed look at what the user may see is repeated after so long.
const RECHECK_RETRY: Duration = Duration::from_millis(250);
/// Looks at what is visible, each finding something new, before a session gives up.
const LOOKS_MAX: u32 = 50;
/// A client that isn't brought up to date within so long, however steadily it reads, never will be:
/// rings don't reach back further.
const SYNC_MAX: Duration = Duration::from_secs(600);
/// Why a session ended is looked up for so long at most.
const REASON_WITHIN: Duration = Duration::from_secs(1);

/// A topic that the session follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Following {
    /// How it is attached; None while the plan still has to attach it (anew).
    pub(super) mode: Option<Mode>,
    pub(super) generation: u64,
    /// It got word of activity last: where the client is isn't known.
    pub(super) slight: bool,
    /// A PRIVATE or DIRECT channel: its own topic tells of its properties.
    pub(super) own_properties: bool,
}

pub(super) struct Follower {
    pub(super) inner: Arc<Inner>,
    pub(super) handle: Arc<SessionHandle>,
    caller: Arc<Caller>,
    all: bool,
    viewed: HashSet<Id>,
    /// Positions that the client presented, of topics not dealt with yet.
    held: HashMap<TopicKey, Position>,
    pub(super) topics: HashMap<TopicKey, Following>,
    pub(super) plan: VecDeque<(TopicKey, Step)>,
    pub(super) last_generation: u64,
    /// What `Ready` names, until it is sent.
    ready: Option<(Vec<Id>, Vec<Id>)>,
    looks: u32,
    sync_until: Instant,
    pub(super) stalled_at: Option<Instant>,
    pub(super) revalidate_at: Instant,
    checked_at: Instant,
    activity_at: Option<Instant>,
    recheck_at: Option<Instant>,
    pub(super) looking: Looking,
    /// Of whom it is told.
    pub(super) interest: Interest,
    /// Word of people waits to be sent.
    pub(super) people_wait: bool,
}

impl Follower {
    pub(super) fn new(
        inner: Arc<Inner>,
        handle: Arc<SessionHandle>,
        caller: &Arc<Caller>,
        identify: &v1::Identify,
        mut held: HashMap<TopicKey, Position>,
    ) -> Self {
        let view = identify.view.iter().flat_map(|view| &view.channels);
        let now = Instant::now();
        let own = TopicKey::user(handle.user_id);
        let first = Step::bring(held.remove(&own));
        let mut follower = Self {
            inner,
            handle,
            caller: caller.clone(),
            all: identify.delivery() != v1::Delivery::Viewed,
            viewed: view.map(|channel| channel.channel_id).collect(),
            held,
            topics: HashMap::new(),
            plan: VecDeque::new(),
            last_generation: 0,
            ready: Some(Default::default()),
            looks: 0,
            sync_until: now + SYNC_MAX,
            stalled_at: None,
            revalidate_at: now + REVALIDATE,
            checked_at: now,
            activity_at: None,
            recheck_at: None,
            looking: identify.view.as_ref().map(Looking::of).unwrap_or_default(),
            interest: Interest::default(),
            people_wait: false,
        };
        follower.note_intents(identify);
        follower.follow(own, first, false);
        follower
    }

    /// All that is, or may be, attached.
    pub(super) fn topics(&self) -> impl Iterator<Item = TopicKey> + '_ {
        self.topics.keys().copied()
    }

    pub(super) fn mode(&self, topic: TopicKey) -> Mode {
        let viewed = topic.kind == TopicKind::Channel && self.viewed.contains(&topic.id);
        Mode {
            full: self.all || viewed || topic.kind != TopicKind::Channel,
            viewed,
        }
    }

    /// Sends what there is to send, for ever.
    pub(super) async fn run(&mut self) -> Result<Infallible, Ending> {
        loop {
            Box::pin(self.work()).await?;
            let times = [self.recheck_at, self.activity_at];
            let wake_at = times.into_iter().flatten();
            let wake_at = wake_at.fold(self.revalidate_at, Instant::min);
            tokio::select! {
                () = self.handle.woken.notified() => {}
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Works until there is nothing to do now.
    async fn work(&mut self) -> Result<(), Ending> {
        let handle = self.handle.clone();
        handle.outbox.set_syncing(true);
        self.sync_until = Instant::now() + SYNC_MAX;
        loop {
            self.attend().await?;
            if let Some((topic, step)) = self.plan.pop_front() {
                self.take(topic, step).await?;
                continue;
            }
            if self.people_wait {
                self.tell_people().await?;
                continue;
            }
            self.stalled_at = None;
            if self.ready.is_some() {
                self.get_ready();
            } else if self.has_activity() {
                self.tell_activity().await;
            } else {
                break;
            }
        }
        self.looks = 0;
        handle.outbox.set_syncing(false);
        Ok(())
    }

    /// Does what the hub, the reader and the clock ask for.
    async fn attend(&mut self) -> Result<(), Ending> {
        let asked = self.handle.take_asked();
        if asked.revoked {
            return Err(self.revoked().await);
        }
        self.people_wait |= asked.people;
        if let Some(view) = asked.view.filter(|_| !mutation::on("view_moves_nothing")) {
            self.looking = Looking::of(&view);
            self.view(view).await;
            self.look().await?;
        }
        for behind in asked.behind {
            self.attach_anew(behind);
        }
        let now = Instant::now();
        if asked.recheck || self.recheck_at.is_some_and(|at| now >= at) {
            self.recheck_at = None;
            self.look().await?;
        }
        if now >= self.revalidate_at {
            self.revalidate(now).await?;
        }
        Ok(())
    }

    fn attach_anew(&mut self, behind: Behind) {
        // Of an attachment that was given up, or made anew since, it says nothing.
        if let Some(following) = self.topics.get_mut(&behind.topic)
            && following.mode.is_some()
            && following.generation == behind.generation
        {
            following.mode = None;
            let step = Step::bring(Some(behind.held));
            self.plan.push_back((behind.topic, step));
        }
    }

    /// Plans to follow a topic.
    fn follow(&mut self, topic: TopicKey, first: Step, own_properties: bool) {
        let following = Following {
            mode: None,
            generation: 0,
            slight: false,
            own_properties,
        };
        self.topics.insert(topic, following);
        self.plan.push_back((topic, first));
    }

    /// Stops following topics, whatever of them waits; tells the client.
    pub(super) async fn drop_topics(&mut self, gone: &[TopicKey]) {
        let serial = self.handle.serial;
        self.inner.hub.detach(gone.iter().copied(), serial).await;
        for topic in gone {
            self.topics.remove(topic);
        }
        let gone: HashSet<TopicKey> = gone.iter().copied().collect();
        self.plan.retain(|(topic, _)| !gone.contains(topic));
        for topic in gone {
            let removed = Step::Send(wire::topic_removed(topic));
            self.plan.push_front((topic, removed));
        }
    }

    /// Compares what is followed with what the user may see.
    pub(super) async fn look(&mut self) -> Result<(), Ending> {
        let visible = match self.inner.domain.visible(self.handle.user_id).await {
            Ok(visible) => visible,
            Err(error) => {
                let close = close_of(&error);
                if close == Close::StoreUnavailable && self.ready.is_none() {
                    self.recheck_at = Some(Instant::now() + RECHECK_RETRY);
                    return Ok(());
                }
                return Err(close.into());
            }
        };
        let own = TopicKey::user(self.handle.user_id);
        let is_gone = |topic: &TopicKey| match topic.kind {
            TopicKind::Channel => !visible.channels.contains_key(&topic.id),
            TopicKind::Server => !visible.servers.contains_key(&topic.id),
            TopicKind::User => *topic != own,
        };
        let gone: Vec<TopicKey> = self.topics().filter(is_gone).collect();
        if !gone.is_empty() && !mutation::on("kick_unnoticed") {
            self.drop_topics(&gone).await;
        }
        if let Some(ready) = &mut self.ready {
            let direct = visible.channels.values();
            let direct = direct.filter(|channel| channel.kind == ChannelType::Direct);
            *ready = (
                visible.servers.keys().copied().collect(),
                direct.map(|channel| channel.id).collect(),
            );
        }
        self.tell_interest(&visible).await?;
        if self.follow_new(&visible) {
            self.looks += 1;
            if self.looks > LOOKS_MAX {
                // It changes faster than it can be read: the client comes again.
                return Err(Close::StoreUnavailable.into());
            }
        }
        Ok(())
    }

    /// Plans to follow what isn't followed yet, servers before channels. Whether there was any.
    fn follow_new(&mut self, visible: &Visible) -> bool {
        let before = self.topics.len();
        for server in visible.servers.keys() {
            let topic = TopicKey::server(*server);
            if !self.topics.contains_key(&topic) {
                let held = self.held.remove(&topic);
                self.follow(topic, Step::bring(held), false);
            }
        }
        for channel in visible.channels.values() {
            let topic = TopicKey::channel(channel.id);
            if !self.topics.contains_key(&topic) {
                let private = matches!(channel.kind, ChannelType::Private | ChannelType::Direct);
                let held = self.held.remove(&topic);
                self.follow(topic, Step::bring(held), private);
            }
        }
        self.topics.len() > before
    }

    /// Follows what the user now looks at.
    async fn view(&mut self, view: v1::View) {
        self.viewed = view.channels.iter().map(|c| c.channel_id).collect();
        let mut held: HashMap<Id, _> = view
            .channels
            .into_iter()
            .map(|channel| (channel.channel_id, channel.position))
            .collect();
        let followed: Vec<(TopicKey, Following)> = self
            .topics
            .iter()
            .filter(|(topic, _)| topic.kind == TopicKind::Channel)
            .map(|(topic, following)| (*topic, *following))
            .collect();
        for (topic, mut following) in followed {
            let position = held.remove(&topic.id).flatten();
            let now = self.mode(topic);
            if following.slight && now.full {
                self.plan.retain(|(planned, _)| *planned != topic);
                let held = position.as_ref().map(wire::position);
                self.plan.push_back((topic, Step::bring(held)));
                (following.mode, following.slight) = (None, false);
            } else if following.mode.is_some_and(|before| before != now) {
                let serial = self.handle.serial;
                self.inner.hub.set_mode(topic, serial, now).await;
                (following.mode, following.slight) = (Some(now), !now.full);
            }
            // What isn't attached yet will be as it is viewed then.
            self.topics.insert(topic, following);
        }
        // In the first part it isn't known yet what is visible: `Ready` comes after that.
        for channel in held.into_keys().filter(|_| self.ready.is_none()) {
            let topic = TopicKey::channel(channel);
            let removed = Step::Send(wire::topic_removed(topic));
            self.plan.push_back((topic, removed));
        }
    }

    /// Ends the first part: every topic has been dealt with.
    fn get_ready(&mut self) {
        let viewed = self.viewed.iter().map(|id| TopicKey::channel(*id));
        let viewed = viewed.filter(|topic| !self.topics.contains_key(topic));
        let mut absent: HashSet<TopicKey> = viewed.collect();
        absent.extend(std::mem::take(&mut self.held).into_keys());
        for topic in absent {
            let removed = Step::Send(wire::topic_removed(topic));
            self.plan.push_back((topic, removed));
        }
        let (mut servers, mut direct) = self.ready.take().unwrap_or_default();
        servers.sort_unstable();
        direct.sort_unstable();
        let own = TopicKey::user(self.handle.user_id);
        let ready = Step::Send(wire::ready(servers, direct));
        self.plan.push_back((own, ready));
    }

    fn has_activity(&mut self) -> bool {
        if self.activity_at.is_some_and(|at| Instant::now() < at) {
            if mutation::on("activity_withheld") {
                self.handle.take_activity();
            }
            return false;
        }
        self.activity_at = None;
        self.handle.has_activity()
    }

    /// Tells which channels out of view have something new: at once after a quiet second, else at
    /// its end. What isn't known of their newest messages is read.
    async fn tell_activity(&mut self) {
        self.activity_at = Some(Instant::now() + ACTIVITY_EVERY);
        let told = self.handle.take_activity();
        let unknown = told.iter().filter(|(_, (_, message))| *message == 0);
        let unknown: Vec<Id> = unknown.map(|(channel, _)| *channel).collect();
        let mut newest = HashMap::new();
        if !unknown.is_empty() {
            match self.inner.store.newest(&unknown).await {
                Ok(ids) => newest.extend(unknown.into_iter().zip(ids)),
                Err(error) => tracing::warn!(%error, "the newest messages can't be read"),
            }
        }
        for (channel, (position, message)) in told {
            if message == 0 && !newest.contains_key(&channel) {
                // The last word is never withheld: it waits for the next second.
                self.handle.put_activity_back(channel, position);
                continue;
            }
            let message = newest.get(&channel).copied().unwrap_or(message);
            let frame = wire::activity(channel, position, message);
            let topic = TopicKey::channel(channel);
            if self.topics.contains_key(&topic) {
                self.plan.push_back((topic, Step::Send(frame)));
            }
        }
    }

    /// Until when the client must have read on, from the first time that there was no room.
    pub(super) fn reads_until(&mut self) -> Instant {
        let deadline = self.inner.config.gateway.deadline;
        let stalled_at = *self.stalled_at.get_or_insert_with(Instant::now);
        (stalled_at + deadline).min(self.sync_until)
    }

    /// Sends as fast as the client reads; between, what is asked is done first.
    pub(super) async fn send(&mut self, topic: TopicKey, frame: Bytes) -> Result<(), Ending> {
        let until = self.reads_until();
        tokio::select! {
            biased;
            sent = self.handle.outbox.push_when_drained(frame.clone()) => match sent {
                // Whoever runs the session notices, too.
                Err(_) if self.handle.outbox.is_ended() => std::future::pending().await,
                _ => self.stalled_at = None,
            },
            () = self.handle.woken.notified() => self.plan.push_front((topic, Step::Send(frame))),
            () = sleep_until(until) => return Err(too_slow()),
        }
        Ok(())
    }

    async fn revalidate(&mut self, now: Instant) -> Result<(), Ending> {
        let sooner = rand::random_range(Duration::ZERO..REVALIDATE / 4);
        self.revalidate_at = now + REVALIDATE - sooner;
        let Err(error) = self.inner.domain.revalidate(&self.caller).await else {
            self.checked_at = now;
            return Ok(());
        };
        match close_of(&error) {
            Close::StoreUnavailable if self.checked_at.elapsed() < UNCHECKED_MAX => Ok(()),
            Close::SessionRevoked => Err(self.revoked().await),
            close => Err(close.into()),
        }
    }

    /// The credential ended: whether the account did, too.
    pub(super) async fn revoked(&self) -> Ending {
        self.handle.outbox.mute();
        let ids = [self.handle.user_id];
        let users = timeout(REASON_WITHIN, self.inner.store.users(&ids)).await;
        match users {
            Ok(Ok(users)) if users.first().is_none_or(|user| user.deleted) => {
                Close::AccountDeleted.into()
            }
            _ => Close::SessionRevoked.into(),
        }
    }
}

/// The client doesn't read.
pub(super) fn too_slow() -> Ending {
    metrics::counter!("chirm_slow_consumers_total").increment(1);
    Close::SlowConsumer.into()
}
