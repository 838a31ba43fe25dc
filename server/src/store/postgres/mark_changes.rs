//! Changes of reactions and pins, in the transactions that [`super::marks`] runs.

use super::tx::Tx;
use crate::model::{Id, Reaction, limits};
use crate::store::{Error, Reactor, Tally};

/// Changes of the reactions of one message hold the advisory lock of this number and the message:
/// "Chrr". Those of the pins of a channel: "Chrp".
const REACTIONS: i32 = 0x4368_7272;
const PINS: i32 = 0x4368_7270;

/// Locks what belongs to a message (`id`) or a channel of a channel that is there: nobody deletes
/// the channel meanwhile.
async fn lock(tx: &mut Tx, channel: Id, what: i32, id: Id) -> Result<(), Error> {
    // Ids that share a number wait for each other, nothing else.
    let number = (id ^ (id >> 32)) as i32;
    let there = sqlx::query("SELECT 1 FROM channels WHERE id = $1 FOR KEY SHARE")
        .bind(channel)
        .fetch_optional(&mut *tx.connection)
        .await?;
    there.ok_or(Error::NotFound("message"))?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
        .bind(what)
        .bind(number)
        .execute(&mut *tx.connection)
        .await?;
    Ok(())
}

/// The kinds of a message, in their order.
async fn kinds(tx: &mut Tx, channel: Id, message: Id) -> Result<Vec<Reaction>, Error> {
    let rows: Vec<(Id, String, i32)> = sqlx::query_as(
        "SELECT id, emoji, count FROM reaction_kinds
         WHERE channel_id = $1 AND message_id = $2 AND NOT gone ORDER BY id",
    )
    .bind(channel)
    .bind(message)
    .fetch_all(&mut *tx.connection)
    .await?;
    let kind = |(kind, emoji, count)| Reaction {
        kind,
        emoji,
        count,
        own: false,
    };
    Ok(rows.into_iter().map(kind).collect())
}

pub(super) async fn add(tx: &mut Tx, reactor: Reactor) -> Result<Tally, Error> {
    let (channel, message) = (reactor.channel_id, reactor.message_id);
    lock(tx, channel, REACTIONS, message).await?;
    let kinds = kinds(tx, channel, message).await?;
    let found = kinds.iter().find(|kind| kind.emoji == reactor.emoji);
    let mut reaction = match found {
        Some(kind) => kind.clone(),
        None if kinds.len() >= limits::REACTIONS_MAX => {
            return Err(Error::LimitReached(
                "reactions",
                limits::REACTIONS_MAX as u32,
            ));
        }
        None => new_kind(tx, &reactor).await?,
    };
    let done = sqlx::query(
        "INSERT INTO reactions (kind_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(reaction.kind)
    .bind(reactor.user_id)
    .execute(&mut *tx.connection)
    .await?;
    let changed = done.rows_affected() == 1;
    if changed {
        reaction.count += 1 + i32::from(crate::mutation::on("reaction_count_wrong"));
        set_count(tx, &reaction).await?;
    }
    Ok(Tally { reaction, changed })
}

async fn new_kind(tx: &mut Tx, reactor: &Reactor) -> Result<Reaction, Error> {
    let kind = sqlx::query_scalar(
        "INSERT INTO reaction_kinds (channel_id, message_id, emoji, count) VALUES ($1, $2, $3, 0)
         RETURNING id",
    )
    .bind(reactor.channel_id)
    .bind(reactor.message_id)
    .bind(reactor.emoji.as_str())
    .fetch_one(&mut *tx.connection)
    .await?;
    Ok(Reaction {
        kind,
        emoji: reactor.emoji.clone(),
        ..Reaction::default()
    })
}

pub(super) async fn take_back(tx: &mut Tx, reactor: Reactor) -> Result<Tally, Error> {
    let (channel, message) = (reactor.channel_id, reactor.message_id);
    lock(tx, channel, REACTIONS, message).await?;
    let kinds = kinds(tx, channel, message).await?;
    let found = kinds.into_iter().find(|kind| kind.emoji == reactor.emoji);
    let Some(mut reaction) = found else {
        let reaction = Reaction {
            emoji: reactor.emoji,
            ..Reaction::default()
        };
        return Ok(Tally {
            reaction,
            changed: false,
        });
    };
    let done = sqlx::query("DELETE FROM reactions WHERE kind_id = $1 AND user_id = $2")
        .bind(reaction.kind)
        .bind(reactor.user_id)
        .execute(&mut *tx.connection)
        .await?;
    let changed = done.rows_affected() == 1;
    if changed {
        reaction.count -= 1;
        set_count(tx, &reaction).await?;
    }
    Ok(Tally { reaction, changed })
}

/// Writes how many reacted with a kind; with none it goes.
async fn set_count(tx: &mut Tx, reaction: &Reaction) -> Result<(), Error> {
    let statement = match reaction.count {
        0 => "DELETE FROM reaction_kinds WHERE id = $1 AND $2 = 0",
        _ => "UPDATE reaction_kinds SET count = $2 WHERE id = $1",
    };
    sqlx::query(statement)
        .bind(reaction.kind)
        .bind(reaction.count)
        .execute(&mut *tx.connection)
        .await?;
    Ok(())
}

pub(super) async fn clear(
    tx: &mut Tx,
    channel: Id,
    message: Id,
    emoji: String,
) -> Result<bool, Error> {
    lock(tx, channel, REACTIONS, message).await?;
    let gone = sqlx::query(
        "UPDATE reaction_kinds SET gone = true
         WHERE channel_id = $1 AND message_id = $2 AND NOT gone AND ($3 = '' OR emoji = $3)",
    )
    .bind(channel)
    .bind(message)
    .bind(emoji)
    .execute(&mut *tx.connection)
    .await?;
    Ok(gone.rows_affected() > 0)
}

/// Takes a message's place in the list of pins, above all others whatever the clock did. False if
/// it has one.
pub(super) async fn insert_pin(
    tx: &mut Tx,
    (channel, message): (Id, Id),
    user: Id,
    pin: Id,
) -> Result<bool, Error> {
    lock(tx, channel, PINS, channel).await?;
    let (pins, highest, pinned): (i64, Id, bool) = sqlx::query_as(
        "SELECT count(*), coalesce(max(id), 0), coalesce(bool_or(message_id = $2), false)
         FROM pins WHERE channel_id = $1",
    )
    .bind(channel)
    .bind(message)
    .fetch_one(&mut *tx.connection)
    .await?;
    if pinned {
        return Ok(false);
    }
    if pins >= i64::from(limits::PINS_MAX) {
        return Err(Error::LimitReached("pins", limits::PINS_MAX));
    }
    sqlx::query("INSERT INTO pins (channel_id, id, message_id, user_id) VALUES ($1, $2, $3, $4)")
        .bind(channel)
        .bind(pin.max(highest + 1))
        .bind(message)
        .bind(user)
        .execute(&mut *tx.connection)
        .await?;
    Ok(true)
}

pub(super) async fn delete_pin(tx: &mut Tx, channel: Id, message: Id) -> Result<bool, Error> {
    lock(tx, channel, PINS, channel).await?;
    let done = sqlx::query("DELETE FROM pins WHERE channel_id = $1 AND message_id = $2")
        .bind(channel)
        .bind(message)
        .execute(&mut *tx.connection)
        .await?;
    Ok(done.rows_affected() > 0)
}
