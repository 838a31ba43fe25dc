//! Ids and nonces, settled by Redis; and what was reserved and didn't end.

use super::connection::Call;
use super::ids::Ids;
use super::keys::{GROUPS, group_of, padded};
use super::topics::{Said, Shared, around, flag, member, operation_of, said, sends_of, unread};
use crate::bus::ids::BELOW_MS;
use crate::bus::{
    Draft, Error, Extent, Operation, OperationKind, Overdue, Pending, Reservations, Reserve,
    Reserved, Revise, Revised, Settled, Ticket,
};
use crate::model::{Id, TopicKey, id_before, id_time_ms};
use async_trait::async_trait;
use futures::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// So often an id is offered, each above what the one before found.
const OFFERS_MAX: usize = 16;
/// Ids so far ahead of Redis's clock are waited for.
const WAIT_MAX_MS: u64 = 500;
/// Ids may be so far ahead of the clock.
const AHEAD_MS: i64 = 4_000;
/// Groups that are asked at once for what is overdue.
const AT_ONCE: usize = 16;

/// Ids and nonces over Redis.
pub struct RedisReservations {
    shared: Arc<Shared>,
    ids: Ids,
    /// The group with which the next sweep begins.
    next_group: AtomicUsize,
}

/// What reserving answers: a word, the epoch, and what belongs to the word.
type Answer = Vec<String>;

/// The answer to an offer.
enum Offered {
    Taken(Ticket),
    /// Redis says something else.
    Other(Answer),
}

impl RedisReservations {
    pub(super) fn new(shared: Arc<Shared>, ids: Ids) -> Self {
        Self {
            shared,
            ids,
            next_group: AtomicUsize::new(0),
        }
    }

    /// Offers ids until one is taken. `call` makes the script's call of an id.
    async fn offer<'a>(
        &self,
        channel: Id,
        mut above: Id,
        call: impl Fn(Id) -> Call<'a> + Send,
    ) -> Result<Offered, Error> {
        if id_time_ms(above) > self.ids.now() + AHEAD_MS {
            return Err(Error::Overloaded);
        }
        for _ in 0..OFFERS_MAX {
            let id = self.ids.mint(above)?;
            let answer: Answer = self.shared.servers.call(channel, call(id)).await?;
            let [word, epoch, rest @ ..] = answer.as_slice() else {
                return Err(unread());
            };
            let epoch = epoch.parse().map_err(|_| unread())?;
            let number = || {
                rest.first()
                    .and_then(|n| n.parse::<i64>().ok())
                    .ok_or_else(unread)
            };
            match word.as_str() {
                "new" => {
                    self.shared.hub.hear(channel, epoch);
                    let began = number()?;
                    return Ok(Offered::Taken(Ticket { id, epoch, began }));
                }
                "low" => above = number()?,
                "early" => above = id_before(number()? + 1),
                "ahead" => {
                    let wait = u64::try_from(number()?).unwrap_or_default();
                    if wait > WAIT_MAX_MS {
                        return Err(Error::Overloaded);
                    }
                    sleep(Duration::from_millis(wait)).await;
                }
                _ => {
                    self.shared.hub.hear(channel, epoch);
                    return Ok(Offered::Other(answer));
                }
            }
        }
        Err(Error::Overloaded)
    }

    fn call_reserve(&self, reserve: &Reserve, id: Id) -> Call<'_> {
        let operation = Operation {
            kind: OperationKind::Create,
            channel: reserve.channel,
            message: id,
            revision: 0,
            author: reserve.author,
            nonce: reserve.nonce.clone(),
            epoch: 0,
            began: 0,
        };
        let shared = &self.shared;
        let mut call = shared.call(&shared.scripts.reserve, TopicKey::channel(reserve.channel));
        call.keys
            .extend(shared.keys.pending(group_of(reserve.channel)));
        call.keys.extend(shared.nonce_of(&operation));
        let looked = reserve.looked.unwrap_or(NOTHING);
        let heard = if reserve.repeat { 0 } else { reserve.heard };
        let [before, after] = around(&operation);
        let texts = [
            padded(id),
            id_time_ms(id).to_string(),
            heard.to_string(),
            looked.epoch.to_string(),
            looked.nonce.map(padded).unwrap_or_default(),
            padded(looked.newest),
            reserve.content_hash.to_string(),
            before,
            after,
        ];
        call.args.extend(texts.map(String::into_bytes));
        call
    }
}

/// What the store said when it wasn't asked.
const NOTHING: crate::bus::Looked = crate::bus::Looked {
    epoch: 0,
    nonce: None,
    newest: 0,
};

