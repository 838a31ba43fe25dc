//! What stands on messages, reactions and pins: how a change of it is written and told.
//!
//! Clients take what the latest event says. So a change is queued in its channel's order, and told
//! in that order, as messages are; edits are, too, since their events carry all of the message.

use super::turns::Turn;
use super::{Domain, Error};
use crate::model::{EventBody, Id, Mark, Message, Reaction};
use crate::store::{self, Queued, Reactor};
use futures::FutureExt as _;
use std::sync::Arc;

/// A change of what stands on a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marking {
    pub(super) channel: Id,
    pub(super) message: Id,
    /// By whom, or whose.
    pub(super) user: Id,
    pub(super) wanted: Wanted,
}

/// What is to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Reacted(String),
    NotReacted(String),
    /// No reactions of a kind; of any, if it is empty.
    Cleared(String),
    Pinned,
    NotPinned,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    /// What is to be told; None: it was so before.
    pub(super) mark: Option<Mark>,
    /// The kind of reaction as it now is, if the change is of one.
    pub(super) reaction: Reaction,
}

impl Domain {
    /// Writes a change and tells of it.
    pub(super) async fn mark(self: &Arc<Self>, marking: Marking) -> Result<Reaction, Error> {
        let (written, mut turn) = {
            let mut latest = self.turns.hold(marking.channel).await;
            (self.queue_mark(&marking)?, Turn::after(&mut latest))
        };
        let written = written.await;
        turn.come().await;
        let marked = match written {
            Ok(marked) => marked,
            Err(error) => self.settle_mark(&marking, error).await?,
        };
        self.tell_mark(&marking, marked.mark).await?;
        Ok(marked.reaction)
    }

    fn queue_mark(&self, marking: &Marking) -> Result<Queued<Marked>, Error> {
        let Marking {
            channel,
            message,
            user,
            ..
        } = *marking;
        let mark = marking.wanted.mark(user, 0);
        let marked = move |changed: bool| Marked {
            mark: changed.then_some(mark),
            ..Marked::default()
        };
        Ok(match &marking.wanted {
            Wanted::Reacted(emoji) => self.queue_reaction(marking, emoji, true),
            Wanted::NotReacted(emoji) => self.queue_reaction(marking, emoji, false),
            Wanted::Cleared(emoji) => {
                let cleared = self.store.clear_reactions(channel, message, emoji.clone());
                Box::pin(cleared.map(|cleared| cleared.map(marked)))
            }
            Wanted::Pinned => {
                let pinned = self.store.pin(channel, message, user, self.mint()?);
                Box::pin(pinned.map(|pinned| pinned.map(marked)))
            }
            Wanted::NotPinned => {
                let unpinned = self.store.unpin(channel, message);
                Box::pin(unpinned.map(|unpinned| unpinned.map(marked)))
            }
        })
    }

    fn queue_reaction(&self, marking: &Marking, emoji: &str, present: bool) -> Queued<Marked> {
        let reactor = Reactor {
            channel_id: marking.channel,
            message_id: marking.message,
            user_id: marking.user,
            emoji: emoji.to_owned(),
        };
        let (wanted, user) = (marking.wanted.clone(), marking.user);
        let tally = self.store.react(reactor, present);
        Box::pin(tally.map(move |tally| {
            let tally = tally?;
            let mark = wanted.mark(user, tally.reaction.count);
            Ok(Marked {
                mark: tally.changed.then_some(mark),
                reaction: tally.reaction,
            })
        }))
    }

    async fn tell_mark(&self, marking: &Marking, mark: Option<Mark>) -> Result<(), Error> {
        let Some(mark) = mark else { return Ok(()) };
        let body = EventBody::Marked(marking.channel, marking.message, mark);
        self.publish_to(marking.channel, &body, 0).await
    }

    /// After a write of unknown outcome, in its turn: what is so now, if that is what was wanted;
    /// else the error. It is told though it may have been so before: who hears it twice loses
    /// nothing.
    pub(super) async fn settle_mark(
        self: &Arc<Self>,
        marking: &Marking,
        error: store::Error,
    ) -> Result<Marked, Error> {
        match error {
            store::Error::LimitReached("reactions", most) => {
                Err(Error::limit("kinds of reactions of a message", most))
            }
            store::Error::Unavailable(_) => match self.found(marking).await {
                Ok(Some(marked)) => Ok(marked),
                Ok(None) => Err(error.into()),
                Err(_) => {
                    self.follow_up_mark(marking.clone());
                    Err(error.into())
                }
            },
            refused => Err(refused.into()),
        }
    }

    fn follow_up_mark(self: &Arc<Self>, marking: Marking) {
        self.follow_up_by(marking.message, move |domain| {
            let marking = marking.clone();
            async move {
                domain.found(&marking).await?;
                let _turn = domain.take_turn(marking.channel).await;
                if let Some(marked) = domain.found(&marking).await? {
                    let _ = domain.tell_mark(&marking, marked.mark).await;
                }
                Ok(())
            }
        });
    }

    /// What is so now, if it is what was wanted.
    pub(super) async fn found(&self, marking: &Marking) -> Result<Option<Marked>, store::Error> {
        let message = self.store.get(marking.channel, marking.message).await?;
        let Some(message) = message.filter(|message| !message.deleted) else {
            return Ok(None);
        };
        let reaction = marking.wanted.reaction(&message);
        let reacted = match marking.wanted {
            Wanted::Reacted(_) | Wanted::NotReacted(_) => {
                let kinds = [reaction.kind];
                let own = self.store.own_reactions(marking.user, &kinds).await?;
                !own.is_empty()
            }
            _ => false,
        };
        if !marking.wanted.is_in(&message, reacted) {
            return Ok(None);
        }
        Ok(Some(Marked {
            mark: Some(marking.wanted.mark(marking.user, reaction.count)),
            reaction,
        }))
    }
}

impl Wanted {
    /// What tells that it is so.
    fn mark(&self, user_id: Id, count: i32) -> Mark {
        match self.clone() {
            Wanted::Reacted(emoji) => Mark::ReactionAdded {
                user_id,
                emoji,
                count,
            },
            Wanted::NotReacted(emoji) => Mark::ReactionRemoved {
                user_id,
                emoji,
                count,
            },
            Wanted::Cleared(emoji) => Mark::ReactionsCleared(emoji),
            Wanted::Pinned => Mark::Pinned(user_id),
            Wanted::NotPinned => Mark::Unpinned(user_id),
        }
    }

    /// The message's kind of reaction that it is about; one that nobody reacted with has count 0.
    fn reaction(&self, message: &Message) -> Reaction {
        let (Wanted::Reacted(emoji) | Wanted::NotReacted(emoji) | Wanted::Cleared(emoji)) = self
        else {
            return Reaction::default();
        };
        let found = message.reactions.iter().find(|kind| kind.emoji == *emoji);
        found.cloned().unwrap_or_else(|| Reaction {
            emoji: emoji.clone(),
            ..Reaction::default()
        })
    }

    fn is_in(&self, message: &Message, reacted: bool) -> bool {
        match self {
            Wanted::Reacted(_) => reacted,
            Wanted::NotReacted(_) => !reacted,
            Wanted::Cleared(emoji) if emoji.is_empty() => message.reactions.is_empty(),
            Wanted::Cleared(_) => self.reaction(message).count == 0,
            Wanted::Pinned => message.pinned,
            Wanted::NotPinned => !message.pinned,
        }
    }
}
