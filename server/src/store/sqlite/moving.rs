//! Moving what is in a file to another store, and from one.

use super::rows::{Of, nonce_bytes, spent_nonce};
use super::{Sqlite, failure, schema};
use crate::model::Message;
use crate::store::Error;
use crate::store::moving::row::{Row, Value, counter, counters_of, of_message};
use crate::store::moving::sql::{Dialect, HIGHEST_OTHER, beginning, read, select};
use crate::store::moving::{MARKS, Mark, Place, Table};
use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use std::fs::File;
use std::path::Path;

/// Rows of a statement.
const ROWS: usize = 50;

/// What is made of rows that moved.
const DERIVE: [&str; 2] = [
    "UPDATE messages SET pinned = 1 FROM pins
     WHERE messages.channel_id = pins.channel_id AND messages.id = pins.message_id",
    "UPDATE messages SET reactions = of_message.kinds FROM (
         SELECT channel_id, message_id,
             '[' || group_concat(json_array(id, emoji, count), ',' ORDER BY id) || ']' AS kinds
         FROM (SELECT *, (SELECT count(*) FROM reactions WHERE kind_id = k.id) AS count
               FROM reaction_kinds k WHERE gone = 0)
         GROUP BY channel_id, message_id) of_message
     WHERE messages.channel_id = of_message.channel_id AND messages.id = of_message.message_id",
];

/// A file that moves. Nobody else has it open.
struct Moving {
    connection: SqliteConnection,
    _lock: File,
}

impl Sqlite {
    /// Opens a file that is there and up to date, to read all of it, as it is at one moment.
    ///
    /// # Errors
    /// A server runs on it; it is of an older or newer version.
    pub async fn open_to_export(path: &Path) -> Result<Box<dyn Place>, Error> {
        let lock = schema::lock(path)?;
        let mut connection = schema::open_current(path).await?;
        execute(&mut connection, "BEGIN").await?;
        Ok(Box::new(Moving {
            connection,
            _lock: lock,
        }))
    }

    /// Opens a file, made if there is none, to write what moves into it.
    ///
    /// # Errors
    /// A server runs on it; it is of a newer version, or can't be made.
    pub async fn open_to_import(path: &Path) -> Result<Box<dyn Place>, Error> {
        let lock = schema::lock(path)?;
        let mut connection = schema::open_unfinished(path).await?;
        // Sorting all reactions may take more than memory has.
        execute(&mut connection, "PRAGMA temp_store = FILE").await?;
        Ok(Box::new(Moving {
            connection,
            _lock: lock,
        }))
    }
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), Error> {
    let done = sqlx::query(statement).execute(connection).await;
    done.map(drop).map_err(failure)
}

#[async_trait]
impl Place for Moving {
    fn rows<'a>(&'a mut self, table: &'static Table) -> BoxStream<'a, Result<Row, Error>> {
        let connection = &mut self.connection;
        if table.is_meta() {
            let counters = stream::once(counters(connection)).map_ok(stream::iter);
            return counters.map_ok(|rows| rows.map(Ok)).try_flatten().boxed();
        }
        if table.is_messages() {
            let text = format!(
                "SELECT * FROM messages WHERE {} ORDER BY channel_id, id",
                table.only
            );
            let rows = sqlx::query_as::<_, Of<Message>>(AssertSqlSafe(text)).fetch(connection);
            return rows
                .map_ok(|Of(message)| of_message(&message))
                .map_err(failure)
                .boxed();
        }
        let rows = sqlx::query(AssertSqlSafe(select(table, Dialect::Sqlite))).fetch(connection);
        rows.map(|row| Ok(read(&row?, table)?)).boxed()
    }

    async fn mark(&mut self) -> Result<Option<Mark>, Error> {
        let mut values = [None; 3];
        for (value, name) in values.iter_mut().zip(MARKS) {
            *value = sqlx::query_scalar::<_, i64>("SELECT value FROM meta WHERE name = ?")
                .bind(name)
                .fetch_optional(&mut self.connection)
                .await
                .map_err(failure)?;
        }
        Ok(Mark::of(values))
    }

    async fn put(
        &mut self,
        table: &'static Table,
        rows: Vec<Row>,
        mark: Mark,
    ) -> Result<(), Error> {
        let mut tx = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        if table.is_meta() {
            set_counters(&mut tx, rows).await?;
        } else if table.is_messages() {
            insert_messages(&mut tx, table, rows).await?;
        } else {
            insert(&mut tx, table, &rows).await?;
        }
        for (name, value) in MARKS.into_iter().zip(mark.values()) {
            set(&mut tx, name, value).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn derive(&mut self) -> Result<(), Error> {
        for statement in DERIVE {
            execute(&mut self.connection, statement).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Error> {
        schema::renew_epoch(&mut self.connection).await?;
        for name in MARKS.into_iter().rev() {
            sqlx::query("DELETE FROM meta WHERE name = ?")
                .bind(name)
                .execute(&mut self.connection)
                .await?;
        }
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        schema::close(self.connection).await;
        Ok(())
    }
}

/// See [`COUNTERS`].
async fn counters(connection: &mut SqliteConnection) -> Result<Vec<Row>, Error> {
    let text = format!(
        "SELECT max(coalesce((SELECT value FROM meta WHERE name = 'highest'), 0),
             coalesce((SELECT max((SELECT max(id) FROM messages m WHERE m.channel_id = c.id))
                       FROM channels c), 0),
             coalesce(({HIGHEST_OTHER}), 0)),
         coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'reaction_kinds'), 0),
         coalesce((SELECT value FROM meta WHERE name = 'unread_from'), 0),
         coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'webhook_queue'), 0)"
    );
    let values: (i64, i64, i64, i64) = sqlx::query_as(AssertSqlSafe(text))
        .fetch_one(connection)
        .await?;
    Ok(counters_of([values.0, values.1, values.2, values.3]))
}

