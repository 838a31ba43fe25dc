//! The transcoder over a recording service (what is asked) and over a real tonic service (what is
//! told).

mod answers;
mod document;
mod limits;
mod requests;
mod routes;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use prost_reflect::DynamicMessage;
use serde_json::Value;
use tower::{ServiceExt, service_fn};

use super::{Transcoder, router};

/// Bytes of a request's body, at most.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// Of all that the protocol has.
fn transcoder() -> Transcoder {
    Transcoder::new(chirm_proto::pool(), |_| true, BODY_BYTES_MAX).unwrap()
}

/// Of what a server has.
fn as_served() -> Transcoder {
    let served = |name: &str| crate::rpc::PUBLIC.contains(&name);
    Transcoder::new(chirm_proto::pool(), served, BODY_BYTES_MAX).unwrap()
}

/// An answer, read.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The reason of an error's ErrorInfo.
    fn reason(&self) -> String {
        self.json()["error"]["details"][0]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The first wrong field of an error's BadRequest.
    fn field(&self) -> String {
        let violations = &self.json()["error"]["details"][1]["fieldViolations"];
        violations[0]["field"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

async fn answer(router: axum::Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text,
    }
}

fn request(method: &str, uri: &str, body: &str) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri);
    let builder = builder.header("authorization", "Bearer v1.1.secret");
    let builder = if body.is_empty() {
        builder
    } else {
        builder.header("content-type", "application/json")
    };
    builder.body(Body::from(body.to_owned())).unwrap()
}

/// What the service in process was asked.
#[derive(Clone, Debug, Default)]
struct Asked {
    path: String,
    headers: HeaderMap,
    peer: Option<Peer>,
    message: Bytes,
}

/// An extension that the edge would set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer(&'static str);

/// Calls through a service that takes down what it is asked and answers with an empty message.
async fn record(request: Request<Body>) -> (Answer, Option<Asked>) {
    record_by(transcoder(), request).await
}

async fn record_by(transcoder: Transcoder, request: Request<Body>) -> (Answer, Option<Asked>) {
    let asked = Arc::new(Mutex::new(None));
    let taken = Arc::clone(&asked);
    let service = service_fn(move |request: Request<tonic::body::Body>| {
        let taken = Arc::clone(&taken);
        async move {
            let (parts, body) = request.into_parts();
            let frame = body.collect().await.unwrap().to_bytes();
            *taken.lock().unwrap() = Some(Asked {
                path: parts.uri.path().to_owned(),
                headers: parts.headers,
                peer: parts.extensions.get().cloned(),
                message: frame.slice(5..),
            });
            let empty = http_body_util::Full::new(Bytes::from_static(&[0; 5]));
            Ok::<_, Infallible>(Response::new(tonic::body::Body::new(empty)))
        }
    });
    let answer = answer(router(transcoder, service), request).await;
    let asked = asked.lock().unwrap().take();
    (answer, asked)
}

/// The method that a call reaches, and its request in proto3 JSON.
async fn asked(method: &str, uri: &str, body: &str) -> (String, Value) {
    let (answer, asked) = record(request(method, uri, body)).await;
    assert_eq!(answer.status, 200, "{method} {uri}: {}", answer.text);
    let asked = asked.unwrap();
    let (service, name) = asked.path[1..].split_once('/').unwrap();
    let service = chirm_proto::pool().get_service_by_name(service).unwrap();
    let method = service
        .methods()
        .find(|method| method.name() == name)
        .unwrap();
    let message = DynamicMessage::decode(method.input(), asked.message).unwrap();
    (name.to_owned(), serde_json::to_value(message).unwrap())
}

/// A call that is refused before any service is asked.
async fn refused(method: &str, uri: &str, body: &str) -> Answer {
    let (answer, asked) = record(request(method, uri, body)).await;
    assert!(asked.is_none(), "{method} {uri} went through");
    answer
}
