//! The final read of history, page by page from the newest to the oldest: I6, I15.

use super::Verdict;
use crate::history::Seen;
use std::collections::HashMap;

/// Where the read of each channel is.
#[derive(Default)]
pub(super) struct Pages {
    by_channel: HashMap<i64, Page>,
}

/// The page being read.
struct Page {
    number: u64,
    first: i64,
    last: i64,
    /// The first id of the page before, which is newer: all of this one lies below.
    below: i64,
}

impl Pages {
    pub(super) fn stored(&mut self, message: &Seen, number: u64, verdict: &mut Verdict) {
        let (channel, id) = (message.channel, message.id);
        if id <= message.reply_to {
            let text = format!(
                "history has message {id}, which answers {}, not below it",
                message.reply_to
            );
            verdict.report("I6", text);
        }
        let fresh = |below| Page {
            number,
            first: id,
            last: 0,
            below,
        };
        let page = self
            .by_channel
            .entry(channel)
            .or_insert_with(|| fresh(i64::MAX));
        if page.number != number {
            *page = fresh(page.first);
        }
        let rises = id > page.last;
        page.last = id;
        if !rises || id >= page.below {
            let text = format!(
                "page {number} of channel {channel} has message {id} out of order, or again"
            );
            verdict.report("I15", text);
        }
    }
}