#[async_trait]
impl Reservations for RedisReservations {
    fn heard(&self, channel: Id) -> i64 {
        self.shared.hub.heard(channel)
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, Error> {
        let call = |id| self.call_reserve(&reserve, id);
        let answer = match self.offer(reserve.channel, reserve.above, call).await? {
            Offered::Taken(ticket) => return Ok(Reserved::New(ticket)),
            Offered::Other(answer) => answer,
        };
        let number = |text: &String| text.parse::<i64>().map_err(|_| unread());
        match answer.as_slice() {
            [word, epoch] if word == "look" => Ok(Reserved::Look(number(epoch)?)),
            [word, epoch, id, hash, pending] if word == "existing" => {
                let (id, epoch) = (number(id)?, number(epoch)?);
                // What the store named is told by its row alone.
                let content_hash = hash.parse().unwrap_or(reserve.content_hash);
                Ok(Reserved::Existing {
                    id,
                    content_hash,
                    ticket: Some(Ticket {
                        id,
                        epoch,
                        began: 0,
                    }),
                    published: pending == "0",
                })
            }
            _ => Err(unread()),
        }
    }

    async fn revise(&self, revise: Revise) -> Result<Revised, Error> {
        let shared = &self.shared;
        let looked = revise.looked.unwrap_or(NOTHING);
        let call = |id| {
            let topic = TopicKey::channel(revise.channel);
            let mut call = shared.call(&shared.scripts.revise, topic);
            call.keys
                .extend(shared.keys.pending(group_of(revise.channel)));
            call.keys
                .push(shared.keys.deleted(revise.channel, revise.message));
            let operation = Operation {
                kind: revise.kind,
                channel: revise.channel,
                message: revise.message,
                revision: id,
                author: 0,
                nonce: String::new(),
                epoch: 0,
                began: 0,
            };
            let texts = [
                padded(id),
                id_time_ms(id).to_string(),
                looked.epoch.to_string(),
                padded(looked.newest),
                member(&operation),
            ];
            call.args.extend(texts.map(String::into_bytes));
            call.args.push(flag(revise.kind == OperationKind::Delete));
            call
        };
        let above = revise.above | BELOW_MS;
        match self.offer(revise.channel, above, call).await? {
            Offered::Taken(ticket) => Ok(Revised::New(ticket)),
            Offered::Other(answer) => match answer.as_slice() {
                [word, epoch] if word == "look" => {
                    Ok(Revised::Look(epoch.parse().map_err(|_| unread())?))
                }
                _ => Err(unread()),
            },
        }
    }

    async fn settled(&self, channel: Id) -> Result<Extent, Error> {
        let shared = &self.shared;
        let mut call = shared.call(&shared.scripts.settled, TopicKey::channel(channel));
        call.keys.extend(shared.keys.pending(group_of(channel)));
        call.args.push(sends_of(channel).into_bytes());
        let answer: Answer = shared.servers.call(channel, call).await?;
        let number = |text: &String| text.parse::<i64>().map_err(|_| unread());
        match answer.as_slice() {
            [] => Ok(Extent::Unknown),
            [_, _, lowest] if !lowest.is_empty() => Ok(Extent::Upto(number(lowest)? - 1)),
            [_, highest, _] if !highest.is_empty() => Ok(Extent::Upto(number(highest)?)),
            [epoch, _, _] => Ok(Extent::Idle(number(epoch)?)),
            _ => Err(unread()),
        }
    }

    async fn release(&self, operation: &Operation) {
        // Whoever began it may write it yet.
        if operation.began == 0 {
            return;
        }
        if let Err(error) = self.end(operation, false, Some(operation.began)).await {
            // The sweeper ends it.
            tracing::debug!(id = operation.message, %error, "a reservation isn't given back");
        }
    }

    fn mint(&self, above: Id) -> Result<Id, Error> {
        self.ids.mint(above)
    }

    fn ahead_ms(&self) -> i64 {
        self.ids.ahead_ms()
    }
}

impl RedisReservations {
    /// Ends an operation of which nothing was written; if it `began` then.
    async fn end(
        &self,
        operation: &Operation,
        is_marked: bool,
        began: Option<i64>,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        let Operation {
            channel, message, ..
        } = operation;
        let mut keys = shared.keys.pending(group_of(*channel)).to_vec();
        // Without a nonce its key names none that anybody has.
        let nonce = shared.nonce_of(operation);
        keys.push(nonce.unwrap_or_else(|| shared.keys.nonce(*channel, operation.author, "")));
        keys.push(shared.keys.deleted(*channel, *message));
        let script = &shared.scripts.end;
        let mut args = [member(operation), padded(*message)]
            .map(String::into_bytes)
            .to_vec();
        args.push(flag(is_marked));
        args.push(began.map_or_else(Vec::new, |began| began.to_string().into_bytes()));
        let call = Call { script, keys, args };
        shared.servers.call::<String>(*channel, call).await?;
        Ok(())
    }

