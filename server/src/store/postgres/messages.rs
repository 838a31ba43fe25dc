//! Messages: CQL has them, Postgres what belongs to them. CQL comes first; what Postgres does for a
//! message may be done again and doubles nothing.

use super::tx::Changes;
use super::webhook_queue::{self, Wanted};
use super::{Postgres, audit, marks, mentions};
use crate::model::{AuditEntry, Id, Mentions, Message, UnixMs, WebhookEvent};
use crate::store::cql::{Changed, Cql, Ties};
use crate::store::{Anchor, Erased, Error, Inserted, Insertion, Messages, Page, Queued};
use async_trait::async_trait;
use futures::future::join_all;
use sqlx::PgPool;
use std::sync::Arc;
use tokio::sync::Notify;

/// Messages of an author erased in a step.
const ERASED: usize = 500;

/// How far ahead of the ids in use the highest is noted. Minting may begin there, so it is no more
/// than ids may be ahead of the time.
const AHEAD_MS: i64 = 2_000;

#[async_trait]
impl Messages for Postgres {
    fn insert(&self, message: Message) -> Insertion {
        answered(&self.pool, self.messages.insert(message))
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
        let hands = Hands::of(self);
        self.messages.in_turn(channel, id, async move {
            if !exists(&hands.pool, channel).await? {
                return Err(Error::NotFound("message"));
            }
            let at = (revision, edited_at);
            let edit = hands.messages.edit(channel, id, content, mentions, at);
            let changed = edit.await?;
            if changed.changed {
                hands.edited(&changed).await?;
            }
            hands.marked(changed.now).await
        })
    }

    async fn delete(
        &self,
        channel: Id,
        id: Id,
        revision: i64,
        audit: Option<AuditEntry>,
    ) -> Result<Message, Error> {
        let hands = Hands::of(self);
        let delete = self.messages.in_turn(channel, id, async move {
            if !exists(&hands.pool, channel).await? {
                return Err(Error::NotFound("message"));
            }
            let delete = hands.messages.delete(channel, id, Some(revision));
            let changed = delete.await?;
            let now = changed.now.clone();
            if changed.changed {
                hands.deleted(vec![changed], audit).await?;
            }
            Ok(now)
        });
        delete.await
    }

    async fn get(&self, channel: Id, id: Id) -> Result<Option<Message>, Error> {
        let (there, message) =
            tokio::try_join!(exists(&self.pool, channel), self.messages.get(channel, id))?;
        match message.filter(|_| there) {
            Some(message) => Ok(Some(marked(&self.pool, message).await?)),
            None => Ok(None),
        }
    }

    async fn page(&self, channel: Id, anchor: Anchor, limit: u32) -> Result<Page, Error> {
        let page = self.messages.page(channel, anchor, limit);
        let (there, mut page) = tokio::try_join!(exists(&self.pool, channel), page)?;
        if !there {
            return Ok(Page::default());
        }
        marks::join(&self.pool, &mut page.messages).await?;
        Ok(page)
    }

    async fn newest(&self, channels: &[Id]) -> Result<Vec<Id>, Error> {
        let there = those_there(&self.pool, channels);
        let (there, newest) = tokio::try_join!(there, self.messages.newest(channels))?;
        let newest = channels.iter().zip(newest);
        let newest = newest.map(|(channel, id)| if there.contains(channel) { id } else { 0 });
        Ok(newest.collect())
    }

    async fn highest(&self) -> Result<Id, Error> {
        Ok(
            sqlx::query_scalar("SELECT value FROM meta WHERE name = 'high_water'")
                .fetch_one(&self.pool)
                .await?,
        )
    }

