//! A histogram of durations in constant memory.

use std::time::Duration;

/// Values that share a bucket differ by less than 1/32.
const STEPS_LOG2: u32 = 5;
const STEPS: usize = 1 << STEPS_LOG2;
/// Buckets for every `u64` of microseconds.
const BUCKETS: usize = STEPS * (64 - STEPS_LOG2 as usize + 1);

/// Counts durations in buckets that are 3 % wide. The longest is kept exactly.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Empty until the first duration: most of 10,000 idle connections never have one.
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        self.record_us(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts one duration in microseconds.
    pub fn record_us(&mut self, us: u64) {
        if self.counts.is_empty() {
            self.counts.resize(BUCKETS, 0);
        }
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(BUCKETS, 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether none was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The duration, in milliseconds, that the share `q` (0 to 1) of all doesn't exceed; the upper
    /// edge of its bucket. `None` if nothing was counted.
    #[must_use]
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let rank = ((self.total as f64 * q).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper_us(index).min(self.max_us) as f64 / 1000.0);
            }
        }
        self.max_ms()
    }

    /// The longest duration in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> Option<f64> {
        (self.total > 0).then_some(self.max_us as f64 / 1000.0)
    }
}

fn bucket(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let octave = 63 - us.leading_zeros();
    let step = (us >> (octave - STEPS_LOG2)) as usize - STEPS;
    (octave - STEPS_LOG2 + 1) as usize * STEPS + step
}

fn upper_us(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = (bucket / STEPS - 1) as u32;
    let lower = (STEPS + bucket % STEPS) as u128;
    let upper = ((lower + 1) << shift) - 1;
    u64::try_from(upper).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_under_its_buckets_edge_and_near_it() {
        for us in (0..200_000).chain([u64::MAX / 3, u64::MAX]) {
            let upper = upper_us(bucket(us));
            assert!(upper >= us, "{us} > {upper}");
            assert!(
                (upper - us) as f64 <= us as f64 / 32.0 + 1.0,
                "{us} and {upper}"
            );
        }
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ms(0.5), None);
        for us in 1..=20 {
            histogram.record_us(us);
        }
        assert_eq!(histogram.quantile_ms(0.5), Some(0.010));
        assert_eq!(histogram.quantile_ms(1.0), Some(0.020));
        assert_eq!(histogram.max_ms(), Some(0.020));
        let mut other = Histogram::default();
        other.record(Duration::from_secs(3));
        histogram.merge(&other);
        assert_eq!(histogram.len(), 21);
        assert_eq!(histogram.max_ms(), Some(3000.0));
    }
}
