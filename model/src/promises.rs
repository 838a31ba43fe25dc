//! What must be true whatever happens. Most of it is asked when all is at rest: nothing under way,
//! nothing left to sweep, the reader connected and its gateway in step.

use crate::rules::Rule;
use crate::state::{ATTEMPTS, Content, Paging, SENDS, SLOTS, Shown, Slot, State};
use crate::{Change, Kind, Scenario};
use stateright::{Model, Property};

/// Acknowledged sends are stored as they were sent, unless their users changed them.
pub const STORED: &str = "what is acknowledged is stored";
/// Acknowledged edits and deletes are stored.
pub const CHANGED: &str = "a change that is acknowledged is stored";
/// Who reads holds what was acknowledged.
pub const HEARD: &str = "who reads holds what is acknowledged";
/// Who reads holds what is stored, its outcome unknown or not.
pub const WHOLE: &str = "who reads holds what is stored";
/// A nonce is one message.
pub const ONCE: &str = "a nonce is one message";
/// Whoever sends again under the nonce of a message finds it by the nonce's row.
pub const FOUND: &str = "a later repeat finds its message";
/// A send has an id above all that its author had seen.
pub const RISES: &str = "ids rise for who saw";
/// Nobody who was told of a delete sees the text again; none is published when it is acknowledged.
pub const FINAL: &str = "deleted is final";
/// Without a fault, everything comes to rest.
pub const LIVE: &str = "all comes to rest";
/// That the search gets anywhere: every operation is acknowledged, and all is at rest.
pub const REACHED: &str = "all acknowledged and at rest";

/// The properties that are searched for counterexamples.
pub(crate) fn properties() -> Vec<Property<Scenario>> {
    vec![
        Property::always(STORED, |model, state| {
            !at_rest(model, state) || sends_stored(model, state)
        }),
        Property::always(CHANGED, |model, state| {
            !at_rest(model, state) || changes_stored(model, state)
        }),
        Property::always(HEARD, |model, state| {
            !at_rest(model, state) || acknowledged_heard(model, state)
        }),
        Property::always(WHOLE, |model, state| {
            !at_rest(model, state) || (0..SLOTS).all(|slot| same(state, slot))
        }),
        Property::always(ONCE, |model, state| {
            !at_rest(model, state) || (0..SENDS).all(|send| once(state, send))
        }),
        Property::always(FOUND, |model, state| {
            !at_rest(model, state) || (0..SENDS).all(|send| found(state, send))
        }),
        Property::always(RISES, |_, state: &State| !state.sank),
        Property::always(FINAL, |_, state: &State| {
            !state.returned && (0..SLOTS).all(|slot| stays_deleted(state, slot))
        }),
        Property::always(LIVE, |model, state| {
            at_rest(model, state) || goes_on(model, state)
        }),
        Property::sometimes(REACHED, |model, state: &State| {
            let known = &state.operations[..model.operations.len()];
            at_rest(model, state) && known.iter().all(|known| known.acknowledged.is_some())
        }),
    ]
}

/// Whether nothing is under way, and nothing is left to do.
fn at_rest(model: &Scenario, state: &State) -> bool {
    let rule = |rule| model.rules.hold(rule);
    let runs = state
        .attempts
        .iter()
        .flatten()
        .any(|attempt| attempt.runs());
    let gateway = &state.gateway;
    let reader = &state.reader;
    if runs || state.store.late[0].is_some() || state.sweep.is_some() {
        return false;
    }
    if gateway.dirty || !gateway.linked || !reader.connected || reader.paging != Paging::None {
        return false;
    }
    if rule(Rule::SecondGap) && !state.redis.settled && rule(Rule::EpochOnLoss) {
        return false;
    }
    let mut bits = 0..crate::change::BITS;
    model.in_step(state) && !bits.any(|bit| model.sweepable(state, bit).is_some())
}

/// Whether something other than a fault can happen.
fn goes_on(model: &Scenario, state: &State) -> bool {
    let mut actions = Vec::with_capacity(64);
    model.actions(state, &mut actions);
    let mut actions = actions.into_iter().filter(|action| !action.is_fault());
    actions.any(|action| model.next_state(state, action).is_some())
}

/// The operations that change a message, and were called.
fn changes_of(model: &Scenario, state: &State, slot: Slot) -> impl Iterator<Item = Change> {
    let kinds = model.operations.iter().zip(state.operations);
    kinds.filter_map(move |(kind, known)| match kind {
        Kind::Change(change) if known.attempts > 0 && known.target == Some(slot) => Some(*change),
        _ => None,
    })
}

fn sends_stored(model: &Scenario, state: &State) -> bool {
    let mut kinds = model.operations.iter().zip(&state.operations);
    kinds.all(|(kind, known)| {
        let (Kind::Send(_), Some(slot)) = (kind, known.acknowledged) else {
            return true;
        };
        let row = state.row(slot);
        let mut changes = changes_of(model, state, slot);
        if row.deleted {
            return changes.any(|change| change == Change::Delete);
        }
        let text = row.text.value;
        let sent = text == crate::store::text_of(slot);
        row.inserted && (sent || changes.any(|change| change == Change::Edit(text)))
    })
}

fn changes_stored(model: &Scenario, state: &State) -> bool {
    let mut kinds = model.operations.iter().zip(&state.operations);
    kinds.all(|(kind, known)| {
        let (Kind::Change(change), Some(slot)) = (kind, known.acknowledged) else {
            return true;
        };
        let row = state.row(slot);
        let edits = changes_of(model, state, slot).filter(|other| *other != Change::Delete);
        match change {
            Change::Delete => row.deleted,
            // Of two edits either may be the later one.
            Change::Edit(text) => row.deleted || row.text.value == *text || edits.count() > 1,
        }
    })
}

/// What a reader of history sees.
fn stored(state: &State, slot: usize) -> Option<Shown> {
    let row = &state.store.rows[slot];
    row.visible().then(|| row.shown())
}

/// Whether the reader holds of a message what is stored.
fn same(state: &State, slot: usize) -> bool {
    let shown = state.reader.shown[slot];
    let visible = matches!(shown.content, Content::Text(_));
    visible.then_some(shown) == stored(state, slot)
}

fn acknowledged_heard(model: &Scenario, state: &State) -> bool {
    let mut kinds = model.operations.iter().zip(&state.operations);
    let unknown = kinds.any(|(kind, known)| {
        matches!(kind, Kind::Change(_)) && known.attempts > 0 && known.acknowledged.is_none()
    });
    let mut acknowledged = state
        .operations
        .iter()
        .filter_map(|known| known.acknowledged);
    unknown || acknowledged.all(|slot| same(state, usize::from(slot)))
}

fn once(state: &State, send: usize) -> bool {
    let slots = send * ATTEMPTS..(send + 1) * ATTEMPTS;
    slots.filter(|slot| stored(state, *slot).is_some()).count() <= 1
}

fn found(state: &State, send: usize) -> bool {
    let mut slots = send * ATTEMPTS..(send + 1) * ATTEMPTS;
    let seen = slots.find(|slot| stored(state, *slot).is_some());
    seen.is_none_or(|slot| state.named(send) == Some(slot as Slot))
}

fn stays_deleted(state: &State, slot: usize) -> bool {
    let told = state.reader.told_deleted >> slot & 1 == 1;
    !(told && matches!(state.reader.shown[slot].content, Content::Text(_)))
}
