//! The connection: reaching the servers, the keyspace, its schema, and the requests.

use super::settings::{CqlSettings, Replication};
use super::statements::Statements;
use crate::store::Error;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::serialize::batch::BatchValues;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::batch::Batch;
use scylla::statement::prepared::PreparedStatement;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// The schema that this program knows: migrations, in order. The number of a version is its place.
const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/cql/0001_base.sql")];

/// Requests under way.
const IN_FLIGHT: usize = 1_024;

/// A try to connect.
const CONNECT: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;

/// Changes of the schema take longer than requests.
const SCHEMA: Duration = Duration::from_secs(30);

/// A read that has no answer by then is asked of another server, too.
const SPECULATE: Duration = Duration::from_millis(100);

/// An open session with its prepared statements.
pub(super) struct Link {
    session: Session,
    pub(super) statements: Statements,
    in_flight: Semaphore,
}

impl Link {
    /// Connects; makes keyspace and tables if they are missing.
    pub(super) async fn open(settings: &CqlSettings) -> Result<Link, Error> {
        settings.check()?;
        let session = connect(settings).await?;
        let prepared = async {
            migrate(&session, settings).await?;
            let consistency = consistency(settings);
            Statements::prepare(&session, &settings.keyspace, consistency, reads(settings)).await
        };
        let statements = tokio::time::timeout(SCHEMA * TRIES, prepared).await;
        let late = |_| {
            let address = settings.address();
            Error::Unavailable(format!("CQL: {address} is too slow to prepare its tables"))
        };
        Ok(Link {
            session,
            statements: statements.map_err(late)??,
            in_flight: Semaphore::new(IN_FLIGHT),
        })
    }

    #[cfg(test)]
    pub(super) async fn run(&self, statement: &str) -> Result<(), Error> {
        change(&self.session, statement).await
    }

    fn admitted(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.in_flight.try_acquire().map_err(|_| Error::Overloaded)
    }

    /// Rows of a read; refused if too many requests are under way.
    pub(super) async fn read(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, Error> {
        let _permit = self.admitted()?;
        let _timer = Timer::of("read");
        let result = self.session.execute_unpaged(statement, values).await;
        rows(result.map_err(failure)?)
    }

    /// Writes; waits its turn if too many requests are under way.
    pub(super) async fn write(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), Error> {
        let permit = self.in_flight.acquire().await;
        let _permit = permit.map_err(|_| closed())?;
        let _timer = Timer::of("write");
        let written = self.session.execute_unpaged(statement, values).await;
        written.map(drop).map_err(failure)
    }

    /// As [`Link::write`], several rows of one partition at once.
    pub(super) async fn batch(&self, batch: &Batch, values: impl BatchValues) -> Result<(), Error> {
        let permit = self.in_flight.acquire().await;
        let _permit = permit.map_err(|_| closed())?;
        let _timer = Timer::of("write");
        let written = self.session.batch(batch, values).await;
        written.map(drop).map_err(failure)
    }
}

/// Writes down how long a request took, when it is dropped.
struct Timer {
    kind: &'static str,
    begun: Instant,
}

impl Timer {
    fn of(kind: &'static str) -> Self {
        let begun = Instant::now();
        Self { kind, begun }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        metrics::histogram!("chirm_cql_request_seconds", "kind" => self.kind).record(took);
    }
}

/// Each row, as a tuple or struct.
pub(super) fn typed<R>(rows: &QueryRowsResult) -> Result<Vec<R>, Error>
where
    R: for<'a> DeserializeRow<'a, 'a>,
{
    let rows = rows.rows::<R>().map_err(broken)?;
    rows.collect::<Result<_, _>>().map_err(broken)
}

/// The first row, if there is any.
pub(super) fn first<R>(rows: &QueryRowsResult) -> Result<Option<R>, Error>
where
    R: for<'a> DeserializeRow<'a, 'a>,
{
    rows.maybe_first_row::<R>().map_err(broken)
}

fn rows(result: QueryResult) -> Result<QueryRowsResult, Error> {
    result.into_rows_result().map_err(broken)
}

pub(super) fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}

pub(super) fn broken(error: impl std::fmt::Display) -> Error {
    Error::Unusable(format!("CQL: a stored row can't be read: {error}"))
}

/// Whatever fails may have been done nevertheless.
pub(super) fn failure(error: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("CQL: {error}"))
}

fn consistency(settings: &CqlSettings) -> Consistency {
    if settings.single {
        Consistency::One
    } else {
        Consistency::LocalQuorum
    }
}

