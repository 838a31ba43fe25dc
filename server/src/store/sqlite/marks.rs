//! Reactions and pins. What a page shows of them stands in the message's own row; who reacted lies
//! beside it.

use super::rows::{Of, reactions_json};
use super::writer::Tx;
use super::{Sqlite, messages};
use crate::model::{Id, Message, Pin, Reaction, User, limits};
use crate::store::{Error, Marks, Queued, ReactedTo, Reactor, Tally};
use async_trait::async_trait;
use futures::FutureExt as _;
use sqlx::sqlite::SqliteConnection;

#[async_trait]
impl Marks for Sqlite {
    fn react(&self, reactor: Reactor, present: bool) -> Queued<Tally> {
        self.writer.queue(move |tx| {
            Box::pin(async move {
                let message = existing(tx, reactor.channel_id, reactor.message_id).await?;
                if present {
                    add(tx, message, reactor).await
                } else {
                    take_back(tx, message, reactor).await
                }
            })
        })
    }

    fn clear_reactions(&self, channel: Id, message: Id, emoji: String) -> Queued<bool> {
        let cleared = self
            .writer
            .queue(move |tx| Box::pin(clear(tx, channel, message, emoji)));
        let purge = self.purge.clone();
        let cleared = cleared.inspect(move |cleared| {
            if matches!(cleared, Ok(true)) {
                purge.notify_one();
            }
        });
        Box::pin(cleared)
    }

    async fn own_reactions(&self, user: Id, kinds: &[Id]) -> Result<Vec<Id>, Error> {
        let kinds = serde_json::to_string(kinds).expect("a list of numbers is always JSON");
        Ok(sqlx::query_scalar(
            "SELECT kind_id FROM json_each(?) AS wanted
             CROSS JOIN reactions ON kind_id = wanted.value AND user_id = ?",
        )
        .bind(kinds)
        .bind(user)
        .fetch_all(&self.read)
        .await?)
    }

