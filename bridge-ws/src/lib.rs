//! WebSocket for the gateway's streams: one message is one frame, as protobuf or as proto3 JSON.
//!
//! A [`Bridge`] takes requests for a WebSocket and joins each socket to a session of its
//! [`Upstream`]: the gateway of the same process, or one far away. What passes is not looked at,
//! but for what the carrier needs: the first byte of a server's frame, which tells events and the
//! end apart. JSON is made once of an event, however many receive it.
//!
//! - `handshake`, `origin`: which requests become WebSockets; `refusal`: what the others get.
//! - `socket`: one WebSocket's life; `close`: how it ends.
//! - `pen`: frames as they are written; `waking`: who writes what the session has.
//! - `form`: a frame as a message; `cache`: events that were made JSON.
//! - `drain`: how a process that is about to stop lets its clients go.

mod cache;
mod close;
mod drain;
mod form;
mod handshake;
mod origin;
mod pen;
mod refusal;
mod socket;
mod waking;

pub use close::{Close, is_closing};
pub use drain::Drain;
pub use form::Form;
pub use handshake::PATH;
pub use origin::Origins;
pub use refusal::Refusal;

use bytes::Bytes;
use form::Transcoder;
use futures::channel::mpsc;
use http::{Request, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// What `/metrics` says of the gauges of this crate; docs/operations.md says more.
pub const GAUGES: &[(&str, &str)] = &[("chirm_websockets", "Open WebSockets.")];

/// Client frames that wait for the session; with as many, the socket isn't read.
const INPUTS_MAX: usize = 16;

/// Where sessions come from.
pub trait Upstream: Clone + Send + Sync + 'static {
    /// What a session sends.
    type Frames: Frames;
    /// Begins a session for the client at `peer`. `inputs` are its frames, each an encoded
    /// `ClientFrame`, not yet looked at; they end when the client is gone.
    fn open(&self, inputs: mpsc::Receiver<Bytes>, peer: IpAddr) -> Self::Frames;
}

/// What a session sends. Dropped when the client is gone.
pub trait Frames: Send + Unpin + 'static {
    /// The next encoded `ServerFrame`; `None` after the last, however often it is asked.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// Whether the waker may poll it, within the call that wakes. Whoever brings a frame then
    /// writes it, and no task is woken. It must hold nothing then that the poll needs, be in the
    /// runtime, and have no more at once, which the task would gather.
    fn may_be_polled_while_waking(&self) -> bool {
        false
    }
}

/// What clients may send, and when they are let go.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose pages may connect.
    pub origins: Origins,
    /// Bytes of the first frame; as JSON four times as many.
    pub identify_bytes_max: usize,
    /// Bytes of every other frame.
    pub request_bytes_max: usize,
    /// From the handshake to the first frame.
    pub identify_deadline: Duration,
}

/// Makes WebSockets of requests. Cheap to clone.
#[derive(Clone)]
pub struct Bridge<U> {
    upstream: U,
    options: Arc<Options>,
    transcoder: Arc<Transcoder>,
    drain: Option<Drain>,
}

impl<U: Upstream> Bridge<U> {
    /// In front of `upstream`.
    #[must_use]
    pub fn new(upstream: U, options: Options) -> Self {
        Self {
            upstream,
            options: Arc::new(options),
            transcoder: Arc::new(Transcoder::new()),
            drain: None,
        }
    }

    /// Lets its clients go when this drain begins. Without one the upstream does that, whose
    /// frames reach them as they are.
    #[must_use]
    pub fn with_drain(self, drain: Drain) -> Self {
        let drain = Some(drain);
        Self { drain, ..self }
    }

    /// Whose pages may connect.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.options.origins
    }

    /// Answers a request for [`PATH`]; the socket's life begins when the answer is sent, and ends
    /// by itself.
    ///
    /// # Errors
    /// It isn't a request for a WebSocket that is served here.
    pub fn accept<B>(&self, request: Request<B>, peer: IpAddr) -> Result<Response<()>, Refusal> {
        let accepted = handshake::accept(&request, &self.options.origins)?;
        let upgrade = hyper::upgrade::on(request);
        let socket = socket::Socket {
            form: accepted.form,
            options: self.options.clone(),
            transcoder: self.transcoder.clone(),
            goodbye: self.drain.as_ref().map(Drain::goodbye),
        };
        let upstream = self.upstream.clone();
        let life = async move {
            match upgrade.await {
                Ok(upgraded) => socket.run(upgraded, &upstream, peer).await,
                Err(error) => tracing::debug!(%peer, %error, "no WebSocket came of a handshake"),
            }
        };
        match &self.drain {
            Some(drain) => drain.track(life),
            None => drop(tokio::spawn(life)),
        }
        Ok(accepted.response)
    }
}
