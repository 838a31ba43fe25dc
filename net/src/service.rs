//! What a connection adds to the service that answers its requests: who asks, whether any request
//! is in progress, how many are answered at once, and whether more can follow.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::answer::AnswerBody;
use super::{BoxError, Peer, RequestBody};

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    requests: Mutex<Requests>,
}

#[derive(Debug)]
struct Requests {
    /// Whether there ever was one.
    any: bool,
    open: usize,
    /// When the last one ended, or the connection was accepted.
    idle_since: Instant,
}

impl Activity {
    pub(super) fn new(accepted: Instant) -> Arc<Activity> {
        let requests = Requests {
            any: false,
            open: 0,
            idle_since: accepted,
        };
        Arc::new(Activity {
            requests: Mutex::new(requests),
        })
    }

    /// When the connection is to be closed if nothing happens until then: `first` after accept
    /// without any request, `idle` after the last one. None while one is in progress.
    pub(super) fn deadline(&self, first: Duration, idle: Duration) -> Option<Instant> {
        let requests = self.lock();
        match (requests.any, requests.open) {
            (false, _) => Some(requests.idle_since + first),
            (true, 0) => Some(requests.idle_since + idle),
            (true, _) => None,
        }
    }

    /// Whether a request ever came.
    pub(super) fn any(&self) -> bool {
        self.lock().any
    }

    fn begin(self: &Arc<Activity>) -> InProgress {
        let mut requests = self.lock();
        requests.any = true;
        requests.open += 1;
        InProgress(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        // The counts are whole at every point where a panic could start.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in progress: until the last byte of its answer, or its end by a reset.
#[derive(Debug)]
pub(super) struct InProgress(Arc<Activity>);

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut requests = self.0.lock();
        requests.open -= 1;
        requests.idle_since = Instant::now();
    }
}

/// The service as one connection's requests see it.
#[derive(Clone, Debug)]
pub(super) struct ConnectionService<S> {
    pub(super) inner: S,
    pub(super) peer: Peer,
    pub(super) trusts_peer: bool,
    pub(super) activity: Arc<Activity>,
    /// A place for each request that is answered at once, until its answer is taken. Those of
    /// `streams`, which last, need none.
    pub(super) places: Arc<Semaphore>,
    pub(super) streams: &'static [&'static str],
}

/// The future of an answer.
pub(super) type Answer<B, E> =
    Pin<Box<dyn Future<Output = Result<Response<AnswerBody<B>>, E>> + Send>>;

impl<S, B> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    type Response = Response<AnswerBody<B>>;
    type Error = S::Error;
    type Future = Answer<B, S::Error>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_progress = self.activity.begin();
        let mut peer = self.peer;
        if self.trusts_peer
            && let Some(address) = forwarded_for(request.headers())
        {
            peer.address.set_ip(address);
        }
        request.extensions_mut().insert(peer);
        let lasts = self.streams.contains(&request.uri().path());
        let places = (!lasts).then(|| Arc::clone(&self.places));
        let service = self.inner.clone();
        Box::pin(async move {
            let place = match places {
                // The semaphore is never closed.
                Some(places) => places.acquire_owned().await.ok(),
                None => None,
            };
            let (request, ended) = RequestBody::watch(request);
            let mut response = service.oneshot(request).await?;
            if !ended.is_reusable() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response.map(|body| AnswerBody::new(body, in_progress, place)))
        })
    }
}

/// The address that the proxy itself added: the last one, as those before it came from outside.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_in_progress_has_no_deadline() {
        let (first, idle) = (Duration::from_secs(1), Duration::from_secs(60));
        let accepted = Instant::now();
        let activity = Activity::new(accepted);
        assert_eq!(activity.deadline(first, idle), Some(accepted + first));
        let one = activity.begin();
        let two = activity.begin();
        drop(one);
        assert_eq!(activity.deadline(first, idle), None);
        drop(two);
        assert!(activity.deadline(first, idle).unwrap() >= accepted + idle);
    }

    #[test]
    fn only_the_proxys_own_word_is_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded_for(&headers), None);
        headers.append("x-forwarded-for", "192.0.2.9".parse().unwrap());
        headers.append(
            "x-forwarded-for",
            "198.51.100.1, 192.0.2.1".parse().unwrap(),
        );
        assert_eq!(forwarded_for(&headers), Some([192, 0, 2, 1].into()));
        headers.append("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(forwarded_for(&headers), None);
    }
}
