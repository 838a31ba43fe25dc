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
    Record::Stored {
        message: message(id, nonce),
    }
}

fn live(seq: i64, id: i64, nonce: &str) -> Record {
    Record::Recv {
        connection: "w".to_owned(),
        message: message(id, nonce),
        source: Source::Live,
        position: Some(At { epoch: 9, seq }),
    }
}

fn paged(id: i64, nonce: &str) -> Record {
    Record::Recv {
        connection: "w".to_owned(),
        message: message(id, nonce),
        source: Source::Page,
        position: None,
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
        live(1, 10, "a"),
        invoke("b"),
        ok("b", 11),
        live(2, 11, "b"),
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
    check(lines, &["w"]).unwrap()
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
    let present = and(absent, &[live(3, 12, "c"), stored(12, "c")]);
    assert!(verdict(&present).is_clean());
    assert_eq!(verdict(&present).counts.unknown_attempts, 1);
}

#[test]
fn i4_a_message_that_nobody_sent() {
    let alien = [live(3, 12, "z"), stored(12, "z")];
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
    let appeared = [live(3, 12, "c"), stored(12, "c")];
    let broken = [&refused[..], &appeared].concat();
    fails("I4", &and(good(), &broken), &and(good(), &refused));
}

#[test]
fn i4_a_message_whose_text_changed() {
    let mut changed = message(11, "b");
    changed.hash = hash("another");
    fails("I4", &with(7, Record::Stored { message: changed }), &good());
}

#[test]
fn i5_a_watcher_that_has_more_than_history() {
    let open = [invoke("c"), live(3, 12, "c")];
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
        &and(and(good(), &open), &[live(3, 12, "c")]),
    );
}

#[test]
fn i6_an_author_whose_sends_do_not_rise() {
    let low = vec![
        invoke("a"),
        ok("a", 10),
        live(1, 10, "a"),
        invoke("b"),
        ok("b", 9),
        live(2, 9, "b"),
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
        let recv = Record::Recv {
            connection: "w".to_owned(),
            message: with_reply(12),
            source: Source::Live,
            position: Some(At { epoch: 9, seq: 3 }),
        };
        let rest = [
            Record::Invoke {
                message: with_reply(0),
            },
            ok("c", 12),
            recv,
            Record::Stored {
                message: with_reply(12),
            },
        ];
        and(good(), &rest)
    };
    fails("I6", &answer(13), &answer(11));
}

#[test]
fn i7_a_jump_without_a_gap() {
    let mut told = with(5, paged(11, "b"));
    told.insert(5, gap(9, 5));
    fails("I7", &with(5, live(6, 11, "b")), &told);
}

#[test]
fn i7_a_jump_is_explained_by_as_many_paged_messages_as_it_misses() {
    let history = |seq| {
        let sends = ["c", "d"].map(invoke);
        let pages = [gap(9, 2), paged(12, "c"), live(seq, 13, "d")];
        let rest = [stored(12, "c"), stored(13, "d")];
        // The event at 3 is a new message; that of the paged one comes after it, unseen.
        let later = [invoke("e"), live(seq + 2, 14, "e"), stored(14, "e")];
        and(good(), &[&sends[..], &pages, &rest, &later].concat())
    };
    let mut broken = history(3);
    broken.extend([invoke("f"), live(7, 15, "f"), stored(15, "f")]);
    fails("I7", &broken, &history(3));
}

#[test]
fn i7_an_epoch_that_changes_without_a_gap() {
    let other_epoch = Record::Recv {
        connection: "w".to_owned(),
        message: message(11, "b"),
        source: Source::Live,
        position: Some(At { epoch: 10, seq: 1 }),
    };
    let broken = with(5, other_epoch);
    let mut repaired = broken.clone();
    repaired.insert(5, gap(10, 0));
    fails("I7", &broken, &repaired);
}

#[test]
fn i7_a_topic_that_begins_without_a_snapshot() {
    let (connection, topic) = ("w".to_owned(), "server:3".to_owned());
    let position = At { epoch: 2, seq: 5 };
    let snapshot = Record::Snapshot {
        connection: connection.clone(),
        topic: topic.clone(),
        position: At { epoch: 2, seq: 4 },
    };
    let event = Record::Event {
        connection,
        topic,
        position,
    };
    fails(
        "I7",
        &and(good(), std::slice::from_ref(&event)),
        &and(good(), &[snapshot, event]),
    );
}

#[test]
fn i8_an_event_that_comes_again() {
    fails("I8", &and(good(), &[live(2, 11, "b")]), &good());
}

#[test]
fn i8_a_message_that_is_paged_though_it_was_there() {
    fails("I8", &and(good(), &[paged(11, "b")]), &good());
}

#[test]
fn i15_pages_that_overlap() {
    fails("I15", &and(good(), &[stored(11, "b")]), &good());
}

#[test]
fn a_live_insertion_in_the_middle_is_counted() {
    let mut records = good();
    records.insert(3, invoke("c"));
    records.insert(6, live(2, 12, "c"));
    records[7] = live(3, 11, "b");
    records.push(stored(12, "c"));
    let verdict = verdict(&records);
    assert!(verdict.is_clean(), "{:?}", verdict.violations);
    assert_eq!(verdict.counts.inserted, 1);
}
