//! How wide a channel's buckets are: ten days, and less from when on it was decided so, because it
//! has many messages (`hot`).
//!
//! Which bucket has an id must never be in doubt, or its message isn't found. So what is decided
//! begins a day later at least, by the clock of whoever keeps it, and is never changed; and what
//! was read there counts for ids of the next 23 hours, whatever the clocks here say (ADR 20).

use super::Cql;
use crate::model::{Id, UnixMs, id_before};
use crate::store::Error;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// The widest buckets, in hours, and the first ones of every channel.
pub(super) const WIDEST: i32 = 10 * 24;

pub(super) const HOUR_MS: i64 = 3_600_000;

/// Channels whose widths are remembered.
const CHANNELS: usize = 100_000;

/// What was read counts for ids until so long after: an hour less than what is decided is ahead.
const COUNTS_MS: i64 = 23 * HOUR_MS;
/// It is read again after so long, and if that fails, after so long again.
const AGAIN_MS: i64 = 6 * HOUR_MS;
const FAILED_MS: i64 = 300_000;
/// Who reads what lies ahead has it read again at most so often: no message is there.
const AHEAD: Duration = Duration::from_secs(10);

/// The hour of an id, from 2025-01-01T00:00Z on.
pub(super) fn hour_of(id: Id) -> i32 {
    // 41 bits of milliseconds are 610,000 hours.
    i32::try_from((id.max(0) >> 22) / HOUR_MS).unwrap_or(i32::MAX)
}

/// Widths of a channel's buckets: from which hour on, and how many hours; ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Widths(Arc<[(i32, i32)]>);

impl Widths {
    /// Of what was decided, in the order of time.
    #[must_use]
    pub fn new(decided: Vec<(i32, i32)>) -> Self {
        Self(decided.into())
    }

    fn at(&self, hour: i32) -> (i32, i32) {
        let begun = self.0.iter().rev().find(|(begins, _)| *begins <= hour);
        let (begins, hours) = *begun.unwrap_or(&(0, WIDEST));
        (begins, hours.max(1))
    }

    /// The bucket of an id: the hour in which it begins.
    pub(super) fn bucket_of(&self, id: Id) -> i32 {
        let hour = hour_of(id);
        let (begins, hours) = self.at(hour);
        hour - (hour - begins) % hours
    }

    /// How wide the bucket of an id is, in hours: less, if others begin before its end.
    pub(super) fn hours_at(&self, id: Id) -> i32 {
        self.at(hour_of(id)).1
    }

    /// The width that was decided last.
    pub(crate) fn last(&self) -> i32 {
        self.0.last().map_or(WIDEST, |(_, hours)| *hours)
    }

    /// Whether something that was decided is still to begin.
    pub(super) fn pending(&self, now: Id) -> bool {
        let begins = self.0.last().map_or(0, |(begins, _)| *begins);
        begins > hour_of(now)
    }
}

/// Keeps the widths of channels.
#[async_trait]
pub trait Plans: Send + Sync + 'static {
    /// What was decided of a channel, and when that was read, by the keeper's clock.
    async fn widths(&self, channel: Id) -> Result<(Widths, UnixMs), Error>;
    /// Decides a width, in hours: from the first midnight on that is a day ahead. None: it isn't
    /// decided, for something else still is to begin, narrower buckets began in the last ten days,
    /// or there is no such channel. Else the hour in which it begins.
    async fn decide(&self, channel: Id, hours: i32) -> Result<Option<i32>, Error>;
}

/// What was read of a channel.
#[derive(Clone)]
struct Told {
    widths: Widths,
    /// It counts for ids below.
    until: Id,
    /// From this id on it is better to read it again.
    again: Id,
    /// By `Clock::elapsed`.
    asked: Duration,
}

/// The widths that are remembered.
pub(super) struct Known {
    channels: quick_cache::sync::Cache<Id, Told>,
    hits: crate::hits::Hits,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            channels: quick_cache::sync::Cache::new(CHANNELS),
            hits: crate::hits::Hits::of("channel_widths"),
        }
    }
}

impl Known {
    pub(super) fn forget(&self, channel: Id) {
        self.channels.remove(&channel);
    }

    /// What is remembered and needn't be read again for an id.
    fn good(&self, channel: Id, id: Id) -> Option<Told> {
        let told = self.channels.get(&channel).filter(|told| id < told.again);
        self.hits.note(told.is_some());
        told
    }

    /// What is remembered and isn't so good any more, which for a while nobody else reads again.
    fn worn(&self, channel: Id, id: Id) -> Option<Told> {
        let told = self.channels.get(&channel)?;
        // An id that lies ahead says nothing of the time.
        let from = if id < told.until {
            told.again.max(id)
        } else {
            told.again
        };
        let again = from.saturating_add(FAILED_MS << 22);
        let claimed = Told {
            again: again.min(told.until),
            ..told.clone()
        };
        self.channels.insert(channel, claimed);
        Some(told)
    }
}

