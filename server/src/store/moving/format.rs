//! The file: lines of JSON. docs/operations.md describes it.

use super::row::{self, Row};
use super::tables::{TABLES, Table};
use super::{Error, Sum};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// The format's number: raised whenever an older program couldn't read a file of it.
pub const FORMAT: u32 = 1;

/// Bytes of a line at most. A message's longest takes a small part of it.
const LINE: u64 = 8 * 1024 * 1024;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// "export": what it is.
    pub chirm: String,
    /// See [`FORMAT`].
    pub format: u32,
    /// The version of Chirm that made it.
    #[serde(default)]
    pub version: String,
    /// Tells exports apart: random.
    pub id: i64,
    /// When it was made: milliseconds since the Unix epoch.
    #[serde(default)]
    pub exported_at: i64,
}

/// A section begins.
#[derive(Serialize, Deserialize)]
struct Begin {
    section: String,
    columns: Vec<String>,
}

/// A section ends.
#[derive(Serialize, Deserialize)]
struct End {
    end: String,
    rows: u64,
    sha256: String,
}

/// The last line. `sha256` is of the sections' hashes, as hex, one after the other.
#[derive(Serialize, Deserialize)]
struct Done {
    done: bool,
    rows: u64,
    sha256: String,
}

/// Counts and hashes the rows of a section, by their lines.
#[derive(Default)]
pub(super) struct Summing {
    rows: u64,
    hash: Sha256,
}

impl Summing {
    pub(super) fn add(&mut self, line: &[u8]) {
        self.rows += 1;
        self.hash.update(line);
    }

