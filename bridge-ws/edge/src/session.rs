//! A WebSocket's session: one stream of a connection to a gateway.

use crate::Body;
use crate::deframe::{Deframer, framed};
use crate::pool::{Failure, Gateways, Place};
use bytes::Bytes;
use chirm_bridge_ws::{Close, Frames, Upstream, is_closing};
use futures::StreamExt as _;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use metrics::{Counter, Gauge, counter, gauge};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;

/// The path of `GatewayService.Session`.
pub(crate) const SESSION: &str = "/chirm.v1.GatewayService/Session";
/// The path of `GatewayService.Listen`, which is handed on.
pub(crate) const LISTEN: &str = "/chirm.v1.GatewayService/Listen";
/// What this process calls itself.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("chirm-bridge-ws/", env!("CARGO_PKG_VERSION")));
/// From a client's first frame to the start of the gateway's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Sessions of remote gateways. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Remote {
    gateways: Gateways,
    from_browsers: Traffic,
    to_browsers: Traffic,
}

/// What passed in one direction.
#[derive(Clone)]
struct Traffic {
    frames: Counter,
    bytes: Counter,
}

impl Traffic {
    fn new(direction: &'static str) -> Self {
        Self {
            frames: counter!("chirm_bridge_frames_total", "direction" => direction),
            bytes: counter!("chirm_bridge_bytes_total", "direction" => direction),
        }
    }

    fn count(&self, frame: &[u8]) {
        self.frames.increment(1);
        self.bytes.increment(frame.len() as u64);
    }
}

impl Remote {
    pub(crate) fn new(gateways: Gateways) -> Self {
        Self {
            gateways,
            from_browsers: Traffic::new("in"),
            to_browsers: Traffic::new("out"),
        }
    }

    /// Waits for the client's first frame, so that sockets that never say anything cost gateways
    /// nothing, then opens the stream; `None` if the client went before.
    async fn begin(
        self,
        mut inputs: mpsc::Receiver<Bytes>,
        peer: IpAddr,
    ) -> Option<Result<Stream, Failure>> {
        let first = inputs.next().await?;
        let inputs = Inputs {
            first: Some(first),
            rest: inputs,
            traffic: self.from_browsers,
        };
        let request = Request::post(SESSION)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, USER_AGENT)
            .header("x-forwarded-for", peer.to_canonical().to_string())
            .body(())
            .ok()?
            .map(|()| inputs.map_err(|never| match never {}).boxed_unsync());
        Some(open(self.gateways, request).await)
    }
}

async fn open(gateways: Gateways, request: Request<Body>) -> Result<Stream, Failure> {
    let sent = timeout(ANSWER_WITHIN, gateways.send(request)).await;
    let (response, place) = sent.map_err(|_| Failure::Late)??;
    let headers = response.headers();
    if response.status() != StatusCode::OK || headers.contains_key("grpc-status") {
        let grpc = headers.get("grpc-status").and_then(|v| v.to_str().ok());
        let (upstream, http) = (place.upstream(), response.status().as_u16());
        tracing::warn!(upstream, http, grpc, "a gateway refused a session");
        return Err(Failure::Odd);
    }
    let sessions = gauge!("chirm_bridge_sessions", "upstream" => place.upstream());
    sessions.increment(1.0);
    Ok(Stream {
        body: response.into_body(),
        deframer: Deframer::default(),
        sessions,
        _place: place,
    })
}

/// A client's frames, as the body of a gRPC call.
struct Inputs {
    first: Option<Bytes>,
    rest: mpsc::Receiver<Bytes>,
    traffic: Traffic,
}

impl http_body::Body for Inputs {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(self.rest.poll_next_unpin(cx)),
        };
        Poll::Ready(next.map(|frame| {
            self.traffic.count(&frame);
            Ok(Frame::data(framed(&frame)))
        }))
    }
}

/// A stream that the gateway has begun to answer.
struct Stream {
    body: Incoming,
    deframer: Deframer,
    sessions: Gauge,
    _place: Place,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.sessions.decrement(1.0);
    }
}

impl Stream {
    /// The next frame; `None` at the end, wherever that is.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        loop {
            match self.deframer.next() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
                Err(problem) => {
                    tracing::warn!(%problem, "a gateway sent what is no frame");
                    return Poll::Ready(Some(Err(Failure::Odd)));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // Of the trailers nothing is needed: `Closing` came before, or the end is a loss.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.deframer.push(bytes);
                    }
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(Failure::Cut))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// What a WebSocket is joined to.
pub(crate) struct Session {
    state: State,
    to_browsers: Traffic,
}

enum State {
    Opening(BoxFuture<'static, Option<Result<Stream, Failure>>>),
    Open(Box<Stream>),
    Over,
}

impl Upstream for Remote {
    type Frames = Session;

    fn open(&self, inputs: mpsc::Receiver<Bytes>, peer: IpAddr) -> Session {
        Session {
            to_browsers: self.to_browsers.clone(),
            state: State::Opening(Box::pin(self.clone().begin(inputs, peer))),
        }
    }
}

impl Frames for Session {
    /// The gateway's frames as they are. If they end without `Closing`, there is one more: the
    /// gateway is lost, and the client is to resume.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let next = match &mut self.state {
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Some(Ok(stream)) => {
                        self.state = State::Open(Box::new(stream));
                        continue;
                    }
                    Some(Err(failure)) => Err(failure),
                    None => {
                        self.state = State::Over;
                        continue;
                    }
                },
                State::Open(stream) => match ready!(stream.poll_frame(cx)) {
                    Some(next) => next,
                    None => Err(Failure::Cut),
                },
                State::Over => return Poll::Ready(None),
            };
            let frame = next.unwrap_or_else(|failure| {
                counter!("chirm_bridge_sessions_lost_total", "reason" => failure.reason())
                    .increment(1);
                Close::UpstreamLost.frame(None)
            });
            if is_closing(&frame) {
                self.state = State::Over;
            }
            self.to_browsers.count(&frame);
            return Poll::Ready(Some(frame));
        }
    }
}
