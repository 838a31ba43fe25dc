//! The edge: translates between the protocol and the layers below, and decides nothing.
//!
//! - [`rest`]: REST and its OpenAPI document, out of the descriptors.
//! - [`status`]: errors as clients get them.

pub mod gateway;
pub mod rest;
pub mod status;
