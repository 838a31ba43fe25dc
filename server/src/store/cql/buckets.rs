//! Buckets: the stretches of ids that make a channel's partitions. Each is noted before its first
//! message, so that no walk reads one that is empty, and an author's erasure finds it.

use super::session::typed;
use super::widths::Widths;
use super::{Cql, stamp};
use crate::hits::Hits;
use crate::model::Id;
use crate::store::Error;
use quick_cache::sync::Cache;
use std::sync::atomic::{AtomicU64, Ordering};

/// Channels, and authors' buckets, that are known to be noted.
const CHANNELS: usize = 100_000;
const AUTHORS: usize = 200_000;

/// What is known of a channel to which a message was written lately.
#[derive(Clone, Copy)]
struct Known {
    /// 0 for a direct one.
    server: Id,
    /// The last bucket that was noted.
    bucket: i32,
}

/// What was noted and needs no second time.
pub(super) struct Noted {
    channels: Cache<Id, Known>,
    /// Raised whenever channels are forgotten.
    forgotten: AtomicU64,
    authors: Cache<(Id, Id, i32), ()>,
    channel_hits: Hits,
    author_hits: Hits,
}

impl Default for Noted {
    fn default() -> Noted {
        Noted {
            channels: Cache::new(CHANNELS),
            forgotten: AtomicU64::new(0),
            authors: Cache::new(AUTHORS),
            channel_hits: Hits::of("channel_buckets"),
            author_hits: Hits::of("author_buckets"),
        }
    }
}

impl Noted {
    pub(super) fn forget(&self, channel: Id) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.channels.remove(&channel);
    }

    /// What is known of a channel in which a bucket is wanted.
    fn channel(&self, channel: Id, bucket: i32) -> Option<Known> {
        let known = self.channels.get(&channel);
        self.channel_hits
            .note(known.is_some_and(|known| known.bucket == bucket));
        known
    }

    /// As of when [`Noted::keep`] may trust what is asked from now on.
    fn before(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    /// Keeps what is known of a channel, unless one was forgotten since `before`: it may be this
    /// one, and the deletion may have come before the insertion.
    fn keep(&self, channel: Id, known: Known, before: u64) {
        self.channels.insert(channel, known);
        if self.before() != before {
            self.channels.remove(&channel);
        }
    }

    /// Whether it is noted that an author writes to a bucket of a channel.
    fn author(&self, key: (Id, Id, i32)) -> bool {
        let known = self.authors.get(&key).is_some();
        self.author_hits.note(known);
        known
    }
}

impl Cql {
    /// Notes a channel's bucket before a message is written to it. `NotFound("channel")` if there
    /// is no such channel.
    pub(super) async fn note_bucket(
        &self,
        channel: Id,
        id: Id,
        widths: &Widths,
    ) -> Result<(), Error> {
        let (noted, bucket) = (&self.inner.noted, widths.bucket_of(id));
        let known = noted.channel(channel, bucket);
        if known.is_some_and(|known| known.bucket == bucket) {
            return Ok(());
        }
        let before = noted.before();
        let server = match known {
            Some(known) => known.server,
            None => {
                let server = self.ties()?.server_of(channel).await?;
                server.ok_or(Error::NotFound("channel"))?
            }
        };
        let hours = widths.hours_at(id);
        let values = (self.keys().key(channel), bucket, hours, stamp(id));
        let link = self.link();
        link.write(&link.statements.add_bucket, values).await?;
        noted.keep(channel, Known { server, bucket }, before);
        Ok(())
    }

    /// Notes where an author writes, before it does.
    pub(super) async fn note_author(
        &self,
        author: Id,
        (channel, bucket): (Id, i32),
        id: Id,
    ) -> Result<(), Error> {
        let (noted, keys) = (&self.inner.noted, self.keys());
        if noted.author((author, channel, bucket)) {
            return Ok(());
        }
        let values = (keys.key(author), keys.key(channel), bucket, stamp(id));
        let link = self.link();
        link.write(&link.statements.add_author, values).await?;
        noted.authors.insert((author, channel, bucket), ());
        Ok(())
    }

    /// Buckets of a channel from one on, itself included, in a direction; at most so many.
    pub(super) async fn buckets(
        &self,
        channel: Id,
        newer: bool,
        from: i32,
        limit: i32,
    ) -> Result<Vec<i32>, Error> {
        let link = self.link();
        let statement = if newer {
            &link.statements.buckets_newer
        } else {
            &link.statements.buckets_older
        };
        let rows = link
            .read(statement, (self.keys().key(channel), from, limit))
            .await?;
        Ok(typed::<(i32,)>(&rows)?
            .into_iter()
            .map(|row| row.0)
            .collect())
    }

    /// Where an author wrote: channels and buckets from one on, itself included, ascending.
    pub(super) async fn author_buckets(
        &self,
        author: Id,
        (channel, bucket): (Id, i32),
        limit: i32,
    ) -> Result<Vec<(Id, i32)>, Error> {
        let (link, keys) = (self.link(), self.keys());
        let values = (keys.key(author), keys.key(channel), bucket, limit);
        let rows = link.read(&link.statements.of_author, values).await?;
        let rows = typed::<(Id, i32)>(&rows)?.into_iter();
        Ok(rows
            .map(|(channel, bucket)| (keys.id_of(channel), bucket))
            .collect())
    }

    /// Removes some of the buckets of a channel that is gone, with their messages: at most `limit`.
    /// False: nothing is left.
    ///
    /// # Errors
    /// `Unavailable`; what was removed stays removed.
    pub async fn purge(&self, channel: Id, limit: u32) -> Result<bool, Error> {
        // Above whatever was written, and may still come.
        let at = self.now_us().saturating_add(60_000_000);
        let limit = i32::try_from(limit.clamp(1, 100)).unwrap_or(100);
        let (link, key) = (self.link(), self.keys().key(channel));
        let buckets = self.buckets(channel, true, 0, limit).await?;
        for bucket in &buckets {
            link.write(&link.statements.purge, (at, key, bucket))
                .await?;
            link.write(&link.statements.remove_bucket, (at, key, bucket))
                .await?;
        }
        Ok(buckets.len() == limit as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known {
        server: 1,
        bucket: 0,
    };

    #[test]
    fn a_channel_that_was_deleted_is_asked_for_again() {
        let noted = Noted::default();
        noted.keep(1, KNOWN, noted.before());
        noted.keep(2, KNOWN, noted.before());
        assert!(noted.channel(1, 0).is_some() && noted.channel(2, 0).is_some());
        noted.forget(1);
        assert!(noted.channel(1, 0).is_none() && noted.channel(2, 0).is_some());
    }

    #[test]
    fn what_a_deletion_overtook_is_not_kept() {
        let noted = Noted::default();
        let before = noted.before();
        noted.forget(1);
        noted.keep(1, KNOWN, before);
        assert!(noted.channel(1, 0).is_none());
        noted.keep(1, KNOWN, noted.before());
        assert!(noted.channel(1, 0).is_some());
    }

    #[test]
    fn no_more_is_noted_than_fits() {
        let noted = Noted::default();
        let more = |most: usize| 0..most as Id + 20_000;
        for id in more(CHANNELS) {
            noted.keep(id, KNOWN, 0);
        }
        for id in more(AUTHORS) {
            noted.authors.insert((id, 1, 0), ());
        }
        // Each of a cache's parts may have one more than its share.
        let fits = |kept: usize, most: usize| (most / 2..=most + 1_000).contains(&kept);
        assert!(fits(noted.channels.len(), CHANNELS));
        assert!(fits(noted.authors.len(), AUTHORS));
    }
}
