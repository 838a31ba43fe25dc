//! A server in memory, a bad network and a program, around the machine: whatever happens on the
//! way, the program ends with what the store holds, and had each message once.

use super::{Action, Input, Machine, Rules, State, Timer, channel_topic};
use crate::{error::Error, event::Event};
use chirm_proto::v1::{self, event::Event as Body, server_frame::Frame};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const CHANNEL: i64 = 7;
/// So few that resumes meet their end.
const RING: usize = 6;
/// So small that pagings take several turns.
const PAGE: usize = 5;
/// So few deleted ids a page that some pages have nothing else.
const DELETED: usize = 2;

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
    /// The program ends, and runs again with the position and the newest message that it kept.
    Rerun,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_i64..4).prop_map(Step::Create),
        2 => Just(Step::Reserve),
        2 => Just(Step::Persist),
        2 => any::<usize>().prop_map(Step::Edit),
        2 => any::<usize>().prop_map(Step::Delete),
        6 => (1_usize..5).prop_map(Step::Receive),
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
    prop_oneof![9 => step, 1 => Just(Step::Rerun)]
}

/// The store, the bus and the network.
#[derive(Default)]
struct World {
    store: BTreeMap<i64, v1::Message>,
    reserved: VecDeque<i64>,
    newest: i64,
    position: v1::Position,
    ring: VecDeque<v1::Event>,
    /// Frames under way to the client.
    wire: VecDeque<Frame>,
    is_connected: bool,
    /// Calls of the client: the run and the anchor.
    calls: VecDeque<(u64, i64)>,
    waits: Vec<Timer>,
    held: Option<v1::Position>,
    program: Program,
}

/// What the program made of the events.
#[derive(Default)]
struct Program {
    messages: BTreeMap<i64, v1::Message>,
    had: BTreeMap<i64, usize>,
    broken: Option<String>,
}

impl World {
    fn publish(&mut self, body: Body) {
        self.position.seq += 1;
        let (topic, position) = (Some(channel_topic(CHANNEL)), Some(self.position));
        let event = v1::Event {
            topic,
            position,
            event: Some(body),
        };
        self.ring.push_back(event.clone());
        if self.ring.len() > RING {
            self.ring.pop_front();
        }
        if self.is_connected {
            self.wire.push_back(Frame::Event(event));
        }
    }

    fn create(&mut self, id: i64) {
        self.newest = self.newest.max(id);
        let message = v1::Message {
            id,
            channel_id: CHANNEL,
            ..v1::Message::default()
        };
        self.store.insert(id, message.clone());
        self.publish(Body::MessageCreated(v1::MessageCreated {
            message: Some(message),
        }));
    }

    fn pick(&mut self, which: usize) -> Option<&mut v1::Message> {
        let count = self.store.len();
        self.store
            .values_mut()
            .nth(which.checked_rem(count)?)
            .filter(|m| !m.deleted)
    }

    fn edit(&mut self, which: usize) {
        let Some(message) = self.pick(which) else {
            return;
        };
        message.revision += 1;
        message.content = format!("revision {}", message.revision);
        let message = Some(message.clone());
        self.publish(Body::MessageUpdated(v1::MessageUpdated { message }));
    }

    fn delete(&mut self, which: usize) {
        let Some(message) = self.pick(which) else {
            return;
        };
        message.deleted = true;
        message.content.clear();
        let message = Some(message.clone());
        self.publish(Body::MessageDeleted(v1::MessageDeleted { message }));
    }

    /// What the gateway sends to a client that connects.
    fn connect(&mut self, positions: &[v1::TopicPosition]) {
        self.is_connected = true;
        self.wire = VecDeque::from([Frame::Hello(v1::Hello::default())]);
        let topic = Some(channel_topic(CHANNEL));
        let held = positions
            .iter()
            .find(|p| p.topic == topic)
            .and_then(|p| p.position);
        let first = self
            .ring
            .front()
            .and_then(|e| e.position)
            .map_or(i64::MAX, |p| p.seq);
        match held {
            Some(held) if held == self.position => {}
            Some(held) if held.epoch == self.position.epoch && held.seq + 1 >= first => {
                let missed = self
                    .ring
                    .iter()
                    .filter(|e| e.position.unwrap().seq > held.seq);
                self.wire.extend(missed.cloned().map(Frame::Event));
            }
            Some(_) => self.gap(),
            None => {
                let state = v1::ChannelState {
                    last_message_id: self.newest,
                    ..v1::ChannelState::default()
                };
                self.wire.push_back(Frame::Snapshot(v1::Snapshot {
                    topic,
                    position: Some(self.position),
                    state: Some(v1::snapshot::State::Channel(state)),
                }));
            }
        }
        self.wire.push_back(Frame::Ready(v1::Ready::default()));
    }

    fn gap(&mut self) {
        let (topic, position) = (Some(channel_topic(CHANNEL)), Some(self.position));
        self.wire.push_back(Frame::Gap(v1::Gap {
            topic,
            position,
            channel: None,
        }));
    }

    /// As the store does it: the deleted ones up to the next message belong to the page, and as
    /// many of them as a page may name end it early.
    fn list(&self, after: i64) -> v1::ListMessagesResponse {
        let mut page = v1::ListMessagesResponse::default();
        let mut behind = 0;
        for message in self.store.range(after + 1..).map(|(_, m)| m) {
            if !message.deleted && page.messages.len() == PAGE {
                page.deleted_ids.truncate(page.deleted_ids.len() - behind);
                page.has_newer = true;
                break;
            }
            if !message.deleted {
                page.messages.push(message.clone());
                behind = 0;
            } else if page.deleted_ids.len() == DELETED {
                page.has_newer = true;
                break;
            } else {
                page.deleted_ids.push(message.id);
                behind += 1;
            }
        }
        page
    }

