//! What users set for themselves, and whom they block.

use super::rows::Of;
use super::{Sqlite, outbox, users};
use crate::model::{DirectMessages, Id, User, UserSettings};
use crate::store::{Error, NewEvent, Settings};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

#[async_trait]
impl Settings for Sqlite {
    async fn settings(&self, user: Id) -> Result<UserSettings, Error> {
        let mut connection = self.read.acquire().await?;
        Ok(get(&mut connection, user).await?)
    }

    async fn update_settings(
        &self,
        user: Id,
        settings: UserSettings,
        events: Vec<NewEvent>,
    ) -> Result<(), Error> {
        let events = outbox::encode(events);
        self.change(move |tx| {
            Box::pin(async move {
                users::require(tx, user).await?;
                sqlx::query("INSERT OR REPLACE INTO user_settings VALUES (?, ?)")
                    .bind(user)
                    .bind(settings.direct_messages as i32)
                    .execute(&mut tx.connection)
                    .await?;
                outbox::publish(tx, events).await
            })
        })
        .await
    }

    async fn blocks_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<User>, Error> {
        let rows: Vec<Of<User>> = sqlx::query_as(
            "SELECT u.* FROM blocks b JOIN users u ON u.id = b.other_id
             WHERE b.user_id = ? AND b.other_id > ? ORDER BY b.other_id LIMIT ?",
        )
        .bind(user)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }
}

/// A user's settings, or the defaults.
pub(super) async fn get(
    connection: &mut SqliteConnection,
    user: Id,
) -> Result<UserSettings, sqlx::Error> {
    let row: Option<i32> =
        sqlx::query_scalar("SELECT direct_messages FROM user_settings WHERE user_id = ?")
            .bind(user)
            .fetch_optional(connection)
            .await?;
    let Some(number) = row else {
        return Ok(UserSettings::default());
    };
    let direct_messages = DirectMessages::from_i32(number)
        .ok_or_else(|| sqlx::Error::Decode("a setting isn't valid".into()))?;
    Ok(UserSettings { direct_messages })
}
