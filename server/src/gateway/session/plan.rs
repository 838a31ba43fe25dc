//! The steps by which topics are brought from the positions held to now.

use super::close_of;
use super::follower::Follower;
use crate::domain::{Reason, Visible};
use crate::gateway::close::{Close, Ending};
use crate::gateway::hub::{self, Attach, Attached};
use crate::gateway::wire;
use crate::model::{Channel, ChannelType, Id, Position, ReadState, TopicKey, TopicKind};
use crate::mutation;
use bytes::Bytes;
use std::collections::HashMap;

/// Channels whose newest messages and read states are read at once.
const SNAPSHOT_BATCH: usize = 100;

/// How a topic comes to be live: what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Current,
    Replay,
    Snapshot,
    Gap,
}

/// The next thing to do for a topic.
#[derive(Debug)]
pub(super) enum Step {
    /// Send this.
    Send(Bytes),
    /// Attach at a position, and what that takes; without one a snapshot comes first.
    Bring {
        held: Option<Position>,
        /// The bus remembers that position.
        confirmed: bool,
        by: By,
    },
    /// Look at what the user may see: it may have changed before the topic was attached.
    Look,
}

impl Step {
    pub(super) fn bring(held: Option<Position>) -> Self {
        Step::Bring {
            held,
            confirmed: false,
            by: By::Current,
        }
    }

    fn go_on(held: Position, confirmed: bool, by: By) -> Self {
        Step::Bring {
            held: Some(held),
            confirmed,
            by,
        }
    }
}

fn failed(error: &hub::Error) -> Ending {
    tracing::warn!(%error, "a topic can't be followed");
    Close::StoreUnavailable.into()
}

impl Follower {
    /// Does a step.
    pub(super) async fn take(&mut self, topic: TopicKey, step: Step) -> Result<(), Ending> {
        match step {
            Step::Send(frame) => self.send(topic, frame).await,
            Step::Look => self.look().await,
            Step::Bring {
                held: Some(held),
                confirmed,
                by,
            } => self.bring(topic, held, confirmed, by).await,
            Step::Bring { held: None, .. } => match topic.kind {
                TopicKind::Channel => self.channel_snapshots(topic).await,
                TopicKind::Server => self.server_snapshot(topic).await,
                TopicKind::User => self.user_snapshot(topic).await,
            },
        }
    }

    /// Puts steps in front of the plan.
    fn first(&mut self, topic: TopicKey, steps: impl DoubleEndedIterator<Item = Step>) {
        for step in steps.rev() {
            self.plan.push_front((topic, step));
        }
    }

    async fn bring(
        &mut self,
        topic: TopicKey,
        held: Position,
        confirmed: bool,
        by: By,
    ) -> Result<(), Ending> {
        self.last_generation += 1;
        let attach = Attach {
            topic,
            session: self.handle.clone(),
            mode: self.mode(topic),
            held,
            confirmed,
            generation: self.last_generation,
        };
        let (mode, generation) = (attach.mode, attach.generation);
        let attached = self.inner.hub.attach(attach).await;
        match attached.map_err(|error| failed(&error))? {
            Attached::Behind { held, now } => self.fetch_missed(topic, held, now, by).await,
            Attached::Live { replayed } => {
                if let Some(following) = self.topics.get_mut(&topic) {
                    following.mode = Some(mode);
                    following.generation = generation;
                    following.slight = !mode.full;
                }
                count(by, replayed);
                if topic.kind != TopicKind::Channel {
                    self.attached_record(topic);
                }
                Ok(())
            }
        }
    }

    /// What changed before a server's or user's topic was attached was signalled to nobody: what
    /// the user may see is read again, and whether its session still stands.
    fn attached_record(&mut self, topic: TopicKey) {
        if topic.kind == TopicKind::User {
            self.revalidate_at = tokio::time::Instant::now();
        }
        let planned = matches!(self.plan.back(), Some((_, Step::Look)));
        if !planned {
            let own = TopicKey::user(self.handle.user_id);
            self.plan.push_back((own, Step::Look));
        }
    }

    /// Plans to send what came after a position; else a `Gap` (channels) or a snapshot.
    async fn fetch_missed(
        &mut self,
        topic: TopicKey,
        held: Position,
        now: Position,
        by: By,
    ) -> Result<(), Ending> {
        let missed = self.inner.hub.since(topic, held, now).await;
        let Some(missed) = missed.map_err(|error| failed(&error))? else {
            return self.start_over(topic, now).await;
        };
        for event in &missed {
            self.handle.signal(event.signal);
        }
        let last = missed.last().map_or(held, |event| event.position);
        let by = if by == By::Current && !missed.is_empty() {
            By::Replay
        } else {
            by
        };
        metrics::counter!("chirm_replayed_events_total").increment(missed.len() as u64);
        let events = missed.iter().map(|event| Step::Send(event.frame.clone()));
        self.plan.push_front((topic, Step::go_on(last, true, by)));
        self.first(topic, events);
        Ok(())
    }

