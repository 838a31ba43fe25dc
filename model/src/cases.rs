//! The scenarios that are searched. The small ones are tests; `make model` searches all.

use crate::promises::{CHANGED as CHANGE, FINAL, FOUND, HEARD, LIVE, ONCE, RISES, STORED, WHOLE};

/// A scenario, and what comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is about.
    pub about: &'static str,
    /// Its words, as [`crate::Scenario::parse`] takes them.
    pub line: &'static str,
    /// A promise that is broken; without one, all are kept.
    pub breaks: Option<&'static str>,
}

const fn holds(about: &'static str, line: &'static str) -> Case {
    let breaks = None;
    Case {
        about,
        line,
        breaks,
    }
}

const fn breaks(line: &'static str, promise: &'static str) -> Case {
    Case {
        about: "",
        line,
        breaks: Some(promise),
    }
}

/// What the scheme withstands.
pub const HOLDS: &[Case] = &[
    holds("a repeat overtakes its first call", "send*2"),
    holds(
        "a crash between any two steps; a late write",
        "send*2 crash=1 late=1",
    ),
    holds("the last event of a quiet channel is lost", "send lost=1"),
    holds("events lost, then a resume", "send*2 lost=1 disconnect=1"),
    holds("all of that", "send*2 crash=1 late=1 lost=1 disconnect=1"),
    holds(
        "a write is held while a higher id is read, then a resume",
        "send other disconnect=1",
    ),
    holds(
        "two repeats, a crash, a late write",
        "send*3 crash=1 late=1",
    ),
    holds(
        "a write is shed, and what was reserved is given back, while a repeat goes on",
        "send*2 shed=1 late=1",
    ),
    holds("FLUSHALL", "send*2 flush=1"),
    holds(
        "FLUSHALL, and a crash before the publish",
        "send flush=1 crash=1",
    ),
    holds("Redis restarts from an older snapshot", "send*2 rollback=1"),
    holds(
        "Redis comes back with its clock set back",
        "send*2 flush=1 ahead=6 set-back",
    ),
    holds("ten minutes pass", "send*2 expiry=1 crash=1 late=1 lost=1"),
    holds("a frozen node thaws after a delete", "send delete expiry=1"),
    holds(
        "a delete under faults",
        "send delete crash=1 late=1 lost=1 disconnect=1",
    ),
    holds("a delete and FLUSHALL", "send delete flush=1"),
    holds("a delete and a snapshot", "send delete rollback=1"),
    holds(
        "an edit under faults",
        "send low crash=1 late=1 lost=1 disconnect=1",
    ),
    holds(
        "an edit and FLUSHALL, its write late",
        "send low flush=1 late=1",
    ),
    holds("an edit and a snapshot", "send low rollback=1"),
    holds("an edit races a delete", "send high delete crash=1 late=1"),
    holds("two edits race", "send high low late=1"),
];

/// The same with more at once.
pub const HOLDS_LARGE: &[Case] = &[
    holds(
        "FLUSHALL under faults",
        "send*2 flush=1 lost=1 disconnect=1",
    ),
    holds(
        "a snapshot under faults",
        "send*2 rollback=1 lost=1 disconnect=1",
    ),
    holds("a repeat, a delete and FLUSHALL", "send*2 delete flush=1"),
    holds("an edit, a delete and FLUSHALL", "send high delete flush=1"),
    holds(
        "an edit, a delete and a snapshot",
        "send high delete rollback=1",
    ),
    holds(
        "an edit, a delete, faults",
        "send high delete crash=1 late=1 lost=1 disconnect=1",
    ),
    holds("two edits and FLUSHALL", "send high low flush=1"),
    holds("two senders, a crash", "send*2 other crash=1 lost=1"),
    holds(
        "a write is shed while two repeats go on",
        "send*3 shed=1 late=1 crash=1 lost=1",
    ),
];

