//! Users and credentials.

use super::requests::{self, Kind};
use super::rows::{Of, metadata_json, not_empty};
use super::tx::Tx;
use super::{Postgres, members, sessions, webhook_queue};
use crate::model::{Id, Session, SessionKind, User, WebhookEvent, limits};
use crate::store::{Account, Departed, Error, Made, NewAccount, NewEvent, Users};
use async_trait::async_trait;

/// Profiles that a call answers.
const PROFILES: usize = 1000;

#[async_trait]
impl Users for Postgres {
    async fn create_account(&self, new: NewAccount, events: Vec<NewEvent>) -> Result<Made, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let kind = match new.session.as_ref().map(|session| session.kind) {
                    Some(SessionKind::Service | SessionKind::Admin) => Kind::Key,
                    _ => Kind::Bot,
                };
                if let Some(made) = requests::made(tx, kind, &new.request).await? {
                    return again(tx, made.id, new).await;
                }
                owner(tx, &new).await?;
                insert(tx, &new.account).await?;
                if let Some(session) = &new.session {
                    sessions::insert(tx, session).await?;
                }
                let user = new.account.user;
                let made = requests::Made::id(user.id);
                requests::remember(tx, kind, new.request, made).await?;
                if let Some(join) = new.join {
                    let (code, most) = (Some(join.code), join.max_members);
                    members::add(tx, join.member, code, most, u32::MAX).await?;
                    tx.tell(events);
                }
                Ok(Made {
                    user,
                    new: true,
                    ended: Vec::new(),
                })
            })
        })
        .await
    }

    async fn account_by_name(&self, name_key: &str) -> Result<Option<Account>, Error> {
        let row: Option<Of<Account>> = sqlx::query_as("SELECT * FROM users WHERE name_key = $1")
            .bind(name_key)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.0))
    }

    async fn account_by_external(&self, external_id: &str) -> Result<Option<Account>, Error> {
        let row: Option<Of<Account>> = sqlx::query_as("SELECT * FROM users WHERE external_id = $1")
            .bind(external_id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.0))
    }

    async fn account(&self, id: Id) -> Result<Option<Account>, Error> {
        let row: Option<Of<Account>> = sqlx::query_as("SELECT * FROM users WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.0))
    }

    async fn users(&self, ids: &[Id]) -> Result<Vec<User>, Error> {
        let rows: Vec<Of<User>> = sqlx::query_as(
            "SELECT u.* FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, number)
             JOIN users u ON u.id = asked.id ORDER BY asked.number",
        )
        .bind(&ids[..ids.len().min(PROFILES)])
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn update_profile(&self, user: User, events: Vec<NewEvent>) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE users SET display_name = $1, metadata = $2
                     WHERE id = $3 AND NOT deleted",
                )
                .bind(user.display_name)
                .bind(metadata_json(&user.metadata))
                .bind(user.id)
                .execute(&mut *tx.connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::NotFound("user"));
                }
                tx.tell(events);
                Ok(())
            })
        })
        .await
    }

    async fn set_password(
        &self,
        user: Id,
        expected: String,
        hash: String,
        keep: Option<Id>,
    ) -> Result<Vec<Id>, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                if require(tx, user).await? != expected {
                    return Err(Error::Conflict("password"));
                }
                sqlx::query("UPDATE users SET password_hash = $1 WHERE id = $2")
                    .bind(hash)
                    .bind(user)
                    .execute(&mut *tx.connection)
                    .await?;
                match keep {
                    Some(keep) => sessions::end_others(tx, user, keep).await,
                    None => Ok(Vec::new()),
                }
            })
        })
        .await
    }

    async fn delete_account(&self, user: Id, events: Vec<NewEvent>) -> Result<Departed, Error> {
        self.change(move |tx| {
            Box::pin(async move {
                let departed = delete(tx, user).await?;
                tx.tell(events);
                Ok(departed)
            })
        })
        .await
    }

    async fn owned_by(&self, owner: Id, before: Id, limit: u32) -> Result<Vec<User>, Error> {
        let rows: Vec<Of<User>> = sqlx::query_as(
            "SELECT * FROM users WHERE owner_id = $1 AND owner_id <> 0 AND id < $2 AND NOT deleted
             ORDER BY id DESC LIMIT $3",
        )
        .bind(owner)
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    async fn block(&self, user: Id, other: Id) -> Result<(), Error> {
        self.change(move |tx| Box::pin(block(tx, user, other)))
            .await
    }

    async fn unblock(&self, user: Id, other: Id) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                sqlx::query("DELETE FROM blocks WHERE user_id = $1 AND other_id = $2")
                    .bind(user)
                    .bind(other)
                    .execute(&mut *tx.connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn blocked(&self, a: Id, b: Id) -> Result<bool, Error> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = $1 AND other_id = $2)
                 OR EXISTS (SELECT 1 FROM blocks WHERE user_id = $2 AND other_id = $1)",
        )
        .bind(a)
        .bind(b)
        .fetch_one(&self.pool)
        .await?)
    }
}

/// Refuses a user that isn't there (any more); answers its password's hash. The user's row is
/// locked then: what is bounded a user doesn't change meanwhile, and the user doesn't go.
pub(super) async fn require(tx: &mut Tx, user: Id) -> Result<String, Error> {
    let hash = sqlx::query_scalar(
        "SELECT password_hash FROM users WHERE id = $1 AND NOT deleted FOR NO KEY UPDATE",
    )
    .bind(user)
    .fetch_optional(&mut *tx.connection)
    .await?;
    hash.ok_or(Error::NotFound("user"))
}

