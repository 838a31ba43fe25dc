//! Tells those outside what they asked to be told of: takes events from the queues of webhooks and
//! posts them until they are taken.
//!
//! Of one lane (a channel; a server's members) one event is under way, and the next one only once
//! the store has written that it was taken or given up. What isn't written when the process ends is
//! sent again: at least once, in order.

mod attempt;
#[cfg(test)]
pub(crate) mod tests;

use crate::clock::Clock;
use crate::config;
use crate::domain::{Domain, Online};
use crate::model::{Id, QueuedEvent, UnixMs, Webhook};
use crate::outgoing::{Client, Resolve, Trust, TrustError};
use crate::store::{self, Settlement};
use attempt::{Attempt, Ended};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{self, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Requests under way of all webhooks.
const UNDER_WAY_MAX: usize = 256;
/// Webhooks read at once.
const PAGE: u32 = 100;
/// So often the queues are looked at though nothing is told to be new.
const TICK: Duration = Duration::from_secs(1);
/// So often what is too old is looked for, and the figures are brought up to date.
const SWEEP: Duration = Duration::from_secs(10);
/// From so many failures in a row on, a webhook gets one request at a time, ever more rarely.
const FAILING: u32 = 16;
/// Between two tries of such a webhook, at most.
const FAILING_WAIT_MAX: Duration = Duration::from_secs(60);
/// At shutdown, requests under way have so long to end. What doesn't is sent again later.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

/// How a webhook fares; forgotten when nothing is under way and nothing fails.
#[derive(Default)]
struct State {
    /// Lanes of which an event is under way, or its end still to be written.
    busy: HashSet<Id>,
    /// Since it last took something.
    failures: u32,
    /// Nothing is tried before.
    not_before: UnixMs,
    /// When something was last tried.
    tried_at: UnixMs,
}

/// Takes events from the queues and posts them.
pub struct Deliverer {
    store: store::Handle,
    domain: Arc<Domain>,
    clock: Arc<dyn Clock>,
    settings: config::Webhooks,
    client: Client,
    online: Online,
    states: HashMap<Id, State>,
    under_way: JoinSet<Ended>,
    tasks: HashMap<task::Id, QueuedEvent>,
    /// Ends that the store didn't take yet: their lanes stay busy, so that a store that can't
    /// write doesn't have events sent over and over.
    unsettled: Vec<(QueuedEvent, Settlement)>,
    /// The webhook that the next look begins behind.
    cursor: Id,
    swept: Option<Duration>,
}

impl Deliverer {
    /// A deliverer with a client of its own. `online` tells whether a user has a live session.
    ///
    /// # Errors
    /// The file of certificates can't be used.
    pub fn new(
        store: store::Handle,
        domain: Arc<Domain>,
        clock: Arc<dyn Clock>,
        settings: config::Webhooks,
        resolver: Arc<dyn Resolve>,
        online: Online,
    ) -> Result<Self, TrustError> {
        let trust = Trust::load(settings.ca_file.as_deref())?;
        Ok(Self {
            client: Client::new(domain.webhook_rules(), resolver, trust),
            store,
            domain,
            clock,
            settings,
            online,
            states: HashMap::new(),
            under_way: JoinSet::new(),
            tasks: HashMap::new(),
            unsettled: Vec::new(),
            cursor: 0,
            swept: None,
        })
    }

    /// Delivers until `stop`; then what is under way has some seconds to end.
    pub async fn run(mut self, stop: CancellationToken) {
        let queued = self.store.queued();
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "webhooks' queues can't be read");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.under_way.join_next_with_id() => self.collect(ended).await,
                () = queued.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
        let rest = async {
            while let Some(ended) = self.under_way.join_next_with_id().await {
                self.collect(ended).await;
            }
        };
        if tokio::time::timeout(STOPPED_WITHIN, rest).await.is_err() {
            tracing::info!("some requests of webhooks did not end; they are made again later");
        }
    }

    /// Begins what can begin.
    async fn look(&mut self) -> Result<(), store::Error> {
        self.settle().await;
        let elapsed = self.clock.elapsed();
        let sweep = self.swept.is_none_or(|swept| elapsed >= swept + SWEEP);
        if sweep {
            self.swept = Some(elapsed);
            self.forget();
            let (queued, oldest) = self.store.backlog().await?;
            metrics::gauge!("chirm_webhook_events_queued").set(queued as f64);
            let lag_ms = if oldest == 0 {
                0
            } else {
                self.clock.wall_ms() - oldest
            };
            metrics::gauge!("chirm_webhook_lag_seconds").set(lag_ms as f64 / 1_000.0);
        }
        // Once around, from where the last look ran out of room.
        let start = self.cursor;
        for (from, to) in [(start, Id::MAX), (0, start)] {
            let mut after = from;
            while after < to {
                let webhooks = self.store.waiting_webhooks(after, PAGE).await?;
                let last = webhooks.len() < PAGE as usize;
                for webhook in webhooks {
                    after = webhook.id;
                    if after > to {
                        break;
                    }
                    self.expire(&webhook, sweep).await?;
                    if self.under_way.len() + self.unsettled.len() >= UNDER_WAY_MAX {
                        return Ok(());
                    }
                    self.cursor = after;
                    self.begin(&webhook).await?;
                }
                if last {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Forgets how those fared that weren't tried for long: they may be gone.
    fn forget(&mut self) {
        let before = self.clock.wall_ms() - 2 * ms(self.settings.retry_wait_max);
        self.states
            .retain(|_, state| !state.busy.is_empty() || state.tried_at > before);
    }

    /// Gives up what waits too long or is too much.
    async fn expire(&self, webhook: &Webhook, sweep: bool) -> Result<(), store::Error> {
        let max = i64::from(self.settings.queue_max);
        if !sweep && webhook.queued <= max {
            return Ok(());
        }
        let now = self.clock.wall_ms();
        let before = now - ms(self.settings.retry_for);
        let dead_max = self.settings.dead_letters_max;
        loop {
            let expired = self
                .store
                .expire_events(webhook.id, before, max, now, dead_max);
            let expired = expired.await?;
            if expired == 0 {
                return Ok(());
            }
            count("dead", u64::from(expired));
        }
    }

    /// Begins what a webhook has due and room for.
    async fn begin(&mut self, webhook: &Webhook) -> Result<(), store::Error> {
        let now = self.clock.wall_ms();
        let state = self.states.entry(webhook.id).or_default();
        let at_once = if state.failures < FAILING {
            self.settings.concurrency as usize
        } else {
            1
        };
        let in_all = UNDER_WAY_MAX.saturating_sub(self.under_way.len() + self.unsettled.len());
        let room = at_once.saturating_sub(state.busy.len()).min(in_all);
        if room == 0 || !webhook.enabled || now < state.not_before {
            return Ok(());
        }
        let limit = u32::try_from(room + state.busy.len()).unwrap_or(u32::MAX);
        let due = self.store.due_events(webhook.id, now, limit).await?;
        let free = |event: &QueuedEvent| !state.busy.contains(&event.lane);
        let due: Vec<_> = due.into_iter().filter(free).take(room).collect();
        for event in due {
            state.busy.insert(event.lane);
            state.tried_at = now;
            let attempt = Attempt {
                event: event.clone(),
                store: self.store.clone(),
                domain: self.domain.clone(),
                clock: self.clock.clone(),
                client: self.client.clone(),
                online: self.online.clone(),
                settings: self.settings.clone(),
            };
            let task = self.under_way.spawn(attempt.run());
            self.tasks.insert(task.id(), event);
        }
        Ok(())
    }

    /// Takes in one end, and those that are there already, and writes them all.
    async fn collect(&mut self, first: Result<(task::Id, Ended), JoinError>) {
        let mut next = Some(first);
        while let Some(ended) = next {
            let (id, ended) = match ended {
                Ok((id, ended)) => (id, ended),
                Err(error) => {
                    tracing::error!(%error, "a request of a webhook failed");
                    (error.id(), Ended::Unknown)
                }
            };
            if let Some(event) = self.tasks.remove(&id) {
                self.ended(event, ended);
            }
            next = self.under_way.try_join_next_with_id();
        }
        self.settle().await;
    }

    fn ended(&mut self, event: QueuedEvent, ended: Ended) {
        let now = self.clock.wall_ms();
        let state = self.states.entry(event.webhook_id).or_default();
        let settlement = match ended {
            Ended::Taken | Ended::Nothing => {
                state.failures = 0;
                state.not_before = 0;
                if matches!(ended, Ended::Taken) {
                    count("delivered", 1);
                }
                Settlement::Done
            }
            Ended::Off => {
                // It stays queued, and is due.
                state.busy.remove(&event.lane);
                return;
            }
            Ended::Gone(error) => {
                count("dead", 1);
                Settlement::Dead {
                    died_at: now,
                    error,
                }
            }
            Ended::Unknown => Settlement::Retry {
                due: now + ms(TICK),
                error: "the server failed".to_owned(),
            },
            Ended::Failed(error, wait) => {
                state.failures = state.failures.saturating_add(1);
                if let Some(failing) = state.failures.checked_sub(FAILING) {
                    let pause = attempt::backoff(failing, FAILING_WAIT_MAX);
                    state.not_before = now + ms(pause);
                }
                count("failed", 1);
                if now - event.created_at >= ms(self.settings.retry_for) {
                    count("dead", 1);
                    let died_at = now;
                    Settlement::Dead { died_at, error }
                } else {
                    let due = now + ms(wait);
                    Settlement::Retry { due, error }
                }
            }
        };
        let mut event = event;
        event.attempts = event.attempts.saturating_add(1);
        self.unsettled.push((event, settlement));
    }

    /// Writes the ends; their lanes go on then.
    async fn settle(&mut self) {
        if self.unsettled.is_empty() {
            return;
        }
        let settled = self.unsettled.clone();
        let dead_max = self.settings.dead_letters_max;
        match self.store.settle(settled, dead_max).await {
            Ok(()) => {
                for (event, _) in self.unsettled.drain(..) {
                    if let Some(state) = self.states.get_mut(&event.webhook_id) {
                        state.busy.remove(&event.lane);
                    }
                }
                let idle = |state: &State| state.busy.is_empty() && state.failures == 0;
                self.states.retain(|_, state| !idle(state));
            }
            Err(error) => tracing::warn!(%error, "what webhooks took can't be written now"),
        }
    }
}

fn count(outcome: &'static str, number: u64) {
    metrics::counter!("chirm_webhook_events_total", "outcome" => outcome).increment(number);
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
