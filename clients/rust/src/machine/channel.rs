//! A channel: the position held, gaps, and the paging that closes them.

use super::{
    Action, Machine, channel_topic,
    seen::{News, Origin, Seen},
    step::Bounds,
};
use crate::{
    error::{Advice, Error},
    event::{Event, Source},
};
use chirm_proto::v1::{self, event::Event as Body};
use prost::Message as _;
use std::collections::VecDeque;

/// What a client knows of a channel.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// Its server; 0 for none, or not known yet.
    pub(crate) server_id: i64,
    pub(crate) seen: Seen,
    place: Place,
}

/// Where the channel stands.
#[derive(Debug, Default)]
enum Place {
    /// Nowhere: the server will say.
    #[default]
    Unheld,
    /// Complete up to here.
    Held(v1::Position),
    /// Complete up to `target` when its paging ends.
    Paging(Paging),
}

#[derive(Debug)]
struct Paging {
    /// Tells this paging from earlier ones, whose late pages count for nothing.
    run: u64,
    target: v1::Position,
    /// The events after the target.
    waiting: VecDeque<(v1::Event, Source)>,
    waiting_bytes: usize,
    /// Some that waited were dropped: page once more.
    again: bool,
    after: i64,
    failures: u32,
}

/// Whether an event at `next` comes right after `held`.
pub(crate) fn follows(held: v1::Position, next: v1::Position) -> bool {
    held.epoch == next.epoch && held.seq.checked_add(1) == Some(next.seq)
}

