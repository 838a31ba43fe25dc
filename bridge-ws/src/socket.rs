//! One WebSocket's life: messages in, frames out, until either side ends it.

use crate::close::{self, Close};
use crate::drain::{Goodbye, Step};
use crate::form::{Form, Transcoder};
use crate::pen::{FRAMES_MAX, Payloads, Pen};
use crate::waking::{Readiness, Shared, frame_waker, lock};
use crate::{Frames, INPUTS_MAX, Options, Upstream};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Read at once; a larger message is read in steps. Every connection has it.
const READ_BUFFER_BYTES: usize = 512;
/// Frames are collected for one write up to this: what the client doesn't take of it is copied.
const WRITE_BYTES: usize = 8 << 10;
/// Messages that are read in one go, before what waits to be written has its turn.
const READS_MAX: usize = 16;
/// How long a client has to answer the end.
const GOODBYE: Duration = Duration::from_secs(5);
/// So many times the bytes of a frame its JSON may have.
const JSON_FACTOR: usize = 4;

/// What a new WebSocket needs.
pub(crate) struct Socket {
    pub(crate) form: Form,
    pub(crate) options: Arc<Options>,
    pub(crate) transcoder: Arc<Transcoder>,
    pub(crate) goodbye: Option<Goodbye>,
}

/// How a session ends.
enum End {
    /// The client is gone.
    Gone,
    /// The session ended; with this code, or it was cut.
    Session(Option<CloseCode>),
    /// The carrier ends it.
    Carrier(Close, Option<String>),
}

impl Socket {
    /// Joins the WebSocket to a session, to the end of both.
    pub(crate) async fn run<U: Upstream>(self, upgraded: Upgraded, upstream: &U, peer: IpAddr) {
        let max = self.options.identify_bytes_max * self.factor();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(max))
            .max_frame_size(Some(max));
        let io = Pen::new(TokioIo::new(upgraded));
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let deadline = self.options.identify_deadline;
        let readiness = Readiness::new();
        let shared = Arc::new_cyclic(|shared| {
            Mutex::new(Some(Joined {
                socket_waker: Waker::from(readiness.clone()),
                frame_waker: frame_waker(shared.clone(), readiness.clone()),
                readiness,
                unflushed: true,
                aside: None,
                frames: upstream.open(received, peer),
                inputs,
                closes: None,
                identified: false,
                end: None,
                socket,
                own: self,
            }))
        });
        metrics::gauge!("chirm_websockets").increment(1.0);
        live(&shared, deadline).await;
        let joined = lock(&shared).take();
        if let Some(joined) = joined {
            joined.close().await;
        }
        metrics::gauge!("chirm_websockets").decrement(1.0);
    }

    fn factor(&self) -> usize {
        match self.form {
            Form::Proto => 1,
            Form::Json => JSON_FACTOR,
        }
    }
}

/// A socket with its session. Its task reads; frames are written by whoever has the lock.
pub(crate) struct Joined<F> {
    own: Socket,
    readiness: Arc<Readiness>,
    /// For the socket: wakes the task.
    socket_waker: Waker,
    /// For frames.
    frame_waker: Waker,
    /// Something may wait to be written: the rest of a frame, or an answer to what was read.
    unflushed: bool,
    socket: WebSocketStream<Pen<TokioIo<Upgraded>>>,
    frames: F,
    /// A frame of the carrier's own, which goes before those of the session.
    aside: Option<Bytes>,
    inputs: mpsc::Sender<Bytes>,
    /// The last frame was sent, and says so.
    closes: Option<CloseCode>,
    identified: bool,
    /// How it ended: from then on nothing more is read or written.
    end: Option<End>,
}

