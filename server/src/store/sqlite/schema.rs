//! Opening the file: its lock, its checks, its migrations.

use super::failure;
use crate::store::Error;
use crate::store::moving::{MARKS, UNFINISHED};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Executor};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Says in the file's header that it is ours: "Chrm".
const APPLICATION_ID: i32 = 0x4368_726d;

/// One migration a version, ever to be added to and never to be changed.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_base.sql"),
    include_str!("../../../migrations/sqlite/0002_reactions.sql"),
    include_str!("../../../migrations/sqlite/0003_read_states.sql"),
    include_str!("../../../migrations/sqlite/0004_moderation.sql"),
    include_str!("../../../migrations/sqlite/0005_webhooks.sql"),
];

/// The row of `meta` that marks a copy.
const COPIED: &str = "copied";

/// How long a statement waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a read waits for one of the connections.
const READ_WAIT: Duration = Duration::from_secs(5);

/// Reads at a time.
const READERS: u32 = 4;

/// Beyond this the write-ahead log is cut back after a checkpoint, in bytes.
const LOG_BYTES_KEPT: &str = "134217728";

/// What the writer may hold of the file in memory, in KiB, negated as the pragma has it.
const WRITER_CACHE: &str = "-32768";

/// Pages of the write-ahead log at which the writer checkpoints (64 MiB). A page that changes often
/// is copied into the file once a checkpoint, so rare ones write less.
const CHECKPOINT_PAGES: &str = "16384";

