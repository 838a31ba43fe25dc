//! Sends, from the program's call to their final answer. Those to one channel go in the order of
//! the program's calls: behind one that is refused for now the channel's others wait.

use super::{
    Action, Delay, Machine, State, Timer,
    pace::{Pace, is_of_stream},
};
use crate::error::{Advice, Error};
use chirm_proto::{google::rpc, v1};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// How long an answer may take before the send is repeated.
const ANSWER: Duration = Duration::from_secs(10);
/// Sends under way at once; the others wait their turn. So few that a server which takes no more
/// for now has few to refuse: those count, too.
pub(super) const UNDER_WAY_MAX: usize = 16;

/// Sends that have no final answer. Their keys rise in the order of the program's calls.
#[derive(Debug, Default)]
pub(crate) struct Sends {
    pending: BTreeMap<u64, Pending>,
    /// Of the channels that have some, or wait.
    lanes: HashMap<i64, Lane>,
    /// The first queued send of each channel whose turn it may be, and its channel.
    turns: BTreeMap<u64, i64>,
    calls: HashMap<u32, u64>,
    last_call: u32,
    /// The stream's: how many frames a minute a server takes.
    pace: Pace,
}

#[derive(Debug)]
struct Pending {
    channel: i64,
    attempt: i32,
    /// The latest call; 0 while it is queued.
    call_id: u32,
}

/// A channel's sends.
#[derive(Debug, Default)]
struct Lane {
    queue: BTreeSet<u64>,
    under_way: usize,
    pace: Pace,
    /// Its place in `turns`.
    turn: Option<u64>,
}

impl Sends {
    pub(super) fn add(&mut self, key: u64, channel: i64, stored: bool) {
        let pending = Pending {
            channel,
            attempt: i32::from(stored),
            call_id: 0,
        };
        self.pending.insert(key, pending);
        self.lanes.entry(channel).or_default().queue.insert(key);
    }

    /// Gives a channel its turn, or takes it.
    fn turn(&mut self, channel: i64, one_at_a_time: bool) {
        let Some(lane) = self.lanes.get_mut(&channel) else {
            return;
        };
        if let Some(turn) = lane.turn.take() {
            self.turns.remove(&turn);
        }
        let may_send = lane.pace.may_send(lane.under_way);
        let first = lane.queue.first().copied();
        if let Some(key) = first.filter(|_| may_send && !(one_at_a_time && lane.under_way > 0)) {
            lane.turn = Some(key);
            self.turns.insert(key, channel);
        }
        if lane.queue.is_empty() && lane.under_way == 0 && !lane.pace.waits() {
            self.lanes.remove(&channel);
        }
    }

    /// A send isn't under way any more.
    fn end_call(&mut self, key: u64) {
        let Some(pending) = self.pending.get_mut(&key).filter(|p| p.call_id > 0) else {
            return;
        };
        self.calls.remove(&pending.call_id);
        pending.call_id = 0;
        if let Some(lane) = self.lanes.get_mut(&pending.channel) {
            lane.under_way -= 1;
        }
    }

    /// What the conformance table calls a send's place.
    #[cfg(test)]
    pub(super) fn place_name(&self, key: u64) -> &'static str {
        match self.pending.get(&key) {
            None => "Settled",
            Some(pending) if pending.call_id > 0 => "UnderWay",
            Some(pending) if self.lanes[&pending.channel].pace.is_refused() => "Refused",
            Some(_) => "Queued",
        }
    }
}

impl Machine {
    /// A send of the program's.
    pub(super) fn send(&mut self, key: u64, channel: i64, stored: bool) {
        self.sends.add(key, channel, stored);
        self.give_turn(channel);
        self.flush_sends();
    }

    /// By unary calls, order is kept by waiting for each answer.
    fn give_turn(&mut self, channel: i64) {
        let one_at_a_time = self.rules.listen_only;
        self.sends.turn(channel, one_at_a_time);
    }

    /// Sends what waits, oldest first.
    pub(super) fn flush_sends(&mut self) {
        while self.state == State::Live
            && self.sends.calls.len() < UNDER_WAY_MAX
            && self.sends.pace.may_send(self.sends.calls.len())
            && let Some((key, _)) = self.sends.turns.first_key_value()
        {
            self.transmit(*key);
        }
    }

