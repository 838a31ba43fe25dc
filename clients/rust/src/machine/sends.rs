//! Sends, from the program's call to their final answer.

use super::{Action, Delay, Machine, State, Timer};
use crate::error::{Advice, Error};
use chirm_proto::{google::rpc, v1};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

/// How long an answer may take before the send is repeated.
const ANSWER: Duration = Duration::from_secs(10);
/// Sends under way at once; the others wait their turn.
const UNDER_WAY_MAX: usize = 256;

/// Sends that have no final answer.
#[derive(Debug, Default)]
pub(crate) struct Sends {
    pending: BTreeMap<u64, Pending>,
    queue: VecDeque<u64>,
    calls: HashMap<u32, u64>,
    last_call: u32,
}

#[derive(Debug, Default)]
struct Pending {
    attempt: i32,
    failures: u32,
    /// The latest call; 0 while it waits for its turn.
    call_id: u32,
}

impl Sends {
    pub(super) fn add(&mut self, key: u64, stored: bool) {
        let attempt = i32::from(stored);
        self.pending.insert(
            key,
            Pending {
                attempt,
                ..Pending::default()
            },
        );
        self.queue.push_back(key);
    }

    /// What the conformance table calls a send's place.
    #[cfg(test)]
    pub(super) fn place_name(&self, key: u64) -> &'static str {
        match self.pending.get(&key) {
            None => "Settled",
            Some(pending) if pending.call_id > 0 => "UnderWay",
            Some(_) if self.queue.contains(&key) => "Queued",
            Some(_) => "Refused",
        }
    }
}

impl Machine {
    /// Sends what waits, oldest first.
    pub(super) fn flush_sends(&mut self) {
        while self.state == State::Live && self.sends.calls.len() < UNDER_WAY_MAX {
            let Some(key) = self.sends.queue.pop_front() else {
                return;
            };
            self.transmit(key);
        }
    }

    fn transmit(&mut self, key: u64) {
        let Some(pending) = self.sends.pending.get_mut(&key) else {
            return;
        };
        self.sends.last_call = self.sends.last_call.checked_add(1).unwrap_or(1);
        let call_id = self.sends.last_call;
        let attempt = pending.attempt;
        pending.call_id = call_id;
        pending.attempt = attempt.saturating_add(1);
        self.stats.resent += u64::from(attempt > 0);
        self.sends.calls.insert(call_id, key);
        self.act(Action::Transmit {
            key,
            call_id,
            attempt,
        });
        self.act(Action::Wait {
            timer: Timer::Answer(key),
            delay: Delay::Exactly(ANSWER),
        });
    }

    /// The answer took too long, or the wait before a repeat is over.
    pub(super) fn retry_send(&mut self, key: u64) {
        let Some(pending) = self.sends.pending.get_mut(&key) else {
            return;
        };
        self.sends.calls.remove(&pending.call_id);
        pending.call_id = 0;
        if !self.sends.queue.contains(&key) {
            self.sends.queue.push_back(key);
        }
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
        if !self.sends.pending.contains_key(&key) {
            return;
        }
        if let Err(error) = &result
            && error.advice == Advice::Reauthenticate
            && !self.renew()
        {
            self.lost(error.clone());
            return;
        }
        let Some(pending) = self.sends.pending.get_mut(&key) else {
            return;
        };
        match result {
            Err(error) if error.is_retryable() => {
                // The answer to an attempt that was given up says nothing about the present one.
                if pending.call_id == 0 {
                    return;
                }
                self.sends.calls.remove(&pending.call_id);
                pending.call_id = 0;
                let delay = Delay::AtLeast(error.retry_after.unwrap_or_default(), pending.failures);
                pending.failures = pending.failures.saturating_add(1);
                self.act(Action::Cancel(Timer::Answer(key)));
                self.act(Action::Wait {
                    timer: Timer::Resend(key),
                    delay,
                });
            }
            result => {
                self.sends.calls.remove(&pending.call_id);
                self.sends.pending.remove(&key);
                self.act(Action::Cancel(Timer::Answer(key)));
                self.act(Action::Settle { key, result });
            }
        }
        self.flush_sends();
    }

    /// The connection is gone: whatever has no answer goes out again by the next one, in order.
    pub(super) fn interrupt_sends(&mut self) {
        let keys: Vec<_> = self.sends.pending.keys().copied().collect();
        for key in &keys {
            self.act(Action::Cancel(Timer::Answer(*key)));
            self.act(Action::Cancel(Timer::Resend(*key)));
        }
        self.sends.calls.clear();
        for pending in self.sends.pending.values_mut() {
            pending.call_id = 0;
        }
        self.sends.queue = keys.into();
    }
}