/// Runs both to the end.
async fn live<F: Frames>(shared: &Shared<F>, identify_deadline: Duration) {
    let identified = poll_fn(|cx| match &mut *lock(shared) {
        Some(joined) => match joined.poll(cx) {
            Poll::Pending if joined.identified => Poll::Ready(()),
            other => other,
        },
        None => Poll::Ready(()),
    });
    let late = timeout(identify_deadline, identified).await.is_err();
    poll_fn(|cx| match &mut *lock(shared) {
        Some(joined) if late => {
            let end = End::Carrier(Close::IdentifyTimeout, None);
            joined.end.get_or_insert(end);
            Poll::Ready(())
        }
        Some(joined) => joined.poll(cx),
        None => Poll::Ready(()),
    })
    .await;
}

impl<F: Frames> Joined<F> {
    /// What the task does, until the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.readiness.task.register(cx.waker());
        if self.end.is_none()
            && let Poll::Ready(end) = self.poll_end(cx)
        {
            self.end = Some(end);
        }
        match &self.end {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(end) = self.poll_goodbye(cx) {
            return Poll::Ready(end);
        }
        if self.readiness.take() {
            let waker = self.socket_waker.clone();
            if let Poll::Ready(end) = self.poll_read(&mut Context::from_waker(&waker)) {
                return Poll::Ready(end);
            }
            self.unflushed = true;
        }
        self.poll_write()
    }

    /// Writes the frames that there are, in place of the task. False if the task has to look.
    pub(crate) fn hand_out(&mut self) -> bool {
        if self.end.is_some() || !self.frames.may_be_polled_while_waking() {
            return false;
        }
        if let Poll::Ready(end) = self.poll_write() {
            self.end = Some(end);
        }
        self.end.is_none()
    }

    /// Ends the session, and the socket in words. A client that takes nothing is left.
    async fn close(self) {
        // The session ends before the goodbye is waited for.
        drop(self.frames);
        let own = self.own;
        let (last, code) = match self.end {
            None | Some(End::Gone) => (None, None),
            Some(End::Session(code)) => (None, Some(code.unwrap_or(CloseCode::Restart))),
            Some(End::Carrier(close, detail)) => {
                let last = own.transcoder.payload(own.form, close.frame(detail));
                (last, Some(CloseCode::from(close.code())))
            }
        };
        let _ = timeout(GOODBYE, goodbye(self.socket, own.form, last, code)).await;
    }

