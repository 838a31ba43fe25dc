//! The figures at a replay's end: a table for people, one JSON object for scripts.

use super::plan::Plan;
use crate::checker::Verdict;
use crate::report::table;
use chirm_client::Stats;
use serde_json::{Map, Value, json};
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
    pub(super) bridge_kills: u64,
    /// Nicks with a stream at the end.
    pub(super) here: u64,
    pub(super) took: Duration,
    pub(super) stats: Vec<Stats>,
}

/// A figure: its name in JSON, what it says, its value.
type Figure = (&'static str, &'static str, Value);

impl Summary {
    pub(super) fn add_plan(&mut self, plan: &Plan) {
        self.events = plan.events;
        self.skipped_empty = plan.skipped_empty;
        self.replies = plan.replies;
        self.unanswerable = plan.unanswerable;
    }

    fn figures(&self, verdict: &Verdict, verified: bool) -> Vec<Figure> {
        let seconds = self.took.as_secs_f64();
        let rounded = |figure: f64| json!((figure * 10.0).round() / 10.0);
        let sum = |of: fn(&Stats) -> u64| json!(self.stats.iter().map(of).sum::<u64>());
        let events_per_s = self.events as f64 / seconds.max(0.001);
        let mut figures = vec![
            ("events", "events", json!(self.events)),
            ("seconds", "seconds", rounded(seconds)),
            ("events_per_s", "events a second", rounded(events_per_s)),
            ("acked", "acknowledged", json!(self.acked)),
            ("replies", "answers to a message", json!(self.replies)),
            (
                "unanswerable",
                "answers to what is no message, sent as none",
                json!(self.unanswerable),
            ),
            (
                "skipped_empty",
                "skipped, for they are empty",
                json!(self.skipped_empty),
            ),
            ("refused", "refused", json!(self.refused)),
            ("kills", "kills", json!(self.kills)),
            (
                "bridge_kills",
                "kills of the bridge",
                json!(self.bridge_kills),
            ),
            ("cuts", "cuts", json!(self.cuts)),
            ("here", "nicks here at the end", json!(self.here)),
            ("connects", "connections of watchers", sum(|s| s.connects)),
            ("replayed", "replays", sum(|s| s.replayed)),
            ("snapshots", "snapshots", sum(|s| s.snapshots)),
            ("gaps", "gaps", sum(|s| s.gaps)),
            ("jumps", "jumps noticed", sum(|s| s.jumps)),
            ("pages", "pages read", sum(|s| s.pages)),
            ("duplicates", "duplicates dropped", sum(|s| s.duplicates)),
        ];
        if verified {
            let counts = &verdict.counts;
            figures.extend([
                ("unknown", "never answered", json!(counts.unknown)),
                (
                    "unknown_attempts",
                    "attempts without an answer",
                    json!(counts.unknown_attempts),
                ),
                (
                    "received",
                    "received by all watchers",
                    json!(counts.received),
                ),
                ("inserted", "inserted in the middle", json!(counts.inserted)),
                (
                    "checkpoints",
                    "looks at who is here",
                    json!(counts.checkpoints),
                ),
                (
                    "pictures",
                    "pictures of a server's people, by watchers",
                    json!(counts.pictures),
                ),
                ("people", "people here in them", json!(counts.people)),
                ("stored", "in history", json!(counts.stored)),
                ("differences", "differences", json!(verdict.violation_count)),
            ]);
        }
        figures
    }

    /// The table for people, and below it what is broken.
    pub(super) fn table(&self, verdict: &Verdict, verified: bool) -> String {
        let mut rows = table();
        rows.set_header(["replay", ""]);
        for (_, what, figure) in self.figures(verdict, verified) {
            rows.add_row([what.to_owned(), figure.to_string()]);
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

    /// The JSON object, on one line. Figures that only the checker knows are there if it was asked.
    pub(super) fn json(&self, verdict: &Verdict, verified: bool) -> String {
        let figures = self.figures(verdict, verified).into_iter();
        let figures: Map<String, Value> = figures
            .map(|(name, _, figure)| (name.to_owned(), figure))
            .collect();
        Value::Object(figures).to_string()
    }
}
