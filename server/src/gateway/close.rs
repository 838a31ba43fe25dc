//! Why the server ends a stream: the table of close codes, as docs/errors.md has it.

use super::outbox::End;
use chirm_proto::google::rpc;
use chirm_proto::v1;

macro_rules! closes {
    ($($(#[$doc:meta])* $variant:ident =
        $code:literal, $reason:literal, $advice:ident, $grpc:ident, $message:literal;)*) => {
        /// Why the server ends a stream; docs/errors.md has the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Close { $($(#[$doc])* $variant,)* }

        impl Close {
            /// All of them.
            pub const ALL: &[Close] = &[$(Close::$variant,)*];

            /// The close code: 4000 to 4099.
            #[must_use]
            pub fn code(self) -> i32 {
                match self { $(Close::$variant => $code,)* }
            }

            /// For programs.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(Close::$variant => $reason,)* }
            }

            /// What a client should do about it.
            #[must_use]
            pub fn advice(self) -> v1::Advice {
                match self { $(Close::$variant => v1::Advice::$advice,)* }
            }

            /// The stream's gRPC status.
            #[must_use]
            pub fn grpc_code(self) -> i32 {
                (match self { $(Close::$variant => rpc::Code::$grpc,)* }) as i32
            }

            /// For people.
            #[must_use]
            pub fn message(self) -> &'static str {
                match self { $(Close::$variant => $message,)* }
            }
        }
    };
}

closes! {
    /// A bug of the server.
    Internal = 4000, "INTERNAL", Resume, Internal, "an error of the server";
    /// A frame that can't be decoded.
    Malformed = 4001, "MALFORMED", Stop, InvalidArgument, "the frame can't be decoded";
    /// A frame over the limit.
    TooLarge = 4002, "REQUEST_TOO_LARGE", Stop, OutOfRange,
        "a frame is over the limit";
    /// Another frame came before `identify`.
    NotIdentified = 4003, "NOT_IDENTIFIED", Stop, InvalidArgument,
        "the first frame must be identify";
    /// A second `identify`.
    AlreadyIdentified = 4004, "ALREADY_IDENTIFIED", Stop, InvalidArgument,
        "identify comes once, as the first frame";
    /// No `identify` in time.
    IdentifyTimeout = 4005, "IDENTIFY_TIMEOUT", Resume, DeadlineExceeded,
        "no identify within the deadline";
    /// `identify` or `view` is over a limit.
    FieldInvalid = 4006, "FIELD_INVALID", Stop, InvalidArgument, "a field is over its limit";
    /// The token is unknown or malformed.
    TokenInvalid = 4010, "TOKEN_INVALID", Reauthenticate, Unauthenticated,
        "the token is unknown or malformed";
    /// The token has expired.
    TokenExpired = 4011, "TOKEN_EXPIRED", Reauthenticate, Unauthenticated,
        "the token has expired: refresh it";
    /// The session was ended.
    SessionRevoked = 4012, "SESSION_REVOKED", Reauthenticate, Unauthenticated,
        "the session was ended";
    /// The account is gone.
    AccountDeleted = 4014, "ACCOUNT_DELETED", Stop, Unauthenticated, "the account was deleted";
    /// A newer stream of the same device and user took its place.
    SessionReplaced = 4013, "SESSION_REPLACED", Stop, Aborted,
        "a newer stream of this device took over";
    /// As many streams as are allowed are open.
    TooManySessions = 4015, "TOO_MANY_SESSIONS", Stop, ResourceExhausted,
        "too many streams of this user are open";
    /// Silent for longer than the deadline.
    HeartbeatTimeout = 4020, "HEARTBEAT_TIMEOUT", Resume, DeadlineExceeded,
        "silent for longer than the deadline";
    /// It didn't read as fast as events came.
    SlowConsumer = 4021, "SLOW_CONSUMER", Resume, ResourceExhausted,
        "events came faster than they were read";
    /// Frames beyond the limit, again and again.
    RateLimited = 4022, "RATE_LIMITED", Resume, ResourceExhausted,
        "more frames than the limit allows";
    /// The state to send can't be read now.
    StoreUnavailable = 4023, "STORE_UNAVAILABLE", Resume, Unavailable,
        "the state to send can't be read now";
    /// This node is about to stop.
    Draining = 4030, "DRAINING", Resume, Unavailable, "this node is about to stop";
}

/// Why a stream ends, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) close: Close,
    /// For people; in place of the code's own message.
    pub(super) detail: Option<String>,
}

impl Ending {
    pub(super) fn of(close: Close, detail: String) -> Self {
        let detail = Some(detail);
        Self { close, detail }
    }

    pub(super) fn message(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.close.message())
    }

    /// How the transport ends the stream.
    pub(super) fn end(&self) -> End {
        End {
            code: self.close.grpc_code(),
            message: self.message().to_owned(),
        }
    }
}

impl From<Close> for Ending {
    fn from(close: Close) -> Self {
        let detail = None;
        Self { close, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn close_codes_are_as_the_documented_table_says() {
        let table = include_str!("../../../docs/errors.md");
        let mut codes = HashSet::new();
        for close in Close::ALL {
            let (code, reason) = (close.code(), close.reason());
            assert!(codes.insert(code), "{code} twice");
            let advice = close
                .advice()
                .as_str_name()
                .trim_start_matches("ADVICE_")
                .to_lowercase();
            let row = format!("| {code} | {reason} | {advice} |");
            assert!(table.contains(&row), "docs/errors.md lacks: {row}");
        }
    }
}
