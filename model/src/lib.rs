//! A model of the send path over ScyllaDB and Redis, as it is going to be built, and a search
//! through every order in which its steps and faults can happen.
//!
//! - [`rules`]: the rules of the scheme, each a switch, so that leaving one out can be seen to
//!   break something;
//! - [`state`]: what a state holds; `store`, `redis`, `send`, `change` (edits, deletes, the
//!   sweeper) and `gateway` (and the client that reads): what may happen next;
//! - [`promises`]: what must be true whatever happens;
//! - [`cases`]: the scenarios that are searched; `words`: how one is written in a line;
//! - [`search`]: a scenario's search, and its report.
//!
//! What the model leaves out: permissions, more than one channel, gateway and reader, the length of
//! time (it knows only what comes before what), and the bytes of anything.

pub mod cases;
mod change;
mod gateway;
pub mod promises;
mod redis;
pub mod rules;
pub mod search;
mod send;
pub mod state;
mod store;
mod words;

pub use rules::{Rule, Rules};
use state::{ATTEMPTS, Content, Faults, Redis, Slot, State, Step};
use stateright::{Model, Property};

/// The text of an edit that is less than that of any send.
pub const TEXT_LOW: u8 = 0;
/// The text of an edit that is more than that of any send.
pub const TEXT_HIGH: u8 = 9;

/// What changes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its text becomes this.
    Edit(u8),
    /// It is deleted.
    Delete,
}

/// An operation of a scenario. Changes are of the first send's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The send with this number, from 0.
    Send(usize),
    /// A change.
    Change(Change),
}

/// What is searched: operations, faults, rules.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The operations, at most [`state::OPERATIONS`]. They begin in any order.
    pub operations: Vec<Kind>,
    /// How often each operation's client tries, from 1 to [`state::ATTEMPTS`].
    pub attempts: [u8; state::OPERATIONS],
    /// How much may go wrong.
    pub faults: Faults,
    /// How far the first node's clock is ahead, in ids.
    pub ahead: u8,
    /// Whether Redis comes back from a loss with a clock that is behind all ids.
    pub clock_set_back: bool,
    /// Which rules hold.
    pub rules: Rules,
}

/// The node that an attempt runs on: the first operation's is the one whose clock may be ahead;
/// repeats go to the other.
fn node_of(operation: usize, attempt: usize) -> usize {
    (operation.min(1) + attempt) % 2
}

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As it should.
    Ends,
    /// A write times out: it is applied later, or never.
    TimesOut,
    /// What is published is lost on its way.
    EventLost,
    /// A write is known to have done nothing.
    IsShed,
}

/// What may happen next. Operations, attempts and pending bits are by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client calls, or repeats its call.
    Call(usize),
    /// An attempt takes its next step.
    Step(usize, usize, Fate),
    /// The node of an attempt crashes.
    Crash(usize, usize),
    /// A write that timed out is applied.
    LateWriteLands(usize),
    /// A write that timed out is never applied.
    LateWriteIsLost(usize),
    /// FLUSHALL.
    Flush,
    /// Redis writes its snapshot; or a replica falls behind.
    Snapshot,
    /// Redis restarts from the snapshot; or fails over to the replica.
    Rollback,
    /// Nonces expire in Redis.
    NoncesExpire,
    /// Marks of deleted messages expire.
    MarksExpire,
    /// The sweeper takes up a pending operation.
    SweepTake(u8),
    /// The sweeper publishes, and whether the event is lost.
    SweepPublish(bool),
    /// The sweeper deletes a duplicate.
    SweepDelete,
    /// The sweeper gives up what it doesn't find.
    SweepDrop(u8),
    /// The gateway's check of every 5 s.
    Check,
    /// The gateway subscribes anew.
    Relink,
    /// The gateway fills what is missing, or sends a gap.
    Fill,
    /// The reader loses its connection.
    Disconnect,
    /// The reader connects with its position.
    Connect,
    /// The reader's page is read from the store.
    ReadPage,
    /// The page reaches the reader.
    TakePage,
    /// What was in flight at the epoch's begin is over.
    SettleEpoch,
}

