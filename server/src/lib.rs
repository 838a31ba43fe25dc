//! The Chirm server. Modules, outermost first:
//!
//! - [`cli`]: the commands; [`node`]: what wires the rest of this into a server; [`backends`]: what
//!   it stands on.
//! - [`rpc`]: the edge: translates, nothing else.
//! - [`gateway`]: live sessions, and which topics they follow.
//! - [`domain`]: the use cases: who may do what, and what it does.
//! - [`webhooks`]: tells those outside what they asked to be told of.
//! - [`frames`]: what encodes frames.
//! - [`store`]: the seam to durable state.
//! - [`bus`]: the seam to topics at positions, reservations, sessions' cache.
//! - [`model`]: plain data and pure rules.
//!
//! Beside the layers:
//!
//! - [`outgoing`]: HTTP requests to others: signed, bounded, to public addresses alone.
//! - [`config`]: the settings of a node.
//! - [`telemetry`]: logs and metrics. [`hits`]: what caches count.
//! - [`clock`]: time, as an argument.
//! - [`mutation`]: deliberate bugs, for the tests of the replay's checker alone.

pub mod backends;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod frames;
pub mod gateway;
pub mod hits;
pub mod model;
pub mod mutation;
pub mod node;
pub mod outgoing;
pub mod rpc;
pub mod store;
pub mod telemetry;
pub mod traces;
pub mod webhooks;
