//! What the program receives.

use crate::error::Error;
use chirm_proto::v1;
use futures::Stream;
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// Something that the program is told, in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection has dealt with every topic; what follows is live.
    Ready(v1::Ready),
    /// A message that the program hasn't had. Each comes once, a channel's in order of its events.
    Message {
        /// The message.
        message: v1::Message,
        /// How it came.
        source: Source,
        /// Its channel's position after it; absent if it came from history.
        position: Option<v1::Position>,
    },
    /// A message was edited; its revision is above any that the program had. Which of its reactions
    /// are the user's own it doesn't say: [`crate::keep_own`].
    MessageUpdated(v1::Message),
    /// A message was deleted. Its content is empty; found by paging, its author is 0, too.
    MessageDeleted(v1::Message),
    /// A topic's state; it replaces what the program held of the topic but for messages.
    Snapshot(v1::Snapshot),
    /// Something of a topic was missed. A channel is now paged: its messages follow. Edits and
    /// deletes of messages older than the client remembers don't, nor do reactions and pins of
    /// messages that the program has; page again what is cached of those. The state of a server or
    /// user follows as a snapshot.
    Gap {
        /// Which topic, and up to where. Of a PRIVATE or DIRECT channel, `channel` takes the place
        /// of its properties and members if the server sent the gap; else read them anew with
        /// `GetChannel`.
        gap: v1::Gap,
        /// How it came about.
        cause: GapCause,
    },
    /// Another event of a topic. [`crate::apply_mark`] takes those of reactions and pins.
    Topic(v1::Event),
    /// A topic is no longer visible. All that was held of it is void; should it come back, it comes
    /// as one never seen.
    TopicRemoved(v1::Topic),
    /// Something is new in a channel that isn't viewed.
    Activity(v1::ChannelActivity),
    /// Somebody types.
    Typing(v1::TypingStarted),
    /// An integrator's own event.
    Custom(v1::CustomEvent),
    /// Presences that changed.
    Presence(v1::PresenceChanged),
    /// A viewed part of a member list changed.
    MemberList(v1::MemberListChanged),
    /// A send from a stored outbox was refused for good.
    SendRefused {
        /// The message's nonce.
        nonce: String,
        /// Why.
        error: Error,
    },
    /// The tokens were renewed, and the old ones are spent: keep these for the next run.
    TokensRenewed(v1::Tokens),
    /// The connection ended, and the client connects again; unless the advice is to
    /// reauthenticate: then it waits for [`crate::Client::set_tokens`].
    Disconnected {
        /// Why.
        reason: Error,
    },
    /// The last event: the client won't connect again.
    Closed(Error),
}

/// How a message came to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// By the stream, as it happened.
    Live,
    /// By the stream, after connecting again.
    Replay,
    /// From history.
    Page,
}

/// How something came to be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The server said so: by its own `Gap`, or by a snapshot at another position than the one
    /// held.
    Server,
    /// The client noticed a jump of the topic's position. A server that keeps its promises causes
    /// none.
    Jump,
    /// While the channel was paged, more of its events came than the client keeps.
    Overflow,
}

/// What a client has been through. All are counts since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Times that a connection got ready.
    pub connects: u64,
    /// Events that came again from the server's ring before a connection was ready.
    pub replayed: u64,
    /// Snapshots of topics.
    pub snapshots: u64,
    /// Gaps: the server's, and snapshots at another position than the one held.
    pub gaps: u64,
    /// Jumps of a topic's position that the client noticed by itself.
    pub jumps: u64,
    /// Events and messages dropped because the program had them.
    pub duplicates: u64,
    /// Pages of history read.
    pub pages: u64,
    /// Sends that were tried again.
    pub resent: u64,
}

/// What a program holds of a topic, as far as it has taken its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Up to where it is complete.
    pub(crate) position: Option<v1::Position>,
    /// Of a channel: up to which message it has all since its time there began.
    pub(crate) last_id: Option<i64>,
}

/// What it holds of each.
pub(crate) type Holdings = Arc<Mutex<HashMap<v1::Topic, Held>>>;

/// What travels to [`Events`].
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation an event"
)]
pub(crate) enum Item {
    Event(Event),
    /// From here on this is held of the topic.
    Hold(v1::Topic, Held),
}

/// The stream of events. It is bounded: a program that doesn't take them in time holds up its
/// connection, sends included. A program that only sends drops it.
pub struct Events {
    pub(crate) items: mpsc::Receiver<Item>,
    pub(crate) holdings: Holdings,
}

impl Events {
    /// The next event; `None` after [`Event::Closed`].
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match std::task::ready!(self.items.poll_recv(context)) {
                None => return Poll::Ready(None),
                Some(Item::Event(event)) => return Poll::Ready(Some(event)),
                Some(Item::Hold(topic, held)) => {
                    let mut holdings = self.holdings.lock().unwrap_or_else(PoisonError::into_inner);
                    if held == Held::default() {
                        holdings.remove(&topic);
                    } else {
                        holdings.insert(topic, held);
                    }
                }
            }
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll(context)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("waiting", &self.items.len())
            .finish()
    }
}
