//! What a watcher's program has, and writes down of what it gets.

use crate::history::{Record, Recorder, Seen, Source, hash};
use chirm_client::{Event, Events};
use chirm_proto::v1;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The messages that a watcher has, by channel, and in which of its runs each came, as a program
/// keeps them: the replay's own size bounds them.
#[derive(Default)]
pub(super) struct Had {
    count: AtomicU64,
    runs: Mutex<HashMap<(i64, i64), usize>>,
}

impl Had {
    /// In which run the message came first.
    pub(super) fn insert(&self, channel: i64, id: i64, run: usize) -> usize {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        *runs.entry((channel, id)).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            run
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Writes down all that a watcher is told.
pub(super) struct Notes {
    pub(super) name: &'static str,
    pub(super) recorder: Arc<Recorder>,
    pub(super) had: Arc<Had>,
    /// The number of its run, from 0.
    pub(super) run: usize,
}

impl Notes {
    /// Takes all that the Rust client gives.
    pub(super) async fn take(self, mut events: Events) {
        while let Some(event) = events.next().await {
            match event {
                Event::Message {
                    message, source, ..
                } => self.message(&message, source_of(source)),
                Event::Ready(_) => self.ready(),
                Event::Disconnected { reason } | Event::Closed(reason) => {
                    self.lost(reason.to_string());
                }
                _ => {}
            }
        }
    }

    pub(super) fn message(&self, message: &v1::Message, source: Source) {
        let first = self.had.insert(message.channel_id, message.id, self.run);
        // What an earlier run had beyond its positions comes again, and is the program's to
        // drop; within a run the client's.
        if first < self.run {
            return;
        }
        self.recorder.record(Record::Recv {
            connection: self.name.to_owned(),
            message: seen(message),
            source,
        });
    }

    /// A connection is there, and has dealt with every topic.
    pub(super) fn ready(&self) {
        let connection = self.name.to_owned();
        self.recorder.record(Record::Connect { connection });
    }

    /// The connection is lost, or the client ended.
    pub(super) fn lost(&self, reason: String) {
        let connection = self.name.to_owned();
        self.recorder.record(Record::Close { connection, reason });
    }
}

fn source_of(source: chirm_client::Source) -> Source {
    match source {
        chirm_client::Source::Live => Source::Live,
        chirm_client::Source::Replay => Source::Replay,
        chirm_client::Source::Page => Source::Page,
    }
}

/// What a history has of a message.
pub(super) fn seen(message: &v1::Message) -> Seen {
    Seen {
        id: message.id,
        channel: message.channel_id,
        author: message.author_id,
        nonce: message.nonce.clone(),
        hash: hash(&message.content),
        reply_to: message.reply_to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history;

    #[test]
    fn what_a_program_has_is_of_the_run_in_which_it_came_first() {
        let had = Had::default();
        assert_eq!((had.insert(1, 20, 0), had.insert(1, 5, 0)), (0, 0));
        assert_eq!((had.insert(1, 5, 1), had.insert(2, 5, 1)), (0, 1));
        assert_eq!(had.count(), 3);
    }

    #[test]
    fn a_message_is_written_down_unless_an_earlier_run_had_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let recorder = Arc::new(Recorder::create(&path).unwrap());
        let had = Arc::new(Had::default());
        had.insert(0, 4, 0);
        let notes = Notes {
            name: "w",
            recorder: recorder.clone(),
            had,
            run: 1,
        };
        for id in [4, 5, 5] {
            let message = v1::Message {
                id,
                ..Default::default()
            };
            notes.message(&message, Source::Replay);
        }
        recorder.flush().unwrap();
        let lines = history::read(&path).unwrap();
        let records = lines.map(|line| line.unwrap().record);
        let ids = records.map(|record| match record {
            Record::Recv {
                message, source, ..
            } => (message.id, source),
            other => panic!("a message was told, not {other:?}"),
        });
        // The client's own duplicates stay for the checker to see.
        let replayed = Source::Replay;
        assert_eq!(ids.collect::<Vec<_>>(), [(5, replayed), (5, replayed)]);
    }
}
