//! The edge: translates between the protocol and the layers below, and decides nothing.
//!
//! - [`status`]: errors as clients get them.

pub mod gateway;
pub mod status;
