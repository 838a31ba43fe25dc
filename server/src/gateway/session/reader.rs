//! What a client sends on its stream, and whether it still does.

use super::bounds;
use super::requests::Requests;
use crate::bus::{SetPresence, Whose};
use crate::domain::{self, Caller};
use crate::gateway::Inner;
use crate::gateway::close::{Close, Ending};
use crate::gateway::handle::SessionHandle;
use crate::gateway::session::InputError;
use crate::gateway::wire::{self, Input, Outcome, Request};
use crate::mutation;
use chirm_proto::v1;
use futures::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// That the user is active is noted at most so often.
const ACTIVE_EVERY: Duration = Duration::from_secs(15);

/// Reads a stream beside what is sent on it: however long a client takes to be brought up to date,
/// its heartbeats are heard.
pub(super) struct Reader {
    inner: Arc<Inner>,
    handle: Arc<SessionHandle>,
    caller: Arc<Caller>,
    requests: Requests,
    /// None: the client can't send, so its silence means nothing.
    heard_at: Option<Instant>,
    /// The latest view that came too soon, and when it may be taken.
    view: Option<(v1::View, Instant)>,
    /// Likewise the latest status.
    presence: Option<(SetPresence, Instant)>,
    /// When it was last noted that the user is active.
    active_at: Option<Instant>,
}

impl Reader {
    pub(super) fn new(
        inner: Arc<Inner>,
        handle: Arc<SessionHandle>,
        caller: Arc<Caller>,
        one_way: bool,
    ) -> Self {
        Self {
            requests: Requests::new(&inner.config.limits, caller.is_favoured()),
            inner,
            handle,
            caller,
            heard_at: (!one_way && !mutation::on("heartbeat_unheeded")).then(Instant::now),
            view: None,
            presence: None,
            active_at: None,
        }
    }

    /// Reads until the client is gone.
    pub(super) async fn run<S>(&mut self, mut inputs: S) -> Result<(), Ending>
    where
        S: Stream<Item = Result<Input, InputError>> + Send + Unpin,
    {
        loop {
            if !self.requests.has_room() {
                self.room().await?;
            }
            let wake_at = self.wake_at();
            let wake = async {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = inputs.next() => match input {
                    Some(Ok(input)) => self.input(input).await?,
                    None | Some(Err(InputError::Broken)) => return Ok(()),
                    Some(Err(InputError::Malformed)) => return Err(Close::Malformed.into()),
                    Some(Err(InputError::TooLarge)) => {
                        return Err(bounds::too_large(&self.inner.config.limits));
                    }
                },
                () = wake => self.timers().await?,
            }
        }
    }

    /// Waits until an answer has gone out. What the client sends meanwhile isn't read, so its
    /// silence doesn't count; that it doesn't read does.
    async fn room(&mut self) -> Result<(), Ending> {
        let deadline = self.inner.config.gateway.deadline;
        let room = tokio::time::timeout(deadline, self.requests.room()).await;
        if room.is_err() {
            return Err(Close::SlowConsumer.into());
        }
        self.heard();
        Ok(())
    }

    fn heard(&mut self) {
        if let Some(heard_at) = &mut self.heard_at {
            *heard_at = Instant::now();
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let deadline = self.inner.config.gateway.deadline;
        let silent_at = self.heard_at.map(|at| at + deadline);
        let view_at = self.view.as_ref().map(|(_, at)| *at);
        let presence_at = self.presence.as_ref().map(|(_, at)| *at);
        let times = [silent_at, view_at, presence_at];
        times.into_iter().flatten().min()
    }

    async fn timers(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        let deadline = self.inner.config.gateway.deadline;
        if self.heard_at.is_some_and(|at| now >= at + deadline) {
            return Err(Close::HeartbeatTimeout.into());
        }
        if let Some((view, _)) = self.view.take_if(|(_, at)| now >= *at) {
            self.handle.view(view);
        }
        if let Some((set, _)) = self.presence.take_if(|(_, at)| now >= *at) {
            let whose = Whose::Session(self.handle.serial);
            let set = self.inner.domain.set_presence(&self.caller, whose, set);
            if let Err(error) = set.await {
                tracing::warn!(%error, "a status that came too soon could not be set");
            }
        }
        Ok(())
    }

    /// A status that comes too soon is taken as soon as the rate allows; the latest counts.
    fn set_later(&mut self, call: u32, request: v1::SetPresenceRequest) {
        let set = wire::set_presence(request);
        let set = set.map_err(|problem| domain::Error::field("status", problem));
        let checked = set.and_then(|set| {
            self.inner.domain.check_presence(&set)?;
            Ok(set)
        });
        let outcome = match checked {
            Ok(set) => {
                let at = Instant::now() + self.requests.over_for(0.0);
                self.presence = Some((set, at));
                Outcome::Presence
            }
            Err(error) => Outcome::Refused(Box::new((self.inner.encode_error)(&error))),
        };
        // A client that floods and doesn't read loses answers, not events.
        let _ = self.handle.outbox.push(wire::result(call, outcome));
    }

    /// The user does something: it isn't idle.
    fn note_active(&mut self) {
        let now = Instant::now();
        if self.active_at.is_none_or(|at| now - at >= ACTIVE_EVERY) {
            self.active_at = Some(now);
            let whose = Whose::Session(self.handle.serial);
            self.inner.presences.active(self.handle.user_id, whose);
        }
    }

    async fn input(&mut self, input: Input) -> Result<(), Ending> {
        self.heard();
        let within = self.requests.count_frame()?;
        if matches!(input, Input::View(_) | Input::Request(..)) {
            self.note_active();
        }
        match input {
            Input::Heartbeat if within => {
                // A full outbox is noticed by the next event; the client's deadline covers the
                // rest.
                let _ = self.handle.outbox.push(wire::heartbeat_ack());
            }
            Input::Heartbeat | Input::Unknown => {}
            Input::Identify(_) => return Err(Close::AlreadyIdentified.into()),
            Input::View(view) => {
                bounds::check_view("view", &view)?;
                // Each replaces the one before, so that one which came too soon is only late.
                self.view = None;
                if within {
                    self.handle.view(view);
                } else {
                    self.view = Some((view, Instant::now() + self.requests.over_for(0.0)));
                }
            }
            Input::Request(call, Request::Presence(request)) if !within => {
                self.set_later(call, request);
            }
            Input::Request(call, Request::Presence(request)) => {
                // What was to be taken later is over.
                self.presence = None;
                let (inner, handle, caller) = (&self.inner, &self.handle, &self.caller);
                let request = Request::Presence(request);
                let taken = self.requests.take(inner, handle, caller, call, request);
                Box::pin(taken).await;
            }
            Input::Request(call, _) if !within => {
                self.requests.refuse_rate(&self.inner, &self.handle, call);
            }
            Input::Request(call, request) => {
                let (inner, handle, caller) = (&self.inner, &self.handle, &self.caller);
                let taken = self.requests.take(inner, handle, caller, call, request);
                Box::pin(taken).await;
            }
        }
        Ok(())
    }
}
