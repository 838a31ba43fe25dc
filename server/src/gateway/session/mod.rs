//! One session's life: identify, be brought up to date, then live.

mod follow;
mod requests;

use super::Inner;
use super::close::Close;
use super::handle::SessionHandle;
use super::outbox::{End, Outbox};
use super::registry;
use super::wire::{self, Input, Times};
use crate::domain::{self, Caller, Reason};
use crate::model::TopicKey;
use chirm_proto::v1;
use follow::Follow;
use futures::{Stream, StreamExt};
use requests::Requests;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How often a session is checked against the store, less a random part: within 30 s.
const REVALIDATE: Duration = Duration::from_secs(28);
/// Checks may fail for want of the store for so long before the stream is closed.
const UNCHECKED_MAX: Duration = Duration::from_secs(90);
/// Word of channels out of view is given at most so often.
const ACTIVITY_EVERY: Duration = Duration::from_secs(1);

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

/// What a transport brings.
pub struct Transport {
    /// Where the session's frames go.
    pub outbox: Arc<Outbox>,
    /// The client can't send after `identify`: no heartbeats are expected.
    pub one_way: bool,
}

/// Why a frame could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// It can't be decoded.
    Malformed,
    /// It is over the limit.
    TooLarge,
    /// The connection broke.
    Broken,
}

/// Ends a stream that has no session yet, or any more.
fn end(outbox: &Outbox, close: Close, detail: Option<&str>) {
    outbox.finish(Some(wire::closing(close, detail)), close.end(), false);
}

fn ok() -> End {
    End {
        code: 0,
        message: String::new(),
    }
}

/// What a refusal means for a stream.
pub(super) fn close_of(error: &domain::Error) -> Close {
    match error.reason {
        Reason::TokenMissing | Reason::TokenInvalid => Close::TokenInvalid,
        Reason::TokenExpired => Close::TokenExpired,
        Reason::SessionRevoked => Close::SessionRevoked,
        Reason::StoreUnavailable | Reason::Overloaded => Close::StoreUnavailable,
        _ => Close::Internal,
    }
}

pub(super) async fn run<S>(inner: Arc<Inner>, mut inputs: S, transport: Transport)
where
    S: Stream<Item = Result<Input, InputError>> + Send + Unpin,
{
    let outbox = transport.outbox.clone();
    let identify = match first(&inner, &mut inputs, &outbox).await {
        Ok(Some(identify)) => identify,
        Ok(None) => return outbox.finish(None, ok(), false),
        Err(close) => return end(&outbox, close, None),
    };
    let mut session = match Session::open(inner.clone(), identify.as_ref(), transport).await {
        Ok(session) => session,
        Err((close, detail)) => return end(&outbox, close, detail.as_deref()),
    };
    if let Err(close) = session.live(*identify, inputs).await {
        session.handle.close(close);
    }
    let topics: Vec<TopicKey> = session.follow.topics().collect();
    inner.hub.detach(topics, session.handle.serial).await;
    inner.registry.leave(&session.handle);
    outbox.finish(None, ok(), false);
}

/// The first frame, which must be `identify`.
async fn first<S>(
    inner: &Inner,
    inputs: &mut S,
    outbox: &Outbox,
) -> Result<Option<Box<v1::Identify>>, Close>
where
    S: Stream<Item = Result<Input, InputError>> + Send + Unpin,
{
    let first = async {
        tokio::select! {
            first = inputs.next() => first,
            () = outbox.ended() => None,
        }
    };
    match timeout(inner.config.gateway.identify_deadline, first).await {
        Err(_) => Err(Close::IdentifyTimeout),
        Ok(None | Some(Err(InputError::Broken))) => Ok(None),
        Ok(Some(Err(InputError::Malformed))) => Err(Close::Malformed),
        Ok(Some(Err(InputError::TooLarge))) => Err(Close::TooLarge),
        Ok(Some(Ok(Input::Identify(identify)))) => Ok(Some(identify)),
        Ok(Some(Ok(_))) => Err(Close::NotIdentified),
    }
}

