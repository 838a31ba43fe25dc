//! Whole nodes over real sockets, and the binary as a shell runs it.

mod cli;
