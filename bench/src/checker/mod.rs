//! Reads a run's history and says which of the guarantees it breaks. One checker for all runs.
//!
//! | | what is checked |
//! | --- | --- |
//! | I1 | each acknowledged message is in history once, as it was sent |
//! | I2 | each acknowledged message reached every watcher |
//! | I3 | a send appears at most once by author and nonce, whatever became of its attempts |
//! | I4 | nothing was delivered or stored that wasn't sent, or that was refused |
//! | I5 | each watcher's messages are those of history |
//! | I6 | answers lie above what they answer; an author's sends, one after another, rise |
//! | I7 | a topic's `seq` rose by one, or a gap or snapshot stood between: as frames came |
//! | I8 | nothing came to a watcher's connection, or to its program, twice |
//! | I9 | an id is one message's |
//! | I12 | at rest each watcher is shown the people that the log says are here, and no others |
//! | I13 | every send that was planned was acknowledged in the end |
//! | I15 | pages of a channel rise, and none overlaps another |

mod pages;
pub(crate) mod people;
mod sends;
mod topics;

#[cfg(test)]
mod tests;

use crate::history::{Line, Record, Seen};
use anyhow::Result;
use pages::Pages;
use people::People;
use sends::Sends;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use topics::Topics;

/// How many violations are said in full; all are counted.
const VIOLATIONS_MAX: usize = 50;

/// What a history breaks.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The first violations.
    pub violations: Vec<Violation>,
    /// How many there are.
    pub violation_count: u64,
    /// What was counted on the way.
    pub counts: Counts,
}

/// One broken guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which: `I1` and so on.
    pub invariant: &'static str,
    /// What exactly.
    pub text: String,
}

/// What a history has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sends begun.
    pub invoked: u64,
    /// Sends acknowledged.
    pub acked: u64,
    /// Sends that were never answered.
    pub unknown: u64,
    /// Attempts without an answer.
    pub unknown_attempts: u64,
    /// Sends acknowledged that answer another message.
    pub replies: u64,
    /// Messages in history.
    pub stored: u64,
    /// Messages that watchers received.
    pub received: u64,
    /// Messages that a watcher received by the stream below one it had: each a live insertion in
    /// the middle of what people see.
    pub inserted: u64,
    /// Gaps of all watchers.
    pub gaps: u64,
    /// Snapshots of all watchers.
    pub snapshots: u64,
    /// Messages of all watchers that came again from a ring.
    pub replayed: u64,
    /// Moments at which the people were looked at.
    pub checkpoints: u64,
    /// Pictures of a server's people that were compared, over all watchers and checkpoints.
    pub pictures: u64,
    /// People in them that were here.
    pub people: u64,
}

impl Verdict {
    /// Whether nothing is broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violation_count == 0
    }

    fn report(&mut self, invariant: &'static str, text: String) {
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { invariant, text });
        }
    }
}

/// What a run was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Messages to send: all must be acknowledged, repeated as often as it takes.
    pub messages: u64,
    /// Of them, answers to another one.
    pub replies: u64,
}

/// Checks a whole history, whose watchers these are: each must have everything.
pub fn check(
    lines: impl IntoIterator<Item = Result<Line>>,
    watchers: &[&str],
    planned: Option<Planned>,
) -> Result<Verdict> {
    let mut checker = Checker {
        planned,
        ..Checker::default()
    };
    for watcher in watchers {
        checker
            .watchers
            .insert((*watcher).to_owned(), Watcher::default());
    }
    for line in lines {
        checker.take(line?.record);
    }
    Ok(checker.finish())
}

#[derive(Default)]
struct Checker {
    verdict: Verdict,
    planned: Option<Planned>,
    sends: Sends,
    topics: Topics,
    pages: Pages,
    people: People,
    watchers: BTreeMap<String, Watcher>,
    stored: BTreeMap<(i64, i64), Seen>,
}

/// What a watcher has.
#[derive(Default)]
struct Watcher {
    /// By channel and id, as history is.
    has: BTreeMap<(i64, i64), Seen>,
    newest: HashMap<i64, i64>,
    newest_paged: HashMap<i64, i64>,
}

