//! The carriers: streams and calls, each by its own wire, with no code of a server's or client's.

mod cut;
mod failure;
mod grpc;
mod http;
mod rest;
mod web;
mod websocket;

pub(crate) use cut::Cut;
pub(crate) use failure::Failure;
pub(crate) use grpc::Channel;
pub(crate) use http::{Answer, exchange, request};
pub(crate) use rest::refusal;

use crate::case::{Carrier, Via};
use crate::net::{Dialer, Origin};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::sync::mpsc;

/// Frames of a stream that wait for the runner.
const INCOMING: usize = 4096;

/// Where a server's carriers are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    pub(crate) grpc: Option<Origin>,
    pub(crate) ws: Option<Origin>,
    pub(crate) rest: Option<Origin>,
    pub(crate) web: Option<Origin>,
}

impl Targets {
    /// All carriers on one port.
    pub(crate) fn of_one_port(address: SocketAddr) -> Self {
        let at = |path: &str| Some(Origin::local(address, path));
        Self {
            grpc: at(""),
            ws: at("/gateway"),
            rest: at(""),
            web: at(""),
        }
    }

    /// Whether cases can run on a carrier.
    pub(crate) fn has(&self, carrier: Carrier) -> bool {
        match carrier {
            Carrier::Grpc => self.grpc.is_some(),
            Carrier::Ws | Carrier::WsJson => self.ws.is_some() && self.rest.is_some(),
            Carrier::Web => self.web.is_some(),
        }
    }
}

/// What a client sends on a stream.
#[derive(Debug)]
pub(crate) enum Out {
    Frame(DynamicMessage),
    /// In place of a frame: a gRPC message, a binary WebSocket message.
    Payload(Bytes),
    /// In place of a frame, as text.
    Text(String),
    /// Past all that frames it.
    Wire(Bytes),
    /// The client's end of the stream.
    End,
}

/// What a stream brings.
#[derive(Debug)]
pub(crate) enum In {
    Frame(DynamicMessage),
    /// What isn't what the protocol says.
    Bad(String),
    End(End),
}

/// How a stream ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    /// Of a WebSocket: the close code.
    pub(crate) code: Option<u16>,
    /// Of gRPC: the status, unless it is OK.
    pub(crate) status: Option<Failure>,
    /// For people.
    pub(crate) why: String,
}

/// An open stream.
pub(crate) struct Wire {
    pub(crate) out: mpsc::Sender<Out>,
    pub(crate) incoming: mpsc::Receiver<In>,
    pub(crate) cut: Cut,
}

/// How to open a stream.
pub(crate) struct Opening<'a> {
    pub(crate) carrier: Carrier,
    pub(crate) targets: &'a Targets,
    pub(crate) dialer: &'a Dialer,
    pub(crate) through: Option<SocketAddr>,
    /// The message `Identify`, which gRPC-Web sends with its request.
    pub(crate) identify: Option<DynamicMessage>,
    pub(crate) headers: &'a BTreeMap<String, String>,
    pub(crate) reads: bool,
}

/// Why a stream could not be opened.
pub(crate) enum Refused {
    /// By an HTTP status and a body.
    Http(u16, String),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Opening<'_> {
    pub(crate) fn origin(&self) -> Result<&Origin> {
        let origin = match self.carrier {
            Carrier::Grpc => &self.targets.grpc,
            Carrier::Ws | Carrier::WsJson => &self.targets.ws,
            Carrier::Web => &self.targets.web,
        };
        origin.as_ref().context("the target has no such carrier")
    }

    /// Opens it.
    pub(crate) async fn open(self) -> Result<Wire, Refused> {
        match self.carrier {
            Carrier::Grpc => Ok(grpc::open(self).await?),
            Carrier::Ws | Carrier::WsJson => websocket::open(self).await,
            Carrier::Web => Ok(web::open(self).await?),
        }
    }
}

/// A call on its way: who, what.
pub(crate) struct Calling<'a> {
    pub(crate) method: &'a MethodDescriptor,
    pub(crate) request: &'a DynamicMessage,
    pub(crate) token: Option<&'a str>,
}

/// Calls go by these; one for a run.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) targets: Targets,
    pub(crate) dialer: Dialer,
    channel: Channel,
}

impl Caller {
    pub(crate) fn new(targets: Targets, dialer: Dialer) -> Self {
        Self {
            channel: Channel::default(),
            targets,
            dialer,
        }
    }

    /// The answer as cases see it, or the refusal. An error is neither: the server didn't keep to
    /// the protocol, or can't be reached.
    pub(crate) async fn call(&self, via: Via, call: Calling<'_>) -> Result<Result<Value, Failure>> {
        match via {
            Via::Grpc => {
                let origin = self.targets.grpc.as_ref().context("no gRPC target")?;
                self.channel.call(&self.dialer, origin, call).await
            }
            Via::Rest => {
                let origin = self.targets.rest.as_ref().context("no REST target")?;
                rest::call(&self.dialer, origin, call).await
            }
            Via::Web => {
                let origin = self.targets.web.as_ref().context("no gRPC-Web target")?;
                web::call(&self.dialer, origin, call).await
            }
            Via::Stream => bail!("a call on a stream goes by the stream"),
        }
    }

    /// By whatever there is: for what stands around a case.
    pub(crate) fn any(&self) -> Via {
        if self.targets.grpc.is_some() {
            Via::Grpc
        } else if self.targets.rest.is_some() {
            Via::Rest
        } else {
            Via::Web
        }
    }
}

/// The path of a method over gRPC.
fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}
