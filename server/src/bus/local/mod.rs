//! The bus in process: what `chirm serve` alone runs on. A restart forgets everything here, so
//! every channel then has a new epoch. Servers' and users' topics are numbered by the store and
//! only carried.

mod reservations;
mod sessions;
mod topics;

#[cfg(test)]
mod tests;

pub use reservations::LocalReservations;
pub use sessions::LocalSessions;
pub use topics::{LocalTopics, RingLimits};

use super::Handle;
use crate::clock::Clock;
use crate::model::Id;
use std::sync::Arc;

/// Wires a local bus. `highest` is the highest id that the store has: minting starts above it.
#[must_use]
pub fn open(topics: LocalTopics, highest: Id, clock: Arc<dyn Clock>) -> Handle {
    Handle {
        topics: Arc::new(topics),
        reservations: Arc::new(LocalReservations::new(highest, clock)),
        sessions: Arc::new(LocalSessions::new()),
    }
}