impl Action {
    /// Whether it is a fault, so that nothing may wait for it.
    fn is_fault(self) -> bool {
        use Action::{Crash, Disconnect, Flush, MarksExpire, NoncesExpire, Rollback, Snapshot};
        matches!(self, Crash(..) | Flush | Snapshot | Rollback | NoncesExpire)
            || matches!(self, MarksExpire | Disconnect | Action::SweepDrop(_))
            || matches!(self, Action::Step(_, _, fate) if fate != Fate::Ends)
            || self == Action::SweepPublish(true)
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            epochs: 1,
            faults: self.faults,
            last: [self.ahead & !1, 0],
            ..State::default()
        };
        state.redis.epoch = 1;
        state.redis.settled = true;
        state.gateway.linked = true;
        state.gateway.position = (1, 0);
        state.reader.connected = true;
        state.reader.position = (1, 0);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for operation in 0..self.operations.len() {
            actions.push(Action::Call(operation));
            for attempt in 0..ATTEMPTS {
                self.actions_of(state, operation, attempt, actions);
            }
        }
        for place in 0..state.store.late.len() {
            if state.store.late[place].is_some() {
                actions.push(Action::LateWriteLands(place));
                actions.push(Action::LateWriteIsLost(place));
            }
        }
        for bit in (0..change::BITS).filter(|bit| state.redis.is_pending(*bit)) {
            actions.push(Action::SweepTake(bit));
            actions.push(Action::SweepDrop(bit));
        }
        if state.sweep.is_some() {
            actions.extend([Action::SweepPublish(false), Action::SweepPublish(true)]);
            actions.push(Action::SweepDelete);
        }
        actions.extend([Action::Check, Action::Relink, Action::Fill]);
        actions.extend([Action::Connect, Action::ReadPage, Action::TakePage]);
        actions.extend([Action::SettleEpoch, Action::Flush, Action::Snapshot]);
        actions.extend([Action::Rollback, Action::NoncesExpire, Action::MarksExpire]);
        actions.push(Action::Disconnect);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        self.act(&mut state, action)?;
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::properties()
    }
}

impl Scenario {
    fn actions_of(&self, state: &State, op: usize, index: usize, actions: &mut Vec<Action>) {
        let attempt = &state.attempts[op][index];
        if !attempt.runs() {
            return;
        }
        actions.push(Action::Step(op, index, Fate::Ends));
        let writes = matches!(attempt.step, Step::WriteNonce | Step::WriteRow);
        if writes && state.faults.late > 0 {
            actions.push(Action::Step(op, index, Fate::TimesOut));
        }
        let sends = matches!(self.operations[op], Kind::Send(_));
        if writes && sends && state.faults.shed > 0 {
            actions.push(Action::Step(op, index, Fate::IsShed));
        }
        if matches!(attempt.step, Step::Publish | Step::TellDeleted) && state.faults.lost > 0 {
            actions.push(Action::Step(op, index, Fate::EventLost));
        }
        if state.faults.crash > 0 {
            actions.push(Action::Crash(op, index));
        }
    }

