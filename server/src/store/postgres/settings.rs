//! What users set for themselves, and whom they block.

use super::rows::Of;
use super::{Postgres, users};
use crate::model::{DirectMessages, Id, User, UserSettings};
use crate::store::{Error, NewEvent, Settings};
use async_trait::async_trait;
use sqlx::PgConnection;

#[async_trait]
impl Settings for Postgres {
    async fn settings(&self, user: Id) -> Result<UserSettings, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(get(&mut connection, user).await?)
    }

    async fn update_settings(
        &self,
        user: Id,
        settings: UserSettings,
        events: Vec<NewEvent>,
    ) -> Result<(), Error> {
        self.change(move |tx| {
            Box::pin(async move {
                users::require(tx, user).await?;
                sqlx::query(
                    "INSERT INTO user_settings (user_id, direct_messages) VALUES ($1, $2)
                     ON CONFLICT (user_id)
                     DO UPDATE SET direct_messages = excluded.direct_messages",
                )
                .bind(user)
                .bind(settings.direct_messages as i32)
                .execute(&mut *tx.connection)
                .await?;
                tx.tell(events);
                Ok(())
            })
        })
        .await
    }

    async fn blocks_of(&self, user: Id, after: Id, limit: u32) -> Result<Vec<User>, Error> {
        let rows: Vec<Of<User>> = sqlx::query_as(
            "SELECT u.* FROM blocks b JOIN users u ON u.id = b.other_id
             WHERE b.user_id = $1 AND b.other_id > $2 ORDER BY b.other_id LIMIT $3",
        )
        .bind(user)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }
}

/// A user's settings, or the defaults.
pub(super) async fn get(
    connection: &mut PgConnection,
    user: Id,
) -> Result<UserSettings, sqlx::Error> {
    let row: Option<i32> =
        sqlx::query_scalar("SELECT direct_messages FROM user_settings WHERE user_id = $1")
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
