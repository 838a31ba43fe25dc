//! Connecting: checks, migrations, and what to tell whose Postgres isn't as it should be.

use super::PostgresSettings;
use crate::store::Error;
use crate::store::moving::{MARKS, UNFINISHED};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgPool};
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;

/// One migration a version, ever to be added to and never to be changed.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_base.sql"),
    include_str!("../../../migrations/postgres/0002_widths.sql"),
];

/// Of Postgres, as `server_version_num` has it: 14.
const OLDEST: i32 = 140_000;

/// Whoever migrates holds the advisory lock of this number and the schema's hash: "Chrm".
const MIGRATING: i32 = 0x4368_726d;

/// A connection that wasn't used for so long is tried first, and has so long to answer.
const UNTESTED: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(2);

/// Others may wait so long while a node makes what is missing.
const TURN: &str = "120s";

/// The turn to make what is missing, in Postgres and elsewhere: one node at a time has it. It ends
/// when this is dropped.
pub struct Turn(#[expect(dead_code, reason = "its end is the lock's")] PgConnection);

impl Turn {
    /// Waits for it, at most two minutes.
    ///
    /// # Errors
    /// As [`super::Postgres::open`].
    pub async fn take(settings: &PostgresSettings) -> Result<Turn, Error> {
        let options = options(settings)?;
        let place = Place(&options);
        let mut connection = place.connect(settings.connect_timeout).await?;
        place.check(&mut connection).await?;
        let take = format!(
            "SET statement_timeout = 0; SET lock_timeout = '{TURN}';
             SELECT pg_advisory_lock({MIGRATING})"
        );
        let taken = connection.execute(sqlx::AssertSqlSafe(take)).await;
        taken.map_err(|error| match &error {
            sqlx::Error::Database(told) if told.code().as_deref() == Some("55P03") => {
                let name = place.name();
                Error::Unavailable(format!(
                    "{name}: another node has been making the tables for {TURN}; look at its log"
                ))
            }
            _ => place.refusal(error),
        })?;
        Ok(Turn(connection))
    }
}

fn options(settings: &PostgresSettings) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(&settings.url).map_err(|error| {
        Error::Unusable(format!(
            "the address of Postgres can't be read ({error}); it is \
             postgres://user:password@host:port/database"
        ))
    })?;
    let options = options
        .application_name("chirm")
        // A node that froze in a transaction gives back what it locked.
        .options([
            ("statement_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "20s"),
        ])
        .disable_statement_logging();
    Ok(match settings.schema.as_str() {
        "" => options,
        schema => options.options([("search_path", schema)]),
    })
}

/// Connects and brings the schema up to date. Gives the connections and the store's epoch.
pub(super) async fn open(settings: &PostgresSettings) -> Result<(PgPool, i64), Error> {
    let options = options(settings)?;
    let place = Place(&options);
    let mut connection = place.connect(settings.connect_timeout).await?;
    let prepared = async {
        place.check(&mut connection).await?;
        place.make(&mut connection, &settings.schema).await?;
        place.migrate(&mut connection).await?;
        let epoch = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'epoch'")
            .fetch_one(&mut connection)
            .await
            .map_err(|error| place.refusal(error))?;
        Ok::<_, Error>(epoch)
    };
    let epoch = prepared.await?;
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a store connection closed with an error");
    }
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections.max(2))
        .acquire_timeout(settings.acquire_timeout)
        .idle_timeout(Duration::from_secs(600))
        // Not before each use, which would double every wait; and with a bound: a connection
        // that broke off without a word would be waited for as long as TCP does.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                let ping = async {
                    match about.idle_for > UNTESTED {
                        true => connection.ping().await,
                        false => Ok(()),
                    }
                };
                Ok(matches!(timeout(ANSWER, ping).await, Ok(Ok(()))))
            })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                // sqlx knows of a transaction once its BEGIN was answered: one whose caller had
                // gone by then is still open. Where none is, this opens and ends one. An error:
                // it is closed, without a goodbye.
                let late = |_| sqlx::Error::Protocol("Postgres doesn't answer".into());
                let end = sqlx::raw_sql("BEGIN; ROLLBACK").execute(connection);
                timeout(ANSWER, end).await.map_err(late)??;
                Ok(true)
            })
        })
        .connect_lazy_with(options.clone());
    Ok((pool, epoch))
}

/// Refuses what an import left half-way.
pub(super) async fn check_finished(pool: &PgPool) -> Result<(), Error> {
    let unfinished = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM meta WHERE name = $1)");
    match unfinished.bind(MARKS[0]).fetch_one(pool).await? {
        true => Err(Error::Unusable(format!("Postgres: {UNFINISHED}"))),
        false => Ok(()),
    }
}

/// Which Postgres it is about, for messages; never with the password.
struct Place<'a>(&'a PgConnectOptions);

