//! New messages, many to a statement.

use super::rows::{Of, mentions_json, metadata_json, nonce_bytes};
use super::writer::Insert;
use crate::model::{Id, Message};
use crate::store::{Error, Inserted};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::collections::HashSet;
use std::sync::LazyLock;

/// Rows a statement: powers of two, so that each text is prepared once and any number is made of
/// few.
const SIZES: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// A message of a channel that is gone would never be seen again, so it isn't taken.
static INSERT_NONCES: LazyLock<Vec<String>> = LazyLock::new(|| {
    texts(
        "INSERT INTO nonces (channel_id, author_id, nonce, message_id) \
         SELECT column1, column2, column3, column4",
        4,
        "ON CONFLICT DO NOTHING RETURNING channel_id, message_id",
    )
});

static INSERT_MESSAGES: LazyLock<Vec<String>> = LazyLock::new(|| {
    texts(
        "INSERT INTO messages (channel_id, id, author_id, nonce, content, reply_to, revision, \
         edited_at, deleted, mentions, metadata) \
         SELECT column1, column2, column3, column4, column5, column6, column7, \
         column8, column9, column10, column11",
        11,
        "ON CONFLICT DO NOTHING",
    )
});

fn texts(head: &str, columns: usize, tail: &str) -> Vec<String> {
    let row = format!("({})", vec!["?"; columns].join(","));
    let text = |size: &usize| {
        let rows = vec![row.as_str(); *size].join(",");
        format!(
            "{head} FROM (VALUES {rows}) \
             WHERE EXISTS (SELECT 1 FROM channels WHERE id = column1) {tail}"
        )
    };
    SIZES.iter().map(text).collect()
}

/// Cuts the items into runs of the sizes that have a statement.
fn runs<T>(mut items: &[T]) -> impl Iterator<Item = (usize, &[T])> {
    std::iter::from_fn(move || {
        let size = SIZES.iter().position(|size| *size <= items.len())?;
        let (run, rest) = items.split_at(SIZES[size]);
        items = rest;
        Some((size, run))
    })
}

struct New<'a> {
    message: &'a Message,
    nonce: Option<Vec<u8>>,
}

impl New<'_> {
    fn key(&self) -> (Id, Id) {
        (self.message.channel_id, self.message.id)
    }
}

/// Inserts the messages of one transaction, in their order; the outcomes are in the same order. An
/// error fails the transaction.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    inserts: &[Insert],
) -> Result<Vec<Result<Inserted, Error>>, sqlx::Error> {
    let new = |insert: &'_ Insert| nonce_bytes(&insert.message.nonce);
    let deduped = !crate::mutation::on("nonce_forgotten");
    let all: Vec<New<'_>> = inserts
        .iter()
        .map(|insert| New {
            message: &insert.message,
            nonce: new(insert),
        })
        .collect();
    let with_nonce: Vec<&New<'_>> = all
        .iter()
        .filter(|new| deduped && new.nonce.is_some())
        .collect();
    let won = insert_nonces(connection, &with_nonce).await?;
    let fresh = |new: &&New<'_>| !deduped || new.nonce.is_none() || won.contains(&new.key());
    let rows: Vec<&New<'_>> = all.iter().filter(fresh).collect();
    let inserted = insert_messages(connection, &rows).await?;
    if inserted == inserts.len() {
        return Ok(inserts.iter().map(|_| Ok(Inserted::New)).collect());
    }
    let exact = inserted == rows.len();
    let mut outcomes = Vec::with_capacity(inserts.len());
    for new in &all {
        outcomes.push(if fresh(&new) {
            if exact {
                Ok(Inserted::New)
            } else {
                inspect(connection, new).await?
            }
        } else {
            repeat(connection, new).await?
        });
    }
    Ok(outcomes)
}

/// Takes the nonces that are free. Answers whose they now are.
async fn insert_nonces(
    connection: &mut SqliteConnection,
    news: &[&New<'_>],
) -> Result<HashSet<(Id, Id)>, sqlx::Error> {
    let mut won = HashSet::with_capacity(news.len());
    for (size, run) in runs(news) {
        let mut query = sqlx::query(INSERT_NONCES[size].as_str());
        for new in run {
            query = query
                .bind(new.message.channel_id)
                .bind(new.message.author_id)
                .bind(new.nonce.as_deref())
                .bind(new.message.id);
        }
        let rows: Vec<SqliteRow> = query.fetch_all(&mut *connection).await?;
        for row in rows {
            won.insert((row.try_get(0)?, row.try_get(1)?));
        }
    }
    Ok(won)
}

/// Answers how many rows are new.
async fn insert_messages(
    connection: &mut SqliteConnection,
    news: &[&New<'_>],
) -> Result<usize, sqlx::Error> {
    let mut inserted = 0;
    for (size, run) in runs(news) {
        let mut query = sqlx::query(INSERT_MESSAGES[size].as_str());
        for new in run {
            let message = new.message;
            query = query
                .bind(message.channel_id)
                .bind(message.id)
                .bind(message.author_id)
                .bind(new.nonce.as_deref())
                .bind(message.content.as_str())
                .bind(message.reply_to)
                .bind(message.revision)
                .bind(message.edited_at)
                .bind(message.deleted)
                .bind(mentions_json(&message.mentions))
                .bind(metadata_json(&message.metadata));
        }
        inserted += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(usize::try_from(inserted).unwrap_or(usize::MAX))
}

/// What became of a message when some of its run weren't inserted: their channel is gone, or their
/// id is taken.
async fn inspect(
    connection: &mut SqliteConnection,
    new: &New<'_>,
) -> Result<Result<Inserted, Error>, sqlx::Error> {
    let stored: Option<Of<Message>> = sqlx::query_as(
        "SELECT * FROM messages WHERE channel_id = ? AND id = ?
         AND EXISTS (SELECT 1 FROM channels c WHERE c.id = messages.channel_id)",
    )
    .bind(new.message.channel_id)
    .bind(new.message.id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(Of(stored)) = stored else {
        return Ok(Err(Error::NotFound("channel")));
    };
    if stored == *new.message {
        return Ok(Ok(Inserted::New));
    }
    sqlx::query(
        "DELETE FROM nonces
         WHERE channel_id = ? AND author_id = ? AND nonce = ? AND message_id = ?",
    )
    .bind(new.message.channel_id)
    .bind(new.message.author_id)
    .bind(new.nonce.as_deref())
    .bind(new.message.id)
    .execute(connection)
    .await?;
    Ok(Err(Error::Conflict("message id")))
}

/// The message that has the nonce.
async fn repeat(
    connection: &mut SqliteConnection,
    new: &New<'_>,
) -> Result<Result<Inserted, Error>, sqlx::Error> {
    let earlier: Option<Of<Message>> = sqlx::query_as(
        "SELECT m.* FROM nonces n
         JOIN messages m ON m.channel_id = n.channel_id AND m.id = n.message_id
         WHERE n.channel_id = ? AND n.author_id = ? AND n.nonce = ?
         AND EXISTS (SELECT 1 FROM channels c WHERE c.id = n.channel_id)",
    )
    .bind(new.message.channel_id)
    .bind(new.message.author_id)
    .bind(new.nonce.as_deref())
    .fetch_optional(connection)
    .await?;
    Ok(match earlier {
        Some(Of(message)) => Ok(Inserted::Repeat(message)),
        None => Err(Error::NotFound("channel")),
    })
}