    async fn erase_author(&self, author: Id, after: (Id, Id)) -> Result<Erased, Error> {
        let wrote = self.messages.of_author(author, after, ERASED).await?;
        let mut channels: Vec<Id> = wrote.found.iter().map(|(channel, _)| *channel).collect();
        channels.dedup();
        let there = those_there(&self.pool, &channels).await?;
        let mut found = wrote.found;
        found.retain(|(channel, _)| there.contains(channel));
        Ok(Erased {
            messages: Hands::of(self).delete_all(found, None).await?,
            next: wrote.next,
        })
    }
}

/// An insertion's answer with what stands on the message that it repeats.
pub(super) fn answered(pool: &PgPool, insertion: Insertion) -> Insertion {
    let pool = pool.clone();
    Box::pin(async move {
        match insertion.await? {
            Inserted::New => Ok(Inserted::New),
            Inserted::Repeat(message) => Ok(Inserted::Repeat(marked(&pool, message).await?)),
        }
    })
}

/// What a change that goes on without its caller holds.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) pool: PgPool,
    changes: Changes,
    pub(super) messages: Cql,
    webhooks: Arc<Wanted>,
    purge: Arc<Notify>,
}

impl Hands {
    pub(super) fn of(store: &Postgres) -> Hands {
        Hands {
            pool: store.pool.clone(),
            changes: store.changes.clone(),
            messages: store.messages.clone(),
            webhooks: store.webhooks.clone(),
            purge: store.purge.clone(),
        }
    }

    pub(super) async fn marked(&self, message: Message) -> Result<Message, Error> {
        marked(&self.pool, message).await
    }

    async fn edited(&self, changed: &Changed) -> Result<(), Error> {
        let Changed { before, now, .. } = changed.clone();
        let wanted = self.webhooks.any(WebhookEvent::MessageUpdated.bit());
        if !wanted && !mentions_any(&before) && !mentions_any(&now) {
            return Ok(());
        }
        let edited = self.changes.run(move |tx| {
            Box::pin(async move {
                mentions::remove(&mut tx.connection, &before).await?;
                mentions::add(&mut tx.connection, &now).await?;
                let edited = [(now.channel_id, now.id)];
                webhook_queue::changed(tx, WebhookEvent::MessageUpdated, &edited).await
            })
        });
        edited.await
    }

    /// Does, in one transaction, what belongs to messages that were deleted. The entry is one for
    /// all of them.
    pub(super) async fn deleted(
        &self,
        deleted: Vec<Changed>,
        audit: Option<AuditEntry>,
    ) -> Result<(), Error> {
        let wanted = self.webhooks.any(WebhookEvent::MessageDeleted.bit());
        let places = deleted.iter().map(|d| (d.now.channel_id, d.now.id));
        let places: Vec<(Id, Id)> = places.collect();
        let bare = |changed: &Changed| !mentions_any(&changed.before);
        if !wanted
            && audit.is_none()
            && deleted.iter().all(bare)
            && !marks::any(&self.pool, &places).await?
        {
            return Ok(());
        }
        let gone = self.changes.run(move |tx| {
            Box::pin(async move {
                for Changed { before, now, .. } in &deleted {
                    mentions::remove(&mut tx.connection, before).await?;
                    marks::remove(tx, now.channel_id, now.id).await?;
                }
                webhook_queue::changed(tx, WebhookEvent::MessageDeleted, &places).await?;
                audit::write_some(tx, audit).await
            })
        });
        gone.await?;
        // Their reactions go in the background.
        self.purge.notify_one();
        Ok(())
    }

