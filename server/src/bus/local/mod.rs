//! The bus in process: what `chirm serve` alone runs on. A restart forgets everything here, so
//! every channel then has a new epoch. Servers' and users' topics are numbered by the store and
//! only carried.

pub(in crate::bus) mod batches;
pub(in crate::bus) mod feed;
pub(in crate::bus) mod here;
mod presences;
mod reservations;
pub(in crate::bus) mod ring;
mod sessions;
mod topics;

#[cfg(test)]
mod tests;

pub use presences::LocalPresences;
pub use reservations::LocalReservations;
pub use ring::RingLimits;
pub use sessions::LocalSessions;
pub use topics::LocalTopics;

use super::Handle;
use crate::clock::Clock;
use crate::model::Id;
use std::sync::Arc;
use std::time::Duration;

/// Wires a local bus. `highest` is the highest id that the store has: minting starts above it. A
/// session that ended is shown as present for `grace` still.
#[must_use]
pub fn open(topics: LocalTopics, highest: Id, grace: Duration, clock: Arc<dyn Clock>) -> Handle {
    let reservations = Arc::new(LocalReservations::new(highest, clock.clone()));
    Handle {
        topics: Arc::new(topics),
        reservations: reservations.clone(),
        pending: reservations,
        sessions: Arc::new(LocalSessions::new()),
        presences: Arc::new(LocalPresences::new(grace, clock)),
    }
}
