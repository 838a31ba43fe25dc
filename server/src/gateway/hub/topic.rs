//! One topic with its sessions.

use super::{Attach, Attached, Meter, Mode};
use crate::bus::Publication;
use crate::gateway::close::Close;
use crate::gateway::handle::SessionHandle;
use crate::gateway::outbox::Refused;
use crate::model::{Position, TopicKey};
use crate::mutation;
use crate::traces::FanOut;
use indexmap::IndexMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A fan-out lets others run after so many sessions: a ping under saturation takes 0.5 ms so, not
/// 47.
const YIELD_EVERY: usize = 64;
/// Events that are handed to all sessions in one go, at most: each session then writes them in one.
pub(super) const BURST_MAX: usize = 64;
/// Events that wait while those before them are fetched; beyond, they are fetched as well.
const HELD_BACK_MAX: usize = 1_024;

struct Attachment {
    session: Arc<SessionHandle>,
    mode: Mode,
    generation: u64,
    /// Events up to this `seq` of the topic's epoch are in its outbox.
    after: i64,
}

/// Live events that wait until those missing before them have come.
#[derive(Default)]
pub(super) struct Filling {
    held_back: Vec<Arc<Publication>>,
    /// Some were dropped.
    overflown: bool,
}

/// A topic that is subscribed to.
pub(super) struct Topic {
    key: TopicKey,
    /// Every session attached has the events up to here.
    position: Position,
    sessions: IndexMap<u64, Attachment>,
    /// The latest events up to `position`, without a step left out: a session that has read what
    /// it missed finds here what came meanwhile. Else it would never catch up with a busy topic.
    tail: VecDeque<Arc<Publication>>,
    tail_max: usize,
    filling: Option<Filling>,
    used_at: Instant,
    /// Attachments to remove after a fan-out; kept for its memory.
    leaving: Vec<u64>,
}

/// What is to be done about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing.
    Done,
    /// Events before it are missing: they must be fetched.
    Jumped,
}

impl Topic {
    pub(super) fn new(key: TopicKey, position: Position, tail_max: usize) -> Self {
        Self {
            key,
            position,
            sessions: IndexMap::new(),
            tail: VecDeque::new(),
            tail_max,
            filling: None,
            used_at: Instant::now(),
            leaving: Vec::new(),
        }
    }

    pub(super) fn position(&mut self) -> Position {
        self.used_at = Instant::now();
        self.position
    }

    /// Attaches a session, or changes the mode of one that is attached.
    pub(super) fn attach(&mut self, attach: Attach) -> Attached {
        let now = self.position();
        let (held, mode, session) = (attach.held, attach.mode, attach.session);
        let mut replayed = 0;
        let mut after = now.seq;
        if let Some(attachment) = self.sessions.get_mut(&session.serial)
            && (attachment.mode.full || !mode.full)
        {
            attachment.mode = mode;
            attachment.generation = attach.generation;
            return Attached::Live { replayed };
        }
        let ahead = held.epoch == now.epoch && held.seq > now.seq;
        let current = held == now
            || mutation::on("jump_check_off")
            || ahead && mutation::on("position_of_future_taken");
        if !mode.full {
            if !current {
                session.activity(self.key.id, now, None);
            }
        } else if !current {
            if attach.confirmed && ahead {
                // The feed lags behind the bus; what the client has of it is passed over.
                after = held.seq;
            } else {
                match self.replay(&session, held) {
                    Ok(count) => replayed = count,
                    Err(held) => return Attached::Behind { held, now },
                }
            }
        }
        let attachment = Attachment {
            mode,
            generation: attach.generation,
            after,
            session,
        };
        let serial = attachment.session.serial;
        self.sessions.insert(serial, attachment);
        Attached::Live { replayed }
    }

    /// Puts what came after `held` into an outbox, if it is at hand and has room. Else: where the
    /// client is then.
    fn replay(&self, session: &SessionHandle, mut held: Position) -> Result<usize, Position> {
        let missed = self.position.seq.checked_sub(held.seq);
        let missed = missed.and_then(|count| usize::try_from(count).ok());
        let from = missed.and_then(|count| self.tail.len().checked_sub(count));
        let Some(from) = from.filter(|_| held.epoch == self.position.epoch) else {
            return Err(held);
        };
        for event in self.tail.iter().skip(from) {
            session.signal(event.signal);
            if session.outbox.push(event.frame.clone()).is_err() {
                return Err(held);
            }
            held = event.position;
        }
        Ok(self.tail.len() - from)
    }

    pub(super) fn set_mode(&mut self, session: u64, mode: Mode) {
        if let Some(attachment) = self.sessions.get_mut(&session)
            && (attachment.mode.full || !mode.full)
        {
            attachment.mode = mode;
        }
    }

    pub(super) fn detach(&mut self, session: u64) {
        self.sessions.swap_remove(&session);
        self.used_at = Instant::now();
    }

