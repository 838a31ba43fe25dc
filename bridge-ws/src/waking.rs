//! Who is woken for a WebSocket: its task for what the client sent, and whoever has a frame for it
//! to write the frame at once.

use crate::Frames;
use crate::socket::Joined;
use futures::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};

/// A WebSocket joined to its session, until one of them ends.
pub(crate) type Shared<F> = Mutex<Option<Joined<F>>>;

pub(crate) fn lock<F>(shared: &Shared<F>) -> MutexGuard<'_, Option<Joined<F>>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the socket's task when the socket may be ready again, and remembers it: frames come far
/// more often, and need no look at what the client sent.
pub(crate) struct Readiness {
    pub(crate) task: AtomicWaker,
    may_read: AtomicBool,
}

impl Readiness {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            task: AtomicWaker::new(),
            may_read: AtomicBool::new(true),
        })
    }

    /// Whether there may be something to read since this was last asked.
    pub(crate) fn take(&self) -> bool {
        self.may_read.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Readiness {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.may_read.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Is woken for frames. A fan-out wakes all sockets of a channel: each task that needn't run for it
/// saves a quarter of a delivery's cost or more, and the frames that come while one is handed out
/// are written with the next.
struct Handing<F> {
    /// Weak, for the frames hold the waker.
    joined: Weak<Shared<F>>,
    readiness: Arc<Readiness>,
}

/// The waker for frames.
pub(crate) fn frame_waker<F: Frames>(joined: Weak<Shared<F>>, readiness: Arc<Readiness>) -> Waker {
    Waker::from(Arc::new(Handing { joined, readiness }))
}

impl<F: Frames> Wake for Handing<F> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Whoever is at the socket now may have looked for frames already.
        let is_written = self.joined.upgrade().is_some_and(|shared| {
            let joined = shared.try_lock();
            joined.is_ok_and(|mut joined| joined.as_mut().is_some_and(Joined::hand_out))
        });
        if !is_written {
            self.readiness.task.wake();
        }
    }
}
