//! A channel: the position held, and gaps.

use super::{
    Machine, channel_topic,
    paging::{Kept, Paging},
    seen::{News, Origin, Seen},
};
use crate::{
    error::Error,
    event::{Event, GapCause, Source},
};
use chirm_proto::v1::{self, event::Event as Body};

/// What a client knows of a channel.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// Its server; 0 for none, or not known yet.
    pub(crate) server_id: i64,
    pub(crate) seen: Seen,
    pub(super) place: Place,
}

/// Where the channel stands.
#[derive(Debug, Default)]
pub(super) enum Place {
    /// Nowhere: the server will say.
    #[default]
    Unheld,
    /// Complete up to here.
    Held(v1::Position),
    /// Complete up to `target` when its paging ends.
    Paging(Paging),
}

/// Whether an event at `next` comes right after `held`.
pub(crate) fn follows(held: v1::Position, next: v1::Position) -> bool {
    held.epoch == next.epoch && held.seq.checked_add(1) == Some(next.seq)
}

/// The position before an event's.
pub(super) fn before(position: v1::Position) -> v1::Position {
    v1::Position {
        seq: position.seq - 1,
        ..position
    }
}

impl Channel {
    /// The position that may be presented.
    pub(crate) fn held(&self) -> Option<v1::Position> {
        match self.place {
            Place::Held(position) => Some(position),
            _ => None,
        }
    }

    pub(crate) fn hold(&mut self, position: v1::Position) {
        self.place = Place::Held(position);
    }

    /// What the conformance table calls its place.
    #[cfg(test)]
    pub(super) fn place_name(&self) -> &'static str {
        match self.place {
            Place::Unheld => "Unheld",
            Place::Held(_) => "Held",
            Place::Paging(_) => "Paging",
        }
    }

    /// The connection is gone; what was being paged has no position.
    pub(crate) fn stop_paging(&mut self) {
        if matches!(self.place, Place::Paging(_)) {
            self.place = Place::Unheld;
        }
    }
}

impl Machine {
    fn is_followed(&self, id: i64) -> bool {
        !self.rules.viewed_only || self.viewed.contains(&id)
    }

    /// Every channel begins with its snapshot, so that an event of one which isn't known was under
    /// way when it was removed. But the snapshot of one that came into view, left it and came again
    /// may have arrived while it was out of view.
    fn may_begin_with_an_event(&self, id: i64) -> bool {
        self.rules.viewed_only && self.viewed.contains(&id) && !self.removed.contains(&id)
    }

    /// Forgets a channel that is no longer visible.
    pub(super) fn forget_channel(&mut self, id: i64) {
        self.channels.remove(&id);
        if self.viewed.contains(&id) && !self.removed.contains(&id) {
            self.removed.push(id);
        }
    }

    pub(super) fn channel_event(
        &mut self,
        id: i64,
        position: v1::Position,
        event: v1::Event,
        source: Source,
    ) {
        if !self.channels.contains_key(&id) && !self.may_begin_with_an_event(id) {
            return;
        }
        let jump_check_off = self.rules.jump_check_off;
        self.channel(id);
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        match &mut channel.place {
            Place::Paging(paging) => {
                match paging.keep(position, event, source, &self.rules.bounds) {
                    Kept::Yes => {}
                    Kept::Had => self.stats.duplicates += 1,
                    Kept::Instead(target, cause) => self.missed(channel_topic(id), target, cause),
                }
            }
            Place::Held(held) if held.epoch == position.epoch && position.seq <= held.seq => {
                self.stats.duplicates += 1;
            }
            Place::Held(held) if follows(*held, position) => self.apply(event, source),
            _ if jump_check_off => self.apply(event, source),
            _ => {
                // All before the event was stored before it was published, so pages read from now
                // on have it; the event itself then comes in its turn.
                let target = before(position);
                let created = match &event.event {
                    Some(Body::MessageCreated(v1::MessageCreated { message: Some(m) })) => m.id - 1,
                    _ => i64::MAX,
                };
                if !self.rules.history && created < i64::MAX {
                    // For a channel that was never seen its time begins with this message.
                    self.channel(id).seen.start_at(created);
                }
                self.missed(channel_topic(id), target, GapCause::Jump);
                self.start_paging(id, target);
                self.channel_event(id, position, event, source);
            }
        }
    }

