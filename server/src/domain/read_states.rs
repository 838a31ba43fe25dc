//! What users have read: acknowledgements, what is unread, mutes.
//!
//! An acknowledgement is written at once. One's own message counts as read from the moment it is
//! sent, but that is written some seconds later and for all who sent meanwhile together
//! (`OwnSends`), so that a send is one write.

use super::permissions::Action;
use super::{Caller, Domain, Error, pages};
use crate::model::{Channel, Id, MUTED_FOR_EVER, ReadState, Role, UnixMs};
use crate::mutation;
use crate::store::ReadOf;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Read states of a page, where the caller doesn't say.
const PAGE: u32 = 100;
/// Channels that are asked of the store at once.
const BATCH: usize = 100;
/// Channels that a page looks at; one that finds nothing in them is empty and not the last.
const LOOKED_AT_MAX: usize = 1_000;
/// How long it may take until what one sent is written as read; a crash forgets so much of it.
const OWN_SENDS_EVERY: Duration = Duration::from_secs(5);
/// Users and channels whose own sends wait to be written; beyond them it is forgotten, and an own
/// message may show as unread until the user reads on.
const OWN_SENDS_MAX: usize = 100_000;
/// So many of them are written at once, between others' writes.
const OWN_SENDS_BATCH: usize = 64;

/// A page of read states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadPage {
    /// By channel id; perhaps none.
    pub states: Vec<ReadState>,
    /// The channel after which the next page goes on; None on the last.
    pub next: Option<Id>,
}

/// The newest message of a user in a channel, until it is written as read.
#[derive(Default)]
pub(super) struct OwnSends(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// By user and channel.
    noted: HashMap<(Id, Id), Id>,
    /// Those on their way to the store.
    written: HashMap<(Id, Id), Id>,
    /// Somebody will take them there.
    scheduled: bool,
}

impl OwnSends {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True: nobody will write it unless the caller sees to it.
    fn note(&self, key: (Id, Id), message: Id) -> bool {
        let mut waiting = self.lock();
        let full = waiting.noted.len() >= OWN_SENDS_MAX;
        if full && !waiting.noted.contains_key(&key) {
            return false;
        }
        let newest = waiting.noted.entry(key).or_default();
        *newest = message.max(*newest);
        !std::mem::replace(&mut waiting.scheduled, true)
    }

    fn newest(&self, key: (Id, Id)) -> Id {
        let waiting = self.lock();
        let of = |map: &HashMap<(Id, Id), Id>| map.get(&key).copied().unwrap_or(0);
        of(&waiting.noted).max(of(&waiting.written))
    }

    /// What is to be written now.
    fn take(&self) -> Vec<(Id, Id, Id)> {
        let mut waiting = self.lock();
        waiting.scheduled = false;
        waiting.written = std::mem::take(&mut waiting.noted);
        let written = waiting.written.iter();
        written
            .map(|((user, channel), id)| (*user, *channel, *id))
            .collect()
    }

    /// What was taken is written, or never will be.
    fn done(&self) {
        self.lock().written = HashMap::new();
    }
}

impl Domain {
    /// Marks a channel as read up to a message; never backwards. What was read so far is no change,
    /// and isn't written or told.
    pub async fn ack_message(
        self: &Arc<Self>,
        caller: &Caller,
        channel: Id,
        message: Id,
    ) -> Result<ReadState, Error> {
        if message <= 0 {
            let problem = format!("{message}; an id is positive");
            return Err(Error::field("message_id", problem));
        }
        let channel = self.authorise(caller, channel, Action::See).await?;
        self.throttle.read(caller, channel.id)?;
        let of = self.read_of(caller, &channel).await?;
        let now = self.read_state(caller.user_id, of).await?;
        if message <= now.last_read_id && !mutation::on("read_state_backwards") {
            return Ok(now);
        }
        if message > now.last_message_id {
            let newest = now.last_message_id;
            let problem = format!("{message}; the channel's last message is {newest}");
            return Err(Error::field("message_id", problem));
        }
        let user = caller.user_id;
        self.complete(|domain| async move {
            let state = domain.store.acknowledge(user, of, message).await?;
            Ok(domain.as_of_now(state))
        })
        .await
    }

