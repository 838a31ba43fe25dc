//! What a channel remembers stays bounded, and is remembered as long as it is needed.

use super::{
    Action, Input, Machine, Rules, channel_topic,
    seen::{News, Origin, Seen},
    step::Bounds,
};
use crate::event::{Event, GapCause};
use chirm_proto::v1::{self, event::Event as Body, server_frame::Frame};

const CHANNEL: i64 = 7;

fn message(id: i64) -> v1::Message {
    v1::Message {
        id,
        channel_id: CHANNEL,
        ..v1::Message::default()
    }
}

#[test]
fn what_is_remembered_stays_bounded() {
    let (mut seen, bounds) = (Seen::default(), Bounds::default());
    seen.start_at(0);
    for id in 1..=20_000_i64 {
        assert_eq!(seen.take(&message(id), Origin::Created), News::New);
        seen.forget_old(&bounds);
    }
    assert_eq!(seen.floor(), Some(20_000 - bounds.recent_max as i64));
    // An hour later nothing of it is needed but the least.
    seen.take(&message(3_600_000 << 22), Origin::Created);
    seen.forget_old(&bounds);
    assert_eq!(seen.floor(), Some(20_001 - bounds.recent_min as i64));
}

/// A client that pages a channel after message 100; gaps end at position 1:10.
fn paging(bounds: Bounds) -> Machine {
    let rules = Rules {
        bounds,
        ..Rules::default()
    };
    let mut machine = Machine::new(rules, Vec::new(), &[], &[(CHANNEL, 100)]);
    let topic = Some(channel_topic(CHANNEL));
    let position = Some(v1::Position { epoch: 1, seq: 10 });
    let gap = v1::Gap {
        topic,
        position,
        channel: None,
    };
    for input in [
        Input::Start,
        Input::Frame(Frame::Hello(v1::Hello::default())),
        Input::Frame(Frame::Gap(gap)),
        Input::Frame(Frame::Ready(v1::Ready::default())),
    ] {
        machine.handle(input);
    }
    machine
}

fn created(machine: &mut Machine, seq: i64, id: i64) -> Vec<Action> {
    let message = Some(message(id));
    machine.handle(Input::Frame(Frame::Event(v1::Event {
        topic: Some(channel_topic(CHANNEL)),
        position: Some(v1::Position { epoch: 1, seq }),
        event: Some(Body::MessageCreated(v1::MessageCreated { message })),
    })))
}

fn page(machine: &mut Machine, ids: std::ops::RangeInclusive<i64>, has_newer: bool) -> Vec<Action> {
    let page = v1::ListMessagesResponse {
        messages: ids.map(message).collect(),
        has_newer,
        ..v1::ListMessagesResponse::default()
    };
    machine.handle(Input::Page {
        channel: CHANNEL,
        run: 1,
        page,
    })
}

fn new(actions: &[Action]) -> usize {
    let is_new = |action: &&Action| matches!(action, Action::Emit(Event::Message { .. }));
    actions.iter().filter(is_new).count()
}

#[test]
fn what_waits_is_remembered_however_long_the_paging() {
    let mut machine = paging(Bounds::default());
    created(&mut machine, 11, 150);
    created(&mut machine, 12, 9_200);
    let mut had = 0;
    for first in (101..=10_000).step_by(100) {
        had += new(&page(&mut machine, first..=first + 99, first < 9_901));
    }
    // The pages had both messages that waited.
    assert_eq!(had, 9_900);
    let remembered = |machine: &Machine| machine.channels[&CHANNEL].seen.remembered();
    let bounds = Bounds::default();
    assert_eq!(remembered(&machine), bounds.recent_max);
    assert_eq!(machine.stats().duplicates, 2);
    assert_eq!(new(&created(&mut machine, 13, 10_001)), 1);
}

#[test]
fn what_is_remembered_of_a_paging_stays_bounded() {
    let mut machine = paging(Bounds::default());
    created(&mut machine, 11, 150);
    for first in (101..=40_000).step_by(100) {
        page(&mut machine, first..=first + 99, true);
        let remembered = machine.channels[&CHANNEL].seen.remembered();
        assert!(remembered <= Bounds::default().recent_paging_max);
    }
}

#[test]
fn events_that_are_too_many_to_wait_are_paged_and_the_program_is_told() {
    let mut machine = paging(Bounds {
        waiting_max: 2,
        ..Bounds::default()
    });
    let is_overflow = |action: &Action| {
        let position = Some(v1::Position { epoch: 1, seq: 13 });
        matches!(action, Action::Emit(Event::Gap { gap, cause: GapCause::Overflow })
            if gap.position == position)
    };
    for (seq, id) in [(11, 101), (12, 102)] {
        assert!(created(&mut machine, seq, id).is_empty());
    }
    let told = created(&mut machine, 13, 103);
    assert!(told.iter().any(is_overflow), "{told:?}");
    created(&mut machine, 14, 104);
    // The page was read before the events that were dropped.
    assert_eq!(new(&page(&mut machine, 101..=101, false)), 1);
    assert_eq!(new(&page(&mut machine, 101..=103, false)), 3);
    assert_eq!(new(&created(&mut machine, 15, 105)), 1);
}
