//! Answers that nobody takes.
//!
//! Over HTTP/2 a client opens a stream's window as far as it likes, so an answer can wait for it
//! for as long as the client answers pings. [`AnswerBody`] gives an answer away piece by piece, so
//! that hardly more than the window leaves it, and notes when it gave one; [`Streams`] ends a
//! stream whose answer was not asked for more within a time. A socket that takes nothing is
//! [`super::socket`]'s.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use metrics::counter;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::service::InProgress;

/// HTTP/2 takes a piece as soon as a byte of it fits into the window, so this is what a client
/// can make it hold beyond the window. Its frames are no larger.
const PIECE_BYTES_MAX: usize = 16 << 10;

/// Pieces of an answer that have to be taken in one time-out: 256 KiB, so that none lasts for
/// hours. A stream's wait for each other, as what it holds is bounded anyway.
const PIECES_A_STEP: u32 = 16;

tokio::task_local! {
    /// Of the stream whose task this is. HTTP/1 has no such tasks.
    static GIVEN: Cell<Given>;
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Given {
    steps: u64,
    /// Whether the last piece is still to be taken.
    waits: bool,
}

fn note(change: impl FnOnce(&mut Given)) {
    let _ = GIVEN.try_with(|given| {
        let mut value = given.get();
        change(&mut value);
        given.set(value);
    });
}

/// An answer's body, which keeps its request in progress.
#[derive(Debug)]
pub(super) struct AnswerBody<B> {
    body: B,
    /// What the body gave and this did not yet.
    rest: Bytes,
    pieces: u32,
    _in_progress: InProgress,
    /// None for a stream, which lasts.
    place: Option<OwnedSemaphorePermit>,
}

impl<B> AnswerBody<B> {
    pub(super) fn new(
        body: B,
        in_progress: InProgress,
        place: Option<OwnedSemaphorePermit>,
    ) -> AnswerBody<B> {
        AnswerBody {
            body,
            rest: Bytes::new(),
            pieces: 0,
            _in_progress: in_progress,
            place,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        note(|given| given.waits = false);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        let piece = self.rest.split_to(length);
        let step = self.place.is_none() || self.pieces.is_multiple_of(PIECES_A_STEP);
        self.pieces = self.pieces.wrapping_add(1);
        note(|given| {
            given.steps += u64::from(step);
            given.waits = true;
        });
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, inner) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Runs the streams of HTTP/2 connections, each as a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    /// A client that takes nothing of an answer for so long loses the stream.
    pub(super) answer_timeout: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(taken_in_time(Box::pin(stream), self.answer_timeout));
    }
}

/// Runs a stream to its end, or until its answer waited for too long: dropping it resets it, and
/// frees what it holds. Boxed: an async function would keep the place that its argument came in.
async fn taken_in_time(mut stream: Pin<Box<impl Future<Output = ()>>>, within: Duration) {
    let mut waiting_since = Given::default();
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let end = poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let given = GIVEN.with(Cell::get);
        if given != waiting_since {
            waiting_since = given;
            timer = None;
        }
        if !given.waits {
            return Poll::Pending;
        }
        // Only made where something waits: a stream that is read costs no timer.
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(within)));
        timer.as_mut().poll(cx).map(Err)
    });
    if GIVEN.scope(Cell::default(), end).await.is_err() {
        counter!("chirm_net_answers_unread_total").increment(1);
    }
}
