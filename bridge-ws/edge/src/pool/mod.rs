//! Warm HTTP/2 connections to gateways, and which of them a session or request takes.

mod connect;
mod gateway;

pub(crate) use connect::Connector;
pub(crate) use gateway::Place;

use crate::Body;
use crate::args::Args;
use gateway::{Bounds, Gateway};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// Attempts to send one request; all but the last failed before the gateway had any of it.
const ATTEMPTS_MAX: usize = 4;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The gateway can't be reached.
    #[error("no gateway can be reached")]
    Connect,
    /// As many connections are full as may be open.
    #[error("all connections to the gateways are full")]
    Full,
    /// It was cut; how far the request came is unknown.
    #[error("the connection to the gateway was cut")]
    Cut,
    /// Nothing came in time.
    #[error("the gateway didn't answer in time")]
    Late,
    /// What came isn't what it should be.
    #[error("the gateway answered something else")]
    Odd,
}

impl Failure {
    /// As a label of metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Full => "full",
            Self::Cut => "cut",
            Self::Late => "late",
            Self::Odd => "odd",
        }
    }
}

/// All gateways. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gateways {
    all: Arc<[Arc<Gateway>]>,
    _keepers: Arc<[AbortOnDropHandle<()>]>,
}

impl Gateways {
    /// Begins to connect; returns at once.
    pub(crate) fn start(args: &Args) -> anyhow::Result<Self> {
        let connector = Connector::new(args)?;
        let bounds = Bounds::new(args);
        let targets = args.upstream.iter();
        let all: Arc<[_]> = targets
            .map(|target| Gateway::new(target.clone(), bounds, connector.clone()))
            .collect();
        let keepers = all.iter().map(|gateway| {
            let keeper = tokio::spawn(Arc::clone(gateway).keep());
            AbortOnDropHandle::new(keeper)
        });
        Ok(Self {
            _keepers: keepers.collect(),
            all,
        })
    }

    /// Whether any is ready.
    pub(crate) fn any_well(&self) -> bool {
        self.all.iter().any(|gateway| gateway.is_well())
    }

    /// Sends a request, whose URI is the path alone, to the gateway that is well and has the
    /// fewest; to another, if it can't be reached. The place is to be held while the answer comes.
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, Place), Failure> {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut order: Vec<_> = self.all.iter().collect();
        order.sort_by_cached_key(|gateway| (!gateway.is_well(), gateway.places()));
        // Each once, and the first again: its connection may have ended just now.
        let order = order.iter().chain(order.first()).take(ATTEMPTS_MAX);
        let mut failure = Failure::Connect;
        for gateway in order {
            let mut place = match gateway.place().await {
                Ok(place) => place,
                Err(why) => {
                    failure = why;
                    continue;
                }
            };
            let uri = Uri::builder()
                .scheme(gateway.target.scheme())
                .authority(gateway.target.authority.clone())
                .path_and_query(path.clone());
            *request.uri_mut() = uri.build().map_err(|_| Failure::Odd)?;
            match place.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, place)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        request = unsent;
                        failure = Failure::Cut;
                    }
                    None => return Err(Failure::Cut),
                },
            }
        }
        Err(failure)
    }
}

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
