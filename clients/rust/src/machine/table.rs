//! Runs `conformance/client-state-machine.yaml` against the machine. The file says what its words
//! mean; here they are read and written.

use super::{Action, Input, Machine, Rules, Timer};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use words::{read, read_kept, timer_name, write};

mod words;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    limits: BTreeMap<String, i64>,
    timers: BTreeMap<String, Clock>,
    inputs: BTreeMap<String, String>,
    actions: BTreeMap<String, String>,
    machines: BTreeMap<String, Table>,
}

/// A timer, and in which states of which machine it runs; without, in all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    #[serde(rename = "until")]
    _until: String,
    of: Option<String>,
    #[serde(rename = "in", default)]
    states: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    inputs: Vec<String>,
    states: BTreeMap<String, State>,
    transitions: Vec<Transition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    #[serde(rename = "means")]
    _means: String,
    reach: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transition {
    from: States,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    given: Vec<String>,
    on: String,
    #[serde(default)]
    when: String,
    to: String,
    #[serde(rename = "do", default)]
    actions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum States {
    One(String),
    Each(Vec<String>),
}

impl Transition {
    fn states(&self) -> &[String] {
        match &self.from {
            States::One(state) => std::slice::from_ref(state),
            States::Each(states) => states,
        }
    }
}

fn file() -> File {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../conformance/client-state-machine.yaml"
    );
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The machine, and the timers that it has running.
struct Run {
    machine: Machine,
    timers: BTreeSet<Timer>,
}

impl Run {
    fn new(rules: &[String]) -> Self {
        let mut chosen = Rules::default();
        for rule in rules {
            match rule.as_str() {
                "viewed" => chosen.viewed_only = true,
                "listen" => chosen.listen_only = true,
                "history" => chosen.history = true,
                other => panic!("no rule {other}"),
            }
        }
        Self {
            machine: Machine::new(chosen, Vec::new(), &[], &[]),
            timers: BTreeSet::new(),
        }
    }

    /// Takes an input and gives the actions that the table writes down.
    fn handle(&mut self, text: &str) -> Vec<String> {
        if let Some((positions, last_ids)) = read_kept(text) {
            let rules = self.machine.rules.clone();
            self.machine = Machine::new(rules, Vec::new(), &positions, &last_ids);
            self.timers.clear();
            return Vec::new();
        }
        let input = read(text);
        if let Input::Fired(timer) = &input {
            self.timers.remove(timer);
        }
        let actions = self.machine.handle(input);
        for action in &actions {
            match action {
                Action::Wait { timer, .. } => self.timers.insert(*timer),
                Action::Cancel(timer) => self.timers.remove(timer),
                _ => false,
            };
        }
        actions.iter().filter_map(write).collect()
    }

    /// The state of one of the table's machines; of sends, that of the first.
    fn state(&self, of: &str) -> String {
        match of {
            "connection" => format!("{:?}", self.machine.state()),
            "channel" => self
                .machine
                .channels
                .get(&7)
                .map_or("Unknown", |c| c.place_name())
                .to_owned(),
            "token" => self.machine.token.place_name(),
            "send" => self.machine.sends.place_name(1).to_owned(),
            other => panic!("no machine {other}"),
        }
    }

    /// No timer runs in a state that isn't one of its.
    fn check_timers(&self, file: &File, told: &str) {
        for timer in &self.timers {
            let clock = &file.timers[timer_name(*timer)];
            let state = match (clock.of.as_deref(), timer) {
                (None, _) => continue,
                (Some(_), Timer::Answer(key)) => self.machine.sends.place_name(*key).to_owned(),
                (Some(of), _) => self.state(of),
            };
            assert!(
                clock.states.iter().any(|s| camel(s) == state),
                "{timer:?} in {state} after {told}"
            );
        }
    }
}

/// In a state of a table, by its shortest way.
fn reach(file: &File, name: &str, state: &str, rules: &[String]) -> Run {
    let mut run = Run::new(rules);
    for input in &file.machines[name].states[state].reach {
        run.handle(input);
    }
    assert_eq!(run.state(name), camel(state), "{name}: the way to {state}");
    run
}

#[test]
fn every_transition_is_the_machines() {
    let file = file();
    let mut ran = 0;
    for (name, table) in &file.machines {
        let of = |t| Transition::states(t).iter().map(move |from| (t, from));
        for (transition, from) in table.transitions.iter().flat_map(of) {
            let told = format!("{name}: {from} on {} {}", transition.on, transition.when);
            let mut run = reach(&file, name, from, &transition.rules);
            for input in &transition.given {
                run.handle(input);
                run.check_timers(&file, &told);
            }
            let written = run.handle(&transition.on);
            assert_eq!(written, transition.actions, "{told}");
            assert_eq!(run.state(name), camel(&transition.to), "after {told}");
            run.check_timers(&file, &told);
            check_words(&file, transition);
            ran += 1;
        }
    }
    assert!(ran > 50, "{ran} transitions");
}

#[test]
fn what_has_no_transition_does_nothing() {
    let file = file();
    let mut wrong = Vec::new();
    for (name, table) in &file.machines {
        let states = table.states.keys();
        let pairs = states.flat_map(|s| table.inputs.iter().map(move |i| (s, i)));
        for (state, input) in pairs {
            let is_plain = |t: &&Transition| t.rules.is_empty() && t.given.is_empty();
            let mut plain = table.transitions.iter().filter(is_plain);
            if plain.any(|t| t.states().contains(state) && &t.on == input) {
                continue;
            }
            let mut run = reach(&file, name, state, &[]);
            let timers = run.timers.clone();
            let written = run.handle(input);
            let is_still = run.state(name) == camel(state) && run.timers.is_subset(&timers);
            if !written.is_empty() || !is_still {
                let to = run.state(name);
                wrong.push(format!("{name}: {state} on {input}: to {to}, {written:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every word that a transition uses is explained, and every state reached by some other.
fn check_words(file: &File, transition: &Transition) {
    for input in transition.given.iter().chain([&transition.on]) {
        let word = input.split(' ').next().unwrap();
        assert!(file.inputs.contains_key(word), "input {word}");
    }
    for action in &transition.actions {
        let mut words = action.split(' ');
        let word = words.next().unwrap();
        assert!(file.actions.contains_key(word), "action {word}");
        if word == "wait" {
            let timer = words.next().unwrap().split('.').next().unwrap();
            assert!(file.timers.contains_key(timer), "timer {timer}");
        }
    }
}

#[test]
fn every_state_has_a_way_in() {
    for (name, table) in file().machines {
        for state in table.states.keys() {
            let is_first = table.states[state].reach.is_empty();
            let is_reached = table
                .transitions
                .iter()
                .any(|t| &t.to == state && !t.states().contains(state));
            assert!(is_first || is_reached, "{name} {state}");
        }
    }
}

#[test]
fn the_limits_are_the_machines() {
    let limits = file().limits;
    assert_eq!(limits["handshake_ms"], super::HANDSHAKE.as_millis() as i64);
    assert_eq!(limits["heartbeat_ms"], super::HEARTBEAT.as_millis() as i64);
    assert_eq!(
        limits["renew_min_ms"],
        super::token::RENEW_MIN.as_millis() as i64
    );
    assert_eq!(limits["steady_ms"], super::STEADY.as_millis() as i64);
    assert_eq!(limits["under_way"], super::sends::UNDER_WAY_MAX as i64);
    assert_eq!(limits["positions"], super::POSITIONS_MAX as i64);
    let bounds = super::step::Bounds::default();
    assert_eq!(limits["recent_min"], bounds.recent_min as i64);
    assert_eq!(limits["recent_max"], bounds.recent_max as i64);
    assert_eq!(limits["recent_paging_max"], bounds.recent_paging_max as i64);
    assert_eq!(limits["waiting_events"], bounds.waiting_max as i64);
    assert_eq!(limits["waiting_bytes"], bounds.waiting_bytes_max as i64);
}

fn camel(state: &str) -> String {
    let words = state.split('_');
    words.map(|w| w[..1].to_uppercase() + &w[1..]).collect()
}
