//! Checks that a server keeps what the Chirm protocol promises, on every carrier. For users and
//! authors of cases: `conformance/README.md`.
//!
//! The runner knows the protocol by its descriptors alone (`api`). A case (`case`) is run on a
//! carrier (`carrier`) by `run`; the network between may do what networks do (`proxy`).

mod api;
mod carrier;
mod case;
pub mod cli;
mod hex;
mod matching;
mod net;
mod proxy;
mod report;
mod run;
mod sentences;
mod suite;
mod target;
mod vars;