    /// Tells the program of something that was missed.
    pub(super) fn missed(&mut self, topic: v1::Topic, position: v1::Position, cause: GapCause) {
        match cause {
            GapCause::Jump => self.stats.jumps += 1,
            GapCause::Server => self.stats.gaps += 1,
            GapCause::Overflow => {}
        }
        let gap = v1::Gap {
            topic: Some(topic),
            position: Some(position),
            channel: None,
        };
        self.emit(Event::Gap { gap, cause });
    }

    /// Notes which server a channel is of.
    pub(super) fn learn(&mut self, channel: &v1::Channel) {
        if let Some(known) = self.channels.get_mut(&channel.id) {
            known.server_id = channel.server_id;
        }
    }

    /// A message event at its place; the position is held already.
    pub(super) fn message_event(&mut self, id: i64, event: v1::Event, source: Source) {
        let position = event.position;
        let (origin, message) = match event.event {
            Some(Body::MessageCreated(created)) => (Origin::Created, created.message),
            Some(Body::MessageUpdated(updated)) => (Origin::Updated, updated.message),
            Some(Body::MessageDeleted(deleted)) => (Origin::Deleted, deleted.message),
            _ => return,
        };
        if let Some(message) = message {
            self.take_message(id, message, origin, (source, position));
            self.forget_old(id);
        }
    }

    pub(super) fn take_message(
        &mut self,
        id: i64,
        message: v1::Message,
        origin: Origin,
        (source, position): (Source, Option<v1::Position>),
    ) {
        match self.channel(id).seen.take(&message, origin) {
            News::New => {
                self.emit(Event::Message {
                    message,
                    source,
                    position,
                });
                if source == Source::Page {
                    self.tell_held(channel_topic(id));
                }
            }
            News::Updated => self.emit(Event::MessageUpdated(message)),
            News::Deleted => self.emit(Event::MessageDeleted(message)),
            News::Nothing => self.stats.duplicates += 1,
        }
    }

    pub(super) fn channel_snapshot(
        &mut self,
        id: i64,
        position: v1::Position,
        snapshot: v1::Snapshot,
    ) {
        let state = match &snapshot.state {
            Some(v1::snapshot::State::Channel(state)) => Some(state),
            _ => None,
        };
        let server_id = state
            .and_then(|s| s.channel.as_ref())
            .map_or(0, |c| c.server_id);
        let last_message_id = state.map_or(0, |s| s.last_message_id);
        self.emit(Event::Snapshot(snapshot));
        self.removed.retain(|removed| *removed != id);
        if !self.is_followed(id) {
            // Nothing of it will come, so nothing needs closing; viewing it presents what is held.
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.server_id = server_id;
            }
            return;
        }
        let known = self.channels.contains_key(&id);
        let history = self.rules.history;
        let channel = self.channel(id);
        channel.server_id = server_id;
        match channel.place {
            Place::Held(held) if held == position => {}
            _ if known || history => {
                if known {
                    self.missed(channel_topic(id), position, GapCause::Server);
                }
                self.channel(id)
                    .seen
                    .start_at(if history { 0 } else { last_message_id });
                self.start_paging(id, position);
            }
            _ => {
                channel.seen.start_at(last_message_id);
                channel.hold(position);
                self.tell_held(channel_topic(id));
            }
        }
    }

    pub(super) fn gap(&mut self, gap: v1::Gap) {
        let (Some(topic), Some(position)) = (gap.topic, gap.position) else {
            return;
        };
        self.stats.gaps += 1;
        if let Some(channel) = &gap.channel {
            self.learn(channel);
        }
        let cause = GapCause::Server;
        self.emit(Event::Gap { gap, cause });
        if topic.kind() != v1::TopicKind::Channel {
            // Only channels have history. Without its position the topic comes as a snapshot.
            self.others.remove(&topic);
            self.tell_held(topic);
            self.lost(Error::connection("a topic without history has a gap"));
        } else if self.is_followed(topic.id) {
            self.start_paging(topic.id, position);
        } else if let Some(channel) = self.channels.get_mut(&topic.id) {
            channel.place = Place::Unheld;
            self.tell_held(topic);
        }
    }
}
