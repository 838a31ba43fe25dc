//! Requests on a stream: bounded, answered by `Result`, each refused on its own.

use crate::bus::Whose;
use crate::config::Limits;
use crate::domain::{self, Accepted, Caller, CustomEvent, OnMessage, Reason, SendMessage};
use crate::gateway::Inner;
use crate::gateway::close::Close;
use crate::gateway::handle::SessionHandle;
use crate::gateway::wire::{self, Outcome, Request};
use crate::model::SessionKind;
use crate::mutation;
use crate::traces::Via;
use chirm_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Requests of one stream that may be under way; beyond them its frames aren't read.
const UNDER_WAY_MAX: usize = 64;

/// A leaky bucket over a minute, and how far beyond it a client went.
struct Rate {
    per_minute: f64,
    level: f64,
    at: Instant,
}

pub(super) struct Requests {
    places: Arc<Semaphore>,
    rate: Option<Rate>,
}

impl Requests {
    pub(super) fn new(limits: &Limits, service: bool) -> Self {
        let factor = if service { limits.service_factor } else { 1 };
        let per_minute = f64::from(limits.client_frames_per_minute) * f64::from(factor);
        let rate = limits.enabled.then(|| Rate {
            per_minute,
            level: 0.0,
            at: Instant::now(),
        });
        Self {
            places: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            rate,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Waits for room.
    pub(super) async fn room(&self) {
        // The semaphore is never closed.
        let _ = self.places.acquire().await;
    }

    /// Counts a frame: false if it is beyond the limit. A client that goes on at twice the limit is
    /// closed.
    pub(super) fn count_frame(&mut self) -> Result<bool, Close> {
        let Some(rate) = &mut self.rate else {
            return Ok(true);
        };
        let now = Instant::now();
        let leaked = now.duration_since(rate.at).as_secs_f64() * rate.per_minute / 60.0;
        rate.level = (rate.level - leaked).max(0.0) + 1.0;
        rate.at = now;
        if rate.level > rate.per_minute * 2.0 {
            return Err(Close::RateLimited);
        }
        Ok(rate.level <= rate.per_minute)
    }

    /// After a frame beyond the limit: how long until so many more will be within it.
    pub(super) fn over_for(&self, more: f64) -> Duration {
        self.rate.as_ref().map_or(Duration::ZERO, |rate| {
            let beyond = (rate.level - rate.per_minute + more).max(0.0);
            Duration::from_secs_f64(beyond / rate.per_minute * 60.0)
        })
    }

    /// Refuses a request beyond the limit.
    pub(super) fn refuse_rate(&self, inner: &Inner, session: &SessionHandle, call: u32) {
        let mut error = domain::Error::new(Reason::RateLimited, "too many frames on this stream")
            .retry_after(self.over_for(1.0));
        // Sends to a channel have a limit of their own, with the same reason.
        error.metadata = Some(("scope", "stream".into()));
        let outcome = Outcome::Refused(Box::new((inner.encode_error)(&error)));
        // A client that floods and doesn't read loses answers, not events.
        let _ = session.outbox.push(wire::result(call, outcome));
    }

    /// Takes a request: what decides its place among the stream's others happens before this
    /// returns; the rest, and the answer, follow.
    pub(super) async fn take(
        &mut self,
        inner: &Arc<Inner>,
        session: &Arc<SessionHandle>,
        caller: &Arc<Caller>,
        call: u32,
        request: Request,
    ) {
        // Frames are read only while there is room.
        let Ok(place) = self.places.clone().acquire_owned().await else {
            return;
        };
        let answer = Answer {
            inner: inner.clone(),
            session: session.clone(),
            call,
            _place: place,
        };
        let mut caller = caller.clone();
        if mutation::on("permission_off_on_stream") {
            // Who may write everywhere.
            Arc::make_mut(&mut caller).kind = SessionKind::Service;
        }
        match request {
            Request::Send(send) => match inner.domain.accept_message(&caller, sent(send)).await {
                Ok(accepted) => {
                    tokio::spawn(answer.of(accepted));
                }
                // A client that doesn't read its answers must not keep its other frames unread.
                Err(error) => {
                    tokio::spawn(answer.give(Err(error)));
                }
            },
            // The last one said is the one that counts.
            Request::Presence(_) => {
                let outcome = answer.inner.handle(&answer.session, &caller, request).await;
                tokio::spawn(answer.give(outcome));
            }
            other => {
                tokio::spawn(async move {
                    let outcome = answer.inner.handle(&answer.session, &caller, other).await;
                    answer.give(outcome).await;
                });
            }
        }
    }
}

struct Answer {
    inner: Arc<Inner>,
    session: Arc<SessionHandle>,
    call: u32,
    _place: OwnedSemaphorePermit,
}

impl Answer {
    /// Sees a message through, and answers: at the deadline at the latest, whatever comes after.
    async fn of(self, accepted: Accepted) {
        let domain = self.inner.domain.clone();
        let mut work = std::pin::pin!(domain.finish_message(accepted));
        match tokio::time::timeout(domain::DEADLINE, &mut work).await {
            Ok(stored) => self.give(stored.map(Outcome::Sent)).await,
            Err(_) => {
                self.give(Err(domain::Error::too_late())).await;
                // Nobody waits for it any more; its failure is logged where it happens.
                let _ = work.await;
            }
        }
    }

    async fn give(self, outcome: Result<Outcome, domain::Error>) {
        let outcome = outcome
            .unwrap_or_else(|error| Outcome::Refused(Box::new((self.inner.encode_error)(&error))));
        // A stream that has ended needs no answer.
        let _ = self
            .session
            .outbox
            .push_when_drained(wire::result(self.call, outcome))
            .await;
    }
}

fn sent(request: v1::SendMessageRequest) -> SendMessage {
    SendMessage {
        channel_id: request.channel_id,
        content: request.content,
        nonce: request.nonce,
        reply_to: request.reply_to,
        attempt: request.attempt,
        metadata: request.metadata.into_iter().collect(),
        via: Via::Stream,
    }
}

impl Inner {
    /// Handles any request but a send.
    async fn handle(
        &self,
        session: &SessionHandle,
        caller: &Caller,
        request: Request,
    ) -> Result<Outcome, domain::Error> {
        match request {
            Request::Send(send) => self
                .domain
                .send_message(caller, sent(send))
                .await
                .map(Outcome::Sent),
            Request::Edit(r) => {
                let edited =
                    self.domain
                        .edit_message(caller, r.channel_id, r.message_id, r.content);
                edited.await.map(Outcome::Edited)
            }
            Request::Delete(r) => {
                self.domain
                    .delete_message(caller, r.channel_id, r.message_id)
                    .await?;
                Ok(Outcome::Deleted)
            }
            Request::Typing(channel) => {
                self.domain.start_typing(caller, channel).await?;
                Ok(Outcome::Typing)
            }
            Request::Custom(r) => {
                let v1::SendCustomEventRequest {
                    channel_id,
                    name,
                    data,
                } = r;
                let event = CustomEvent {
                    channel_id,
                    name,
                    data,
                };
                self.domain.send_custom_event(caller, event).await?;
                Ok(Outcome::Custom)
            }
            Request::Presence(r) => {
                let whose = Whose::Session(session.serial);
                let set = wire::set_presence(r);
                let set = set.map_err(|problem| domain::Error::field("status", problem))?;
                self.domain.set_presence(caller, whose, set).await?;
                Ok(Outcome::Presence)
            }
            Request::React(r) => {
                let on = OnMessage {
                    channel_id: r.channel_id,
                    message_id: r.message_id,
                    emoji: r.emoji,
                };
                let reacted = self.domain.add_reaction(caller, on);
                reacted.await.map(Outcome::Reacted)
            }
            Request::Unreact(r) => {
                let on = OnMessage {
                    channel_id: r.channel_id,
                    message_id: r.message_id,
                    emoji: r.emoji,
                };
                let reacted = self.domain.remove_reaction(caller, on, r.user_id);
                reacted.await.map(Outcome::Unreacted)
            }
            Request::Ack(r) => {
                let domain = &self.domain;
                let acked = domain.ack_message(caller, r.channel_id, r.message_id);
                acked.await.map(Outcome::Acked)
            }
        }
    }
}
