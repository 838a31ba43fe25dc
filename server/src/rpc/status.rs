//! Errors as clients get them: a gRPC code with `google.rpc` details, the same over every carrier.
//!
//! [`Failure`] is built plainly and becomes a [`tonic::Status`] (details in
//! `grpc-status-details-bin`) or a [`google.rpc.Status`](rpc::Status) (in a gateway's `Result` and
//! in REST). Both decode back. docs/errors.md lists the reasons.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use crate::domain;
use crate::mutation;
use chirm_proto::google::rpc;
use prost::Message;
use tonic::{Code, Status};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "chirm.dev";

/// Metadata entries, and field violations, that one failure carries; more are dropped. A header
/// list is limited to 8 KiB, so details have to stay small.
pub const DETAILS_MAX: usize = 16;

/// Bytes of the message and of each description; longer ones are cut at a character.
pub const TEXT_BYTES_MAX: usize = 256;

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// Why the edge refuses what never gets to a use case; the other reasons are
/// [`domain::Reason`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeReason {
    /// The request can't be decoded.
    Malformed,
    /// It has more bytes than it may have.
    RequestTooLarge,
    /// No method has this path.
    PathNotFound,
    /// The path has other verbs.
    MethodNotAllowed,
    /// The body is of a kind that isn't taken.
    UnsupportedMediaType,
}

impl EdgeReason {
    /// All of them.
    pub const ALL: [EdgeReason; 5] = [
        EdgeReason::Malformed,
        EdgeReason::RequestTooLarge,
        EdgeReason::PathNotFound,
        EdgeReason::MethodNotAllowed,
        EdgeReason::UnsupportedMediaType,
    ];

    /// As clients get it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EdgeReason::Malformed => "MALFORMED",
            EdgeReason::RequestTooLarge => "REQUEST_TOO_LARGE",
            EdgeReason::PathNotFound => "PATH_NOT_FOUND",
            EdgeReason::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            EdgeReason::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
        }
    }

    /// The canonical code that goes with it.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            EdgeReason::Malformed | EdgeReason::UnsupportedMediaType => Code::InvalidArgument,
            EdgeReason::RequestTooLarge => Code::ResourceExhausted,
            EdgeReason::PathNotFound => Code::NotFound,
            EdgeReason::MethodNotAllowed => Code::Unimplemented,
        }
    }
}

impl From<domain::Code> for Code {
    fn from(code: domain::Code) -> Self {
        match code {
            domain::Code::InvalidArgument => Code::InvalidArgument,
            domain::Code::AlreadyExists => Code::AlreadyExists,
            domain::Code::Unauthenticated => Code::Unauthenticated,
            domain::Code::PermissionDenied => Code::PermissionDenied,
            domain::Code::NotFound => Code::NotFound,
            domain::Code::FailedPrecondition => Code::FailedPrecondition,
            domain::Code::ResourceExhausted => Code::ResourceExhausted,
            domain::Code::Aborted => Code::Aborted,
            domain::Code::Unavailable => Code::Unavailable,
            domain::Code::DeadlineExceeded => Code::DeadlineExceeded,
            domain::Code::Unimplemented => Code::Unimplemented,
            domain::Code::Internal => Code::Internal,
        }
    }
}

/// Why a call is refused.
///
/// ```
/// # use chirm_server::rpc::status::Failure;
/// let status = Failure::new(tonic::Code::InvalidArgument, "FIELD_INVALID", "A field is wrong.")
///     .field("content", "1 to 4,000 characters")
///     .into_status();
/// assert_eq!(Failure::from_status(&status).reason, "FIELD_INVALID");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The canonical code.
    pub code: Code,
    /// UPPER_SNAKE, stable, one of docs/errors.md. Empty only in what others sent without one.
    pub reason: Cow<'static, str>,
    /// For people: a whole sentence that says what to do. At most [`TEXT_BYTES_MAX`] bytes.
    pub message: String,
    /// `ErrorInfo.metadata`: values that a program may use, such as a limit. At most
    /// [`DETAILS_MAX`].
    pub metadata: BTreeMap<String, String>,
    /// What is wrong with which field, by its path in the request. At most [`DETAILS_MAX`].
    pub violations: Vec<Violation>,
    /// How long to wait before the same call may succeed; absent if waiting doesn't help.
    pub retry_after: Option<Duration>,
}

