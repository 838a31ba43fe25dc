//! Why a use case refused.

use crate::{bus, store};
use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait where something is overloaded or away for now.
pub(crate) const RETRY_SOON: Duration = Duration::from_secs(1);

/// The canonical codes in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request is wrong in itself.
    InvalidArgument,
    /// It is there already, or the name is taken.
    AlreadyExists,
    /// Who calls isn't known.
    Unauthenticated,
    /// Who calls may not do that.
    PermissionDenied,
    /// It doesn't exist, or the caller may not see it.
    NotFound,
    /// Something else has to change first.
    FailedPrecondition,
    /// A bound or a rate is reached.
    ResourceExhausted,
    /// Another change came first.
    Aborted,
    /// Try again.
    Unavailable,
    /// The outcome is unknown.
    DeadlineExceeded,
    /// This server doesn't have it.
    Unimplemented,
    /// A bug of the server.
    Internal,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident;)*) => {
        /// Why, for programs; docs/errors.md has the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason that the use cases have.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];

            /// As clients get it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// The canonical code that goes with it.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Reason::$variant => Code::$code,)* }
            }
        }
    };
}

reasons! {
    /// Fields are wrong: the error names them.
    FieldInvalid = "FIELD_INVALID", InvalidArgument;
    /// `reply_to` isn't a message of the channel.
    ReplyNotFound = "REPLY_NOT_FOUND", InvalidArgument;
    /// The nonce or request_id was used with other content.
    NonceReused = "NONCE_REUSED", AlreadyExists;
    /// Another account has this name, or one that looks like it.
    NameTaken = "NAME_TAKEN", AlreadyExists;
    /// No token.
    TokenMissing = "TOKEN_MISSING", Unauthenticated;
    /// Unknown, malformed or spent.
    TokenInvalid = "TOKEN_INVALID", Unauthenticated;
    /// Its time is over.
    TokenExpired = "TOKEN_EXPIRED", Unauthenticated;
    /// The session was ended.
    SessionRevoked = "SESSION_REVOKED", Unauthenticated;
    /// Name or password.
    CredentialsWrong = "CREDENTIALS_WRONG", Unauthenticated;
    /// The integrator's JWT.
    JwtInvalid = "JWT_INVALID", Unauthenticated;
    /// Seen, but not allowed.
    PermissionDenied = "PERMISSION_DENIED", PermissionDenied;
    /// Only a service key may.
    KeyRequired = "KEY_REQUIRED", PermissionDenied;
    /// Kept out of the server.
    Banned = "BANNED", PermissionDenied;
    /// One of the two users blocks the other.
    Blocked = "BLOCKED", PermissionDenied;
    /// A member that may read and not write for now.
    TimedOut = "TIMED_OUT", PermissionDenied;
    /// The integrator's service refuses the message.
    RejectedByHook = "REJECTED_BY_HOOK", PermissionDenied;
    /// The user takes no direct messages from the caller.
    DirectRefused = "DIRECT_REFUSED", PermissionDenied;
    /// Accounts aren't made here, or by invitation only.
    RegistrationClosed = "REGISTRATION_CLOSED", PermissionDenied;
    /// It doesn't exist, or the caller may not see it.
    NotFound = "NOT_FOUND", NotFound;
    /// An owner hands the server on, or deletes it.
    OwnerLeaves = "OWNER_LEAVES", FailedPrecondition;
    /// The session has no open stream.
    NotConnected = "NOT_CONNECTED", FailedPrecondition;
    /// Not with a channel of this type.
    WrongChannelType = "WRONG_CHANNEL_TYPE", FailedPrecondition;
    /// As many as are allowed exist.
    LimitReached = "LIMIT_REACHED", ResourceExhausted;
    /// Too fast.
    RateLimited = "RATE_LIMITED", ResourceExhausted;
    /// The channel's slow mode.
    SlowMode = "SLOW_MODE", ResourceExhausted;
    /// Another change came first.
    Conflict = "CONFLICT", Aborted;
    /// The outcome is unknown.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded;
    /// A queue is full; nothing was done.
    Overloaded = "OVERLOADED", Unavailable;
    /// The integrator's service doesn't answer; nothing was done.
    HookUnavailable = "HOOK_UNAVAILABLE", Unavailable;
    /// The outcome is unknown.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable;
    /// This server doesn't have it.
    NotImplemented = "NOT_IMPLEMENTED", Unimplemented;
    /// A bug of the server.
    Internal = "INTERNAL", Internal;
}

/// A wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its path in the request: `server.name`.
    pub path: Cow<'static, str>,
    /// What it is and what it should be.
    pub problem: String,
}

