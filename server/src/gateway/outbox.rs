//! What waits to be written to one client: the seam between sessions and transports. The hub and
//! the session put frames in; a transport (the gRPC body, a WebSocket) takes out all that waits at
//! once.

use crate::traces::Deliver;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// How much one write carries at most.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// How a stream ends after its last frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The gRPC code; 0 for OK.
    pub code: i32,
    /// For people.
    pub message: String,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As much waits as may wait.
    Full,
    /// The stream has ended.
    Ended,
}

/// What may wait.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Frames.
    pub frames: usize,
    /// Bytes.
    pub bytes: usize,
}

struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Frames that went out of the queue.
    gone: u64,
    /// Those of the queue's that are traced, by how many frames went or go before them.
    traced: VecDeque<(u64, Box<Deliver>)>,
    end: Option<End>,
    peer_gone: bool,
    /// Nothing more is taken but the last frame.
    muted: bool,
    waker: Option<Waker>,
    /// Somebody waits for room.
    room_wanted: bool,
}

impl State {
    fn takes_no_more(&self) -> bool {
        self.end.is_some() || self.peer_gone || self.muted
    }

    /// Drops what waits.
    fn clear(&mut self) {
        self.gone += self.queue.len() as u64;
        self.queue = VecDeque::new();
        self.bytes = 0;
        self.traced = VecDeque::new();
    }

    /// So many frames were taken out; those among them that are traced.
    fn take_traced(&mut self, frames: usize) -> Vec<Deliver> {
        self.gone += frames as u64;
        let taken = self.traced.iter().take_while(|(at, _)| *at < self.gone);
        let taken = taken.count();
        // No memory is taken for none.
        self.traced.drain(..taken).map(|(_, it)| *it).collect()
    }
}

/// A bounded queue of frames for one client.
pub struct Outbox {
    state: Mutex<State>,
    limits: OutboxLimits,
    /// Whether the first part, before `Ready`, or another bulk of frames is being put in.
    syncing: AtomicBool,
    /// Told when frames were taken out and somebody waits for room. Apart from `ended`, for which
    /// every session waits all the time: a write must not wake it.
    drained: Notify,
    /// Told at the end, from either side.
    ended: Notify,
}