/// Refuses an owner that isn't there, or owns as many as it may.
async fn owner(tx: &mut Tx, new: &NewAccount) -> Result<(), Error> {
    let owner = new.account.owner_id;
    if owner == 0 {
        return Ok(());
    }
    require(tx, owner).await?;
    let owned: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM users WHERE owner_id = $1 AND owner_id <> 0 AND NOT deleted",
    )
    .bind(owner)
    .fetch_one(&mut *tx.connection)
    .await?;
    if owned >= i64::from(new.max_owned) {
        return Err(Error::LimitReached("bots", new.max_owned));
    }
    Ok(())
}

/// A request's repeat: the account that its first call made, with the new session alone.
async fn again(tx: &mut Tx, id: Id, new: NewAccount) -> Result<Made, Error> {
    let row: Option<Of<Account>> =
        sqlx::query_as("SELECT * FROM users WHERE id = $1 AND NOT deleted FOR NO KEY UPDATE")
            .bind(id)
            .fetch_optional(&mut *tx.connection)
            .await?;
    let Some(Of(earlier)) = row else {
        return Err(Error::NotFound("user"));
    };
    let (account, user) = (&new.account, earlier.user);
    if earlier.name_key != account.name_key && user.display_name != account.user.display_name {
        return Err(Error::Conflict("request"));
    }
    let mut ended = Vec::new();
    if let Some(session) = new.session {
        let session = Session {
            user_id: id,
            ..session
        };
        ended = sessions::replace(tx, &session).await?;
    }
    Ok(Made {
        user,
        new: false,
        ended,
    })
}

async fn insert(tx: &mut Tx, account: &Account) -> Result<(), Error> {
    let user = &account.user;
    let done = sqlx::query(
        "INSERT INTO users (id, username, name_key, display_name, bot, deleted, password_hash,
         external_id, owner_id, metadata) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT DO NOTHING",
    )
    .bind(user.id)
    .bind(user.username.as_str())
    .bind(not_empty(&account.name_key))
    .bind(user.display_name.as_str())
    .bind(user.bot)
    .bind(user.deleted)
    .bind(account.password_hash.as_str())
    .bind(not_empty(&account.external_id))
    .bind(account.owner_id)
    .bind(metadata_json(&user.metadata))
    .execute(&mut *tx.connection)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    let (name, external): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM users WHERE name_key = $1),
                EXISTS (SELECT 1 FROM users WHERE external_id = $2)",
    )
    .bind(account.name_key.as_str())
    .bind(account.external_id.as_str())
    .fetch_one(&mut *tx.connection)
    .await?;
    Err(Error::Conflict(match (name, external) {
        (true, _) => "username",
        (_, true) => "external_id",
        _ => "user",
    }))
}

async fn delete(tx: &mut Tx, user: Id) -> Result<Departed, Error> {
    // The user, so that it begins nothing more; then its servers, so that none is handed to it.
    for statement in [
        "SELECT 1 FROM users WHERE id = $1 FOR UPDATE",
        "SELECT 1 FROM servers WHERE id IN (SELECT server_id FROM members WHERE user_id = $1)
         ORDER BY id FOR NO KEY UPDATE",
    ] {
        sqlx::query(statement)
            .bind(user)
            .execute(&mut *tx.connection)
            .await?;
    }
    let owns: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM servers WHERE owner_id = $1)")
            .bind(user)
            .fetch_one(&mut *tx.connection)
            .await?;
    if owns {
        return Err(Error::Conflict("owns a server"));
    }
    let done = sqlx::query(
        "UPDATE users SET deleted = true, username = 'deleted-' || id, name_key = NULL,
         display_name = '', password_hash = '', external_id = NULL, metadata = NULL
         WHERE id = $1 AND NOT deleted",
    )
    .bind(user)
    .execute(&mut *tx.connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(Error::NotFound("user"));
    }
    let sessions = sessions::end_all(tx, user).await?;
    let channels =
        sqlx::query_scalar("DELETE FROM channel_members WHERE user_id = $1 RETURNING channel_id")
            .bind(user)
            .fetch_all(&mut *tx.connection)
            .await?;
    for (server, _) in members::roles(&mut tx.connection, user).await? {
        webhook_queue::membership(tx, WebhookEvent::MemberLeft, server, user).await?;
    }
    for statement in [
        "UPDATE servers SET member_count = member_count - 1
         WHERE id IN (SELECT server_id FROM members WHERE user_id = $1)",
        "DELETE FROM members WHERE user_id = $1",
        "DELETE FROM blocks WHERE user_id = $1 OR other_id = $1",
        "DELETE FROM read_states WHERE user_id = $1",
        "DELETE FROM mentions WHERE user_id = $1",
        "DELETE FROM user_settings WHERE user_id = $1",
    ] {
        sqlx::query(statement)
            .bind(user)
            .execute(&mut *tx.connection)
            .await?;
    }
    Ok(Departed { sessions, channels })
}

async fn block(tx: &mut Tx, user: Id, other: Id) -> Result<(), Error> {
    // One at a time of a user's, so that they are counted right.
    sqlx::query("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE")
        .bind(user)
        .execute(&mut *tx.connection)
        .await?;
    let done = sqlx::query("INSERT INTO blocks VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(user)
        .bind(other)
        .execute(&mut *tx.connection)
        .await?;
    let blocks: i64 = sqlx::query_scalar("SELECT count(*) FROM blocks WHERE user_id = $1")
        .bind(user)
        .fetch_one(&mut *tx.connection)
        .await?;
    if done.rows_affected() == 1 && blocks > i64::from(limits::BLOCKS_MAX) {
        return Err(Error::LimitReached("blocks", limits::BLOCKS_MAX));
    }
    Ok(())
}
