//! Loads and checks a Chirm server: `chirm bench` and `chirm replay`.
//!
//! - [`args`]: their flags, for the binary to flatten.
//! - [`launch`]: the server and the bridge that they start, kill and start again; [`setup`]: what
//!   they need on it.
//! - [`fanout`](fn@fanout), [`send`](fn@send), [`floor`](fn@floor): the benches; [`report`] is
//!   what they find, of [`latency`] and [`procfs`].
//! - [`members`](fn@members), [`presence`](fn@presence): benches of who is told of whom.
//! - [`replay`](fn@replay): real conversations with watchers, cuts and kills; [`checker`] says
//!   which guarantees a run's [`history`] breaks.
//! - [`wire`], [`link`], [`carrier`], [`publish`], [`tracker`]: the load generator's own light
//!   clients.

pub mod args;
pub mod carrier;
pub mod checker;
mod fanout;
mod floor;
pub mod history;
pub mod latency;
pub mod launch;
pub mod link;
mod people;
pub mod processes;
pub mod procfs;
pub mod publish;
mod replay;
pub mod report;
mod send;
pub mod setup;
pub mod tracker;
pub mod wire;

pub use args::{BenchCommand, ReplayArgs};
pub use carrier::Transport;
pub use fanout::{FanoutOptions, Front, fanout};
pub use floor::{FloorOptions, floor};
pub use launch::Target;
pub use people::{
    MembersOptions, MembersReport, PresenceOptions, PresenceReport, members, presence,
};
pub use replay::{ReplayOptions, ViaBridge, replay};
pub use report::Report;
pub use send::{SendOptions, send};
