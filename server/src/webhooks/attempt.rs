//! One attempt to tell a webhook of an event.

use super::ms;
use crate::clock::Clock;
use crate::config;
use crate::domain::{Domain, Online};
use crate::frames;
use crate::model::QueuedEvent;
use crate::outgoing::{Answer, Client, Post, SigningKey, Target};
use crate::store;
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// The wait after an event's first failure; each is twice the one before.
const WAIT: Duration = Duration::from_secs(1);
/// For so long after a key was changed the old one signs along, in milliseconds.
const OLD_KEY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The receiver took it.
    Taken,
    /// There is nothing to tell any more, or nobody who asks for it.
    Nothing,
    /// The webhook was switched off: the event goes on waiting.
    Off,
    /// The receiver wants no more of this webhook, which is switched off: with what it said.
    Gone(String),
    /// What went wrong, and how long to wait.
    Failed(String, Duration),
    /// The attempt itself broke off.
    Unknown,
}

/// What an attempt needs.
pub(super) struct Attempt {
    pub(super) event: QueuedEvent,
    pub(super) store: store::Handle,
    pub(super) domain: Arc<Domain>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) client: Client,
    pub(super) online: Online,
    pub(super) settings: config::Webhooks,
}

impl Attempt {
    pub(super) async fn run(self) -> Ended {
        let told = self.domain.webhook_data(&self.event, &self.online).await;
        let (server, data) = match told {
            Ok(Some(told)) => told,
            Ok(None) => return Ended::Nothing,
            Err(error) => return self.failed(error.to_string(), None),
        };
        // As what it is told, the webhook is read now: whoever changed or deleted it may rely on
        // that, however long the event waited for its turn.
        let webhook = match self.store.webhook(self.event.webhook_id).await {
            Ok(Some(webhook)) => webhook,
            Ok(None) => return Ended::Nothing,
            Err(error) => return self.failed(error.to_string(), None),
        };
        if !webhook.enabled {
            return Ended::Off;
        }
        if webhook.events & self.event.event.bit() == 0 {
            return Ended::Nothing;
        }
        // What was allowed when it was made may not be any more.
        let target = Target::parse(&webhook.url, &self.domain.webhook_rules());
        let target = match target {
            Ok(target) => target,
            Err(problem) => return self.failed(format!("the URL {problem}"), None),
        };
        let now_ms = self.clock.wall_ms();
        let mut keys = vec![SigningKey::from_bytes(webhook.key)];
        let old = !webhook.previous_key.is_empty();
        if old && now_ms - webhook.rotated_at < OLD_KEY_MS {
            keys.push(SigningKey::from_bytes(webhook.previous_key));
        }
        let keys: Vec<_> = keys.iter().collect();
        let id = frames::webhook_event_id(&self.event);
        let answered = self.client.post(Post {
            target: &target,
            id: &id,
            timestamp: now_ms.div_euclid(1_000),
            keys: &keys,
            body: frames::webhook_body(&self.event, server, &data),
            within: self.settings.timeout,
        });
        match answered.await {
            Ok(answer) => self.judge(&answer).await,
            Err(failure) => self.failed(failure.to_string(), None),
        }
    }

    async fn judge(&self, answer: &Answer) -> Ended {
        if answer.status.is_success() {
            return Ended::Taken;
        }
        let said = format!("HTTP {}", answer.status.as_u16());
        if answer.status != StatusCode::GONE {
            return self.failed(said, answer.retry_after);
        }
        let (id, why) = (self.event.webhook_id, "the receiver answered 410 Gone");
        match self.domain.disable_webhook(id, why).await {
            Ok(()) => {
                tracing::info!(webhook = id, "a webhook is switched off: {why}");
                Ended::Gone(said)
            }
            Err(error) => self.failed(error.to_string(), None),
        }
    }

    /// With the wait that the receiver asked for, as far as it may.
    fn failed(&self, error: String, asked: Option<Duration>) -> Ended {
        let max = self.settings.retry_wait_max;
        let wait = backoff(self.event.attempts, max).max(asked.unwrap_or_default().min(max));
        tracing::debug!(
            webhook = self.event.webhook_id,
            event = self.event.id,
            error,
            wait_ms = ms(wait),
            "a webhook didn't take an event"
        );
        Ended::Failed(error, wait)
    }
}

/// How long to wait after so many earlier failures: twice as long each time, up to `max`; a random
/// part of the second half of it, so that what failed together isn't tried together.
pub(super) fn backoff(failures: u32, max: Duration) -> Duration {
    let whole = WAIT.saturating_mul(1 << failures.min(20)).min(max);
    whole / 2 + rand::random_range(Duration::ZERO..=whole / 2)
}