    /// Lets an action happen. None if it can't now.
    fn act(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Call(operation) => self.call(state, operation),
            Action::Step(operation, attempt, fate) => match self.operations[operation] {
                Kind::Send(send) => {
                    let at = send::Try {
                        operation,
                        attempt,
                        send,
                    };
                    self.step_send(state, at, fate)
                }
                Kind::Change(change) => self.step_change(state, (operation, attempt), change, fate),
            },
            Action::Crash(operation, attempt) => {
                state.faults.crash = state.faults.crash.checked_sub(1)?;
                state.attempts[operation][attempt].end(Step::Dead);
                Some(())
            }
            Action::LateWriteLands(place) => self.land(state, place, true),
            Action::LateWriteIsLost(place) => self.land(state, place, false),
            Action::Flush | Action::Snapshot | Action::Rollback => forget(state, action),
            Action::NoncesExpire if state.redis.nonces == Redis::default().nonces => None,
            Action::NoncesExpire => {
                self.ten_minutes(state)?;
                state.redis.nonces = Default::default();
                Some(())
            }
            Action::MarksExpire if state.redis.deleted == 0 => None,
            Action::MarksExpire => {
                self.ten_minutes(state)?;
                state.redis.deleted = 0;
                Some(())
            }
            Action::SweepTake(bit) => self.sweep_take(state, bit),
            Action::SweepPublish(lost) => self.sweep_publish(state, lost),
            Action::SweepDelete => self.sweep_delete(state),
            Action::SweepDrop(bit) => self.sweep_drop(state, bit),
            Action::Check => self.check(state),
            Action::Relink => self.relink(state),
            Action::Fill => self.fill(state),
            Action::Disconnect => self.disconnect(state),
            Action::Connect => self.connect(state),
            Action::ReadPage => self.read_page(state),
            Action::TakePage => self.take_page(state),
            Action::SettleEpoch => self.settle_epoch(state),
        }
    }

    /// A client calls: for the first time, or again because it heard no answer.
    fn call(&self, state: &mut State, operation: usize) -> Option<()> {
        let known = state.operations[operation];
        let index = usize::from(known.attempts);
        if known.attempts >= self.attempts[operation] || known.acknowledged.is_some() {
            return None;
        }
        let attempt = &mut state.attempts[operation][index];
        attempt.step = match self.operations[operation] {
            Kind::Change(_) => Step::ReadTarget,
            Kind::Send(_) if index > 0 && !self.rules.hold(Rule::ReserveNamesEpoch) => {
                Step::ReadNonce
            }
            Kind::Send(_) => Step::Reserve,
        };
        // A first call names the epoch that its node heard of last; a repeat must read.
        attempt.epoch = if index == 0 { state.epochs } else { 0 };
        if index == 0 {
            match self.operations[operation] {
                Kind::Send(_) => state.operations[operation].seen = self.seen(state),
                Kind::Change(_) => {
                    state.operations[operation].target = Some(self.target(state)?);
                }
            }
        }
        state.operations[operation].attempts += 1;
        Some(())
    }

    /// The highest id that the one who sends has seen: as a reader, and acknowledged.
    fn seen(&self, state: &State) -> u8 {
        let shown = state.reader.shown.iter().zip(state.ids);
        let shown = shown.filter(|(shown, _)| matches!(shown.content, Content::Text(_)));
        let sent = self.operations.iter().zip(&state.operations);
        let sent = sent.filter(|(kind, _)| matches!(kind, Kind::Send(_)));
        let sent = sent.filter_map(|(_, known)| known.acknowledged);
        let ids = sent.map(|slot| state.ids[usize::from(slot)]);
        shown.map(|(_, id)| id).chain(ids).max().unwrap_or(0)
    }

    /// The first send's message, if anyone can know it.
    fn target(&self, state: &State) -> Option<Slot> {
        let send = self.operations.iter().position(|k| *k == Kind::Send(0))?;
        let acknowledged = state.operations[send].acknowledged;
        acknowledged.or_else(|| {
            let mut slots = 0..ATTEMPTS as Slot;
            slots.find(|slot| {
                let shown = state.reader.shown[usize::from(*slot)];
                matches!(shown.content, Content::Text(_))
            })
        })
    }
}

/// Redis loses its memory, or goes back to an older one.
fn forget(state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::Flush if state.redis.epoch != 0 => {
            state.faults.flush = state.faults.flush.checked_sub(1)?;
            state.redis = Redis::default();
        }
        Action::Snapshot if state.redis.epoch != 0 && state.snapshot.is_none() => {
            (state.faults.rollback > 0).then_some(())?;
            state.snapshot = Some(state.redis);
        }
        Action::Rollback => {
            state.redis = state.snapshot.take()?;
            state.faults.rollback = state.faults.rollback.checked_sub(1)?;
            state.redis.restored = true;
            state.gateway.linked = false;
        }
        _ => return None,
    }
    Some(())
}
