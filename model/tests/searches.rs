//! The small cases. Each promise that the scheme keeps is broken by some case here, so none of
//! them is kept because it can't be broken.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use chirm_model::cases::{self, Case};
use chirm_model::search::{Limit, Report, search};
use chirm_model::{Rule, Scenario, promises};

/// Generated states, equal ones included; no small case comes near.
const STATES_MAX: usize = 5_000_000;

fn report(line: &str) -> Report {
    let scenario = Scenario::parse(line).unwrap();
    let limit = Limit {
        states: STATES_MAX,
        first_broken: false,
    };
    search(&scenario, limit)
}

fn check(cases: &[Case]) {
    for case in cases {
        let report = report(case.line);
        match case.breaks {
            None => assert!(report.holds(), "{}: {report}", case.line),
            Some(promise) => assert!(report.breaks(promise), "{}: {report}", case.line),
        }
    }
}

#[test]
fn the_scheme_withstands_one_fault() {
    check(cases::HOLDS);
}

#[test]
fn a_rule_left_out_breaks_it() {
    check(cases::MUTATIONS);
}

/// The faults of these cases alone break nothing: it is the rule that was missing.
#[test]
fn with_the_rule_it_is_kept() {
    for case in cases::MUTATIONS {
        let words = case.line.split(' ').filter(|word| !word.starts_with('-'));
        let line = words.collect::<Vec<_>>().join(" ");
        let report = report(&line);
        let promise = case.breaks.unwrap();
        assert!(!report.breaks(promise), "{line}: {report}");
    }
}

#[test]
fn two_faults_break_it_as_is_written() {
    check(cases::TWO_FAULTS);
}

#[test]
fn two_faults_lose_nothing_that_was_acknowledged() {
    for case in cases::TWO_FAULTS {
        let report = report(case.line);
        for promise in [promises::STORED, promises::HEARD, promises::RISES] {
            assert!(!report.breaks(promise), "{}: {report}", case.line);
        }
    }
}

#[test]
fn other_ways_are_as_is_written() {
    check(cases::OTHER_WAYS);
}

/// A rule without which nothing is seen to break is either not needed or not checked.
#[test]
fn every_rule_is_left_out_somewhere() {
    let tables = [
        cases::MUTATIONS,
        cases::MUTATIONS_LARGE,
        cases::OTHER_WAYS,
        cases::OTHER_WAYS_LARGE,
    ];
    let words: Vec<&str> = tables
        .into_iter()
        .flatten()
        .flat_map(|case| case.line.split(' '))
        .collect();
    for rule in Rule::ALL {
        let named = words.iter().any(|word| word[1..] == *format!("{rule:?}"));
        assert!(named, "{rule:?} is in no case");
    }
}

#[test]
fn a_word_that_means_nothing_is_named() {
    for (line, word) in [
        ("send flood=1", "flood=1"),
        ("send -Sweepr", "-Sweepr"),
        ("send delet", "delet"),
        ("send*4", "send*4"),
        ("send flush=many", "flush=many"),
        ("send low high delete", "delete"),
        ("delete", "one `send`"),
    ] {
        let error = Scenario::parse(line).err().unwrap();
        assert!(error.contains(word), "{line}: {error}");
    }
}