    async fn start_over(&mut self, topic: TopicKey, now: Position) -> Result<(), Ending> {
        if topic.kind != TopicKind::Channel {
            self.plan.push_front((topic, Step::bring(None)));
            return Ok(());
        }
        let own = self.topics.get(&topic).is_some_and(|f| f.own_properties);
        let mut channel = None;
        if own {
            // Read after the position: what changes from now on comes as an event.
            let user = self.handle.user_id;
            let read = self.inner.domain.visible_channel(user, topic.id).await;
            channel = read.map_err(|error| close_of(&error))?;
            if channel.is_none() {
                self.drop_topics(&[topic]).await;
                self.handle.recheck();
                return Ok(());
            }
        }
        let gap = Step::Send(wire::gap(topic, now, channel.as_deref()));
        let steps = [gap, Step::go_on(now, false, By::Gap)];
        let swallowed = usize::from(mutation::on("gap_swallowed"));
        self.first(topic, steps.into_iter().skip(swallowed));
        Ok(())
    }

    /// Channels of which the client holds nothing: their positions, then (so that nothing falls
    /// between) what they are and what the store has.
    async fn channel_snapshots(&mut self, first: TopicKey) -> Result<(), Ending> {
        let mut topics = vec![first];
        while topics.len() < SNAPSHOT_BATCH
            && let Some((topic, Step::Bring { held: None, .. })) = self.plan.front()
            && topic.kind == TopicKind::Channel
        {
            topics.push(*topic);
            self.plan.pop_front();
        }
        let mut positions = Vec::with_capacity(topics.len());
        for topic in &topics {
            let position = self.inner.hub.position(*topic).await;
            positions.push(position.map_err(|error| failed(&error))?);
        }
        let visible = self.inner.domain.visible(self.handle.user_id).await;
        let visible = visible.map_err(|error| close_of(&error))?;
        let read = self.read_states(&topics, &visible).await?;
        let mut gone = Vec::new();
        for (topic, position) in topics.into_iter().zip(positions).rev() {
            let seen = visible.channels.get(&topic.id).zip(read.get(&topic.id));
            let Some((channel, read)) = seen else {
                gone.push(topic);
                continue;
            };
            let snapshot = Step::Send(wire::channel_snapshot(channel, position, read));
            let steps = [snapshot, Step::go_on(position, false, By::Snapshot)];
            self.first(topic, steps.into_iter());
        }
        if !gone.is_empty() {
            self.drop_topics(&gone).await;
            self.handle.recheck();
        }
        Ok(())
    }

    /// How far the user has read those of the channels that it sees, and their newest messages.
    async fn read_states(
        &self,
        topics: &[TopicKey],
        visible: &Visible,
    ) -> Result<HashMap<Id, ReadState>, Ending> {
        let seen = topics
            .iter()
            .filter_map(|topic| visible.channels.get(&topic.id));
        let role = |channel: &Channel| visible.servers.get(&channel.server_id).copied();
        let seen: Vec<_> = seen
            .map(|channel| (channel.clone(), role(channel)))
            .collect();
        let user = self.handle.user_id;
        let read = self.inner.domain.read_states_of(user, &seen).await;
        read.map_err(|error| close_of(&error).into())
    }

    async fn server_snapshot(&mut self, topic: TopicKey) -> Result<(), Ending> {
        let (domain, user) = (&self.inner.domain, self.handle.user_id);
        let snapshot = match domain.server_snapshot(user, topic.id).await {
            Ok(snapshot) => Some(snapshot),
            Err(error) if error.reason == Reason::NotFound => None,
            Err(error) => return Err(close_of(&error).into()),
        };
        let visible = domain.visible(user).await;
        let visible = visible.map_err(|error| close_of(&error))?;
        let (Some(snapshot), Some(role)) = (snapshot, visible.servers.get(&topic.id)) else {
            self.drop_topics(&[topic]).await;
            self.handle.recheck();
            return Ok(());
        };
        let open = snapshot.channels.into_iter();
        let open: Vec<Channel> = open.filter(|c| c.kind != ChannelType::Private).collect();
        let position = snapshot.position;
        let own = (user, *role);
        let frame = wire::server_snapshot(&snapshot.server, &open, own, position);
        self.send_snapshot(topic, frame, position);
        Ok(())
    }

    async fn user_snapshot(&mut self, topic: TopicKey) -> Result<(), Ending> {
        let snapshot = match self.inner.domain.user_snapshot(topic.id).await {
            Ok(snapshot) => snapshot,
            Err(error) if error.reason == Reason::NotFound => return Err(self.revoked().await),
            Err(error) => return Err(close_of(&error).into()),
        };
        self.send_snapshot(topic, wire::user_snapshot(&snapshot), snapshot.position);
        Ok(())
    }

    fn send_snapshot(&mut self, topic: TopicKey, frame: Bytes, position: Position) {
        let attach = Step::go_on(position, false, By::Snapshot);
        self.first(topic, [Step::Send(frame), attach].into_iter());
    }
}

fn count(by: By, replayed: usize) {
    metrics::counter!("chirm_replayed_events_total").increment(replayed as u64);
    let by = match by {
        By::Current if replayed == 0 => "current",
        By::Current | By::Replay => "replay",
        By::Snapshot => "snapshot",
        By::Gap => "gap",
    };
    metrics::counter!("chirm_topics_resumed_total", "by" => by).increment(1);
}
