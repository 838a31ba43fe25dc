//! A live session as the hub and others see it: where its frames go, and what it must look at.

use super::close::Close;
use super::outbox::{End, Outbox};
use super::wire;
use crate::model::{Id, Position, TopicKey};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a session is asked to do, until it does it. Each is bounded by the session's topics.
#[derive(Default)]
pub(super) struct Asked {
    /// Look anew at what the user may see.
    pub(super) recheck: bool,
    /// Topics that the hub could not go on with, and the position the client was brought to.
    pub(super) behind: Vec<(TopicKey, Position)>,
    /// Channels out of view with something new: position and last message id.
    pub(super) activity: HashMap<Id, (Position, Id)>,
}

/// A live session.
pub(super) struct SessionHandle {
    /// Unique in this process.
    pub serial: u64,
    /// Whose.
    pub user_id: Id,
    /// The credential's id.
    pub session_id: Id,
    /// The device's name, perhaps empty.
    pub device: String,
    /// Its frames.
    pub outbox: Arc<Outbox>,
    /// Bit set of the intents accepted.
    pub intents: AtomicU8,
    /// Whether the first part, before `Ready`, or another bulk of frames is being sent.
    pub(super) syncing: AtomicBool,
    asked: Mutex<Asked>,
    pub(super) woken: Notify,
}

impl SessionHandle {
    pub(super) fn new(
        serial: u64,
        user_id: Id,
        session_id: Id,
        device: String,
        outbox: Arc<Outbox>,
    ) -> Self {
        Self {
            serial,
            user_id,
            session_id,
            device,
            outbox,
            intents: AtomicU8::new(0),
            syncing: AtomicBool::new(true),
            asked: Mutex::default(),
            woken: Notify::new(),
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks it to look anew at what its user may see.
    pub(super) fn recheck(&self) {
        self.asked().recheck = true;
        self.woken.notify_one();
    }

    pub(super) fn behind(&self, topic: TopicKey, held: Position) {
        self.asked().behind.push((topic, held));
        self.woken.notify_one();
    }

    pub(super) fn activity(&self, channel: Id, position: Position, message: Id) {
        let mut asked = self.asked();
        let first = asked.activity.is_empty();
        let entry = asked.activity.entry(channel).or_insert((position, message));
        *entry = (position, message.max(entry.1));
        drop(asked);
        if first {
            self.woken.notify_one();
        }
    }

    pub(super) fn take_recheck(&self) -> bool {
        std::mem::take(&mut self.asked().recheck)
    }

    pub(super) fn take_behind(&self) -> Vec<(TopicKey, Position)> {
        std::mem::take(&mut self.asked().behind)
    }

    pub(super) fn take_activity(&self) -> HashMap<Id, (Position, Id)> {
        std::mem::take(&mut self.asked().activity)
    }

    pub(super) fn has_activity(&self) -> bool {
        !self.asked().activity.is_empty()
    }

    /// Ends the stream with a `Closing` frame. What waits is dropped if it is the slowness that
    /// ends it.
    pub(super) fn close(&self, close: Close) {
        let end = End {
            code: close.grpc_code(),
            message: close.message().to_owned(),
        };
        let drop_waiting = close == Close::SlowConsumer;
        self.outbox
            .finish(Some(wire::closing(close, None)), end, drop_waiting);
        self.woken.notify_one();
    }

    pub(super) fn wants(&self, intent: u8) -> bool {
        self.intents.load(Ordering::Relaxed) & intent != 0
    }
}