struct Session {
    inner: Arc<Inner>,
    handle: Arc<SessionHandle>,
    caller: Arc<Caller>,
    follow: Follow,
    requests: Requests,
    heard_at: Option<Instant>,
    revalidate_at: Instant,
    checked_at: Instant,
    activity_at: Option<Instant>,
    recheck_at: Option<Instant>,
}

type Refusal = (Close, Option<String>);

impl Session {
    async fn open(
        inner: Arc<Inner>,
        identify: &v1::Identify,
        transport: Transport,
    ) -> Result<Self, Refusal> {
        check(identify, &inner.config.limits)?;
        let caller = match inner.domain.authenticate(&identify.token).await {
            Ok(caller) => caller,
            Err(error) => return Err((close_of(&error), None)),
        };
        let user = match inner.store.users(&[caller.user_id]).await {
            Ok(users) => users
                .into_iter()
                .next()
                .ok_or((Close::SessionRevoked, None))?,
            Err(_) => return Err((Close::StoreUnavailable, None)),
        };
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        let (user_id, session_id) = (caller.user_id, caller.session_id);
        let device = identify.device.clone();
        let handle = SessionHandle::new(serial, user_id, session_id, device, transport.outbox);
        let handle = Arc::new(handle);
        let limits = &inner.config.limits;
        let max = if limits.enabled && !caller.is_favoured() {
            limits.sessions_per_user as usize
        } else {
            usize::MAX
        };
        inner
            .registry
            .enter(handle.clone(), max)
            .map_err(|refused| match refused {
                registry::Refused::Draining => (Close::Draining, None),
                registry::Refused::TooMany => (Close::TooManySessions, None),
            })?;
        let gateway = &inner.config.gateway;
        let (heartbeat, deadline) = (gateway.heartbeat, gateway.deadline);
        let times = Times {
            heartbeat,
            deadline,
            grace: gateway.grace,
        };
        // The first frame always fits.
        let _ = handle.outbox.push(wire::hello(session_id, &times, &user));
        let now = Instant::now();
        let requests = Requests::new(&inner.config.limits, caller.is_favoured());
        Ok(Self {
            inner,
            handle,
            caller: Arc::new(caller),
            follow: Follow::new(identify),
            requests,
            heard_at: (!transport.one_way).then_some(now),
            revalidate_at: now + REVALIDATE - rand::random_range(Duration::ZERO..REVALIDATE / 4),
            checked_at: now,
            activity_at: None,
            recheck_at: None,
        })
    }

