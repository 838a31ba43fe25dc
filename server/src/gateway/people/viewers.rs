//! What viewers of member lists are sent.

use super::RangeKey;
use super::crowd::{Crowd, Members};
use super::followers::Next;
use super::frames::{self, Rows};
use super::list::Place;
use super::range::{Change, Op};
use super::task::Task;
use crate::gateway::outbox::Refused;
use crate::model::Id;
use crate::store;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::timeout;

/// Members that are asked for at once.
const ROWS_MAX: usize = 1_000;
/// Reading a page of members takes no longer, or is tried again a tick later.
const READ_WITHIN: Duration = Duration::from_secs(2);

impl Task {
    /// Sends viewers what changed in their ranges of these servers.
    pub(super) async fn flush(&mut self, servers: impl IntoIterator<Item = Id>) {
        for server in servers {
            let changed = self.crowds.get_mut(&server).map(Crowd::follow);
            let changed = changed.unwrap_or_default();
            if changed.is_empty() {
                continue;
            }
            let ids = self.concerned(server, &changed);
            let rows = self.rows(server, &ids).await;
            for (range, change) in changed {
                self.send_change(range, change, rows.as_ref().ok());
            }
        }
    }

    /// The members that frames about these changes show.
    pub(super) fn concerned(&self, server: Id, changed: &[(RangeKey, Change)]) -> Vec<Id> {
        let mut ids = HashSet::new();
        for (key, change) in changed {
            match change {
                Change::Whole => {
                    let range = self.crowds[&server].ranges.get(key);
                    ids.extend(range.into_iter().flat_map(|range| range.members()));
                }
                Change::Ops(ops) => ids.extend(ops.iter().filter_map(|op| match op {
                    Op::Insert(_, Place::Member(id)) | Op::Update(_, Place::Member(id)) => {
                        Some(*id)
                    }
                    _ => None,
                })),
            }
        }
        ids.into_iter().collect()
    }

    /// Sends a range's change to its viewers. Who can't take it, or without rows all of them, are
    /// sent the whole range later.
    pub(super) fn send_change(&mut self, key: RangeKey, change: Change, rows: Option<&Rows>) {
        let Some(crowd) = self.crowds.get_mut(&key.server) else {
            return;
        };
        let Members::All(list) = &crowd.members else {
            return;
        };
        let counts = list.counts();
        let Some(range) = crowd.ranges.get_mut(&key) else {
            return;
        };
        let frame = rows.map(|rows| {
            let ops = match change {
                Change::Whole => vec![frames::sync(key, &range.window, &counts, rows)],
                Change::Ops(ops) => {
                    let op = |op| frames::op(key.server, op, &counts, rows);
                    ops.into_iter().map(op).collect()
                }
            };
            frames::list_changed(key, range.seq, &counts, ops)
        });
        for (serial, holds) in range.viewers.iter_mut().filter(|(_, holds)| **holds) {
            let Some(follower) = self.followers.get(*serial) else {
                continue;
            };
            let outbox = &follower.session.outbox;
            let sent = frame.as_ref().map(|frame| outbox.push(frame.clone()));
            if !matches!(sent, Some(Ok(()) | Err(Refused::Ended))) {
                *holds = false;
                follower.waits_for_range(key);
            }
        }
        metrics::counter!("chirm_member_list_frames_total").increment(range.viewers.len() as u64);
    }

    pub(super) async fn send_whole(&mut self, serial: u64, key: RangeKey) {
        let crowd = self.crowds.get(&key.server);
        let Some(range) = crowd.and_then(|crowd| crowd.ranges.get(&key)) else {
            return;
        };
        if !matches!(crowd.map(|crowd| &crowd.members), Some(Members::All(_))) {
            // It is being read, and sent then.
            return;
        }
        let members: Vec<Id> = range.members().collect();
        let Ok(rows) = self.rows(key.server, &members).await else {
            self.retry.push((serial, Next::Range(key)));
            return;
        };
        let Some(crowd) = self.crowds.get_mut(&key.server) else {
            return;
        };
        let counts = crowd.list().map(|list| list.counts()).unwrap_or_default();
        let Some(range) = crowd.ranges.get_mut(&key) else {
            return;
        };
        let sync = frames::sync(key, &range.window, &counts, &rows);
        let frame = frames::list_changed(key, range.seq, &counts, vec![sync]);
        let Some(follower) = self.followers.get(serial) else {
            return;
        };
        match follower.session.outbox.push(frame) {
            Err(Refused::Full) => follower.waits_for_range(key),
            Ok(()) | Err(Refused::Ended) => {
                range.viewers.insert(serial, true);
            }
        }
    }

    /// What items of a list show of these members.
    pub(super) async fn rows(&self, server: Id, ids: &[Id]) -> Result<Rows, store::Error> {
        let mut rows = Rows::default();
        let unavailable = |error: String| store::Error::Unavailable(error);
        for ids in ids.chunks(ROWS_MAX) {
            let members = timeout(READ_WITHIN, self.store.members_among(server, ids)).await;
            let members = members.map_err(|_| unavailable("members take too long".into()))??;
            let presences = self.presences.get(ids).await;
            let presences = presences.map_err(|error| unavailable(error.to_string()))?;
            let members = members.into_iter();
            rows.members.extend(members.map(|row| (row.0.user_id, row)));
            let presences = presences.into_iter();
            rows.presences.extend(presences.map(|p| (p.user_id, p)));
        }
        Ok(rows)
    }
}
