//! A refusal, the same on every carrier.

use crate::api;
use anyhow::{Context as _, Result, ensure};
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use std::time::Duration;

/// The names of gRPC's codes, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A refused call or stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure {
    /// NOT_FOUND and the like.
    pub(crate) code: String,
    pub(crate) message: String,
    /// Of ErrorInfo; empty without one.
    pub(crate) reason: String,
    pub(crate) domain: String,
    pub(crate) metadata: Value,
    /// Of BadRequest: the fields that are wrong.
    pub(crate) fields: Vec<String>,
    /// Of RetryInfo.
    pub(crate) retry_ms: Option<u64>,
}

impl Failure {
    /// From a `google.rpc.Status`.
    pub(crate) fn of_status(status: &DynamicMessage) -> Result<Self> {
        let status = api::to_case(status).context("an error whose details can't be read")?;
        Self::of_case(&status)
    }

    /// From one as cases see it.
    pub(crate) fn of_case(status: &Value) -> Result<Self> {
        let code = status["code"].as_u64().unwrap_or_default();
        Self::new(code, &status["message"], &status["details"])
    }

    /// How long to wait before the call is made again, where a rate of calls refused it.
    /// What limits a stream's frames isn't waited for.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let waits = self.reason == "RATE_LIMITED" && self.metadata["scope"] != "stream";
        waits.then(|| Duration::from_millis(self.retry_ms.unwrap_or(1000).min(60_000) + 5))
    }

    /// From the parts of one.
    pub(crate) fn new(code: u64, message: &Value, details: &Value) -> Result<Self> {
        let name = usize::try_from(code).ok().and_then(|code| CODES.get(code));
        let mut failure = Self {
            code: name.map_or_else(|| code.to_string(), |name| (*name).to_owned()),
            message: message.as_str().unwrap_or_default().to_owned(),
            metadata: json!({}),
            ..Self::default()
        };
        for detail in details.as_array().into_iter().flatten() {
            failure.take(detail)?;
        }
        Ok(failure)
    }

    fn take(&mut self, detail: &Value) -> Result<()> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&detail["@type"]);
        match kind.rsplit('/').next().unwrap_or_default() {
            "google.rpc.ErrorInfo" => {
                self.reason = text(&detail["reason"]);
                self.domain = text(&detail["domain"]);
                if detail["metadata"].is_object() {
                    self.metadata = detail["metadata"].clone();
                }
            }
            "google.rpc.BadRequest" => {
                let violations = detail.get("field_violations");
                let violations = violations.or(detail.get("fieldViolations"));
                let violations = violations.and_then(Value::as_array);
                for violation in violations.into_iter().flatten() {
                    self.fields.push(text(&violation["field"]));
                }
            }
            "google.rpc.RetryInfo" => {
                let delay = detail.get("retry_delay").or(detail.get("retryDelay"));
                let delay = text(delay.unwrap_or(&Value::Null));
                let seconds: f64 = delay.trim_end_matches('s').parse().unwrap_or_default();
                self.retry_ms = Some((seconds * 1000.0).ceil() as u64);
            }
            _ => {}
        }
        Ok(())
    }

    /// Every refusal says what it is to programs.
    pub(crate) fn check(&self) -> Result<()> {
        let shown = self.to_case();
        ensure!(
            !self.reason.is_empty(),
            "an error without ErrorInfo: {shown}"
        );
        ensure!(
            self.domain == "chirm.dev",
            "ErrorInfo of another domain: {shown}"
        );
        ensure!(
            !self.message.is_empty(),
            "an error without words for people: {shown}"
        );
        let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        ensure!(
            self.reason.chars().all(upper),
            "a reason in another form: {shown}"
        );
        Ok(())
    }

    /// As cases see it.
    pub(crate) fn to_case(&self) -> Value {
        json!({
            "code": self.code,
            "message": self.message,
            "reason": self.reason,
            "domain": self.domain,
            "metadata": self.metadata,
            "fields": self.fields,
            "retry_ms": self.retry_ms,
        })
    }
}
