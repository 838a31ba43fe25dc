//! Searches the scenario given by its words (see `chirm_model::cases`), or the large ones.

use chirm_model::Scenario;
use chirm_model::search::{Limit, search};
use std::process::ExitCode;
use std::time::Instant;

/// As many as a machine of 8 GiB can hold.
const STATES_MAX: usize = 400_000_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut ok = true;
    for line in words.join(" ").split(',') {
        let scenario = match Scenario::parse(line) {
            Ok(scenario) => scenario,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        let begun = Instant::now();
        let report = search(&scenario, Limit { states: STATES_MAX, first_broken: std::env::var_os("FIRST").is_some() });
        ok &= report.holds();
        let seconds = begun.elapsed().as_secs_f32();
        println!("{line}: {report} [{seconds:.1} s]");
        if std::env::var_os("WAYS").is_some() {
            for (promise, actions) in &report.broken {
                println!("      {promise}");
                actions.iter().for_each(|action| println!("        {action:?}"));
            }
        }
    }
    ExitCode::from(u8::from(!ok))
}