    /// Takes the steps of a drain that has begun.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while let Some(goodbye) = &mut self.own.goodbye {
            match ready!(goodbye.poll_next_unpin(cx)) {
                Some(Step::Begun) if self.identified => {}
                Some(Step::Frame(frame)) => self.aside = Some(frame),
                // Who hasn't begun needn't be asked to go on elsewhere.
                Some(Step::Begun) | None => {
                    return Poll::Ready(End::Carrier(Close::Draining, None));
                }
            }
        }
        Poll::Pending
    }

    /// Hands on what came, as fast as the session takes it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..READS_MAX {
            match self.inputs.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // The session takes no more: it is about to end.
                Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
            }
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(End::Gone),
                Poll::Ready(Some(Ok(message))) => {
                    if let Err(end) = self.take(message) {
                        return Poll::Ready(end);
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(broken(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, message: Message) -> Result<(), End> {
        let frame = match (self.own.form, message) {
            (Form::Proto, Message::Binary(frame)) => {
                self.fits(frame.len())?;
                frame
            }
            (Form::Json, Message::Text(text)) => {
                self.fits(text.len())?;
                let frame = self.own.transcoder.frame(&text);
                frame.map_err(|problem| End::Carrier(Close::Malformed, Some(problem)))?
            }
            (form, Message::Binary(_) | Message::Text(_)) => {
                let expected = match form {
                    Form::Proto => {
                        "binary messages are expected: the subprotocol is chirm.v1.proto"
                    }
                    Form::Json => "text messages are expected: the subprotocol is chirm.v1.json",
                };
                return Err(End::Carrier(Close::WrongKind, Some(expected.to_owned())));
            }
            (_, Message::Close(_)) => return Err(End::Gone),
            (_, Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => return Ok(()),
        };
        self.identified = true;
        // There is a place: it was reserved. A session that ended meanwhile says why.
        let _ = self.inputs.start_send(frame);
        Ok(())
    }

    /// The first frame may be larger than the others.
    fn fits(&self, bytes: usize) -> Result<(), End> {
        let options = &self.own.options;
        let max = if self.identified {
            options.request_bytes_max
        } else {
            options.identify_bytes_max * self.own.factor()
        };
        if bytes <= max {
            return Ok(());
        }
        let detail = format!("a frame of {bytes} bytes is over the limit of {max}");
        Err(End::Carrier(Close::TooLarge, Some(detail)))
    }

    /// Writes what the session has, as fast as the client takes it: only once all that was taken of
    /// the session before is gone, so that the rest waits in the session, which has a bound.
    fn poll_write(&mut self) -> Poll<End> {
        loop {
            let cx = &mut Context::from_waker(&self.socket_waker);
            if self.unflushed {
                match ready!(Pin::new(&mut self.socket).poll_flush(cx)) {
                    Ok(()) => self.unflushed = false,
                    Err(_) => return Poll::Ready(End::Gone),
                }
            }
            let payloads = match self.payloads() {
                Ok(payloads) if payloads.is_empty() => return Poll::Pending,
                Ok(payloads) => payloads,
                Err(end) => return Poll::Ready(end),
            };
            let cx = &mut Context::from_waker(&self.socket_waker);
            let pen = self.socket.get_mut();
            if pen.write(cx, self.own.form, &payloads).is_err() {
                return Poll::Ready(End::Gone);
            }
            self.unflushed = pen.has_rest();
        }
    }

    /// What is to be written next; nothing if the session has nothing now.
    fn payloads(&mut self) -> Result<Payloads, End> {
        let mut payloads = Payloads::new();
        let mut bytes = 0;
        let cx = &mut Context::from_waker(&self.frame_waker);
        while payloads.len() < FRAMES_MAX && bytes < WRITE_BYTES {
            let frame = match self.aside.take() {
                Some(frame) => frame,
                None => match self.frames.poll_frame(cx) {
                    Poll::Ready(Some(frame)) => frame,
                    // What came before is written first; then it says so again.
                    Poll::Ready(None) if payloads.is_empty() => {
                        return Err(End::Session(self.closes));
                    }
                    Poll::Ready(None) | Poll::Pending => break,
                },
            };
            self.closes = close::code_after(&frame).or(self.closes);
            let Some(payload) = self.own.transcoder.payload(self.own.form, frame) else {
                tracing::error!("a frame can't be written as JSON");
                return Err(End::Session(Some(CloseCode::Error)));
            };
            bytes += payload.len();
            payloads.push(payload);
        }
        Ok(payloads)
    }
}

/// What a client did that is no WebSocket.
fn broken(error: Error) -> End {
    match error {
        Error::Capacity(problem) => End::Carrier(Close::TooLarge, Some(problem.to_string())),
        Error::Utf8(_) => {
            let detail = "a text message isn't UTF-8".to_owned();
            End::Carrier(Close::Malformed, Some(detail))
        }
        Error::Protocol(problem) => End::Carrier(Close::Protocol, Some(problem.to_string())),
        _ => End::Gone,
    }
}

/// Says why, and waits for the client to have heard it.
async fn goodbye(
    mut socket: WebSocketStream<Pen<TokioIo<Upgraded>>>,
    form: Form,
    last: Option<Bytes>,
    code: Option<CloseCode>,
) -> Result<(), Error> {
    // An answer to the client's own goodbye may wait.
    socket.flush().await?;
    let Some(code) = code else { return Ok(()) };
    if let Some(last) = last {
        let last = &[last];
        poll_fn(|cx| Poll::Ready(socket.get_mut().write(cx, form, last))).await?;
    }
    let reason = Utf8Bytes::default();
    let frame = CloseFrame { code, reason };
    socket.send(Message::Close(Some(frame))).await?;
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}
