//! One port for all: a request goes to the gateway's streams, to the gRPC services, or to HTTP
//! (REST, health, metrics), by its content type and path.

use super::status::Failure;
use super::{Grpc, gateway, rest};
use crate::gateway::Gateway;
use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Service, ServiceExt};

const OTHER_GRPC: &str = "gRPC is served as content-type: application/grpc or \
    application/grpc+proto; gRPC-Web isn't served, REST is: /openapi.json.";
const GRPC_ALONE: &str = "This port serves gRPC alone: content-type: application/grpc.";

/// Answers every request of a port. Cheap to clone.
#[derive(Clone)]
pub struct Port {
    grpc: Grpc,
    /// What a port for gRPC services alone doesn't have.
    more: Option<(Gateway, Router)>,
    within: Duration,
}

impl Port {
    /// Of its parts. `within` bounds what isn't a stream of the gateway: from a request's headers
    /// to the start of its answer, so a body that never ends holds nothing for long.
    #[must_use]
    pub fn new(gateway: Gateway, grpc: Grpc, http: Router, within: Duration) -> Self {
        Self {
            grpc,
            more: Some((gateway, http)),
            within,
        }
    }

    /// For gRPC services alone; `within` as for [`Port::new`].
    #[must_use]
    pub fn of_grpc(grpc: Grpc, within: Duration) -> Self {
        Self {
            grpc,
            more: None,
            within,
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Port {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answer {
        match (kind(&request), &self.more) {
            (Kind::Grpc, more) => {
                let gateway = more.as_ref().map(|(gateway, _)| gateway);
                grpc(&self.grpc, gateway, request, self.within)
            }
            (Kind::OtherGrpc, _) => now(rest::not_grpc(OTHER_GRPC)),
            (Kind::Http, None) => now(rest::not_grpc(GRPC_ALONE)),
            (Kind::Http, Some((_, router))) => http(router.clone(), request, self.within),
        }
    }
}

fn now(response: Response<Body>) -> Answer {
    Box::pin(std::future::ready(Ok(response)))
}

fn http(router: Router, request: Request<Incoming>, within: Duration) -> Answer {
    Box::pin(async move {
        let answer = router.oneshot(request.map(Body::new));
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer,
            Err(_) => Ok(rest::timed_out()),
        }
    })
}

fn grpc(
    services: &Grpc,
    gateway: Option<&Gateway>,
    request: Request<Incoming>,
    within: Duration,
) -> Answer {
    if request.method() != Method::POST {
        return now(rest::not_post());
    }
    let path = request.uri().path();
    if let Some(gateway) = gateway.filter(|_| gateway::STREAMS.contains(&path)) {
        let path = path.to_owned();
        return now(gateway::serve(gateway, &path, request).map(Body::new));
    }
    let services = services.clone();
    Box::pin(async move {
        let answer = services.oneshot(request.map(tonic::body::Body::new));
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer.map(|response| response.map(Body::new)),
            Err(_) => Ok(Failure::timed_out().into_status().into_http()),
        }
    })
}

/// What a content type asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// gRPC, its messages as protobuf.
    Grpc,
    /// gRPC-Web, or gRPC with messages in another form.
    OtherGrpc,
    /// Everything else.
    Http,
}

fn kind<B>(request: &Request<B>) -> Kind {
    let value = request.headers().get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/grpc" | "application/grpc+proto" => Kind::Grpc,
        other if other.starts_with("application/grpc") => Kind::OtherGrpc,
        _ => Kind::Http,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_told_apart() {
        for (value, expected) in [
            ("application/grpc", Kind::Grpc),
            ("Application/gRPC+proto ; x=y", Kind::Grpc),
            ("application/grpc+json", Kind::OtherGrpc),
            ("application/grpc-web", Kind::OtherGrpc),
            ("application/grpc-web-text+proto", Kind::OtherGrpc),
            ("application/json", Kind::Http),
            ("", Kind::Http),
        ] {
            let request = Request::builder().header(header::CONTENT_TYPE, value);
            assert_eq!(kind(&request.body(()).unwrap()), expected, "{value}");
        }
        assert_eq!(kind(&Request::new(())), Kind::Http);
    }
}