/// The position before an event's.
fn before(position: v1::Position) -> v1::Position {
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

impl Paging {
    fn last(&self) -> v1::Position {
        self.waiting
            .back()
            .and_then(|(event, _)| event.position)
            .unwrap_or(self.target)
    }

    /// Keeps an event for later. Returns whether it had been kept, or was paged, before.
    fn keep(
        &mut self,
        position: v1::Position,
        event: v1::Event,
        source: Source,
        bounds: &Bounds,
    ) -> bool {
        let last = self.last();
        if last.epoch == position.epoch && position.seq <= last.seq {
            return true;
        }
        if !follows(last, position) {
            // A jump inside of a gap makes it a wider gap.
            self.drop_waiting(before(position));
        }
        self.waiting_bytes += event.encoded_len();
        self.waiting.push_back((event, source));
        if self.waiting.len() > bounds.waiting_max || self.waiting_bytes > bounds.waiting_bytes_max
        {
            self.drop_waiting(position);
        }
        false
    }

    /// The lowest id of the new messages that wait: pages may have it, and many after it.
    fn first_waiting(&self) -> Option<i64> {
        let created = self
            .waiting
            .iter()
            .filter_map(|(event, _)| match &event.event {
                Some(Body::MessageCreated(created)) => Some(created.message.as_ref()?.id),
                _ => None,
            });
        created.min()
    }

    fn drop_waiting(&mut self, target: v1::Position) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.target = target;
        self.again = true;
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
                let had = paging.keep(position, event, source, &self.rules.bounds);
                self.stats.duplicates += u64::from(had);
            }
            Place::Held(held) if held.epoch == position.epoch && position.seq <= held.seq => {
                self.stats.duplicates += 1;
            }
            Place::Held(held) if follows(*held, position) => self.apply(event, source),
            _ if jump_check_off => self.apply(event, source),
            _ => {
                // All before the event was stored before it was published, so pages read from now
                // on have it; the event itself then comes in its turn.
                self.stats.jumps += 1;
                let target = before(position);
                let topic = Some(channel_topic(id));
                let created = match &event.event {
                    Some(Body::MessageCreated(v1::MessageCreated { message: Some(m) })) => m.id - 1,
                    _ => i64::MAX,
                };
                if !self.rules.history && created < i64::MAX {
                    // For a channel that was never seen its time begins with this message.
                    self.channel(id).seen.start_at(created);
                }
                self.emit(Event::Gap(v1::Gap {
                    topic,
                    position: Some(target),
                    channel: None,
                }));
                self.start_paging(id, target);
                self.channel_event(id, position, event, source);
            }
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

    fn take_message(
        &mut self,
        id: i64,
        message: v1::Message,
        origin: Origin,
        (source, position): (Source, Option<v1::Position>),
    ) {
        match self.channel(id).seen.take(&message, origin) {
            News::New => self.emit(Event::Message {
                message,
                source,
                position,
            }),
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
                    self.stats.gaps += 1;
                    let topic = Some(channel_topic(id));
                    self.emit(Event::Gap(v1::Gap {
                        topic,
                        position: Some(position),
                        channel: None,
                    }));
                }
                self.channel(id)
                    .seen
                    .start_at(if history { 0 } else { last_message_id });
                self.start_paging(id, position);
            }
            _ => {
                channel.seen.start_at(last_message_id);
                channel.hold(position);
                self.act(Action::Hold(channel_topic(id), Some(position)));
            }
        }
    }

    pub(super) fn gap(&mut self, gap: v1::Gap) {
        let (Some(topic), Some(position)) = (gap.topic, gap.position) else {
            return;
        };
        self.stats.gaps += 1;
        self.emit(Event::Gap(gap));
        if topic.kind() != v1::TopicKind::Channel {
            // Only channels have history. Without its position the topic comes as a snapshot.
            self.others.remove(&topic);
            self.act(Action::Hold(topic, None));
            self.lost(Error::connection("a topic without history has a gap"));
        } else if self.is_followed(topic.id) {
            self.start_paging(topic.id, position);
        } else if let Some(channel) = self.channels.get_mut(&topic.id) {
            channel.place = Place::Unheld;
            self.act(Action::Hold(topic, None));
        }
    }

    /// Begins to page all that the program may have missed. No position is held until it ends.
    fn start_paging(&mut self, id: i64, target: v1::Position) {
        let history = self.rules.history;
        let channel = self.channel(id);
        channel.seen.keep_from(None);
        if history {
            channel.seen.start_at(0);
        }
        let Some(after) = channel.seen.floor() else {
            // The program had nothing of the channel that this client knows of.
            channel.hold(target);
            self.act(Action::Hold(channel_topic(id), Some(target)));
            return;
        };
        self.runs += 1;
        let run = self.runs;
        self.channel(id).place = Place::Paging(Paging {
            run,
            target,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            again: false,
            after,
            failures: 0,
        });
        self.act(Action::Hold(channel_topic(id), None));
        self.act(Action::Page {
            channel: id,
            after,
            run,
            failures: 0,
        });
    }

    fn forget_old(&mut self, id: i64) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.seen.forget_old(&self.rules.bounds);
        }
    }

    fn paging(&mut self, id: i64, run: u64) -> Option<&mut Paging> {
        match &mut self.channels.get_mut(&id)?.place {
            Place::Paging(paging) if paging.run == run => Some(paging),
            _ => None,
        }
    }

    pub(super) fn page(&mut self, id: i64, run: u64, page: v1::ListMessagesResponse) {
        if self.paging(id, run).is_none() {
            return;
        }
        let ids = page.messages.iter().map(|message| message.id);
        // A page may end with ids of deleted messages, and may have nothing else.
        let newest = ids.chain(page.deleted_ids.iter().copied()).max();
        let after = self.paging(id, run).map_or(0, |paging| paging.after);
        if page.has_newer && newest.is_none_or(|newest| newest <= after) {
            self.page_failed(id, run, Error::connection("a page that leads nowhere"));
            return;
        }
        self.stats.pages += 1;
        for message in page.messages {
            self.take_message(id, message, Origin::Page, (Source::Page, None));
        }
        for deleted_id in page.deleted_ids {
            if self.channel(id).seen.take_deleted(deleted_id) {
                self.emit(Event::MessageDeleted(v1::Message {
                    id: deleted_id,
                    channel_id: id,
                    deleted: true,
                    ..v1::Message::default()
                }));
            }
        }
        let first_waiting = self
            .paging(id, run)
            .and_then(|paging| paging.first_waiting());
        self.channel(id).seen.keep_from(first_waiting);
        self.forget_old(id);
        let floor = self.channel(id).seen.floor();
        let Some(paging) = self.paging(id, run) else {
            return;
        };
        paging.failures = 0;
        if let (true, Some(newest)) = (page.has_newer, newest) {
            paging.after = newest;
        } else if paging.again {
            paging.again = false;
            paging.after = floor.unwrap_or(0);
        } else {
            self.end_paging(id);
            return;
        }
        let after = paging.after;
        self.act(Action::Page {
            channel: id,
            after,
            run,
            failures: 0,
        });
    }

    fn end_paging(&mut self, id: i64) {
        let channel = self.channel(id);
        let Place::Paging(paging) = std::mem::take(&mut channel.place) else {
            return;
        };
        channel.hold(paging.target);
        self.act(Action::Hold(channel_topic(id), Some(paging.target)));
        for (event, source) in paging.waiting {
            if self.channels.contains_key(&id) {
                self.apply(event, source);
            }
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.seen.keep_from(None);
            self.forget_old(id);
        }
    }

    pub(super) fn page_failed(&mut self, id: i64, run: u64, error: Error) {
        if self.paging(id, run).is_none() {
            return;
        }
        match error.advice {
            Advice::Stop => {
                // It isn't visible any more, of which the stream tells; or the next connection
                // does.
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.place = Place::Unheld;
                }
                return;
            }
            Advice::Reauthenticate if !self.renew() => {
                self.lost(error);
                return;
            }
            _ => {}
        }
        let Some(paging) = self.paging(id, run) else {
            return;
        };
        paging.failures = paging.failures.saturating_add(1);
        let (after, failures) = (paging.after, paging.failures);
        self.act(Action::Page {
            channel: id,
            after,
            run,
            failures,
        });
    }
}
