//! Reactions and pins. They are of messages, which CQL keeps: a message with any has a flag there,
//! which is set before its first one, so that the others are shown without asking here.
//!
//! A change first sees that its message is there. What it adds to a message that is deleted
//! meanwhile, it removes again: the delete is written before whoever deletes removes what stands on
//! the message, so one of the two sees the other's.

use super::Postgres;
use super::mark_changes::{add, clear, delete_pin, insert_pin, take_back};
use super::rows::Of;
use super::tx::{Changes, Tx};
use crate::model::{Id, Message, Pin, Reaction, User};
use crate::store::cql::Cql;
use crate::store::{Error, Marks, Queued, ReactedTo, Reactor, Tally};
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::PgPool;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// Pinned messages read at once.
const AT_ONCE: usize = 16;

const STRIPES: usize = 32;

/// The latest pinning of each channel, by stripes: those of a channel run one after the other, in
/// the order in which they were queued, though they are of different messages.
#[derive(Default)]
pub(super) struct Pinnings([Mutex<Option<oneshot::Receiver<()>>>; STRIPES]);

/// What changes marks.
struct Marker {
    changes: Changes,
    messages: Cql,
    purge: Arc<Notify>,
}

impl Marker {
    /// A message that isn't deleted.
    async fn existing(&self, channel: Id, id: Id) -> Result<Message, Error> {
        let message = self.messages.get(channel, id).await?;
        let there = message.filter(|message| !message.deleted);
        there.ok_or(Error::NotFound("message"))
    }

