//! For each kind of violation a history that has it, and its repaired twin that hasn't.

use super::*;
use crate::history::{At, Source, hash};

const CHANNEL: i64 = 7;
const TOPIC: &str = "channel:7";

fn message(id: i64, nonce: &str) -> Seen {
    Seen {
        id,
        channel: CHANNEL,
        author: 1,
        nonce: nonce.to_owned(),
        hash: hash(nonce),
        reply_to: 0,
    }
}

fn invoke(nonce: &str) -> Record {
    Record::Invoke {
        message: message(0, nonce),
    }
}

fn ok(nonce: &str, id: i64) -> Record {
    Record::Ok {
        nonce: nonce.to_owned(),
        id,
    }
}

fn stored(id: i64, nonce: &str) -> Record {
    stored_at(0, id, nonce)
}

fn stored_at(page: u64, id: i64, nonce: &str) -> Record {
    Record::Stored {
        message: message(id, nonce),
        page,
    }
}

fn live(id: i64, nonce: &str) -> Record {
    recv(Source::Live, message(id, nonce))
}

fn paged(id: i64, nonce: &str) -> Record {
    recv(Source::Page, message(id, nonce))
}

fn recv(source: Source, message: Seen) -> Record {
    Record::Recv {
        connection: "w".to_owned(),
        message,
        source,
    }
}

fn event(epoch: i64, seq: i64) -> Record {
    Record::Event {
        connection: "w".to_owned(),
        topic: TOPIC.to_owned(),
        position: At { epoch, seq },
    }
}

fn snapshot(epoch: i64, seq: i64) -> Record {
    Record::Snapshot {
        connection: "w".to_owned(),
        topic: TOPIC.to_owned(),
        position: At { epoch, seq },
    }
}

fn present(begins: bool, epoch: i64, seq: i64) -> Record {
    Record::Present {
        connection: "w".to_owned(),
        begins,
        positions: vec![(TOPIC.to_owned(), At { epoch, seq })],
    }
}

fn gap(epoch: i64, seq: i64) -> Record {
    let position = At { epoch, seq };
    Record::Gap {
        connection: "w".to_owned(),
        topic: TOPIC.to_owned(),
        position,
    }
}

/// Two messages, all as it should be.
fn good() -> Vec<Record> {
    vec![
        invoke("a"),
        ok("a", 10),
        live(10, "a"),
        invoke("b"),
        ok("b", 11),
        live(11, "b"),
        stored(10, "a"),
        stored(11, "b"),
    ]
}

fn verdict(records: &[Record]) -> Verdict {
    let lines = records.iter().zip(0..).map(|(record, at_us)| {
        let text = serde_json::to_string(&Line {
            at_us,
            record: record.clone(),
        })?;
        Ok(serde_json::from_str(&text)?)
    });
    check(lines, &["w"], None).unwrap()
}

/// The broken history has a violation of just this kind first; the repaired one has none.
fn fails(invariant: &str, broken: &[Record], repaired: &[Record]) {
    let found = verdict(broken);
    assert!(
        found.violations.iter().any(|v| v.invariant == invariant),
        "{invariant} was not found, but {:?}",
        found.violations
    );
    let clean = verdict(repaired);
    assert!(
        clean.is_clean(),
        "the repaired history has {:?}",
        clean.violations
    );
}

fn without(place: usize) -> Vec<Record> {
    let mut records = good();
    records.remove(place);
    records
}

fn with(place: usize, record: Record) -> Vec<Record> {
    let mut records = good();
    records[place] = record;
    records
}

fn and(mut records: Vec<Record>, more: &[Record]) -> Vec<Record> {
    records.extend_from_slice(more);
    records
}

#[test]
fn a_good_history_is_clean_and_counted() {
    let verdict = verdict(&good());
    assert!(verdict.is_clean(), "{:?}", verdict.violations);
    let counts = verdict.counts;
    assert_eq!((counts.invoked, counts.acked, counts.unknown), (2, 2, 0));
    assert_eq!((counts.stored, counts.received, counts.inserted), (2, 2, 0));
}

#[test]
fn i1_an_acknowledged_message_missing_from_history() {
    fails("I1", &without(7), &good());
}

#[test]
fn i2_an_acknowledged_message_that_a_watcher_never_had() {
    fails("I2", &without(5), &good());
}

#[test]
fn i3_a_retried_send_that_appears_twice() {
    let unknown = Record::Unknown {
        nonce: "b".to_owned(),
    };
    let mut once = good();
    once.insert(4, unknown.clone());
    let mut twice = once.clone();
    twice.push(stored(12, "b"));
    fails("I3", &twice, &once);
}

