//! What a state of the model holds. One channel; ids, revisions, epochs and positions are small
//! numbers that rise; a *slot* stands for a message that an attempt at a send may make.

/// Sends in a scenario, at most.
pub const SENDS: usize = 3;
/// Attempts at one operation, at most: a client's call, and its repeats.
pub const ATTEMPTS: usize = 3;
/// Slots: one for each attempt at each send.
pub const SLOTS: usize = SENDS * ATTEMPTS;
/// Operations in a scenario, at most.
pub const OPERATIONS: usize = 3;
/// Events that the ring keeps.
pub const RING: usize = 2;

/// A message that an attempt may make: `send * ATTEMPTS + attempt`.
pub type Slot = u8;

/// What is to be seen of a message.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Content {
    /// Nothing was heard of it.
    #[default]
    Nothing,
    /// Its text, as a number.
    Text(u8),
    /// It was deleted.
    Deleted,
}

/// A message as an event, a page or a client's memory shows it.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Shown {
    /// Its revision; 0 for none.
    pub revision: u8,
    /// What is to be seen.
    pub content: Content,
}

/// An event of the channel's topic.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Event {
    /// Which message.
    pub slot: Slot,
    /// The message, whole.
    pub shown: Shown,
}

/// A cell of a CQL row: of two writes the later one stays, of two at the same time the larger.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The write's time.
    pub at: u8,
    /// What was written.
    pub value: u8,
}

/// A message's row.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Row {
    /// Whether it has its author: an update alone makes a row of keys, which readers hide.
    pub inserted: bool,
    /// Its text.
    pub text: Cell,
    /// Its revision.
    pub revision: Cell,
    /// Whether it is deleted.
    pub deleted: bool,
}

impl Row {
    /// Whether there is anything of it but keys.
    pub fn exists(&self) -> bool {
        self.inserted || self.deleted
    }

    /// Whether readers see its text.
    pub fn visible(&self) -> bool {
        self.inserted && !self.deleted
    }

    /// As an event tells it.
    pub fn shown(&self) -> Shown {
        let content = match self.deleted {
            true => Content::Deleted,
            false => Content::Text(self.text.value),
        };
        Shown {
            revision: self.revision.value,
            content,
        }
    }
}

/// A nonce's row.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Nonce {
    /// The write's time.
    pub at: u8,
    /// The message that it names.
    pub slot: Slot,
}

/// A write to the store.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Write {
    /// The nonce's row, at a time.
    Nonce(Nonce),
    /// The nonce's row by a lightweight transaction: only if there is none.
    NonceIfAbsent(Nonce),
    /// A message.
    Insert(Slot),
    /// A message's new text, at a revision.
    Edit(Slot, u8, u8),
    /// A message's end, at a revision.
    Delete(Slot, u8),
}

/// ScyllaDB.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Store {
    /// Messages.
    pub rows: [Row; SLOTS],
    /// Nonces, one for each send.
    pub nonces: [Option<Nonce>; SENDS],
    /// Writes that timed out and may still be applied.
    pub late: [Option<Write>; 2],
    /// Writes so far; counted only if their times are those of their arrival.
    pub arrivals: u8,
}

/// Redis, as far as it holds the channel.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Redis {
    /// The epoch; 0: its hash is missing.
    pub epoch: u8,
    /// Whether it was restored from a snapshot, or failed over, and no script saw that yet.
    pub restored: bool,
    /// The latest position's number.
    pub seq: u8,
    /// The channel's highest id; 0 for none.
    pub highest: u8,
    /// The latest events, oldest first.
    pub ring: [Event; RING],
    /// How many of them there are.
    pub ring_len: u8,
    /// Which message has a send's nonce.
    pub nonces: [Option<Slot>; SENDS],
    /// What is to be swept: a bit for each slot, then one for each attempt at a change.
    pub pending: u32,
    /// With which messages a repeat went on while they were pending, a bit each.
    pub joined: u16,
    /// Which messages are marked as deleted, a bit each.
    pub deleted: u16,
    /// Whether what was in flight when the epoch began is over, and positions were told so.
    pub settled: bool,
}

/// Where an attempt stands: what it does next.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Step {
    /// Not begun.
    #[default]
    Idle,
    /// Reads the message that it changes.
    ReadTarget,
    /// Reserves: a nonce and an id, or a revision.
    Reserve,
    /// Reads the nonce's row.
    ReadNonce,
    /// Reads the channel's newest id from the store.
    ReadNewest,
    /// Reads the row of the message that has its nonce.
    ReadRow,
    /// Writes the nonce's row.
    WriteNonce,
    /// Writes the message, or its change.
    WriteRow,
    /// Reads the message as it is now.
    Reread,
    /// Publishes.
    Publish,
    /// Settles with Redis who has the nonce.
    Claim,
    /// Deletes its own message, another having the nonce.
    DeleteOwn,
    /// Publishes that.
    TellDeleted,
    /// Answers.
    Acknowledge,
    /// Answered.
    Done,
    /// Failed, crashed or refused; to the client it is unknown.
    Dead,
}