impl Cql {
    /// The widths of a channel's buckets, to write a message with this id or to change it.
    ///
    /// # Errors
    /// `Unavailable`; also if the id is a day ahead of the keeper's clock, or of this node's.
    pub(super) async fn widths(&self, channel: Id, id: Id) -> Result<Widths, Error> {
        let told = self.told(channel, id).await?;
        if id < told.until {
            return Ok(told.widths);
        }
        Err(Error::Unavailable(
            "the id of a message is a day ahead of the clock of Postgres or of this node; set them \
             right"
                .into(),
        ))
    }

    /// The same to read: an id that is ahead is nobody's.
    pub(super) async fn widths_to_read(&self, channel: Id, id: Id) -> Result<Widths, Error> {
        if let Some(told) = self.inner.widths.channels.get(&channel)
            && id >= told.until
            && self.inner.clock.elapsed().saturating_sub(told.asked) < AHEAD
        {
            return Ok(told.widths);
        }
        Ok(self.told(channel, id).await?.widths)
    }

    /// The bucket of a message that is to be changed.
    ///
    /// # Errors
    /// As of [`Cql::widths`].
    pub(super) async fn bucket(&self, channel: Id, id: Id) -> Result<i32, Error> {
        Ok(self.widths(channel, id).await?.bucket_of(id))
    }

    async fn told(&self, channel: Id, id: Id) -> Result<Told, Error> {
        let known = &self.inner.widths;
        if let Some(told) = known.good(channel, id) {
            return Ok(told);
        }
        let worn = known.worn(channel, id);
        match self.plans()?.widths(channel).await {
            Ok((widths, read_ms)) => {
                // Of two clocks the one that is behind: one that is ahead may be set back.
                let read_ms = read_ms.min(self.inner.clock.wall_ms());
                let told = Told {
                    widths,
                    until: id_before(read_ms.saturating_add(COUNTS_MS)),
                    again: id_before(read_ms.saturating_add(AGAIN_MS)),
                    asked: self.inner.clock.elapsed(),
                };
                known.channels.insert(channel, told.clone());
                Ok(told)
            }
            Err(error) => worn.filter(|told| id < told.until).ok_or(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id_at(hour: i32) -> Id {
        (i64::from(hour) * HOUR_MS) << 22
    }

    #[test]
    fn a_bucket_begins_every_ten_days() {
        let widths = Widths::default();
        assert_eq!(widths.bucket_of(1), 0);
        assert_eq!(widths.bucket_of(id_at(240) - 1), 0);
        assert_eq!(widths.bucket_of(id_at(240)), 240);
        assert_eq!(widths.bucket_of(id_at(720) + 5), 720);
        assert!(widths.bucket_of(Id::MAX) > 600_000);
        assert_eq!((widths.hours_at(7), widths.last()), (240, 240));
    }

    #[test]
    fn a_width_counts_from_when_it_begins() {
        let widths = Widths::new(vec![(264, 24), (312, 1), (336, 240)]);
        let buckets = [263, 264, 300, 312, 313, 335, 336, 575, 576].map(|hour| {
            let id = id_at(hour);
            (widths.bucket_of(id), widths.hours_at(id))
        });
        let wanted = [
            (240, 240),
            (264, 24),
            (288, 24),
            (312, 1),
            (313, 1),
            (335, 1),
            (336, 240),
            (336, 240),
            (576, 240),
        ];
        assert_eq!(buckets, wanted);
        assert!(widths.pending(id_at(335)) && !widths.pending(id_at(336)));
    }

    #[test]
    fn no_more_channels_are_remembered_than_fit() {
        let known = Known::default();
        for channel in 0..CHANNELS as Id + 20_000 {
            let told = Told {
                widths: Widths::default(),
                until: 1,
                again: 1,
                asked: Duration::ZERO,
            };
            known.channels.insert(channel, told);
        }
        // Each of a cache's parts may have one more than its share.
        let kept = known.channels.len();
        assert!((CHANNELS / 2..=CHANNELS + 1_000).contains(&kept), "{kept}");
    }

    fn width() -> impl Strategy<Value = i32> {
        prop_oneof![Just(1), Just(24), Just(WIDEST)]
    }

    proptest! {
        /// Buckets are stretches of ids: each begins at or before its ids, none reaches into the
        /// next one, and what is decided later moves nothing that is earlier.
        #[test]
        fn buckets_are_stretches_in_order(
            steps in proptest::collection::vec((1..20i32, width()), 0..6),
            hours in (0..5_000i32, 0..5_000i32),
        ) {
            let mut begins = 0;
            let decided: Vec<(i32, i32)> = steps.iter().map(|(days, hours)| {
                begins += days * 24;
                (begins, *hours)
            }).collect();
            let widths = Widths::new(decided.clone());
            let (low, high) = (hours.0.min(hours.1), hours.0.max(hours.1));
            let (of_low, of_high) = (widths.bucket_of(id_at(low)), widths.bucket_of(id_at(high)));
            prop_assert!(of_low <= low && low - of_low < widths.hours_at(id_at(low)));
            prop_assert!(of_low == of_high || (of_low < of_high && low < of_high));
            if let Some(((begins, _), before)) = decided.split_last() {
                let before = Widths::new(before.to_vec());
                if low < *begins {
                    prop_assert_eq!(before.bucket_of(id_at(low)), of_low);
                }
            }
        }
    }
}
