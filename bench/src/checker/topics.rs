//! The positions of topics as they came to each watcher, whatever its client made of them: I7, I8.

use super::Verdict;
use crate::history::At;
use std::collections::HashMap;

/// Where each watcher stands in each topic, by watcher and topic.
#[derive(Default)]
pub(super) struct Topics {
    held: HashMap<String, HashMap<String, At>>,
}

impl Topics {
    /// The watcher tells what it holds: no more than it got. Where a connection begins, it holds
    /// nothing else.
    pub(super) fn present(
        &mut self,
        watcher: &str,
        begins: bool,
        positions: Vec<(String, At)>,
        verdict: &mut Verdict,
    ) {
        let held = self.held.entry(watcher.to_owned()).or_default();
        let before = if begins {
            std::mem::take(held)
        } else {
            held.clone()
        };
        for (topic, at) in positions {
            let got = before.get(&topic);
            if got.is_none_or(|got| got.epoch == at.epoch && got.seq < at.seq) {
                let text = format!(
                    "watcher {watcher} claims to hold {} of topic {topic}; it got {}",
                    show(at),
                    got.map_or_else(|| "nothing".to_owned(), |got| show(*got))
                );
                verdict.report("I7", text);
            }
            held.insert(topic, at);
        }
    }

    /// An event came: it must be the next one.
    pub(super) fn event(&mut self, watcher: &str, topic: &str, at: At, verdict: &mut Verdict) {
        let topics = self.held.entry(watcher.to_owned()).or_default();
        match topics.insert(topic.to_owned(), at) {
            Some(held) if held.epoch == at.epoch && at.seq == held.seq + 1 => {}
            Some(held) if held.epoch == at.epoch && at.seq <= held.seq => {
                let text = format!(
                    "watcher {watcher} received {} of topic {topic} again: it was at {}",
                    show(at),
                    show(held)
                );
                verdict.report("I8", text);
                topics.insert(topic.to_owned(), held);
            }
            Some(held) => {
                let text = format!(
                    "watcher {watcher} was moved in topic {topic} from {} to {} without a gap",
                    show(held),
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
    }

    /// A snapshot or a gap came: the topic goes on from there.
    pub(super) fn begin(&mut self, watcher: String, topic: String, at: At) {
        self.held.entry(watcher).or_default().insert(topic, at);
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
