//! `chirm-model` searches all cases; `chirm-model send flush=1 …` one scenario (the words are
//! those of `Scenario::parse`), and shows a shortest way to each promise that it breaks;
//! `chirm-model rules` says what there is to leave out.

use chirm_model::cases::{self, Case};
use chirm_model::search::{Limit, Report, search};
use chirm_model::{Rule, Scenario};
use std::process::ExitCode;
use std::time::Instant;

/// Generated states, equal ones included: as many as 8 GiB of memory hold.
const STATES_MAX: usize = 100_000_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.join(" ").as_str() {
        "" => all(),
        "rules" => {
            Rule::ALL
                .iter()
                .for_each(|rule| println!("{rule:?}: {}", rule.says()));
            Ok(true)
        }
        line => one(line),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Searches a scenario. Whether it holds.
fn one(line: &str) -> Result<bool, String> {
    let report = timed(line, false)?;
    for (promise, actions) in &report.broken {
        println!("{promise}:");
        actions.iter().for_each(|action| println!("  {action:?}"));
    }
    Ok(report.holds())
}

/// Searches every case. Whether each comes out as it should.
fn all() -> Result<bool, String> {
    let parts = [
        ("It withstands", [cases::HOLDS, cases::HOLDS_LARGE]),
        (
            "Leaving a rule out breaks it",
            [cases::MUTATIONS, cases::MUTATIONS_LARGE],
        ),
        (
            "Two faults break it",
            [cases::TWO_FAULTS, cases::TWO_FAULTS_LARGE],
        ),
        ("Other ways", [cases::OTHER_WAYS, cases::OTHER_WAYS_LARGE]),
    ];
    let mut wrong = Vec::new();
    for (title, tables) in parts {
        println!("{title}:");
        for case in tables.into_iter().flatten() {
            if !as_it_should(case)? {
                wrong.push(case.line);
            }
        }
    }
    wrong
        .iter()
        .for_each(|line| println!("NOT AS IT SHOULD BE: {line}"));
    Ok(wrong.is_empty())
}

fn as_it_should(case: &Case) -> Result<bool, String> {
    let report = timed(case.line, case.breaks.is_some())?;
    Ok(match case.breaks {
        None => report.holds(),
        Some(promise) => report.breaks(promise) || timed(case.line, false)?.breaks(promise),
    })
}

fn timed(line: &str, first_broken: bool) -> Result<Report, String> {
    let begun = Instant::now();
    let limit = Limit {
        states: STATES_MAX,
        first_broken,
    };
    let report = search(&Scenario::parse(line)?, limit);
    println!(
        "  {line}: {report} [{:.1} s]",
        begun.elapsed().as_secs_f32()
    );
    Ok(report)
}
