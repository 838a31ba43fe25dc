//! A walk along a channel's messages, bucket by bucket, in one direction.

use super::Cql;
use super::rows::Row;
use super::session::typed;
use super::widths::hour_of;
use crate::model::{Id, Message};
use crate::store::Error;
use std::collections::VecDeque;

/// Buckets listed at once.
const BUCKETS: usize = 16;

/// Rows of a request.
const FEWEST: usize = 16;
const MOST: usize = 500;

/// Messages, the nearest first, up to where the walk ended.
pub(super) struct Stretch {
    pub(super) rows: Vec<Message>,
    /// More messages lie beyond.
    pub(super) more: bool,
}

struct Walk<'a> {
    cql: &'a Cql,
    channel: Id,
    newer: bool,
    /// The nearest id that wasn't looked at.
    from: Id,
    /// Those still to be read, the nearest first.
    buckets: VecDeque<i32>,
    /// Where the next list of buckets begins; None: there are no more.
    listed: Option<i32>,
    /// The bucket before the one that is read now.
    left: Option<i32>,
}

impl Walk<'_> {
    /// The next rows, about `want` of them, and whether the walk goes on. Rows may be none though
    /// it does.
    async fn next(&mut self, want: usize) -> Result<(Vec<Message>, bool), Error> {
        let Some(bucket) = self.bucket().await? else {
            return Ok((Vec::new(), false));
        };
        let mut rows = self.read(bucket, want).await?;
        if rows.len() < want {
            self.buckets.pop_front();
        }
        if self.newer
            && !rows.is_empty()
            && let Some(left) = self.left.take()
        {
            // What was written to the bucket before, after it was read, is older than these.
            let late = self.read(left, want).await?;
            if !late.is_empty() {
                if rows.len() < want {
                    self.buckets.push_front(bucket);
                }
                self.buckets.push_front(left);
                rows = late;
            }
        }
        if rows.len() < want {
            self.left = Some(bucket);
        }
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            self.from = match self.newer {
                true => row.id().saturating_add(1),
                false => row.id().saturating_sub(1),
            };
            messages.extend(row.message(self.channel, self.cql.keys())?);
        }
        Ok((messages, true))
    }

    async fn bucket(&mut self) -> Result<Option<i32>, Error> {
        if let (true, Some(from)) = (self.buckets.is_empty(), self.listed) {
            let listed = self
                .cql
                .buckets(self.channel, self.newer, from, BUCKETS as i32);
            self.buckets = listed.await?.into();
            let full = self.buckets.len() == BUCKETS;
            let step = if self.newer { 1 } else { -1 };
            self.listed = self.buckets.back().filter(|_| full).map(|last| last + step);
        }
        Ok(self.buckets.front().copied())
    }

    async fn read(&self, bucket: i32, want: usize) -> Result<Vec<Row>, Error> {
        let link = self.cql.link();
        let statement = if self.newer {
            &link.statements.newer
        } else {
            &link.statements.older
        };
        let limit = i32::try_from(want).unwrap_or(i32::MAX);
        let values = (self.cql.keys().key(self.channel), bucket, self.from, limit);
        typed(&link.read(statement, values).await?)
    }
}

impl Cql {
    /// The rows from `from` on in a direction: as many as a page of `limit` messages could need
    /// that names `deleted` ids at most. `more`: the walk didn't come to the end.
    pub(super) async fn walk(
        &self,
        (channel, newer, from): (Id, bool, Id),
        limit: usize,
        deleted: usize,
    ) -> Result<Stretch, Error> {
        // Who pages from a message names one that is, or was, there: its bucket needn't be asked
        // for. The oldest (from 1 on) and the newest may lie anywhere.
        let named = 1 < from && from < Id::MAX;
        let own = match named {
            true => self.widths_to_read(channel, from).await?.bucket_of(from),
            false => hour_of(from),
        };
        let step = if newer { 1 } else { -1 };
        let mut walk = Walk {
            cql: self,
            channel,
            newer,
            from,
            buckets: named.then_some(own).into_iter().collect(),
            listed: Some(if named { own + step } else { own }),
            left: None,
        };
        let (mut rows, mut messages) = (Vec::new(), 0);
        let mut want = (limit + 1).max(FEWEST);
        while messages <= limit && rows.len() - messages <= deleted {
            let (found, goes_on) = walk.next(want).await?;
            if !goes_on {
                return Ok(Stretch { rows, more: false });
            }
            messages += found.iter().filter(|message| !message.deleted).count();
            rows.extend(found);
            want = (want * 2).min(MOST);
        }
        Ok(Stretch { rows, more: true })
    }
}