#[test]
fn i3_a_send_that_is_acknowledged_as_another() {
    fails("I3", &with(4, ok("b", 12)), &good());
}

#[test]
fn i3_an_unanswered_send_may_appear_or_not() {
    let open = [
        invoke("c"),
        Record::Unknown {
            nonce: "c".to_owned(),
        },
    ];
    let absent = and(good(), &open);
    assert!(verdict(&absent).is_clean());
    assert_eq!(verdict(&absent).counts.unknown, 1);
    let present = and(absent, &[live(12, "c"), stored(12, "c")]);
    assert!(verdict(&present).is_clean());
    assert_eq!(verdict(&present).counts.unknown_attempts, 1);
}

#[test]
fn i4_a_message_that_nobody_sent() {
    let alien = [live(12, "z"), stored(12, "z")];
    let sent = [&[invoke("z"), ok("z", 12)], &alien[..]].concat();
    fails("I4", &and(good(), &alien), &and(good(), &sent));
}

#[test]
fn i4_a_refused_message_that_appears() {
    let refused = [
        invoke("c"),
        Record::Fail {
            nonce: "c".to_owned(),
            reason: "too long".to_owned(),
        },
    ];
    let appeared = [live(12, "c"), stored(12, "c")];
    let broken = [&refused[..], &appeared].concat();
    fails("I4", &and(good(), &broken), &and(good(), &refused));
}

#[test]
fn i4_a_message_whose_text_changed() {
    let mut changed = message(11, "b");
    changed.hash = hash("another");
    let changed = Record::Stored {
        message: changed,
        page: 0,
    };
    fails("I4", &with(7, changed), &good());
}

#[test]
fn i5_a_watcher_that_has_more_than_history() {
    let open = [invoke("c"), live(12, "c")];
    fails(
        "I5",
        &and(good(), &open),
        &and(and(good(), &open), &[stored(12, "c")]),
    );
}

#[test]
fn i5_a_watcher_that_lacks_an_unanswered_but_stored_message() {
    let open = [invoke("c"), stored(12, "c")];
    fails(
        "I5",
        &and(good(), &open),
        &and(and(good(), &open), &[live(12, "c")]),
    );
}

#[test]
fn i6_an_author_whose_sends_do_not_rise() {
    let low = vec![
        invoke("a"),
        ok("a", 10),
        live(10, "a"),
        invoke("b"),
        ok("b", 9),
        live(9, "b"),
        stored(9, "b"),
        stored(10, "a"),
    ];
    fails("I6", &low, &good());
}

#[test]
fn i6_an_answer_below_what_it_answers() {
    let answer = |reply_to| {
        let with_reply = |id| Seen {
            reply_to,
            author: 2,
            ..message(id, "c")
        };
        let recv = recv(Source::Live, with_reply(12));
        let rest = [
            Record::Invoke {
                message: with_reply(0),
            },
            ok("c", 12),
            recv,
            Record::Stored {
                message: with_reply(12),
                page: 0,
            },
        ];
        and(good(), &rest)
    };
    fails("I6", &answer(13), &answer(11));
}

/// Frames of a topic, and the two messages besides.
fn frames(frames: &[Record]) -> Vec<Record> {
    and(good(), frames)
}

#[test]
fn i7_a_jump_without_a_gap() {
    let jump = [snapshot(9, 2), event(9, 3), event(9, 5)];
    let told = [snapshot(9, 2), event(9, 3), gap(9, 4), event(9, 5)];
    fails("I7", &frames(&jump), &frames(&told));
}

#[test]
fn i7_a_jump_after_a_gap() {
    let jump = [gap(9, 4), event(9, 6)];
    fails("I7", &frames(&jump), &frames(&[gap(9, 4), event(9, 5)]));
}

#[test]
fn i7_an_epoch_that_changes_without_a_gap() {
    let broken = [snapshot(9, 0), event(10, 1)];
    let repaired = [snapshot(9, 0), gap(10, 0), event(10, 1)];
    fails("I7", &frames(&broken), &frames(&repaired));
}

#[test]
fn i7_a_topic_that_begins_without_a_snapshot() {
    let told = [snapshot(9, 0), event(9, 1)];
    fails("I7", &frames(&[event(9, 1)]), &frames(&told));
    let removed = Record::Removed {
        connection: "w".to_owned(),
        topic: TOPIC.to_owned(),
    };
    let after = [snapshot(9, 0), removed, event(9, 1)];
    fails("I7", &frames(&after), &frames(&told));
}

