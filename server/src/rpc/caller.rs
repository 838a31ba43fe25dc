//! Who calls, and how refusals become statuses.

use super::status::Failure;
use crate::domain::{self, Caller, Domain};
use chirm_proto::google::rpc;
use tonic::{Request, Status};

/// Where a request comes from: an extension that whoever accepts connections adds. Sign-ins are
/// limited by it.
#[derive(Clone, Copy, Debug)]
pub struct Origin(pub std::net::IpAddr);

/// The caller that a unary request's `authorization: Bearer …` names.
///
/// # Errors
/// UNAUTHENTICATED: no token, or one that doesn't stand. RESOURCE_EXHAUSTED: it calls too fast.
pub(super) async fn caller<T>(domain: &Domain, request: &Request<T>) -> Result<Caller, Status> {
    let token = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            value
                .strip_prefix("Bearer ")
                .or_else(|| value.strip_prefix("bearer "))
        });
    match token {
        Some(token) => domain.admit(token.trim()).await.map_err(refused),
        None => Err(token_missing()),
    }
}

/// The refusal of a call without a token.
pub(super) fn token_missing() -> Status {
    refused(domain::Error::new(
        domain::Reason::TokenMissing,
        "The call needs a token: authorization: Bearer ….",
    ))
}

fn failure(error: &domain::Error) -> Failure {
    let message = error.message.to_string();
    let mut failure = Failure::new(error.code().into(), error.reason.as_str(), message);
    for field in &error.fields {
        failure = failure.field(field.path.to_string(), field.problem.clone());
    }
    if let Some((key, value)) = &error.metadata {
        failure = failure.meta(*key, value);
    }
    match error.retry_after {
        Some(delay) => failure.retry_after(delay),
        None => failure,
    }
}

/// A refusal as a gRPC status.
pub(super) fn refused(error: domain::Error) -> Status {
    failure(&error).into_status()
}

/// A refusal as it stands in a gateway's `Result`.
#[must_use]
pub fn encode_error(error: &domain::Error) -> rpc::Status {
    failure(error).into_proto()
}
