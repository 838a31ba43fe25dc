//! The Chirm v1 protocol. `proto/chirm/v1/*.proto` is the one source; this crate is what Rust
//! makes of it.
//!
//! - [`v1`]: messages, clients and servers, generated.
//! - [`google`]: `google.rpc` and `google.api` types that errors and annotations use, generated.
//! - [`DESCRIPTORS`], [`pool`]: the descriptor set, with comments and HTTP annotations, for
//!   reflection, JSON and REST.

use std::sync::LazyLock;

/// Generated from `proto/chirm/v1`.
pub mod chirm {
    /// Version 1.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        rustdoc::all
    )]
    pub mod v1 {
        tonic::include_proto!("chirm.v1");
    }
}
pub use chirm::v1;

/// Generated from the vendored files of googleapis.
pub mod google {
    /// `google.api`: HTTP annotations.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod api {
        tonic::include_proto!("google.api");
    }
    /// `google.rpc`: status and error details.
    #[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// The encoded `FileDescriptorSet` of all files, their imports included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

static POOL: LazyLock<prost_reflect::DescriptorPool> = LazyLock::new(|| {
    prost_reflect::DescriptorPool::decode(DESCRIPTORS).expect("the build made the descriptors")
});

/// The descriptors, decoded once.
#[must_use]
pub fn pool() -> &'static prost_reflect::DescriptorPool {
    &POOL
}
