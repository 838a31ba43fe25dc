//! Topics: events at their place or not, snapshots, removals.

use super::{
    Machine, State,
    channel::{self, Channel},
    channel_topic,
};
use crate::{
    error::Error,
    event::{Event, GapCause, Source},
};
use chirm_proto::v1;

impl Machine {
    /// An event of a topic, at its place or not.
    pub(super) fn event(&mut self, event: v1::Event) {
        let (Some(topic), Some(position)) = (event.topic, event.position) else {
            return;
        };
        if position.seq < 1 {
            return;
        }
        let source = if self.state == State::Live {
            Source::Live
        } else {
            Source::Replay
        };
        if topic.kind() == v1::TopicKind::Channel {
            self.channel_event(topic.id, position, event, source);
            return;
        }
        match self.others.get(&topic) {
            Some(held) if held.epoch == position.epoch && position.seq <= held.seq => {
                self.stats.duplicates += 1;
            }
            Some(held) if channel::follows(*held, position) => self.apply(event, source),
            // It was removed, and this was under way. What comes to be visible begins with its
            // snapshot.
            None => {}
            _ if self.rules.jump_check_off => self.apply(event, source),
            _ => {
                // Without its position the topic comes as a snapshot.
                self.missed(topic, channel::before(position), GapCause::Jump);
                self.others.remove(&topic);
                self.tell_held(topic);
                self.lost(Error::connection("an event of a topic was missed"));
            }
        }
    }

    /// Applies an event of any topic that stands at its place.
    pub(super) fn apply(&mut self, event: v1::Event, source: Source) {
        use v1::event::Event as Body;
        let (Some(topic), Some(position)) = (event.topic, event.position) else {
            return;
        };
        if source == Source::Replay {
            self.stats.replayed += 1;
        }
        if topic.kind() == v1::TopicKind::Channel {
            self.channel(topic.id).hold(position);
        } else {
            self.others.insert(topic, position);
        }
        let mut removed = None;
        match &event.event {
            Some(Body::MessageCreated(_) | Body::MessageUpdated(_) | Body::MessageDeleted(_)) => {
                self.message_event(topic.id, event, source);
                self.tell_held(topic);
                return;
            }
            Some(
                Body::ChannelCreated(v1::ChannelCreated {
                    channel: Some(channel),
                })
                | Body::ChannelUpdated(v1::ChannelUpdated {
                    channel: Some(channel),
                }),
            ) => self.learn(channel),
            Some(Body::TopicRemoved(v1::TopicRemoved { topic })) => removed = *topic,
            Some(Body::ChannelDeleted(deleted)) => {
                removed = Some(channel_topic(deleted.channel_id));
            }
            Some(Body::ServerDeleted(deleted)) => {
                let kind = v1::TopicKind::Server as i32;
                removed = Some(v1::Topic {
                    kind,
                    id: deleted.server_id,
                });
            }
            _ => {}
        }
        self.emit(Event::Topic(event));
        self.tell_held(topic);
        if let Some(topic) = removed {
            self.remove(topic);
            self.emit(Event::TopicRemoved(topic));
        }
    }

    pub(super) fn snapshot(&mut self, snapshot: v1::Snapshot) {
        let (Some(topic), Some(position)) = (snapshot.topic, snapshot.position) else {
            return;
        };
        self.stats.snapshots += 1;
        if topic.kind() == v1::TopicKind::Channel {
            self.channel_snapshot(topic.id, position, snapshot);
        } else {
            self.others.insert(topic, position);
            if let Some(v1::snapshot::State::Server(state)) = &snapshot.state {
                for channel in &state.channels {
                    self.learn(channel);
                }
            }
            self.emit(Event::Snapshot(snapshot));
            self.tell_held(topic);
        }
    }

    /// Forgets a topic, and with a server its channels.
    pub(super) fn remove(&mut self, topic: v1::Topic) {
        if topic.kind() == v1::TopicKind::Channel {
            self.forget_channel(topic.id);
            self.tell_held(topic);
            return;
        }
        self.others.remove(&topic);
        self.tell_held(topic);
        if topic.kind() == v1::TopicKind::Server {
            let of_server = |channel: &Channel| channel.server_id == topic.id;
            let ids: Vec<_> = self
                .channels
                .iter()
                .filter(|(_, c)| of_server(c))
                .map(|(id, _)| *id)
                .collect();
            for id in ids {
                self.forget_channel(id);
                self.tell_held(channel_topic(id));
            }
        }
    }
}
