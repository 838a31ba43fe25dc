//! The binary in front of a real server, over real sockets.

mod bench;
mod browser;
mod conversation;
mod drain;
mod http;
mod limits;
mod losses;
mod support;
mod tls;
