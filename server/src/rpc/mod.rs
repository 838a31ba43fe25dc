//! The edge: translates between the protocol and the layers below, and decides nothing.
//!
//! - [`port`]: one port for all: by content type and path.
//! - [`gateway`]: the two streams.
//! - [`websocket`]: the same by WebSocket; `browsers`: what pages of other sites need.
//! - `grpc`: the services, and reasons for what tonic refuses by itself.
//! - `message` and its like: one file a service.
//! - `shed`: how many calls at once.
//! - `caller`: who calls, and how refusals become statuses.
//! - [`http`]: health and metrics, and the `page` to try a server with.
//! - [`rest`]: REST and its OpenAPI document, out of the descriptors.
//! - [`status`]: errors as clients get them.

mod admin;
mod auth;
mod browsers;
mod caller;
mod channel;
pub mod gateway;
mod grpc;
pub mod http;
mod mask;
mod message;
mod moderation;
mod page;
mod pages;
pub mod port;
mod presence;
mod read_state;
pub mod rest;
mod server;
mod shed;
pub mod status;
mod user;
mod webhook;
pub mod websocket;

pub use admin::Operations;
pub use caller::{Origin, encode_error};
pub use grpc::Grpc;

use crate::config::Limits;
use crate::domain::Domain;
use admin::Admin;
use auth::Auth;
use channel::Channels;
use chirm_proto::v1::{
    admin_service_server, auth_service_server, channel_service_server, message_service_server,
    moderation_service_server, presence_service_server, read_state_service_server,
    server_service_server, user_service_server, webhook_service_server,
};
use message::Messages;
use moderation::Moderation;
use presence::Presences;
use read_state::ReadStates;
use server::Servers;
use std::sync::Arc;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use user::Users;
use webhook::Webhooks;

/// The services of the public port, as reflection lists them and health tells their state.
pub const PUBLIC: [&str; 10] = [
    "chirm.v1.GatewayService",
    auth_service_server::SERVICE_NAME,
    user_service_server::SERVICE_NAME,
    server_service_server::SERVICE_NAME,
    channel_service_server::SERVICE_NAME,
    message_service_server::SERVICE_NAME,
    presence_service_server::SERVICE_NAME,
    moderation_service_server::SERVICE_NAME,
    read_state_service_server::SERVICE_NAME,
    webhook_service_server::SERVICE_NAME,
];

/// Those of the listener for operators.
pub const OPERATORS: [&str; 1] = [admin_service_server::SERVICE_NAME];

/// All gRPC services of the public port but the streams, with health and reflection.
///
/// # Errors
/// The descriptors can't be served for reflection; a defect of the build.
pub fn routes(
    domain: &Arc<Domain>,
    limits: &Limits,
    health: HealthServer<impl Health>,
) -> Result<Grpc, tonic_reflection::server::Error> {
    let max = limits.request_bytes_max;
    let messages = message_service_server::MessageServiceServer::new(Messages(domain.clone()));
    let auth = auth_service_server::AuthServiceServer::new(Auth(domain.clone()));
    let users = user_service_server::UserServiceServer::new(Users(domain.clone()));
    let servers = server_service_server::ServerServiceServer::new(Servers(domain.clone()));
    let presences = Presences(domain.clone());
    let presences = presence_service_server::PresenceServiceServer::new(presences);
    let channels = channel_service_server::ChannelServiceServer::new(Channels(domain.clone()));
    let moderation =
        moderation_service_server::ModerationServiceServer::new(Moderation(domain.clone()));
    let reads = read_state_service_server::ReadStateServiceServer::new(ReadStates(domain.clone()));
    let webhooks = webhook_service_server::WebhookServiceServer::new(Webhooks(domain.clone()));
    let routes = Routes::new(messages.max_decoding_message_size(max))
        .add_service(moderation.max_decoding_message_size(max))
        .add_service(auth.max_decoding_message_size(max))
        .add_service(users.max_decoding_message_size(max))
        .add_service(servers.max_decoding_message_size(max))
        .add_service(channels.max_decoding_message_size(max))
        .add_service(presences.max_decoding_message_size(max))
        .add_service(reads.max_decoding_message_size(max))
        .add_service(webhooks.max_decoding_message_size(max))
        .add_service(health);
    Ok(Grpc::new(reflection(routes, &PUBLIC)?, max).with_calls_max(limits.calls))
}

/// AdminService, with health and reflection, for a listener of its own.
///
/// # Errors
/// As [`routes`].
pub fn admin_routes(
    operations: Operations,
    limits: &Limits,
    health: HealthServer<impl Health>,
) -> Result<Grpc, tonic_reflection::server::Error> {
    let admin = admin_service_server::AdminServiceServer::new(Admin(operations));
    let max = limits.request_bytes_max;
    let routes = Routes::new(admin.max_decoding_message_size(max)).add_service(health);
    Ok(Grpc::new(reflection(routes, &OPERATORS)?, max))
}

/// Adds reflection, in both of its versions; it lists what this listener serves and no more.
fn reflection(routes: Routes, served: &[&str]) -> Result<Routes, tonic_reflection::server::Error> {
    use tonic_reflection::pb::{v1, v1alpha};
    let builder = || {
        let all = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(chirm_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
            .with_service_name("grpc.health.v1.Health")
            .with_service_name("grpc.reflection.v1.ServerReflection")
            .with_service_name("grpc.reflection.v1alpha.ServerReflection");
        served
            .iter()
            .fold(all, |all, name| all.with_service_name(*name))
    };
    Ok(routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
}
