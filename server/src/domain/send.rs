//! The send path: check, authorise, reserve, persist, publish, acknowledge.
//!
//! From the reservation on it runs in a task of its own, so that a caller that goes away stops
//! nothing half-way. What the store can't tell the fate of is read back, and followed up until it
//! is known.

use super::accounts::on_user;
use super::nonces::{hash, repeat};
use super::permissions::Action;
use super::places::{Place, send_of};
use super::turns::Turn;
use super::{Caller, Domain, Error, Reason, hook};
use crate::bus::{Operation, Reserve};
use crate::model::{Channel, ChannelType, EventBody, Id, Mentions, Message, Metadata, limits};
use crate::mutation;
use crate::store::{Inserted, Insertion};
use crate::traces::{SendTrace, Timer, Traces, Via};
use std::sync::Arc;
use std::time::Duration;

/// All of a send, edit or delete; beyond it the outcome is unknown to the caller.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct SendMessage {
    /// Where to.
    pub channel_id: Id,
    /// The text.
    pub content: String,
    /// A UUID that makes a repeat safe, or empty.
    pub nonce: String,
    /// The message of the same channel that it answers; 0 for none.
    pub reply_to: Id,
    /// How often it was tried before.
    pub attempt: i32,
    /// What the integrator attaches.
    pub metadata: Metadata,
    /// By which way it came.
    pub via: Via,
}

/// A message with its place in the channel. Whoever has one sees it through, or its channel waits
/// for nothing but hears nothing of it either.
pub struct Accepted {
    message: Message,
    stage: Stage,
    trace: Option<Box<SendTrace>>,
}

enum Stage {
    /// Its insertion is queued.
    Queued(Insertion, Turn, Operation),
    /// It repeats this one, which is stored; and is published if it wasn't.
    Stored(Option<(Turn, Operation)>),
}

impl Accepted {
    fn is_new(&self) -> bool {
        matches!(self.stage, Stage::Queued(..))
    }
}

impl Domain {
    /// Sends a message. `Ok` means durable. A repeat of a nonce answers with the original.
    pub async fn send_message(
        self: &Arc<Self>,
        caller: &Caller,
        send: SendMessage,
    ) -> Result<Message, Error> {
        let accepted = self.accept_message(caller, send).await?;
        self.complete_in_time(|domain| async move { domain.finish_message(accepted).await })
            .await
    }

    /// The first part of a send: checks it, gives it its place, queues its insertion. Of messages
    /// accepted one after the other, the later one has the higher id, isn't seen without the
    /// earlier one and is published after it.
    pub async fn accept_message(
        &self,
        caller: &Caller,
        send: SendMessage,
    ) -> Result<Accepted, Error> {
        let traces = self.traces.get();
        let mut timer = traces.map(Traces::begin).unwrap_or_default();
        let heard = self.bus.reservations.heard(send.channel_id);
        self.check_send(&send)?;
        let channel = self
            .authorise(caller, send.channel_id, Action::Write)
            .await?;
        self.refuse_blocked(caller, &channel).await?;
        self.throttle.send(caller, channel.id)?;
        let unchecked = send.reply_to == 0 || mutation::on("reply_unchecked");
        if !unchecked && self.store.get(channel.id, send.reply_to).await?.is_none() {
            let message = "reply_to isn't a message of this channel.";
            return Err(Error::new(Reason::ReplyNotFound, message));
        }
        let slow = self.refuse_early(caller, &channel, &send.nonce).await?;
        timer.authorised();
        let accepted = self.accept(caller, &channel, send, heard, timer).await;
        // What didn't become a new message didn't take the user's turn.
        if slow && !matches!(&accepted, Ok(accepted) if accepted.is_new()) {
            self.slow_mode.forget(channel.id, caller.user_id);
        }
        accepted
    }

