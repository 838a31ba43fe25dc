//! The positions of topics as they came to each watcher, whatever its client made of them: I7, I8.

use super::Verdict;
use crate::history::At;
use std::collections::HashMap;

/// Where each watcher stands in each topic, by watcher and topic.
#[derive(Default)]
pub(super) struct Topics {
    held: HashMap<String, HashMap<String, Held>>,
}

/// A watcher's place in a topic.
#[derive(Clone, Copy)]
struct Held {
    at: At,
    /// What it may be sent once more, for it told a place before: from above the first `seq` up to
    /// the second.
    again: (i64, i64),
}

impl Held {
    fn at(at: At) -> Self {
        let again = (at.seq, at.seq);
        Self { at, again }
    }
}

impl Topics {
    /// The watcher tells what it holds: no more than it got. Where a connection begins, it holds
    /// nothing else. Else it may be on its way already while it tells a place before.
    pub(super) fn present(
        &mut self,
        watcher: &str,
        begins: bool,
        positions: Vec<(String, At)>,
        verdict: &mut Verdict,
    ) {
        let held = self.held.entry(watcher.to_owned()).or_default();
        let before = begins.then(|| std::mem::take(held));
        for (topic, at) in positions {
            let got = before.as_ref().unwrap_or(held).get(&topic);
            let got = got.map(|got| got.at);
            if got.is_none_or(|got| got.epoch == at.epoch && got.seq < at.seq) {
                let text = format!(
                    "watcher {watcher} claims to hold {} of topic {topic}; it got {}",
                    show(at),
                    got.map_or_else(|| "nothing".to_owned(), show)
                );
                verdict.report("I7", text);
            }
            let place = held.entry(topic).or_insert(Held::at(at));
            place.again = (at.seq, place.at.seq);
        }
    }

    /// An event came: it must be the next one.
    pub(super) fn event(&mut self, watcher: &str, topic: &str, at: At, verdict: &mut Verdict) {
        let topics = self.held.entry(watcher.to_owned()).or_default();
        let before = topics.get(topic).copied();
        let mut now = Held::at(at);
        match before {
            Some(held) if held.at.epoch == at.epoch && at.seq <= held.at.seq => {
                let (after, to) = held.again;
                if at.seq <= after || at.seq > to {
                    let text = format!(
                        "watcher {watcher} received {} of topic {topic} again: it was at {}",
                        show(at),
                        show(held.at)
                    );
                    verdict.report("I8", text);
                }
                now = Held {
                    again: (after.max(at.seq), to),
                    ..held
                };
            }
            Some(held) if held.at.epoch == at.epoch && at.seq == held.at.seq + 1 => {
                now.again = held.again;
            }
            Some(held) => {
                let text = format!(
                    "watcher {watcher} was moved in topic {topic} from {} to {} without a gap",
                    show(held.at),
                    show(at)
                );
                verdict.report("I7", text);
            }
            None => {
                let text = format!(
                    "watcher {watcher} received {} of topic {topic}, of which it had no snapshot",
                    show(at)
                );
                verdict.report("I7", text);
            }
        }
        topics.insert(topic.to_owned(), now);
    }

    /// A snapshot or a gap came: the topic goes on from there.
    pub(super) fn begin(&mut self, watcher: String, topic: String, at: At) {
        self.held
            .entry(watcher)
            .or_default()
            .insert(topic, Held::at(at));
    }

    /// The watcher may not see the topic any more.
    pub(super) fn removed(&mut self, watcher: &str, topic: &str) {
        if let Some(topics) = self.held.get_mut(watcher) {
            topics.remove(topic);
        }
    }
}

fn show(at: At) -> String {
    format!("{}/{}", at.epoch, at.seq)
}
