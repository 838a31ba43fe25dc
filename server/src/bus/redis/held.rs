//! Events that came ahead of one before them: it may only have taken another way, and is awaited.

use crate::bus::Publication;
use crate::model::Position;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So long an event that is ahead waits for those before it.
pub(super) const HOLD: Duration = Duration::from_millis(200);
/// So many events of a topic wait at most.
const EVENTS_MAX: usize = 256;
/// And so many bytes of them.
const BYTES_MAX: usize = 1 << 20;

/// Those of one topic, all of one epoch.
#[derive(Default)]
pub(super) struct Held {
    /// With when each came, by the node's clock.
    events: BTreeMap<i64, (Duration, Arc<Publication>)>,
    pub(super) bytes: usize,
    /// Somebody will look when the wait of the oldest is over.
    pub(super) is_watched: bool,
}

impl Held {
    /// Keeps an event. False: with it there are too many.
    pub(super) fn keep(&mut self, event: Arc<Publication>, now: Duration) -> bool {
        let bytes = event.frame.len();
        if let std::collections::btree_map::Entry::Vacant(entry) =
            self.events.entry(event.position.seq)
        {
            entry.insert((now, event));
            self.bytes += bytes;
        }
        self.events.len() <= EVENTS_MAX && self.bytes <= BYTES_MAX
    }

    /// The event after a position, if it is here.
    pub(super) fn after(&mut self, at: Position) -> Option<Arc<Publication>> {
        let (_, event) = self.events.remove(&at.next().seq)?;
        self.bytes -= event.frame.len();
        Some(event)
    }

    /// Those whose wait is over and those before them, in their order.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Arc<Publication>> {
        let over = |(_, (came, _)): &(&i64, &(Duration, _))| now.saturating_sub(*came) >= HOLD;
        let Some((last, _)) = self.events.iter().rfind(over) else {
            return Vec::new();
        };
        let rest = self.events.split_off(&(last + 1));
        let due = std::mem::replace(&mut self.events, rest);
        let due: Vec<_> = due.into_values().map(|(_, event)| event).collect();
        self.bytes -= due.iter().map(|event| event.frame.len()).sum::<usize>();
        due
    }

    /// When the wait of the oldest is over.
    pub(super) fn until(&self) -> Option<Duration> {
        let oldest = self.events.values().map(|(came, _)| *came).min();
        oldest.map(|came| came + HOLD)
    }

    /// All of them, in their order.
    pub(super) fn take(&mut self) -> Vec<Arc<Publication>> {
        self.bytes = 0;
        let events = std::mem::take(&mut self.events);
        events.into_values().map(|(_, event)| event).collect()
    }
}