/// What leaving a rule out breaks.
pub const MUTATIONS: &[Case] = &[
    breaks("send*2 crash=1 -PersistBeforeAcknowledge", STORED),
    breaks("send crash=1 -PersistBeforePublish", WHOLE),
    breaks("send*2 rollback=1 lost=1 -EpochOnLoss", ONCE),
    breaks("send lost=1 -ActiveCheck", HEARD),
    breaks("send flush=1 -EpochCheck", LIVE),
    breaks("send other lost=1 -JumpNoticed", HEARD),
    breaks("send*2 flush=1 -PositionBeforePage", HEARD),
    breaks("send delete flush=1 crash=1 -PagesNameDeleted", WHOLE),
    breaks("send flush=1 crash=1 -SecondGap", WHOLE),
    breaks("send crash=1 -Sweeper", WHOLE),
    breaks("send low late=1 -SweepAtRevision", WHOLE),
    breaks("send delete crash=1 -SweepWritesDelete", WHOLE),
    breaks("send expiry=1 late=1 -SweepSeals", WHOLE),
    breaks("send*2 flush=1 -DuplicateIsTold", WHOLE),
    breaks("send*2 flush=1 ahead=6 set-back -NonceRewritten", FOUND),
    breaks("send*2 high late=1 -TimesOfIds", CHANGE),
    breaks("send low -RevisionNextMillisecond", CHANGE),
    breaks("send*2 delete -DeletedIsFinal", CHANGE),
    breaks("send delete flush=1 -MarkAtPublish", FINAL),
    breaks("send high delete -MarkHolds", FINAL),
    breaks("send*2 flush=1 -DurableNonce", ONCE),
    breaks("send*2 -RepeatKeepsId", ONCE),
    breaks(
        "send*2 expiry=1 late=1 crash=1 -DeletedIsNotAcknowledged",
        STORED,
    ),
    breaks("send*2 flush=1 -ReserveNamesEpoch", ONCE),
    breaks("send delete flush=1 -PublishNamesEpoch", FINAL),
    breaks("send*2 flush=1 -RefusedIsPending", ONCE),
    breaks("send*2 shed=1 late=1 -GivenBackAlone", WHOLE),
    breaks("send other flush=1 ahead=4 set-back -FloorOfStore", RISES),
    breaks("send*2 expiry=1 -OldIsRefused", STORED),
];

/// The same, found only among millions of states.
pub const MUTATIONS_LARGE: &[Case] = &[
    breaks("send*2 delete flush=1 -MarkAtReserve", FINAL),
    breaks("send*2 other flush=1 ahead=6 -FloorOfEpoch", RISES),
    breaks(
        "send other third flush=1 ahead=6 -PublishKeepsHighest",
        RISES,
    ),
];

/// What the scheme doesn't withstand: two faults within one operation.
pub const TWO_FAULTS: &[Case] = &[
    breaks("send*2 flush=1 crash=1", ONCE),
    breaks("send*2 flush=1 late=1", ONCE),
    breaks("send*2 rollback=1 crash=1", FOUND),
    breaks("send delete flush=1 crash=1", FINAL),
];

/// The same at more states: Redis loses its memory twice within one operation, as by a failover
/// there and back.
pub const TWO_FAULTS_LARGE: &[Case] = &[
    breaks("send*2 flush=2", ONCE),
    breaks("send*2 rollback=2", ONCE),
    breaks("send*2 rollback=1 flush=1", ONCE),
];

/// Other ways to do the same, and what they withstand or don't.
pub const OTHER_WAYS: &[Case] = &[
    holds("", "send*2 flush=1 crash=1 +LightweightAlways"),
    holds("", "send*2 flush=1 crash=1 late=1 +LightweightAlways"),
    holds("", "send*2 rollback=1 +LightweightAlways"),
    holds("", "send*2 flush=1 +LightweightOnRepeats"),
    breaks("send*2 flush=1 crash=1 +LightweightOnRepeats", ONCE),
    breaks(
        "send flush=1 crash=1 disconnect=1 +SecondGapByGateway",
        WHOLE,
    ),
    holds("", "send flush=1 crash=1 disconnect=1"),
    holds("", "send delete flush=1 +RefusedRepeats"),
    holds("", "send*2 flush=1 ahead=6 -NonceRewritten"),
    holds("", "send*2 rollback=1 -NonceOfEpoch"),
];

/// The same at more states.
pub const OTHER_WAYS_LARGE: &[Case] = &[
    holds("", "send*2 flush=2 +LightweightAlways"),
    breaks("send*2 flush=2 +NodeSettles", STORED),
    breaks("send*2 flush=2 +RefusedRepeats", STORED),
    holds("", "send*2 rollback=1 flush=1 +LightweightAlways"),
    holds("", "send*2 flush=1 +NodeSettles"),
    holds("", "send*2 flush=1 +RefusedRepeats"),
    holds("", "send*2 rollback=1 +RefusedRepeats"),
];
