//! Which channels have so many messages that their buckets are to be narrower.
//!
//! A partition should stay below some 100 MB. Who writes to a channel looks, now and then, how many
//! messages it had lately, all nodes' together, and has a width decided that begins a day later.

use super::Cql;
use super::widths::{HOUR_MS, WIDEST, Widths, hour_of};
use crate::model::{Id, id_time_ms};
use crate::store::Error;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use tokio::sync::Semaphore;

/// Messages that a bucket is to have at most, if its channel goes on as it does.
const MOST: f64 = 500_000.0;
/// Buckets get wider again if they then had so many times less.
const CALM: f64 = 5.0;

/// A channel is looked at after so many messages of this node, and at the earliest so long after
/// the last time.
const EACH: u32 = 5_000;
const APART_MS: i64 = HOUR_MS;
/// One with narrow buckets is looked at however few it has.
const NARROW_APART_MS: i64 = 24 * HOUR_MS;

/// So many of the newest messages are looked at, if they are of the last day.
const LOOKED_AT: usize = 20_000;
const ROWS: i32 = 1_000;
const BUCKETS: i32 = 48;

/// Channels that are counted, and looked at at once.
const CHANNELS: usize = 10_000;
const AT_ONCE: usize = 2;

struct Count {
    /// Messages since it was looked at.
    messages: AtomicU32,
    /// The time of the newest one then.
    looked_ms: AtomicI64,
}

/// What this node wrote lately to which channels.
pub(super) struct Heat {
    counts: Cache<Id, Arc<Count>>,
    places: Arc<Semaphore>,
}

impl Default for Heat {
    fn default() -> Self {
        Self {
            counts: Cache::new(CHANNELS),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Heat {
    /// Counts messages, and says whether their channel should be looked at now.
    fn add(&self, channel: Id, messages: u32, now_ms: i64, narrow: bool) -> bool {
        let count = self.counts.get(&channel).unwrap_or_else(|| {
            let count = Arc::new(Count {
                messages: AtomicU32::new(0),
                looked_ms: AtomicI64::new(0),
            });
            self.counts.insert(channel, count.clone());
            count
        });
        // One task writes to a channel: nobody else counts meanwhile.
        let messages = count.messages.fetch_add(messages, Ordering::Relaxed) + messages;
        let apart = now_ms - count.looked_ms.load(Ordering::Relaxed);
        let many = messages >= EACH && apart >= APART_MS;
        let due = many || (narrow && apart >= NARROW_APART_MS);
        if due {
            count.messages.store(0, Ordering::Relaxed);
            count.looked_ms.store(now_ms, Ordering::Relaxed);
        }
        due
    }
}

/// The width for a channel that has so many messages an hour.
fn wanted(per_hour: f64, now: i32) -> i32 {
    let fits = |hours: i32| {
        let room = if hours > now { CALM } else { 1.0 };
        per_hour * f64::from(hours) * room <= MOST
    };
    [WIDEST, 24]
        .into_iter()
        .find(|hours| fits(*hours))
        .unwrap_or(1)
}

impl Cql {
    /// Messages were written to a channel. It may be looked at, which nobody waits for.
    pub(super) fn wrote(&self, channel: Id, messages: u32, newest: Id, widths: &Widths) {
        let (heat, narrow) = (&self.inner.heat, widths.last() < WIDEST);
        if messages == 0 || !heat.add(channel, messages, id_time_ms(newest), narrow) {
            return;
        }
        // If others are looked at, this one is when it is due again.
        let Ok(place) = heat.places.clone().try_acquire_owned() else {
            return;
        };
        let (cql, widths) = (self.clone(), widths.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = cql.consider(channel, newest, &widths).await {
                tracing::debug!(channel, %error, "can't see how hot a channel is");
            }
        });
    }

    /// Has a width decided, if the channel needs another one. Answers which.
    pub(super) async fn consider(
        &self,
        channel: Id,
        newest: Id,
        widths: &Widths,
    ) -> Result<Option<i32>, Error> {
        if widths.pending(newest) {
            return Ok(None);
        }
        let hours = wanted(self.per_hour(channel, newest).await?, widths.last());
        if hours == widths.last() {
            return Ok(None);
        }
        let Some(begins) = self.plans()?.decide(channel, hours).await? else {
            return Ok(None);
        };
        self.inner.widths.forget(channel);
        metrics::counter!("chirm_bucket_widths_total", "hours" => hours.to_string()).increment(1);
        let in_hours = begins - hour_of(newest);
        tracing::info!(
            channel,
            hours,
            in_hours,
            "a channel's buckets get another width"
        );
        Ok(Some(hours))
    }

    /// How many messages a channel has an hour: in the last day, or, of very many, lately.
    async fn per_hour(&self, channel: Id, newest: Id) -> Result<f64, Error> {
        let lowest = newest.saturating_sub((24 * HOUR_MS) << 22).max(0);
        let (mut count, mut oldest) = (0, lowest);
        let buckets = self
            .buckets(channel, false, hour_of(newest), BUCKETS)
            .await?;
        'all: for bucket in buckets {
            let mut from = newest;
            loop {
                let (rows, _) = self.authors((channel, bucket), false, from, ROWS).await?;
                let here = rows.iter().take_while(|row| row.id >= lowest).count();
                count += here;
                if count >= LOOKED_AT {
                    oldest = rows[here - 1].id;
                    break 'all;
                }
                match rows.last() {
                    Some(last) if here == ROWS as usize => from = last.id - 1,
                    _ => break,
                }
            }
            if bucket <= hour_of(lowest) {
                break;
            }
        }
        // A minute at least: a burst of a moment says nothing of hours.
        let ms = ((newest - oldest) >> 22).max(60_000);
        Ok(count as f64 * HOUR_MS as f64 / ms as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_follows_from_what_a_channel_has() {
        for (per_hour, now, width) in [
            (2_000.0, WIDEST, WIDEST),
            (2_100.0, WIDEST, 24),
            (20_000.0, WIDEST, 24),
            (21_000.0, WIDEST, 1),
            // Wider again only when it is much calmer.
            (2_000.0, 24, 24),
            (400.0, 24, WIDEST),
            (20_000.0, 1, 1),
            (4_000.0, 1, 24),
            (400.0, 1, WIDEST),
            (0.0, 1, WIDEST),
        ] {
            assert_eq!(wanted(per_hour, now), width, "{per_hour} an hour, {now}");
        }
    }

    #[test]
    fn a_channel_is_looked_at_now_and_then() {
        let heat = Heat::default();
        let start = 1_000_000 * HOUR_MS;
        assert!(!heat.add(1, EACH - 1, start, false));
        assert!(heat.add(1, 1, start, false));
        assert!(!heat.add(1, EACH, start + APART_MS - 1, false));
        assert!(heat.add(1, 1, start + APART_MS, false));
        assert!(
            heat.add(2, 1, start, true),
            "a narrow one, for the first time"
        );
        assert!(!heat.add(2, 1, start + NARROW_APART_MS - 1, true));
        assert!(heat.add(2, 1, start + NARROW_APART_MS, true));
    }

    #[test]
    fn no_more_channels_are_counted_than_fit() {
        let heat = Heat::default();
        for channel in 0..3 * CHANNELS as Id {
            heat.add(channel, 1, 1, false);
        }
        assert!((CHANNELS / 2..=CHANNELS + 1_000).contains(&heat.counts.len()));
    }
}
