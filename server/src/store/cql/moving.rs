//! Messages that move: read channel by channel, and written as if they had been sent, edited and
//! deleted here, each write at its own time.

use super::rows::{self, New};
use super::widths::Widths;
use super::{Cql, stamp};
use crate::model::{Id, Message, id_time_ms};
use crate::store::Error;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use std::collections::HashMap;
use std::time::Duration;

/// Channels whose first messages are read at once.
const CHANNELS: usize = 16;

/// Messages read of a channel at once, and as many deleted ones.
const READ: usize = 200;

/// Requests at once.
const AT_ONCE: usize = 32;

/// Rows of a request, and about their bytes.
const ROWS: usize = 64;
const BYTES: usize = 256 * 1_024;

/// Nonces of messages that are older needn't be known: a day, and an hour for clocks that differ.
const NONCES_MS: i64 = 25 * 3_600_000;

/// A request that failed is made again so often, after a wait that doubles.
const TRIES: u32 = 6;
const WAIT: Duration = Duration::from_millis(250);

/// Runs it until it works, some times. What is asked here is asked once or twice to the same end.
async fn trying<T, F: Future<Output = Result<T, Error>>>(
    mut work: impl FnMut() -> F,
) -> Result<T, Error> {
    let mut wait = WAIT;
    for _ in 1..TRIES {
        match work().await {
            Err(Error::Unavailable(_) | Error::Overloaded) => tokio::time::sleep(wait).await,
            done => return done,
        }
        wait *= 2;
    }
    work().await
}

/// Messages of a channel, and the id that the next ones begin at; None: there are no more.
type Stretch = (Vec<Message>, Option<Id>);

