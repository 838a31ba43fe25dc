//! Trailers of successful answers: a service can't give tonic any, so they travel as an extension
//! of its response to where the body is wrapped.

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// What is to be added to the trailers of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trailers(pub(crate) HeaderMap);

/// A service whose responses may have [`Trailers`].
#[derive(Clone, Debug)]
pub(crate) struct WithTrailers<S>(pub(crate) S);

impl<S: NamedService> NamedService for WithTrailers<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for WithTrailers<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { answer.await.map(with_trailers) })
    }
}

fn with_trailers(mut response: Response<Body>) -> Response<Body> {
    let Some(Trailers(more)) = response.extensions_mut().remove() else {
        return response;
    };
    response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                for (name, value) in &more {
                    trailers.append(name, value.clone());
                }
            }
            frame
        }))
    })
}
