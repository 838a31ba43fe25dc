//! Hands requests on to a gateway as they are, and its answers back: REST, gRPC, gRPC-Web, pages.

use crate::Body;
use crate::pool::{Failure, Gateways, Place};
use bytes::Bytes;
use chirm_bridge_ws::Refusal;
use chirm_net::RequestBody;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use metrics::counter;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// From a request's headers to the start of its answer: somewhat more than gateways give
/// themselves (net.request_timeout_ms), so that it is they who say so.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);
/// Who the client is, for gateways that trust this bridge.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What concerns one connection, not what is handed on; `expect` was answered by the port.
const OF_CONNECTIONS: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Answers a request with the gateway's answer, or says that there is none.
pub(crate) async fn hand_on(
    gateways: &Gateways,
    request: Request<RequestBody>,
    peer: IpAddr,
) -> Response<Body> {
    let is_grpc = is_grpc(request.headers());
    match timeout(ANSWER_WITHIN, send(gateways, request, peer)).await {
        Ok(Ok(response)) => {
            counter!("chirm_bridge_requests_total", "outcome" => "answered").increment(1);
            response
        }
        Ok(Err(failure)) => refuse(failure, is_grpc),
        Err(_) => refuse(Failure::Late, is_grpc),
    }
}

async fn send(
    gateways: &Gateways,
    request: Request<RequestBody>,
    peer: IpAddr,
) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let mut onward = Request::new(body.map_err(Into::into).boxed_unsync());
    *onward.method_mut() = parts.method;
    *onward.uri_mut() = parts.uri;
    *onward.headers_mut() = for_gateway(parts.headers, peer);
    let (response, place) = gateways.send(onward).await?;
    let (mut parts, body) = response.into_parts();
    parts.version = Version::default();
    parts.extensions.clear();
    drop_hop_by_hop(&mut parts.headers);
    let body = Held {
        body,
        _place: place,
    };
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

fn for_gateway(mut headers: HeaderMap, peer: IpAddr) -> HeaderMap {
    let takes_trailers = headers.get_all(header::TE).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').any(|part| part.trim() == "trailers")
    });
    drop_hop_by_hop(&mut headers);
    headers.remove(header::TE);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // The last one counts; those that the client sent stay before it.
    let peer = peer.to_canonical().to_string();
    if let Ok(peer) = HeaderValue::from_str(&peer) {
        headers.append(FORWARDED_FOR, peer);
    }
    headers
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_CONNECTIONS) {
        headers.remove(name);
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    value.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn refuse(failure: Failure, is_grpc: bool) -> Response<Body> {
    counter!("chirm_bridge_requests_total", "outcome" => failure.reason()).increment(1);
    if is_grpc {
        return grpc(failure);
    }
    refusal(failure).into_response().map(text)
}

/// As docs/errors.md describes errors over REST.
fn refusal(failure: Failure) -> Refusal {
    let unknown = "the outcome is unknown, so repeat with the same nonce or request_id";
    match failure {
        Failure::Full => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "UNAVAILABLE",
            "OVERLOADED",
            format!("{failure}; nothing was done."),
        ),
        Failure::Late => Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            "DEADLINE_EXCEEDED",
            "DEADLINE_EXCEEDED",
            format!("{failure}; {unknown}."),
        ),
        Failure::Connect | Failure::Cut | Failure::Odd => Refusal::new(
            StatusCode::BAD_GATEWAY,
            "UNAVAILABLE",
            "UPSTREAM_LOST",
            format!("{failure}; {unknown}."),
        ),
    }
}

/// The same for gRPC, whose status is in headers.
fn grpc(failure: Failure) -> Response<Body> {
    let code = if failure == Failure::Late { "4" } else { "14" };
    let mut response = Response::new(crate::pool::empty());
    let headers = response.headers_mut();
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, grpc);
    headers.insert("grpc-status", HeaderValue::from_static(code));
    if let Ok(message) = HeaderValue::from_str(&failure.to_string()) {
        headers.insert("grpc-message", message);
    }
    response
}

/// A body that is there already.
pub(crate) fn text(text: String) -> Body {
    let body = http_body_util::Full::new(Bytes::from(text));
    body.map_err(|never| match never {}).boxed_unsync()
}

/// An answer's body, which holds its place on the connection.
struct Held {
    body: Incoming,
    _place: Place,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = chirm_net::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        next.map(|next| next.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_a_connection_is_not_handed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "deflate, trailers"),
            ("host", "chat.example.com"),
            ("authorization", "Bearer x"),
            ("x-forwarded-for", "10.0.0.1"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let headers = for_gateway(headers, "::ffff:192.0.2.1".parse().unwrap());
        let mut found: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        found.sort_unstable();
        let expected = [
            ("authorization", "Bearer x"),
            ("te", "trailers"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(found, expected);
    }
}
