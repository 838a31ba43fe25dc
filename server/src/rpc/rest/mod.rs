//! REST out of the descriptors: every method with a `google.api.http` annotation becomes a route.
//!
//! A call is matched, read as proto3 JSON, handed to the gRPC services in process as the gRPC call
//! that it stands for (the same `authorization`, the same extensions), and the answer is written as
//! proto3 JSON. So REST has no code of its own for any method, and can't differ from gRPC.
//!
//! - `annotation`: reads the annotations; `route`: finds the binding of a path.
//! - `request`: path, query and body become the request message.
//! - `call`: the call in process; `refusal`: errors as HTTP answers.
//! - `openapi`: the OpenAPI 3.1 document of the same routes.

mod annotation;
mod call;
mod openapi;
mod refusal;
mod request;
mod route;

#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use prost_reflect::DescriptorPool;
use tower::Service;

use super::caller::token_missing;
use super::status::Failure;
pub use annotation::Error;
use refusal::Refusal;
pub use refusal::http_status;
use route::Table;

/// Levels of nesting of a request's JSON, at most.
pub const JSON_DEPTH_MAX: usize = 32;

/// The routes of all annotated methods of a pool of descriptors.
#[derive(Debug)]
pub struct Transcoder {
    pool: DescriptorPool,
    table: Table,
    request_bytes_max: usize,
}

impl Transcoder {
    /// Reads the annotations of all unary methods. Those of services that `served` takes, by full
    /// name, are described and called, the others refused as not implemented. A request's body has
    /// at most `request_bytes_max`.
    ///
    /// # Errors
    /// An annotation that can't be a route: it names a field that the request doesn't have, uses a
    /// form that isn't supported, or takes a path that another method has.
    pub fn new(
        pool: &DescriptorPool,
        served: impl Fn(&str) -> bool,
        request_bytes_max: usize,
    ) -> Result<Self, Error> {
        let mut bindings = annotation::bindings(pool)?;
        for binding in &mut bindings {
            binding.served = served(binding.method.parent_service().full_name());
        }
        let table = Table::new(bindings)?;
        Ok(Self {
            pool: pool.clone(),
            table,
            request_bytes_max,
        })
    }

    /// The OpenAPI 3.1 document of these routes, with the protos' comments.
    #[must_use]
    pub fn openapi(&self) -> serde_json::Value {
        openapi::document(&self.pool, &self.table)
    }

    async fn answer<S>(&self, service: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<
                Request<tonic::body::Body>,
                Response = Response<tonic::body::Body>,
                Error = Infallible,
            >,
    {
        let head = request.method() == Method::HEAD;
        let mut response = match self.call(service, request).await {
            Ok(json) => json_response(json),
            Err(refusal) => refusal.into_response(&self.pool),
        };
        if head {
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn call<S>(&self, service: S, http: Request<Body>) -> Result<Bytes, Refusal>
    where
        S: Service<
                Request<tonic::body::Body>,
                Response = Response<tonic::body::Body>,
                Error = Infallible,
            >,
    {
        let (parts, body) = http.into_parts();
        // Read even where there is no route: an answer before the request's end would let a
        // malformed rest go unnoticed, and HTTP/1.1 would have to give the connection up.
        let body = request::read_body(&parts.headers, body, self.request_bytes_max).await;
        let matched = self.table.find(&parts.method, parts.uri.path())?;
        if !matched.binding.served {
            return Err(Failure::not_implemented().into());
        }
        let method = matched.binding.method.full_name();
        let anonymous = openapi::WITHOUT_TOKEN.contains(&method);
        if !anonymous && !parts.headers.contains_key(header::AUTHORIZATION) {
            // Before anything is said of the request's content, as over gRPC.
            return Err(token_missing().into());
        }
        let body = body?;
        let query = parts.uri.query().unwrap_or_default();
        let message = request::message(&matched, query, body)?;
        call::unary(service, &matched.binding.method, &parts, &message).await
    }
}

/// Serves REST, and the OpenAPI document at `/openapi.json`, over gRPC services in process.
///
/// Whatever has no route is answered with a JSON error, so this router brings the fallback with it.
pub fn router<S>(transcoder: Transcoder, service: S) -> Router
where
    S: Service<
            Request<tonic::body::Body>,
            Response = Response<tonic::body::Body>,
            Error = Infallible,
        > + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let document = Bytes::from(transcoder.openapi().to_string());
    let transcoder = Arc::new(transcoder);
    let openapi = move || {
        let document = document.clone();
        async move { json_response(document) }
    };
    let refuse = Arc::clone(&transcoder);
    let other_verbs = move || {
        let refuse = Arc::clone(&refuse);
        async move { Refusal::method_not_allowed("GET, HEAD").into_response(&refuse.pool) }
    };
    let calls = move |request: Request<Body>| {
        let (transcoder, service) = (Arc::clone(&transcoder), service.clone());
        async move { transcoder.answer(service, request).await }
    };
    Router::new()
        .route("/openapi.json", get(openapi).fallback(other_verbs))
        .fallback(calls)
}

/// The answer to a request that didn't come to its end in time.
pub(super) fn timed_out() -> Response<Body> {
    Refusal::from(Failure::timed_out()).into_response(chirm_proto::pool())
}

/// The answer to what isn't gRPC, though it stands where gRPC does; `message` says what is.
pub(super) fn not_grpc(message: &str) -> Response<Body> {
    Refusal::unsupported_media_type(message).into_response(chirm_proto::pool())
}

/// The answer to gRPC by another method than POST.
pub(super) fn not_post() -> Response<Body> {
    Refusal::method_not_allowed("POST").into_response(chirm_proto::pool())
}

fn json_response(json: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(json.into());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    // Answers depend on who asks, and change.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
