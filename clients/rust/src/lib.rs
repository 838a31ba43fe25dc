#![doc = include_str!("../README.md")]
//!
//! # Map
//! - [`Client`], [`Events`], [`Event`]: the connection that stays, and what comes of it.
//! - [`Api`]: unary calls; `reading` has those for what was read, mutes and settings.
//!   [`apply_mark`]: reactions and pins of a message that is held.
//! - [`Config`], [`Backoff`], [`SendOptions`], [`OutboxStore`], [`TokenSource`]: what can be
//!   chosen.
//! - `machine`: what the client does, as a pure state machine; `driver` runs it; `stream` and
//!   `wire` are the connection; `websocket` and `grpc_web` its other carriers.

mod api;
mod client;
mod config;
mod driver;
mod error;
mod event;
#[cfg(feature = "grpc-web")]
mod grpc_web;
mod machine;
mod marks;
mod outbox;
mod reading;
mod stream;
mod timers;
mod tokens;
#[cfg(feature = "websocket")]
mod websocket;
mod wire;

pub use api::{Api, Authorized, Bearer};
pub use chirm_proto::v1;
pub use client::Client;
pub use config::{Backoff, Carrier, Config, Looking, SendOptions, Tap, Tapped};
pub use error::{Advice, Error};
pub use event::{Event, Events, GapCause, Source, Stats};
pub use marks::{apply_mark, keep_own};
pub use outbox::{MemoryOutbox, OutboxEntry, OutboxStore};
pub use tokens::TokenSource;
pub use tonic::Code;
