//! gRPC-Web by HTTP/1.1, as browsers speak it.

use super::{
    Calling, Cut, End, Failure, INCOMING, In, Opening, Out, Wire, exchange, path, request,
};
use crate::api;
use crate::net::{Dialer, Origin};
use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use prost_reflect::prost::Message as _;
use serde_json::Value;
use tokio::sync::mpsc;

const KIND: &str = "application/grpc-web+proto";
/// A message, or trailers, are at most so large.
const MESSAGE_MAX: usize = 16 << 20;

/// A part of a body: a message, or the trailers.
enum Part {
    Message(Bytes),
    Trailers(HeaderMap),
}

/// The next part, once it is there whole.
fn part(buffer: &mut BytesMut) -> Result<Option<Part>> {
    let Some(head) = buffer.get(..5) else {
        return Ok(None);
    };
    let (flags, size) = (
        head[0],
        u32::from_be_bytes([head[1], head[2], head[3], head[4]]),
    );
    let size = usize::try_from(size)?;
    ensure!(size <= MESSAGE_MAX, "a message of {size} bytes");
    if buffer.len() < 5 + size {
        return Ok(None);
    }
    buffer.advance(5);
    let bytes = buffer.split_to(size).freeze();
    match flags {
        0 => Ok(Some(Part::Message(bytes))),
        0x80 => Ok(Some(Part::Trailers(trailers(&bytes)?))),
        _ => bail!("a part with the flags {flags:#x}"),
    }
}

fn trailers(bytes: &[u8]) -> Result<HeaderMap> {
    let text = std::str::from_utf8(bytes).context("trailers are text")?;
    let mut map = HeaderMap::new();
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').context("a trailer has a colon")?;
        let name: http::HeaderName = name.trim().parse()?;
        map.insert(name, value.trim().parse()?);
    }
    Ok(map)
}

/// What the trailers, or headers in their place, say: a refusal, unless all is well.
fn status(map: &HeaderMap) -> Result<Option<Failure>> {
    let text = |name: &str| map.get(name).and_then(|value| value.to_str().ok());
    let code: u64 = text("grpc-status").context("no grpc-status")?.parse()?;
    if code == 0 {
        return Ok(None);
    }
    if let Some(details) = text("grpc-status-details-bin") {
        let bytes = STANDARD_NO_PAD.decode(details.trim_end_matches('='));
        let bytes = bytes.or_else(|_| STANDARD.decode(details))?;
        let status = api::from_bytes(&api::status(), &bytes)?;
        return Ok(Some(Failure::of_status(&status)?));
    }
    let message = text("grpc-message").unwrap_or_default();
    let message = percent_encoding::percent_decode_str(message).decode_utf8_lossy();
    Ok(Some(Failure::new(code, &message.into(), &Value::Null)?))
}

fn body(message: &[u8]) -> Result<Full<Bytes>> {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len())?);
    body.put(message);
    Ok(Full::new(body.freeze()))
}

pub(super) async fn call(
    dialer: &Dialer,
    origin: &Origin,
    call: Calling<'_>,
) -> Result<Result<Value, Failure>> {
    let mut request = request(origin, Method::POST, &path(call.method))
        .header("content-type", KIND)
        .header("x-grpc-web", "1");
    if let Some(token) = call.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(body(&call.request.encode_to_vec())?)?;
    let answer = exchange(dialer, origin, request).await?;
    ensure!(answer.status == 200, "gRPC-Web answered {}", answer.status);
    if answer.headers.contains_key("grpc-status")
        && let Some(failure) = status(&answer.headers)?
    {
        return Ok(Err(failure));
    }
    let mut buffer = BytesMut::from(&answer.body[..]);
    let mut message = None;
    while let Some(part) = part(&mut buffer)? {
        match part {
            Part::Message(bytes) => message = Some(bytes),
            Part::Trailers(map) => {
                if let Some(failure) = status(&map)? {
                    return Ok(Err(failure));
                }
            }
        }
    }
    ensure!(buffer.is_empty(), "an answer that ends within a part");
    let message = message.context("neither a message nor a refusal")?;
    let answer = api::from_bytes(&call.method.output(), &message)?;
    Ok(Ok(api::to_case(&answer)?))
}

pub(super) async fn open(opening: Opening<'_>) -> Result<Wire> {
    let cut = Cut::default();
    let origin = opening.origin()?.clone();
    let io = opening.dialer.connect(&origin, opening.through).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(cut.on(io))).await?;
    tokio::spawn(connection);
    let (out, mut from_client) = mpsc::channel(8);
    let (to_runner, incoming) = mpsc::channel(INCOMING);
    let (reads, this) = (opening.reads, cut.clone());
    let identify = opening.identify.map(|identify| identify.encode_to_vec());
    tokio::spawn(async move {
        // `Listen` takes one message: identify, or what stands in its place.
        let message = match identify {
            Some(message) => message,
            None => match from_client.recv().await {
                Some(Out::Frame(frame)) => frame.encode_to_vec(),
                Some(Out::Payload(bytes) | Out::Wire(bytes)) => bytes.to_vec(),
                Some(Out::Text(text)) => text.into_bytes(),
                Some(Out::End) | None => return,
            },
        };
        // A client of `Listen` has nothing more to say; its end is the connection's.
        tokio::spawn(async move {
            while let Some(out) = from_client.recv().await {
                if matches!(out, Out::End) {
                    this.cut();
                }
            }
        });
        let listen = "/chirm.v1.GatewayService/Listen";
        let request = request(&origin, Method::POST, listen)
            .header("content-type", KIND)
            .header("x-grpc-web", "1");
        let answer = async {
            let request = request.body(body(&message)?)?;
            anyhow::Ok(sender.send_request(request).await?)
        };
        let end = match answer.await {
            Ok(answer) if reads => read(answer, &to_runner).await,
            Ok(_unread) => {
                to_runner.closed().await;
                return;
            }
            Err(error) => Err(error),
        };
        let end = end.unwrap_or_else(|error| End {
            why: format!("{error:#}"),
            ..End::default()
        });
        let _ = to_runner.send(In::End(end)).await;
    });
    Ok(Wire { out, incoming, cut })
}

async fn read(answer: http::Response<hyper::body::Incoming>, to: &mpsc::Sender<In>) -> Result<End> {
    let kind = api::message("ServerFrame");
    if answer.headers().contains_key("grpc-status")
        && let Some(failure) = status(answer.headers())?
    {
        return Ok(refused(failure));
    }
    ensure!(
        answer.status() == 200,
        "gRPC-Web answered {}",
        answer.status()
    );
    let mut body = answer.into_body();
    let mut buffer = BytesMut::new();
    while let Some(data) = body.frame().await {
        let data = data?.into_data().unwrap_or_default();
        buffer.extend_from_slice(&data);
        while let Some(part) = part(&mut buffer)? {
            let next = match part {
                Part::Message(bytes) => match api::from_bytes(&kind, &bytes) {
                    Ok(frame) => In::Frame(frame),
                    Err(error) => In::Bad(format!("{error:#}")),
                },
                Part::Trailers(map) => {
                    return Ok(status(&map)?.map(refused).unwrap_or_default());
                }
            };
            if to.send(next).await.is_err() {
                return Ok(End::default());
            }
        }
    }
    bail!("the stream ended without trailers")
}

fn refused(failure: Failure) -> End {
    End {
        why: format!("{}: {}", failure.code, failure.message),
        status: Some(failure),
        ..End::default()
    }
}
