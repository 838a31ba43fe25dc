//! Checking, backing up, closing.

use super::{Sqlite, schema};
use crate::store::{Connections, Error, Levels, Upkeep};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Between two reports of a backup's progress.
const REPORT: Duration = Duration::from_millis(200);

#[async_trait]
impl Upkeep for Sqlite {
    async fn check(&self) -> Result<(), Error> {
        let _: i64 = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'epoch'")
            .fetch_one(&self.read)
            .await?;
        self.change(|tx| {
            Box::pin(async move {
                // A real write: a change of nothing wouldn't reach the disk.
                sqlx::query(
                    "INSERT INTO meta VALUES ('checks', 1)
                     ON CONFLICT DO UPDATE SET value = (value + 1) % 1000000000",
                )
                .execute(&mut tx.connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn backup(
        &self,
        path: &Path,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Error> {
        copy(&self.path, path, progress).await
    }

    fn levels(&self) -> Levels {
        Levels {
            pools: vec![("sqlite", Connections::of(&self.read))],
            queues: vec![("sqlite", self.writer.queued())],
        }
    }

    async fn close(&self) {
        let purger = {
            let mut purger = self.purger.lock().unwrap_or_else(|p| p.into_inner());
            purger.take()
        };
        if let Some(purger) = purger {
            purger.abort();
        }
        // The readers first, so that the last connection to close is the writer, which then folds
        // the write-ahead log into the file.
        self.read.close().await;
        self.writer.close().await;
    }
}

/// See [`Upkeep::backup`].
pub(super) async fn copy(
    source: &Path,
    target: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Error> {
    if target.exists() {
        return Err(Error::Conflict("the backup's file exists"));
    }
    // The file gets its name only when it is whole and synced.
    let part = schema::with_suffix(target, ".part");
    let _ = std::fs::remove_file(&part);
    let copied = copy_to(source, &part, progress).await;
    let finished = copied.and_then(|()| finish(&part, target).map_err(unavailable));
    if finished.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    finished
}

async fn copy_to(
    source: &Path,
    part: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Error> {
    // It has hashes of passwords and everyone's messages: nobody else may read it, even while it
    // is made. SQLite fills an empty file.
    schema::make(part).map_err(unavailable)?;
    let connection = schema::copier(source).await?;
    vacuum_into(connection, part, progress).await?;
    schema::mark_copy(part).await
}

fn unavailable(error: io::Error) -> Error {
    Error::Unavailable(error.to_string())
}

async fn vacuum_into(
    mut connection: SqliteConnection,
    part: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Error> {
    let Some(name) = part.to_str() else {
        return Err(Error::Unavailable("the backup's path isn't UTF-8".into()));
    };
    let bytes = || std::fs::metadata(part).map_or(0, |data| data.len());
    let result = {
        let mut work = std::pin::pin!(
            sqlx::query("VACUUM INTO ?")
                .bind(name)
                .execute(&mut connection)
        );
        loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(REPORT) => progress(bytes()),
            }
        }
    };
    schema::close(connection).await;
    result?;
    progress(bytes());
    Ok(())
}

/// Gives a file that is written its name, if nobody else has it, durably.
pub(crate) fn finish(part: &Path, path: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    std::fs::hard_link(part, path)?;
    std::fs::remove_file(part)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
