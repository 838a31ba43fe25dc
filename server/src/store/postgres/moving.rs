//! Moving what is in a cluster's stores to another one, and from one. No node runs meanwhile: what
//! leases their numbers is locked.

use super::{Postgres, PostgresSettings, schema, widths};
use crate::model::{Id, id_time_ms};
use crate::store::Error;
use crate::store::cql::Cql;
use crate::store::moving::row::{Row, Value, counter, counters_of, of_message, to_message};
use crate::store::moving::sql::{Dialect, HIGHEST_OTHER, beginning, read, select};
use crate::store::moving::{Kind, MARKS, Mark, Place, Table};
use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// Flags set at once.
const AT_ONCE: usize = 32;

/// What takes long here may; who waits for what is locked is told.
const SESSION: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET lock_timeout = '5s'";

/// Nodes can't lease a number, or renew it, and no second one moves anything.
const LOCK: &str = "LOCK TABLE workers IN SHARE ROW EXCLUSIVE MODE";

/// What is made of rows that moved.
const DERIVE: [&str; 2] = [
    "UPDATE reaction_kinds SET count = counted.count
     FROM (SELECT kind_id, count(*) AS count FROM reactions GROUP BY kind_id) counted
     WHERE id = kind_id",
    "INSERT INTO audit_numbers SELECT server_id, max(number) FROM audit_log GROUP BY server_id
     ON CONFLICT (server_id) DO UPDATE SET number = excluded.number",
];

/// Messages that have reactions or a pin.
const MARKED: &str = "SELECT channel_id, message_id FROM reaction_kinds
    UNION SELECT channel_id, message_id FROM pins";

struct Moving {
    /// Holds the lock in a transaction, in which an export reads.
    guard: PgConnection,
    /// Writes, and reads what was written; None for an export.
    work: Option<PgConnection>,
    messages: Cql,
}

impl Postgres {
    /// Opens the stores to read all of them. Postgres is read as it is at one moment; messages
    /// don't change, for no node runs.
    ///
    /// # Errors
    /// Nodes run; the servers can't be reached or used.
    pub async fn open_to_export(
        settings: &PostgresSettings,
        messages: Cql,
    ) -> Result<Box<dyn Place>, Error> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ";
        Ok(Box::new(Moving::open(settings, messages, begin).await?.0))
    }

    /// Opens the stores to write what moves into them.
    ///
    /// # Errors
    /// As of [`Postgres::open_to_export`].
    pub async fn open_to_import(
        settings: &PostgresSettings,
        messages: Cql,
    ) -> Result<Box<dyn Place>, Error> {
        let (mut moving, work) = Moving::open(settings, messages, "BEGIN").await?;
        moving.work = Some(work);
        Ok(Box::new(moving))
    }
}

impl Moving {
    /// Opens it, and answers a connection to work with.
    async fn open(
        settings: &PostgresSettings,
        messages: Cql,
        begin: &'static str,
    ) -> Result<(Moving, PgConnection), Error> {
        let (pool, _) = schema::open(settings).await?;
        messages.plan(widths::plans(&pool));
        let mut guard = pool.acquire().await?.detach();
        let mut work = pool.acquire().await?.detach();
        work.execute(sqlx::raw_sql(SESSION)).await?;
        guard.execute(sqlx::raw_sql(SESSION)).await?;
        guard.execute(begin).await?;
        guard.execute(LOCK).await.map_err(|error| {
            Error::Unavailable(format!(
                "its nodes, another import or an export are at work on it: {error}"
            ))
        })?;
        let nodes: i64 =
            sqlx::query_scalar("SELECT count(*) FROM workers WHERE until > clock_timestamp()")
                .fetch_one(&mut guard)
                .await?;
        if nodes > 0 {
            return Err(Error::Unusable(format!(
                "{nodes} of its nodes run, or ended less than 30 s ago: stop them all, and wait \
                 for so long"
            )));
        }
        let moving = Moving {
            guard,
            work: None,
            messages,
        };
        Ok((moving, work))
    }

    fn connection(&mut self) -> &mut PgConnection {
        self.work.as_mut().unwrap_or(&mut self.guard)
    }
}

#[async_trait]
impl Place for Moving {
    fn rows<'a>(&'a mut self, table: &'static Table) -> BoxStream<'a, Result<Row, Error>> {
        let connection = self.work.as_mut().unwrap_or(&mut self.guard);
        if table.is_meta() {
            let counters = stream::once(counters(connection)).map_ok(stream::iter);
            return counters.map_ok(|rows| rows.map(Ok)).try_flatten().boxed();
        }
        if table.is_messages() {
            let channels = sqlx::query_scalar("SELECT id FROM channels ORDER BY id");
            let channels = channels.fetch(connection).map_err(Error::from).boxed();
            let messages = self.messages.all(channels);
            return messages.map_ok(|message| of_message(&message)).boxed();
        }
        let rows = sqlx::query(AssertSqlSafe(select(table, Dialect::Postgres))).fetch(connection);
        rows.map(|row| Ok(read(&row?, table)?)).boxed()
    }

    async fn mark(&mut self) -> Result<Option<Mark>, Error> {
        let mut values = [None; 3];
        for (value, name) in values.iter_mut().zip(MARKS) {
            *value = sqlx::query_scalar::<_, i64>("SELECT value FROM meta WHERE name = $1")
                .bind(name)
                .fetch_optional(self.connection())
                .await?;
        }
        Ok(Mark::of(values))
    }