impl Outbox {
    /// Empty.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Self {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            gone: 0,
            traced: VecDeque::new(),
            end: None,
            peer_gone: false,
            muted: false,
            waker: None,
            room_wanted: false,
        };
        Self {
            state: Mutex::new(state),
            limits,
            syncing: AtomicBool::new(true),
            drained: Notify::new(),
            ended: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the first part, before `Ready`, or another bulk of frames is being put in: more
    /// comes at once, and is better gathered than written one by one.
    #[must_use]
    pub fn is_syncing(&self) -> bool {
        self.syncing.load(Ordering::Acquire)
    }

    pub(super) fn set_syncing(&self, syncing: bool) {
        self.syncing.store(syncing, Ordering::Release);
    }

    /// Drops what waits and takes nothing more but the last frame.
    pub(super) fn mute(&self) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.muted = true;
            state.clear();
        }
        drop(state);
        self.drained.notify_waiters();
    }

    /// Queues a frame. Never blocks.
    ///
    /// # Errors
    /// [`Refused::Full`] at the limits, [`Refused::Ended`] after the end.
    pub fn push(&self, frame: Bytes) -> Result<(), Refused> {
        self.push_all([frame]).map_err(|(_, refused)| refused)
    }

    /// Queues frames in one go, so that the transport finds them together. Never blocks.
    ///
    /// # Errors
    /// How many were queued, and why the next one wasn't: as [`push`](Self::push).
    pub fn push_all(
        &self,
        frames: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), (usize, Refused)> {
        self.push_traced(frames.into_iter().map(|frame| (frame, None)))
    }

    /// As [`push_all`](Self::push_all), of frames whose way to the client is traced, or isn't.
    pub(super) fn push_traced(
        &self,
        frames: impl IntoIterator<Item = (Bytes, Option<Box<Deliver>>)>,
    ) -> Result<(), (usize, Refused)> {
        let mut state = self.lock();
        if state.takes_no_more() {
            return Err((0, Refused::Ended));
        }
        let mut queued = 0;
        let mut result = Ok(());
        for (frame, traced) in frames {
            let full = state.queue.len() >= self.limits.frames
                || state.bytes + frame.len() > self.limits.bytes;
            // One frame always fits, however large.
            if full && !state.queue.is_empty() {
                result = Err((queued, Refused::Full));
                break;
            }
            if let Some(traced) = traced {
                let at = state.gone + state.queue.len() as u64;
                state.traced.push_back((at, traced));
            }
            state.bytes += frame.len();
            state.queue.push_back(frame);
            queued += 1;
        }
        // Of a full queue it has been told.
        let waker = if queued > 0 { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Queues a frame once less than half of the limits waits: for what is produced as fast as it
    /// drains.
    ///
    /// # Errors
    /// [`Refused::Ended`] if the stream ends meanwhile.
    pub async fn push_when_drained(&self, frame: Bytes) -> Result<(), Refused> {
        loop {
            self.room(frame.len()).await;
            // Another may have taken the room meanwhile.
            match self.push(frame.clone()) {
                Err(Refused::Full) => {}
                done => return done,
            }
        }
    }

    /// Waits until less than half of the limits waits and a frame of so many bytes fits, or the
    /// stream has ended.
    pub async fn room(&self, bytes: usize) {
        loop {
            let drained = self.drained.notified();
            {
                let mut state = self.lock();
                let room = self.has_room(&state, bytes);
                state.room_wanted = !room;
                if room || state.takes_no_more() {
                    return;
                }
            }
            drained.await;
        }
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        let half =
            state.queue.len() * 2 < self.limits.frames && state.bytes * 2 < self.limits.bytes;
        state.queue.is_empty() || (half && state.bytes + bytes <= self.limits.bytes)
    }

    /// Ends the stream after what waits, or, with `drop_waiting`, in place of it, with a last
    /// frame. Only the first end counts.
    pub fn finish(&self, last: Option<Bytes>, end: End, drop_waiting: bool) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        if drop_waiting {
            state.clear();
        }
        if let Some(last) = last.filter(|_| !crate::mutation::on("closing_silent")) {
            state.bytes += last.len();
            state.queue.push_back(last);
        }
        state.end = Some(end);
        let waker = state.waker.take();
        drop(state);
        self.tell_end();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn tell_end(&self) {
        self.drained.notify_waiters();
        self.ended.notify_waiters();
    }

    /// Whether the stream has ended, from either side.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        let state = self.lock();
        state.end.is_some() || state.peer_gone
    }

    /// How the stream ended, if the server ended it.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.lock().end.clone()
    }

    /// For transports: the client is gone.
    pub fn peer_gone(&self) {
        let mut state = self.lock();
        state.peer_gone = true;
        state.clear();
        drop(state);
        self.tell_end();
    }

    /// Waits for the end, from either side.
    pub async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_ended() {
                return;
            }
            ended.await;
        }
    }

    /// For byte-stream transports: all that waits (64 KiB at most) as one buffer; a single frame is
    /// shared, not copied. `None` after the end.
    pub fn poll_write(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        let Some(first) = state.queue.pop_front() else {
            return Self::wait(&mut state, cx);
        };
        let mut total = first.len();
        let mut count = 0;
        for frame in &state.queue {
            if total + frame.len() > WRITE_BYTES_MAX {
                break;
            }
            total += frame.len();
            count += 1;
        }
        state.bytes -= total;
        let out = if count == 0 {
            first
        } else {
            let mut out = BytesMut::with_capacity(total);
            out.extend_from_slice(&first);
            for frame in state.queue.drain(..count) {
                out.extend_from_slice(&frame);
            }
            out.freeze()
        };
        self.taken(state, 1 + count);
        Poll::Ready(Some(out))
    }

    /// For message transports: the next frame. `None` after the end.
    pub fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        let Some(frame) = state.queue.pop_front() else {
            return Self::wait(&mut state, cx);
        };
        state.bytes -= frame.len();
        self.taken(state, 1);
        Poll::Ready(Some(frame))
    }

    fn taken(&self, mut state: MutexGuard<'_, State>, frames: usize) {
        let wanted = std::mem::take(&mut state.room_wanted);
        let traced = state.take_traced(frames);
        drop(state);
        traced.into_iter().for_each(Deliver::taken);
        if wanted {
            self.drained.notify_waiters();
        }
    }

    fn wait(state: &mut State, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if state.end.is_some() {
            return Poll::Ready(None);
        }
        match &state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => state.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn outbox() -> Outbox {
        Outbox::new(OutboxLimits {
            frames: 4,
            bytes: 100,
        })
    }

    #[tokio::test]
    async fn all_that_waits_goes_in_one_write() {
        let outbox = outbox();
        for text in ["ab", "c", "def"] {
            outbox.push(Bytes::from_static(text.as_bytes())).unwrap();
        }
        assert_eq!(poll_fn(|cx| outbox.poll_write(cx)).await.unwrap(), "abcdef");
        outbox.finish(
            Some(Bytes::from_static(b"x")),
            End {
                code: 0,
                message: String::new(),
            },
            false,
        );
        assert_eq!(outbox.push(Bytes::new()), Err(Refused::Ended));
        assert_eq!(poll_fn(|cx| outbox.poll_write(cx)).await.unwrap(), "x");
        assert!(poll_fn(|cx| outbox.poll_write(cx)).await.is_none());
    }

    #[tokio::test]
    async fn both_limits_hold_and_one_frame_always_fits() {
        let outbox = outbox();
        outbox.push(Bytes::from(vec![0; 1000])).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"a")), Err(Refused::Full));
        poll_fn(|cx| outbox.poll_write(cx)).await.unwrap();
        for _ in 0..4 {
            outbox.push(Bytes::from_static(b"a")).unwrap();
        }
        assert_eq!(outbox.push(Bytes::from_static(b"a")), Err(Refused::Full));
    }

    #[tokio::test]
    async fn what_may_wait_waits_for_the_reader() {
        let outbox = std::sync::Arc::new(outbox());
        outbox.push(Bytes::from_static(b"1")).unwrap();
        outbox.push(Bytes::from_static(b"2")).unwrap();
        let later = outbox.clone();
        let task =
            tokio::spawn(async move { later.push_when_drained(Bytes::from_static(b"3")).await });
        tokio::task::yield_now().await;
        assert_eq!(poll_fn(|cx| outbox.poll_write(cx)).await.unwrap(), "12");
        task.await.unwrap().unwrap();
        assert_eq!(poll_fn(|cx| outbox.poll_write(cx)).await.unwrap(), "3");
        outbox.peer_gone();
        outbox.ended().await;
    }

    #[tokio::test]
    async fn a_large_frame_waits_until_it_fits() {
        let outbox = std::sync::Arc::new(outbox());
        outbox.push(Bytes::from(vec![0; 20])).unwrap();
        let later = outbox.clone();
        let large = Bytes::from(vec![1; 90]);
        let task = tokio::spawn(async move { later.push_when_drained(large).await });
        tokio::task::yield_now().await;
        let first = poll_fn(|cx| outbox.poll_frame(cx)).await;
        assert_eq!(first.unwrap().len(), 20);
        task.await.unwrap().unwrap();
        let second = poll_fn(|cx| outbox.poll_frame(cx)).await;
        assert_eq!(second.unwrap().len(), 90);
    }
}
