//! What a request's definition asks to be answered.

use crate::proto::conformance_payload::RequestInfo;
use crate::proto::unary_response_definition::Response as Defined;
use crate::proto::{
    ConformancePayload, Error, Header, StreamResponseDefinition, UnaryResponseDefinition,
};
use crate::trailers::Trailers;
use chirm_proto::google::rpc;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::{Message as _, Name};
use prost_types::Any;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

/// What a call came with, beside its messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    headers: Vec<Header>,
    timeout_ms: Option<i64>,
}

impl Call {
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let fields = metadata.clone().into_headers();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = fields.keys().map(|name| Header {
            name: name.to_string(),
            value: fields.get_all(name).iter().map(text).collect(),
        });
        let timeout = fields.get("grpc-timeout").and_then(|it| it.to_str().ok());
        Self {
            headers: headers.collect(),
            timeout_ms: timeout.and_then(timeout_ms),
        }
    }

    pub(crate) fn info(&self, requests: Vec<Any>) -> RequestInfo {
        RequestInfo {
            request_headers: self.headers.clone(),
            timeout_ms: self.timeout_ms,
            requests,
            connect_get_info: None,
        }
    }
}

/// As gRPC has it: up to eight digits and a unit.
fn timeout_ms(value: &str) -> Option<i64> {
    let (count, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let count: i64 = count.parse().ok()?;
    match unit {
        "H" => Some(count * 3_600_000),
        "M" => Some(count * 60_000),
        "S" => Some(count * 1_000),
        "m" => Some(count),
        "u" => Some(count / 1_000),
        "n" => Some(count / 1_000_000),
        _ => None,
    }
}

/// A request as it is echoed.
pub(crate) fn echo<M: Name>(message: &M) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: message.encode_to_vec(),
    }
}

/// Answers with one message or an error, after the delay that is asked for.
pub(crate) async fn unary(
    info: RequestInfo,
    definition: Option<UnaryResponseDefinition>,
) -> Result<Response<ConformancePayload>, Status> {
    let definition = definition.unwrap_or_default();
    let headers = fields(&definition.response_headers)?;
    let trailers = fields(&definition.response_trailers)?;
    sleep(delay(definition.response_delay_ms)).await;
    let data = match definition.response {
        Some(Defined::Error(error)) => {
            // An error without a message has one block of headers, which are the trailers, too.
            let mut status = failure(error, Some(&info));
            let mut all = headers;
            append(&mut all, &trailers);
            *status.metadata_mut() = MetadataMap::from_headers(all);
            return Err(status);
        }
        Some(Defined::ResponseData(data)) => data,
        None => Vec::new(),
    };
    let request_info = Some(info);
    let payload = ConformancePayload { data, request_info };
    Ok(with(headers, trailers, payload))
}

/// The messages of a stream that is asked for, one after the other.
#[derive(Debug)]
pub(crate) struct Stream {
    data: std::vec::IntoIter<Vec<u8>>,
    delay: Duration,
    error: Option<Error>,
    any: bool,
    into: mpsc::Sender<Result<ConformancePayload, Status>>,
}

/// What a stream's answer begins with.
pub(crate) type Payloads = mpsc::Receiver<Result<ConformancePayload, Status>>;

/// A stream with its headers and its trailers, for the answer, and what writes it.
pub(crate) fn stream(
    definition: Option<StreamResponseDefinition>,
) -> Result<(Response<Payloads>, Stream), Status> {
    let definition = definition.unwrap_or_default();
    let headers = fields(&definition.response_headers)?;
    let trailers = fields(&definition.response_trailers)?;
    let (into, payloads) = mpsc::channel(1);
    let stream = Stream {
        data: definition.response_data.into_iter(),
        delay: delay(definition.response_delay_ms),
        error: definition.error,
        any: false,
        into,
    };
    Ok((with(headers, trailers, payloads), stream))
}

impl Stream {
    /// Whether a message is left to be sent.
    pub(crate) fn has_more(&self) -> bool {
        !self.data.as_slice().is_empty()
    }

    /// Sends the next message, if there is one and anyone listens, with `info` beside it.
    pub(crate) async fn send(&mut self, info: Option<RequestInfo>) {
        let Some(data) = self.data.next() else {
            return;
        };
        sleep(self.delay).await;
        self.any = true;
        let request_info = info;
        let payload = ConformancePayload { data, request_info };
        // A client that is gone needs no answer.
        let _ = self.into.send(Ok(payload)).await;
    }

    /// Sends what is left, the first message with `info` if none was sent before, and ends as
    /// asked.
    pub(crate) async fn finish(mut self, info: RequestInfo) {
        let mut info = (!self.any).then_some(info);
        while self.has_more() {
            self.send(info.take()).await;
        }
        if let Some(error) = self.error.take() {
            self.fail(failure(error, info.as_ref())).await;
        }
    }

    /// Ends with `status`.
    pub(crate) async fn fail(self, status: Status) {
        let _ = self.into.send(Err(status)).await;
    }
}

fn with<T>(headers: HeaderMap, trailers: HeaderMap, message: T) -> Response<T> {
    let mut response = Response::new(message);
    *response.metadata_mut() = MetadataMap::from_headers(headers);
    response.extensions_mut().insert(Trailers(trailers));
    response
}

fn delay(delay_ms: u32) -> Duration {
    Duration::from_millis(delay_ms.into())
}

/// The error that is asked for; `info` is added to its details.
fn failure(error: Error, info: Option<&RequestInfo>) -> Status {
    let mut details = error.details;
    details.extend(info.map(echo));
    let (code, message) = (error.code, error.message.unwrap_or_default());
    let status = rpc::Status {
        code,
        message,
        details,
    };
    let encoded = status.encode_to_vec();
    Status::with_details(Code::from(code), status.message, encoded.into())
}

fn fields(headers: &[Header]) -> Result<HeaderMap, Status> {
    let bad = |name: &str| Status::invalid_argument(format!("{name}: not a header field"));
    let mut fields = HeaderMap::new();
    for header in headers {
        let name = HeaderName::try_from(&*header.name).map_err(|_| bad(&header.name))?;
        for value in &header.value {
            let value = HeaderValue::try_from(value).map_err(|_| bad(&header.name))?;
            fields.append(&name, value);
        }
    }
    Ok(fields)
}

fn append(to: &mut HeaderMap, more: &HeaderMap) {
    for (name, value) in more {
        to.append(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_their_units() {
        for (value, expected) in [
            ("2S", Some(2_000)),
            ("1H", Some(3_600_000)),
            ("3M", Some(180_000)),
            ("200m", Some(200)),
            ("2000000u", Some(2_000)),
            ("99999999n", Some(99)),
            ("2", None),
            ("2x", None),
            ("2é", None),
            ("", None),
        ] {
            assert_eq!(timeout_ms(value), expected, "{value}");
        }
    }
}