impl Place<'_> {
    async fn connect(&self, within: Duration) -> Result<PgConnection, Error> {
        match timeout(within, self.0.connect()).await {
            Ok(connected) => connected.map_err(|error| self.refusal(error)),
            Err(_) => Err(self.away("it doesn't answer")),
        }
    }

    fn name(&self) -> String {
        match self.0.get_socket() {
            Some(socket) => format!("Postgres at {}", socket.display()),
            None => format!("Postgres at {}:{}", self.0.get_host(), self.0.get_port()),
        }
    }

    fn user(&self) -> &str {
        self.0.get_username()
    }

    /// The database's name; without one in the address it is the user's.
    fn database(&self) -> &str {
        self.0.get_database().unwrap_or(self.user())
    }

    /// Makes the schema where it is missing.
    async fn make(&self, connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
        if schema.is_empty() {
            return Ok(());
        }
        let find = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL").bind(schema);
        let found = find.fetch_one(&mut *connection).await;
        let found: bool = found.map_err(|error| self.refusal(error))?;
        if found {
            return Ok(());
        }
        // Its name is checked with the settings: a word.
        let make = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
        let made = connection.execute(sqlx::AssertSqlSafe(make)).await;
        made.map(drop).map_err(|error| self.refusal(error))
    }

    fn away(&self, why: &str) -> Error {
        Error::Unavailable(format!(
            "{} can't be reached: {why}; check that it runs, its address, and the firewalls \
             between",
            self.name()
        ))
    }

    fn unusable(&self, what: &str) -> Error {
        Error::Unusable(format!("{}: {what}", self.name()))
    }

    /// What an error of connecting or migrating means.
    fn refusal(&self, error: sqlx::Error) -> Error {
        let told = match &error {
            sqlx::Error::Database(told) => told,
            sqlx::Error::Io(error) => return self.away(&error.to_string()),
            sqlx::Error::Tls(error) => {
                return self.unusable(&format!(
                    "no TLS ({error}); check its certificate, or sslmode in its address"
                ));
            }
            _ => return self.away(&error.to_string()),
        };
        let (user, database) = (self.user(), self.database());
        match told.code().as_deref() {
            Some("28P01" | "28000") => self.unusable(&format!(
                "it refuses user {user} ({told}); check name and password in its address, and \
                 pg_hba.conf"
            )),
            Some("3D000") => self.unusable(&format!(
                "there is no database {database}; make it by CREATE DATABASE {database} OWNER \
                 {user}"
            )),
            Some("3F000") => self.unusable(&format!(
                "no schema of the search_path is there ({told}); make it, or change the search_path"
            )),
            Some("42501") => self.unusable(&format!(
                "user {user} may not do what is needed ({told}); make it the owner of database \
                 {database}"
            )),
            Some("42P07" | "42723" | "42710") => self.unusable(&format!(
                "database {database} has tables of another program ({told}); name another one, or \
                 a schema of our own by options=-csearch_path%3D… in the address"
            )),
            // A connection that is one too many, a server that starts or stops.
            Some(code) if code.starts_with("53") || code.starts_with("57") => {
                Error::Unavailable(format!("{}: {told}", self.name()))
            }
            _ => self.unusable(&told.to_string()),
        }
    }

    /// Refuses what can't hold our data.
    async fn check(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let read = "SELECT current_setting('server_version_num')::int,
            current_setting('server_encoding'), pg_is_in_recovery()";
        let (version, encoding, standby): (i32, String, bool) = sqlx::query_as(read)
            .fetch_one(connection)
            .await
            .map_err(|error| self.refusal(error))?;
        if version < OLDEST {
            return Err(self.unusable(&format!(
                "it has version {}, and {} or later is needed; upgrade it",
                version / 10_000,
                OLDEST / 10_000
            )));
        }
        if encoding != "UTF8" {
            return Err(self.unusable(&format!(
                "database {} has the encoding {encoding}; make one by CREATE DATABASE … ENCODING \
                 UTF8 TEMPLATE template0",
                self.database()
            )));
        }
        if standby {
            return Err(self.unusable(
                "it is a standby, which can't be written; name the primary's address, or several \
                 hosts' by a proxy that finds it",
            ));
        }
        Ok(())
    }

    /// The version of the schema, 0 if there is none.
    async fn version(&self, connection: &mut PgConnection) -> Result<usize, Error> {
        let there: bool = sqlx::query_scalar("SELECT to_regclass('chirm_schema') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| self.refusal(error))?;
        if !there {
            return Ok(0);
        }
        let version: i32 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM chirm_schema")
            .fetch_one(connection)
            .await
            .map_err(|error| self.refusal(error))?;
        let version = usize::try_from(version).unwrap_or_default();
        if version > MIGRATIONS.len() {
            return Err(self.unusable(&format!(
                "database {} has schema version {version}, and this server knows {} and below; run \
                 a newer server, or restore a backup made before the upgrade",
                self.database(),
                MIGRATIONS.len()
            )));
        }
        Ok(version)
    }

    /// One node migrates, in one transaction; the others wait for it.
    async fn migrate(&self, connection: &mut PgConnection) -> Result<(), Error> {
        // A user that may only read and write rows does where nothing is to be done.
        if self.version(connection).await? == MIGRATIONS.len() {
            return Ok(());
        }
        let refusal = |error| self.refusal(error);
        let mut tx = connection.begin().await.map_err(refusal)?;
        let prepare = format!(
            "SET LOCAL statement_timeout = 0;
             SET LOCAL idle_in_transaction_session_timeout = 0;
             SELECT pg_advisory_xact_lock({MIGRATING}, coalesce(hashtext(current_schema()), 0));
             CREATE TABLE IF NOT EXISTS chirm_schema
             (version INTEGER PRIMARY KEY, since TIMESTAMPTZ NOT NULL DEFAULT now());"
        );
        let prepare = sqlx::AssertSqlSafe(prepare);
        tx.execute(sqlx::raw_sql(prepare)).await.map_err(refusal)?;
        let version = self.version(&mut tx).await?;
        for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
            tx.execute(sqlx::raw_sql(*migration))
                .await
                .map_err(refusal)?;
            let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
            sqlx::query("INSERT INTO chirm_schema (version) VALUES ($1)")
                .bind(number)
                .execute(&mut *tx)
                .await
                .map_err(refusal)?;
        }
        tx.commit().await.map_err(refusal)
    }
}
