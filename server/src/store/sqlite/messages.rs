//! Messages: reading, pages, edits, deletes.

use super::rows::{Of, mentions_json};
use super::writer::Tx;
use super::{Sqlite, audit, failure, marks, mentions, webhook_queue};
use crate::model::{AuditEntry, Id, Mentions, Message, UnixMs, WebhookEvent};
use crate::mutation;
use crate::store::{Anchor, Erased, Error, Insertion, Messages, Page, Queued};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

/// Deleted ids that a page names.
const DELETED: usize = 1000;

/// Messages of an author erased in a transaction.
const ERASED: usize = 500;

/// Messages of all that a step of an erasure looks at.
const LOOKED_AT: i64 = 10_000;

#[async_trait]
impl Messages for Sqlite {
    fn insert(&self, message: Message) -> Insertion {
        self.writer.insert(message)
    }

    fn edit(
        &self,
        channel: Id,
        id: Id,
        content: String,
        mentions: Mentions,
        revision: i64,
        edited_at: UnixMs,
    ) -> Queued<Message> {
        self.writer.queue(move |tx| {
            Box::pin(async move {
                let before = get(&mut tx.connection, channel, id).await?;
                let kept = mutation::on("edit_revision_kept");
                let done = sqlx::query(
                    "UPDATE messages SET content = ?, mentions = ?, mention_groups = ?,
                     revision = ?, edited_at = ?
                     WHERE channel_id = ? AND id = ? AND deleted = 0 AND revision < ?",
                )
                .bind(content)
                .bind(mentions_json(&mentions.users))
                .bind(mentions.groups.bits())
                .bind(if kept { 0 } else { revision })
                .bind(edited_at)
                .bind(channel)
                .bind(id)
                .bind(revision)
                .execute(&mut tx.connection)
                .await?;
                if done.rows_affected() == 1 {
                    let event = WebhookEvent::MessageUpdated;
                    webhook_queue::changed(tx, event, channel, id).await?;
                }
                let now = get(&mut tx.connection, channel, id).await?;
                let now = now.ok_or(Error::NotFound("message"))?;
                if let Some(before) = before.filter(|_| done.rows_affected() == 1) {
                    mentions::remove(&mut tx.connection, &before).await?;
                    mentions::add(&mut tx.connection, &now).await?;
                }
                Ok(now)
            })
        })
    }

    async fn delete(
        &self,
        channel: Id,
        id: Id,
        revision: i64,
        audit: Option<AuditEntry>,
    ) -> Result<Message, Error> {
        let deleted = self.change(move |tx| {
            Box::pin(async move {
                if let Some(before) = get(&mut tx.connection, channel, id).await? {
                    mentions::remove(&mut tx.connection, &before).await?;
                }
                let purge = marks::forget(&mut tx.connection, channel, id).await?;
                let done = sqlx::query(
                    "UPDATE messages SET content = '', mentions = NULL, mention_groups = 0,
                     metadata = NULL, reactions = NULL, pinned = 0, sent_hash = NULL, deleted = 1,
                     revision = max(revision, ?)
                     WHERE channel_id = ? AND id = ? AND deleted = 0",
                )
                .bind(revision)
                .bind(channel)
                .bind(id)
                .execute(&mut tx.connection)
                .await?;
                if done.rows_affected() == 1 {
                    let event = WebhookEvent::MessageDeleted;
                    webhook_queue::changed(tx, event, channel, id).await?;
                    audit::write_some(tx, audit).await?;
                }
                let now = get(&mut tx.connection, channel, id).await?;
                Ok((now.ok_or(Error::NotFound("message"))?, purge))
            })
        });
        let (deleted, purge) = deleted.await?;
        if purge {
            self.purge.notify_one();
        }
        Ok(deleted)
    }

    async fn get(&self, channel: Id, id: Id) -> Result<Option<Message>, Error> {
        let mut connection = self.read.acquire().await.map_err(failure)?;
        Ok(get(&mut connection, channel, id).await?)
    }

