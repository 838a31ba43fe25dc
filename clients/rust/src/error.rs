//! What can go wrong, as one type: the server's answer with its `google.rpc` details, or a cause of
//! this machine's.

use chirm_proto::{google::rpc, v1};
use prost::Message as _;
use std::{fmt, time::Duration};
use tonic::Code;

/// The domain of the reasons that Chirm's own servers give.
const DOMAIN: &str = "chirm.dev";

/// What is to be repeated only after longer than this isn't repeated, but told.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The same call may succeed later; see [`Error::retry_after`].
    Retry,
    /// The connection ended; connecting again with the positions held goes on where it was.
    Resume,
    /// The token is of no use any more: sign in or refresh, then [`crate::Client::set_tokens`].
    Reauthenticate,
    /// It would end the same way.
    Stop,
}

/// An error of a call, a send or a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The canonical gRPC code.
    pub code: Code,
    /// The reason in UPPER_SNAKE, as docs/errors.md lists them; empty if the peer gave none.
    pub reason: String,
    /// For people.
    pub message: String,
    /// What to do about it.
    pub advice: Advice,
    /// How long to wait before a repeat, if the server said so.
    pub retry_after: Option<Duration>,
    /// Which fields of the request were wrong, and how: `(field, description)`.
    pub fields: Vec<(String, String)>,
    /// Values that a program may use, such as the limit that was met: `(name, value)`.
    pub metadata: Vec<(String, String)>,
}

impl Error {
    /// An error of this machine's: for an [`crate::OutboxStore`] or a [`crate::TokenSource`], too.
    #[must_use]
    pub fn local(code: Code, reason: &str, message: impl Into<String>, to: Advice) -> Self {
        let (reason, message) = (reason.to_owned(), message.into());
        Self {
            code,
            reason,
            message,
            advice: to,
            retry_after: None,
            fields: Vec::new(),
            metadata: Vec::new(),
        }
    }

    /// The client was closed by its own program.
    pub(crate) fn closed() -> Self {
        Self::local(
            Code::Cancelled,
            "CLIENT_CLOSED",
            "the client was closed",
            Advice::Stop,
        )
    }

    /// Something on the way to the server broke.
    pub(crate) fn connection(message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self::local(
            Code::Unavailable,
            "CONNECTION_LOST",
            message,
            Advice::Resume,
        )
    }

    /// The server's URL or another setting is of no use.
    pub(crate) fn config(message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self::local(Code::InvalidArgument, "BAD_CONFIG", message, Advice::Stop)
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.advice != Advice::Stop
    }

    /// Decodes `google.rpc.Status` with whatever details it carries.
    fn from_rpc(status: &rpc::Status) -> Self {
        let mut error = Self {
            code: Code::from_i32(status.code),
            reason: String::new(),
            message: status.message.clone(),
            advice: Advice::Stop,
            retry_after: None,
            fields: Vec::new(),
            metadata: Vec::new(),
        };
        let mut ours = false;
        for detail in &status.details {
            match detail.type_url.rsplit('/').next() {
                Some("google.rpc.ErrorInfo") => {
                    if let Ok(info) = rpc::ErrorInfo::decode(detail.value.as_slice()) {
                        ours |= info.domain == DOMAIN;
                        error.reason = info.reason;
                        error.metadata = info.metadata.into_iter().collect();
                    }
                }
                Some("google.rpc.RetryInfo") => {
                    let info = rpc::RetryInfo::decode(detail.value.as_slice()).ok();
                    error.retry_after = info
                        .and_then(|i| i.retry_delay)
                        .and_then(|d| d.try_into().ok());
                }
                Some("google.rpc.BadRequest") => {
                    if let Ok(bad) = rpc::BadRequest::decode(detail.value.as_slice()) {
                        let fields = bad.field_violations.into_iter();
                        error
                            .fields
                            .extend(fields.map(|v| (v.field, v.description)));
                    }
                }
                _ => {}
            }
        }
        error.advice = error.advise(ours);
        error
    }

    /// What to do, by code. An answer without our reason may be a proxy's, not the server's.
    fn advise(&self, ours: bool) -> Advice {
        let long = self.retry_after.is_some_and(|wait| wait > WAIT_MAX);
        match self.code {
            // A slow channel's next message, the end of a time-out: for people to know.
            Code::ResourceExhausted | Code::PermissionDenied if long && ours => Advice::Stop,
            Code::Unauthenticated => Advice::Reauthenticate,
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => {
                Advice::Retry
            }
            Code::ResourceExhausted if self.retry_after.is_some() || !ours => Advice::Retry,
            _ if self.retry_after.is_some() => Advice::Retry,
            Code::Internal | Code::Unknown if !ours => Advice::Retry,
            _ => Advice::Stop,
        }
    }

    /// What a stream's end means: whatever isn't said to be final by our own server is resumed.
    pub(crate) fn of_stream(status: &tonic::Status) -> Self {
        let mut error = Self::from(status);
        let foreign = error.reason.is_empty();
        if error.advice == Advice::Retry || (error.advice == Advice::Stop && foreign) {
            error.advice = Advice::Resume;
        }
        error
    }
}

impl From<rpc::Status> for Error {
    fn from(status: rpc::Status) -> Self {
        Self::from_rpc(&status)
    }
}

impl From<&tonic::Status> for Error {
    fn from(status: &tonic::Status) -> Self {
        let decoded = rpc::Status::decode(status.details()).unwrap_or_default();
        let code = status.code() as i32;
        let message = status.message().to_owned();
        Self::from_rpc(&rpc::Status {
            code,
            message,
            details: decoded.details,
        })
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::from(&status)
    }
}

impl From<v1::Closing> for Error {
    fn from(closing: v1::Closing) -> Self {
        let (code, advice) = match closing.advice() {
            v1::Advice::Unspecified | v1::Advice::Resume => (Code::Unavailable, Advice::Resume),
            v1::Advice::Reauthenticate => (Code::Unauthenticated, Advice::Reauthenticate),
            v1::Advice::Stop => (Code::FailedPrecondition, Advice::Stop),
        };
        Self::local(code, &closing.reason, closing.message, advice)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.reason.is_empty() {
            self.code.description()
        } else {
            &self.reason
        };
        write!(f, "{}: {name}", self.message)?;
        for (field, description) in &self.fields {
            write!(f, "; {field}: {description}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_delay(code: Code, seconds: i64) -> Error {
        let delay = prost_types::Duration { seconds, nanos: 0 };
        let retry = rpc::RetryInfo {
            retry_delay: Some(delay),
        };
        let info = rpc::ErrorInfo {
            reason: "SLOW_MODE".to_owned(),
            domain: DOMAIN.to_owned(),
            ..Default::default()
        };
        let any = |name: &str, value| prost_types::Any {
            type_url: format!("type.googleapis.com/google.rpc.{name}"),
            value,
        };
        Error::from(rpc::Status {
            code: code as i32,
            message: String::new(),
            details: vec![
                any("ErrorInfo", info.encode_to_vec()),
                any("RetryInfo", retry.encode_to_vec()),
            ],
        })
    }

    #[test]
    fn a_short_wait_is_waited_for_and_a_long_one_told() {
        for code in [Code::ResourceExhausted, Code::PermissionDenied] {
            for (seconds, advice) in [(60, Advice::Retry), (61, Advice::Stop)] {
                let error = with_delay(code, seconds);
                assert_eq!(
                    error.retry_after.map(|wait| wait.as_secs()),
                    Some(seconds as u64)
                );
                assert_eq!(error.advice, advice, "{code:?} {seconds}");
            }
        }
    }
}
