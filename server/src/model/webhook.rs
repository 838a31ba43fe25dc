//! Webhooks: who outside is told of what.

use super::{Id, Member, Message, UnixMs, User};
use std::fmt;

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $bit:literal, $name:literal;)*) => {
        /// What a webhook can be told of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum WebhookEvent { $($(#[$doc])* $variant = $bit,)* }

        impl WebhookEvent {
            /// All of them.
            pub const ALL: &[WebhookEvent] = &[$(WebhookEvent::$variant,)*];

            /// As receivers get it, and as it is asked for.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(WebhookEvent::$variant => $name,)* }
            }
        }
    };
}

events! {
    /// A message of a server's channel was sent.
    MessageCreated = 1, "message.created";
    /// It was edited.
    MessageUpdated = 2, "message.updated";
    /// It was deleted.
    MessageDeleted = 4, "message.deleted";
    /// A user became a member of a server.
    MemberJoined = 8, "member.joined";
    /// A member left, was taken out or banned, or deleted its account.
    MemberLeft = 16, "member.left";
    /// A message is for users who aren't here: in a DIRECT channel, or by mentioning them.
    RecipientOffline = 32, "recipient.offline";
}

impl WebhookEvent {
    /// Its bit in a set of events.
    #[must_use]
    pub fn bit(self) -> u32 {
        self as u32
    }

    /// The event of a stored bit.
    #[must_use]
    pub fn from_bit(bit: u32) -> Option<WebhookEvent> {
        Self::ALL.iter().copied().find(|event| event.bit() == bit)
    }

    /// The event of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<WebhookEvent> {
        Self::ALL.iter().copied().find(|event| event.name() == name)
    }
}

/// Who outside is told of what. Debug shows neither keys nor the URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Snowflake.
    pub id: Id,
    /// The server; 0 for all of them.
    pub server_id: Id,
    /// Who made it.
    pub creator_id: Id,
    /// Where to.
    pub url: String,
    /// Bits of [`WebhookEvent`]s.
    pub events: u32,
    /// Whether it is told anything.
    pub enabled: bool,
    /// Why not, where the server decided that; empty otherwise.
    pub disabled_reason: String,
    /// What signs. Secret.
    pub key: Vec<u8>,
    /// What signed before; empty for none. Secret.
    pub previous_key: Vec<u8>,
    /// When the key was changed; 0 for never.
    pub rotated_at: UnixMs,
    /// When it was made.
    pub created_at: UnixMs,
    /// Events that wait.
    pub queued: i64,
    /// Events that were given up without being kept.
    pub dropped: i64,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Webhook")
            .field("id", &self.id)
            .field("server_id", &self.server_id)
            .field("events", &self.events)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// An event that waits to be told, or that nobody took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedEvent {
    /// Its place in the queue; unique, rises.
    pub id: Id,
    /// Which webhook.
    pub webhook_id: Id,
    /// What happened.
    pub event: WebhookEvent,
    /// The channel; of members, the server. Of one lane, the next is told once this one is settled.
    pub lane: Id,
    /// The message; of members, the user.
    pub subject_id: Id,
    /// When it happened.
    pub created_at: UnixMs,
    /// How often it was tried.
    pub attempts: u32,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// What nobody took.
    pub event: QueuedEvent,
    /// When it was given up.
    pub died_at: UnixMs,
    /// What went wrong last; at most 200 characters.
    pub error: String,
}

/// What is told of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookData {
    /// The message as it now is.
    Message(Message),
    /// The member, with its profile where the account is still there. Of one who left: without
    /// role and time.
    Member(Option<Member>, (Id, Id), Option<User>),
    /// The message, and who should hear of it.
    Recipients(Message, Vec<Id>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_a_bit_and_a_name_of_its_own() {
        let mut bits = 0;
        for event in WebhookEvent::ALL {
            assert_eq!(event.bit().count_ones(), 1, "{event:?}");
            assert_eq!(bits & event.bit(), 0, "{event:?}");
            bits |= event.bit();
            assert_eq!(WebhookEvent::from_bit(event.bit()), Some(*event));
            assert_eq!(WebhookEvent::from_name(event.name()), Some(*event));
        }
        assert_eq!(WebhookEvent::from_bit(3), None);
        assert_eq!(WebhookEvent::from_name("message"), None);
    }
}
