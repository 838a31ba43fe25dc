//! Whole nodes over real sockets.

mod bad_input;
mod chaos;
mod gateway;
mod support;
mod world;