    /// Runs a change that adds something to a message.
    async fn add<T, F>(&self, channel: Id, id: Id, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Clone + Send + 'static,
    {
        // Without its marks, `pinned` is its flag.
        if !self.existing(channel, id).await?.pinned {
            self.messages.set_marked(channel, id).await?;
        }
        let added = self.changes.run(change).await?;
        match self.existing(channel, id).await {
            Ok(_) => Ok(added),
            Err(Error::NotFound(what)) => {
                let removed = self
                    .changes
                    .run(move |tx| Box::pin(remove(tx, channel, id)));
                if removed.await? {
                    self.purge.notify_one();
                }
                Err(Error::NotFound(what))
            }
            Err(error) => Err(error),
        }
    }

    /// Runs a change that adds nothing.
    async fn take<T, F>(&self, channel: Id, id: Id, change: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, Error>> + Clone + Send + 'static,
    {
        self.existing(channel, id).await?;
        self.changes.run(change).await
    }
}

type Last<'a> = MutexGuard<'a, Option<oneshot::Receiver<()>>>;

impl Pinnings {
    fn last(&self, channel: Id) -> Last<'_> {
        // The low bits of ids hardly differ.
        let mixed = channel.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let last = &self.0[(mixed >> 59) as usize % STRIPES];
        last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place behind the pinning before; whoever is next waits until it is dropped.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    ended: oneshot::Sender<()>,
}

impl Turn {
    fn after(last: &mut Last<'_>) -> Turn {
        let (ended, end) = oneshot::channel();
        Turn {
            before: last.replace(end),
            ended,
        }
    }

    async fn come(self) -> oneshot::Sender<()> {
        if let Some(before) = self.before {
            // An error is the end: the sender is gone.
            let _ = before.await;
        }
        self.ended
    }
}

#[async_trait]
impl Marks for Postgres {
    fn react(&self, reactor: Reactor, present: bool) -> Queued<Tally> {
        let (channel, id) = (reactor.channel_id, reactor.message_id);
        let marker = self.marker();
        self.messages.in_turn(channel, id, async move {
            if present {
                marker
                    .add(channel, id, |tx| Box::pin(add(tx, reactor)))
                    .await
            } else {
                marker
                    .take(channel, id, |tx| Box::pin(take_back(tx, reactor)))
                    .await
            }
        })
    }

    fn clear_reactions(&self, channel: Id, message: Id, emoji: String) -> Queued<bool> {
        let marker = self.marker();
        self.messages.in_turn(channel, message, async move {
            let cleared = marker.take(channel, message, move |tx| {
                Box::pin(clear(tx, channel, message, emoji))
            });
            let cleared = cleared.await?;
            if cleared {
                marker.purge.notify_one();
            }
            Ok(cleared)
        })
    }

    async fn own_reactions(&self, user: Id, kinds: &[Id]) -> Result<Vec<Id>, Error> {
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        Ok(sqlx::query_scalar(
            "SELECT kind_id FROM reactions WHERE kind_id = ANY($1) AND user_id = $2",
        )
        .bind(kinds)
        .bind(user)
        .fetch_all(&self.pool)
        .await?)
    }

    async fn reactors(&self, kind: Id, after: Id, limit: u32) -> Result<Vec<User>, Error> {
        let rows: Vec<Of<User>> = sqlx::query_as(
            "SELECT users.* FROM reactions JOIN users ON users.id = user_id
             WHERE kind_id = $1 AND user_id > $2
             AND EXISTS (SELECT 1 FROM reaction_kinds WHERE id = $1 AND NOT gone)
             ORDER BY user_id LIMIT $3",
        )
        .bind(kind)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn reactions_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<ReactedTo>, Error> {
        let rows: Vec<(Id, Id, Id, String)> = sqlx::query_as(
            "SELECT kind_id, channel_id, message_id, emoji
             FROM reactions JOIN reaction_kinds ON reaction_kinds.id = kind_id
             WHERE user_id = $1 AND kind_id > $2 AND NOT gone
             AND EXISTS (SELECT 1 FROM channels WHERE channels.id = channel_id)
             ORDER BY kind_id LIMIT $3",
        )
        .bind(user)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let reacted = rows
            .into_iter()
            .map(|(kind, channel_id, message_id, emoji)| ReactedTo {
                kind,
                reactor: Reactor {
                    channel_id,
                    message_id,
                    user_id: user,
                    emoji,
                },
            });
        Ok(reacted.collect())
    }

    fn pin(&self, channel: Id, message: Id, user: Id, pin: Id) -> Queued<bool> {
        let marker = self.marker();
        let mut last = self.pins.last(channel);
        let turn = Turn::after(&mut last);
        // Queued while `last` is locked: nobody waits for a turn that is queued behind.
        self.messages.in_turn(channel, message, async move {
            let _turn = turn.come().await;
            let place = (channel, message);
            marker
                .add(channel, message, move |tx| {
                    Box::pin(insert_pin(tx, place, user, pin))
                })
                .await
        })
    }

    fn unpin(&self, channel: Id, message: Id) -> Queued<bool> {
        let marker = self.marker();
        self.messages.in_turn(channel, message, async move {
            marker
                .take(channel, message, move |tx| {
                    Box::pin(delete_pin(tx, channel, message))
                })
                .await
        })
    }

    async fn pins(&self, channel: Id, before: Id, limit: u32) -> Result<Vec<Pin>, Error> {
        let rows: Vec<(Id, Id, Id)> = sqlx::query_as(
            "SELECT id, user_id, message_id FROM pins
             WHERE channel_id = $1 AND id < $2
             AND EXISTS (SELECT 1 FROM channels WHERE channels.id = $1)
             ORDER BY id DESC LIMIT $3",
        )
        .bind(channel)
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let reads = rows.into_iter().map(|(id, user_id, message)| async move {
            let message = self.messages.get(channel, message).await?;
            Ok::<_, Error>(message.map(|message| ((id, user_id), message)))
        });
        let reads = futures::stream::iter(reads).buffered(AT_ONCE);
        let read: Vec<Option<((Id, Id), Message)>> = reads.try_collect().await?;
        let there = read.into_iter().flatten().filter(|(_, m)| !m.deleted);
        let (pins, mut messages): (Vec<_>, Vec<_>) = there.unzip();
        join(&self.pool, &mut messages).await?;
        let pins = pins.into_iter().zip(messages);
        Ok(pins
            .map(|((id, user_id), message)| Pin {
                id,
                user_id,
                message: Message {
                    pinned: true,
                    ..message
                },
            })
            .collect())
    }
}

impl Postgres {
    fn marker(&self) -> Marker {
        Marker {
            changes: self.changes.clone(),
            messages: self.messages.clone(),
            purge: self.purge.clone(),
        }
    }
}

/// Fills in what stands on messages that were read from CQL, where their flags (`pinned`) say that
/// something may.
pub(super) async fn join(pool: &PgPool, messages: &mut [Message]) -> Result<(), Error> {
    let marked = messages.iter().filter(|message| message.pinned);
    let marked = marked.map(|message| (message.channel_id, message.id));
    let (channels, ids): (Vec<Id>, Vec<Id>) = marked.unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Id, Id, Id, String, i32)> = sqlx::query_as(
        "SELECT channel_id, message_id, id, emoji, count FROM reaction_kinds
         WHERE (channel_id, message_id) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))
         AND NOT gone
         UNION ALL
         SELECT channel_id, message_id, 0, '', 0 FROM pins
         WHERE (channel_id, message_id) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))
         ORDER BY 3",
    )
    .bind(channels)
    .bind(ids)
    .fetch_all(pool)
    .await?;
    let mut pinned = HashSet::new();
    let mut kinds: HashMap<(Id, Id), Vec<Reaction>> = HashMap::new();
    for (channel, message, kind, emoji, count) in rows {
        if kind == 0 {
            pinned.insert((channel, message));
            continue;
        }
        kinds.entry((channel, message)).or_default().push(Reaction {
            kind,
            emoji,
            count,
            own: false,
        });
    }
    for message in messages.iter_mut().filter(|message| message.pinned) {
        let place = (message.channel_id, message.id);
        message.pinned = pinned.contains(&place) && !message.deleted;
        message.reactions = kinds.remove(&place).unwrap_or_default();
    }
    Ok(())
}

