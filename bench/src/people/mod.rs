//! Benches of presence and member lists.

mod members;
mod presence;
mod report;
mod swarm;

pub use members::{MembersOptions, members};
pub use presence::{PresenceOptions, presence};
pub use report::{MembersReport, PresenceReport};
