//! HTTP requests that the server makes to others, who may be anyone.
//!
//! - [`Target`]: a URL that was checked. [`Rules`]: what is allowed.
//! - `addresses`: which addresses are public.
//! - `connect`: resolves a name once, checks every address of the answer and connects to one of
//!   those it checked: what a name means a moment later plays no part.
//! - [`SigningKey`]: signatures by the Standard Webhooks specification, which verifiers of many
//!   languages know.
//! - [`Client`]: one POST with a time-out, a bounded answer and no redirects.
//!
//! Nothing here knows what is sent or when it is tried again.

mod addresses;
mod client;
mod connect;
mod sign;
mod target;

#[cfg(test)]
mod tests;

pub use addresses::is_public;
pub use client::{ANSWER_BYTES_MAX, Answer, Client, Failure, Post};
pub use connect::{Resolve, SystemResolver, Trust, TrustError};
pub use sign::{ID_HEADER, SECRET_PREFIX, SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER};
pub use target::{Rules, Target, TargetError, URL_BYTES_MAX};
