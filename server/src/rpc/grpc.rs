//! The gRPC services as every carrier calls them. What tonic refuses by itself, before a service
//! is asked (a message that can't be decoded, is too large or is missing, a method that there
//! isn't), gets the code and the reason that docs/errors.md has for it.

use super::shed::{Calls, Place};
use super::status::{EdgeReason, Failure};
use futures::future::BoxFuture;
use http::{Request, Response};
use std::convert::Infallible;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

/// Services by their paths. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Grpc {
    routes: Routes,
    request_bytes_max: usize,
    calls: Option<Calls>,
}

impl Grpc {
    /// Of its services, which take messages of at most `request_bytes_max`.
    #[must_use]
    pub fn new(routes: Routes, request_bytes_max: usize) -> Self {
        Self {
            routes: routes.prepare(),
            request_bytes_max,
            calls: None,
        }
    }

    /// Answers so many calls at once, of all who ask; those beyond are refused.
    #[must_use]
    pub fn with_calls_max(self, calls_max: usize) -> Self {
        Self {
            calls: Some(Calls::new(calls_max)),
            ..self
        }
    }
}

impl Service<Request<Body>> for Grpc {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (request, place) = match &self.calls {
            Some(calls) => calls.count(request),
            None => (request, Place::default()),
        };
        let (answer, max) = (self.routes.call(request), self.request_bytes_max);
        Box::pin(async move {
            let _place = place;
            answer.await.map(|response| with_reason(response, max))
        })
    }
}

/// A refusal without details is tonic's own: those of the services have a reason.
fn with_reason(response: Response<Body>, request_bytes_max: usize) -> Response<Body> {
    if !response.headers().contains_key(Status::GRPC_STATUS)
        || response.headers().contains_key(Status::GRPC_STATUS_DETAILS)
    {
        return response;
    }
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    let failure = match status.code() {
        Code::Unimplemented => Failure::not_implemented(),
        Code::OutOfRange => Failure::too_large(size_in(status.message()), request_bytes_max),
        Code::Internal => {
            let problem = status.message().trim_end_matches('.');
            let message = format!("The request can't be decoded: {problem}.");
            Failure::of(EdgeReason::Malformed, message)
        }
        // Answers of health and reflection, and an OK.
        _ => return response,
    };
    failure.into_status().into_http()
}

/// The size that tonic's text names: `…: found 70000 bytes, the limit is: 65536 bytes`.
fn size_in(message: &str) -> Option<u64> {
    let (_, size) = message.split_once("found ")?;
    size.split(' ').next()?.parse().ok()
}