impl Cql {
    /// All messages of channels, in the order of these and of the ids.
    pub(in crate::store) fn all<'a>(
        &'a self,
        channels: BoxStream<'a, Result<Id, Error>>,
    ) -> BoxStream<'a, Result<Message, Error>> {
        let first = channels.map_ok(move |channel| async move {
            let first = self.from(channel, 0).await?;
            Ok((channel, first))
        });
        let channels = first.try_buffered(CHANNELS);
        let messages = channels.map_ok(move |(channel, first)| {
            let rest = stream::try_unfold(Some(first), move |stretch| async move {
                let Some((messages, next)) = stretch else {
                    return Ok::<_, Error>(None);
                };
                let next = match next {
                    Some(next) => Some(self.from(channel, next).await?),
                    None => None,
                };
                Ok(Some((messages, next)))
            });
            rest.map_ok(|messages| stream::iter(messages).map(Ok))
                .try_flatten()
        });
        messages.try_flatten().boxed()
    }

    async fn from(&self, channel: Id, from: Id) -> Result<Stretch, Error> {
        let walk = trying(|| self.walk((channel, true, from), READ, READ)).await?;
        let last = walk.rows.last().filter(|_| walk.more);
        let next = last.map(|message| message.id.saturating_add(1));
        Ok((walk.rows, next))
    }

    /// Refuses channels that have messages here, before any of them moves.
    pub(in crate::store) async fn refuse_known(&self, channels: Vec<Id>) -> Result<(), Error> {
        let known = channels.into_iter().map(|channel| async move {
            let buckets = trying(|| self.buckets(channel, true, 0, 1)).await?;
            match buckets.is_empty() {
                true => Ok(()),
                false => Err(Error::Unusable(format!(
                    "the CQL keyspace has messages of the channel {channel} from before; name an \
                     empty keyspace"
                ))),
            }
        });
        let known = stream::iter(known.collect::<Vec<_>>());
        known.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Writes messages that weren't sent here, or writes them again. Flags are set apart.
    pub(in crate::store) async fn import(&self, messages: &[Message]) -> Result<(), Error> {
        let widths = self.widths_of(messages).await?;
        self.note(messages, &widths).await?;
        let mut partitions: HashMap<(Id, i32), Vec<&Message>> = HashMap::new();
        for message in messages {
            let bucket = widths[&message.channel_id].bucket_of(message.id);
            let partition = (message.channel_id, bucket);
            partitions.entry(partition).or_default().push(message);
        }
        let chunks = partitions
            .iter()
            .flat_map(|((_, bucket), all)| chunks(all).into_iter().map(|chunk| (*bucket, chunk)));
        let writes = chunks.map(|(bucket, chunk)| self.write(bucket, chunk));
        let writes: Vec<_> = writes.collect();
        let writes = stream::iter(writes).buffer_unordered(AT_ONCE);
        writes.try_collect().await
    }

    /// Notes that Postgres has marks of a message that moved.
    pub(in crate::store) async fn mark_moved(&self, channel: Id, id: Id) -> Result<(), Error> {
        trying(|| self.set_marked(channel, id)).await
    }

    /// The widths of the buckets of all their channels.
    async fn widths_of(&self, messages: &[Message]) -> Result<HashMap<Id, Widths>, Error> {
        let mut highest: HashMap<Id, Id> = HashMap::new();
        for message in messages {
            let highest = highest.entry(message.channel_id).or_default();
            *highest = message.id.max(*highest);
        }
        let widths = highest.into_iter().map(|(channel, highest)| async move {
            let widths = trying(|| self.widths(channel, highest)).await?;
            Ok((channel, widths))
        });
        let widths = stream::iter(widths.collect::<Vec<_>>());
        widths.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Notes buckets, authors, and the nonces of the last day.
    async fn note(&self, messages: &[Message], widths: &HashMap<Id, Widths>) -> Result<(), Error> {
        let (link, keys) = (self.link(), self.keys());
        let mut buckets = HashMap::new();
        let mut authors = HashMap::new();
        for message in messages {
            let channel = message.channel_id;
            let bucket = widths[&channel].bucket_of(message.id);
            buckets.entry((channel, bucket)).or_insert(message.id);
            authors
                .entry((message.author_id, channel, bucket))
                .or_insert(message.id);
        }
        let buckets = buckets
            .into_iter()
            .map(|((channel, bucket), id)| async move {
                let hours = widths[&channel].hours_at(id);
                let values = (keys.key(channel), bucket, hours, stamp(id));
                trying(|| link.write(&link.statements.add_bucket, values)).await
            });
        let buckets = stream::iter(buckets.collect::<Vec<_>>());
        let () = buckets.buffer_unordered(AT_ONCE).try_collect().await?;
        let authors = authors
            .into_iter()
            .map(|((author, channel, bucket), id)| async move {
                trying(|| self.note_author(author, (channel, bucket), id)).await
            });
        let authors = stream::iter(authors.collect::<Vec<_>>());
        let () = authors.buffer_unordered(AT_ONCE).try_collect().await?;
        let oldest = self.now_us() / 1_000 - NONCES_MS;
        let named =
            |message: &&Message| !message.nonce.is_empty() && id_time_ms(message.id) > oldest;
        let names = messages.iter().filter(named).map(|message| async move {
            let Message {
                channel_id,
                author_id,
                nonce,
                id,
                ..
            } = message;
            trying(|| self.name_at(*channel_id, *author_id, nonce, *id, stamp(*id))).await
        });
        let names = stream::iter(names.collect::<Vec<_>>());
        names.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Writes messages of one partition: as they were sent, then what edits and deletes did.
    async fn write(&self, bucket: i32, messages: &[&Message]) -> Result<(), Error> {
        let (statements, keys) = (&self.link().statements, self.keys());
        let new = messages.iter().map(|new| rows::new(new, bucket, keys));
        let new: Vec<New<'_>> = new.collect();
        self.batch(&statements.insert, &new).await?;
        // Above the time of the insertion, as whoever changes it next will be above this.
        let time = |message: &Message| stamp(message.revision).max(stamp(message.id) + 1);
        let edited = |message: &&&Message| match message.deleted {
            true => message.edited_at != 0,
            false => message.revision != 0,
        };
        let edits = messages.iter().filter(edited).map(|message| {
            (
                time(message),
                message.content.as_str(),
                message.mentions.as_slice(),
                i32::from(message.groups.bits()),
                message.revision,
                message.edited_at,
                keys.key(message.channel_id),
                bucket,
                message.id,
            )
        });
        let edits: Vec<_> = edits.collect();
        self.batch(&statements.edit, &edits).await?;
        let deletes = messages.iter().filter(|message| message.deleted);
        let deletes = deletes.map(|message| {
            let key = keys.key(message.channel_id);
            (time(message) + 1, message.revision, key, bucket, message.id)
        });
        let deletes: Vec<_> = deletes.collect();
        self.batch(&statements.delete, &deletes).await
    }

    async fn batch(
        &self,
        statement: &PreparedStatement,
        values: &[impl SerializeRow],
    ) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        for _ in values {
            batch.append_statement(statement.clone());
        }
        trying(|| self.link().batch(&batch, values)).await
    }
}

/// Cuts messages into those of one request each.
fn chunks<'a>(messages: &'a [&'a Message]) -> Vec<&'a [&'a Message]> {
    let mut chunks = Vec::new();
    let mut rest = messages;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(ROWS).take_while(|message| {
            bytes += rows::size(message);
            bytes <= BYTES
        });
        let (chunk, left) = rest.split_at(fits.count().max(1));
        chunks.push(chunk);
        rest = left;
    }
    chunks
}