/// Whether anything stands on one of these messages, by channel and id.
pub(super) async fn any(pool: &PgPool, messages: &[(Id, Id)]) -> Result<bool, Error> {
    let (channels, ids): (Vec<Id>, Vec<Id>) = messages.iter().copied().unzip();
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM unnest($1::bigint[], $2::bigint[]) AS m (channel, id)
         WHERE EXISTS (SELECT 1 FROM reaction_kinds
                       WHERE channel_id = m.channel AND message_id = m.id AND NOT gone)
         OR EXISTS (SELECT 1 FROM pins WHERE channel_id = m.channel AND message_id = m.id))",
    )
    .bind(channels)
    .bind(ids)
    .fetch_one(pool)
    .await?)
}

/// Takes away all that stands on a message that is deleted. True: who reacted is to be removed in
/// the background.
pub(super) async fn remove(tx: &mut Tx, channel: Id, message: Id) -> Result<bool, Error> {
    let gone = sqlx::query(
        "UPDATE reaction_kinds SET gone = true
         WHERE channel_id = $1 AND message_id = $2 AND NOT gone",
    )
    .bind(channel)
    .bind(message)
    .execute(&mut *tx.connection)
    .await?;
    sqlx::query("DELETE FROM pins WHERE channel_id = $1 AND message_id = $2")
        .bind(channel)
        .bind(message)
        .execute(&mut *tx.connection)
        .await?;
    Ok(gone.rows_affected() > 0)
}

/// One step of removing who reacted with kinds that are gone, at most so many. False: nothing is
/// left to do.
pub(super) async fn purge(tx: &mut Tx, most: i64) -> Result<bool, Error> {
    let kind: Option<Id> = sqlx::query_scalar(
        "SELECT id FROM reaction_kinds WHERE gone ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    .fetch_optional(&mut *tx.connection)
    .await?;
    let Some(kind) = kind else {
        return Ok(false);
    };
    let done = sqlx::query(
        "DELETE FROM reactions WHERE kind_id = $1 AND user_id IN
         (SELECT user_id FROM reactions WHERE kind_id = $1 ORDER BY user_id LIMIT $2)",
    )
    .bind(kind)
    .bind(most)
    .execute(&mut *tx.connection)
    .await?;
    if done.rows_affected() < most.unsigned_abs() {
        sqlx::query("DELETE FROM reaction_kinds WHERE id = $1")
            .bind(kind)
            .execute(&mut *tx.connection)
            .await?;
    }
    Ok(true)
}