impl Checker {
    fn take(&mut self, record: Record) {
        let verdict = &mut self.verdict;
        match record {
            Record::Invoke { message } => self.sends.invoke(message, verdict),
            Record::Ok { nonce, id } => self.sends.ok(&nonce, id, verdict),
            Record::Fail { nonce, .. } => self.sends.fail(&nonce),
            Record::Unknown { nonce } => self.sends.unknown(&nonce, verdict),
            Record::Stored { message, page } => self.store(message, page),
            Record::Present {
                connection,
                begins,
                positions,
            } => self.topics.present(&connection, begins, positions, verdict),
            Record::Event {
                connection,
                topic,
                position,
            } => self.topics.event(&connection, &topic, position, verdict),
            Record::Snapshot {
                connection,
                topic,
                position,
            } => {
                verdict.counts.snapshots += 1;
                self.topics.begin(connection, topic, position);
            }
            Record::Gap {
                connection,
                topic,
                position,
            } => {
                verdict.counts.gaps += 1;
                self.topics.begin(connection, topic, position);
            }
            Record::Removed { connection, topic } => self.topics.removed(&connection, &topic),
            Record::Recv {
                connection,
                message,
                source,
            } => self.receive(connection, message, source),
            Record::Roll(roll) => self.people.roll(roll, verdict),
            Record::Shown(shown) => self.people.shown(shown, verdict),
            Record::Connect { .. } | Record::Close { .. } | Record::Fault { .. } => {}
        }
    }

    fn receive(&mut self, connection: String, message: Seen, source: crate::history::Source) {
        use crate::history::Source;
        let verdict = &mut self.verdict;
        verdict.counts.received += 1;
        verdict.counts.replayed += u64::from(source == Source::Replay);
        self.sends
            .appears(&format!("watcher {connection}"), &message, verdict);
        let (channel, id) = (message.channel, message.id);
        let watcher = self.watchers.entry(connection.clone()).or_default();
        let newest = if source == Source::Page {
            &mut watcher.newest_paged
        } else {
            &mut watcher.newest
        };
        let before = newest.insert(channel, id).unwrap_or(0);
        if before > id {
            newest.insert(channel, before);
            verdict.counts.inserted += 1;
        }
        if watcher.has.insert((channel, id), message).is_some() {
            let text =
                format!("watcher {connection} received message {id} of channel {channel} twice");
            verdict.report("I8", text);
        }
    }

    fn store(&mut self, message: Seen, page: u64) {
        self.verdict.counts.stored += 1;
        self.sends.appears("history", &message, &mut self.verdict);
        self.pages.stored(&message, page, &mut self.verdict);
        self.stored.insert((message.channel, message.id), message);
    }

    fn finish(mut self) -> Verdict {
        self.sends.finish(&self.stored, &mut self.verdict);
        let names = self.watchers.keys().map(String::as_str);
        self.people.finish(names, &mut self.verdict);
        if let Some(planned) = self.planned {
            let counts = &self.verdict.counts;
            let acked = Planned {
                messages: counts.acked,
                replies: counts.replies,
            };
            if acked != planned {
                let text = format!("{planned:?} were to be sent; acknowledged were {acked:?}");
                self.verdict.report("I13", text);
            }
        }
        let acked: BTreeSet<(i64, i64)> = self.sends.acked().collect();
        for (name, watcher) in &self.watchers {
            for (channel, id) in &acked {
                if !watcher.has.contains_key(&(*channel, *id)) {
                    let text = format!(
                        "watcher {name} never received message {id} of channel {channel}, which \
                         was acknowledged"
                    );
                    self.verdict.report("I2", text);
                }
            }
            compare(name, watcher, &self.stored, &acked, &mut self.verdict);
        }
        self.verdict
    }
}

/// A watcher's messages against those of history; acknowledged ones that it lacks are I2's.
fn compare(
    name: &str,
    watcher: &Watcher,
    stored: &BTreeMap<(i64, i64), Seen>,
    acked: &BTreeSet<(i64, i64)>,
    verdict: &mut Verdict,
) {
    for (key, message) in stored {
        match watcher.has.get(key) {
            None if acked.contains(key) => {}
            None => verdict.report(
                "I5",
                format!(
                    "watcher {name} lacks message {} of channel {}",
                    key.1, key.0
                ),
            ),
            Some(has) if has != message => verdict.report(
                "I5",
                format!(
                    "watcher {name} has message {} of channel {} otherwise than history: \
                     {has:?} against {message:?}",
                    key.1, key.0
                ),
            ),
            Some(_) => {}
        }
    }
    for (channel, id) in watcher.has.keys() {
        if !stored.contains_key(&(*channel, *id)) {
            let text =
                format!("watcher {name} has message {id} of channel {channel}; history has not");
            verdict.report("I5", text);
        }
    }
}
