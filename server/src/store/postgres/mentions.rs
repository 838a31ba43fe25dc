//! Whom messages mention, kept so that mentions can be counted: a row for each member that is named
//! until it has read the message, and one for all members of roles, however many they are. Both
//! functions may be called again for the same message: nothing doubles.

use crate::model::Message;
use sqlx::PgConnection;

/// To others than members a message is never unread: what was sent before one joined doesn't count.
const NAME: &str = "
INSERT INTO mentions SELECT c.id, named.id, $3
FROM channels c CROSS JOIN unnest($2::bigint[]) AS named (id)
WHERE c.id = $1 AND (
    EXISTS (SELECT 1 FROM members WHERE server_id = c.server_id AND user_id = named.id)
    OR EXISTS (SELECT 1 FROM channel_members WHERE channel_id = c.id AND user_id = named.id))
ORDER BY named.id
ON CONFLICT DO NOTHING";

/// Notes whom a stored message mentions.
pub(super) async fn add(
    connection: &mut PgConnection,
    message: &Message,
) -> Result<(), sqlx::Error> {
    let named = message.mentions.iter().copied();
    let named: Vec<_> = named.filter(|user| *user != message.author_id).collect();
    if !named.is_empty() {
        sqlx::query(NAME)
            .bind(message.channel_id)
            .bind(named)
            .bind(message.id)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(least) = message.groups.least_role() {
        sqlx::query(
            "INSERT INTO group_mentions (channel_id, message_id, author_id, least_role)
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
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
    connection: &mut PgConnection,
    message: &Message,
) -> Result<(), sqlx::Error> {
    if !message.mentions.is_empty() {
        sqlx::query(
            "DELETE FROM mentions
             WHERE channel_id = $1 AND user_id = ANY($2) AND message_id = $3",
        )
        .bind(message.channel_id)
        .bind(message.mentions.as_slice())
        .bind(message.id)
        .execute(&mut *connection)
        .await?;
    }
    if !message.groups.is_empty() {
        sqlx::query("DELETE FROM group_mentions WHERE channel_id = $1 AND message_id = $2")
            .bind(message.channel_id)
            .bind(message.id)
            .execute(connection)
            .await?;
    }
    Ok(())
}
