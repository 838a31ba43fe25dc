//! Who is told of whom: presences and parts of member lists. One task keeps the lists of members
//! that somebody here is interested in, takes the bus's batches, and puts frames into the outboxes
//! of those concerned. What finds an outbox full waits, and is made anew when there is room: only
//! the latest counts.
//!
//! - `crowd`: the members of one server, as far as they are needed.
//! - `list`, `name`: members in their order; `range`: parts of it that are viewed.
//! - `followers`: sessions and what they are interested in.
//! - `load`: reading members from the store.
//! - `task`: what ties them together; `lists`, `changes`, `viewers`: its parts.

mod changes;
mod crowd;
mod followers;
mod frames;
mod list;
mod lists;
mod load;
mod name;
mod range;
mod task;
#[cfg(test)]
mod tests;
mod viewers;

use super::handle::SessionHandle;
use crate::bus::Presences;
use crate::model::Id;
use crate::store;
use std::sync::Arc;
use std::time::Duration;
use task::Task;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait; beyond them callers wait.
const COMMANDS_MAX: usize = 4_096;
/// Changes are told so often.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Servers of at most so many members tell of all of them.
pub(super) const SMALL: usize = 250;

/// A part of a server's member list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RangeKey {
    pub(super) server: Id,
    pub(super) start: usize,
    pub(super) count: usize,
}

/// What a session is interested in. Its user may see all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// Servers, of whose members it is told if they are few; ascending.
    pub(super) servers: Vec<Id>,
    /// Users of whom it is told anyway; ascending.
    pub(super) users: Vec<Id>,
    /// Parts of member lists.
    pub(super) ranges: Vec<RangeKey>,
}

impl Interest {
    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.users.is_empty() && self.ranges.is_empty()
    }
}

pub(super) enum Command {
    Follow(Arc<SessionHandle>, Interest, oneshot::Sender<()>),
    GoOn(u64, oneshot::Sender<bool>),
}

/// Cloneable access to the task.
#[derive(Clone)]
pub(super) struct People(mpsc::Sender<Command>);

impl People {
    /// Starts the task. It ends when the last `People` is dropped.
    pub(super) fn start(presences: Arc<dyn Presences>, store: store::Handle) -> Self {
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        tokio::spawn(Task::new(presences, store).run(queue));
        Self(commands)
    }

    /// Replaces what a session is interested in; nothing ends it. When this answers, nothing more
    /// of what was given up reaches the outbox.
    pub(super) async fn follow(&self, session: &Arc<SessionHandle>, interest: Interest) {
        let (answer, answered) = oneshot::channel();
        let command = Command::Follow(session.clone(), interest, answer);
        // A task that stopped tells nobody of anything.
        let _ = self.0.send(command).await;
        let _ = answered.await;
    }

    /// There is room in the session's outbox: sends some of what waits. Whether more does.
    pub(super) async fn go_on(&self, serial: u64) -> bool {
        let (answer, answered) = oneshot::channel();
        let _ = self.0.send(Command::GoOn(serial, answer)).await;
        answered.await.unwrap_or_default()
    }
}