    /// Deletes messages that aren't, with all that belongs to them, whether or not its caller goes
    /// on. The entry counts them. Answers those rows, in the order of the ids.
    pub(super) async fn delete_all(
        self,
        ids: Vec<(Id, Id)>,
        audit: Option<AuditEntry>,
    ) -> Result<Vec<Message>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let task = tokio::spawn(async move {
            let deletes = ids.into_iter().map(|(channel, id)| {
                let messages = self.messages.clone();
                let delete = async move { messages.delete(channel, id, None).await };
                self.messages.in_turn(channel, id, delete)
            });
            let mut deleted = Vec::new();
            let mut failed = None;
            for outcome in join_all(deletes.collect::<Vec<_>>()).await {
                match outcome {
                    Ok(changed) if changed.changed => deleted.push(changed),
                    Ok(_) | Err(Error::NotFound(_)) => {}
                    Err(error) => failed = Some(error),
                }
            }
            let rows: Vec<Message> = deleted.iter().map(|changed| changed.now.clone()).collect();
            let audit = audit.filter(|_| !deleted.is_empty()).map(|mut entry| {
                entry.count = i32::try_from(deleted.len()).unwrap_or(i32::MAX);
                entry
            });
            self.deleted(deleted, audit).await?;
            failed.map_or(Ok(rows), Err)
        });
        let broke_off = |_| Error::Unavailable("a deletion broke off".into());
        task.await.map_err(broke_off)?
    }
}

/// What CQL asks of Postgres.
struct Around {
    pool: PgPool,
    changes: Changes,
    webhooks: Arc<Wanted>,
}

/// What ties the messages in CQL to this store.
pub(super) fn ties(pool: &PgPool, changes: &Changes, webhooks: &Arc<Wanted>) -> Arc<dyn Ties> {
    Arc::new(Around {
        pool: pool.clone(),
        changes: changes.clone(),
        webhooks: webhooks.clone(),
    })
}

#[async_trait]
impl Ties for Around {
    async fn server_of(&self, channel: Id) -> Result<Option<Id>, Error> {
        let server =
            sqlx::query_scalar("SELECT coalesce(server_id, 0) FROM channels WHERE id = $1")
                .bind(channel)
                .fetch_optional(&self.pool);
        Ok(server.await?)
    }

    async fn raise(&self, id: Id) -> Result<Id, Error> {
        let raised = sqlx::query_scalar(
            "UPDATE meta SET value = greatest(value, $1) WHERE name = 'high_water'
             RETURNING value",
        )
        .bind(id.saturating_add(AHEAD_MS << 22))
        .fetch_one(&self.pool);
        Ok(raised.await?)
    }

    async fn inserted(&self, messages: &[Message]) -> Result<(), Error> {
        created(&self.changes, &self.webhooks, messages).await
    }
}

/// Does what belongs to new messages.
async fn created(changes: &Changes, webhooks: &Wanted, messages: &[Message]) -> Result<(), Error> {
    let events = WebhookEvent::MessageCreated.bit() | WebhookEvent::RecipientOffline.bit();
    if !webhooks.any(events) && !messages.iter().any(mentions_any) {
        return Ok(());
    }
    let messages = messages.to_vec();
    let told = changes.run(move |tx| {
        Box::pin(async move {
            for message in &messages {
                mentions::add(&mut tx.connection, message).await?;
            }
            webhook_queue::created(tx, &messages).await
        })
    });
    told.await
}

impl Hands {
    pub(super) async fn complete(&self, message: &Message) -> Result<(), Error> {
        if message.deleted {
            return Ok(());
        }
        created(&self.changes, &self.webhooks, std::slice::from_ref(message)).await
    }
}

fn mentions_any(message: &Message) -> bool {
    !message.mentions.is_empty() || !message.groups.is_empty()
}

pub(super) async fn exists(pool: &PgPool, channel: Id) -> Result<bool, Error> {
    let exists = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM channels WHERE id = $1)");
    Ok(exists.bind(channel).fetch_one(pool).await?)
}

/// Which of these channels are there.
async fn those_there(pool: &PgPool, channels: &[Id]) -> Result<Vec<Id>, Error> {
    let there = sqlx::query_scalar("SELECT id FROM channels WHERE id = ANY($1) ORDER BY id");
    Ok(there.bind(channels).fetch_all(pool).await?)
}

pub(super) async fn marked(pool: &PgPool, mut message: Message) -> Result<Message, Error> {
    marks::join(pool, std::slice::from_mut(&mut message)).await?;
    Ok(message)
}
