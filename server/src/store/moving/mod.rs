//! Moving a deployment from one kind of store to the other: all that is in it as a stream of rows
//! that knows no backend, written to a file ([`export`]) and read from one ([`import`]).
//!
//! The same rows give the same hashes, whichever store they are in; so an import is verified by
//! reading the target again.

mod export;
mod format;
mod import;
pub(in crate::store) mod row;
pub(in crate::store) mod sql;
mod tables;
#[cfg(test)]
pub(in crate::store) mod tests;

pub use export::export;
pub use format::{FORMAT, Header};
pub use import::import;
pub use row::{Row, Value};
pub use tables::{COUNTERS, Kind, MESSAGES, META, TABLES, Table};

use async_trait::async_trait;
use futures::stream::BoxStream;

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is damaged, of another kind, or of a newer version. The message says where.
    #[error("{0}")]
    File(String),
    /// The target, or what it would be written over. The message says what to do.
    #[error("{0}")]
    Refused(String),
    /// Reading or writing the file.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Of the store.
    #[error("{0}")]
    Store(#[from] super::Error),
}

/// How many rows a section has, and the SHA-256 of their lines, as hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Rows.
    pub rows: u64,
    /// Hash.
    pub sha256: String,
}

/// How far an import came: what was written of which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The file: its header's id.
    pub file: i64,
    /// The section's place.
    pub section: usize,
    /// How many of its rows, from the first on.
    pub rows: u64,
}

impl Mark {
    /// From the values of [`MARKS`]; None if they aren't all there.
    pub(in crate::store) fn of([file, section, rows]: [Option<i64>; 3]) -> Option<Mark> {
        Some(Mark {
            file: file?,
            section: usize::try_from(section?).ok()?,
            rows: u64::try_from(rows?).ok()?,
        })
    }

    /// The values of [`MARKS`].
    pub(in crate::store) fn values(self) -> [i64; 3] {
        let section = i64::try_from(self.section).unwrap_or(i64::MAX);
        let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
        [self.file, section, rows]
    }
}

/// Hears how far it is.
pub trait Progress: Send {
    /// So many rows of a section, and bytes of the file, are done. `bytes` are 0 while the target
    /// is read again.
    fn told(&mut self, section: &'static str, rows: u64, bytes: u64);
}

/// A store that moves, with nobody else on it.
#[async_trait]
pub trait Place: Send {
    /// The rows of a table that move, in the order of the key. It ends with the first error.
    fn rows<'a>(&'a mut self, table: &'static Table) -> BoxStream<'a, Result<Row, super::Error>>;
    /// What an import left that isn't finished; None: there is none.
    async fn mark(&mut self) -> Result<Option<Mark>, super::Error>;
    /// Writes rows of a table and then, durably, the mark. Rows that are there are left as they
    /// are.
    async fn put(
        &mut self,
        table: &'static Table,
        rows: Vec<Row>,
        mark: Mark,
    ) -> Result<(), super::Error>;
    /// Makes what is made from the rows, when all are there. It may be done again.
    async fn derive(&mut self) -> Result<(), super::Error>;
    /// Takes the mark away: it may be served now.
    async fn finish(&mut self) -> Result<(), super::Error>;
    /// Ends it, finished or not.
    async fn close(self: Box<Self>) -> Result<(), super::Error>;
}

/// Names of rows of `meta` that say how far an import came. A store that has the first is not to be
/// served.
pub(in crate::store) const MARKS: [&str; 3] = ["import_file", "import_section", "import_rows"];

/// What to tell who opens a store whose import isn't finished.
pub(in crate::store) const UNFINISHED: &str =
    "an import into it isn't finished; go on with it by `chirm import` of the same file";
