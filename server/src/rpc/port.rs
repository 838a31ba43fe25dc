//! One port for all: a request goes to the gateway's streams, to the gRPC services, or to HTTP
//! (REST, health, metrics), by its content type and path.

use super::{gateway, rest};
use crate::gateway::Gateway;
use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

/// What a client learns whose request took too long.
pub(super) const TIMED_OUT: &str = "The request took too long to arrive or to be answered.";

/// Answers every request of the port. Cheap to clone.
#[derive(Clone)]
pub struct Port {
    gateway: Gateway,
    grpc: Routes,
    http: Router,
    within: Duration,
}

impl Port {
    /// Of its parts. `within` bounds what isn't a stream of the gateway: from a request's headers
    /// to the start of its answer, so a body that never ends holds nothing for long.
    #[must_use]
    pub fn new(gateway: Gateway, grpc: Routes, http: Router, within: Duration) -> Self {
        Self {
            gateway,
            grpc: grpc.prepare(),
            http,
            within,
        }
    }
}

impl Service<Request<Incoming>> for Port {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if !is_grpc(&request) {
            let (http, within) = (self.http.clone(), self.within);
            return Box::pin(async move {
                let answer = http.oneshot(request.map(Body::new));
                match tokio::time::timeout(within, answer).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(rest::timed_out()),
                }
            });
        }
        let path = request.uri().path();
        if path == gateway::SESSION || path == gateway::LISTEN {
            if request.method() != Method::POST {
                let mut refused = Response::new(Body::empty());
                *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                return Box::pin(async { Ok(refused) });
            }
            let path = path.to_owned();
            let response = gateway::serve(&self.gateway, &path, request).map(Body::new);
            return Box::pin(async { Ok(response) });
        }
        let answer = grpc(self.grpc.clone(), request, self.within);
        Box::pin(async move { Ok(answer.await.map(Body::new)) })
    }
}

async fn grpc(
    routes: Routes,
    request: Request<Incoming>,
    within: Duration,
) -> Response<tonic::body::Body> {
    let answer = routes.oneshot(request.map(tonic::body::Body::new));
    match tokio::time::timeout(within, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Status::deadline_exceeded(TIMED_OUT).into_http(),
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// A port for gRPC services alone. Cheap to clone.
#[derive(Clone)]
pub struct GrpcOnly {
    grpc: Routes,
    within: Duration,
}

impl GrpcOnly {
    /// Of its services; `within` as for [`Port::new`].
    #[must_use]
    pub fn new(routes: Routes, within: Duration) -> Self {
        let grpc = routes.prepare();
        Self { grpc, within }
    }
}

impl Service<Request<Incoming>> for GrpcOnly {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let answer = grpc(self.grpc.clone(), request, self.within);
        Box::pin(async move { Ok(answer.await) })
    }
}
