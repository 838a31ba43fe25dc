//! A server in memory, a bad network and a program, around the machine: whatever happens on the
//! way, the program ends with what the store holds, and had each message once.

mod world;

use super::{Input, Machine, Rules, State};
use chirm_proto::v1;
use proptest::prelude::*;
use std::collections::BTreeMap;
use world::World;

/// What happens next, in the world.
#[derive(Clone, Debug)]
enum Step {
    /// A message is stored and published; its id lies so far above the newest.
    Create(i64),
    /// An id is reserved, and the message stored with the next step that says so.
    Reserve,
    Persist,
    Edit(usize),
    Delete(usize),
    /// The client receives so many frames.
    Receive(usize),
    /// The program takes so much of what the client has for it.
    Take(usize),
    /// The next frame is lost, against all promises.
    Lose,
    /// The next frame comes twice.
    Repeat,
    /// The client's oldest call is answered.
    Answer,
    /// It fails.
    Fail,
    /// The connection breaks.
    Cut,
    /// The client's waits end.
    Wait,
    /// The bus loses its memory.
    Restart,
    /// The server can't send again what it should.
    Gap,
    /// The program ends, and runs again with what it kept. Meanwhile come so many messages, and the
    /// bus may lose its memory.
    Rerun {
        missed: usize,
        restarts: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_i64..4).prop_map(Step::Create),
        2 => Just(Step::Reserve),
        2 => Just(Step::Persist),
        2 => any::<usize>().prop_map(Step::Edit),
        2 => any::<usize>().prop_map(Step::Delete),
        6 => (1_usize..5).prop_map(Step::Receive),
        4 => (1_usize..9).prop_map(Step::Take),
        1 => Just(Step::Lose),
        1 => Just(Step::Repeat),
        6 => Just(Step::Answer),
        1 => Just(Step::Fail),
        1 => Just(Step::Cut),
        2 => Just(Step::Wait),
        1 => Just(Step::Restart),
        1 => Just(Step::Gap),
    ]
}

/// With programs that run again. They keep one id: what changed below it in a gap is not for them,
/// nor what was stored late.
fn step_or_rerun() -> impl Strategy<Value = Step> {
    let step = step().prop_map(|step| match step {
        Step::Edit(_) | Step::Delete(_) | Step::Reserve => Step::Create(1),
        step => step,
    });
    let rerun = (0_usize..12, any::<bool>())
        .prop_map(|(missed, restarts)| Step::Rerun { missed, restarts });
    prop_oneof![9 => step, 1 => rerun]
}

fn run(steps: Vec<Step>, rules: Rules) -> World {
    let mut machine = Machine::new(rules, Vec::new(), &[], &[]);
    let mut world = World::new(100);
    world.create(101);
    world.give(&mut machine, Input::Start);
    world.settle(&mut machine);
    run_on(world, machine, steps)
}

fn run_on(mut world: World, mut machine: Machine, steps: Vec<Step>) -> World {
    for step in steps {
        world.step(&mut machine, step);
    }
    world.settle(&mut machine);
    assert_eq!(machine.state(), State::Live);
    world
}

/// From the first connection on, to a channel without a message.
fn run_again_and_again(steps: Vec<Step>, rules: Rules) -> World {
    let mut machine = Machine::new(rules, Vec::new(), &[], &[]);
    let mut world = World::new(0);
    world.give(&mut machine, Input::Start);
    run_on(world, machine, steps)
}

/// What of the store a program should have.
fn truth(world: &World, from: i64) -> BTreeMap<i64, v1::Message> {
    let live = world
        .store
        .iter()
        .filter(|(id, m)| **id >= from && !m.deleted);
    live.map(|(id, m)| (*id, m.clone())).collect()
}

/// The program's messages from `from` on; below, it may have edits of what it never had.
fn check(world: &World, from: i64) -> Result<(), TestCaseError> {
    let mut messages = world.program.messages.clone();
    messages.retain(|id, _| *id >= from);
    prop_assert_eq!(messages, truth(world, from));
    prop_assert!(
        world.program.had.values().all(|times| *times == 1),
        "{:?}",
        world.program.had
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_program_has_the_whole_history(steps in prop::collection::vec(step(), 0..120)) {
        let world = run(steps, Rules { history: true, ..Rules::default() });
        prop_assert_eq!(&world.program.broken, &None);
        check(&world, 0)?;
    }

    #[test]
    fn the_program_has_all_since_it_came(steps in prop::collection::vec(step(), 0..120)) {
        let world = run(steps, Rules::default());
        check(&world, 102)?;
    }

    #[test]
    fn a_program_that_runs_again_goes_on(
        steps in prop::collection::vec(step_or_rerun(), 0..120),
        history in any::<bool>(),
    ) {
        let world = run_again_and_again(steps, Rules { history, ..Rules::default() });
        let program = &world.program;
        let began = if history { 0 } else { program.began.unwrap() };
        prop_assert_eq!(&program.messages, &truth(&world, began + 1));
        // Of what a run had beyond its position, events come again in the next, but once.
        prop_assert!(program.had.values().all(|times| *times == 1), "{:?}", program.had);
        let newest = program.messages.keys().max().copied();
        prop_assert_eq!(program.held.last_id, newest.max(Some(began)));
        for (last_id, missing) in &world.left {
            prop_assert!(missing.is_empty(), "{:?} up to {:?}", missing, last_id);
        }
    }
}

fn creates(count: usize) -> Vec<Step> {
    let one = [Step::Create(1), Step::Receive(1)];
    one.into_iter().cycle().take(count * 2).collect()
}

#[test]
fn without_dedupe_a_gap_shows_messages_twice() {
    let mut steps = creates(10);
    steps.extend([Step::Gap]);
    let world = run(
        steps,
        Rules {
            dedupe_off: true,
            ..Rules::default()
        },
    );
    assert!(world.program.had.values().any(|times| *times > 1));
}

#[test]
fn without_the_jump_check_a_lost_event_stays_lost() {
    let mut steps = creates(3);
    steps.extend([Step::Create(1), Step::Create(1), Step::Lose]);
    let world = run(
        steps,
        Rules {
            jump_check_off: true,
            ..Rules::default()
        },
    );
    assert_ne!(world.program.messages, truth(&world, 0));
}