    async fn overdue_of(&self, group: u8, limit: usize) -> Result<Vec<(Operation, i64)>, Error> {
        let mut args = self.shared.servers.head();
        args[1] = limit.to_string().into_bytes();
        let call = Call {
            script: &self.shared.scripts.overdue,
            keys: self.shared.keys.pending(group).to_vec(),
            args,
        };
        let lent: Vec<(String, i64)> = self.shared.servers.call_group(group, call).await?;
        let read = lent.into_iter().filter_map(|(member, age)| {
            let operation = operation_of(&member);
            if operation.is_none() {
                tracing::error!(group, "something pending isn't understood");
            }
            Some((operation?, age))
        });
        Ok(read.collect())
    }
}

#[async_trait]
impl Pending for RedisReservations {
    fn is_kept(&self) -> bool {
        true
    }

    async fn overdue(&self, limit: usize) -> Result<Vec<Overdue>, Error> {
        let first = self.next_group.load(Ordering::Relaxed);
        let mut found: Vec<(Operation, i64)> = Vec::new();
        let mut failed = None;
        for from in (0..GROUPS).step_by(AT_ONCE) {
            let room = (limit - found.len()).div_ceil(AT_ONCE);
            let groups = (from..from + AT_ONCE).map(|group| ((first + group) % GROUPS) as u8);
            let asked = groups.map(|group| self.overdue_of(group, room));
            for answer in futures::future::join_all(asked).await {
                match answer {
                    Ok(lent) => found.extend(lent),
                    Err(error) => failed = Some(error),
                }
            }
            // A few more than asked for may be lent: they come again.
            if found.len() >= limit {
                self.next_group
                    .store((first + from + AT_ONCE) % GROUPS, Ordering::Relaxed);
                break;
            }
        }
        if let (true, Some(error)) = (found.is_empty(), failed) {
            return Err(error);
        }
        found.sort_by_key(|(_, age)| -age);
        found.truncate(limit);
        let asked = futures::stream::iter(found).map(|(operation, age)| async move {
            let at = self
                .shared
                .position(TopicKey::channel(operation.channel))
                .await?;
            let age = Duration::from_millis(age.max(0).unsigned_abs());
            let epoch = at.epoch;
            Ok(Overdue {
                operation: Operation { epoch, ..operation },
                age,
            })
        });
        let overdue: Vec<Result<_, Error>> = asked.buffered(AT_ONCE).collect().await;
        overdue.into_iter().collect()
    }

    async fn settle(
        &self,
        overdue: &Overdue,
        draft: Draft,
        named: Option<Id>,
    ) -> Result<Settled, Error> {
        let operation = overdue.operation.clone();
        let draft = Draft {
            operation: Some(operation.clone()),
            ..draft
        };
        let mut call = self.shared.call_event(&self.shared.scripts.settle, &draft);
        let [before, after] = around(&operation);
        let named = named.map(padded).unwrap_or_default();
        call.args
            .extend([named, before, after].map(String::into_bytes));
        let answer: Answer = self.shared.servers.call(draft.topic.id, call).await?;
        let [word, epoch, seq, rest @ ..] = answer.as_slice() else {
            return Err(unread());
        };
        let head: Said = (word.clone(), epoch.clone(), seq.clone());
        let (word, position) = said(&head)?;
        match word {
            "published" => {
                self.shared.tell(&draft, position).await;
                Ok(Settled::Published(position))
            }
            "ended" => {
                self.shared.hub.tell(draft.topic, position);
                Ok(Settled::Published(position))
            }
            "deleted" => Ok(Settled::Deleted),
            "forgotten" => Ok(Settled::Forgotten),
            "taken" => {
                let other = rest.first().and_then(|id| id.parse().ok());
                other.map(Settled::Taken).ok_or_else(unread)
            }
            _ => Err(unread()),
        }
    }

    async fn give_up(&self, overdue: &Overdue) -> Result<(), Error> {
        let is_send = overdue.operation.kind == OperationKind::Create;
        self.end(&overdue.operation, is_send, None).await
    }
}
