//! New messages of a channel, many at once: bucket rows where they are needed, then the rows of
//! nonces, then the messages, in order, a partition's in one request.

use super::rows::{self, New};
use super::session::typed;
use super::widths::Widths;
use super::writer::Insert;
use super::{Cql, Keys};
use crate::model::{Id, Message};
use crate::store::{Error, Inserted};
use futures::{StreamExt as _, TryStreamExt as _};
use scylla::statement::batch::{Batch, BatchType};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

/// Rows of a request, and about their bytes.
const ROWS: usize = 64;
const BYTES: usize = 256 * 1_024;

/// Requests of a channel at once, where their order doesn't matter.
const AT_ONCE: usize = 32;

/// What becomes of a message.
enum Fate {
    /// It is, or will be, written.
    New,
    /// Another one has its nonce.
    Repeat(Message),
    /// One before it in the same run has its nonce.
    RepeatOf(usize),
    Refused(Error),
}

/// Messages of one channel on their way.
struct Run<'a> {
    cql: &'a Cql,
    channel: Id,
    inserts: &'a [Insert],
    fates: Vec<Fate>,
    widths: Widths,
}

/// Inserts messages of a channel, in their order, and tells their callers.
pub(super) async fn run(cql: &Cql, channel: Id, inserts: Vec<Insert>) {
    let highest = inserts.iter().map(|insert| insert.message.id).max();
    let widths = match cql.widths(channel, highest.unwrap_or_default()).await {
        Ok(widths) => widths,
        Err(error) => {
            for insert in inserts {
                let _ = insert.caller.send(Err(again(&error)));
            }
            return;
        }
    };
    let mut run = Run {
        cql,
        channel,
        inserts: &inserts,
        fates: inserts.iter().map(|_| Fate::New).collect(),
        widths,
    };
    run.note().await;
    if let Err(error) = run.look().await {
        run.refuse(&error, |insert| !insert.reserved);
    }
    if let Err(error) = run.raise().await {
        run.refuse(&error, |_| true);
    }
    run.name().await;
    run.write().await;
    run.tell_ties().await;
    run.count();
    let ends: Vec<_> = (0..inserts.len()).map(|at| run.end(at)).collect();
    for (insert, end) in inserts.into_iter().zip(ends) {
        // Nobody may be waiting.
        let _ = insert.caller.send(end);
    }
}

/// The same error for another caller.
fn again(error: &Error) -> Error {
    match error {
        Error::Conflict(what) => Error::Conflict(what),
        Error::NotFound(what) => Error::NotFound(what),
        Error::LimitReached(what, most) => Error::LimitReached(what, *most),
        Error::Overloaded => Error::Overloaded,
        Error::Unavailable(why) => Error::Unavailable(why.clone()),
        Error::Unusable(why) => Error::Unusable(why.clone()),
    }
}

