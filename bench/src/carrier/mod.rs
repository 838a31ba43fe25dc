//! A subscriber's connection, by whichever transport: opened, listened to, kept alive.

mod grpc_web;
mod http1;
mod json;
mod websocket;

use crate::link::{self, Link, tag};
use crate::setup::Session;
use crate::wire::Incoming;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use chirm_proto::v1;
use grpc_web::GrpcWeb;
use prost::Message as _;
use std::time::Duration;
use websocket::{Form, WebSocket};

/// How long a WebSocket's handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(30);
/// A heartbeat as JSON.
const HEARTBEAT_JSON: &[u8] = br#"{"heartbeat":{}}"#;

/// How subscribers listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// gRPC, `GatewayService.Session`
    Grpc,
    /// gRPC, `GatewayService.Listen`
    Listen,
    /// WebSocket, frames as protobuf (chirm.v1.proto)
    Ws,
    /// WebSocket, frames as JSON (chirm.v1.json)
    WsJson,
    /// gRPC-Web over HTTP/1.1, `GatewayService.Listen`
    GrpcWeb,
}

impl Transport {
    /// As flags and reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Listen => "listen",
            Self::Ws => "ws",
            Self::WsJson => "ws-json",
            Self::GrpcWeb => "grpc-web",
        }
    }

    /// Whether it is one of browsers: each subscriber has a connection of its own.
    #[must_use]
    pub fn is_of_browsers(self) -> bool {
        matches!(self, Self::Ws | Self::WsJson | Self::GrpcWeb)
    }
}

/// What a subscriber hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// It receives from now on.
    Ready,
    /// A new message's content.
    Created(&'a [u8]),
    /// The stream is about to end, or has ended: why.
    End(String),
}

/// One connection with its subscribers' streams.
pub struct Carrier {
    transport: Transport,
    streams: usize,
    carried: Carried,
}

enum Carried {
    Grpc(Link),
    WebSocket(Link<WebSocket>),
    GrpcWeb(Link<GrpcWeb>),
}

impl Carrier {
    /// Connects to `url` (`http://HOST:PORT`), and asks for what these users see of a channel. What
    /// comes of it is heard by [`turn`](Self::turn).
    ///
    /// # Errors
    /// The server can't be reached or refuses; or there is more than one user where a connection
    /// has one stream.
    pub async fn open(
        url: &str,
        transport: Transport,
        channel_id: i64,
        users: &[Session],
    ) -> Result<Self> {
        let identify =
            |user: &Session| link::identify(&user.token, v1::Delivery::Viewed, &[channel_id]);
        let carried = if transport.is_of_browsers() {
            let [user] = users else {
                anyhow::bail!("a connection of {} has one subscriber", transport.name());
            };
            open_of_browser(url, transport, identify(user)).await?
        } else {
            let mut link = Link::connect(url).await?;
            for user in users {
                open_stream(&mut link, transport, identify(user));
            }
            link.flush().await?;
            Carried::Grpc(link)
        };
        Ok(Self {
            transport,
            streams: users.len(),
            carried,
        })
    }

    /// How many streams it carries.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Reads once, and hears what came to which stream. Nothing is lost if the future is dropped
    /// while it waits.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn turn(&mut self, mut on: impl FnMut(usize, Heard<'_>)) -> Result<()> {
        let is_json = self.transport == Transport::WsJson;
        let on = |stream, incoming: Incoming<'_>| {
            let heard = match incoming {
                Incoming::Message(frame) if is_json => heard_json(frame),
                Incoming::Message(frame) => heard(frame),
                Incoming::End => Some(Heard::End("without a Closing frame".to_owned())),
            };
            if let Some(heard) = heard {
                on(stream, heard);
            }
        };
        match &mut self.carried {
            Carried::Grpc(link) => link.turn(on).await,
            Carried::WebSocket(link) => link.turn(on).await,
            Carried::GrpcWeb(link) => link.turn(on).await,
        }
    }

    /// Whether its streams must say that they live, every [`link::HEARTBEAT_EVERY`].
    #[must_use]
    pub fn has_heartbeats(&self) -> bool {
        !matches!(self.transport, Transport::Listen | Transport::GrpcWeb)
    }

    /// Says on each stream that it lives.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn heartbeat(&mut self) -> Result<()> {
        match &mut self.carried {
            Carried::Grpc(link) => {
                let frame = link::heartbeat();
                (0..self.streams).for_each(|stream| link.wire.send(stream, &frame));
                link.flush().await
            }
            Carried::WebSocket(link) if self.transport == Transport::WsJson => {
                link.wire.send(HEARTBEAT_JSON);
                link.flush().await
            }
            Carried::WebSocket(link) => {
                link.wire.send(&link::heartbeat());
                link.flush().await
            }
            Carried::GrpcWeb(_) => Ok(()),
        }
    }
}

fn open_stream(link: &mut Link, transport: Transport, identify: v1::Identify) {
    if transport == Transport::Listen {
        let stream = link.wire.open(link::LISTEN);
        link.wire.send(stream, &identify.encode_to_vec());
        link.wire.finish(stream);
    } else {
        let stream = link.wire.open(link::SESSION);
        let frame = v1::client_frame::Frame::Identify(identify);
        link.wire.send(stream, &link::client_frame(0, frame));
    }
}

async fn open_of_browser(
    url: &str,
    transport: Transport,
    identify: v1::Identify,
) -> Result<Carried> {
    if transport == Transport::GrpcWeb {
        let identify = identify.encode_to_vec();
        let begin = |authority: &str| GrpcWeb::new(authority, &identify);
        let mut link = Link::connect_by(url, begin).await?;
        link.flush().await?;
        return Ok(Carried::GrpcWeb(link));
    }
    let mut identify = link::client_frame(0, v1::client_frame::Frame::Identify(identify));
    let mut form = Form::Proto;
    if transport == Transport::WsJson {
        form = Form::Json;
        let client_frame = chirm_proto::json::client_frame();
        let json = chirm_proto::json::of_encoded(&client_frame, Bytes::from(identify));
        identify = json.context("Identify has no JSON")?.into_bytes();
    }
    let begin = |authority: &str| WebSocket::new(authority, form);
    let mut link = Link::connect_by(url, begin).await?;
    tokio::time::timeout(HANDSHAKE_WITHIN, shake_hands(&mut link))
        .await
        .context("a WebSocket's handshake took too long")??;
    link.wire.send(&identify);
    link.flush().await?;
    Ok(Carried::WebSocket(link))
}

async fn shake_hands(link: &mut Link<WebSocket>) -> Result<()> {
    link.flush().await?;
    let mut early = false;
    while !link.wire.is_open() {
        link.turn(|_, _| early = true).await?;
    }
    ensure!(!early, "the server spoke before it was told who listens");
    Ok(())
}

fn heard(frame: &[u8]) -> Option<Heard<'_>> {
    match *frame.first()? {
        tag::EVENT => link::created_content(frame).map(Heard::Created),
        tag::READY => Some(Heard::Ready),
        tag::CLOSING => Some(Heard::End(link::closing_reason(frame))),
        _ => None,
    }
}

fn heard_json(frame: &[u8]) -> Option<Heard<'_>> {
    if json::is(frame, "event") {
        json::created_content(frame).map(Heard::Created)
    } else if json::is(frame, "ready") {
        Some(Heard::Ready)
    } else if json::is(frame, "closing") {
        Some(Heard::End(String::from_utf8_lossy(frame).into_owned()))
    } else {
        None
    }
}
