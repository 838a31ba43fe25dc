//! Of whom a session is told: presences and member lists.

use super::close_of;
use super::follower::{Follower, too_slow};
use crate::domain::Visible;
use crate::gateway::close::Ending;
use crate::gateway::people::{Interest, RangeKey};
use crate::gateway::wire;
use crate::model::{ChannelType, Id};
use chirm_proto::v1;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use tokio::time::sleep_until;

/// What the user looks at besides channels.
#[derive(Default)]
pub(super) struct Looking {
    pub(super) users: Vec<Id>,
    pub(super) ranges: Vec<RangeKey>,
}

impl Looking {
    /// A checked view's.
    pub(super) fn of(view: &v1::View) -> Self {
        let mut ranges = Vec::new();
        for list in &view.member_lists {
            for range in &list.ranges {
                let range = RangeKey {
                    server: list.server_id,
                    start: range.start.unsigned_abs() as usize,
                    count: range.count.unsigned_abs() as usize,
                };
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        Self {
            users: view.users.clone(),
            ranges,
        }
    }
}

impl Follower {
    /// Makes the session be told of those whom its user may see and is interested in, and of
    /// nobody else.
    pub(super) async fn tell_interest(&mut self, visible: &Visible) -> Result<(), Ending> {
        let interest = self.interest_in(visible).await?;
        if interest != self.interest {
            let told = self.inner.people.follow(&self.handle, interest.clone());
            told.await;
            self.interest = interest;
        }
        Ok(())
    }

    async fn interest_in(&self, visible: &Visible) -> Result<Interest, Ending> {
        let sees = |range: &&RangeKey| visible.servers.contains_key(&range.server);
        let ranges = self.looking.ranges.iter().filter(sees).copied().collect();
        if !self.handle.wants(wire::INTENT_PRESENCE) {
            return Ok(Interest {
                ranges,
                ..Interest::default()
            });
        }
        let user = self.handle.user_id;
        let directs = visible.channels.values();
        let directs = directs.filter(|channel| channel.kind == ChannelType::Direct);
        let met = directs.flat_map(|channel| channel.member_ids.iter().copied());
        let mut users: HashSet<Id> = met.chain([user]).collect();
        let known = self.inner.domain.known_to(user, &self.looking.users).await;
        users.extend(known.map_err(|error| close_of(&error))?);
        let mut users: Vec<Id> = users.into_iter().collect();
        users.sort_unstable();
        Ok(Interest {
            servers: visible.servers.keys().copied().collect(),
            users,
            ranges,
        })
    }

    /// Sends word of people as the client reads, unless something else is asked meanwhile.
    pub(super) async fn tell_people(&mut self) -> Result<(), Ending> {
        let until = self.reads_until();
        tokio::select! {
            biased;
            () = self.handle.outbox.room(0) => {
                if self.handle.outbox.is_ended() {
                    // Whoever runs the session notices, too.
                    std::future::pending().await
                }
                self.stalled_at = None;
                self.people_wait = self.inner.people.go_on(self.handle.serial).await;
            }
            () = self.handle.woken.notified() => {}
            () = sleep_until(until) => return Err(too_slow()),
        }
        Ok(())
    }

    /// Which of the intents the client has, as bits.
    pub(super) fn note_intents(&self, identify: &v1::Identify) {
        let intents = identify.intents().fold(0, |set, intent| {
            set | match intent {
                v1::Intent::Typing => wire::INTENT_TYPING,
                v1::Intent::CustomEvents => wire::INTENT_CUSTOM,
                v1::Intent::Presence => wire::INTENT_PRESENCE,
                v1::Intent::Unspecified => 0,
            }
        });
        self.handle.intents.store(intents, Ordering::Relaxed);
    }
}
