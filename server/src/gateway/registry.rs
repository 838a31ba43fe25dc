//! All live sessions of this node.

use super::Figures;
use super::close::Close;
use super::handle::SessionHandle;
use super::wire;
use crate::model::Id;
use crate::mutation;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Between `Reconnect` and the end of a stream.
const GOODBYE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct State {
    by_user: HashMap<Id, Vec<Arc<SessionHandle>>>,
    count: usize,
}

/// Why a session was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Draining,
    TooMany,
}

#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
    left: Notify,
    /// Cancelled when a drain begins, under the lock of `state`.
    draining: CancellationToken,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a user has a session here.
    pub(super) fn has(&self, user: Id) -> bool {
        let state = self.lock();
        let sessions = state.by_user.get(&user);
        sessions.is_some_and(|sessions| !sessions.is_empty())
    }

    /// Lets a session in; an older one of the same user and device is replaced. `max` is how many a
    /// user may have.
    pub(super) fn enter(&self, session: Arc<SessionHandle>, max: usize) -> Result<(), Refused> {
        let mut state = self.lock();
        if self.draining.is_cancelled() {
            return Err(Refused::Draining);
        }
        let sessions = state.by_user.entry(session.user_id).or_default();
        let older = if session.device.is_empty() {
            None
        } else {
            sessions.iter().position(|s| s.device == session.device)
        };
        match older {
            Some(index) => {
                let older = std::mem::replace(&mut sessions[index], session);
                older.close(&Close::SessionReplaced.into());
            }
            None if sessions.len() >= max => return Err(Refused::TooMany),
            None => {
                sessions.push(session);
                state.count += 1;
            }
        }
        metrics::gauge!("chirm_sessions").set(state.count as f64);
        Ok(())
    }

    pub(super) fn leave(&self, session: &SessionHandle) {
        let mut state = self.lock();
        if let Some(sessions) = state.by_user.get_mut(&session.user_id) {
            let before = sessions.len();
            sessions.retain(|s| s.serial != session.serial);
            let gone = before - sessions.len();
            if sessions.is_empty() {
                state.by_user.remove(&session.user_id);
            }
            state.count -= gone;
        }
        metrics::gauge!("chirm_sessions").set(state.count as f64);
        drop(state);
        self.left.notify_waiters();
    }

    pub(super) fn figures(&self) -> Figures {
        let state = self.lock();
        Figures {
            sessions: state.count,
            draining: self.draining.is_cancelled(),
        }
    }

    pub(super) fn drain(&self, over: Duration) -> usize {
        let state = self.lock();
        self.draining.cancel();
        let mut sessions: Vec<_> = state.by_user.values().flatten().cloned().collect();
        if mutation::on("drain_silent") {
            sessions.clear();
        }
        drop(state);
        let count = sessions.len();
        let step = over / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        tokio::spawn(async move {
            for session in sessions {
                let wait = rand::random_range(Duration::ZERO..=GOODBYE);
                // A full outbox learns of it by the Closing frame.
                let _ = session.outbox.push(wire::reconnect(wait));
                tokio::spawn(async move {
                    tokio::time::sleep(GOODBYE).await;
                    session.close(&Close::Draining.into());
                });
                tokio::time::sleep(step).await;
            }
        });
        count
    }

    pub(super) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().count == 0 {
                return;
            }
            left.await;
        }
    }
}
