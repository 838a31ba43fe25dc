//! The history of a run: what was asked, answered and received, as JSON lines by one clock. The
//! [checker](crate::checker) needs nothing else.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the run began; lines are in order of it.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub record: Record,
}

/// What can happen in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Record {
    /// A send begins. Its repeats, under the same nonce, don't count as begun.
    Invoke {
        /// What is sent; its id is 0.
        #[serde(flatten)]
        message: Seen,
    },
    /// A send was acknowledged.
    Ok {
        /// Which.
        nonce: String,
        /// The message's id.
        id: i64,
    },
    /// A send was refused for good: it must never appear.
    Fail {
        /// Which.
        nonce: String,
        /// Why.
        reason: String,
    },
    /// An attempt of a send has no answer: it may or may not appear.
    Unknown {
        /// Which.
        nonce: String,
    },
    /// A watcher received a message.
    Recv {
        /// The watcher.
        connection: String,
        /// The message.
        #[serde(flatten)]
        message: Seen,
        /// How it came.
        source: Source,
    },
    /// A watcher told the server what it holds.
    Present {
        /// The watcher.
        connection: String,
        /// Whether a connection begins with it: of other topics it then holds nothing.
        begins: bool,
        /// Topics and their positions.
        positions: Vec<(String, At)>,
    },
    /// An event of a topic, as it came to a watcher: before its client looked at it.
    Event {
        /// The watcher.
        connection: String,
        /// The topic.
        topic: String,
        /// The topic's position after the event.
        position: At,
    },
    /// A snapshot of a topic came to a watcher.
    Snapshot {
        /// The watcher.
        connection: String,
        /// The topic.
        topic: String,
        /// The position that it is of.
        position: At,
    },
    /// A watcher was told of a gap, and pages what it missed.
    Gap {
        /// The watcher.
        connection: String,
        /// The topic.
        topic: String,
        /// The position after the gap.
        position: At,
    },
    /// A watcher must not see this topic any more.
    Removed {
        /// The watcher.
        connection: String,
        /// The topic.
        topic: String,
    },
    /// A watcher is connected, and dealt with every topic.
    Connect {
        /// The watcher.
        connection: String,
    },
    /// A watcher lost its connection.
    Close {
        /// The watcher.
        connection: String,
        /// Why.
        reason: String,
    },
    /// Something was broken on purpose.
    Fault {
        /// What.
        fault: String,
    },
    /// A moment at which nothing was under way: who is here of a log's server, as the log says.
    Roll(Roll),
    /// Who is here of a log's server, as a watcher was shown it at that moment.
    Shown(Shown),
    /// The final read of history, page by page from the newest to the oldest, has this message.
    Stored {
        /// The message.
        #[serde(flatten)]
        message: Seen,
        /// The page's number among those of its channel, from 0.
        page: u64,
    },
}

/// The people of a log's server, as the log says: sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// The checkpoint's number, from 0.
    pub checkpoint: u32,
    /// The server.
    pub server: i64,
    /// Whether the server tells all its members who is here, being small.
    pub told: bool,
    /// Members that are here.
    pub here: Vec<i64>,
    /// Members that aren't.
    pub away: Vec<i64>,
}

/// The people of a log's server, as a watcher was shown them: sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The checkpoint's number.
    pub checkpoint: u32,
    /// The server.
    pub server: i64,
    /// The watcher.
    pub connection: String,
    /// How it was shown.
    pub by: ShownBy,
    /// Those who are here.
    pub here: Vec<i64>,
    /// Members that aren't: of presences alone they aren't known, and this is empty.
    pub away: Vec<i64>,
    /// What was wrong with how it was told, up to this checkpoint.
    pub faults: Vec<String>,
}

/// How a watcher is shown people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownBy {
    /// By presences that changed.
    #[default]
    Presences,
    /// By parts of the member list.
    List,
    /// By pages of members and questions for their presence.
    Pages,
}

/// A message, its text as a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its id.
    pub id: i64,
    /// Its channel.
    pub channel: i64,
    /// Its author.
    pub author: i64,
    /// Its nonce.
    pub nonce: String,
    /// What its text hashes to, see [`hash`].
    pub hash: String,
    /// The message that it answers, or 0.
    pub reply_to: i64,
}

/// How a message came to a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// As it happened.
    Live,
    /// After connecting again.
    Replay,
    /// From history.
    Page,
}

/// A position of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// The sequence's epoch.
    pub epoch: i64,
    /// The number in it.
    pub seq: i64,
}

/// What a text hashes to: 16 bytes of SHA-256, in hex, and the text's length.
#[must_use]
pub fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut hash = String::with_capacity(40);
    for byte in digest.iter().take(16) {
        hash.push_str(&format!("{byte:02x}"));
    }
    hash.push_str(&format!(":{}", text.len()));
    hash
}

/// Writes a history. Shared by all that take part in a run.
pub struct Recorder {
    start: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Recorder {
    /// Begins a history in a new file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
        Ok(Self {
            start: Instant::now(),
            file: Mutex::new(BufWriter::new(file)),
        })
    }

    /// Writes one record. A record that can't be written is a failed run, found when it is closed.
    pub fn record(&self, record: Record) {
        // The clock is read under the lock, so that lines are in its order.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let at_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let line = Line { at_us, record };
        if let Err(error) = serde_json::to_writer(&mut *file, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
        {
            tracing::error!(%error, "can't write the history");
        }
    }

    /// Writes what is buffered.
    pub fn flush(&self) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.flush().context("can't write the history")
    }
}

/// Reads a history.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<Line>>> {
    let file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(BufReader::new(file)
        .lines()
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_str(&line?)
                .with_context(|| format!("line {} of the history is no record", number + 1))
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        let message = Seen {
            id: 1,
            channel: 2,
            author: 3,
            nonce: "n".into(),
            hash: hash("text"),
            reply_to: 0,
        };
        let connection = "all".to_owned();
        let records = [
            Record::Invoke {
                message: message.clone(),
            },
            Record::Recv {
                connection,
                message,
                source: Source::Live,
            },
            Record::Present {
                connection: "all".to_owned(),
                begins: true,
                positions: vec![("channel:2".to_owned(), At { epoch: 5, seq: 6 })],
            },
            Record::Fault {
                fault: "kill".into(),
            },
        ];
        records
            .iter()
            .for_each(|record| recorder.record(record.clone()));
        recorder.flush().unwrap();
        let lines: Vec<Line> = read(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(
            lines.iter().map(|l| l.record.clone()).collect::<Vec<_>>(),
            records
        );
        assert!(lines.is_sorted_by_key(|line| line.at_us));
    }

    #[test]
    fn texts_that_differ_hash_differently() {
        assert_ne!(hash("a"), hash("b"));
        assert!(hash("ab").ends_with(":2"));
    }
}