    /// Takes events from the feed, in its order: delivers those that come next. After a jump the
    /// rest is fetched with what is missing.
    pub(super) async fn take(&mut self, events: &[Arc<Publication>], meter: &Meter) -> Taken {
        if let Some(filling) = &mut self.filling {
            let room = HELD_BACK_MAX.saturating_sub(filling.held_back.len());
            let fit = &events[..room.min(events.len())];
            filling.held_back.extend_from_slice(fit);
            filling.overflown |= fit.len() < events.len();
            return Taken::Done;
        }
        let mut rest = events;
        while let [event, ..] = rest {
            let at = self.position;
            let count = if event.position == at.next() {
                let pairs = rest.windows(2).take(BURST_MAX - 1);
                let follows =
                    |pair: &&[Arc<Publication>]| pair[1].position == pair[0].position.next();
                let count = 1 + pairs.take_while(follows).count();
                self.deliver(&rest[..count], meter).await;
                count
            } else if event.position.epoch == at.epoch && event.position.seq <= at.seq {
                1
            } else {
                return Taken::Jumped;
            };
            rest = &rest[count..];
        }
        Taken::Done
    }

    /// Holds events back until those after the answered position are fetched; None: they are being
    /// fetched already, and will be once more.
    pub(super) fn begin_filling(&mut self) -> Option<Position> {
        if let Some(filling) = &mut self.filling {
            filling.overflown = true;
            return None;
        }
        self.filling = Some(Filling::default());
        Some(self.position)
    }

    /// Delivers what was fetched, then what was held back.
    pub(super) async fn fill(&mut self, missed: Vec<Arc<Publication>>, meter: &Meter) -> Taken {
        let filling = self.filling.take().unwrap_or_default();
        let events = [missed, filling.held_back].concat();
        if self.take(&events, meter).await == Taken::Jumped || filling.overflown {
            Taken::Jumped
        } else {
            Taken::Done
        }
    }

    /// Hands events that follow each other to all sessions: the same bytes for each.
    async fn deliver(&mut self, events: &[Arc<Publication>], meter: &Meter) {
        self.position = events.last().map_or(self.position, |last| last.position);
        self.used_at = Instant::now();
        let messages = events.iter().map(|event| event.message_id);
        let mut trace = meter.traces.fan_out(messages, self.sessions.len());
        for (n, (serial, attachment)) in self.sessions.iter().enumerate() {
            if n % YIELD_EVERY == YIELD_EVERY - 1 {
                tokio::task::yield_now().await;
            }
            let session = &attachment.session;
            for event in events {
                session.signal(event.signal);
            }
            let had = events.partition_point(|event| event.position.seq <= attachment.after);
            let new = &events[had..];
            let Some(last) = new.last() else { continue };
            if !attachment.mode.full {
                if session.outbox.is_ended() {
                    self.leaving.push(*serial);
                } else {
                    let created = new.iter().map(|event| event.message_id).max();
                    session.activity(self.key.id, last.position, created);
                }
                continue;
            }
            let lost = |seq| seq % 7 == 0 && mutation::on("event_lost");
            let new_frames = new.iter().filter(|e| !lost(e.position.seq));
            let pushed = match trace.as_mut().and_then(FanOut::next_picked) {
                None => session.outbox.push_all(new_frames.map(|e| e.frame.clone())),
                Some(trace) => {
                    let frames = new_frames.map(|e| (e.frame.clone(), trace.deliver(e.message_id)));
                    session.outbox.push_traced(frames)
                }
            };
            match pushed {
                Ok(()) => {}
                Err((_, Refused::Ended)) => self.leaving.push(*serial),
                Err((queued, Refused::Full)) => {
                    self.leaving.push(*serial);
                    if session.outbox.is_syncing() {
                        let held = new[queued].position.before();
                        session.behind(self.key, held, attachment.generation);
                    } else {
                        metrics::counter!("chirm_slow_consumers_total").increment(1);
                        session.close(&Close::SlowConsumer.into());
                    }
                }
            }
        }
        meter.delivered(events, self.sessions.len(), trace);
        let delivered = self.sessions.len() * events.len();
        metrics::counter!("chirm_events_delivered_total").increment(delivered as u64);
        for serial in self.leaving.drain(..) {
            self.sessions.swap_remove(&serial);
        }
        self.tail.extend(events.iter().cloned());
        let beyond = self.tail.len().saturating_sub(self.tail_max);
        self.tail.drain(..beyond);
    }

    /// Sends all sessions back to where they were: they attach anew.
    pub(super) fn give_up(self) {
        for attachment in self.sessions.values() {
            let session = &attachment.session;
            session.behind(self.key, self.position, attachment.generation);
        }
    }

    /// Hands what has no position to those who look at the channel.
    pub(super) fn announce(&self, intent: u8, frame: &bytes::Bytes) {
        for attachment in self.sessions.values() {
            if attachment.mode.viewed && attachment.session.wants(intent) {
                // What has no position may be dropped: a full outbox is none the worse for it.
                let _ = attachment.session.outbox.push(frame.clone());
            }
        }
    }

    /// Forgets what is old. Whether nobody has used the topic for `idle`.
    pub(super) fn is_idle(&mut self, idle: Duration) -> bool {
        let old = self.used_at.elapsed() >= idle;
        if old {
            self.tail = VecDeque::new();
        }
        old && self.sessions.is_empty() && self.filling.is_none()
    }
}
