//! One port for all: a request goes to the gateway's streams (by gRPC, gRPC-Web or WebSocket), to
//! the gRPC services, or to HTTP (REST, health, metrics), by its content type and path.

use super::status::Failure;
use super::websocket::Local;
use super::{Grpc, Origin, browsers, gateway, rest};
use crate::gateway::Gateway;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use chirm_bridge_ws::Bridge;
use chirm_net::RequestBody;
use http::{Method, Request, Response, header};
use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, Service, ServiceExt};
use tower_http::cors::CorsLayer;

const OTHER_GRPC: &str = "gRPC is served as content-type: application/grpc or \
    application/grpc+proto, gRPC-Web as application/grpc-web, with +proto or -text or neither.";
const GRPC_ALONE: &str = "This port serves gRPC alone: content-type: application/grpc.";

/// Answers every request of a port. Cheap to clone.
#[derive(Clone)]
pub struct Port {
    service: Dispatch,
    /// For requests of pages; a port for gRPC services alone has none.
    cors: Option<CorsLayer>,
}

/// Who answers what.
#[derive(Clone)]
struct Dispatch {
    grpc: GrpcCalls,
    /// What a port for gRPC services alone doesn't have.
    more: Option<(Bridge<Local>, Router)>,
}

/// The services and the gateway's streams.
#[derive(Clone)]
struct GrpcCalls {
    services: Grpc,
    gateway: Option<Gateway>,
    within: Duration,
}

impl Port {
    /// Of its parts. `within` bounds what isn't a stream of the gateway: from a request's headers
    /// to the start of its answer, so a body that never ends holds nothing for long.
    #[must_use]
    pub fn new(
        gateway: Gateway,
        bridge: Bridge<Local>,
        grpc: Grpc,
        http: Router,
        within: Duration,
    ) -> Self {
        let cors = Some(browsers::layer(bridge.origins().clone()));
        let grpc = GrpcCalls {
            services: grpc,
            gateway: Some(gateway),
            within,
        };
        let more = Some((bridge, http));
        let service = Dispatch { grpc, more };
        Self { service, cors }
    }

    /// For gRPC services alone; `within` as for [`Port::new`].
    #[must_use]
    pub fn of_grpc(grpc: Grpc, within: Duration) -> Self {
        let grpc = GrpcCalls {
            services: grpc,
            gateway: None,
            within,
        };
        let service = Dispatch { grpc, more: None };
        Self {
            service,
            cors: None,
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<RequestBody>> for Port {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Answer {
        match &self.cors {
            Some(cors) if request.headers().contains_key(header::ORIGIN) => {
                Box::pin(cors.layer(self.service.clone()).call(request))
            }
            _ => self.service.call(request),
        }
    }
}

impl Service<Request<RequestBody>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Answer {
        match (kind(&request), &self.more) {
            (Kind::Grpc | Kind::GrpcWeb, _) if request.method() != Method::POST => {
                now(rest::not_post())
            }
            (Kind::Grpc, _) => self.grpc.answer(request),
            (Kind::GrpcWeb, Some(_)) => {
                let answer = GrpcWebLayer::new().layer(self.grpc.clone()).call(request);
                Box::pin(async move { answer.await.map(|response| response.map(Body::new)) })
            }
            (Kind::Http, Some((bridge, _))) if request.uri().path() == chirm_bridge_ws::PATH => {
                now(websocket(bridge, request))
            }
            (Kind::Http, Some((_, router))) => http(router.clone(), request, self.grpc.within),
            (Kind::Http | Kind::GrpcWeb, None) => now(rest::not_grpc(GRPC_ALONE)),
            (Kind::OtherGrpc, _) => now(rest::not_grpc(OTHER_GRPC)),
        }
    }
}

fn now(response: Response<Body>) -> Answer {
    Box::pin(std::future::ready(Ok(response)))
}

fn websocket(bridge: &Bridge<Local>, request: Request<RequestBody>) -> Response<Body> {
    let peer = request.extensions().get::<Origin>();
    let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |origin| origin.0);
    match bridge.accept(request, peer) {
        Ok(response) => response.map(|()| Body::empty()),
        Err(refusal) => refusal.into_response().map(Body::from),
    }
}

fn http(router: Router, request: Request<RequestBody>, within: Duration) -> Answer {
    Box::pin(async move {
        let answer = router.oneshot(request.map(Body::new));
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer,
            Err(_) => Ok(rest::timed_out()),
        }
    })
}

impl GrpcCalls {
    /// A stream's bodies are boxed once: every frame passes through what they are wrapped in.
    fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<chirm_net::BoxError>,
    {
        let path = request.uri().path();
        let gateway = self.gateway.as_ref();
        if let Some(gateway) = gateway.filter(|_| gateway::STREAMS.contains(&path)) {
            let path = path.to_owned();
            return now(gateway::serve(gateway, &path, request).map(Body::new));
        }
        let (services, within) = (self.services.clone(), self.within);
        Box::pin(async move {
            let answer = services.oneshot(request.map(tonic::body::Body::new));
            match tokio::time::timeout(within, answer).await {
                Ok(answer) => answer.map(|response| response.map(Body::new)),
                Err(_) => Ok(Failure::timed_out().into_status().into_http()),
            }
        })
    }
}

/// As gRPC-Web's layer calls them.
impl Service<Request<tonic::body::Body>> for GrpcCalls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Answer {
        self.answer(request)
    }
}

/// What a content type asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// gRPC, its messages as protobuf.
    Grpc,
    /// The same as browsers can speak it.
    GrpcWeb,
    /// With messages in another form.
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
        "application/grpc-web"
        | "application/grpc-web+proto"
        | "application/grpc-web-text"
        | "application/grpc-web-text+proto" => Kind::GrpcWeb,
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
            ("application/grpc-web", Kind::GrpcWeb),
            ("application/grpc-web-text+proto", Kind::GrpcWeb),
            ("application/grpc-web+json", Kind::OtherGrpc),
            ("application/json", Kind::Http),
            ("", Kind::Http),
        ] {
            let request = Request::builder().header(header::CONTENT_TYPE, value);
            assert_eq!(kind(&request.body(()).unwrap()), expected, "{value}");
        }
        assert_eq!(kind(&Request::new(())), Kind::Http);
    }
}