    async fn reactors(&self, kind: Id, after: Id, limit: u32) -> Result<Vec<User>, Error> {
        let rows: Vec<Of<User>> = sqlx::query_as(
            "SELECT users.* FROM reactions CROSS JOIN users ON users.id = user_id
             WHERE kind_id = ?1 AND user_id > ?2
             AND EXISTS (SELECT 1 FROM reaction_kinds WHERE id = ?1 AND gone = 0)
             ORDER BY user_id LIMIT ?3",
        )
        .bind(kind)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn reactions_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<ReactedTo>, Error> {
        let rows: Vec<(Id, Id, Id, String)> = sqlx::query_as(
            "SELECT kind_id, channel_id, message_id, emoji
             FROM reactions CROSS JOIN reaction_kinds ON reaction_kinds.id = kind_id
             WHERE user_id = ? AND kind_id > ? AND gone = 0
             AND EXISTS (SELECT 1 FROM channels WHERE channels.id = channel_id)
             ORDER BY kind_id LIMIT ?",
        )
        .bind(user)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
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
        self.writer.queue(move |tx| {
            Box::pin(async move {
                if existing(tx, channel, message).await?.pinned {
                    return Ok(false);
                }
                insert_pin(tx, (channel, message), user, pin).await?;
                set_pinned(tx, channel, message, true).await?;
                Ok(true)
            })
        })
    }

    fn unpin(&self, channel: Id, message: Id) -> Queued<bool> {
        self.writer.queue(move |tx| {
            Box::pin(async move {
                if !existing(tx, channel, message).await?.pinned {
                    return Ok(false);
                }
                delete_pin(&mut tx.connection, channel, message).await?;
                set_pinned(tx, channel, message, false).await?;
                Ok(true)
            })
        })
    }

    async fn pins(&self, channel: Id, before: Id, limit: u32) -> Result<Vec<Pin>, Error> {
        let rows: Vec<Of<Pin>> = sqlx::query_as(
            "SELECT pins.id AS pin_id, pins.user_id AS pinned_by, messages.* FROM pins
             JOIN messages ON messages.channel_id = pins.channel_id AND messages.id = message_id
             WHERE pins.channel_id = ? AND pins.id < ?
             ORDER BY pins.id DESC LIMIT ?",
        )
        .bind(channel)
        .bind(before)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }
}

async fn existing(tx: &mut Tx, channel: Id, id: Id) -> Result<Message, Error> {
    let message = messages::get(&mut tx.connection, channel, id).await?;
    let there = message.filter(|message| !message.deleted);
    there.ok_or(Error::NotFound("message"))
}

async fn add(tx: &mut Tx, message: Message, reactor: Reactor) -> Result<Tally, Error> {
    let mut kinds = message.reactions;
    let at = match kinds.iter().position(|kind| kind.emoji == reactor.emoji) {
        Some(at) => at,
        None if kinds.len() >= limits::REACTIONS_MAX => {
            return Err(Error::LimitReached(
                "reactions",
                limits::REACTIONS_MAX as u32,
            ));
        }
        None => {
            kinds.push(new_kind(tx, &reactor).await?);
            kinds.len() - 1
        }
    };
    let done = sqlx::query("INSERT INTO reactions VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(kinds[at].kind)
        .bind(reactor.user_id)
        .execute(&mut tx.connection)
        .await?;
    let changed = done.rows_affected() == 1;
    if changed {
        kinds[at].count += 1 + i32::from(crate::mutation::on("reaction_count_wrong"));
        set_kinds(tx, reactor.channel_id, reactor.message_id, &kinds).await?;
    }
    let reaction = kinds.swap_remove(at);
    Ok(Tally { reaction, changed })
}

async fn new_kind(tx: &mut Tx, reactor: &Reactor) -> Result<Reaction, Error> {
    let kind = sqlx::query_scalar(
        "INSERT INTO reaction_kinds (channel_id, message_id, emoji, gone) VALUES (?, ?, ?, 0)
         RETURNING id",
    )
    .bind(reactor.channel_id)
    .bind(reactor.message_id)
    .bind(reactor.emoji.as_str())
    .fetch_one(&mut tx.connection)
    .await?;
    Ok(Reaction {
        kind,
        emoji: reactor.emoji.clone(),
        ..Reaction::default()
    })
}

async fn take_back(tx: &mut Tx, message: Message, reactor: Reactor) -> Result<Tally, Error> {
    let mut kinds = message.reactions;
    let Some(at) = kinds.iter().position(|kind| kind.emoji == reactor.emoji) else {
        let reaction = Reaction {
            emoji: reactor.emoji,
            ..Reaction::default()
        };
        return Ok(Tally {
            reaction,
            changed: false,
        });
    };
    let done = sqlx::query("DELETE FROM reactions WHERE kind_id = ? AND user_id = ?")
        .bind(kinds[at].kind)
        .bind(reactor.user_id)
        .execute(&mut tx.connection)
        .await?;
    let changed = done.rows_affected() == 1;
    if changed {
        kinds[at].count -= 1;
    }
    let reaction = kinds[at].clone();
    if reaction.count == 0 {
        kinds.remove(at);
        sqlx::query("DELETE FROM reaction_kinds WHERE id = ?")
            .bind(reaction.kind)
            .execute(&mut tx.connection)
            .await?;
    }
    if changed {
        set_kinds(tx, reactor.channel_id, reactor.message_id, &kinds).await?;
    }
    Ok(Tally { reaction, changed })
}

async fn clear(tx: &mut Tx, channel: Id, message: Id, emoji: String) -> Result<bool, Error> {
    let kinds = existing(tx, channel, message).await?.reactions;
    let goes = |kind: &Reaction| emoji.is_empty() || kind.emoji == emoji;
    let (gone, kept): (Vec<_>, Vec<_>) = kinds.into_iter().partition(goes);
    for kind in &gone {
        sqlx::query("UPDATE reaction_kinds SET gone = 1 WHERE id = ?")
            .bind(kind.kind)
            .execute(&mut tx.connection)
            .await?;
    }
    if !gone.is_empty() {
        set_kinds(tx, channel, message, &kept).await?;
    }
    Ok(!gone.is_empty())
}

async fn set_kinds(
    tx: &mut Tx,
    channel: Id,
    message: Id,
    kinds: &[Reaction],
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE messages SET reactions = ? WHERE channel_id = ? AND id = ?")
        .bind(reactions_json(kinds))
        .bind(channel)
        .bind(message)
        .execute(&mut tx.connection)
        .await
        .map(drop)
}

/// Takes a message's place in the list of pins, above all others whatever the clock did.
async fn insert_pin(
    tx: &mut Tx,
    (channel, message): (Id, Id),
    user: Id,
    pin: Id,
) -> Result<(), Error> {
    let (pins, highest): (i64, Id) =
        sqlx::query_as("SELECT count(*), coalesce(max(id), 0) FROM pins WHERE channel_id = ?")
            .bind(channel)
            .fetch_one(&mut tx.connection)
            .await?;
    if pins >= i64::from(limits::PINS_MAX) {
        return Err(Error::LimitReached("pins", limits::PINS_MAX));
    }
    sqlx::query("INSERT INTO pins VALUES (?, ?, ?, ?)")
        .bind(channel)
        .bind(pin.max(highest + 1))
        .bind(message)
        .bind(user)
        .execute(&mut tx.connection)
        .await?;
    Ok(())
}

async fn set_pinned(
    tx: &mut Tx,
    channel: Id,
    message: Id,
    pinned: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE messages SET pinned = ? WHERE channel_id = ? AND id = ?")
        .bind(pinned)
        .bind(channel)
        .bind(message)
        .execute(&mut tx.connection)
        .await
        .map(drop)
}

async fn delete_pin(
    connection: &mut SqliteConnection,
    channel: Id,
    message: Id,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM pins WHERE channel_id = ? AND message_id = ?")
        .bind(channel)
        .bind(message)
        .execute(connection)
        .await
        .map(drop)
}

/// Takes away all that stands on a message that is about to be deleted, but for what its row says.
/// True: who reacted is to be removed in the background.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    channel: Id,
    message: Id,
) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query(
        "UPDATE reaction_kinds SET gone = 1 WHERE id IN
         (SELECT value ->> 0 FROM messages, json_each(messages.reactions)
          WHERE messages.channel_id = ? AND messages.id = ?)",
    )
    .bind(channel)
    .bind(message)
    .execute(&mut *connection)
    .await?;
    delete_pin(connection, channel, message).await?;
    Ok(gone.rows_affected() > 0)
}

/// One step of removing who reacted with kinds that are gone, at most so many. False: nothing is
/// left to do.
pub(super) async fn purge(tx: &mut Tx, most: i64) -> Result<bool, Error> {
    let kind: Option<Id> =
        sqlx::query_scalar("SELECT id FROM reaction_kinds WHERE gone = 1 ORDER BY id LIMIT 1")
            .fetch_optional(&mut tx.connection)
            .await?;
    let Some(kind) = kind else {
        return Ok(false);
    };
    let done = sqlx::query(
        "DELETE FROM reactions WHERE kind_id = ?1 AND user_id IN
         (SELECT user_id FROM reactions WHERE kind_id = ?1 ORDER BY user_id LIMIT ?2)",
    )
    .bind(kind)
    .bind(most)
    .execute(&mut tx.connection)
    .await?;
    if done.rows_affected() < most.unsigned_abs() {
        sqlx::query("DELETE FROM reaction_kinds WHERE id = ?")
            .bind(kind)
            .execute(&mut tx.connection)
            .await?;
    }
    Ok(true)
}
