//! Whole nodes over real sockets, and the binary as a shell runs it.

mod admin;
mod bad_input;
mod chaos;
mod cli;
mod client;
mod gateway;
mod limits;
mod read_states;
mod reactions;
mod support;
mod world;
