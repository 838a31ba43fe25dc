//! The machine's vocabulary: what can happen, what is to be done.

use crate::{
    error::Error,
    event::{Event, Held},
};
use chirm_proto::v1::{self, server_frame::Frame};
use std::time::Duration;

/// What can happen to a client.
#[derive(Debug)]
pub(crate) enum Input {
    /// The program started it.
    Start,
    /// The server sent a frame.
    Frame(Frame),
    /// The connection ended, or didn't come up.
    Lost(Error),
    /// A wait is over.
    Fired(Timer),
    /// A page of history arrived: of a channel's `run`, as the Page action named it.
    Page {
        channel: i64,
        run: u64,
        page: v1::ListMessagesResponse,
    },
    /// A page couldn't be read.
    PageFailed {
        channel: i64,
        run: u64,
        error: Error,
    },
    /// The program sends a message, known by a key from here on; `stored`: from an earlier run.
    Send {
        key: u64,
        channel: i64,
        stored: bool,
    },
    /// A unary send was answered.
    Answer {
        key: u64,
        result: Result<v1::Message, Error>,
    },
    /// The program looks at other channels.
    View(Vec<i64>),
    /// There is a token, from the program: whether it can be renewed, and for how long it is good
    /// if that is known.
    Token {
        renews: bool,
        lifetime: Option<Duration>,
    },
    /// The token was renewed.
    Renewed {
        tokens: v1::Tokens,
        lifetime: Option<Duration>,
    },
    /// The token couldn't be renewed.
    RenewFailed(Error),
    /// The program wants the connection dropped.
    Cut,
    /// The program is done.
    Close,
}

/// What the client is to do about it.
#[derive(Debug)]
pub(crate) enum Action {
    /// Connect, and identify with these.
    Connect {
        positions: Vec<v1::TopicPosition>,
        view: Vec<v1::ViewedChannel>,
    },
    /// End the connection.
    Disconnect,
    /// Send a Heartbeat.
    Heartbeat,
    /// Send a View.
    View(Vec<v1::ViewedChannel>),
    /// Send the message of this key.
    Transmit {
        key: u64,
        call_id: u32,
        attempt: i32,
    },
    /// The message of this key has its final answer.
    Settle {
        key: u64,
        result: Result<v1::Message, Error>,
    },
    /// Change what renews the token for new ones.
    Renew,
    /// Read the page after this message; with `failures` > 0 after a backoff.
    Page {
        channel: i64,
        after: i64,
        run: u64,
        failures: u32,
    },
    /// Fire a timer later; it replaces one of the same name.
    Wait { timer: Timer, delay: Delay },
    /// Don't fire it.
    Cancel(Timer),
    /// Tell the program.
    Emit(Event),
    /// What is held of a topic now.
    Hold(v1::Topic, Held),
    /// All is over.
    Finish(Error),
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// To connect again.
    Connect,
    /// For Hello.
    Handshake,
    /// To send the next heartbeat.
    Heartbeat,
    /// To renew the token.
    Renew,
    /// For the answer to a send.
    Answer(u64),
    /// To go on with a channel's sends.
    Resend(i64),
    /// To go on with all sends.
    Pace,
    /// For the connection to have lasted.
    Steady,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delay {
    /// So long.
    Exactly(Duration),
    /// A random part of it.
    PartOf(Duration),
    /// Full jitter after so many failures.
    Backoff(u32),
    /// So long, and full jitter on top.
    AtLeast(Duration, u32),
}

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not started.
    Idle,
    /// On the way to Hello.
    Connecting,
    /// Between Hello and Ready.
    Syncing,
    /// After Ready.
    Live,
    /// Until it connects again.
    Waiting,
    /// The token is refused: until it is renewed or there is another.
    SignedOut,
    /// For good.
    Closed,
}

/// What doesn't change while a client runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Delivery is VIEWED: channels out of view aren't followed.
    pub(crate) viewed_only: bool,
    /// No stream towards the server.
    pub(crate) listen_only: bool,
    /// Channels never seen are paged from their first message.
    pub(crate) history: bool,
    /// A bug on purpose: what the program had is told again.
    pub(crate) dedupe_off: bool,
    /// A bug on purpose: jumps are passed over.
    pub(crate) jump_check_off: bool,
    pub(crate) bounds: Bounds,
}

/// How much a client remembers.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// At least so many of a channel's newest messages are remembered one by one.
    pub(crate) recent_min: usize,
    /// And never more than so many: some 300 KiB a channel.
    pub(crate) recent_max: usize,
    /// Or while it is paged: those that pages have and waiting events will bring again.
    pub(crate) recent_paging_max: usize,
    /// Events of one channel that wait while its history is paged.
    pub(crate) waiting_max: usize,
    /// Their size in all.
    pub(crate) waiting_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            recent_min: 256,
            recent_max: 8192,
            recent_paging_max: 16_384,
            waiting_max: 4096,
            waiting_bytes_max: 4 * 1024 * 1024,
        }
    }
}