    /// Gives a message that is allowed its place, and queues its insertion.
    async fn accept(
        &self,
        caller: &Caller,
        channel: &Channel,
        mut send: SendMessage,
        heard: i64,
        mut timer: Timer<'_>,
    ) -> Result<Accepted, Error> {
        let (content_hash, author, via) = (hash(&send), caller.user_id, send.via);
        let rewritten = self.reviewed(caller, channel, &send).await?;
        let sent_hash = rewritten.is_some().then_some(content_hash);
        if let Some(content) = rewritten {
            send.content = content;
        }
        let mentions = self.mentions_in(caller, channel, &send.content).await?;
        let reserve = Reserve {
            channel: channel.id,
            author,
            nonce: send.nonce.clone(),
            content_hash,
            above: send.reply_to,
            repeat: send.attempt > 0,
            heard,
            looked: None,
        };
        let message = |id| Message {
            sent_hash,
            ..message_of(id, author, send, mentions)
        };
        timer.reserving();
        // What is queued is also seen through: no await after that.
        Ok(match self.place(reserve).await? {
            Place::New(ticket, mut latest) => {
                mutation::die_at("reserved");
                // A minute back.
                let fall = i64::from(mutation::nth("ids_unordered", 3)) * (60_000 << 22);
                let id = ticket.id - fall;
                let message = message(id);
                let trace = timer.reserved(id, channel.id, via);
                let operation = send_of(&message, ticket);
                let turn = Turn::after(&mut latest);
                let stage = Stage::Queued(self.queue(&message), turn, operation);
                Accepted {
                    message,
                    stage,
                    trace,
                }
            }
            Place::Taken(original, ticket) => {
                let message = repeat(original, &message(0))?;
                let unpublished = match ticket {
                    Some(ticket) => {
                        let turn = Turn::after(&mut *self.turns.hold(channel.id).await);
                        Some((turn, send_of(&message, ticket)))
                    }
                    None => None,
                };
                let stage = Stage::Stored(unpublished);
                Accepted {
                    message,
                    stage,
                    trace: None,
                }
            }
        })
    }

    /// What the service that reviews messages makes of the content; None: it stays. A repeat isn't
    /// reviewed anew: it answers with what became of the original.
    async fn reviewed(
        &self,
        caller: &Caller,
        channel: &Channel,
        send: &SendMessage,
    ) -> Result<Option<String>, Error> {
        if !self.has_hook() {
            return Ok(None);
        }
        if !send.nonce.is_empty() {
            let nonce = send.nonce.clone();
            let original = self.store.by_nonce(channel.id, caller.user_id, nonce);
            if original.await?.is_some() {
                return Ok(None);
            }
        }
        let (content, reply_to) = (&send.content, send.reply_to);
        let draft = hook::Draft::new(caller, channel, content, reply_to, &send.metadata);
        self.review(draft).await
    }

