//! What moderators do.

use super::messages::erase;
use super::rows::{Of, nonce_bytes};
use super::writer::Tx;
use super::{Sqlite, audit, members, outbox, reports};
use crate::model::{AuditEntry, Id, Member, Message, Report, ReportState, Role, UnixMs};
use crate::store::{AuditFilter, Deleted, Error, Moderation, NewEvent, ReportBounds};
use async_trait::async_trait;

/// Messages of all that a step of a deletion, or a search for an author's newest, looks at.
const LOOKED_AT: i64 = 10_000;

#[async_trait]
impl Moderation for Sqlite {
    async fn audit_log(
        &self,
        server: Id,
        filter: AuditFilter,
        before: Id,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(audit::read(&mut connection, server, filter, before, limit).await?)
    }

    async fn time_out(
        &self,
        server: Id,
        user: Id,
        until: UnixMs,
        events: Vec<NewEvent>,
        audit: Option<AuditEntry>,
    ) -> Result<Member, Error> {
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                let member = members::get(&mut tx.connection, server, user).await?;
                let mut member = member.ok_or(Error::NotFound("member"))?;
                if member.role == Role::Owner {
                    return Err(Error::Conflict("owner"));
                }
                if member.timed_out_until == until {
                    return Ok(member);
                }
                set_time_out(tx, server, user, until).await?;
                member.timed_out_until = until;
                audit::write_some(tx, audit).await?;
                outbox::publish(tx, events).await?;
                Ok(member)
            })
        })
        .await
    }

    async fn time_outs_of(&self, user: Id) -> Result<Vec<(Id, UnixMs)>, Error> {
        Ok(
            sqlx::query_as("SELECT server_id, until FROM time_outs WHERE user_id = ?")
                .bind(user)
                .fetch_all(&self.read)
                .await?,
        )
    }

    async fn newest_of_author(
        &self,
        channel: Id,
        author: Id,
        after: Id,
    ) -> Result<Option<Id>, Error> {
        Ok(sqlx::query_scalar(
            "SELECT max(id) FROM
             (SELECT id, author_id FROM messages WHERE channel_id = ? AND id > ?
              ORDER BY id DESC LIMIT ?)
             WHERE author_id = ?",
        )
        .bind(channel)
        .bind(after)
        .bind(LOOKED_AT)
        .bind(author)
        .fetch_one(&self.read)
        .await?)
    }

    async fn by_nonce(
        &self,
        channel: Id,
        author: Id,
        nonce: String,
    ) -> Result<Option<Message>, Error> {
        let row: Option<Of<Message>> = sqlx::query_as(
            "SELECT * FROM messages WHERE nonce = ? AND author_id = ? AND channel_id = ?",
        )
        .bind(nonce_bytes(&nonce))
        .bind(author)
        .bind(channel)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(|row| row.0))
    }

    async fn delete_messages(
        &self,
        channel: Id,
        ids: Vec<Id>,
        audit: AuditEntry,
    ) -> Result<Vec<Message>, Error> {
        let rows = ids.into_iter().map(|id| (channel, id)).collect();
        let deleted = self.change(move |tx| Box::pin(delete(tx, rows, audit)));
        let deleted = deleted.await?;
        // Their reactions go in the background.
        self.purge.notify_one();
        Ok(deleted)
    }

    async fn delete_of_author(
        &self,
        channel: Id,
        author: Id,
        (after, until): (Id, Id),
        limit: u32,
        audit: AuditEntry,
    ) -> Result<Deleted, Error> {
        let mut snapshot = self.snapshot().await?;
        let end: Option<Id> = sqlx::query_scalar(
            "SELECT id FROM messages WHERE channel_id = ? AND id > ? AND id <= ?
             ORDER BY id LIMIT 1 OFFSET ?",
        )
        .bind(channel)
        .bind(after)
        .bind(until)
        .bind(LOOKED_AT - 1)
        .fetch_optional(&mut *snapshot)
        .await?;
        let found: Vec<(Id, Id)> = sqlx::query_as(
            "SELECT channel_id, id FROM messages
             WHERE channel_id = ? AND id > ? AND id <= ? AND author_id = ? AND deleted = 0
             AND EXISTS (SELECT 1 FROM channels WHERE channels.id = channel_id)
             ORDER BY id LIMIT ?",
        )
        .bind(channel)
        .bind(after)
        .bind(end.unwrap_or(until))
        .bind(author)
        .bind(limit)
        .fetch_all(&mut *snapshot)
        .await?;
        drop(snapshot);
        let next = match found.last() {
            Some((_, last)) if found.len() == limit as usize => Some(*last),
            _ => end,
        };
        let messages = if found.is_empty() {
            Vec::new()
        } else {
            let deleted = self.change(move |tx| Box::pin(delete(tx, found, audit)));
            let deleted = deleted.await?;
            self.purge.notify_one();
            deleted
        };
        Ok(Deleted { messages, next })
    }

    async fn create_report(&self, report: Report, bounds: ReportBounds) -> Result<Report, Error> {
        self.change(move |tx| Box::pin(reports::create(tx, report, bounds)))
            .await
    }

    async fn reports(
        &self,
        server: Id,
        state: Option<ReportState>,
        before: Id,
        limit: u32,
    ) -> Result<Vec<Report>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(reports::list(&mut connection, server, state, before, limit).await?)
    }

    async fn report(&self, server: Id, id: Id) -> Result<Option<Report>, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(reports::get(&mut connection, server, id).await?)
    }

    async fn resolve_report(&self, report: Report, audit: AuditEntry) -> Result<Report, Error> {
        self.change(move |tx| Box::pin(reports::resolve(tx, report, audit)))
            .await
    }

    async fn trim_moderation(&self, now: UnixMs, kept_from: UnixMs) -> Result<(), Error> {
        for (statement, before) in [
            (
                "DELETE FROM audit_log WHERE (server_id, id) IN
                 (SELECT server_id, id FROM audit_log WHERE created_at < ? LIMIT ?)",
                kept_from,
            ),
            (
                "DELETE FROM reports WHERE id IN
                 (SELECT id FROM reports WHERE state > 1 AND resolved_at < ? LIMIT ?)",
                kept_from,
            ),
            (
                "DELETE FROM time_outs WHERE (server_id, user_id) IN
                 (SELECT server_id, user_id FROM time_outs WHERE until <= ? LIMIT ?)",
                now,
            ),
        ] {
            while self.trim_some(statement, before).await? {}
        }
        Ok(())
    }
}

async fn set_time_out(tx: &mut Tx, server: Id, user: Id, until: UnixMs) -> Result<(), Error> {
    let statement = if until == 0 {
        "DELETE FROM time_outs WHERE server_id = ?1 AND user_id = ?2"
    } else {
        "INSERT INTO time_outs VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET until = ?3"
    };
    let mut query = sqlx::query(statement).bind(server).bind(user);
    if until != 0 {
        query = query.bind(until);
    }
    query.execute(&mut tx.connection).await?;
    Ok(())
}

/// Deletes those that aren't; the entry tells how many they were.
async fn delete(
    tx: &mut Tx,
    rows: Vec<(Id, Id)>,
    mut entry: AuditEntry,
) -> Result<Vec<Message>, Error> {
    let deleted = erase(tx, rows).await?;
    if !deleted.is_empty() {
        entry.count = i32::try_from(deleted.len()).unwrap_or(i32::MAX);
        audit::write(tx, &entry).await?;
    }
    Ok(deleted)
}
