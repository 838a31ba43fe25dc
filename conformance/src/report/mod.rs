//! What a run of the suite leaves: JUnit, JSON, and a page for people.

mod html;
mod junit;

use crate::case::Case;
use crate::suite::{Report, Verdict};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The whole in numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) cases: usize,
    pub(crate) runs: usize,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) known_failures: usize,
    pub(crate) surprise_passes: usize,
    pub(crate) skipped: usize,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
}

impl Summary {
    pub(crate) fn of(reports: &[Report], seed: u64, took: Duration) -> Self {
        let count = |verdict| reports.iter().filter(|one| one.verdict == verdict).count();
        let mut ids: Vec<_> = reports.iter().map(|report| &report.id).collect();
        ids.dedup();
        Self {
            cases: ids.len(),
            runs: reports.len(),
            passed: count(Verdict::Passed),
            failed: count(Verdict::Failed),
            known_failures: count(Verdict::KnownFailure),
            surprise_passes: count(Verdict::SurprisePass),
            skipped: count(Verdict::Skipped),
            seed,
            seconds: took.as_secs_f64(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases, {} runs in {:.0} s: {} passed, {} failed, {} known failures, {} surprise \
             passes, {} skipped (seed {})",
            self.cases,
            self.runs,
            self.seconds,
            self.passed,
            self.failed,
            self.known_failures,
            self.surprise_passes,
            self.skipped,
            self.seed
        )
    }
}

/// Writes the files: `junit=FILE`, `json=FILE`, `html=FILE`.
pub(crate) fn write(files: &[String], reports: &[Report], summary: &Summary) -> Result<()> {
    for file in files {
        let (kind, path) = file.split_once('=').context("--report: KIND=FILE")?;
        let text = match kind {
            "junit" => junit::render(reports, summary),
            "html" => html::render(reports, summary),
            "json" => {
                let whole = serde_json::json!({"summary": summary, "runs": reports});
                serde_json::to_string_pretty(&whole)?
            }
            other => bail!("--report: {other} is none of junit, json, html"),
        };
        std::fs::write(path, text).with_context(|| format!("can't write {path}"))?;
    }
    Ok(())
}

/// The JSON Schema of a case.
pub(crate) fn schema() -> schemars::Schema {
    schemars::schema_for!(Case)
}

/// Text within XML or HTML. What they can't hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