async fn set_counters(connection: &mut SqliteConnection, rows: Vec<Row>) -> Result<(), Error> {
    for row in rows {
        let (name, value) = counter(&row)?;
        match name {
            "highest_id" => {
                sqlx::query("UPDATE meta SET value = max(value, ?) WHERE name = 'highest'")
                    .bind(value)
                    .execute(&mut *connection)
                    .await?;
            }
            "unread_from" => set(connection, "unread_from", value).await?,
            // The numbers of these rows go on from here.
            table => {
                for statement in [
                    "DELETE FROM sqlite_sequence WHERE name = ?1 AND ?2 IS NOT NULL",
                    "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2 WHERE ?2 > 0",
                ] {
                    let statement = sqlx::query(statement).bind(table).bind(value);
                    statement.execute(&mut *connection).await?;
                }
            }
        }
    }
    Ok(())
}

async fn set(connection: &mut SqliteConnection, name: &str, value: i64) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .execute(connection)
        .await
        .map(drop)
}

/// Inserts rows; answers how many weren't there.
async fn insert(
    connection: &mut SqliteConnection,
    table: &Table,
    rows: &[Row],
) -> Result<u64, sqlx::Error> {
    let mut columns: Vec<&str> = table.names().collect();
    let mut marks = vec!["?"; columns.len()];
    if let Some((column, value)) = beginning(table, Dialect::Sqlite) {
        columns.push(column);
        marks.push(value);
    }
    let marks = format!("({})", marks.join(","));
    let mut inserted = 0;
    for rows in rows.chunks(ROWS) {
        let text = format!(
            "INSERT INTO {} ({}) VALUES {} ON CONFLICT DO NOTHING",
            table.name,
            columns.join(","),
            vec![marks.as_str(); rows.len()].join(",")
        );
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(rows.len() == ROWS);
        for value in rows.iter().flatten() {
            query = bind(query, value);
        }
        inserted += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(inserted)
}

fn bind<'q>(
    query: Query<'q, sqlx::Sqlite, SqliteArguments>,
    value: &Value,
) -> Query<'q, sqlx::Sqlite, SqliteArguments> {
    match value {
        Value::Null => query.bind(None::<i64>),
        Value::Int(number) => query.bind(*number),
        Value::Bool(yes) => query.bind(*yes),
        Value::Text(text) => query.bind(text.clone()),
        Value::Bytes(bytes) => query.bind(bytes.clone()),
    }
}

/// Where the nonce stands among a message's columns.
const NONCE: usize = 3;

async fn insert_messages(
    connection: &mut SqliteConnection,
    table: &Table,
    mut rows: Vec<Row>,
) -> Result<(), sqlx::Error> {
    for nonce in rows.iter_mut().filter_map(|row| row.get_mut(NONCE)) {
        if let Value::Text(text) = nonce {
            *nonce = nonce_bytes(text).map_or(Value::Null, Value::Bytes);
        }
    }
    if insert(connection, table, &rows).await? == rows.len() as u64 {
        return Ok(());
    }
    for row in &rows {
        if insert(connection, table, std::slice::from_ref(row)).await? == 0 {
            spend_nonce(connection, row).await?;
            insert(connection, table, std::slice::from_ref(row)).await?;
        }
    }
    Ok(())
}

/// Elsewhere a nonce may be used again after a day. Here the earlier message then keeps its nonce
/// in a form that nobody looks for.
async fn spend_nonce(connection: &mut SqliteConnection, row: &Row) -> Result<(), sqlx::Error> {
    let [
        Value::Int(channel),
        Value::Int(id),
        Value::Int(author),
        Value::Bytes(nonce),
        ..,
    ] = row.as_slice()
    else {
        return Ok(());
    };
    let find = "SELECT id FROM messages
        WHERE nonce = ? AND author_id = ? AND channel_id = ? AND id <> ?";
    let earlier: Option<i64> = sqlx::query_scalar(find)
        .bind(nonce.clone())
        .bind(author)
        .bind(channel)
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(earlier) = earlier {
        sqlx::query("UPDATE messages SET nonce = ? WHERE channel_id = ? AND id = ?")
            .bind(spent_nonce(earlier, nonce))
            .bind(channel)
            .bind(earlier)
            .execute(connection)
            .await?;
    }
    Ok(())
}
