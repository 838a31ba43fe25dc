//! What was sent, and what became of it: I1, I3, I4, I6, I9.

use super::Verdict;
use crate::history::Seen;
use std::collections::{BTreeMap, HashMap};

/// All sends of a run, by nonce.
#[derive(Default)]
pub(super) struct Sends {
    by_nonce: HashMap<String, Sent>,
    /// The highest acknowledged id of each author in each channel.
    risen: HashMap<(i64, i64), i64>,
}

struct Sent {
    message: Seen,
    outcome: Outcome,
    /// What the author had acknowledged in this channel when the send began.
    above: i64,
    /// The id under which it appeared first, or 0.
    appeared: i64,
}

enum Outcome {
    Open,
    Acknowledged(i64),
    Refused,
}

impl Sends {
    pub(super) fn invoke(&mut self, message: Seen, verdict: &mut Verdict) {
        verdict.counts.invoked += 1;
        let above = self
            .risen
            .get(&(message.author, message.channel))
            .copied()
            .unwrap_or(0);
        let nonce = message.nonce.clone();
        let sent = Sent {
            message,
            outcome: Outcome::Open,
            above,
            appeared: 0,
        };
        if self.by_nonce.insert(nonce.clone(), sent).is_some() {
            verdict.report("history", format!("two sends have the nonce {nonce}"));
        }
    }

    pub(super) fn ok(&mut self, nonce: &str, id: i64, verdict: &mut Verdict) {
        let Some(sent) = self.by_nonce.get_mut(nonce) else {
            verdict.report(
                "history",
                format!("an answer to {nonce}, which was never sent"),
            );
            return;
        };
        verdict.counts.acked += 1;
        sent.outcome = Outcome::Acknowledged(id);
        let message = &sent.message;
        verdict.counts.replies += u64::from(message.reply_to != 0);
        if id <= message.reply_to {
            let text = format!(
                "message {id} answers {}, which is not below it",
                message.reply_to
            );
            verdict.report("I6", text);
        }
        if id <= sent.above {
            let text = format!(
                "author {} sent {id} to channel {} after {} was acknowledged, which is not below",
                message.author, message.channel, sent.above
            );
            verdict.report("I6", text);
        }
        let risen = self
            .risen
            .entry((message.author, message.channel))
            .or_insert(0);
        *risen = id.max(*risen);
    }

    pub(super) fn fail(&mut self, nonce: &str) {
        if let Some(sent) = self.by_nonce.get_mut(nonce) {
            sent.outcome = Outcome::Refused;
        }
    }

    pub(super) fn unknown(&mut self, nonce: &str, verdict: &mut Verdict) {
        verdict.counts.unknown_attempts += 1;
        if !self.by_nonce.contains_key(nonce) {
            verdict.report(
                "history",
                format!("no answer to {nonce}, which was never sent"),
            );
        }
    }

    /// A message appeared at `place`: it must be one that was sent, and no other appear for it.
    pub(super) fn appears(&mut self, place: &str, message: &Seen, verdict: &mut Verdict) {
        let id = message.id;
        let Some(sent) = self.by_nonce.get_mut(&message.nonce) else {
            let text = format!(
                "{place} has message {id} (nonce {:?}), never sent",
                message.nonce
            );
            verdict.report("I4", text);
            return;
        };
        if sent.appeared != 0 && sent.appeared != id {
            let text = format!(
                "{place} has message {id} for the nonce {}, which already appeared as {}",
                message.nonce, sent.appeared
            );
            verdict.report("I3", text);
        } else {
            sent.appeared = id;
        }
        let expected = Seen {
            id,
            ..sent.message.clone()
        };
        if *message != expected {
            let text =
                format!("{place} has message {id} as {message:?}; it was sent as {expected:?}");
            verdict.report("I4", text);
        }
    }

    /// The channel and id of each acknowledged message.
    pub(super) fn acked(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.by_nonce
            .values()
            .filter_map(|sent| match sent.outcome {
                Outcome::Acknowledged(id) => Some((sent.message.channel, id)),
                Outcome::Open | Outcome::Refused => None,
            })
    }

    /// All has been read.
    pub(super) fn finish(&self, stored: &BTreeMap<(i64, i64), Seen>, verdict: &mut Verdict) {
        for (nonce, sent) in &self.by_nonce {
            let channel = sent.message.channel;
            match sent.outcome {
                Outcome::Open => verdict.counts.unknown += 1,
                Outcome::Refused if sent.appeared != 0 => {
                    let text = format!(
                        "message {} (nonce {nonce}) appeared, though it was refused",
                        sent.appeared
                    );
                    verdict.report("I4", text);
                }
                Outcome::Refused => {}
                Outcome::Acknowledged(id) => {
                    match stored.get(&(channel, id)) {
                        Some(message) if message.nonce == *nonce => {}
                        Some(message) => {
                            let text = format!(
                                "the nonce {nonce} was acknowledged as {id}, which is the message \
                                 of the nonce {}",
                                message.nonce
                            );
                            verdict.report("I9", text);
                        }
                        None => {
                            let text = format!(
                                "message {id} of channel {channel} was acknowledged; history \
                                 lacks it"
                            );
                            verdict.report("I1", text);
                        }
                    }
                    if sent.appeared != 0 && sent.appeared != id {
                        let text = format!(
                            "the nonce {nonce} was acknowledged as {id} and appeared as {}",
                            sent.appeared
                        );
                        verdict.report("I3", text);
                    }
                }
            }
        }
    }
}