    async fn page(&self, channel: Id, anchor: Anchor, limit: u32) -> Result<Page, Error> {
        let limit = limit.clamp(1, 100) as usize;
        let mut snapshot = self.snapshot().await?;
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM channels WHERE id = ?)")
                .bind(channel)
                .fetch_one(&mut *snapshot)
                .await?;
        if !exists {
            return Ok(Page::default());
        }
        let mut walk = Walk {
            connection: &mut snapshot,
            channel,
            page: Page::default(),
        };
        match anchor {
            Anchor::Newest => walk.older(Id::MAX, limit).await?,
            Anchor::Before(id) => {
                walk.older(id.saturating_sub(1), limit).await?;
                walk.page.has_newer = walk.any_newer(id).await?;
            }
            Anchor::After(id) => {
                let step = i64::from(!mutation::on("page_after_wrong"));
                walk.newer(id.saturating_add(step), limit).await?;
                walk.page.has_older = walk.any_older(id).await?;
            }
            Anchor::Around(id) => walk.around(id, limit).await?,
        }
        let mut page = walk.page;
        let skips =
            mutation::on("page_skips") && matches!(anchor, Anchor::Before(_) | Anchor::After(_));
        if skips && !page.messages.is_empty() {
            page.messages.remove(0);
        }
        page.messages.sort_unstable_by_key(|message| message.id);
        page.deleted_ids.sort_unstable();
        Ok(page)
    }

    async fn newest(&self, channels: &[Id]) -> Result<Vec<Id>, Error> {
        let mut snapshot = self.snapshot().await?;
        let mut ids = Vec::with_capacity(channels.len());
        for channel in channels {
            let id: Option<Id> = sqlx::query_scalar(
                "SELECT max(id) FROM messages WHERE channel_id = ?1
                 AND EXISTS (SELECT 1 FROM channels WHERE id = ?1)",
            )
            .bind(channel)
            .fetch_one(&mut *snapshot)
            .await?;
            ids.push(id.unwrap_or(0));
        }
        Ok(ids)
    }

    async fn highest(&self) -> Result<Id, Error> {
        Ok(sqlx::query_scalar(
            "SELECT max(
                (SELECT value FROM meta WHERE name = 'highest'),
                coalesce((SELECT max((SELECT max(id) FROM messages m WHERE m.channel_id = c.id))
                          FROM channels c), 0))",
        )
        .fetch_one(&self.read)
        .await?)
    }

    async fn erase_author(&self, author: Id, after: (Id, Id)) -> Result<Erased, Error> {
        let mut snapshot = self.snapshot().await?;
        let end: Option<(Id, Id)> = sqlx::query_as(
            "SELECT channel_id, id FROM messages WHERE (channel_id, id) > (?, ?)
             ORDER BY channel_id, id LIMIT 1 OFFSET ?",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(LOOKED_AT - 1)
        .fetch_optional(&mut *snapshot)
        .await?;
        let to = end.unwrap_or((Id::MAX, Id::MAX));
        // EXISTS, not IN: that would make it look through each channel anew.
        let found: Vec<(Id, Id)> = sqlx::query_as(
            "SELECT channel_id, id FROM messages
             WHERE (channel_id, id) > (?, ?) AND (channel_id, id) <= (?, ?)
             AND author_id = ? AND deleted = 0
             AND EXISTS (SELECT 1 FROM channels WHERE channels.id = channel_id)
             ORDER BY channel_id, id LIMIT ?",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(to.0)
        .bind(to.1)
        .bind(author)
        .bind(ERASED as i64)
        .fetch_all(&mut *snapshot)
        .await?;
        drop(snapshot);
        let next = if found.len() == ERASED {
            found.last().copied()
        } else {
            end
        };
        let messages = if found.is_empty() {
            Vec::new()
        } else {
            let change = self
                .change(move |tx| Box::pin(async move { erase(tx, found).await.map_err(failure) }));
            let erased = change.await?;
            self.purge.notify_one();
            erased
        };
        Ok(Erased { messages, next })
    }
}

pub(super) async fn get(
    connection: &mut SqliteConnection,
    channel: Id,
    id: Id,
) -> Result<Option<Message>, sqlx::Error> {
    let row: Option<Of<Message>> = sqlx::query_as(
        "SELECT * FROM messages WHERE channel_id = ?1 AND id = ?2
         AND EXISTS (SELECT 1 FROM channels WHERE id = ?1)",
    )
    .bind(channel)
    .bind(id)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.0))
}

pub(super) async fn erase(
    tx: &mut Tx,
    messages: Vec<(Id, Id)>,
) -> Result<Vec<Message>, sqlx::Error> {
    let mut erased = Vec::with_capacity(messages.len());
    for (channel, id) in messages {
        if let Some(before) = get(&mut tx.connection, channel, id).await? {
            mentions::remove(&mut tx.connection, &before).await?;
        }
        marks::forget(&mut tx.connection, channel, id).await?;
        let row: Option<Of<Message>> = sqlx::query_as(
            "UPDATE messages SET content = '', mentions = NULL, mention_groups = 0,
             metadata = NULL, reactions = NULL, pinned = 0, sent_hash = NULL, deleted = 1,
             revision = revision + 1
             WHERE channel_id = ? AND id = ? AND deleted = 0 RETURNING *",
        )
        .bind(channel)
        .bind(id)
        .fetch_optional(&mut tx.connection)
        .await?;
        if row.is_some() {
            webhook_queue::changed(tx, WebhookEvent::MessageDeleted, channel, id).await?;
        }
        erased.extend(row.map(|row| row.0));
    }
    Ok(erased)
}

/// Collects a page along the table, within one reading transaction.
struct Walk<'a> {
    connection: &'a mut SqliteConnection,
    channel: Id,
    page: Page,
}

