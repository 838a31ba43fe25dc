//! The edge: translates between the protocol and the layers below, and decides nothing.
//!
//! - [`port`]: one port for all: by content type and path.
//! - [`gateway`]: the two streams.
//! - `message` and its like: one file a service.
//! - `caller`: who calls, and how refusals become statuses.
//! - [`http`]: health and metrics.
//! - [`rest`]: REST and its OpenAPI document, out of the descriptors.
//! - [`status`]: errors as clients get them.

mod caller;
pub mod gateway;
pub mod http;
mod message;
pub mod port;
pub mod rest;
pub mod status;

pub use caller::encode_error;

use crate::config::Limits;
use crate::domain::Domain;
use chirm_proto::v1;
use std::sync::Arc;
use tonic::service::Routes;

/// All gRPC services of the public port but the streams, with health and reflection.
///
/// # Errors
/// The descriptors can't be served for reflection; a defect of the build.
pub fn routes(
    domain: &Arc<Domain>,
    limits: &Limits,
) -> Result<Routes, tonic_reflection::server::Error> {
    let max = limits.request_bytes_max;
    let messages = message::Messages(domain.clone());
    let messages = v1::message_service_server::MessageServiceServer::new(messages);
    let mut routes = Routes::new(messages.max_decoding_message_size(max));
    let (_, health) = tonic_health::server::health_reporter();
    routes = routes.add_service(health);
    reflection(routes)
}

/// Adds reflection, in both of its versions.
fn reflection(routes: Routes) -> Result<Routes, tonic_reflection::server::Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(chirm_proto::DESCRIPTORS)
    };
    Ok(routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
}
