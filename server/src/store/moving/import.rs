//! From a file into an empty store, or on from where an import of the same file stopped.

use super::format::{Next, Reader, Summing};
use super::row::{self, Row};
use super::tables::{TABLES, Table};
use super::{Error, Mark, Place, Progress, Sum};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::io::AsyncBufRead;

/// Rows written at once, and about their bytes.
const ROWS: usize = 500;
const BYTES: usize = 1024 * 1024;

/// Rows between two words of progress while the target is read again.
const TELL: u64 = 256;

/// Writes all of a file into a store, reads it again, and answers what each section, in their
/// order, has. Only then may the store be served. The whole file is read and checked whether or not
/// a part of it was written before.
///
/// # Errors
/// The file is damaged: what was written stays, and may be gone on with when the file is whole. The
/// store holds something else. What was read again isn't what was written.
pub async fn import(
    place: &mut dyn Place,
    input: impl AsyncBufRead + Unpin + Send,
    progress: &mut dyn Progress,
) -> Result<Vec<Sum>, Error> {
    let (mut reader, header) = Reader::begin(input).await?;
    let start = start(place, header.id).await?;
    for (section, table) in TABLES.iter().enumerate() {
        reader.section(table).await?;
        let written = match section {
            section if section < start.section => u64::MAX,
            section if section == start.section => start.rows,
            _ => 0,
        };
        let mut writing = Writing {
            place: &mut *place,
            table,
            rows: Vec::new(),
            bytes: 0,
            mark: Mark {
                file: header.id,
                section,
                rows: 0,
            },
        };
        while let Next::Row(row) = reader.next(table).await? {
            if writing.take(row, written).await? {
                progress.told(table.name, writing.mark.rows, reader.bytes);
            }
        }
        if written < u64::MAX {
            writing.put().await?;
        }
        progress.told(table.name, writing.mark.rows, reader.bytes);
    }
    let sums = reader.done().await?;
    place.derive().await?;
    verify(place, &sums, progress).await?;
    place.finish().await?;
    Ok(sums)
}

/// Where to begin: behind what was written of the file before.
async fn start(place: &mut dyn Place, file: i64) -> Result<Mark, Error> {
    if let Some(mark) = place.mark().await? {
        if mark.file != file {
            return Err(Error::Refused(
                "an import of another file into it isn't finished: go on with that one, or begin \
                 with an empty store"
                    .into(),
            ));
        }
        return Ok(mark);
    }
    for table in TABLES.iter().filter(|table| !table.is_meta()) {
        if place.rows(table).next().await.transpose()?.is_some() {
            return Err(Error::Refused(format!(
                "it holds data of its own (there is something in {}); import into an empty store",
                table.name
            )));
        }
    }
    let mark = Mark {
        file,
        section: 0,
        rows: 0,
    };
    // From now on nobody serves it.
    place.put(&TABLES[0], Vec::new(), mark).await?;
    Ok(mark)
}

/// Rows of a section on their way.
struct Writing<'a> {
    place: &'a mut dyn Place,
    table: &'static Table,
    rows: Vec<Row>,
    bytes: usize,
    mark: Mark,
}

impl Writing<'_> {
    /// Takes a row, unless it is one of the first, which are written. True: some were written.
    async fn take(&mut self, row: Row, written: u64) -> Result<bool, Error> {
        self.mark.rows += 1;
        if self.mark.rows <= written {
            return Ok(self.mark.rows.is_multiple_of(TELL));
        }
        self.bytes += row::size(&row);
        self.rows.push(row);
        if self.rows.len() < ROWS && self.bytes < BYTES {
            return Ok(false);
        }
        self.put().await?;
        Ok(true)
    }

    async fn put(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        let of = rows.first().map(|row| row::key(self.table, row));
        let put = self.place.put(self.table, rows, self.mark).await;
        put.map_err(|error| match of {
            Some(key) => Error::Refused(format!(
                "rows of {} from {key} on can't be written: {error}",
                self.table.name
            )),
            None => Error::Store(error),
        })
    }
}

/// Reads the store again.
async fn verify(
    place: &mut dyn Place,
    sums: &[Sum],
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let mut line = Vec::new();
    for (table, expected) in TABLES.iter().zip(sums) {
        let (mut section, mut count) = (Summing::default(), 0);
        let mut rows = place.rows(table);
        while let Some(row) = rows.try_next().await? {
            line.clear();
            row::write_line(&row, &mut line);
            section.add(&line);
            count += 1;
            if count % TELL == 0 {
                progress.told(table.name, count, 0);
            }
        }
        progress.told(table.name, count, 0);
        let found = section.end();
        if found != *expected {
            return Err(Error::Refused(format!(
                "{} isn't as it was in the file: {} rows with the hash {}, where {} with {} should \
                 be. The store wasn't empty, or something else wrote to it; begin again with an \
                 empty one",
                table.name, found.rows, found.sha256, expected.rows, expected.sha256
            )));
        }
    }
    Ok(())
}