/// Makes the folder and the file where they are missing, private to the process's user, and takes
/// the lock, which holds until the answered file is dropped.
pub(super) fn lock(path: &Path) -> Result<File, Error> {
    let name = with_suffix(path, ".lock");
    let prepare = || -> io::Result<File> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)?;
        }
        private().open(path)?;
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        private().open(&name)
    };
    let file = prepare().map_err(|error| {
        Error::Unusable(format!(
            "{} can't be opened ({error}); check the folder and its permissions",
            path.display()
        ))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Unusable(format!(
            "{} is in use by another process; stop it, or name another folder for the data",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Error::Unusable(format!(
            "{} can't be locked ({error}); put the data on a local disk",
            path.display()
        ))),
    }
}

/// The path with something behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes an empty file, private to the process's user.
pub(super) fn make(path: &Path) -> io::Result<File> {
    private().create_new(true).open(path)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// The writer's connection.
pub(super) async fn writer(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", LOG_BYTES_KEPT)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", WRITER_CACHE)
        // What a savepoint keeps to undo itself: else it goes to a file from 64 KiB on.
        .pragma("temp_store", "MEMORY")
        .thread_name(|_| "chirm-store-writer".to_owned())
        .connect()
        .await
}

/// A connection of its own for a backup.
pub(super) async fn copier(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        .thread_name(|_| "chirm-store-backup".to_owned())
        .connect()
        .await
}

/// The readers' connections.
pub(super) async fn readers(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = options(path)
        .read_only(true)
        .thread_name(|id| format!("chirm-store-read-{id}"));
    SqlitePoolOptions::new()
        .min_connections(READERS)
        .max_connections(READERS)
        .acquire_timeout(READ_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

/// Opens the writer's connection for the first time: refuses what isn't ours or is newer, brings
/// what is older up to date, and begins a new epoch in a copy.
pub(super) async fn open(path: &Path) -> Result<SqliteConnection, Error> {
    let mut connection = open_unfinished(path).await?;
    check_finished(path, &mut connection).await?;
    let copied: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?)")
        .bind(COPIED)
        .fetch_one(&mut connection)
        .await
        .map_err(|error| unusable(path, error))?;
    if copied {
        renew_epoch(&mut connection).await.map_err(failure)?;
    }
    Ok(connection)
}

/// As [`open`], of what an import may have left half-way.
pub(super) async fn open_unfinished(path: &Path) -> Result<SqliteConnection, Error> {
    let mut connection = writer(path).await.map_err(|e| unusable(path, e))?;
    migrate(path, &mut connection).await?;
    Ok(connection)
}

/// Refuses what an import left half-way.
async fn check_finished(path: &Path, connection: &mut SqliteConnection) -> Result<(), Error> {
    let unfinished: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?)")
        .bind(MARKS[0])
        .fetch_one(connection)
        .await
        .map_err(|error| unusable(path, error))?;
    if unfinished {
        return Err(Error::Unusable(format!("{}: {UNFINISHED}", path.display())));
    }
    Ok(())
}

/// Opens a writing connection to what is up to date or new. What is older stays as it is: a server
/// of that version may run on it, or be meant to.
pub(super) async fn open_current(path: &Path) -> Result<SqliteConnection, Error> {
    let mut connection = writer(path).await.map_err(|e| unusable(path, e))?;
    match version(path, &mut connection).await? {
        None => migrate(path, &mut connection).await?,
        Some(version) if version == MIGRATIONS.len() => {}
        Some(version) => {
            close(connection).await;
            return Err(Error::Unusable(format!(
                "{} has schema version {version}, and this command line needs {}: use the command \
                 line of its server, or start a server of this version on it first, which brings \
                 it up to date",
                path.display(),
                MIGRATIONS.len()
            )));
        }
    }
    check_finished(path, &mut connection).await?;
    Ok(connection)
}

/// Opens a copy that nobody has opened yet, and marks it as one: its first server begins a new
/// epoch. What was numbered after it was made is not in it, and its numbers will be used again:
/// without a new epoch, clients would take the new events for those that they hold.
pub(super) async fn mark_copy(path: &Path) -> Result<(), Error> {
    let mut connection = copier(path).await?;
    let marked = match version(path, &mut connection).await {
        Ok(None) => Err(Error::Unusable("the copied file has no data".into())),
        Ok(Some(_)) => {
            let mark = sqlx::query("INSERT OR IGNORE INTO meta VALUES (?, 1)").bind(COPIED);
            mark.execute(&mut connection).await.map_err(failure)
        }
        Err(error) => Err(error),
    };
    close(connection).await;
    marked.map(drop)
}

/// Begins a new epoch of the topics of servers and users.
pub(super) async fn renew_epoch(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let renew = "BEGIN IMMEDIATE;
        UPDATE meta SET value = (random() & 9223372036854775807) | 1 WHERE name = 'epoch';
        DELETE FROM meta WHERE name = 'copied';
        DELETE FROM outbox;
        COMMIT;";
    connection.execute(sqlx::raw_sql(renew)).await.map(drop)
}

/// The version of the file's schema, None if it is new; refuses what isn't ours or is newer.
async fn version(path: &Path, connection: &mut SqliteConnection) -> Result<Option<usize>, Error> {
    let read = "SELECT application_id, user_version, schema_version
        FROM pragma_application_id, pragma_user_version, pragma_schema_version";
    let (application, version, schema): (i32, i64, i64) = sqlx::query_as(read)
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| unusable(path, error))?;
    if application != APPLICATION_ID && (schema != 0 || application != 0) {
        return Err(Error::Unusable(format!(
            "{} belongs to another program; name another folder for the data",
            path.display()
        )));
    }
    let newest = MIGRATIONS.len();
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > newest {
        return Err(Error::Unusable(format!(
            "{} has schema version {version}, and this server knows {newest} and below; \
             run a newer server, or restore a backup made before the upgrade",
            path.display()
        )));
    }
    Ok((schema != 0).then_some(version))
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), Error> {
    let version = version(path, connection).await?.unwrap_or_default();
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let text = format!(
            "BEGIN IMMEDIATE; {migration}; PRAGMA application_id = {APPLICATION_ID}; \
             PRAGMA user_version = {}; COMMIT;",
            index + 1
        );
        let text = sqlx::AssertSqlSafe(text);
        connection
            .execute(sqlx::raw_sql(text))
            .await
            .map_err(|error| unusable(path, error))?;
    }
    Ok(())
}

fn unusable(path: &Path, error: sqlx::Error) -> Error {
    match failure(error) {
        Error::Unusable(what) => Error::Unusable(format!(
            "{} is damaged ({what}); restore it from a backup, or move the whole folder away to \
             start anew",
            path.display()
        )),
        Error::Unavailable(what) => {
            Error::Unavailable(format!("{} can't be opened: {what}", path.display()))
        }
        other => other,
    }
}

/// Closes a connection; what it says no longer matters.
pub(super) async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a store connection closed with an error");
    }
}
