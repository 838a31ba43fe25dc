//! Paging a channel's history: what closes a gap.

use super::{
    Action, Machine,
    channel::{Place, before, follows},
    channel_topic,
    seen::Origin,
    step::Bounds,
};
use crate::{
    error::{Advice, Error},
    event::{Event, GapCause, Source},
};
use chirm_proto::v1::{self, event::Event as Body};
use prost::Message as _;
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Paging {
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

/// What became of an event that waits for the end of a paging.
pub(super) enum Kept {
    Yes,
    /// It was kept, or paged, before.
    Had,
    /// It and all that waited must be paged up to there, too: a jump, or too many.
    Instead(v1::Position, GapCause),
}

impl Paging {
    fn last(&self) -> v1::Position {
        self.waiting
            .back()
            .and_then(|(event, _)| event.position)
            .unwrap_or(self.target)
    }

    /// Keeps an event for later.
    pub(super) fn keep(
        &mut self,
        position: v1::Position,
        event: v1::Event,
        source: Source,
        bounds: &Bounds,
    ) -> Kept {
        let last = self.last();
        if last.epoch == position.epoch && position.seq <= last.seq {
            return Kept::Had;
        }
        let mut kept = Kept::Yes;
        if !follows(last, position) {
            // A jump inside of a gap makes it a wider gap.
            self.drop_waiting(before(position));
            kept = Kept::Instead(before(position), GapCause::Jump);
        }
        self.waiting_bytes += event.encoded_len();
        self.waiting.push_back((event, source));
        if self.waiting.len() > bounds.waiting_max || self.waiting_bytes > bounds.waiting_bytes_max
        {
            self.drop_waiting(position);
            kept = Kept::Instead(position, GapCause::Overflow);
        }
        kept
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
    /// Begins to page all that the program may have missed. No position is held until it ends.
    pub(super) fn start_paging(&mut self, id: i64, target: v1::Position) {
        let history = self.rules.history;
        let channel = self.channel(id);
        channel.seen.keep_from(None);
        if history {
            channel.seen.start_at(0);
        }
        let Some(after) = channel.seen.floor() else {
            // The program had nothing of the channel that this client knows of.
            channel.hold(target);
            self.tell_held(channel_topic(id));
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
        self.tell_held(channel_topic(id));
        self.act(Action::Page {
            channel: id,
            after,
            run,
            failures: 0,
        });
    }

    pub(super) fn forget_old(&mut self, id: i64) {
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
        self.tell_held(channel_topic(id));
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
