//! One port for all: a request goes to the gateway's streams, to the gRPC services, or to HTTP
//! (REST, health, metrics), by its content type and path.

use super::gateway;
use crate::gateway::Gateway;
use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::service::Routes;
use tower::{Service, ServiceExt};

/// Answers every request of the port. Cheap to clone.
#[derive(Clone)]
pub struct Port {
    gateway: Gateway,
    grpc: Routes,
    http: Router,
}

impl Port {
    /// Of its parts.
    #[must_use]
    pub fn new(gateway: Gateway, grpc: Routes, http: Router) -> Self {
        Self {
            gateway,
            grpc: grpc.prepare(),
            http,
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
            let http = self.http.clone();
            return Box::pin(async move { http.oneshot(request.map(Body::new)).await });
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
        let grpc = self.grpc.clone();
        Box::pin(async move {
            let request = request.map(tonic::body::Body::new);
            let answered = grpc.oneshot(request).await;
            Ok(answered
                .map(|response| response.map(Body::new))
                .unwrap_or_else(|never| match never {}))
        })
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
pub struct GrpcOnly(Routes);

impl GrpcOnly {
    /// Of its services.
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        Self(routes.prepare())
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
        let grpc = self.0.clone();
        Box::pin(async move { grpc.oneshot(request.map(tonic::body::Body::new)).await })
    }
}