/// A field of the request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request, as in the .proto file: `server.name`, `user_ids[3]`.
    pub field: String,
    /// What it should be. At most [`TEXT_BYTES_MAX`] bytes.
    pub description: String,
}

impl Failure {
    /// A failure without fields, metadata or a delay.
    pub fn new(
        code: Code,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: cut(message.into()),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// One of the edge's own.
    pub fn of(reason: EdgeReason, message: impl Into<String>) -> Self {
        Self::new(reason.code(), reason.as_str(), message)
    }

    /// As the use cases have it.
    pub(super) fn by(reason: domain::Reason, message: &str) -> Self {
        Self::new(reason.code().into(), reason.as_str(), message)
    }

    /// The request has more bytes than it may have.
    pub fn too_large(bytes: Option<u64>, bytes_max: usize) -> Self {
        let failure = match bytes {
            Some(bytes) => {
                let message = format!("The request has {bytes} bytes; at most {bytes_max} may be.");
                Self::of(EdgeReason::RequestTooLarge, message).meta("size", bytes)
            }
            None => {
                let message = format!("The request has more than {bytes_max} bytes.");
                Self::of(EdgeReason::RequestTooLarge, message)
            }
        };
        failure.meta("limit", bytes_max)
    }

    /// The request took too long.
    #[must_use]
    pub fn timed_out() -> Self {
        let message = "The request took too long to arrive or to be answered.";
        Self::by(domain::Reason::DeadlineExceeded, message)
    }

    /// The method is in the protocol, or nowhere, but not in this server.
    #[must_use]
    pub fn not_implemented() -> Self {
        let message = "This server doesn't have this method.";
        Self::by(domain::Reason::NotImplemented, message)
    }

    /// Adds a wrong field; past [`DETAILS_MAX`] it is left out.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        if self.violations.len() < DETAILS_MAX {
            let (field, description) = (cut(field.into()), cut(description.into()));
            self.violations.push(Violation { field, description });
        }
        self
    }

    /// Adds an entry of `ErrorInfo.metadata`; past [`DETAILS_MAX`] it is left out.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        if self.metadata.len() < DETAILS_MAX {
            self.metadata.insert(key.into(), cut(value.to_string()));
        }
        self
    }

    /// Says that the same call may succeed after this long.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// As a gRPC status, with the details in `grpc-status-details-bin`.
    #[must_use]
    pub fn into_status(self) -> Status {
        let code = self.code;
        let proto = self.into_proto();
        let details = proto.encode_to_vec();
        Status::with_details(code, proto.message, details.into())
    }

    /// As `google.rpc.Status`, for a gateway's `Result` and for REST.
    #[must_use]
    pub fn into_proto(self) -> rpc::Status {
        let mut details = Vec::new();
        if !self.reason.is_empty() && !mutation::on("error_without_info") {
            let info = rpc::ErrorInfo {
                reason: self.reason.into_owned(),
                domain: DOMAIN.to_owned(),
                metadata: self.metadata.into_iter().collect(),
            };
            details.push(any(ERROR_INFO, &info));
        }
        if !self.violations.is_empty() {
            let field_violations = self.violations.into_iter().map(Violation::into_proto);
            let bad = rpc::BadRequest {
                field_violations: field_violations.collect(),
            };
            details.push(any(BAD_REQUEST, &bad));
        }
        if let Some(delay) = self.retry_after {
            let retry_delay = prost_types::Duration::try_from(delay).ok();
            details.push(any(RETRY_INFO, &rpc::RetryInfo { retry_delay }));
        }
        rpc::Status {
            code: self.code as i32,
            message: self.message,
            details,
        }
    }

    /// Reads a gRPC status back; details of other types are passed over.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        Self::from_proto(&proto_of(status))
    }

    /// Reads a `google.rpc.Status` back; details of other types are passed over.
    #[must_use]
    pub fn from_proto(status: &rpc::Status) -> Self {
        let mut failure = Self::new(Code::from(status.code), "", status.message.clone());
        for detail in &status.details {
            failure.add_detail(detail);
        }
        failure
    }

    fn add_detail(&mut self, detail: &prost_types::Any) {
        match detail.type_url.as_str() {
            ERROR_INFO => {
                if let Ok(info) = rpc::ErrorInfo::decode(&*detail.value) {
                    self.reason = info.reason.into();
                    self.metadata = info.metadata.into_iter().take(DETAILS_MAX).collect();
                }
            }
            BAD_REQUEST => {
                if let Ok(bad) = rpc::BadRequest::decode(&*detail.value) {
                    let fields = bad.field_violations.into_iter().take(DETAILS_MAX);
                    self.violations = fields.map(Violation::from_proto).collect();
                }
            }
            RETRY_INFO => {
                if let Ok(retry) = rpc::RetryInfo::decode(&*detail.value) {
                    self.retry_after = retry.retry_delay.and_then(|d| d.try_into().ok());
                }
            }
            _ => {}
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        failure.into_status()
    }
}

