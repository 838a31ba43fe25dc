//! Slow mode: one message a user and interval.
//!
//! Who wrote when is remembered for those who wrote lately; of the others the store tells. So a
//! restart, or an entry that is forgotten, lets nobody write earlier.

use super::access::may;
use super::permissions::Action;
use super::{Caller, Domain, Error, Reason};
use crate::model::{Channel, Id, Role, UnixMs, id_before, id_time_ms};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Users and channels that are remembered.
const LATEST_MAX: usize = 100_000;
/// What was accepted longer ago is in the store, or was refused by it.
const STORED_MS: i64 = 30_000;

/// A user's latest message of a channel.
#[derive(Clone, Debug, Default)]
struct Latest {
    at: UnixMs,
    nonce: String,
}

/// The latest messages of those who wrote in slow channels.
#[derive(Default)]
pub(super) struct SlowMode(Mutex<HashMap<(Id, Id), Latest>>);

impl SlowMode {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Id, Id), Latest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was remembered of a user in a channel: the store knows.
    pub(super) fn forget(&self, channel: Id, user: Id) {
        self.lock().remove(&(channel, user));
    }

    /// Forgets a channel, whose slow mode changed: what was written without it isn't remembered.
    pub(super) fn forget_channel(&self, channel: Id) {
        self.lock().retain(|(of, _), _| *of != channel);
    }

    /// Whether a user wrote in a channel since; None: it isn't remembered.
    fn latest(&self, key: (Id, Id)) -> Option<Latest> {
        self.lock().get(&key).cloned()
    }

    /// Takes the turn of a user in a channel, unless it comes too early: then it answers when the
    /// latest message was. One step, so that of two at once one is early.
    fn take(&self, key: (Id, Id), stored: UnixMs, now: Latest, wait_ms: i64) -> Result<(), UnixMs> {
        let mut latest = self.lock();
        let before = latest.get(&key).map_or(0, |latest| latest.at).max(stored);
        if before != 0 && now.at.saturating_sub(before) < wait_ms {
            return Err(before);
        }
        if latest.len() >= LATEST_MAX {
            let stored = now.at.saturating_sub(STORED_MS);
            latest.retain(|_, latest| latest.at > stored);
        }
        if latest.len() < LATEST_MAX {
            latest.insert(key, now);
        }
        Ok(())
    }
}

impl Domain {
    /// Refuses a message that comes before the end of the channel's interval. A repeat of one that
    /// was accepted isn't early. Answers whether the message took the user's turn.
    pub(super) async fn refuse_early(
        &self,
        caller: &Caller,
        channel: &Channel,
        nonce: &str,
    ) -> Result<bool, Error> {
        if channel.slow_mode_s == 0 || self.passes_slow_mode(caller, channel).await? {
            return Ok(false);
        }
        let (user, now) = (caller.user_id, self.now());
        let key = (channel.id, user);
        let wait_ms = i64::from(channel.slow_mode_s) * 1_000;
        let stored = match self.slow_mode.latest(key) {
            Some(latest) if !nonce.is_empty() && latest.nonce == nonce => return Ok(false),
            Some(latest) => latest.at,
            None => {
                let after = id_before(now.saturating_sub(wait_ms));
                let newest = self.store.newest_of_author(channel.id, user, after);
                newest.await?.map_or(0, id_time_ms)
            }
        };
        let latest = Latest {
            at: now,
            nonce: nonce.to_owned(),
        };
        let Err(before) = self.slow_mode.take(key, stored, latest, wait_ms) else {
            return Ok(true);
        };
        if !nonce.is_empty() {
            let original = self.store.by_nonce(channel.id, user, nonce.to_owned());
            if original.await?.is_some() {
                return Ok(false);
            }
        }
        Err(early(channel.slow_mode_s, before + wait_ms - now))
    }

    async fn passes_slow_mode(&self, caller: &Caller, channel: &Channel) -> Result<bool, Error> {
        let role: Option<Role> = self.caller_role(caller, channel.server_id).await?;
        Ok(may(caller.user_id, role, channel, Action::PassSlowMode))
    }
}

fn early(slow_mode_s: i32, left_ms: i64) -> Error {
    let message = format!("This channel takes one message a user in {slow_mode_s} s; wait.");
    let left = Duration::from_millis(left_ms.max(1).unsigned_abs());
    let mut error = Error::new(Reason::SlowMode, message).retry_after(left);
    error.metadata = Some(("slow_mode_seconds", slow_mode_s.to_string().into()));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: UnixMs) -> Latest {
        Latest {
            at,
            ..Latest::default()
        }
    }

    #[test]
    fn one_turn_an_interval() {
        let slow = SlowMode::default();
        assert_eq!(slow.take((1, 1), 0, at(10), 5), Ok(()));
        assert_eq!(slow.take((1, 1), 0, at(14), 5), Err(10));
        assert_eq!(slow.take((1, 2), 0, at(14), 5), Ok(()));
        assert_eq!(slow.take((2, 1), 12, at(14), 5), Err(12));
        assert_eq!(slow.take((1, 1), 0, at(15), 5), Ok(()));
        slow.forget(1, 1);
        assert_eq!(slow.take((1, 1), 0, at(16), 5), Ok(()));
        slow.forget_channel(1);
        assert_eq!(slow.take((1, 2), 0, at(16), 5), Ok(()));
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let slow = SlowMode::default();
        for user in 0..LATEST_MAX as Id {
            assert_eq!(slow.take((1, user), 0, at(10), 5), Ok(()));
        }
        assert_eq!(slow.take((2, 0), 0, at(10), 5), Ok(()));
        assert!(slow.latest((2, 0)).is_none(), "all of them are too young");
        assert_eq!(slow.take((2, 0), 0, at(11 + STORED_MS), 5), Ok(()));
        assert!(slow.latest((2, 0)).is_some());
        assert_eq!(slow.lock().len(), 1, "the others are in the store");
    }
}