    /// Mutes a channel for the caller, until a time or ([`MUTED_FOR_EVER`]) for ever; 0: lifts it.
    pub async fn mute_channel(
        self: &Arc<Self>,
        caller: &Caller,
        channel: Id,
        until: UnixMs,
    ) -> Result<ReadState, Error> {
        if until != 0 && until <= self.now() {
            return Err(Error::field("until", "in the past; a mute ends later"));
        }
        let channel = self.authorise(caller, channel, Action::See).await?;
        self.throttle.read(caller, channel.id)?;
        let of = self.read_of(caller, &channel).await?;
        let user = caller.user_id;
        self.complete(|domain| async move {
            let state = domain.store.mute(user, of, until).await?;
            Ok(domain.as_of_now(state))
        })
        .await
    }

    /// A page of the channels, of ids above one, that the caller sees and in which it has something
    /// unread; with `muted` also those that it muted. `size` 0 means 100.
    pub async fn list_unread(
        &self,
        caller: &Caller,
        after: Id,
        size: i32,
        muted: bool,
    ) -> Result<UnreadPage, Error> {
        let size = pages::size(size, PAGE)? as usize;
        let visible = self.visible(caller.user_id).await?;
        let mut rest = visible.channels.range(after.saturating_add(1)..);
        let mut page = UnreadPage::default();
        for _ in 0..LOOKED_AT_MAX / BATCH {
            let batch: Vec<ReadOf> = rest
                .by_ref()
                .take(BATCH)
                .map(|(_, channel)| {
                    let role = visible.servers.get(&channel.server_id);
                    self.as_role(caller.user_id, channel.id, role.copied())
                })
                .collect();
            let Some(last) = batch.last().map(|of| of.channel) else {
                page.next = None;
                return Ok(page);
            };
            let states = self.store.read_states(caller.user_id, &batch).await?;
            for state in states.into_iter().map(|state| self.as_of_now(state)) {
                if !(state.is_unread() || muted && state.muted_until != 0) {
                    continue;
                }
                if page.states.len() == size {
                    page.next = page.states.last().map(|last| last.channel_id);
                    return Ok(page);
                }
                page.states.push(state);
            }
            page.next = Some(last);
        }
        if rest.next().is_none() {
            page.next = None;
        }
        Ok(page)
    }

    /// A user's read states of channels that it sees, with its role in each one's server. Those
    /// that are gone meanwhile are left out.
    pub async fn read_states_of(
        &self,
        user: Id,
        channels: &[(Arc<Channel>, Option<Role>)],
    ) -> Result<HashMap<Id, ReadState>, Error> {
        let asked: Vec<ReadOf> = channels
            .iter()
            .map(|(channel, role)| self.as_role(user, channel.id, *role))
            .collect();
        let states = self.store.read_states(user, &asked).await?;
        let states = states.into_iter().map(|state| self.as_of_now(state));
        Ok(states.map(|state| (state.channel_id, state)).collect())
    }

    /// Notes that who sent a message has read its channel up to it.
    pub(super) fn read_own(self: &Arc<Self>, user: Id, channel: Id, message: Id) {
        if !self.own_sends.note((user, channel), message) {
            return;
        }
        let domain = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(OWN_SENDS_EVERY).await;
            domain.flush_own_sends().await;
        });
    }

    /// Writes what was noted of own messages. Called before the store is closed, too.
    pub async fn flush_own_sends(&self) {
        // One at a time: what is on its way must be known until it is there.
        let _flushing = self.flushing.lock().await;
        let taken = self.own_sends.take();
        for batch in taken.chunks(OWN_SENDS_BATCH) {
            if let Err(error) = self.store.acknowledge_all(batch.to_vec()).await {
                tracing::warn!(%error, "own messages may show as unread");
            }
        }
        self.own_sends.done();
    }

    async fn read_of(&self, caller: &Caller, channel: &Channel) -> Result<ReadOf, Error> {
        let role = self.caller_role(caller, channel.server_id).await?;
        Ok(self.as_role(caller.user_id, channel.id, role))
    }

    fn as_role(&self, user: Id, channel: Id, role: Option<Role>) -> ReadOf {
        ReadOf {
            channel,
            // Of a DIRECT channel all are members.
            role: role.unwrap_or(Role::Member),
            at_least: self.own_sends.newest((user, channel)),
        }
    }

    async fn read_state(&self, user: Id, of: ReadOf) -> Result<ReadState, Error> {
        let found = self.store.read_states(user, &[of]).await?.pop();
        let state = found.ok_or_else(|| Error::not_found("channel"))?;
        Ok(self.as_of_now(state))
    }

    /// A mute that is over is none.
    fn as_of_now(&self, mut state: ReadState) -> ReadState {
        if state.muted_until != MUTED_FOR_EVER && state.muted_until <= self.now() {
            state.muted_until = 0;
        }
        state
    }
}
