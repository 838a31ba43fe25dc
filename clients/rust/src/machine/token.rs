//! The access token: renewed before it ends and when it is refused, if there is something that
//! renews it.

use super::{Action, Delay, Machine, State, Timer};
use crate::{
    error::{Advice, Error},
    event::Event,
};
use chirm_proto::v1;
use std::time::Duration;

/// Of a token's life so great a part is left when it is renewed.
const LEFT: u32 = 10;
/// Tokens that were just renewed aren't renewed again sooner, however this machine's clock stands:
/// one that lasts less is renewed when it is refused.
pub(super) const RENEW_MIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Token {
    place: Place,
    failures: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing renews it.
    #[default]
    Fixed,
    /// As far as is known.
    Good,
    /// It is being renewed.
    Renewing,
    /// It couldn't be for now, and will be tried again.
    Failed,
}

impl Token {
    /// What the conformance table calls its place.
    #[cfg(test)]
    pub(super) fn place_name(&self) -> String {
        format!("{:?}", self.place)
    }
}

impl Machine {
    /// The program has given a token.
    pub(super) fn token(&mut self, renews: bool, lifetime: Option<Duration>) {
        self.token = Token {
            place: if renews { Place::Good } else { Place::Fixed },
            failures: 0,
        };
        self.act(Action::Cancel(Timer::Renew));
        if let (true, Some(lifetime)) = (renews, lifetime) {
            self.renew_after(lifetime - lifetime / LEFT);
        }
        if self.state == State::SignedOut {
            self.failures = 0;
            self.connect();
        }
    }

    fn renew_after(&mut self, time: Duration) {
        self.act(Action::Wait {
            timer: Timer::Renew,
            delay: Delay::Exactly(time),
        });
    }

    /// The timer fired.
    pub(super) fn renew_in_time(&mut self) {
        if matches!(self.token.place, Place::Good | Place::Failed) {
            self.token.place = Place::Renewing;
            self.act(Action::Renew);
        }
    }

    /// The token was refused: renews it, unless that is under way or to be tried again. Whether it
    /// can be renewed.
    pub(super) fn renew(&mut self) -> bool {
        if self.token.place == Place::Good {
            self.token.place = Place::Renewing;
            self.act(Action::Cancel(Timer::Renew));
            self.act(Action::Renew);
        }
        self.token.place != Place::Fixed
    }

    /// The connection, which is given up now, or a call was refused for the token.
    pub(super) fn signed_out(&mut self, error: Error) {
        self.state = State::SignedOut;
        self.failures = self.failures.saturating_add(1);
        let advice = if self.renew() {
            Advice::Resume
        } else {
            Advice::Reauthenticate
        };
        self.emit(Event::Disconnected {
            reason: Error { advice, ..error },
        });
    }

    pub(super) fn renewed(&mut self, tokens: v1::Tokens, lifetime: Option<Duration>) {
        if self.token.place != Place::Renewing {
            return;
        }
        self.token = Token {
            place: Place::Good,
            failures: 0,
        };
        if let Some(lifetime) = lifetime {
            self.renew_after((lifetime - lifetime / LEFT).max(RENEW_MIN));
        }
        self.emit(Event::TokensRenewed(tokens));
        if self.state != State::SignedOut {
            return;
        }
        match self.failures {
            0 | 1 => self.connect(),
            // The token wasn't all that was wrong.
            failures => self.wait_to_connect(Delay::Backoff(failures - 1)),
        }
    }

    pub(super) fn renew_failed(&mut self, error: Error) {
        if self.token.place != Place::Renewing {
            return;
        }
        if matches!(error.advice, Advice::Retry | Advice::Resume) {
            self.token.place = Place::Failed;
            let failures = self.token.failures;
            self.token.failures = failures.saturating_add(1);
            self.act(Action::Wait {
                timer: Timer::Renew,
                delay: Delay::AtLeast(error.retry_after.unwrap_or_default(), failures),
            });
            return;
        }
        // A connection goes on as long as the server lets it.
        self.token.place = Place::Fixed;
        if self.state == State::SignedOut {
            let advice = Advice::Reauthenticate;
            self.emit(Event::Disconnected {
                reason: Error { advice, ..error },
            });
        }
    }
}
