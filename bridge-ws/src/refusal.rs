//! What a request gets that becomes no WebSocket: the same JSON as REST's errors.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// A refused handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(crate) http: StatusCode,
    /// The canonical code's name.
    pub(crate) code: &'static str,
    /// For programs: one of docs/errors.md.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl Refusal {
    /// `http` and `code`, the canonical code's name, belong together; `reason` is for programs,
    /// `message` for people.
    #[must_use]
    pub fn new(
        http: StatusCode,
        code: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self {
            http,
            code,
            reason,
            message,
        }
    }

    /// What it is, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The handshake is wrong in itself.
    pub(crate) fn handshake(message: impl Into<String>) -> Self {
        Self {
            http: StatusCode::BAD_REQUEST,
            code: "INVALID_ARGUMENT",
            reason: "MALFORMED",
            message: message.into(),
        }
    }

    /// The page's origin may not connect.
    pub(crate) fn origin(origin: &str) -> Self {
        Self {
            http: StatusCode::FORBIDDEN,
            code: "PERMISSION_DENIED",
            reason: "ORIGIN_REFUSED",
            message: format!(
                "Pages of {origin:?} may not connect here; the server's operator lists those that \
                 may."
            ),
        }
    }

    /// It is a plain request.
    pub(crate) fn no_upgrade() -> Self {
        Self {
            http: StatusCode::UPGRADE_REQUIRED,
            code: "INVALID_ARGUMENT",
            reason: "UPGRADE_REQUIRED",
            message: "This path is a WebSocket: connect with the subprotocol chirm.v1.proto or \
                      chirm.v1.json, over HTTP/1.1."
                .to_owned(),
        }
    }

    /// One of each that only a bridge gives, for checks of the documentation.
    #[must_use]
    pub fn own() -> [Self; 2] {
        [Self::origin(""), Self::no_upgrade()]
    }

    /// Its row of docs/errors.md: the reason, the code's name, the HTTP status.
    #[must_use]
    pub fn row(&self) -> [String; 3] {
        let http = self.http.as_u16().to_string();
        [self.reason.to_owned(), self.code.to_owned(), http]
    }

    /// The whole answer.
    #[must_use]
    pub fn into_response(self) -> Response<String> {
        let detail = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason,
            "domain": "chirm.dev",
        });
        let error = json!({
            "code": self.http.as_u16(),
            "status": self.code,
            "message": self.message,
            "details": [detail],
        });
        let mut response = Response::new(json!({ "error": error }).to_string());
        *response.status_mut() = self.http;
        let headers: &mut HeaderMap = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        if self.http == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        response
    }
}
