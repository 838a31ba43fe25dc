//! Whom messages mention, kept so that mentions can be counted: a row for each member that is named
//! until it has read the message, and one for all members of roles, however many they are.

use crate::model::Message;
use sqlx::sqlite::SqliteConnection;

/// To others than members a message is never unread: what was sent before one joined doesn't count.
const NAME: &str = "
INSERT INTO mentions SELECT c.id, ?2, ?3 FROM channels c WHERE c.id = ?1 AND (
    EXISTS (SELECT 1 FROM members WHERE server_id = c.server_id AND user_id = ?2)
    OR EXISTS (SELECT 1 FROM channel_members WHERE channel_id = c.id AND user_id = ?2))
ON CONFLICT DO NOTHING";

/// Notes whom a stored message mentions.
pub(super) async fn add(
    connection: &mut SqliteConnection,
    message: &Message,
) -> Result<(), sqlx::Error> {
    for user in message
        .mentions
        .iter()
        .filter(|user| **user != message.author_id)
    {
        sqlx::query(NAME)
            .bind(message.channel_id)
            .bind(user)
            .bind(message.id)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(least) = message.groups.least_role() {
        sqlx::query("INSERT INTO group_mentions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(message.channel_id)
            .bind(message.id)
            .bind(message.author_id)
            .bind(least as i32)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Forgets whom a message mentioned, as it was until now.
pub(super) async fn remove(
    connection: &mut SqliteConnection,
    message: &Message,
) -> Result<(), sqlx::Error> {
    for user in &message.mentions {
        sqlx::query("DELETE FROM mentions WHERE channel_id = ? AND user_id = ? AND message_id = ?")
            .bind(message.channel_id)
            .bind(user)
            .bind(message.id)
            .execute(&mut *connection)
            .await?;
    }
    if !message.groups.is_empty() {
        sqlx::query("DELETE FROM group_mentions WHERE channel_id = ? AND message_id = ?")
            .bind(message.channel_id)
            .bind(message.id)
            .execute(connection)
            .await?;
    }
    Ok(())
}
