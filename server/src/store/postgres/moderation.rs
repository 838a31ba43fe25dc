//! What moderators do.

use super::tx::Tx;
use super::{Postgres, audit, deletes, members, reports, servers};
use crate::model::{AuditEntry, Id, Member, Message, Report, ReportState, Role, UnixMs};
use crate::store::{AuditFilter, Deleted, Error, Moderation, NewEvent, ReportBounds};
use async_trait::async_trait;

#[async_trait]
impl Moderation for Postgres {
    async fn audit_log(
        &self,
        server: Id,
        filter: AuditFilter,
        before: Id,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, Error> {
        let mut connection = self.pool.acquire().await?;
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
        self.change(move |tx| {
            Box::pin(async move {
                servers::hold(tx, server).await?;
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
                tx.tell(events);
                Ok(member)
            })
        })
        .await
    }

    async fn time_outs_of(&self, user: Id) -> Result<Vec<(Id, UnixMs)>, Error> {
        Ok(
            sqlx::query_as("SELECT server_id, until FROM time_outs WHERE user_id = $1")
                .bind(user)
                .fetch_all(&self.pool)
                .await?,
        )
    }

    async fn newest_of_author(
        &self,
        channel: Id,
        author: Id,
        after: Id,
    ) -> Result<Option<Id>, Error> {
        deletes::newest_of_author(self, channel, author, after).await
    }

    async fn by_nonce(
        &self,
        channel: Id,
        author: Id,
        nonce: String,
    ) -> Result<Option<Message>, Error> {
        deletes::by_nonce(self, channel, author, nonce).await
    }

    async fn delete_messages(
        &self,
        channel: Id,
        ids: Vec<Id>,
        audit: AuditEntry,
    ) -> Result<Vec<Message>, Error> {
        deletes::delete_messages(self, channel, ids, audit).await
    }

    async fn delete_of_author(
        &self,
        channel: Id,
        author: Id,
        range: (Id, Id),
        limit: u32,
        audit: AuditEntry,
    ) -> Result<Deleted, Error> {
        deletes::delete_of_author(self, channel, author, range, limit, audit).await
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
        let mut connection = self.pool.acquire().await?;
        Ok(reports::list(&mut connection, server, state, before, limit).await?)
    }

    async fn report(&self, server: Id, id: Id) -> Result<Option<Report>, Error> {
        let mut connection = self.pool.acquire().await?;
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
                 (SELECT server_id, id FROM audit_log WHERE created_at < $1
                  LIMIT $2 FOR UPDATE SKIP LOCKED)",
                kept_from,
            ),
            (
                "DELETE FROM reports WHERE id IN
                 (SELECT id FROM reports WHERE state > 1 AND resolved_at < $1
                  LIMIT $2 FOR UPDATE SKIP LOCKED)",
                kept_from,
            ),
            (
                "DELETE FROM time_outs WHERE (server_id, user_id) IN
                 (SELECT server_id, user_id FROM time_outs WHERE until <= $1
                  LIMIT $2 FOR UPDATE SKIP LOCKED)",
                now,
            ),
        ] {
            while self.trim_some(statement, before).await? {}
        }
        self.trim_numbers().await
    }
}

impl Postgres {
    /// Forgets how many entries servers had that are gone and have none any more.
    async fn trim_numbers(&self) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "DELETE FROM audit_numbers n
                     WHERE NOT EXISTS (SELECT 1 FROM servers s WHERE s.id = n.server_id)
                     AND NOT EXISTS (SELECT 1 FROM audit_log a WHERE a.server_id = n.server_id)",
                )
                .execute(&mut *tx.connection)
                .await?;
                Ok(())
            })
        })
        .await
    }
}

async fn set_time_out(tx: &mut Tx, server: Id, user: Id, until: UnixMs) -> Result<(), Error> {
    let statement = if until == 0 {
        "DELETE FROM time_outs WHERE server_id = $1 AND user_id = $2"
    } else {
        "INSERT INTO time_outs (server_id, user_id, until) VALUES ($1, $2, $3)
         ON CONFLICT (server_id, user_id) DO UPDATE SET until = excluded.until"
    };
    let mut query = sqlx::query(statement).bind(server).bind(user);
    if until != 0 {
        query = query.bind(until);
    }
    query.execute(&mut *tx.connection).await?;
    Ok(())
}