    pub(super) fn end(self) -> Sum {
        Sum {
            rows: self.rows,
            sha256: hex(&self.hash.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn total(sums: &[Sum]) -> (u64, String) {
    let mut hash = Sha256::new();
    for sum in sums {
        hash.update(sum.sha256.as_bytes());
    }
    let rows = sums.iter().map(|sum| sum.rows).sum();
    (rows, hex(&hash.finalize()))
}

/// Writes a file.
pub(super) struct Writer<W> {
    out: W,
    line: Vec<u8>,
    section: Summing,
    sums: Vec<Sum>,
}

impl<W: AsyncWrite + Unpin + Send> Writer<W> {
    pub(super) async fn begin(out: W, header: &Header) -> Result<Writer<W>, Error> {
        let mut writer = Writer {
            out,
            line: Vec::new(),
            section: Summing::default(),
            sums: Vec::new(),
        };
        writer.json(header).await?;
        Ok(writer)
    }

    async fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(value).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok(self.out.write_all(&line).await?)
    }

    pub(super) async fn section(&mut self, table: &Table) -> Result<(), Error> {
        self.section = Summing::default();
        self.json(&Begin {
            section: table.name.to_owned(),
            columns: table.names().map(str::to_owned).collect(),
        })
        .await
    }

    /// Answers how many bytes it took.
    pub(super) async fn row(&mut self, row: &Row) -> Result<u64, Error> {
        self.line.clear();
        row::write_line(row, &mut self.line);
        self.section.add(&self.line);
        self.out.write_all(&self.line).await?;
        Ok(self.line.len() as u64)
    }

    pub(super) async fn end(&mut self, table: &Table) -> Result<(), Error> {
        let sum = std::mem::take(&mut self.section).end();
        self.json(&End {
            end: table.name.to_owned(),
            rows: sum.rows,
            sha256: sum.sha256.clone(),
        })
        .await?;
        self.sums.push(sum);
        Ok(())
    }

    pub(super) async fn done(mut self) -> Result<Vec<Sum>, Error> {
        let (rows, sha256) = total(&self.sums);
        self.json(&Done {
            done: true,
            rows,
            sha256,
        })
        .await?;
        self.out.flush().await?;
        Ok(self.sums)
    }
}

/// What comes next in a file.
pub(super) enum Next {
    Row(Row),
    /// The section is at its end, whole.
    End,
}

/// Reads a file, and holds it against what it says of itself.
pub(super) struct Reader<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    /// Bytes read.
    pub(super) bytes: u64,
    section: Summing,
    sums: Vec<Sum>,
}

impl<R: AsyncBufRead + Unpin + Send> Reader<R> {
    pub(super) async fn begin(input: R) -> Result<(Reader<R>, Header), Error> {
        let mut reader = Reader {
            input,
            line: Vec::new(),
            number: 0,
            bytes: 0,
            section: Summing::default(),
            sums: Vec::new(),
        };
        reader.next_line().await?;
        let header: Option<Header> = serde_json::from_slice(&reader.line).ok();
        let header = header.filter(|header| header.chirm == "export");
        let header = header.ok_or_else(|| Error::File("it is no export of Chirm".into()))?;
        if header.format > FORMAT {
            return Err(Error::File(format!(
                "it has format {}, made by Chirm {}, and this program knows {FORMAT} and below; \
                 run that version of Chirm, or a newer one",
                header.format, header.version
            )));
        }
        Ok((reader, header))
    }

    /// Reads a line, which must be whole.
    async fn next_line(&mut self) -> Result<(), Error> {
        self.line.clear();
        let mut limited = (&mut self.input).take(LINE);
        let read = limited.read_until(b'\n', &mut self.line).await?;
        self.bytes += read as u64;
        self.number += 1;
        if self.line.last() == Some(&b'\n') {
            return Ok(());
        }
        let why = match read as u64 {
            LINE => format!("is longer than {LINE} bytes"),
            _ => "isn't whole: the file ends there, cut off".into(),
        };
        Err(Error::File(format!("line {} {why}", self.number)))
    }

    fn at(&self, what: &str) -> Error {
        Error::File(format!("line {}: {what}", self.number))
    }

    /// Begins the section of a table.
    pub(super) async fn section(&mut self, table: &Table) -> Result<(), Error> {
        self.next_line().await?;
        let begin: Begin = serde_json::from_slice(&self.line)
            .map_err(|_| self.at(&format!("the section {} must begin here", table.name)))?;
        if begin.section != table.name {
            return Err(self.at(&format!(
                "the section {} begins here, where {} must",
                begin.section, table.name
            )));
        }
        if !begin.columns.iter().eq(table.names()) {
            return Err(self.at(&format!("the section {} has other columns", table.name)));
        }
        self.section = Summing::default();
        Ok(())
    }

    pub(super) async fn next(&mut self, table: &Table) -> Result<Next, Error> {
        self.next_line().await?;
        if self.line.first() == Some(&b'[') {
            self.section.add(&self.line);
            let row = row::read_line(table, &self.line);
            let row = row.ok_or_else(|| self.at(&format!("no row of {}", table.name)))?;
            return Ok(Next::Row(row));
        }
        let end: End = serde_json::from_slice(&self.line)
            .map_err(|_| self.at(&format!("neither a row of {} nor its end", table.name)))?;
        let sum = std::mem::take(&mut self.section).end();
        if end.end != table.name || end.rows != sum.rows || end.sha256 != sum.sha256 {
            return Err(self.at(&format!(
                "the section {} is damaged: its end speaks of {} rows and the hash {}, it has {} \
                 and {}",
                table.name, end.rows, end.sha256, sum.rows, sum.sha256
            )));
        }
        self.sums.push(sum);
        Ok(Next::End)
    }

    /// Reads the last line; nothing may follow it.
    pub(super) async fn done(mut self) -> Result<Vec<Sum>, Error> {
        self.next_line().await?;
        let done: Done = serde_json::from_slice(&self.line)
            .map_err(|_| self.at("the end of the file must be here"))?;
        if !done.done || (done.rows, done.sha256) != total(&self.sums) {
            return Err(self.at("its totals aren't those of its sections"));
        }
        if !self.input.fill_buf().await?.is_empty() {
            return Err(self.at("something follows the end of the file"));
        }
        debug_assert_eq!(self.sums.len(), TABLES.len(), "each section was read");
        Ok(self.sums)
    }
}
