//! One HTTP/1.1 request on a connection of its own.

use crate::net::{Dialer, Origin};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use std::time::Duration;

/// An answer is at most so large.
const ANSWER_MAX: usize = 16 << 20;
/// And takes no longer than this.
const ANSWER_IN: Duration = Duration::from_secs(60);

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request with the headers that all have.
pub(crate) fn request(origin: &Origin, method: Method, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("{}{path}", origin.path))
        .header("host", origin.authority())
        .header("user-agent", "chirm-conformance")
}

/// Sends it, and reads the answer to its end.
pub(crate) async fn exchange(
    dialer: &Dialer,
    origin: &Origin,
    request: Request<Full<Bytes>>,
) -> Result<Answer> {
    let io = TokioIo::new(dialer.connect(origin, None).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let answer = tokio::time::timeout(ANSWER_IN, async {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("an answer that breaks off: {error}"))?;
        anyhow::Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    });
    let answer = answer.await.context("no answer in time");
    connection.abort();
    answer?.with_context(|| format!("no answer from {}", origin.authority()))
}