fn profile(settings: &CqlSettings) -> scylla::client::execution_profile::ExecutionProfileBuilder {
    ExecutionProfile::builder()
        .consistency(consistency(settings))
        .request_timeout(Some(settings.timeout))
}

/// Reads may be asked of a second server; writes never are.
fn reads(settings: &CqlSettings) -> ExecutionProfile {
    let speculative = SimpleSpeculativeExecutionPolicy {
        max_retry_count: 1,
        retry_interval: SPECULATE,
    };
    profile(settings)
        .speculative_execution_policy(Some(Arc::new(speculative)))
        .build()
}

async fn connect(settings: &CqlSettings) -> Result<Session, Error> {
    let mut builder = SessionBuilder::new()
        .known_nodes(&settings.nodes)
        .connection_timeout(CONNECT)
        .hostname_resolution_timeout(Some(CONNECT))
        .keyspaces_to_fetch([settings.keyspace.as_str()])
        .default_execution_profile_handle(profile(settings).build().into_handle())
        .tls_context(settings.tls.clone());
    if let Replication::Datacenter(name, _) = &settings.replication {
        builder = builder.prefer_datacenter(name.clone());
    }
    if let Some((user, password)) = &settings.login {
        builder = builder.user(user, password);
    }
    let mut why = String::new();
    for _ in 0..TRIES {
        match tokio::time::timeout(CONNECT, builder.build()).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = format!("no answer within {} s", CONNECT.as_secs()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(Error::Unavailable(format!(
        "CQL: {} can't be reached: {why}. Is the server running, and are address, user and \
         password right?",
        settings.address()
    )))
}

/// Brings the keyspace to this program's schema, or refuses a newer one.
async fn migrate(session: &Session, settings: &CqlSettings) -> Result<(), Error> {
    let keyspace = &settings.keyspace;
    let there = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    if count(session, there, (keyspace,)).await? == 0 {
        let map = settings.replication_map();
        let make = format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {map}");
        change(session, &make).await?;
    }
    let known = session.use_keyspace(keyspace, false).await;
    known.map_err(|error| refused(keyspace, &error))?;
    let there = "SELECT table_name FROM system_schema.tables
                 WHERE keyspace_name = ? AND table_name = 'meta'";
    if count(session, there, (keyspace,)).await? == 0 {
        let make = "CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, value bigint)";
        change(session, make).await?;
    }
    let version = session.query_unpaged("SELECT value FROM meta WHERE name = 'schema'", ());
    let version = rows(version.await.map_err(failure)?)?;
    let version = first::<(i64,)>(&version)?.map_or(0, |(version,)| version);
    let newest = MIGRATIONS.len() as i64;
    if version > newest {
        return Err(Error::Unusable(format!(
            "CQL: the keyspace {keyspace} has schema {version}, this program knows {newest} at \
             most; run the version of Chirm that made it, or a newer one"
        )));
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(version as usize) {
        for statement in statements(migration) {
            change(session, &statement).await?;
        }
        let done = session.query_unpaged(
            "INSERT INTO meta (name, value) VALUES ('schema', ?)",
            (at as i64 + 1,),
        );
        done.await.map_err(failure)?;
    }
    Ok(())
}

/// The statements of a migration, without comments.
fn statements(migration: &str) -> Vec<String> {
    let lines = migration.lines().filter(|line| !line.starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let statements = text.split(";\n").map(str::trim);
    let statements = statements.map(|statement| statement.trim_end_matches(';').to_owned());
    statements
        .filter(|statement| !statement.is_empty())
        .collect()
}

fn refused(keyspace: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Unusable(format!(
        "CQL: the keyspace {keyspace} can't be used: {error}"
    ))
}

async fn count(
    session: &Session,
    statement: &str,
    values: impl SerializeRow,
) -> Result<usize, Error> {
    let result = session.query_unpaged(statement, values).await;
    Ok(rows(result.map_err(failure)?)?.rows_num())
}

/// Changes the schema, and waits until all servers have it.
async fn change(session: &Session, statement: &str) -> Result<(), Error> {
    let mut statement = scylla::statement::unprepared::Statement::new(statement);
    statement.set_request_timeout(Some(SCHEMA));
    session
        .query_unpaged(statement, ())
        .await
        .map_err(failure)?;
    session.await_schema_agreement().await.map_err(failure)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_cut_into_its_statements() {
        let found = statements("-- A; b\nCREATE x (\n  y\n);\n\n-- C\nCREATE z;\n");
        assert_eq!(found, ["CREATE x (\n  y\n)", "CREATE z"]);
        assert_eq!(statements(MIGRATIONS[0]).len(), 4);
    }
}
