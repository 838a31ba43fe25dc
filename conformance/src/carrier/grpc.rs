//! gRPC over HTTP/2.

use super::{Calling, Cut, End, Failure, INCOMING, In, Opening, Out, Wire, path};
use crate::api;
use crate::net::{Dialer, Origin};
use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes};
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use prost_reflect::prost::Message as _;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

/// Messages as their bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// The connection that a run's calls share.
#[derive(Clone, Default)]
pub(crate) struct Channel(Arc<Mutex<Option<tonic::transport::Channel>>>);

impl Channel {
    pub(super) async fn call(
        &self,
        dialer: &Dialer,
        origin: &Origin,
        call: Calling<'_>,
    ) -> Result<Result<Value, Failure>> {
        let mut held = self.0.lock().await;
        let channel = match &*held {
            Some(channel) => channel.clone(),
            None => held
                .insert(connect(dialer, origin, None, &Cut::default()).await?)
                .clone(),
        };
        drop(held);
        let mut client = tonic::client::Grpc::new(channel);
        if let Err(error) = client.ready().await {
            // The server was started again: the next call connects anew.
            *self.0.lock().await = None;
            return Err(error).context("the server can't be reached by gRPC");
        }
        let mut request = Request::new(Bytes::from(call.request.encode_to_vec()));
        if let Some(token) = call.token {
            let value = format!("Bearer {token}").parse()?;
            request.metadata_mut().insert("authorization", value);
        }
        let path = path(call.method).parse()?;
        match client.unary(request, path, Raw).await {
            Ok(answer) => {
                let answer = api::from_bytes(&call.method.output(), answer.get_ref())?;
                Ok(Ok(api::to_case(&answer)?))
            }
            Err(status) => {
                if status.details().is_empty() && status.code() != tonic::Code::Unimplemented {
                    *self.0.lock().await = None;
                }
                Ok(Err(failure(&status)?))
            }
        }
    }
}

async fn connect(
    dialer: &Dialer,
    origin: &Origin,
    through: Option<SocketAddr>,
    cut: &Cut,
) -> Result<tonic::transport::Channel> {
    let scheme = if origin.secure { "https" } else { "http" };
    let uri = format!("{scheme}://{}", origin.authority());
    // TLS is the connector's.
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", origin.authority()))?;
    let endpoint = endpoint.origin(uri.parse()?);
    let (dialer, origin, cut) = (dialer.clone(), origin.clone(), cut.clone());
    let connector = tower::service_fn(move |_| {
        let (dialer, origin, cut) = (dialer.clone(), origin.clone(), cut.clone());
        async move {
            let io = dialer.connect(&origin, through).await;
            let io = io.map_err(|error| std::io::Error::other(format!("{error:#}")))?;
            Ok::<_, std::io::Error>(TokioIo::new(cut.on(io)))
        }
    });
    let channel = endpoint.connect_with_connector(connector).await;
    channel.context("the server can't be reached by gRPC")
}

/// A status as a refusal.
fn failure(status: &Status) -> Result<Failure> {
    if status.details().is_empty() {
        let code = u64::try_from(i32::from(status.code()))?;
        return Failure::new(code, &status.message().into(), &Value::Null);
    }
    Failure::of_status(&api::from_bytes(&api::status(), status.details())?)
}

pub(super) async fn open(opening: Opening<'_>) -> Result<Wire> {
    let cut = Cut::default();
    let origin = opening.origin()?;
    let channel = connect(opening.dialer, origin, opening.through, &cut).await?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    let (out, mut from_client) = mpsc::channel(64);
    let (requests, stream) = mpsc::channel(64);
    let (to_runner, incoming) = mpsc::channel(INCOMING);
    tokio::spawn(async move {
        while let Some(out) = from_client.recv().await {
            let bytes = match out {
                Out::Frame(frame) => Bytes::from(frame.encode_to_vec()),
                Out::Payload(bytes) | Out::Wire(bytes) => bytes,
                Out::Text(text) => text.into(),
                Out::End => return,
            };
            if requests.send(bytes).await.is_err() {
                return;
            }
        }
    });
    let (reads, held) = (opening.reads, cut.clone());
    tokio::spawn(async move {
        let path = http::uri::PathAndQuery::from_static("/chirm.v1.GatewayService/Session");
        let request = Request::new(ReceiverStream::new(stream));
        let end = match client.streaming(request, path, Raw).await {
            Ok(answer) => {
                let mut frames = answer.into_inner();
                if !reads {
                    // Until the runner lets go of it.
                    to_runner.closed().await;
                    drop(held);
                    return;
                }
                read(&mut frames, &to_runner).await
            }
            Err(status) => ended(&status),
        };
        let _ = to_runner.send(In::End(end)).await;
    });
    Ok(Wire { out, incoming, cut })
}

async fn read(frames: &mut tonic::Streaming<Bytes>, to: &mpsc::Sender<In>) -> End {
    let kind = api::message("ServerFrame");
    loop {
        let next = match frames.next().await {
            Some(Ok(bytes)) => match api::from_bytes(&kind, &bytes) {
                Ok(frame) => In::Frame(frame),
                Err(error) => In::Bad(format!("{error:#}")),
            },
            Some(Err(status)) => return ended(&status),
            None => return End::default(),
        };
        if to.send(next).await.is_err() {
            return End::default();
        }
    }
}

fn ended(status: &Status) -> End {
    End {
        why: format!("{:?}: {}", status.code(), status.message()),
        status: failure(status).ok(),
        ..End::default()
    }
}
