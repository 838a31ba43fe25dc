//! How many calls are under way on the node, and what is refused above that.

use super::status::Failure;
use crate::domain;
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use metrics::Counter;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

/// Whether the node answers: asked most when it has much to do, and cheap.
const ALWAYS: &str = "/grpc.";

/// Places for so many calls. Cheap to clone.
#[derive(Clone)]
pub(super) struct Calls {
    places: Arc<Semaphore>,
    shed: Counter,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.places.fmt(formatter)
    }
}

/// A call's place, once it has one. It is free again when all clones are dropped.
pub(super) type Place = Arc<OnceLock<OwnedSemaphorePermit>>;

impl Calls {
    pub(super) fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            shed: metrics::counter!("chirm_calls_shed_total"),
        }
    }

    /// The call takes a place when its request has come as a whole, so that who sends slowly holds
    /// none. If there is none then, the request ends with the refusal.
    pub(super) fn count(&self, request: Request<Body>) -> (Request<Body>, Place) {
        let place = Place::default();
        if request.uri().path().starts_with(ALWAYS) {
            return (request, place);
        }
        let counted = request.map(|body| {
            Body::new(Counted {
                body,
                calls: self.clone(),
                place: place.clone(),
            })
        });
        (counted, place)
    }

    fn take(&self, place: &Place) -> Result<(), Status> {
        if place.get().is_some() {
            return Ok(());
        }
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => {
                // Whoever set it meanwhile would be this call itself.
                let _ = place.set(permit);
                Ok(())
            }
            Err(_) => {
                self.shed.increment(1);
                let message = "The node answers as many calls as it may; nothing was done.";
                let failure = Failure::by(domain::Reason::Overloaded, message);
                Err(failure.retry_after(domain::RETRY_SOON).into_status())
            }
        }
    }
}

/// A request's body.
struct Counted {
    body: Body,
    calls: Calls,
    place: Place,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ends = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) => false,
            None => true,
        };
        if ends && let Err(refused) = self.calls.take(&self.place) {
            return Poll::Ready(Some(Err(refused)));
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
