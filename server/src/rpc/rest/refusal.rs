//! Errors as HTTP answers: `{"error": {"code", "status", "message", "details"}}`, as Google's APIs
//! do.

use axum::body::Body;
use chirm_proto::google::rpc;
use chirm_proto::json::Error as JsonError;
use http::{HeaderValue, Response, StatusCode, header};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::json_response;
use crate::domain::Reason;
use crate::rpc::status::{EdgeReason, Failure, code_name, proto_of};

/// A refused call, with what HTTP has of its own.
#[derive(Debug)]
pub(super) struct Refusal {
    http: StatusCode,
    /// The verbs that the path has, where the verb was wrong.
    allow: Option<String>,
    status: rpc::Status,
}

impl Refusal {
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Failure::of(EdgeReason::Malformed, message).into()
    }

    pub(super) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        let message = format!("The field {field:?} is wrong: {description}.");
        Failure::by(Reason::FieldInvalid, &message)
            .field(field, description)
            .into()
    }

    pub(super) fn path_not_found() -> Self {
        let message = "No method has this path; /openapi.json lists them.";
        Failure::of(EdgeReason::PathNotFound, message).into()
    }

    pub(super) fn method_not_allowed(allow: &str) -> Self {
        let message = format!("This path has {allow}.");
        let failure = Failure::of(EdgeReason::MethodNotAllowed, message);
        let allow = Some(allow.to_owned());
        Self {
            allow,
            ..failure.into()
        }
    }

    pub(super) fn unsupported_media_type(message: &str) -> Self {
        Failure::of(EdgeReason::UnsupportedMediaType, message).into()
    }

    pub(super) fn into_response(self, pool: &DescriptorPool) -> Response<Body> {
        let details: Vec<_> = self
            .status
            .details
            .iter()
            .map(|any| detail(pool, any))
            .collect();
        let error = json!({
            "code": self.http.as_u16(),
            "status": code_name(Code::from(self.status.code)),
            "message": self.status.message,
            "details": details,
        });
        let mut response = json_response(json!({ "error": error }).to_string());
        *response.status_mut() = self.http;
        let headers = response.headers_mut();
        if self.http == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow.and_then(|allow| allow.parse().ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(delay) = Failure::from_proto(&self.status).retry_after {
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Malformed(problem) => Self::malformed(problem),
            JsonError::Field(path, problem) => Self::field(path, problem),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            http: http_status(failure.code, &failure.reason),
            allow: None,
            status: failure.into_proto(),
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let reason = Failure::from_status(&status).reason;
        Self {
            http: http_status(status.code(), &reason),
            allow: None,
            status: proto_of(&status),
        }
    }
}

/// The HTTP status of a refusal: HTTP has its own for some reasons; the other reasons have that of
/// their code, as google/rpc/code.proto maps them.
#[must_use]
pub fn http_status(code: Code, reason: &str) -> StatusCode {
    let edge = EdgeReason::ALL
        .into_iter()
        .find(|edge| edge.as_str() == reason);
    match edge {
        Some(EdgeReason::MethodNotAllowed) => StatusCode::METHOD_NOT_ALLOWED,
        Some(EdgeReason::UnsupportedMediaType) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(EdgeReason::RequestTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(EdgeReason::Malformed | EdgeReason::PathNotFound) | None => http_status_of(code),
    }
}

fn http_status_of(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).expect("499 is a valid status"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The name of a code by its number.
pub(super) fn code_text(code: i32) -> &'static str {
    code_name(Code::from(code))
}

/// A detail as proto3 JSON writes an `Any`; one of an unknown type keeps its bytes, as base64.
fn detail(pool: &DescriptorPool, any: &prost_types::Any) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let object = pool
        .get_message_by_name(name)
        .and_then(|message| DynamicMessage::decode(message, &*any.value).ok())
        .and_then(|message| serde_json::to_value(message).ok());
    let mut object = match object {
        Some(Value::Object(object)) => object,
        Some(value) => serde_json::Map::from_iter([("value".to_owned(), value)]),
        None => {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.encode(&any.value);
            serde_json::Map::from_iter([("value".to_owned(), bytes.into())])
        }
    };
    object.insert("@type".to_owned(), any.type_url.clone().into());
    Value::Object(object)
}
