//! Who wrote what: walks along a channel that read authors alone.

use super::Cql;
use super::session::typed;
use super::widths::hour_of;
use crate::model::Id;
use crate::store::Error;

/// Messages of all that a step looks at.
const LOOKED_AT: usize = 10_000;

/// Rows and buckets a request.
const ROWS: i32 = 1_000;
const BUCKETS: i32 = 100;

/// What a step found of an author.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrote {
    /// Messages that aren't deleted: channel and id, ascending.
    pub found: Vec<(Id, Id)>,
    /// Where the next step goes on; None: nothing is left.
    pub next: Option<(Id, Id)>,
}

/// A message: its id, whose it is, whether it is deleted.
pub(super) struct Brief {
    pub(super) id: Id,
    author: Id,
    deleted: bool,
}

impl Cql {
    /// The id of an author's newest message of a channel (deleted included) above `after`, among
    /// the newest 10,000.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn newest_of_author(
        &self,
        channel: Id,
        author: Id,
        after: Id,
    ) -> Result<Option<Id>, Error> {
        let (mut from, mut left) = (Some(hour_of(Id::MAX)), LOOKED_AT);
        let lowest = after.saturating_add(1);
        while let Some(start) = from {
            let buckets = self.buckets(channel, false, start, BUCKETS).await?;
            for bucket in &buckets {
                let found = self.newest_in((channel, *bucket), author, lowest, &mut left);
                if let Some(id) = found.await? {
                    return Ok(Some(id));
                }
                // Those below end before it.
                if *bucket <= hour_of(lowest) || left == 0 {
                    return Ok(None);
                }
            }
            let full = buckets.len() == BUCKETS as usize;
            from = buckets.last().filter(|_| full).map(|last| last - 1);
        }
        Ok(None)
    }

    async fn newest_in(
        &self,
        place: (Id, i32),
        author: Id,
        lowest: Id,
        left: &mut usize,
    ) -> Result<Option<Id>, Error> {
        let mut from = Id::MAX;
        while *left > 0 {
            let limit = (ROWS as usize).min(*left);
            let (rows, read) = self.authors(place, false, from, limit as i32).await?;
            *left -= read.min(*left);
            for row in &rows {
                if row.id < lowest {
                    return Ok(None);
                }
                if row.author == author {
                    return Ok(Some(row.id));
                }
            }
            match rows.last() {
                Some(row) if read == limit => from = row.id - 1,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// One step along an author's messages of a channel with ids above `after` and up to `until`:
    /// at most `limit` of them.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn of_author_in(
        &self,
        channel: Id,
        author: Id,
        (after, until): (Id, Id),
        limit: usize,
    ) -> Result<Wrote, Error> {
        let mut step = Step::new(author, limit);
        let mut from = self.widths_to_read(channel, after).await?.bucket_of(after);
        loop {
            let buckets = self.buckets(channel, true, from, BUCKETS).await?;
            for bucket in buckets.iter().filter(|bucket| **bucket <= hour_of(until)) {
                self.look((channel, *bucket), after, until, &mut step)
                    .await?;
                if step.is_full() {
                    return Ok(step.end());
                }
            }
            match buckets.last() {
                Some(last) if buckets.len() == BUCKETS as usize && *last < hour_of(until) => {
                    from = last + 1;
                }
                _ => return Ok(step.end()),
            }
        }
    }

    /// One step along all messages of an author, behind a place (channel, id): at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`.
    pub async fn of_author(
        &self,
        author: Id,
        after: (Id, Id),
        limit: usize,
    ) -> Result<Wrote, Error> {
        let mut step = Step::new(author, limit);
        // Nobody knows the widths of a channel that is gone: its messages are being removed.
        let widths = self.widths_to_read(after.0, after.1).await?;
        let mut from = (after.0, widths.bucket_of(after.1));
        loop {
            let places = self.author_buckets(author, from, BUCKETS).await?;
            for place in &places {
                let after = if place.0 == after.0 { after.1 } else { 0 };
                self.look(*place, after, Id::MAX, &mut step).await?;
                if step.is_full() {
                    return Ok(step.end());
                }
            }
            match places.last() {
                Some(last) if places.len() == BUCKETS as usize => from = (last.0, last.1 + 1),
                _ => return Ok(step.end()),
            }
        }
    }

    /// Looks through a bucket, until the step is full.
    async fn look(
        &self,
        place: (Id, i32),
        after: Id,
        until: Id,
        step: &mut Step,
    ) -> Result<(), Error> {
        let mut from = after.saturating_add(1);
        loop {
            let (rows, read) = self.authors(place, true, from, ROWS).await?;
            let last = rows.last().map(|row| row.id);
            for row in rows {
                if row.id > until {
                    return Ok(());
                }
                step.take(place.0, &row);
                if step.is_full() {
                    return Ok(());
                }
            }
            match last {
                Some(last) if read == ROWS as usize && last < until => from = last + 1,
                _ => return Ok(()),
            }
        }
    }

    /// Messages of a bucket from one on in a direction, and how many rows were read for them.
    pub(super) async fn authors(
        &self,
        (channel, bucket): (Id, i32),
        newer: bool,
        from: Id,
        limit: i32,
    ) -> Result<(Vec<Brief>, usize), Error> {
        let (link, keys) = (self.link(), self.keys());
        let statement = if newer {
            &link.statements.authors_newer
        } else {
            &link.statements.authors_older
        };
        let rows = link
            .read(statement, (keys.key(channel), bucket, from, limit))
            .await?;
        let rows = typed::<(Id, Option<Id>, Option<bool>)>(&rows)?;
        let read = rows.len();
        // Rows without an author stay, as nobody's: a walk goes on from the last.
        let briefs = rows.into_iter().map(|(id, author, deleted)| Brief {
            id,
            author: author.map_or(0, |author| keys.id_of(author)),
            deleted: deleted.unwrap_or_default() || author.is_none(),
        });
        Ok((briefs.collect(), read))
    }
}

/// A step under way.
struct Step {
    author: Id,
    limit: usize,
    looked_at: usize,
    last: (Id, Id),
    found: Vec<(Id, Id)>,
}

impl Step {
    fn new(author: Id, limit: usize) -> Step {
        Step {
            author,
            limit,
            looked_at: 0,
            last: (0, 0),
            found: Vec::new(),
        }
    }

    fn take(&mut self, channel: Id, row: &Brief) {
        self.looked_at += 1;
        self.last = (channel, row.id);
        if row.author == self.author && !row.deleted {
            self.found.push(self.last);
        }
    }

    fn is_full(&self) -> bool {
        self.looked_at >= LOOKED_AT || self.found.len() >= self.limit
    }

    fn end(self) -> Wrote {
        Wrote {
            next: self.is_full().then_some(self.last),
            found: self.found,
        }
    }
}