impl From<Failure> for rpc::Status {
    fn from(failure: Failure) -> Self {
        failure.into_proto()
    }
}

impl Violation {
    fn into_proto(self) -> rpc::bad_request::FieldViolation {
        rpc::bad_request::FieldViolation {
            field: self.field,
            description: self.description,
            ..Default::default()
        }
    }

    fn from_proto(proto: rpc::bad_request::FieldViolation) -> Self {
        Self {
            field: proto.field,
            description: proto.description,
        }
    }
}

/// A gRPC status as `google.rpc.Status`, all its details kept, whoever made it.
#[must_use]
pub fn proto_of(status: &Status) -> rpc::Status {
    let mut proto = rpc::Status::decode(status.details()).unwrap_or_default();
    // The headers are what gRPC clients act upon, so they win over what the details repeat.
    proto.code = status.code() as i32;
    status.message().clone_into(&mut proto.message);
    proto
}

/// The name of a code as `google.rpc.Code` has it: `NOT_FOUND`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    rpc::Code::try_from(code as i32)
        .unwrap_or(rpc::Code::Unknown)
        .as_str_name()
}

fn any(type_url: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}

fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Failure {
        Failure::new(
            Code::ResourceExhausted,
            "RATE_LIMITED",
            "Too many; wait a second.",
        )
        .meta("limit", 5)
        .field("content", "1 to 4,000 characters")
        .retry_after(Duration::from_millis(1_500))
    }

    #[test]
    fn a_failure_survives_both_encodings() {
        assert_eq!(Failure::from_status(&full().into_status()), full());
        assert_eq!(Failure::from_proto(&full().into_proto()), full());
        let status = full().into_status();
        assert_eq!(
            (status.code(), status.message()),
            (full().code, &*full().message)
        );
    }

    #[test]
    fn a_status_of_others_has_no_reason() {
        let failure = Failure::from_status(&Status::not_found("no"));
        assert_eq!(failure, Failure::new(Code::NotFound, "", "no"));
        assert_eq!(proto_of(&Status::not_found("no")).code, 5);
    }

    #[test]
    fn details_stay_small() {
        let mut failure = Failure::new(Code::InvalidArgument, "FIELD_INVALID", "ä".repeat(4_000));
        for i in 0..100 {
            failure = failure
                .field(format!("f{i}"), "x".repeat(500))
                .meta(format!("m{i:02}"), i);
        }
        assert_eq!(failure.message.len(), TEXT_BYTES_MAX);
        assert_eq!(
            (failure.violations.len(), failure.metadata.len()),
            (DETAILS_MAX, DETAILS_MAX)
        );
        assert!(failure.into_status().details().len() < 6_000);
    }

    #[test]
    fn codes_have_their_names() {
        assert_eq!(code_name(Code::NotFound), "NOT_FOUND");
        assert_eq!(code_name(Code::Unauthenticated), "UNAUTHENTICATED");
        assert_eq!(code_name(Code::Cancelled), "CANCELLED");
    }
}