#[test]
fn i7_a_connection_goes_on_from_what_its_client_presents() {
    let cut = |rest: &[Record]| {
        let before = [
            snapshot(9, 0),
            event(9, 1),
            event(9, 2),
            present(true, 9, 1),
        ];
        frames(&[&before[..], rest].concat())
    };
    let replayed = cut(&[event(9, 2), event(9, 3)]);
    fails("I7", &cut(&[event(9, 3)]), &replayed);
    // What isn't presented isn't held.
    let nothing = Record::Present {
        connection: "w".to_owned(),
        begins: true,
        positions: Vec::new(),
    };
    let silent = [snapshot(9, 0), nothing, event(9, 1)];
    fails("I7", &frames(&silent), &replayed);
    // A view presents some; the others stay.
    let viewed = [
        snapshot(9, 0),
        event(9, 1),
        present(false, 9, 0),
        event(9, 1),
    ];
    assert!(verdict(&frames(&viewed)).is_clean());
    // What came while it told so is none the less had.
    let view = |seq| {
        [
            snapshot(9, 0),
            event(9, 1),
            present(false, 9, seq),
            event(9, 2),
        ]
    };
    assert!(verdict(&frames(&view(0))).is_clean());
    let again = |seq| frames(&[&view(seq)[..], &[event(9, 1)]].concat());
    fails("I8", &again(1), &again(0));
}

#[test]
fn i7_a_client_that_claims_more_than_it_got() {
    let claims = |seq| frames(&[snapshot(9, 4), present(true, 9, seq)]);
    fails("I7", &claims(5), &claims(4));
}

#[test]
fn i8_an_event_that_comes_again() {
    let again = [snapshot(9, 2), event(9, 3), event(9, 3)];
    fails("I8", &frames(&again), &frames(&again[..2]));
}

#[test]
fn i9_two_sends_that_are_acknowledged_as_one() {
    let other = |id| {
        let invoke = Record::Invoke {
            message: Seen {
                author: 2,
                ..message(0, "c")
            },
        };
        vec![invoke, ok("c", id)]
    };
    let kept = Seen {
        author: 2,
        ..message(12, "c")
    };
    let rest = [
        recv(Source::Live, kept.clone()),
        Record::Stored {
            message: kept,
            page: 0,
        },
    ];
    fails(
        "I9",
        &and(good(), &other(11)),
        &and(and(good(), &other(12)), &rest),
    );
}

#[test]
fn i13_what_was_planned_and_never_acknowledged() {
    let lines = |records: Vec<Record>| {
        let lines = records.into_iter().zip(0..);
        lines.map(|(record, at_us)| Ok(Line { at_us, record }))
    };
    let refused = Record::Fail {
        nonce: "c".to_owned(),
        reason: "NOT_FOUND".to_owned(),
    };
    let with_refusal = and(good(), &[invoke("c"), refused]);
    let planned = |messages| {
        Some(Planned {
            messages,
            replies: 0,
        })
    };
    let verdict = check(lines(with_refusal), &["w"], planned(3)).unwrap();
    assert_eq!(verdict.violations[0].invariant, "I13");
    assert!(check(lines(good()), &["w"], planned(2)).unwrap().is_clean());
}

#[test]
fn i8_a_message_that_is_paged_though_it_was_there() {
    fails("I8", &and(good(), &[paged(11, "b")]), &good());
}

#[test]
fn i15_pages_that_overlap_or_fall() {
    let read = |pages: [(u64, i64, &str); 2]| {
        let mut records = good();
        records.truncate(6);
        records.extend(pages.map(|(page, id, nonce)| stored_at(page, id, nonce)));
        records
    };
    let rising = read([(0, 10, "a"), (0, 11, "b")]);
    fails("I15", &read([(0, 11, "b"), (0, 10, "a")]), &rising);
    fails(
        "I15",
        &and(rising.clone(), &[stored_at(1, 11, "b")]),
        &rising,
    );
    let newest_first = read([(0, 11, "b"), (1, 10, "a")]);
    fails("I15", &read([(0, 10, "a"), (1, 11, "b")]), &newest_first);
    fails("I15", &and(good(), &[stored(11, "b")]), &good());
}

#[test]
fn a_live_insertion_in_the_middle_is_counted() {
    let mut records = good();
    records.insert(3, invoke("c"));
    records.insert(6, live(12, "c"));
    records[7] = live(11, "b");
    records.push(stored(12, "c"));
    let verdict = verdict(&records);
    assert!(verdict.is_clean(), "{:?}", verdict.violations);
    assert_eq!(verdict.counts.inserted, 1);
}