/// Why a use case refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", reason.as_str())]
pub struct Error {
    /// For programs.
    pub reason: Reason,
    /// For people: a whole sentence.
    pub message: Cow<'static, str>,
    /// Wrong fields.
    pub fields: Vec<Field>,
    /// A value that programs may use, as (`limit`, `200`).
    pub metadata: Option<(&'static str, Cow<'static, str>)>,
    /// When the same call may succeed.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// A refusal without details.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
            fields: Vec::new(),
            metadata: None,
            retry_after: None,
        }
    }

    /// The canonical code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.reason.code()
    }

    /// One field is wrong.
    pub fn field(path: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        let (path, problem) = (path.into(), problem.into());
        let mut error = Self::new(Reason::FieldInvalid, format!("{path}: {problem}."));
        error.fields.push(Field { path, problem });
        error
    }

    /// It isn't there, or hidden: the same answer. `what` is the kind: `channel`.
    #[must_use]
    pub fn not_found(what: &'static str) -> Self {
        let mut error = Self::new(Reason::NotFound, format!("There is no such {what}."));
        error.metadata = Some(("resource", what.into()));
        error
    }

    /// Seen, but not allowed.
    #[must_use]
    pub fn denied(message: &'static str) -> Self {
        Self::new(Reason::PermissionDenied, message)
    }

    /// As many as are allowed exist.
    #[must_use]
    pub fn limit(what: &str, limit: u32) -> Self {
        let mut error = Self::new(
            Reason::LimitReached,
            format!("As many {what} as are allowed exist: {limit}."),
        );
        error.metadata = Some(("limit", limit.to_string().into()));
        error
    }

    /// It took too long: whether it was done is unknown.
    #[must_use]
    pub fn too_late() -> Self {
        Self::new(
            Reason::DeadlineExceeded,
            "It took too long; whether it was done is unknown.",
        )
    }

    /// Says when the same call may succeed.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Conflict(_) => Error::new(
                Reason::Conflict,
                "Another change came first; read and try again.",
            ),
            store::Error::NotFound(what) => Error::not_found(what),
            store::Error::LimitReached(what, most) => Error::limit(what, most),
            store::Error::Overloaded => overloaded(),
            store::Error::Unavailable(cause) => {
                static LINES: Lines = Lines::new();
                if let Some(left_out) = LINES.turn(now_ms()) {
                    tracing::error!(cause, left_out, "the store refused");
                }
                store_unavailable()
            }
            store::Error::Unusable(cause) => {
                tracing::error!(cause, "the store refused");
                store_unavailable()
            }
        }
    }
}

impl From<bus::Error> for Error {
    fn from(error: bus::Error) -> Self {
        match error {
            bus::Error::Deleted => return Error::not_found("message"),
            bus::Error::Overloaded => return overloaded(),
            bus::Error::Refused => {}
            bus::Error::Unavailable(_) => {
                static LINES: Lines = Lines::new();
                if let Some(left_out) = LINES.turn(now_ms()) {
                    tracing::error!(%error, left_out, "the bus refused");
                }
            }
        }
        Error::new(
            Reason::StoreUnavailable,
            "The bus can't be reached now; whether it was done is unknown.",
        )
        .retry_after(RETRY_SOON)
    }
}

fn store_unavailable() -> Error {
    Error::new(
        Reason::StoreUnavailable,
        "The store can't be reached now; whether it was done is unknown.",
    )
    .retry_after(RETRY_SOON)
}

/// Lines of the log that say the same thousands of times when a server is away: one a second.
struct Lines {
    /// When the next one may come.
    next_ms: AtomicU64,
    left_out: AtomicU64,
}

impl Lines {
    const fn new() -> Self {
        Self {
            next_ms: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// If a line may come now: how many were left out before it.
    fn turn(&self, now_ms: u64) -> Option<u64> {
        let next = self.next_ms.load(Ordering::Relaxed);
        let taken = now_ms >= next
            && self
                .next_ms
                .compare_exchange(next, now_ms + 1_000, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if taken {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Milliseconds since the first call.
fn now_ms() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let passed = BEGUN.get_or_init(Instant::now).elapsed();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX / 2)
}

fn overloaded() -> Error {
    Error::new(Reason::Overloaded, "Too much at once; nothing was done.").retry_after(RETRY_SOON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_once_a_second_and_count_the_others() {
        let lines = Lines::new();
        assert_eq!(lines.turn(5), Some(0));
        assert_eq!((lines.turn(5), lines.turn(1_004)), (None, None));
        assert_eq!(lines.turn(1_005), Some(2));
        assert_eq!(lines.turn(3_000), Some(0));
    }

    #[test]
    fn what_is_shed_or_away_says_when_to_come_again() {
        let away = || "away".to_owned();
        for (error, reason) in [
            (store::Error::Overloaded.into(), Reason::Overloaded),
            (bus::Error::Overloaded.into(), Reason::Overloaded),
            (
                store::Error::Unavailable(away()).into(),
                Reason::StoreUnavailable,
            ),
            (
                bus::Error::Unavailable(away()).into(),
                Reason::StoreUnavailable,
            ),
        ] {
            let error: Error = error;
            assert_eq!((error.reason, error.code()), (reason, Code::Unavailable));
            assert!(error.retry_after > Some(Duration::ZERO), "{error}");
        }
    }

    #[test]
    fn every_reason_stands_in_the_table_of_errors() {
        let table = include_str!("../../../docs/errors.md");
        for reason in Reason::ALL {
            let row = format!("| {} |", reason.as_str());
            assert!(table.contains(&row), "docs/errors.md has no row {row}");
        }
    }
}