    fn queue(&self, message: &Message) -> Insertion {
        if mutation::on("ack_before_persist") {
            let (store, message) = (self.store.clone(), message.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let _ = store.insert(message).await;
            });
            return Box::pin(async { Ok(Inserted::New) });
        }
        self.store.insert_reserved(message.clone())
    }

    fn check_send(&self, send: &SendMessage) -> Result<(), Error> {
        let limits = self.limits();
        self.check_content(&send.content)?;
        limits::uuid(&send.nonce).map_err(|problem| Error::field("nonce", problem))?;
        limits::metadata(
            &send.metadata,
            limits.metadata_keys_max,
            limits.metadata_bytes_max,
        )
        .map_err(|problem| Error::field("metadata", problem))?;
        if send.reply_to < 0 {
            return Err(Error::field("reply_to", "negative; an id is positive"));
        }
        if send.attempt < 0 {
            return Err(Error::field("attempt", "negative; it counts from 0"));
        }
        Ok(())
    }

    pub(super) fn check_content(&self, content: &str) -> Result<(), Error> {
        let limits = self.limits();
        let chars_max = limits.content_chars_max + usize::from(mutation::on("limit_off_by_one"));
        limits::content(content, chars_max, limits.content_bytes_max)
            .map_err(|problem| Error::field("content", problem))
    }

    /// Two users of which one blocks the other don't write to each other, and nobody writes to who
    /// doesn't want it.
    pub(super) async fn refuse_blocked(
        &self,
        caller: &Caller,
        channel: &Channel,
    ) -> Result<(), Error> {
        if channel.kind != ChannelType::Direct || channel.member_ids.len() != 2 {
            return Ok(());
        }
        let (a, b) = (channel.member_ids[0], channel.member_ids[1]);
        if self.blocked(a, b).await? {
            let message = "One of the two users blocks the other.";
            return Err(Error::new(Reason::Blocked, message));
        }
        debug_assert!(a == caller.user_id || b == caller.user_id, "authorised");
        let other = if a == caller.user_id { b } else { a };
        self.refuse_unwanted(caller, other).await
    }

    /// The second part: waits until it is durable, publishes it, acknowledges. Run it in a task of
    /// its own: it must not be dropped half-way.
    pub async fn finish_message(self: &Arc<Self>, accepted: Accepted) -> Result<Message, Error> {
        let Accepted {
            message,
            stage,
            mut trace,
        } = accepted;
        let (insertion, mut turn, operation) = match stage {
            Stage::Queued(insertion, turn, operation) => (insertion, turn, operation),
            Stage::Stored(unpublished) => {
                if let Some((mut turn, operation)) = unpublished {
                    turn.come().await;
                    self.publish(&operation, message.clone()).await?;
                }
                return self.original(message).await;
            }
        };
        let early = mutation::on("publish_before_persist");
        if early {
            turn.come().await;
            self.publish(&operation, message.clone()).await?;
        }
        let message = match insertion.await {
            Ok(Inserted::New) => message,
            Ok(Inserted::Repeat(original)) => {
                self.slow_mode.forget(message.channel_id, message.author_id);
                return self.original(repeat(original, &message)?).await;
            }
            Err(error) => {
                self.slow_mode.forget(message.channel_id, message.author_id);
                self.settle(&operation, error).await?
            }
        };
        mutation::die_at("persisted");
        metrics::counter!("chirm_messages_sent_total").increment(1);
        if let Some(trace) = &mut trace {
            trace.persisted();
        }
        self.read_own(message.author_id, message.channel_id, message.id);
        turn.come().await;
        if !early {
            self.publish(&operation, message.clone()).await?;
        }
        mutation::die_at("published");
        drop(turn);
        if let Some(trace) = &mut trace {
            trace.published();
        }
        self.mention(&message).await;
        Ok(message)
    }

    /// A message that its author sent before, as the author sees it now.
    async fn original(&self, mut message: Message) -> Result<Message, Error> {
        let answer = std::slice::from_mut(&mut message);
        self.mark_own(answer[0].author_id, answer).await?;
        Ok(message)
    }

    /// Tells those who are mentioned and may see it, on their own topics. Best effort: the
    /// message itself is durable and names them. So the sender doesn't wait for it, unless too
    /// many others are to be told.
    async fn mention(self: &Arc<Self>, message: &Message) {
        let (channel, id) = (message.channel_id, message.id);
        let others = message.mentions.iter().copied();
        let others: Vec<Id> = others.filter(|user| *user != message.author_id).collect();
        if others.is_empty() || mutation::on("mention_untold") {
            return;
        }
        let Ok(permit) = self.mentions.clone().acquire_owned().await else {
            return;
        };
        let domain = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = domain.tell_mentioned(others, channel, id).await {
                tracing::warn!(%error, id, "mentions couldn't be told");
            }
        });
    }

    async fn tell_mentioned(&self, users: Vec<Id>, channel: Id, id: Id) -> Result<(), Error> {
        let mut events = Vec::new();
        for user in users {
            if self.can_see_channel(user, channel).await? {
                events.push(on_user(user, EventBody::Mentioned(channel, id)));
            }
        }
        self.append(events).await
    }
}

fn message_of(id: Id, author_id: Id, send: SendMessage, mentions: Mentions) -> Message {
    Message {
        id,
        channel_id: send.channel_id,
        author_id,
        mentions: mentions.users,
        groups: mentions.groups,
        content: send.content,
        reply_to: send.reply_to,
        nonce: send.nonce,
        metadata: send.metadata,
        ..Message::default()
    }
}