impl Run<'_> {
    /// The messages that are to be written, or are, with their places.
    fn fresh(&self) -> impl Iterator<Item = (usize, &Insert)> {
        let all = self.inserts.iter().enumerate();
        all.filter(|(at, _)| matches!(self.fates[*at], Fate::New))
    }

    /// Refuses those of the new ones that are meant.
    fn refuse(&mut self, error: &Error, meant: impl Fn(&Insert) -> bool) {
        for (fate, insert) in self.fates.iter_mut().zip(self.inserts) {
            if matches!(fate, Fate::New) && meant(insert) {
                *fate = Fate::Refused(again(error));
            }
        }
    }

    fn end(&self, at: usize) -> Result<Inserted, Error> {
        match &self.fates[at] {
            Fate::New => Ok(Inserted::New),
            Fate::Repeat(message) => Ok(Inserted::Repeat(message.clone())),
            Fate::RepeatOf(first) => {
                let first = self.end(*first).map(|_| &self.inserts[*first].message)?;
                Ok(Inserted::Repeat(first.clone()))
            }
            Fate::Refused(error) => Err(again(error)),
        }
    }

    /// Notes the buckets of the channel and of the authors.
    async fn note(&mut self) {
        let widths = self.widths.clone();
        let mut seen = HashSet::new();
        for insert in self.inserts {
            let id = insert.message.id;
            let bucket = widths.bucket_of(id);
            if !seen.insert(bucket) {
                continue;
            }
            if let Err(error) = self.cql.note_bucket(self.channel, id, &widths).await {
                self.refuse(&error, |insert| {
                    widths.bucket_of(insert.message.id) == bucket
                });
            }
        }
        let mut authors = HashMap::new();
        for (_, Insert { message, .. }) in self.fresh() {
            authors
                .entry((message.author_id, widths.bucket_of(message.id)))
                .or_insert(message.id);
        }
        let (cql, channel) = (self.cql, self.channel);
        let mut notes = Vec::new();
        for ((author, bucket), id) in authors {
            notes.push(async move {
                let noted = cql.note_author(author, (channel, bucket), id).await;
                noted.map_err(|error| (author, bucket, error))
            });
        }
        let noted: Vec<_> = futures::stream::iter(notes)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (author, bucket, error) in noted.into_iter().filter_map(Result::err) {
            self.refuse(&error, |Insert { message, .. }| {
                message.author_id == author && widths.bucket_of(message.id) == bucket
            });
        }
    }

    /// Finds out which of those that aren't reserved repeat a nonce or an id.
    async fn look(&mut self) -> Result<(), Error> {
        let unsure = || self.fresh().filter(|(_, insert)| !insert.reserved);
        if unsure().next().is_none() {
            return Ok(());
        }
        let nonces: HashSet<(Id, &str)> = unsure()
            .map(|(_, insert)| (insert.message.author_id, insert.message.nonce.as_str()))
            .filter(|(_, nonce)| !nonce.is_empty())
            .collect();
        let (cql, channel) = (self.cql, self.channel);
        let mut earlier = Vec::new();
        for (author, nonce) in nonces {
            earlier.push(async move {
                let earlier = cql.by_nonce(channel, author, nonce).await?;
                Ok::<_, Error>(earlier.map(|earlier| ((author, nonce), earlier)))
            });
        }
        let earlier = futures::stream::iter(earlier).buffer_unordered(AT_ONCE);
        let earlier: Vec<_> = earlier.try_collect().await?;
        let earlier: HashMap<_, _> = earlier.into_iter().flatten().collect();
        let ids: Vec<Id> = unsure().map(|(_, insert)| insert.message.id).collect();
        let mut taken = self.cql.among(self.channel, &ids, &self.widths).await?;
        let mut named: HashMap<(Id, &str), usize> = HashMap::new();
        let mut fates = Vec::new();
        for (at, Insert { message, .. }) in unsure() {
            let key = (message.author_id, message.nonce.as_str());
            let has_nonce = !message.nonce.is_empty();
            if let Some(earlier) = earlier.get(&key) {
                fates.push((at, Fate::Repeat(earlier.clone())));
            } else if let Some(first) = named.get(&key).filter(|_| has_nonce) {
                fates.push((at, Fate::RepeatOf(*first)));
            } else if !taken.insert(message.id) {
                fates.push((at, Fate::Refused(Error::Conflict("message id"))));
            } else {
                named.insert(key, at);
            }
        }
        for (at, fate) in fates {
            self.fates[at] = fate;
        }
        Ok(())
    }

    /// Has the highest id remembered.
    async fn raise(&self) -> Result<(), Error> {
        let highest = self.fresh().map(|(_, insert)| insert.message.id).max();
        let highest = highest.unwrap_or_default();
        let inner = &self.cql.inner;
        let told = || inner.raised.load(Ordering::Relaxed) >= highest;
        if told() {
            return Ok(());
        }
        let _raising = inner.raising.lock().await;
        if !told() {
            let to = self.cql.ties()?.raise(highest).await?;
            inner.raised.fetch_max(to, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the rows of nonces. A message whose nonce isn't stored isn't written.
    async fn name(&mut self) {
        let (cql, channel) = (self.cql, self.channel);
        let mut names = Vec::new();
        for (at, Insert { message, .. }) in self.fresh() {
            let Message {
                author_id,
                nonce,
                id,
                ..
            } = message;
            if !nonce.is_empty() {
                names.push(async move {
                    let named = cql.name_at(channel, *author_id, nonce, *id, super::stamp(*id));
                    named.await.map_err(|error| (at, error))
                });
            }
        }
        let names = futures::stream::iter(names).buffer_unordered(AT_ONCE);
        let named: Vec<_> = names.collect().await;
        for (at, error) in named.into_iter().filter_map(Result::err) {
            self.fates[at] = Fate::Refused(error);
        }
    }

    /// Writes the messages, in order: the next request only after the one before.
    async fn write(&mut self) {
        let mut places: Vec<usize> = self.fresh().map(|(at, _)| at).collect();
        while !places.is_empty() {
            let rest = places.split_off(self.fitting(&places));
            let messages = places.iter().map(|at| &self.inserts[*at].message);
            let written = write(self.cql, &self.widths, messages);
            if let Err(error) = written.await {
                for at in places {
                    self.fates[at] = Fate::Refused(again(&error));
                }
            }
            places = rest;
        }
    }

    /// How many of the first of these, one at least, go into one request.
    fn fitting(&self, places: &[usize]) -> usize {
        let message = |at: &usize| &self.inserts[*at].message;
        let bucket_of = |id| self.widths.bucket_of(id);
        let bucket = bucket_of(message(&places[0]).id);
        let mut bytes = 0;
        let fits = places.iter().take(ROWS).take_while(|at| {
            bytes += rows::size(message(at));
            bytes <= BYTES && bucket_of(message(at).id) == bucket
        });
        fits.count().max(1)
    }

    /// Counts what was written, for the widths of buckets to come.
    fn count(&self) {
        let new = self.fresh().map(|(_, insert)| insert.message.id);
        let (count, newest) = new.fold((0, 0), |(count, newest), id| (count + 1, id.max(newest)));
        self.cql.wrote(self.channel, count, newest, &self.widths);
    }

    /// Lets the rest of the store do what belongs to the new ones.
    async fn tell_ties(&mut self) {
        let new: Vec<Message> = self
            .fresh()
            .map(|(_, insert)| insert.message.clone())
            .collect();
        if new.is_empty() {
            return;
        }
        let told = match self.cql.ties() {
            Ok(ties) => ties.inserted(&new).await,
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            // They are stored; whoever repeats finds that, and has the rest done again.
            let unknown = Error::Unavailable(error.to_string());
            self.refuse(&unknown, |_| true);
        }
    }
}

/// Writes messages of one partition in one request.
async fn write<'a>(
    cql: &Cql,
    widths: &Widths,
    messages: impl Iterator<Item = &'a Message>,
) -> Result<(), Error> {
    let (link, keys): (_, &Keys) = (cql.link(), cql.keys());
    let new = |message: &'a Message| rows::new(message, widths.bucket_of(message.id), keys);
    let values: Vec<New<'_>> = messages.map(new).collect();
    let insert = &link.statements.insert;
    if let [one] = values.as_slice() {
        return link.write(insert, one).await;
    }
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_is_idempotent(true);
    for _ in &values {
        batch.append_statement(insert.clone());
    }
    link.batch(&batch, &values).await
}

impl Cql {
    /// Which of these ids of a channel are there.
    async fn among(&self, channel: Id, ids: &[Id], widths: &Widths) -> Result<HashSet<Id>, Error> {
        let mut buckets: HashMap<i32, Vec<Id>> = HashMap::new();
        for id in ids {
            buckets.entry(widths.bucket_of(*id)).or_default().push(*id);
        }
        let link = self.link();
        let mut there = HashSet::new();
        // One, but for a run over the boundary of two.
        for (bucket, ids) in buckets {
            let values = (self.keys().key(channel), bucket, ids);
            let rows = link.read(&link.statements.among, values).await?;
            let found = typed::<(Id, Option<Id>)>(&rows)?.into_iter();
            let found = found.filter(|(_, author)| author.is_some());
            there.extend(found.map(|(id, _)| id));
        }
        Ok(there)
    }
}
