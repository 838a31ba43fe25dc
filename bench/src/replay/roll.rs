//! Who is where, as the log says.

use crate::history::Roll;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// Members up to which a server tells all its members who is here.
const SMALL: usize = 250;

/// What a nick is to its log's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// A member with a stream.
    Here,
    /// A member without.
    Away,
    /// No member.
    Gone,
}

/// The nicks of all logs' servers.
#[derive(Default)]
pub(super) struct Rolls {
    nicks: Mutex<HashMap<i64, BTreeMap<i64, Whereabouts>>>,
    /// Members of each server that are of no log: its owner and the watchers.
    others: usize,
}

impl Rolls {
    /// With so many other members in each server.
    pub(super) fn new(others: usize) -> Self {
        Self {
            others,
            ..Self::default()
        }
    }

    /// Notes what became of a nick.
    pub(super) fn note(&self, server: i64, user: i64, whereabouts: Whereabouts) {
        let mut nicks = self.nicks.lock().unwrap_or_else(PoisonError::into_inner);
        nicks.entry(server).or_default().insert(user, whereabouts);
    }

    /// The server's people.
    pub(super) fn roll(&self, checkpoint: u32, server: i64) -> Roll {
        let nicks = self.nicks.lock().unwrap_or_else(PoisonError::into_inner);
        let nicks = nicks.get(&server).into_iter().flatten();
        let mut roll = Roll {
            checkpoint,
            server,
            ..Roll::default()
        };
        for (user, whereabouts) in nicks {
            match whereabouts {
                Whereabouts::Here => roll.here.push(*user),
                Whereabouts::Away => roll.away.push(*user),
                Whereabouts::Gone => {}
            }
        }
        roll.told = roll.here.len() + roll.away.len() + self.others <= SMALL;
        roll
    }

    /// Of some users those that are or were nicks of this server, sorted.
    pub(super) fn nicks_of(&self, server: i64, users: impl Iterator<Item = i64>) -> Vec<i64> {
        let nicks = self.nicks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(nicks) = nicks.get(&server) else {
            return Vec::new();
        };
        let mut users: Vec<i64> = users.filter(|user| nicks.contains_key(user)).collect();
        users.sort_unstable();
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_has_the_members_and_whether_they_are_few() {
        let rolls = Rolls::new(5);
        rolls.note(1, 12, Whereabouts::Here);
        rolls.note(1, 11, Whereabouts::Here);
        rolls.note(1, 13, Whereabouts::Here);
        rolls.note(1, 12, Whereabouts::Away);
        rolls.note(1, 13, Whereabouts::Gone);
        rolls.note(2, 14, Whereabouts::Here);
        let roll = rolls.roll(3, 1);
        assert_eq!((roll.checkpoint, roll.server, roll.told), (3, 1, true));
        assert_eq!((roll.here, roll.away), (vec![11], vec![12]));
        assert_eq!(rolls.nicks_of(1, [14, 13, 11, 99].into_iter()), [11, 13]);
        for user in 100..343 {
            rolls.note(1, user, Whereabouts::Away);
        }
        assert!(rolls.roll(0, 1).told, "250 members are few");
        rolls.note(1, 343, Whereabouts::Away);
        assert!(!rolls.roll(0, 1).told);
    }
}
