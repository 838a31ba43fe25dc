//! The Chirm v1 protocol. `proto/chirm/v1/*.proto` is the one source; this crate is what Rust
//! makes of it.
//!
//! - [`v1`]: messages, clients and servers, generated. What a comment calls secret is never
//!   printed by `Debug`.
//! - [`google`]: `google.rpc` and `google.api` types that errors and annotations use, generated.
//! - [`json`]: proto3 JSON, read strictly.
//! - [`DESCRIPTORS`], [`pool`]: the descriptor set, with comments and HTTP annotations, for
//!   reflection, JSON and REST.

pub mod json;
mod mutation;

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
        // `Debug` of the messages that have secrets.
        include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
    }
}
pub use chirm::v1;

/// In place of a secret, wherever it would be printed: only whether there is one.
struct Secret(bool);

impl Secret {
    fn of(value: &str) -> Self {
        Self(!value.is_empty())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0 { "[secret]" } else { "\"\"" })
    }
}

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
