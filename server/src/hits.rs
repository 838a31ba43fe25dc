//! Counts what caches are asked, and whether they had it.

use metrics::Counter;

/// The counters of one cache. They are looked up once: a read costs an addition.
pub struct Hits {
    hits: Counter,
    misses: Counter,
}

impl Hits {
    /// Of the cache with this name. Whatever takes metrics has to be there before.
    #[must_use]
    pub fn of(cache: &'static str) -> Self {
        let of = |found: &'static str| {
            let labels = [("cache", cache), ("found", found)];
            metrics::counter!("chirm_cache_reads_total", &labels)
        };
        Self {
            hits: of("hit"),
            misses: of("miss"),
        }
    }

    /// Counts a read, and whether the cache had it.
    pub fn note(&self, found: bool) {
        let counter = if found { &self.hits } else { &self.misses };
        counter.increment(1);
    }
}
