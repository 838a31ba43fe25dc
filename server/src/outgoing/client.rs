//! One POST: within a time, with a bounded answer, without redirects.

use super::connect::{ConnectError, Connector, Resolve, Trust};
use super::sign::{ID_HEADER, SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER};
use super::target::{Rules, Target};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// So much of an answer's body is read, in bytes; the rest is dropped with its connection.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes and fields of an answer's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEAD_FIELDS_MAX: usize = 64;
/// Connections of a host that are kept for the next request, and for how long.
const IDLE_A_HOST: usize = 4;
const IDLE: Duration = Duration::from_secs(30);

/// A request to be made.
#[derive(Clone, Debug)]
pub struct Post<'a> {
    /// Where to; checked by rules at least as strict as the client's.
    pub target: &'a Target,
    /// What the receiver drops repeats by; visible ASCII.
    pub id: &'a str,
    /// Seconds since the Unix epoch.
    pub timestamp: i64,
    /// Signed with each of these.
    pub keys: &'a [&'a SigningKey],
    /// JSON.
    pub body: Bytes,
    /// All of it, from resolving the name to the end of the answer's body.
    pub within: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status; a redirect is an answer like any other.
    pub status: StatusCode,
    /// `retry-after`, from the request's time on.
    pub retry_after: Option<Duration>,
    /// At most [`ANSWER_BYTES_MAX`] of the body.
    pub body: Bytes,
    /// Whether that is all of it.
    pub whole: bool,
}

/// Why nothing came back. The texts have hosts and addresses in them, and nothing else of a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not all of it happened in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The name stands for an address that may not be sent to.
    #[error("{0}")]
    Forbidden(String),
    /// No connection: the name doesn't resolve, nobody listens, no TLS.
    #[error("{0}")]
    Unreachable(String),
    /// The connection ended, or what came isn't HTTP.
    #[error("the request failed: {0}")]
    Broken(String),
}

/// Makes requests. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

impl Client {
    /// A client that connects to what `rules` allow.
    #[must_use]
    pub fn new(rules: Rules, resolver: Arc<dyn Resolve>, trust: Trust) -> Client {
        let connector = Connector {
            rules: Arc::new(rules),
            resolver,
            trust,
        };
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_A_HOST)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEAD_FIELDS_MAX)
            .build(connector);
        Client { http }
    }

    /// Makes one request. Whatever status comes back is an answer.
    ///
    /// # Errors
    /// No answer came; whether the receiver got the request isn't known.
    pub async fn post(&self, post: Post<'_>) -> Result<Answer, Failure> {
        let within = post.within;
        let answered = tokio::time::timeout(within, self.exchange(post)).await;
        answered.unwrap_or(Err(Failure::TimedOut(within)))
    }

    async fn exchange(&self, post: Post<'_>) -> Result<Answer, Failure> {
        let at = post.timestamp;
        let request = request_of(post).map_err(|error| Failure::Broken(error.to_string()))?;
        let response = self.http.request(request).await.map_err(failure)?;
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER);
        let (body, whole) = read(body).await?;
        Ok(Answer {
            status: head.status,
            retry_after: retry_after.and_then(|value| wait(value, at)),
            body,
            whole,
        })
    }
}

fn request_of(post: Post<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
    let sign = |key: &&SigningKey| key.sign(post.id, post.timestamp, &post.body);
    let signatures: Vec<_> = post.keys.iter().map(sign).collect();
    Request::post(post.target.uri().clone())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("chirm/", env!("CARGO_PKG_VERSION")))
        .header(ID_HEADER, post.id)
        .header(TIMESTAMP_HEADER, post.timestamp)
        .header(SIGNATURE_HEADER, signatures.join(" "))
        .body(Full::new(post.body))
}

/// The body up to its bound, and whether that is all. Where it isn't, dropping the rest closes the
/// connection.
async fn read(mut body: Incoming) -> Result<(Bytes, bool), Failure> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let room = ANSWER_BYTES_MAX - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read.freeze(), false));
        }
    }
    Ok((read.freeze(), true))
}

/// What `retry-after` asks for: seconds, or a date.
fn wait(value: &HeaderValue, now_s: i64) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let now = UNIX_EPOCH + Duration::from_secs(now_s.unsigned_abs());
    Some(at.duration_since(now).unwrap_or_default())
}

fn failure(error: legacy::Error) -> Failure {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            let text = connect.to_string();
            return match connect {
                ConnectError::Forbidden { .. } => Failure::Forbidden(text),
                _ => Failure::Unreachable(text),
            };
        }
        source = cause.source();
    }
    let cause = error.source().map(ToString::to_string);
    Failure::Broken(cause.unwrap_or_else(|| error.to_string()))
}
