//! A page for people: what failed and why, then every case by area with a mark for each carrier.

use super::{Summary, escaped};
use crate::case::{Carrier, Level};
use crate::suite::{Report, Verdict};
use std::fmt::Write as _;

const HEAD: &str = include_str!("head.html");

pub(super) fn render(reports: &[Report], summary: &Summary) -> String {
    let mut out = String::from(HEAD);
    let bad: Vec<_> = reports.iter().filter(|report| report.is_bad()).collect();
    let (class, word) = if bad.is_empty() {
        ("good", "conforms")
    } else {
        ("bad", "doesn’t conform")
    };
    let _ = write!(
        out,
        "<header><h1>Chirm conformance: <span class=\"{class}\">{word}</span></h1>\
         <ul class=\"figures\">"
    );
    let figures = [
        ("cases", summary.cases),
        ("runs", summary.runs),
        ("passed", summary.passed),
        ("failed", summary.failed),
        ("known failures", summary.known_failures),
        ("surprise passes", summary.surprise_passes),
        ("skipped", summary.skipped),
    ];
    for (name, figure) in figures {
        let _ = write!(out, "<li><b>{figure}</b> {name}</li>");
    }
    let _ = write!(
        out,
        "</ul><p>In {:.0} s, with the seed {}.</p></header>",
        summary.seconds, summary.seed
    );
    failures(&mut out, reports);
    areas(&mut out, reports);
    out.push_str("</body></html>\n");
    out
}

fn failures(out: &mut String, reports: &[Report]) {
    let is_shown = |report: &&Report| {
        let verdict = report.verdict;
        verdict == Verdict::Failed || verdict == Verdict::SurprisePass
    };
    let failed: Vec<_> = reports.iter().filter(is_shown).collect();
    if failed.is_empty() {
        return;
    }
    out.push_str("<h2>Failures</h2>");
    for runs in failed.chunk_by(|a, b| a.id == b.id) {
        let case = runs[0];
        let carriers: Vec<_> = runs.iter().map(|run| run.carrier).collect();
        let _ = write!(
            out,
            "<details><summary><code>{}</code> on {} <span class=\"level\">{}</span></summary>\
             <p>{}</p><p class=\"level\">docs/protocol.md: “{}”</p>",
            escaped(&case.id),
            carriers.join(", "),
            level(case.level),
            escaped(&case.reason),
            escaped(&case.sentences.join("” “")),
        );
        for run in runs {
            let why = run.why.as_deref();
            let why = escaped(why.unwrap_or("It is known to fail, and it passes."));
            let _ = write!(out, "<h3>{}</h3><pre>{why}</pre>", run.carrier);
        }
        if !case.transcript.is_empty() {
            let transcript = escaped(&case.transcript.join("\n"));
            let _ = write!(
                out,
                "<h3>Steps on {}</h3><pre>{transcript}</pre>",
                case.carrier
            );
        }
        out.push_str("</details>");
    }
}

fn areas(out: &mut String, reports: &[Report]) {
    let area = |report: &Report| report.id.split('/').next().unwrap_or_default().to_owned();
    for group in reports.chunk_by(|a, b| area(a) == area(b)) {
        let name = area(&group[0]);
        let _ = write!(out, "<h2>{}</h2><table><tr><th>case</th>", escaped(&name));
        for carrier in Carrier::ALL {
            let _ = write!(out, "<th>{}</th>", carrier.name());
        }
        out.push_str("</tr>");
        for runs in group.chunk_by(|a, b| a.id == b.id) {
            row(out, runs);
        }
        out.push_str("</table>");
    }
}

fn row(out: &mut String, runs: &[Report]) {
    let case = &runs[0];
    let _ = write!(
        out,
        "<tr><td><code>{}</code> <span class=\"level\">{}</span><br>{}</td>",
        escaped(&case.id),
        level(case.level),
        escaped(&case.reason)
    );
    let once = runs.iter().find(|run| run.carrier == "once");
    if let Some(run) = once {
        let _ = write!(out, "<td colspan=\"4\">{}</td></tr>", mark(run));
        return;
    }
    for carrier in Carrier::ALL {
        let run = runs.iter().find(|run| run.carrier == carrier.name());
        let _ = write!(out, "<td>{}</td>", run.map(mark).unwrap_or_default());
    }
    out.push_str("</tr>");
}

fn mark(run: &Report) -> String {
    let (class, word) = match run.verdict {
        Verdict::Passed => ("good", "passed"),
        Verdict::Failed => ("bad", "failed"),
        Verdict::KnownFailure => ("known", "known failure"),
        Verdict::SurprisePass => ("bad", "surprise pass"),
        Verdict::Skipped => ("skipped", "skipped"),
    };
    let why = escaped(run.why.as_deref().unwrap_or_default());
    format!(
        "<span class=\"{class}\" title=\"{why}\">{word}</span> <small>{:.1} s</small>",
        run.seconds
    )
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Must => "must",
        Level::Should => "should",
        Level::May => "may",
    }
}