    fn transmit(&mut self, key: u64) {
        let sends = &mut self.sends;
        let Some(pending) = sends.pending.get_mut(&key) else {
            return;
        };
        let (channel, attempt) = (pending.channel, pending.attempt);
        sends.last_call = sends.last_call.checked_add(1).unwrap_or(1);
        let call_id = sends.last_call;
        pending.call_id = call_id;
        pending.attempt = attempt.saturating_add(1);
        self.stats.resent += u64::from(attempt > 0);
        sends.calls.insert(call_id, key);
        let mut waits = [sends.pace.sent().map(|delay| (Timer::Pace, delay)), None];
        if let Some(lane) = sends.lanes.get_mut(&channel) {
            lane.queue.remove(&key);
            lane.under_way += 1;
            waits[1] = lane.pace.sent().map(|d| (Timer::Resend(channel), d));
        }
        self.give_turn(channel);
        self.act(Action::Transmit {
            key,
            call_id,
            attempt,
        });
        let answer = (Timer::Answer(key), Delay::Exactly(ANSWER));
        for (timer, delay) in [answer].into_iter().chain(waits.into_iter().flatten()) {
            self.act(Action::Wait { timer, delay });
        }
    }

    /// The answer took too long: it goes out again, before the channel's later ones.
    pub(super) fn retry_send(&mut self, key: u64) {
        if let Some(channel) = self.put_back(key) {
            self.give_turn(channel);
            self.flush_sends();
        }
    }

    /// Queues a send that was under way. Answers its channel.
    fn put_back(&mut self, key: u64) -> Option<i64> {
        self.sends.end_call(key);
        let channel = self.sends.pending.get(&key)?.channel;
        let lane = self.sends.lanes.entry(channel).or_default();
        lane.queue.insert(key);
        Some(channel)
    }

    /// A channel has waited for so long as it had to.
    pub(super) fn resume_channel(&mut self, channel: i64) {
        if let Some(lane) = self.sends.lanes.get_mut(&channel) {
            lane.pace.go_on();
            self.give_turn(channel);
            self.flush_sends();
        }
    }

    /// The stream has.
    pub(super) fn resume_stream(&mut self) {
        self.sends.pace.go_on();
        self.flush_sends();
    }

    /// The stream's answer to a call.
    pub(super) fn result(&mut self, result: v1::Result) {
        let Some(key) = self.sends.calls.get(&result.call_id).copied() else {
            return;
        };
        match result.result {
            Some(v1::result::Result::SendMessage(v1::SendMessageResponse {
                message: Some(message),
            })) => self.answer(key, Ok(message)),
            Some(v1::result::Result::Error(status)) => self.answer(key, Err(status.into())),
            _ => {
                let status = rpc::Status {
                    code: 2,
                    ..rpc::Status::default()
                };
                self.answer(key, Err(status.into()));
            }
        }
    }

    /// An answer to a send, however it came.
    pub(super) fn answer(&mut self, key: u64, result: Result<v1::Message, Error>) {
        let Some(pending) = self.sends.pending.get(&key) else {
            return;
        };
        let is_under_way = pending.call_id > 0;
        match result {
            Err(error) if error.advice == Advice::Reauthenticate && !self.renew() => {
                self.lost(error);
            }
            Err(error) if error.is_retryable() => {
                // The answer to an attempt that was given up says nothing about the present one.
                if is_under_way {
                    self.refused_send(key, &error);
                }
            }
            result => self.settle(key, result),
        }
        self.flush_sends();
    }

    fn refused_send(&mut self, key: u64, error: &Error) {
        let Some(channel) = self.put_back(key) else {
            return;
        };
        self.act(Action::Cancel(Timer::Answer(key)));
        let (timer, delay) = if is_of_stream(error) {
            (Timer::Pace, self.sends.pace.refused(error))
        } else {
            let lane = self.sends.lanes.entry(channel).or_default();
            (Timer::Resend(channel), lane.pace.refused(error))
        };
        self.give_turn(channel);
        self.act(Action::Wait { timer, delay });
    }

    fn settle(&mut self, key: u64, result: Result<v1::Message, Error>) {
        self.sends.end_call(key);
        let Some(pending) = self.sends.pending.remove(&key) else {
            return;
        };
        let channel = pending.channel;
        if let Some(lane) = self.sends.lanes.get_mut(&channel) {
            lane.queue.remove(&key);
            lane.pace.taken();
        }
        self.sends.pace.taken();
        self.give_turn(channel);
        self.act(Action::Cancel(Timer::Answer(key)));
        self.act(Action::Settle { key, result });
    }

    /// The connection is gone: whatever has no answer goes out again by the next one, in order.
    /// Channels go on waiting: their limits are the user's, not the stream's.
    pub(super) fn interrupt_sends(&mut self) {
        let under_way: Vec<_> = self.sends.calls.values().copied().collect();
        let mut channels = BTreeSet::new();
        for key in under_way {
            self.act(Action::Cancel(Timer::Answer(key)));
            channels.extend(self.put_back(key));
        }
        for channel in channels {
            self.give_turn(channel);
        }
        if self.sends.pace.waits() {
            self.act(Action::Cancel(Timer::Pace));
        }
        self.sends.pace = Pace::default();
    }
}
