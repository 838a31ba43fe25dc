//! The store, the bus, the network and the program.

use super::Step;
use crate::{
    error::Error,
    event::{Event, Held, Item},
    machine::{Action, Input, Machine, Timer, channel_topic},
};
use chirm_proto::v1::{self, event::Event as Body, server_frame::Frame};
use std::collections::{BTreeMap, VecDeque};

const CHANNEL: i64 = 7;
/// So few that resumes meet their end.
const RING: usize = 6;
/// So small that pagings take several turns.
const PAGE: usize = 5;
/// So few deleted ids a page that some pages have nothing else.
const DELETED: usize = 2;

/// The store, the bus and the network.
#[derive(Default)]
pub(super) struct World {
    pub(super) store: BTreeMap<i64, v1::Message>,
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
    /// What waits for the program.
    items: VecDeque<Item>,
    pub(super) program: Program,
    /// With what each run ended: its last id, and what it lacked up to there.
    pub(super) left: Vec<(Option<i64>, Vec<i64>)>,
}

/// What the program made of the events.
#[derive(Default)]
pub(super) struct Program {
    pub(super) messages: BTreeMap<i64, v1::Message>,
    /// How often each came to this run.
    pub(super) had: BTreeMap<i64, usize>,
    pub(super) broken: Option<String>,
    pub(super) held: Held,
    /// The channel's last message by the snapshot with which the program's time there began, once
    /// it holds anything.
    pub(super) began: Option<i64>,
    snapshot: Option<i64>,
}

impl World {
    /// With nothing in it but an id that was given out.
    pub(super) fn new(newest: i64) -> Self {
        Self {
            position: v1::Position { epoch: 1, seq: 0 },
            newest,
            ..Self::default()
        }
    }

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

    pub(super) fn create(&mut self, id: i64) {
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

    pub(super) fn give(&mut self, machine: &mut Machine, input: Input) {
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
                Action::Hold(topic, held) => self.items.push_back(Item::Hold(topic, held)),
                Action::Emit(event) => self.items.push_back(Item::Event(event)),
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

    fn take(&mut self) -> bool {
        let Some(item) = self.items.pop_front() else {
            return false;
        };
        match item {
            Item::Event(event) => self.program.take(event),
            Item::Hold(_, held) => self.program.hold(held),
        }
        true
    }

    fn rerun(&mut self, machine: &mut Machine, missed: usize, restarts: bool) {
        self.give(machine, Input::Close);
        self.waits.clear();
        self.items.clear();
        let Held { position, last_id } = self.program.held;
        let time = self.program.began.unwrap_or(0) + 1..=last_id.unwrap_or(0);
        let lacks = |id: &i64| time.contains(id) && !self.program.messages.contains_key(id);
        let missing = self.store.keys().copied().filter(lacks).collect();
        self.left.push((last_id, missing));
        self.program.had.clear();
        self.program.snapshot = None;
        for _ in 0..missed {
            self.create(self.newest + 1);
        }
        if restarts {
            self.restart(machine);
        }
        let topic = Some(channel_topic(CHANNEL));
        let held = position.map(|_| v1::TopicPosition { topic, position });
        let last_ids: Vec<_> = last_id.map(|id| (CHANNEL, id)).into_iter().collect();
        let (rules, positions) = (machine.rules.clone(), held.as_slice());
        *machine = Machine::new(rules, Vec::new(), positions, &last_ids);
        self.give(machine, Input::Start);
    }

    /// The connections go with the server.
    fn restart(&mut self, machine: &mut Machine) {
        self.position = v1::Position {
            epoch: self.position.epoch + 1,
            seq: 0,
        };
        self.ring.clear();
        self.give(machine, Input::Lost(Error::connection("restart")));
    }

    pub(super) fn step(&mut self, machine: &mut Machine, step: Step) {
        match step {
            Step::Rerun { missed, restarts } => self.rerun(machine, missed, restarts),
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
            Step::Take(count) => {
                for _ in 0..count {
                    self.take();
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
            Step::Restart => self.restart(machine),
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
    pub(super) fn settle(&mut self, machine: &mut Machine) {
        for _ in 0..10_000 {
            self.wait(machine);
            if !self.receive(machine)
                && !self.answer(machine)
                && !self.take()
                && self.waits.is_empty()
            {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

impl Program {
    fn hold(&mut self, held: Held) {
        self.held = held;
        self.began = self.began.or(self.snapshot);
    }

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
            Event::Snapshot(snapshot) => {
                if let Some(v1::snapshot::State::Channel(state)) = snapshot.state {
                    self.snapshot = Some(state.last_message_id);
                }
            }
            _ => {}
        }
    }
}