/// One attempt at an operation, on a node.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Attempt {
    /// What it does next.
    pub step: Step,
    /// The message that it works on.
    pub slot: Option<Slot>,
    /// The message that has the nonce in its stead.
    pub other: Option<Slot>,
    /// The message that it wrote.
    pub wrote: Option<Slot>,
    /// The epoch under which it last read what it goes by.
    pub epoch: u8,
    /// The newest id that it read from the store.
    pub newest: Option<u8>,
    /// The revision that it reserved; kept when it has ended.
    pub revision: u8,
    /// What it will publish.
    pub shown: Shown,
    /// Whether it has reread the nonce's row under its epoch.
    pub reread: bool,
}

impl Attempt {
    /// Whether it is under way.
    pub fn runs(&self) -> bool {
        !matches!(self.step, Step::Idle | Step::Done | Step::Dead)
    }

    /// Ends it; what the sweeper must know stays.
    pub fn end(&mut self, step: Step) {
        *self = Attempt {
            step,
            revision: self.revision,
            ..Attempt::default()
        };
    }
}

/// An operation, as its client knows it.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Operation {
    /// Attempts so far.
    pub attempts: u8,
    /// The message that was acknowledged, or whose change was.
    pub acknowledged: Option<Slot>,
    /// The highest id that its author had seen before.
    pub seen: u8,
    /// The message that it changes.
    pub target: Option<Slot>,
}

/// What the sweeper has taken up.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Sweep {
    /// Its bit in the pending set.
    pub bit: u8,
    /// The message as it was read.
    pub event: Event,
    /// The epoch under which it was read.
    pub epoch: u8,
    /// The message that the nonce's row named.
    pub named: Option<Slot>,
    /// The message that has the nonce in this one's stead, which is to be deleted.
    pub other: Option<Slot>,
}

/// A gateway.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Gateway {
    /// Whether its subscription to Redis lives.
    pub linked: bool,
    /// Whether events may be missing.
    pub dirty: bool,
    /// Its position: epoch and number.
    pub position: (u8, u8),
}

/// How far a client's paging after a gap is.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Paging {
    /// None is due.
    #[default]
    None,
    /// The page is to be read.
    Due,
    /// The page was read and is under way.
    Read,
}

/// A client that reads.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Reader {
    /// Whether it is connected.
    pub connected: bool,
    /// Its position; (0, 0) for none.
    pub position: (u8, u8),
    /// What it shows.
    pub shown: [Shown; SLOTS],
    /// How far its paging is.
    pub paging: Paging,
    /// The page under way.
    pub page: [Shown; SLOTS],
    /// Messages of which it was told that they are deleted, a bit each.
    pub told_deleted: u16,
}

/// Faults that may still happen; and, before the start, that may happen at all.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Faults {
    /// FLUSHALL.
    pub flush: u8,
    /// Restarts from an older snapshot, failovers to a replica that lags.
    pub rollback: u8,
    /// Crashes of a node.
    pub crash: u8,
    /// Writes that are known to have done nothing, as when there is too much to do.
    pub shed: u8,
    /// Writes that time out, and are applied later or never.
    pub late: u8,
    /// Events that Pub/Sub loses.
    pub lost: u8,
    /// Ten minutes that pass: for nonces, for marks of the deleted, or for what the sweeper seeks.
    pub expiry: u8,
    /// Disconnects of the reader.
    pub disconnect: u8,
}

/// A state of the whole.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct State {
    /// The id of each slot; 0 for none yet.
    pub ids: [u8; SLOTS],
    /// The last id of each node.
    pub last: [u8; 2],
    /// The store.
    pub store: Store,
    /// Redis.
    pub redis: Redis,
    /// What Redis would be restored to.
    pub snapshot: Option<Redis>,
    /// Epochs so far.
    pub epochs: u8,
    /// Operations.
    pub operations: [Operation; OPERATIONS],
    /// Attempts at them.
    pub attempts: [[Attempt; ATTEMPTS]; OPERATIONS],
    /// What the sweeper has taken up.
    pub sweep: Option<Sweep>,
    /// The gateway.
    pub gateway: Gateway,
    /// The reader.
    pub reader: Reader,
    /// Faults that may still happen.
    pub faults: Faults,
    /// A send was acknowledged with an id below one that its author had seen.
    pub sank: bool,
    /// A text was published after its deletion was acknowledged.
    pub returned: bool,
}
