//! What a topic remembers of its latest events.

use crate::bus::Publication;
use crate::mutation;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What a topic's ring remembers: whichever bound is reached first.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// Events.
    pub events: usize,
    /// Bytes of frames.
    pub bytes: usize,
    /// Age.
    pub age: Duration,
    /// Topics remembered in all. Beyond them the longest unused without subscribers are forgotten:
    /// their epoch then is another.
    pub topics: usize,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self {
            events: 1_000,
            bytes: 1 << 20,
            age: Duration::from_secs(600),
            topics: 200_000,
        }
    }
}

#[derive(Default)]
pub(in crate::bus) struct Ring {
    events: VecDeque<(Duration, Arc<Publication>)>,
    pub(in crate::bus) bytes: usize,
}

impl Ring {
    pub(in crate::bus) fn push(
        &mut self,
        event: Arc<Publication>,
        limits: &RingLimits,
        now: Duration,
    ) {
        self.bytes += event.frame.len();
        self.events.push_back((now, event));
        self.trim(limits, now);
    }

    pub(in crate::bus) fn trim(&mut self, limits: &RingLimits, now: Duration) {
        while let Some((at, event)) = self.events.front() {
            let fits = self.events.len() <= limits.events && self.bytes <= limits.bytes;
            if fits && now.saturating_sub(*at) < limits.age {
                break;
            }
            self.bytes -= event.frame.len();
            self.events.pop_front();
        }
        if self.events.is_empty() {
            self.clear();
        }
    }

    /// The events above `seq`, or None if they aren't all there. Those that are follow each other.
    pub(in crate::bus) fn above(&self, seq: i64, latest: i64) -> Option<Vec<Arc<Publication>>> {
        let from = self
            .events
            .partition_point(|(_, event)| event.position.seq <= seq);
        let first = self.events.get(from);
        let first = first.map_or(latest + 1, |(_, event)| event.position.seq);
        let complete = first == seq + 1 || mutation::on("ring_incomplete");
        let events = || self.events.range(from..).map(|(_, event)| event.clone());
        complete.then(|| events().collect())
    }

    pub(in crate::bus) fn clear(&mut self) {
        *self = Self::default();
    }
}
