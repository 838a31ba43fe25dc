//! The port for browsers: WebSockets, the bridge's own three paths, and the gateway's for the rest.

use crate::Body;
use crate::pool::{Gateways, empty};
use crate::proxy::{self, text};
use crate::session::Remote;
use crate::telemetry::Metrics;
use chirm_bridge_ws::{Bridge, Refusal};
use chirm_net::RequestBody;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use metrics::counter;
use std::net::{IpAddr, Ipv4Addr};
use tokio_util::sync::CancellationToken;

/// Answers every request of the port.
pub(crate) struct Port {
    pub(crate) bridge: Bridge<Remote>,
    pub(crate) gateways: Gateways,
    pub(crate) metrics: Metrics,
    /// Whether the process is about to stop.
    pub(crate) draining: CancellationToken,
}

impl Port {
    pub(crate) async fn answer(&self, request: Request<RequestBody>) -> Response<Body> {
        let peer = request.extensions().get::<chirm_net::Peer>();
        let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address.ip());
        let own: fn(&Self) -> Response<Body> = match request.uri().path() {
            chirm_bridge_ws::PATH => return self.websocket(request, peer),
            "/healthz" => |_| status(StatusCode::OK, "ok\n"),
            "/readyz" => Self::readyz,
            "/metrics" => Self::figures,
            _ => return proxy::hand_on(&self.gateways, request, peer).await,
        };
        match *request.method() {
            Method::GET => own(self),
            Method::HEAD => own(self).map(|_| empty()),
            _ => not_get(),
        }
    }

    fn websocket(&self, request: Request<RequestBody>, peer: IpAddr) -> Response<Body> {
        match self.bridge.accept(request, peer) {
            Ok(response) => response.map(|()| empty()),
            Err(refusal) => {
                let reason = refusal.reason();
                counter!("chirm_bridge_handshakes_refused_total", "reason" => reason).increment(1);
                refusal.into_response().map(text)
            }
        }
    }

    fn readyz(&self) -> Response<Body> {
        if self.draining.is_cancelled() {
            return status(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        if !self.gateways.any_well() {
            return status(StatusCode::SERVICE_UNAVAILABLE, "no gateway is ready\n");
        }
        status(StatusCode::OK, "ok\n")
    }

    fn figures(&self) -> Response<Body> {
        let mut response = Response::new(text(self.metrics.render()));
        let form = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, form);
        response
    }
}

fn status(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = Response::new(text(words.to_owned()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn not_get() -> Response<Body> {
    let refusal = Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "UNIMPLEMENTED",
        "METHOD_NOT_ALLOWED",
        "This path answers GET.",
    );
    let mut response = refusal.into_response().map(text);
    let get = HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, get);
    response
}
