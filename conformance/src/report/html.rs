//! A page for people.

use super::{Summary, escaped};
use crate::suite::{Report, Verdict};
use std::fmt::Write as _;

pub(super) fn render(reports: &[Report], summary: &Summary) -> String {
    let mut out = String::new();
    let _ = write!(out, "<p>{}</p>", escaped(&summary.to_string()));
    let _ = reports.iter().filter(|report| report.verdict == Verdict::Failed).count();
    out
}