    async fn live<S>(&mut self, identify: v1::Identify, mut inputs: S) -> Result<(), Close>
    where
        S: Stream<Item = Result<Input, InputError>> + Send + Unpin,
    {
        let outbox = self.handle.outbox.clone();
        tokio::select! {
            () = outbox.ended() => return Ok(()),
            done = Box::pin(self.bring_up_to_date(identify)) => done?,
        }
        loop {
            let wake_at = self.wake_at();
            tokio::select! {
                () = outbox.ended() => return Ok(()),
                input = inputs.next(), if self.requests.has_room() => match input {
                    Some(Ok(input)) => self.input(input).await?,
                    None | Some(Err(InputError::Broken)) => return Ok(()),
                    Some(Err(InputError::Malformed)) => return Err(Close::Malformed),
                    Some(Err(InputError::TooLarge)) => return Err(Close::TooLarge),
                },
                () = self.requests.room(), if !self.requests.has_room() => {}
                () = self.handle.woken.notified() => {
                    let outbox = self.handle.outbox.clone();
                    tokio::select! {
                        () = outbox.ended() => return Ok(()),
                        done = Box::pin(self.look()) => done?,
                    }
                }
                () = sleep_until(wake_at) => self.timers().await?,
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let deadline = self
            .heard_at
            .map(|at| at + self.inner.config.gateway.deadline);
        [deadline, self.activity_at, self.recheck_at]
            .into_iter()
            .flatten()
            .fold(self.revalidate_at, Instant::min)
    }

    async fn input(&mut self, input: Input) -> Result<(), Close> {
        if let Some(heard_at) = &mut self.heard_at {
            *heard_at = Instant::now();
        }
        let within = self.requests.count_frame()?;
        match input {
            Input::Heartbeat if within => {
                // A full outbox is noticed by the next event; the client's deadline covers the
                // rest.
                let _ = self.handle.outbox.push(wire::heartbeat_ack());
            }
            Input::Heartbeat | Input::Unknown => {}
            Input::Identify(_) => return Err(Close::AlreadyIdentified),
            Input::View(view) if within => Box::pin(self.view(view)).await?,
            Input::View(_) => {}
            Input::Request(call, _) if !within => {
                self.requests.refuse_rate(&self.inner, &self.handle, call);
            }
            Input::Request(call, request) => {
                Box::pin(self.requests.take(
                    &self.inner,
                    &self.handle,
                    &self.caller,
                    call,
                    request,
                ))
                .await;
            }
        }
        Ok(())
    }

    async fn timers(&mut self) -> Result<(), Close> {
        let now = Instant::now();
        let deadline = self.inner.config.gateway.deadline;
        if self.heard_at.is_some_and(|at| now >= at + deadline) {
            return Err(Close::HeartbeatTimeout);
        }
        if self.activity_at.is_some_and(|at| now >= at) {
            self.activity_at = None;
            self.tell_activity();
        }
        if self.recheck_at.is_some_and(|at| now >= at) {
            self.recheck_at = None;
            self.handle.recheck();
        }
        if now >= self.revalidate_at {
            self.revalidate_at =
                now + REVALIDATE - rand::random_range(Duration::ZERO..REVALIDATE / 4);
            match self.inner.domain.revalidate(&self.caller).await {
                Ok(()) => self.checked_at = now,
                Err(error) => match close_of(&error) {
                    Close::StoreUnavailable if self.checked_at.elapsed() < UNCHECKED_MAX => {}
                    close => return Err(close),
                },
            }
        }
        Ok(())
    }

    /// Tells which channels out of view have something new: at once after a quiet second, else at
    /// its end.
    fn activity(&mut self) {
        if self.activity_at.is_none() && self.handle.has_activity() {
            self.tell_activity();
        }
    }

    fn tell_activity(&mut self) {
        let told = self.handle.take_activity();
        if told.is_empty() {
            return;
        }
        self.activity_at = Some(Instant::now() + ACTIVITY_EVERY);
        for (channel, (position, message)) in told {
            let frame = wire::activity(channel, position, message);
            if self.handle.outbox.push(frame).is_err() {
                // The last word is never withheld: it waits for the next second.
                self.handle.activity(channel, position, message);
            }
        }
    }
}

/// The bounds of `identify`.
fn check(identify: &v1::Identify, limits: &crate::config::Limits) -> Result<(), Refusal> {
    let refuse = |detail: String| Err((Close::FieldInvalid, Some(detail)));
    if identify.positions.len() > limits.positions_max {
        let (n, max) = (identify.positions.len(), limits.positions_max);
        return refuse(format!("identify.positions: {n} given, {max} at most"));
    }
    let device_chars = identify.device.chars().count();
    if device_chars > limits.name_chars_max {
        return refuse(format!(
            "identify.device: {device_chars} characters, {} at most",
            limits.name_chars_max
        ));
    }
    if v1::Delivery::try_from(identify.delivery).is_err() {
        return refuse(format!(
            "identify.delivery: {} is not a delivery",
            identify.delivery
        ));
    }
    if let Some(view) = &identify.view {
        follow::check_view(view).map_err(|detail| (Close::FieldInvalid, Some(detail)))?;
    }
    Ok(())
}

/// The positions presented, by topic.
fn presented(identify: &v1::Identify) -> HashMap<TopicKey, crate::model::Position> {
    let viewed = identify
        .view
        .iter()
        .flat_map(|view| &view.channels)
        .filter_map(|channel| {
            let position = channel.position.as_ref()?;
            Some((
                TopicKey::channel(channel.channel_id),
                wire::position(position),
            ))
        });
    let held = identify.positions.iter().filter_map(|held| {
        let topic = wire::topic_key(held.topic.as_ref())?;
        Some((topic, wire::position(held.position.as_ref()?)))
    });
    viewed.chain(held).collect()
}
