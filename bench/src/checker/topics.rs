//! The positions of topics as each watcher went through them: I7, I8.

use super::Verdict;
use crate::history::At;
use std::collections::HashMap;

/// Where each watcher stands in each topic.
#[derive(Default)]
pub(super) struct Topics {
    held: HashMap<(String, String), Held>,
    /// Messages paged since the last gap. The event of one of them may follow, since a message is
    /// stored before it is published; a client that has the message takes the event's position and
    /// tells its program nothing.
    paged: HashMap<(String, String), i64>,
}

#[derive(Clone, Copy)]
enum Held {
    /// The next event follows exactly.
    At(At),
    /// A gap was told of up to here; it may have grown while its history was paged.
    Behind(At),
}

impl Topics {
    pub(super) fn event(&mut self, watcher: &str, topic: &str, at: At, verdict: &mut Verdict) {
        let key = (watcher.to_owned(), topic.to_owned());
        match self.held.insert(key.clone(), Held::At(at)) {
            None if at.seq == 1 => {}
            None => {
                let text = format!(
                    "watcher {watcher} received {} of topic {topic}, of which it had no snapshot",
                    show(at)
                );
                verdict.report("I7", text);
            }
            Some(Held::At(held)) if held.epoch == at.epoch && at.seq == held.seq + 1 => {}
            Some(Held::At(held)) if held.epoch == at.epoch && at.seq <= held.seq => {
                let text = format!(
                    "watcher {watcher} received {} of topic {topic} again: it was at {}",
                    show(at),
                    show(held)
                );
                verdict.report("I8", text);
                self.held.insert(key, Held::At(held));
            }
            Some(Held::At(held)) if held.epoch == at.epoch && self.has_paged(&key, held, at) => {}
            Some(Held::Behind(gap)) if gap.epoch != at.epoch || at.seq > gap.seq => {}
            Some(Held::At(held) | Held::Behind(held)) => {
                let text = format!(
                    "watcher {watcher} jumped in topic {topic} from {} to {} without a gap",
                    show(held),
                    show(at)
                );
                verdict.report("I7", text);
            }
        }
    }

    pub(super) fn snapshot(
        &mut self,
        watcher: String,
        topic: String,
        at: At,
        verdict: &mut Verdict,
    ) {
        verdict.counts.snapshots += 1;
        self.held.insert((watcher, topic), Held::At(at));
    }

    pub(super) fn gap(&mut self, watcher: String, topic: String, at: At, verdict: &mut Verdict) {
        verdict.counts.gaps += 1;
        self.paged.insert((watcher.clone(), topic.clone()), 0);
        self.held.insert((watcher, topic), Held::Behind(at));
    }

    /// A message of the topic came by a page.
    pub(super) fn paged(&mut self, watcher: &str, topic: &str) {
        *self
            .paged
            .entry((watcher.to_owned(), topic.to_owned()))
            .or_insert(0) += 1;
    }

    /// Whether the events passed over can be those of paged messages. Each explains one.
    fn has_paged(&mut self, key: &(String, String), held: At, at: At) -> bool {
        let Some(paged) = self.paged.get_mut(key) else {
            return false;
        };
        let missed = at.seq - held.seq - 1;
        let explains = *paged >= missed;
        if explains {
            *paged -= missed;
        }
        explains
    }

    pub(super) fn removed(&mut self, watcher: String, topic: String) {
        self.held.remove(&(watcher, topic));
    }
}

fn show(at: At) -> String {
    format!("{}/{}", at.epoch, at.seq)
}
