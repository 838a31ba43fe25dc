//! Whole nodes over real sockets, and the binary as a shell runs it.

mod admin;
mod bad_input;
mod browsers;
mod chaos;
mod cli;
mod client;
mod gateway;
mod hook;
mod limits;
mod moderation;
mod presence;
mod reactions;
mod read_states;
mod shed;
mod support;
mod traces;
mod webhooks;
mod world;
