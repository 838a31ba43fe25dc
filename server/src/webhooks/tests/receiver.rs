//! A real HTTP server on loopback that answers as a test says, and keeps what it got.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How it answers.
pub(crate) enum Reply {
    Status(u16),
    /// With `retry-after`.
    Later(u16, u64),
    /// With `location`.
    Redirect(String),
    /// Not at all.
    Never,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signatures: String,
    pub(crate) body: String,
    pub(crate) json: Value,
    /// When it came.
    pub(crate) at: Instant,
    /// Whether it was answered with 2xx.
    pub(crate) taken: bool,
}

impl Got {
    pub(crate) fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap()
    }

    pub(crate) fn content(&self) -> &str {
        self.json["message"]["content"].as_str().unwrap_or("")
    }

    /// Whether one of the signatures is of this secret, by ring: not by what signed.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap())
            .unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let signed = format!("{}.{}.{}", self.id, self.timestamp, self.body);
        self.signatures.split(' ').any(|signature| {
            let mac = STANDARD
                .decode(signature.strip_prefix("v1,").unwrap())
                .unwrap();
            ring::hmac::verify(&key, signed.as_bytes(), &mac).is_ok()
        })
    }
}

/// Answers a request that came so often before.
pub(crate) type Script = Box<dyn Fn(&Got, usize) -> Reply + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Receiver {
    inner: Arc<Inner>,
}

struct Inner {
    port: u16,
    got: Mutex<Vec<Got>>,
    script: Mutex<Script>,
}

impl Receiver {
    pub(crate) async fn start(script: Script) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver {
            inner: Arc::new(Inner {
                port: listener.local_addr().unwrap().port(),
                got: Mutex::default(),
                script: Mutex::new(script),
            }),
        };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.inner.port)
    }

    /// Answers otherwise from now on.
    pub(crate) fn now(&self, script: Script) {
        *self.inner.script.lock().unwrap() = script;
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.inner.got.lock().unwrap().clone()
    }

    /// What was taken, in its order.
    pub(crate) fn taken(&self) -> Vec<Got> {
        let mut got = self.got();
        got.retain(|got| got.taken);
        got
    }
}

async fn take(State(receiver): State<Receiver>, request: Request) -> Response<String> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let header = |name: &str| head.headers[name].to_str().unwrap().to_owned();
    let mut got = Got {
        path: head.uri.path().to_owned(),
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signatures: header("webhook-signature"),
        json: serde_json::from_str(&body).unwrap(),
        body,
        at,
        taken: false,
    };
    let mut response = Response::new(String::new());
    {
        let mut all = receiver.inner.got.lock().unwrap();
        let again = |other: &&Got| other.id == got.id && other.path == got.path;
        let times = all.iter().filter(again).count();
        let reply = receiver.inner.script.lock().unwrap()(&got, times);
        let status = match &reply {
            Reply::Status(status) | Reply::Later(status, _) => *status,
            Reply::Redirect(_) => 307,
            Reply::Never => 0,
        };
        got.taken = (200..300).contains(&status);
        all.push(got);
        match reply {
            Reply::Later(_, seconds) => {
                response.headers_mut().insert("retry-after", seconds.into());
            }
            Reply::Redirect(to) => {
                response
                    .headers_mut()
                    .insert("location", to.parse().unwrap());
            }
            _ => {}
        }
        if status != 0 {
            *response.status_mut() = status.try_into().unwrap();
            return response;
        }
    }
    std::future::pending().await
}
