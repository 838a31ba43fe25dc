//! Receivers of webhooks.

use super::{Run, lock};
use crate::case::{Delivered, Receiver as Step};
use crate::matching;
use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests that a receiver keeps, and the size of each.
const REQUESTS_MAX: usize = 10_000;
const BODY_MAX: usize = 1 << 20;

/// A request as it came.
struct Delivery {
    headers: HeaderMap,
    body: Bytes,
}

/// An HTTP server on loopback that writes down what is posted to it.
pub(super) struct Receiver {
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    /// Which of them the next step looks at first.
    cursor: Mutex<usize>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    async fn start(answers: Vec<u16>) -> Result<(Self, String)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let deliveries: Arc<Mutex<Vec<Delivery>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let to = deliveries.clone();
        tasks.spawn(async move {
            let answers = Arc::new(answers);
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (to, answers) = (to.clone(), answers.clone());
                let service = service_fn(move |request| take(request, to.clone(), answers.clone()));
                let io = TokioIo::new(stream);
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(io, service).await;
                });
            }
        });
        let receiver = Self {
            deliveries,
            cursor: Mutex::new(0),
            _tasks: tasks,
        };
        Ok((receiver, url))
    }
}

async fn take(
    request: Request<Incoming>,
    to: Arc<Mutex<Vec<Delivery>>>,
    answers: Arc<Vec<u16>>,
) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    let count = {
        let mut deliveries = lock(&to);
        ensure!(deliveries.len() < REQUESTS_MAX, "too many requests");
        deliveries.push(Delivery {
            headers: head.headers,
            body,
        });
        deliveries.len()
    };
    let status = answers.get(count - 1).or(answers.last()).copied();
    let answer = Response::builder().status(status.unwrap_or(200));
    Ok(answer.body(Full::default())?)
}

/// As Standard Webhooks signs: HMAC-SHA-256 over `id.timestamp.body`.
fn verify(secret: &str, delivery: &Delivery) -> Result<()> {
    let key = secret
        .strip_prefix("whsec_")
        .context("a secret begins with whsec_")?;
    let key = STANDARD.decode(key)?;
    let text = |name: &str| -> Result<String> {
        let value = delivery.headers.get(name);
        let value = value.with_context(|| format!("no header {name}"))?;
        Ok(value.to_str()?.to_owned())
    };
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key)?;
    mac.update(format!("{}.{}.", text("webhook-id")?, text("webhook-timestamp")?).as_bytes());
    mac.update(&delivery.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let signatures = text("webhook-signature")?;
    ensure!(
        signatures.split(' ').any(|one| one == expected),
        "no signature holds: {signatures}"
    );
    Ok(())
}

impl Run<'_> {
    pub(super) async fn receiver(&self, step: &Step) -> Result<()> {
        let (receiver, url) = Receiver::start(step.answers.clone()).await?;
        lock(&self.vars).set(&step.name, json!({"url": url}));
        lock(&self.receivers).insert(step.name.clone(), Arc::new(receiver));
        Ok(())
    }

    pub(super) async fn delivered(&self, step: &Delivered) -> Result<()> {
        let receiver = lock(&self.receivers).get(&step.to).cloned();
        let receiver = receiver.with_context(|| format!("no receiver is called {}", step.to))?;
        let never = step.never_within.as_ref();
        let within = self.within(never.or(step.within.as_ref())).await?;
        let deadline = Instant::now() + within;
        loop {
            if let Some((index, found)) = self.fitting(step, &receiver)? {
                ensure!(never.is_none(), "it came: {found}");
                *lock(&receiver.cursor) = index + 1;
                if let Some(secret) = &step.secret {
                    verify(&self.fill_text(secret)?, &lock(&receiver.deliveries)[index])?;
                }
                return self.save(&step.save, &found);
            }
            if Instant::now() >= deadline {
                if never.is_some() {
                    return Ok(());
                }
                let deliveries = lock(&receiver.deliveries);
                let bodies = deliveries
                    .iter()
                    .map(|one| String::from_utf8_lossy(&one.body));
                let bodies: Vec<_> = bodies.collect();
                bail!("it didn't come to {}; what came: {bodies:#?}", step.to);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn fitting(&self, step: &Delivered, receiver: &Receiver) -> Result<Option<(usize, Value)>> {
        let body = step.body.as_ref().map(|body| self.fill(body)).transpose()?;
        let headers = self.fill(&serde_json::to_value(&step.headers)?)?;
        let from = *lock(&receiver.cursor);
        for (index, delivery) in lock(&receiver.deliveries).iter().enumerate().skip(from) {
            let fields = delivery.headers.iter().map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), Value::from(value))
            });
            let found = json!({
                "headers": fields.collect::<serde_json::Map<_, _>>(),
                "body": serde_json::from_slice::<Value>(&delivery.body).unwrap_or(Value::Null),
            });
            let expected =
                json!({"headers": headers, "body": body.clone().unwrap_or(json!("$any"))});
            if matching::mismatch(&expected, &found).is_none() {
                return Ok(Some((index, found)));
            }
        }
        Ok(None)
    }
}
