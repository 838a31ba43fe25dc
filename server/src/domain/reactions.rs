//! Reactions to messages.

use super::marks::{Marking, Wanted};
use super::permissions::Action;
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{Id, Message, Reaction, User, limits};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::HashSet;
use std::sync::Arc;

/// Users of a page, where the caller doesn't say.
const PAGE: u32 = 100;
/// Reactions of an erased user that are looked up at once, and of those taken back at once.
const ERASED: u32 = 500;
const ERASED_AT_ONCE: usize = 32;

/// A kind of reaction on a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnMessage {
    /// The channel.
    pub channel_id: Id,
    /// The message.
    pub message_id: Id,
    /// The kind: [`limits::emoji`].
    pub emoji: String,
}

impl Domain {
    /// Reacts to a message; answers the kind as it now is. Idempotent.
    pub async fn add_reaction(
        self: &Arc<Self>,
        caller: &Caller,
        on: OnMessage,
    ) -> Result<Reaction, Error> {
        let emoji = checked(&on.emoji)?;
        let channel = self.authorise(caller, on.channel_id, Action::React).await?;
        self.refuse_blocked(caller, &channel).await?;
        self.throttle.transient(caller, channel.id)?;
        let marking = Marking {
            channel: channel.id,
            message: on.message_id,
            user: caller.user_id,
            wanted: Wanted::Reacted(emoji),
        };
        let reaction = self.write_mark(marking).await?;
        Ok(Reaction {
            own: true,
            ..reaction
        })
    }

    /// Takes a reaction back: the caller's own (`user` 0), or another's as a moderator. Answers the
    /// kind as it now is. Idempotent.
    pub async fn remove_reaction(
        self: &Arc<Self>,
        caller: &Caller,
        on: OnMessage,
        user: Id,
    ) -> Result<Reaction, Error> {
        let emoji = checked(&on.emoji)?;
        if user < 0 {
            return Err(Error::field("user_id", "negative; an id is positive"));
        }
        let own = user == 0 || user == caller.user_id;
        // As deleting is: also of who is timed out.
        let action = if own {
            Action::DeleteOwn
        } else {
            Action::DeleteOthers
        };
        let channel = self.authorise(caller, on.channel_id, action).await?;
        self.throttle.transient(caller, channel.id)?;
        let marking = Marking {
            channel: channel.id,
            message: on.message_id,
            user: if own { caller.user_id } else { user },
            wanted: Wanted::NotReacted(emoji),
        };
        let mut reaction = self.write_mark(marking).await?;
        if !own {
            let kinds = [reaction.kind];
            let own = self.store.own_reactions(caller.user_id, &kinds).await?;
            reaction.own = !own.is_empty();
        }
        Ok(reaction)
    }

    /// Takes everybody's reactions to a message away: those of a kind, or all (empty). Idempotent.
    pub async fn clear_reactions(
        self: &Arc<Self>,
        caller: &Caller,
        on: OnMessage,
    ) -> Result<(), Error> {
        let emoji = match on.emoji.as_str() {
            "" => String::new(),
            emoji => checked(emoji)?,
        };
        let channel = self
            .authorise(caller, on.channel_id, Action::DeleteOthers)
            .await?;
        self.throttle.transient(caller, channel.id)?;
        let marking = Marking {
            channel: channel.id,
            message: on.message_id,
            user: caller.user_id,
            wanted: Wanted::Cleared(emoji),
        };
        self.write_mark(marking).await.map(drop)
    }

    /// A page of those who reacted with a kind, of ids after one.
    pub async fn list_reactions(
        &self,
        caller: &Caller,
        on: OnMessage,
        after: Id,
        size: i32,
    ) -> Result<Listed<User>, Error> {
        let emoji = checked(&on.emoji)?;
        let size = pages::size(size, PAGE)?;
        self.authorise(caller, on.channel_id, Action::See).await?;
        let message = self.existing(on.channel_id, on.message_id).await?;
        let kinds = message.reactions;
        let Some(kind) = kinds.iter().find(|kind| kind.emoji == emoji) else {
            return Ok(pages::cut(Vec::new(), size));
        };
        let users = self.store.reactors(kind.kind, after, size + 1);
        Ok(pages::cut(users.await?, size))
    }

    /// Says of each kind of reaction of the messages whether the user reacted so: one read, and
    /// none where there are no reactions.
    pub(super) async fn mark_own(&self, user: Id, messages: &mut [Message]) -> Result<(), Error> {
        let kinds = |message: &Message| {
            let kinds = message.reactions.iter();
            kinds.map(|reaction| reaction.kind).collect::<Vec<_>>()
        };
        let kinds: Vec<Id> = messages.iter().flat_map(kinds).collect();
        if kinds.is_empty() {
            return Ok(());
        }
        let own = self.store.own_reactions(user, &kinds).await?;
        let own: HashSet<Id> = own.into_iter().collect();
        let reactions = messages
            .iter_mut()
            .flat_map(|message| &mut message.reactions);
        for reaction in reactions {
            reaction.own = own.contains(&reaction.kind);
        }
        Ok(())
    }

    /// Takes back, and tells of, all reactions of a user, some at once.
    pub(super) async fn erase_reactions(self: &Arc<Self>, user: Id) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let some = self.store.reactions_of(user, after, ERASED).await?;
            let Some(last) = some.last() else {
                return Ok(());
            };
            after = last.kind;
            let markings = some.into_iter().map(|reacted| Marking {
                channel: reacted.reactor.channel_id,
                message: reacted.reactor.message_id,
                user,
                wanted: Wanted::NotReacted(reacted.reactor.emoji),
            });
            stream::iter(markings)
                .map(|marking| async {
                    match self.mark(marking).await {
                        // It went with its message or channel.
                        Err(error) if error.reason == Reason::NotFound => Ok(()),
                        other => other.map(drop),
                    }
                })
                .buffer_unordered(ERASED_AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
    }

    /// Writes a change to its end, whether or not who asked for it waits.
    pub(super) async fn write_mark(self: &Arc<Self>, marking: Marking) -> Result<Reaction, Error> {
        self.complete_in_time(|domain| async move { domain.mark(marking).await })
            .await
    }
}

fn checked(emoji: &str) -> Result<String, Error> {
    limits::emoji(emoji).map_err(|problem| Error::field("emoji", problem))
}
