//! On the real server.
