//! A live session as the hub and others see it: where its frames go, and what it must look at.

use super::close::{Close, Ending};
use super::outbox::Outbox;
use super::wire;
use crate::model::{Id, Position, Signal, TopicKey};
use chirm_proto::v1;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A topic that the hub could not go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) topic: TopicKey,
    /// Where the client is with what its outbox has.
    pub(super) held: Position,
    /// Which attachment it was.
    pub(super) generation: u64,
}

/// What a session is asked to do, until it does it. Each is bounded by the session's topics.
#[derive(Default)]
pub(super) struct Asked {
    /// End: its credential did.
    pub(super) revoked: bool,
    /// Look anew at what the user may see.
    pub(super) recheck: bool,
    /// Follow what the user now looks at; the latest counts.
    pub(super) view: Option<v1::View>,
    /// Attach to these anew.
    pub(super) behind: Vec<Behind>,
    /// Word of people waits for room in the outbox.
    pub(super) people: bool,
}

#[derive(Default)]
struct State {
    asked: Asked,
    /// Channels out of view with something new: position and last message id, 0 if not known.
    activity: HashMap<Id, (Position, Id)>,
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
    state: Mutex<State>,
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
            state: Mutex::default(),
            woken: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what an event asks of the session, however it reaches it.
    pub(super) fn signal(&self, signal: Signal) {
        match signal {
            Signal::None => {}
            Signal::Recheck => self.recheck(),
            Signal::Revoked(id) if id == self.session_id => self.revoke(),
            Signal::Revoked(_) => {}
        }
    }

    /// Asks it to look anew at what its user may see.
    pub(super) fn recheck(&self) {
        self.state().asked.recheck = true;
        self.woken.notify_one();
    }

    /// Its credential ended: nothing more goes out from here on but why.
    pub(super) fn revoke(&self) {
        self.outbox.mute();
        self.state().asked.revoked = true;
        self.woken.notify_one();
    }

    /// Asks it to follow what the user now looks at.
    pub(super) fn view(&self, view: v1::View) {
        self.state().asked.view = Some(view);
        self.woken.notify_one();
    }

    /// Word of people waits until there is room in its outbox.
    pub(super) fn people(&self) {
        self.state().asked.people = true;
        self.woken.notify_one();
    }

    pub(super) fn behind(&self, topic: TopicKey, held: Position, generation: u64) {
        let behind = Behind {
            topic,
            held,
            generation,
        };
        self.state().asked.behind.push(behind);
        self.woken.notify_one();
    }

    /// Notes that a channel out of view is at this position now. `created` is the message that
    /// brought it there, 0 if it was another event; None if what happened isn't known.
    pub(super) fn activity(&self, channel: Id, position: Position, created: Option<Id>) {
        let mut state = self.state();
        let first = state.activity.is_empty();
        let entry = state.activity.entry(channel).or_insert((position, 0));
        *entry = (position, created.map_or(0, |id| id.max(entry.1)));
        drop(state);
        if first {
            self.woken.notify_one();
        }
    }

    /// What couldn't be told waits, unless there is news since.
    pub(super) fn put_activity_back(&self, channel: Id, position: Position) {
        self.state()
            .activity
            .entry(channel)
            .or_insert((position, 0));
    }

    pub(super) fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.state().asked)
    }

    pub(super) fn take_activity(&self) -> HashMap<Id, (Position, Id)> {
        std::mem::take(&mut self.state().activity)
    }

    pub(super) fn has_activity(&self) -> bool {
        !self.state().activity.is_empty()
    }

    /// Ends the stream with a `Closing` frame. What waits is dropped if the client is too slow for
    /// it or has lost the right to it.
    pub(super) fn close(&self, ending: &Ending) {
        let drop_waiting = matches!(
            ending.close,
            Close::SlowConsumer | Close::SessionRevoked | Close::AccountDeleted
        );
        let last = Some(wire::closing(ending));
        self.outbox.finish(last, ending.end(), drop_waiting);
    }

    pub(super) fn wants(&self, intent: u8) -> bool {
        self.intents.load(Ordering::Relaxed) & intent != 0
    }
}