    async fn put(
        &mut self,
        table: &'static Table,
        mut rows: Vec<Row>,
        mark: Mark,
    ) -> Result<(), Error> {
        if table.is_messages() {
            let messages = rows.drain(..).map(to_message);
            let messages: Vec<_> = messages.collect::<Result<_, _>>()?;
            self.messages.import(&messages).await?;
        }
        if table.name == "channels" {
            let id = |row: &Row| match row.first() {
                Some(Value::Int(id)) => Some(*id),
                _ => None,
            };
            let channels = rows.iter().filter_map(id).collect();
            self.messages.refuse_known(channels).await?;
        }
        let mut tx = self.connection().begin().await?;
        if table.is_meta() {
            set_counters(&mut tx, rows).await?;
        } else if !rows.is_empty() {
            insert(&mut tx, table, &rows).await?;
        }
        for (name, value) in MARKS.into_iter().zip(mark.values()) {
            set(&mut tx, name, value).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn derive(&mut self) -> Result<(), Error> {
        for statement in DERIVE {
            self.connection().execute(statement).await?;
        }
        let messages = self.messages.clone();
        let connection = self.work.as_mut().unwrap_or(&mut self.guard);
        let marked = sqlx::query_as::<_, (Id, Id)>(MARKED).fetch(connection);
        let marked = marked.map_err(Error::from).map_ok(|(channel, id)| {
            let messages = messages.clone();
            async move { messages.mark_moved(channel, id).await }
        });
        marked
            .try_buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }

    async fn finish(&mut self) -> Result<(), Error> {
        let highest: Id = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'high_water'")
            .fetch_one(&mut self.guard)
            .await?;
        // Whoever leases a number waits until this time has passed.
        sqlx::query("UPDATE workers SET high_water = greatest(high_water, $1)")
            .bind(id_time_ms(highest))
            .execute(&mut self.guard)
            .await?;
        sqlx::query("UPDATE meta SET value = $1 WHERE name = 'epoch'")
            .bind(rand::random::<i64>() & i64::MAX | 1)
            .execute(&mut self.guard)
            .await?;
        for name in MARKS {
            sqlx::query("DELETE FROM meta WHERE name = $1")
                .bind(name)
                .execute(&mut self.guard)
                .await?;
        }
        self.guard.execute("COMMIT").await?;
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), Error> {
        for connection in [Some(self.guard), self.work].into_iter().flatten() {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "a store connection closed with an error");
            }
        }
        self.messages.close().await;
        Ok(())
    }
}

/// See [`COUNTERS`].
async fn counters(connection: &mut PgConnection) -> Result<Vec<Row>, Error> {
    let text = format!(
        "SELECT greatest((SELECT value FROM meta WHERE name = 'high_water'), ({HIGHEST_OTHER})),
         (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM reaction_kinds_id_seq),
         (SELECT value FROM meta WHERE name = 'unread_from'),
         (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM webhook_queue_id_seq)"
    );
    let values: (i64, i64, i64, i64) = sqlx::query_as(AssertSqlSafe(text))
        .fetch_one(connection)
        .await?;
    Ok(counters_of([values.0, values.1, values.2, values.3]))
}

async fn set_counters(connection: &mut PgConnection, rows: Vec<Row>) -> Result<(), Error> {
    for row in rows {
        let (name, value) = counter(&row)?;
        let statement = match name {
            "highest_id" => "UPDATE meta SET value = greatest(value, $1) WHERE name = 'high_water'",
            "unread_from" => "UPDATE meta SET value = $1 WHERE name = 'unread_from'",
            // The numbers of these rows go on from here.
            "reaction_kinds" => "SELECT setval('reaction_kinds_id_seq', $1) WHERE $1 > 0",
            _ => "SELECT setval('webhook_queue_id_seq', $1) WHERE $1 > 0",
        };
        let statement = sqlx::query(statement).bind(value);
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn set(connection: &mut PgConnection, name: &str, value: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(connection)
    .await
    .map(drop)
}

/// Inserts rows, a column in an array each.
async fn insert(
    connection: &mut PgConnection,
    table: &Table,
    rows: &[Row],
) -> Result<(), sqlx::Error> {
    let mut columns: Vec<&str> = table.names().collect();
    let mut values = "*".to_owned();
    if let Some((column, value)) = beginning(table, Dialect::Postgres) {
        columns.push(column);
        values = format!("*, {value}");
    }
    let arrays = table.columns.iter().enumerate().map(|(at, (_, kind))| {
        let kind = match kind {
            Kind::Int => "bigint",
            Kind::Bool => "boolean",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
        };
        format!("${}::{kind}[]", at + 1)
    });
    let text = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {values} FROM unnest({})
         ON CONFLICT DO NOTHING",
        table.name,
        columns.join(", "),
        arrays.collect::<Vec<_>>().join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for (at, (_, kind)) in table.columns.iter().enumerate() {
        query = bind(query, rows.iter().filter_map(|row| row.get(at)), *kind);
    }
    query.execute(connection).await.map(drop)
}

fn bind<'q, 'a>(
    query: Query<'q, sqlx::Postgres, PgArguments>,
    values: impl Iterator<Item = &'a Value>,
    kind: Kind,
) -> Query<'q, sqlx::Postgres, PgArguments> {
    /// Of a column: those that aren't of its kind are none.
    fn column<'a, T>(
        values: impl Iterator<Item = &'a Value>,
        of: impl Fn(&'a Value) -> Option<T>,
    ) -> Vec<Option<T>> {
        values.map(of).collect()
    }
    match kind {
        Kind::Int => query.bind(column(values, |value| match value {
            Value::Int(number) => Some(*number),
            _ => None,
        })),
        Kind::Bool => query.bind(column(values, |value| match value {
            Value::Bool(yes) => Some(*yes),
            _ => None,
        })),
        Kind::Text => query.bind(column(values, |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })),
        Kind::Bytes => query.bind(column(values, |value| match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        })),
    }
}
