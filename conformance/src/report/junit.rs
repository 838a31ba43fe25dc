//! JUnit's XML, as CI systems read it.

use super::{Summary, escaped};
use crate::suite::{Report, Verdict};
use std::fmt::Write as _;

pub(super) fn render(reports: &[Report], summary: &Summary) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = reports.iter().filter(|report| report.is_bad()).count();
    let skipped = summary.skipped + reports.iter().filter(|report| is_tolerated(report)).count();
    let _ = writeln!(
        out,
        "<testsuites><testsuite name=\"chirm-conformance\" tests=\"{}\" failures=\"{failures}\" \
         skipped=\"{skipped}\" time=\"{:.3}\">",
        summary.runs, summary.seconds
    );
    for report in reports {
        let _ = write!(
            out,
            "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">",
            escaped(report.carrier),
            escaped(&report.id),
            report.seconds
        );
        let why = escaped(
            report
                .why
                .as_deref()
                .unwrap_or("known to fail, and it passes"),
        );
        if report.is_bad() {
            let transcript = escaped(&report.transcript.join("\n"));
            let _ = write!(out, "<failure message=\"{why}\">{transcript}</failure>");
        } else if report.verdict == Verdict::Skipped || is_tolerated(report) {
            let _ = write!(out, "<skipped message=\"{why}\"/>");
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("</testsuite></testsuites>\n");
    out
}

/// A failure that doesn't count: known, or of a case that only should or may pass.
fn is_tolerated(report: &Report) -> bool {
    match report.verdict {
        Verdict::KnownFailure => true,
        Verdict::Failed => !report.is_bad(),
        _ => false,
    }
}
