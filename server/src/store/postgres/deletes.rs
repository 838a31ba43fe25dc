//! What moderators do to messages.

use super::Postgres;
use super::messages::{Hands, exists, marked};
use crate::model::{AuditEntry, Id, Message};
use crate::store::{Deleted, Error};

/// See [`Moderation::newest_of_author`](crate::store::Moderation::newest_of_author).
pub(super) async fn newest_of_author(
    store: &Postgres,
    channel: Id,
    author: Id,
    after: Id,
) -> Result<Option<Id>, Error> {
    store
        .messages
        .newest_of_author(channel, author, after)
        .await
}

/// See [`Moderation::by_nonce`](crate::store::Moderation::by_nonce).
pub(super) async fn by_nonce(
    store: &Postgres,
    channel: Id,
    author: Id,
    nonce: String,
) -> Result<Option<Message>, Error> {
    match store.messages.by_nonce(channel, author, &nonce).await? {
        Some(message) => Ok(Some(marked(&store.pool, message).await?)),
        None => Ok(None),
    }
}

/// See [`Moderation::delete_messages`](crate::store::Moderation::delete_messages).
pub(super) async fn delete_messages(
    store: &Postgres,
    channel: Id,
    mut ids: Vec<Id>,
    audit: AuditEntry,
) -> Result<Vec<Message>, Error> {
    if !exists(&store.pool, channel).await? {
        return Ok(Vec::new());
    }
    ids.sort_unstable();
    ids.dedup();
    let ids = ids.into_iter().map(|id| (channel, id)).collect();
    Hands::of(store).delete_all(ids, Some(audit)).await
}

/// See [`Moderation::delete_of_author`](crate::store::Moderation::delete_of_author).
pub(super) async fn delete_of_author(
    store: &Postgres,
    channel: Id,
    author: Id,
    range: (Id, Id),
    limit: u32,
    audit: AuditEntry,
) -> Result<Deleted, Error> {
    if !exists(&store.pool, channel).await? {
        return Ok(Deleted::default());
    }
    let wrote = store
        .messages
        .of_author_in(channel, author, range, limit as usize);
    let wrote = wrote.await?;
    Ok(Deleted {
        messages: Hands::of(store)
            .delete_all(wrote.found, Some(audit))
            .await?,
        next: wrote.next.map(|(_, id)| id),
    })
}