/// What lies in one direction.
struct Stretch {
    rows: Vec<Message>,
    /// More messages lie beyond.
    more: bool,
}

impl Walk<'_> {
    async fn older(&mut self, from: Id, limit: usize) -> Result<(), Error> {
        let stretch = self.stretch(false, from, limit).await?;
        self.page.has_older = stretch.more;
        self.take(stretch.rows);
        Ok(())
    }

    async fn newer(&mut self, from: Id, limit: usize) -> Result<(), Error> {
        let stretch = self.stretch(true, from, limit).await?;
        self.page.has_newer = stretch.more;
        self.take(stretch.rows);
        Ok(())
    }

    /// Half on each side; what one side lacks the other one gets.
    async fn around(&mut self, id: Id, limit: usize) -> Result<(), Error> {
        let newer = self.count(true, id, limit).await?;
        let older = self.count(false, id.saturating_sub(1), limit).await?;
        let half = limit - limit / 2;
        let newer = newer.min(half.max(limit.saturating_sub(older)));
        self.newer(id, newer).await?;
        self.older(id.saturating_sub(1), limit - newer).await
    }

    /// How many messages lie in a direction, as far as a page of `limit` sees.
    async fn count(&mut self, newer: bool, from: Id, limit: usize) -> Result<usize, Error> {
        let stretch = self.stretch(newer, from, limit).await?;
        Ok(stretch.rows.iter().filter(|row| !row.deleted).count())
    }

    fn take(&mut self, rows: Vec<Message>) {
        for row in rows {
            if row.deleted {
                self.page.deleted_ids.push(row.id);
            } else {
                self.page.messages.push(row);
            }
        }
    }

    /// The rows from `from` on in one direction: at most `limit` messages, and the deleted ones up
    /// to the next message beyond. As many deleted ones as a page may name end it early, with
    /// `more`.
    async fn stretch(&mut self, newer: bool, from: Id, limit: usize) -> Result<Stretch, Error> {
        let mut stretch = Stretch {
            rows: Vec::new(),
            more: false,
        };
        let (mut messages, mut named, mut from) = (0, self.page.deleted_ids.len(), from);
        // Deleted rows behind the last message: they belong to the page if no message follows them.
        let mut behind = 0;
        loop {
            let want = (limit - messages + 1).max(16);
            let rows = self.rows(newer, from, want).await?;
            let last = rows.len() < want;
            for row in rows {
                if messages == limit && !row.deleted {
                    stretch.rows.truncate(stretch.rows.len() - behind);
                    stretch.more = true;
                    return Ok(stretch);
                }
                if row.deleted && named == DELETED {
                    stretch.more = true;
                    return Ok(stretch);
                }
                from = if newer {
                    row.id.saturating_add(1)
                } else {
                    row.id.saturating_sub(1)
                };
                if row.deleted {
                    named += 1;
                    behind += 1;
                } else {
                    messages += 1;
                    behind = 0;
                }
                stretch.rows.push(row);
            }
            if last {
                return Ok(stretch);
            }
        }
    }

    async fn rows(&mut self, newer: bool, from: Id, want: usize) -> Result<Vec<Message>, Error> {
        let statement = if newer {
            "SELECT * FROM messages WHERE channel_id = ? AND id >= ? ORDER BY id LIMIT ?"
        } else {
            "SELECT * FROM messages WHERE channel_id = ? AND id <= ? ORDER BY id DESC LIMIT ?"
        };
        let rows: Vec<Of<Message>> = sqlx::query_as(statement)
            .bind(self.channel)
            .bind(from)
            .bind(want as i64)
            .fetch_all(&mut *self.connection)
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// Whether a message with this id or a higher one exists. Yes, too, if as many deleted ones lie
    /// there as a page may name.
    async fn any_newer(&mut self, from: Id) -> Result<bool, Error> {
        Ok(sqlx::query_scalar(
            "SELECT coalesce(min(deleted) = 0 OR count(*) = ?3, 0) FROM
             (SELECT deleted FROM messages WHERE channel_id = ?1 AND id >= ?2
              ORDER BY id LIMIT ?3)",
        )
        .bind(self.channel)
        .bind(from)
        .bind(DELETED as i64)
        .fetch_one(&mut *self.connection)
        .await?)
    }

    /// As `any_newer`, for this id and lower ones.
    async fn any_older(&mut self, from: Id) -> Result<bool, Error> {
        Ok(sqlx::query_scalar(
            "SELECT coalesce(min(deleted) = 0 OR count(*) = ?3, 0) FROM
             (SELECT deleted FROM messages WHERE channel_id = ?1 AND id <= ?2
              ORDER BY id DESC LIMIT ?3)",
        )
        .bind(self.channel)
        .bind(from)
        .bind(DELETED as i64)
        .fetch_one(&mut *self.connection)
        .await?)
    }
}
