//! The table at a replay's end.

use super::plan::Plan;
use crate::checker::Verdict;
use crate::report::table;
use chirm_client::Stats;
use std::time::Duration;

/// What happened in a replay, besides what its history tells.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) events: u64,
    pub(super) skipped_empty: u64,
    pub(super) replies: u64,
    pub(super) unanswerable: u64,
    pub(super) acked: u64,
    pub(super) refused: u64,
    pub(super) cuts: u64,
    pub(super) kills: u64,
    pub(super) took: Duration,
    pub(super) stats: Vec<Stats>,
}

impl Summary {
    pub(super) fn add_plan(&mut self, plan: &Plan) {
        self.events = plan.events;
        self.skipped_empty = plan.skipped_empty;
        self.replies = plan.replies;
        self.unanswerable = plan.unanswerable;
    }

    pub(super) fn table(&self, verdict: &Verdict, verified: bool) -> String {
        let mut rows = table();
        let seconds = self.took.as_secs_f64();
        let sum = |of: fn(&Stats) -> u64| self.stats.iter().map(of).sum::<u64>();
        rows.set_header(["replay", ""]);
        let mut row = |what: &str, figure: String| {
            rows.add_row([what.to_owned(), figure]);
        };
        row("events", self.events.to_string());
        row("seconds", format!("{seconds:.1}"));
        row(
            "events a second",
            format!("{:.0}", self.events as f64 / seconds.max(0.001)),
        );
        row("acknowledged", self.acked.to_string());
        row("replies", self.replies.to_string());
        row("answers to no message", self.unanswerable.to_string());
        row(
            "skipped, for they are empty",
            self.skipped_empty.to_string(),
        );
        row("refused", self.refused.to_string());
        row("kills", self.kills.to_string());
        row("cuts", self.cuts.to_string());
        row("connections of watchers", sum(|s| s.connects).to_string());
        row("replays", sum(|s| s.replayed).to_string());
        row("snapshots", sum(|s| s.snapshots).to_string());
        row("gaps", sum(|s| s.gaps).to_string());
        row("jumps noticed", sum(|s| s.jumps).to_string());
        row("pages read", sum(|s| s.pages).to_string());
        row("duplicates dropped", sum(|s| s.duplicates).to_string());
        if verified {
            row("unknown", verdict.counts.unknown.to_string());
            row(
                "attempts without an answer",
                verdict.counts.unknown_attempts.to_string(),
            );
            row(
                "received by all watchers",
                verdict.counts.received.to_string(),
            );
            row(
                "inserted in the middle",
                verdict.counts.inserted.to_string(),
            );
            row("in history", verdict.counts.stored.to_string());
            row("differences", verdict.violation_count.to_string());
        }
        let mut text = rows.to_string();
        for violation in &verdict.violations {
            text.push_str(&format!("\n{}: {}", violation.invariant, violation.text));
        }
        let more = verdict.violation_count - verdict.violations.len() as u64;
        if more > 0 {
            text.push_str(&format!("\nand {more} more"));
        }
        text
    }
}
