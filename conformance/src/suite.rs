//! The matrix: each case over each of its carriers, many at once.

use crate::carrier::Targets;
use crate::case::{Carrier, Case, Level};
use crate::net::Dialer;
use crate::run::{self, Setting};
use crate::target::{Keys, Spawning};
use futures::StreamExt as _;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What to run, against what.
pub(crate) struct Suite {
    pub(crate) cases: Vec<Case>,
    pub(crate) carriers: Vec<Carrier>,
    pub(crate) targets: Targets,
    pub(crate) dialer: Dialer,
    pub(crate) keys: Keys,
    pub(crate) spawning: Option<Spawning>,
    /// Areas that the server is without.
    pub(crate) without: BTreeSet<String>,
    pub(crate) known: BTreeSet<String>,
    pub(crate) seed: u64,
    pub(crate) at_once: usize,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// It failed, as it is known to.
    KnownFailure,
    /// It passed, though it is known to fail.
    SurprisePass,
    Skipped,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) id: String,
    pub(crate) carrier: &'static str,
    pub(crate) level: Level,
    pub(crate) reason: String,
    pub(crate) sentences: Vec<String>,
    pub(crate) verdict: Verdict,
    /// Why it failed or was skipped.
    pub(crate) why: Option<String>,
    pub(crate) seconds: f64,
    /// The steps as they were taken, of a run that failed.
    pub(crate) transcript: Vec<String>,
}

impl Report {
    /// `id@carrier`.
    pub(crate) fn name(&self) -> String {
        format!("{}@{}", self.id, self.carrier)
    }

    /// Whether the whole can't pass with this.
    pub(crate) fn is_bad(&self) -> bool {
        match self.verdict {
            Verdict::Failed => self.level == Level::Must,
            Verdict::SurprisePass => true,
            _ => false,
        }
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(1);

impl Suite {
    /// Runs everything; `told` hears of each run as it ends.
    pub(crate) async fn run(&self, told: impl Fn(&Report)) -> Vec<Report> {
        let mut runs = Vec::new();
        for case in &self.cases {
            let chosen = |carrier: &&Carrier| self.carriers.contains(carrier);
            runs.extend(
                case.carriers
                    .iter()
                    .filter(chosen)
                    .map(|carrier| (case, *carrier)),
            );
            if case.carriers.is_empty() {
                // By whichever there is: what it does stands in its steps.
                let mut all = Carrier::ALL.into_iter();
                let any = all.find(|carrier| self.targets.has(*carrier));
                runs.push((case, any.unwrap_or(Carrier::Grpc)));
            }
        }
        runs.shuffle(&mut rand::rngs::StdRng::seed_from_u64(self.seed));
        // Those that wait longest begin first.
        runs.sort_by_key(|(case, _)| case.server.is_none());
        let mut reports: Vec<_> = futures::stream::iter(runs)
            .map(|(case, carrier)| self.one(case, carrier))
            .buffer_unordered(self.at_once)
            .inspect(told)
            .collect()
            .await;
        reports.sort_by_cached_key(Report::name);
        reports
    }

    fn why_not(&self, case: &Case, carrier: Carrier) -> Option<String> {
        let mut needs = case
            .features
            .iter()
            .map(String::as_str)
            .chain([case.area()]);
        if let Some(area) = needs.find(|area| self.without.contains(*area)) {
            return Some(format!("the profile is without {area}"));
        }
        let own = case.server.is_some();
        if !own && self.keys.admin.is_none() && case.features.iter().any(|one| one == "admin") {
            return Some("it needs an operator's key (--admin-key)".to_owned());
        }
        if own {
            let none = self.spawning.is_none();
            return none.then(|| "it needs a server of its own (--spawn)".to_owned());
        }
        let has = case.carriers.is_empty() || self.targets.has(carrier);
        (!has).then(|| "the target has no such carrier".to_owned())
    }

    async fn one(&self, case: &Case, carrier: Carrier) -> Report {
        let began = Instant::now();
        let name = if case.carriers.is_empty() {
            "once"
        } else {
            carrier.name()
        };
        let mut report = Report {
            id: case.id.clone(),
            carrier: name,
            level: case.level,
            reason: case.reason.clone(),
            sentences: case.sentences.clone(),
            verdict: Verdict::Skipped,
            why: self.why_not(case, carrier),
            seconds: 0.0,
            transcript: Vec::new(),
        };
        if report.why.is_some() {
            return report;
        }
        let setting = Setting {
            targets: self.targets.clone(),
            dialer: self.dialer.for_run(NUMBER.fetch_add(1, Ordering::Relaxed)),
            keys: self.keys.clone(),
            spawning: self.spawning.clone(),
        };
        let outcome = run::run(case, carrier, setting).await;
        let known = self.known.contains(&report.name()) || self.known.contains(&case.id);
        report.verdict = match (&outcome.failure, known) {
            (None, false) => Verdict::Passed,
            (None, true) => Verdict::SurprisePass,
            (Some(_), false) => Verdict::Failed,
            (Some(_), true) => Verdict::KnownFailure,
        };
        if outcome.failure.is_some() {
            report.transcript = outcome.transcript;
        }
        report.why = outcome.failure;
        report.seconds = Duration::as_secs_f64(&began.elapsed());
        report
    }
}
