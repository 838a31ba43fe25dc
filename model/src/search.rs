//! A search through a scenario, and its report.

use crate::{Action, Scenario};
use stateright::{Checker, HasDiscoveries, Model};
use std::fmt;

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Steps of the longest way to a state.
    pub depth: usize,
    /// Whether every state that can be reached was seen.
    pub complete: bool,
    /// The promises that were broken, with a shortest way to break each.
    pub broken: Vec<(&'static str, Vec<Action>)>,
    /// Whether a state was reached in which all is acknowledged and at rest.
    pub reached: bool,
}

/// When a search ends before it has seen every state.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// So many states were generated, equal ones included.
    pub states: usize,
    /// A promise was broken.
    pub first_broken: bool,
}

/// Searches all states, breadth first, on as many threads as there are cores.
pub fn search(scenario: &Scenario, limit: Limit) -> Report {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let ends = match limit.first_broken {
        true => HasDiscoveries::AnyFailures,
        false => HasDiscoveries::All,
    };
    let checker = scenario.clone().checker().threads(threads);
    let checker = checker.target_state_count(limit.states).finish_when(ends);
    let checker = checker.spawn_bfs().join();
    let mut broken = Vec::new();
    let mut reached = false;
    for (promise, path) in checker.discoveries() {
        match promise == crate::promises::REACHED {
            true => reached = true,
            false => broken.push((promise, path.into_actions())),
        }
    }
    broken.sort_by_key(|(promise, actions)| (actions.len(), *promise));
    Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        complete: checker.state_count() < limit.states,
        broken,
        reached,
    }
}

impl Report {
    /// Whether all that can happen was seen, and no promise was broken.
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.complete && self.reached
    }

    /// Whether a promise was broken.
    pub fn breaks(&self, promise: &str) -> bool {
        self.broken.iter().any(|(broken, _)| *broken == promise)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (states, depth) = (self.states, self.depth);
        write!(to, "{states} states, {depth} deep")?;
        if !self.complete {
            write!(to, ", NOT ALL OF THEM")?;
        }
        if !self.reached {
            write!(to, ", never all acknowledged and at rest")?;
        }
        for (promise, actions) in &self.broken {
            write!(to, "\n    broken in {} steps: {promise}", actions.len())?;
        }
        Ok(())
    }
}
