//! One session's life: identify, be brought up to date, then live. Two halves run beside each
//! other in one task: what the client sends, and what it gets.
//!
//! - `bounds`: the limits of what a client says about itself.
//! - `reader`, `requests`: what it sends.
//! - `interest`: of whom it is told.
//! - `follower`: what it gets; `plan`: how a topic is brought from the position held to now.

mod bounds;
mod follower;
mod interest;
mod plan;
mod reader;
mod requests;

use super::Inner;
use super::close::{Close, Ending};
use super::handle::SessionHandle;
use super::outbox::{End, Outbox};
use super::people::Interest;
use super::registry;
use super::wire::{self, Input, Times};
use crate::bus::Device;
use crate::domain::{self, Caller, Reason};
use crate::model::{Position, Status, TopicKey, User};
use crate::mutation;
use chirm_proto::v1;
use follower::Follower;
use futures::{Stream, StreamExt};
use reader::Reader;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;

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
    let end = |ending: &Ending| outbox.finish(Some(wire::closing(ending)), ending.end(), false);
    let identify = match first(&inner, &mut inputs, &outbox).await {
        Ok(Some(identify)) => identify,
        Ok(None) => return outbox.finish(None, ok(), false),
        Err(ending) => return end(&ending),
    };
    let session = match Session::open(&inner, &identify, &transport).await {
        Ok(session) => session,
        Err(ending) => return end(&ending),
    };
    session.live(*identify, inputs, transport.one_way).await;
}

/// The first frame, which must be `identify`.
async fn first<S>(
    inner: &Inner,
    inputs: &mut S,
    outbox: &Outbox,
) -> Result<Option<Box<v1::Identify>>, Ending>
where
    S: Stream<Item = Result<Input, InputError>> + Send + Unpin,
{
    let first = async {
        tokio::select! {
            first = inputs.next() => first,
            () = outbox.ended() => None,
        }
    };
    let deadline = match mutation::on("identify_timeout_off") {
        true => Duration::MAX,
        false => inner.config.gateway.identify_deadline,
    };
    match timeout(deadline, first).await {
        Err(_) => Err(Close::IdentifyTimeout.into()),
        Ok(None | Some(Err(InputError::Broken))) => Ok(None),
        Ok(Some(Err(InputError::Malformed))) => Err(Close::Malformed.into()),
        Ok(Some(Err(InputError::TooLarge))) => Err(bounds::too_large(&inner.config.limits)),
        Ok(Some(Ok(Input::Identify(identify)))) => Ok(Some(identify)),
        Ok(Some(Ok(_))) => Err(Close::NotIdentified.into()),
    }
}

/// Lets a session in without running it.
#[cfg(test)]
pub(super) async fn let_in(
    inner: &Arc<Inner>,
    identify: &v1::Identify,
    transport: &Transport,
) -> Session {
    let opened = Session::open(inner, identify, transport).await;
    opened.unwrap_or_else(|ending| panic!("not let in: {ending:?}"))
}

/// A session that is let in. However it ends, it leaves the registry and its stream is over.
pub(super) struct Session {
    inner: Arc<Inner>,
    handle: Arc<SessionHandle>,
    caller: Arc<Caller>,
    held: HashMap<TopicKey, Position>,
}

impl Session {
    async fn open(
        inner: &Arc<Inner>,
        identify: &v1::Identify,
        transport: &Transport,
    ) -> Result<Self, Ending> {
        let held = bounds::check_identify(identify, &inner.config.limits)?;
        let caller = inner.domain.authenticate(&identify.token).await;
        let caller = caller.map_err(|error| close_of(&error))?;
        let user = match inner.store.users(&[caller.user_id]).await {
            Ok(users) => users.into_iter().next().ok_or(Close::AccountDeleted)?,
            Err(_) => return Err(Close::StoreUnavailable.into()),
        };
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        let (user_id, session_id) = (caller.user_id, caller.session_id);
        let device = identify.device.clone();
        let outbox = transport.outbox.clone();
        let handle = Arc::new(SessionHandle::new(
            serial, user_id, session_id, device, outbox,
        ));
        let limits = &inner.config.limits;
        let max = if limits.enabled && !caller.is_favoured() {
            limits.sessions_per_user as usize
        } else {
            usize::MAX
        };
        let entered = inner.registry.enter(handle.clone(), max);
        entered.map_err(|refused| match refused {
            registry::Refused::Draining => Close::Draining,
            registry::Refused::TooMany => Close::TooManySessions,
        })?;
        let session = Self {
            inner: inner.clone(),
            handle,
            caller: Arc::new(caller),
            held,
        };
        session.appear(identify).await?;
        session.hello(&user);
        Ok(session)
    }

    /// The user is here.
    async fn appear(&self, identify: &v1::Identify) -> Result<(), Ending> {
        let device = Device {
            user: self.handle.user_id,
            serial: self.handle.serial,
            credential: self.handle.session_id,
            name: self.handle.device.clone(),
        };
        let status = wire::status(identify.presence).ok().flatten();
        let open = self
            .inner
            .presences
            .open(device, status.unwrap_or(Status::Online));
        open.await.map_err(|_| Close::StoreUnavailable.into())
    }

    fn hello(&self, user: &User) {
        let gateway = &self.inner.config.gateway;
        let times = Times {
            heartbeat: gateway.heartbeat,
            deadline: gateway.deadline,
            grace: gateway.grace,
        };
        let hello = wire::hello(self.handle.session_id, &times, user);
        // The first frame always fits.
        let _ = self.handle.outbox.push(hello);
    }

    pub(super) async fn live<S>(mut self, identify: v1::Identify, inputs: S, one_way: bool)
    where
        S: Stream<Item = Result<Input, InputError>> + Send + Unpin,
    {
        let (inner, handle) = (self.inner.clone(), self.handle.clone());
        let (held, caller) = (std::mem::take(&mut self.held), self.caller.clone());
        let mut follower = Follower::new(inner.clone(), handle.clone(), &caller, &identify, held);
        drop(identify);
        let mut reader = Reader::new(inner, handle.clone(), caller, one_way);
        let ended = tokio::select! {
            () = handle.outbox.ended() => Ok(()),
            ended = reader.run(inputs) => ended,
            ended = follower.run() => ended.map(|never| match never {}),
        };
        if let Err(ending) = ended {
            handle.close(&ending);
        }
        // All that may be attached: an attachment that was under way, too.
        self.inner
            .hub
            .detach(follower.topics(), handle.serial)
            .await;
        self.inner.people.follow(&handle, Interest::default()).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inner.registry.leave(&self.handle);
        self.handle.outbox.finish(None, ok(), false);
        let (inner, handle) = (self.inner.clone(), self.handle.clone());
        // However it ended, in the middle of something too.
        tokio::spawn(async move {
            let closed = inner.presences.close(handle.user_id, handle.serial).await;
            if let Err(error) = closed {
                tracing::warn!(%error, "that a session ended could not be told");
            }
            inner.people.follow(&handle, Interest::default()).await;
        });
    }
}
