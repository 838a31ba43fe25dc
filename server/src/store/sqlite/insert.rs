//! New messages, many to a statement.
//!
//! Nearly all are new, so they are first inserted as if all were: only when some weren't is it
//! undone and found out, one by one, which of them repeats another.

use super::mentions;
use super::rows::{Of, mentions_json, metadata_json, nonce_bytes};
use super::writer::Insert;
use crate::model::Message;
use crate::store::{Error, Inserted};
use sqlx::sqlite::SqliteConnection;
use std::sync::LazyLock;

/// Rows a statement: powers of two, so that each text is prepared once and any number is made of
/// few.
const SIZES: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// A message of a channel that is gone would never be seen again, so it isn't taken. IGNORE for all
/// constraints: one that could fail half-way would make SQLite keep a copy of each page that it
/// changes.
static INSERT: LazyLock<Vec<String>> = LazyLock::new(|| {
    let text = |size: &usize| {
        let rows = vec!["(?,?,?,?,?,?,?,?,?,?)"; *size].join(",");
        format!(
            "INSERT OR IGNORE INTO messages (channel_id, id, author_id, nonce, content, reply_to, \
             mentions, metadata, mention_groups, sent_hash, revision, edited_at, deleted) \
             SELECT *, 0, 0, 0 FROM (VALUES {rows}) \
             WHERE EXISTS (SELECT 1 FROM channels WHERE id = column1)"
        )
    };
    SIZES.iter().map(text).collect()
});

/// Cuts the items into runs of the sizes that have a statement.
fn runs<T>(mut items: &[T]) -> impl Iterator<Item = (usize, &[T])> {
    std::iter::from_fn(move || {
        let size = SIZES.iter().position(|size| *size <= items.len())?;
        let (run, rest) = items.split_at(SIZES[size]);
        items = rest;
        Some((size, run))
    })
}

/// Inserts the messages of one transaction, in their order; the outcomes are in the same order. An
/// error fails the transaction.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    inserts: &[Insert],
) -> Result<Vec<Result<Inserted, Error>>, sqlx::Error> {
    let messages: Vec<&Message> = inserts.iter().map(|insert| &insert.message).collect();
    execute(connection, "SAVEPOINT inserts").await?;
    let inserted = insert_all(connection, &messages).await?;
    let mut outcomes = Vec::with_capacity(messages.len());
    if inserted == messages.len() as u64 {
        outcomes.resize_with(messages.len(), || Ok(Inserted::New));
    } else {
        execute(connection, "ROLLBACK TO inserts").await?;
        for message in &messages {
            outcomes.push(insert_one(connection, message).await?);
        }
    }
    for (message, outcome) in messages.iter().zip(&outcomes) {
        if matches!(outcome, Ok(Inserted::New)) {
            mentions::add(connection, message).await?;
        }
    }
    execute(connection, "RELEASE inserts").await?;
    Ok(outcomes)
}

async fn execute(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(drop)
}

/// Answers how many rows are new.
async fn insert_all(
    connection: &mut SqliteConnection,
    messages: &[&Message],
) -> Result<u64, sqlx::Error> {
    let mut inserted = 0;
    for (size, run) in runs(messages) {
        let mut query = sqlx::query(INSERT[size].as_str());
        for message in run {
            query = query
                .bind(message.channel_id)
                .bind(message.id)
                .bind(message.author_id)
                .bind(stored_nonce(message))
                .bind(message.content.as_str())
                .bind(message.reply_to)
                .bind(mentions_json(&message.mentions))
                .bind(metadata_json(&message.metadata))
                .bind(message.groups.bits())
                .bind(message.sent_hash.map(u64::cast_signed));
        }
        inserted += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(inserted)
}

fn stored_nonce(message: &Message) -> Option<Vec<u8>> {
    nonce_bytes(&message.nonce).filter(|_| !crate::mutation::on("nonce_forgotten"))
}

/// Inserts one message, or tells why it isn't new.
async fn insert_one(
    connection: &mut SqliteConnection,
    message: &Message,
) -> Result<Result<Inserted, Error>, sqlx::Error> {
    if insert_all(connection, &[message]).await? == 1 {
        return Ok(Ok(Inserted::New));
    }
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM channels WHERE id = ?)")
        .bind(message.channel_id)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(Err(Error::NotFound("channel")));
    }
    let earlier: Option<Of<Message>> = sqlx::query_as(
        "SELECT * FROM messages WHERE nonce = ? AND author_id = ? AND channel_id = ?",
    )
    .bind(stored_nonce(message))
    .bind(message.author_id)
    .bind(message.channel_id)
    .fetch_optional(connection)
    .await?;
    Ok(match earlier {
        Some(Of(earlier)) => Ok(Inserted::Repeat(earlier)),
        None => Err(Error::Conflict("message id")),
    })
}
