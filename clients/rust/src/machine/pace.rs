//! How fast sends may go: freely, until the server refuses one for now.

use super::Delay;
use crate::error::Error;
use std::time::Duration;

/// The least between two sends once they were too fast.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Of the stream or of a channel. It knows nothing of the server's limits, and finds out: after a
/// refusal it waits as long as it is told, then sends one at a time, and step by step more again.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time between two sends.
    interval: Duration,
    /// Sends under way at once.
    window: usize,
    /// Refusals in a row.
    failures: u32,
    waits: Option<Wait>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::ZERO,
            window: usize::MAX,
            failures: 0,
            waits: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Refused,
    Interval,
}

impl Pace {
    pub(super) fn may_send(&self, under_way: usize) -> bool {
        self.waits.is_none() && under_way < self.window
    }

    pub(super) fn waits(&self) -> bool {
        self.waits.is_some()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.waits == Some(Wait::Refused)
    }

    /// The wait is over.
    pub(super) fn go_on(&mut self) {
        self.waits = None;
    }

    /// Something was sent: how long until the next may be, if it must wait.
    pub(super) fn sent(&mut self) -> Option<Delay> {
        if self.interval.is_zero() {
            return None;
        }
        self.waits = Some(Wait::Interval);
        Some(Delay::Exactly(self.interval))
    }

    /// The server took one. After a refusal, that one went before it.
    pub(super) fn taken(&mut self) {
        if self.is_refused() {
            return;
        }
        self.failures = 0;
        self.interval -= self.interval / 8;
        if self.interval < INTERVAL_MIN {
            self.interval = Duration::ZERO;
            self.window = self.window.saturating_add(1);
        }
    }

    /// The server refused one for now: how long to wait. What was under way with it and is refused,
    /// too, says nothing more.
    pub(super) fn refused(&mut self, error: &Error) -> Delay {
        let retry_after = error.retry_after.unwrap_or_default();
        if !self.is_refused() {
            self.failures = self.failures.saturating_add(1);
            self.window = 1;
            if error.reason == RATE_LIMITED {
                let slower = self.interval + self.interval / 2;
                let interval = slower.max(retry_after);
                self.interval = interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
            }
        }
        self.waits = Some(Wait::Refused);
        Delay::AtLeast(retry_after, self.failures - 1)
    }
}

const RATE_LIMITED: &str = "RATE_LIMITED";

/// Whether it is the stream's frames that were too many, and not the sends to a channel.
pub(super) fn is_of_stream(error: &Error) -> bool {
    let scope = error.metadata.iter().find(|(key, _)| key == "scope");
    error.reason == RATE_LIMITED && scope.is_some_and(|(_, scope)| scope == "stream")
}
