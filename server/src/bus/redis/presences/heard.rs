//! What a node hears of a part: messages in the order of their numbers, each once, whether they
//! come back as the answer to a call or on the channel. What is missing for long was lost.

use super::wire::Message;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is missing is waited for so long: it may be under way.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// Messages that wait for one before them.
const AHEAD_MAX: usize = 64;

/// How far a part was heard.
#[derive(Default)]
pub(super) struct Heard {
    /// None: nothing was asked yet.
    epoch: String,
    /// The one before: what is late of it counts no more.
    before: String,
    last: i64,
    /// The highest number that is known to be.
    newest: i64,
    ahead: BTreeMap<i64, Message>,
    behind_since: Option<Duration>,
}

impl Heard {
    /// A call was answered: the part is so far. `with`: the last message comes with it. Whether
    /// the part's memory is another, or something was told before the first answer.
    pub(super) fn is_at(&mut self, epoch: &str, seq: i64, with: bool, now: Duration) -> bool {
        if epoch == self.before {
            return false;
        }
        let first = self.epoch.is_empty();
        let other = self.epoch != epoch;
        if other {
            self.begin(epoch, seq - i64::from(with));
        }
        self.newest = self.newest.max(seq);
        if !with {
            self.look(now);
        }
        other && (!first || self.last > 0)
    }

    fn begin(&mut self, epoch: &str, last: i64) {
        self.before = std::mem::replace(&mut self.epoch, epoch.to_owned());
        (self.last, self.newest, self.behind_since) = (last, last, None);
        self.ahead
            .retain(|seq, message| message.e == epoch && *seq > last);
    }

    fn look(&mut self, now: Duration) {
        if self.last >= self.newest {
            self.behind_since = None;
        } else {
            self.behind_since.get_or_insert(now);
        }
    }

    /// A message came. Those that are next, in order; and whether the part's memory is another.
    pub(super) fn take(&mut self, message: Message, now: Duration) -> (Vec<Message>, bool) {
        if message.e == self.before {
            return (Vec::new(), false);
        }
        let is_new = !self.epoch.is_empty() && message.e != self.epoch;
        if is_new {
            self.begin(&message.e.clone(), message.s - 1);
        }
        if message.e == self.epoch {
            self.newest = self.newest.max(message.s);
            if message.s <= self.last {
                return (Vec::new(), is_new);
            }
        }
        self.ahead.insert(message.s, message);
        if self.ahead.len() > AHEAD_MAX {
            // The newest go: what is between is lost in any case.
            self.ahead.pop_last();
        }
        let next = self.next();
        self.look(now);
        (next, is_new)
    }

    /// Those that are next.
    pub(super) fn next(&mut self) -> Vec<Message> {
        let mut next = Vec::new();
        while !self.epoch.is_empty()
            && let Some(message) = self.ahead.remove(&(self.last + 1))
        {
            self.last += 1;
            next.push(message);
        }
        next
    }

    /// Whether something was lost. It is gone on from there, with what came after.
    pub(super) fn is_lost(&mut self, now: Duration) -> (Vec<Message>, bool) {
        let since = self.behind_since;
        if since.is_none_or(|since| now.saturating_sub(since) < UNDER_WAY) {
            return (Vec::new(), false);
        }
        self.behind_since = None;
        let after = std::mem::take(&mut self.ahead);
        self.last = self.newest;
        (after.into_values().collect(), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;

    fn message(epoch: &str, seq: i64) -> Message {
        Message {
            e: epoch.into(),
            s: seq,
            ..Message::default()
        }
    }

    fn take(heard: &mut Heard, epoch: &str, seq: i64) -> Vec<i64> {
        let (next, _) = heard.take(message(epoch, seq), ZERO);
        next.iter().map(|message| message.s).collect()
    }

    #[test]
    fn each_is_heard_once_and_in_order() {
        let mut heard = Heard::default();
        assert!(take(&mut heard, "a", 4).is_empty(), "nothing is known yet");
        assert!(
            heard.is_at("a", 3, false, ZERO),
            "others told something before"
        );
        let next: Vec<i64> = heard.next().iter().map(|m| m.s).collect();
        assert_eq!(next, [4]);
        assert!(take(&mut heard, "a", 4).is_empty(), "twice");
        assert!(take(&mut heard, "a", 6).is_empty(), "too early");
        assert_eq!(take(&mut heard, "a", 5), [5, 6]);
        assert!(!heard.is_lost(UNDER_WAY).1);
    }

    #[test]
    fn what_stays_away_is_lost() {
        let mut heard = Heard::default();
        assert!(!heard.is_at("a", 0, false, ZERO), "nothing was told before");
        assert!(take(&mut heard, "a", 2).is_empty());
        assert!(!heard.is_lost(UNDER_WAY / 2).1, "it may be under way");
        let (after, lost) = heard.is_lost(UNDER_WAY);
        assert!(lost && after.len() == 1 && after[0].s == 2);
        assert!(!heard.is_lost(UNDER_WAY * 2).1, "once");
        assert_eq!(take(&mut heard, "a", 3), [3]);
    }

    #[test]
    fn a_last_message_that_was_lost_shows() {
        let mut heard = Heard::default();
        heard.is_at("a", 0, false, ZERO);
        heard.is_at("a", 1, false, ZERO);
        assert!(heard.is_lost(UNDER_WAY).1);
        heard.is_at("a", 2, false, ZERO);
        assert_eq!(take(&mut heard, "a", 2), [2]);
        assert!(!heard.is_lost(UNDER_WAY).1, "it came");
    }

    #[test]
    fn another_memory_shows_once() {
        let mut heard = Heard::default();
        heard.is_at("a", 5, false, ZERO);
        let (next, other) = heard.take(message("b", 1), ZERO);
        assert!(other && next.len() == 1);
        let (next, other) = heard.take(message("a", 6), ZERO);
        assert!(!other && next.is_empty(), "late");
        assert!(!heard.is_at("a", 6, false, ZERO), "late");
        assert!(!heard.is_at("b", 1, false, ZERO));
        assert!(heard.is_at("c", 1, true, ZERO));
        assert_eq!(take(&mut heard, "c", 1), [1]);
    }

    #[test]
    fn few_wait() {
        let mut heard = Heard::default();
        heard.is_at("a", 0, false, ZERO);
        for seq in 2..1_000 {
            take(&mut heard, "a", seq);
        }
        assert_eq!(heard.ahead.len(), AHEAD_MAX);
        let (_, lost) = heard.is_lost(UNDER_WAY);
        assert!(lost);
        assert_eq!(take(&mut heard, "a", 1_000), [1_000]);
    }
}