    fn give(&mut self, machine: &mut Machine, input: Input) {
        for action in machine.handle(input) {
            match action {
                Action::Connect { positions, .. } => self.connect(&positions),
                Action::Disconnect => {
                    self.is_connected = false;
                    self.wire.clear();
                    self.calls.clear();
                }
                Action::Page { after, run, .. } => self.calls.push_back((run, after)),
                Action::Wait {
                    timer: Timer::Connect,
                    ..
                } => self.waits.push(Timer::Connect),
                Action::Hold(_, held) => self.held = held.position,
                Action::Emit(event) => self.program.take(event),
                _ => {}
            }
        }
    }

    fn receive(&mut self, machine: &mut Machine) -> bool {
        let Some(frame) = self.wire.pop_front() else {
            return false;
        };
        self.give(machine, Input::Frame(frame));
        true
    }

    fn answer(&mut self, machine: &mut Machine) -> bool {
        let Some((run, after)) = self.calls.pop_front() else {
            return false;
        };
        let page = self.list(after);
        self.give(
            machine,
            Input::Page {
                channel: CHANNEL,
                run,
                page,
            },
        );
        true
    }

    fn rerun(&mut self, machine: &mut Machine) {
        self.give(machine, Input::Close);
        self.waits.clear();
        let held = v1::TopicPosition {
            topic: Some(channel_topic(CHANNEL)),
            position: self.held,
        };
        let last_id = self.program.had.keys().max().copied();
        let last_ids: Vec<_> = last_id.map(|id| (CHANNEL, id)).into_iter().collect();
        *machine = Machine::new(machine.rules.clone(), Vec::new(), &[held], &last_ids);
        self.give(machine, Input::Start);
    }

    fn step(&mut self, machine: &mut Machine, step: Step) {
        match step {
            Step::Rerun => self.rerun(machine),
            Step::Create(above) => self.create(self.newest + above),
            Step::Reserve => {
                self.newest += 1;
                self.reserved.push_back(self.newest);
            }
            Step::Persist => {
                if let Some(id) = self.reserved.pop_front() {
                    self.create(id);
                }
            }
            Step::Edit(which) => self.edit(which),
            Step::Delete(which) => self.delete(which),
            Step::Receive(count) => {
                for _ in 0..count {
                    self.receive(machine);
                }
            }
            Step::Lose => {
                // Only an event in the middle: the next one shows that it is missing.
                if matches!(self.wire.front(), Some(Frame::Event(_)))
                    && matches!(self.wire.get(1), Some(Frame::Event(_)))
                {
                    self.wire.pop_front();
                }
            }
            Step::Repeat => {
                if let Some(Frame::Event(event)) = self.wire.front().cloned() {
                    self.wire.push_front(Frame::Event(event));
                }
            }
            Step::Answer => {
                self.answer(machine);
            }
            Step::Fail => {
                if let Some((run, _)) = self.calls.pop_front() {
                    let error = Error::connection("a page was lost");
                    self.give(
                        machine,
                        Input::PageFailed {
                            channel: CHANNEL,
                            run,
                            error,
                        },
                    );
                }
            }
            Step::Cut => self.give(machine, Input::Lost(Error::connection("cut"))),
            Step::Wait => self.wait(machine),
            Step::Restart => {
                // The connections go with the server.
                self.position = v1::Position {
                    epoch: self.position.epoch + 1,
                    seq: 0,
                };
                self.ring.clear();
                self.give(machine, Input::Lost(Error::connection("restart")));
            }
            Step::Gap => {
                if self.is_connected {
                    self.gap();
                }
            }
        }
    }

    fn wait(&mut self, machine: &mut Machine) {
        for timer in std::mem::take(&mut self.waits) {
            self.give(machine, Input::Fired(timer));
        }
    }

    /// The network heals, and all that is under way arrives.
    fn settle(&mut self, machine: &mut Machine) {
        for _ in 0..10_000 {
            self.wait(machine);
            if !self.receive(machine) && !self.answer(machine) && self.waits.is_empty() {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

impl Program {
    fn take(&mut self, event: Event) {
        match event {
            Event::Message { message, .. } => {
                *self.had.entry(message.id).or_default() += 1;
                self.messages.insert(message.id, message);
            }
            Event::MessageUpdated(message) => {
                let had = self.messages.insert(message.id, message.clone());
                if had.is_none_or(|had| had.deleted || had.revision >= message.revision) {
                    self.broken = Some(format!("an edit that is none of {}", message.id));
                }
            }
            Event::MessageDeleted(message) => {
                self.messages.remove(&message.id);
            }
            _ => {}
        }
    }
}

fn run(steps: Vec<Step>, rules: Rules) -> World {
    let mut machine = Machine::new(rules, Vec::new(), &[], &[]);
    let mut world = World {
        position: v1::Position { epoch: 1, seq: 0 },
        newest: 100,
        ..World::default()
    };
    world.create(101);
    world.give(&mut machine, Input::Start);
    world.settle(&mut machine);
    for step in steps {
        world.step(&mut machine, step);
    }
    world.settle(&mut machine);
    assert_eq!(machine.state(), State::Live);
    world
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
    fn a_program_that_runs_again_goes_on(steps in prop::collection::vec(step_or_rerun(), 0..120)) {
        let world = run(steps, Rules { history: true, ..Rules::default() });
        // Of what the last run had beyond its position, events come again.
        prop_assert_eq!(&world.program.messages, &truth(&world, 0));
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
