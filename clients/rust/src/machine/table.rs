//! Runs `conformance/client-state-machine.yaml` against the machine. The file says what its words
//! mean; here they are read and written.

use super::{Machine, Rules};
use serde::Deserialize;
use std::collections::BTreeMap;
use words::{read, write};

mod words;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    limits: BTreeMap<String, i64>,
    timers: BTreeMap<String, String>,
    inputs: BTreeMap<String, String>,
    actions: BTreeMap<String, String>,
    machines: BTreeMap<String, Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
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
    from: String,
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

fn file() -> File {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../conformance/client-state-machine.yaml"
    );
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn machine(rules: &[String]) -> Machine {
    let mut chosen = Rules::default();
    for rule in rules {
        match rule.as_str() {
            "viewed" => chosen.viewed_only = true,
            "listen" => chosen.listen_only = true,
            "history" => chosen.history = true,
            other => panic!("no rule {other}"),
        }
    }
    Machine::new(chosen, Vec::new(), &[], &[])
}

fn state(table: &str, machine: &Machine) -> String {
    match table {
        "connection" => format!("{:?}", machine.state()),
        "channel" => machine
            .channels
            .get(&7)
            .map_or("Unknown", |c| c.place_name())
            .to_owned(),
        "token" => machine.token.place_name(),
        "send" => machine.sends.place_name(1).to_owned(),
        other => panic!("no machine {other}"),
    }
}

#[test]
fn every_transition_is_the_machines() {
    let file = file();
    let mut ran = 0;
    for (name, table) in &file.machines {
        for transition in &table.transitions {
            let told = format!(
                "{name}: {} on {} {}",
                transition.from, transition.on, transition.when
            );
            let mut machine = machine(&transition.rules);
            for input in &table.states[&transition.from].reach {
                machine.handle(read(input));
            }
            assert_eq!(
                state(name, &machine),
                camel(&transition.from),
                "before {told}"
            );
            for input in &transition.given {
                machine.handle(read(input));
            }
            let actions = machine.handle(read(&transition.on));
            let written: Vec<_> = actions.iter().filter_map(write).collect();
            assert_eq!(written, transition.actions, "{told}");
            assert_eq!(state(name, &machine), camel(&transition.to), "after {told}");
            check_words(&file, transition);
            ran += 1;
        }
    }
    assert!(ran > 50, "{ran} transitions");
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
                .any(|t| &t.to == state && &t.from != state);
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
