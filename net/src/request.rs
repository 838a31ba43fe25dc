//! A request's body, and whether it came to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The body of a request, as services get it. Cheap to drop unread.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    /// Of HTTP/1 alone: a body of HTTP/2 that nobody reads ends its stream, not the connection.
    ended: Option<Arc<AtomicBool>>,
}

/// Tells whether a body came to its end.
#[derive(Debug)]
pub(super) struct Ended(Option<Arc<AtomicBool>>);

impl RequestBody {
    /// A request with its body watched.
    pub(super) fn watch(request: Request<Incoming>) -> (Request<RequestBody>, Ended) {
        let watched = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        let ended = watched.then(Arc::default);
        let body_of = |body| RequestBody {
            body,
            ended: ended.clone(),
        };
        (request.map(body_of), Ended(ended.clone()))
    }
}

impl Ended {
    /// Whether another request can follow on the connection: not if the service has left what came
    /// with this one.
    pub(super) fn is_reusable(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|ended| ended.load(Ordering::Relaxed))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(ended) = &self.ended
            && (frame.is_none() || self.body.is_end_stream())
        {
            ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
