//! Spans on their way to the collector: a bounded queue, and a task that hands on what has gathered
//! in it. Whoever gives a span never waits; what finds the queue full is dropped.

use super::Error;
use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Spans that wait. One takes less than a KiB.
const QUEUE: usize = 4_096;
/// Spans of a request.
const BATCH: usize = 512;
/// How long spans gather before a request.
const GATHER: Duration = Duration::from_secs(1);
/// How long a request may take, with what it takes to try it again.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long the last requests may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// A collector that fails is told of no more often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A handle on the task. It ends when this is dropped.
pub(super) struct Export {
    queue: mpsc::Sender<SpanData>,
    closing: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Export {
    /// Starts the task. The collector is connected to when there is something for it.
    pub(super) fn start(endpoint: &str, namespace: &str) -> Result<Self, Error> {
        let mut otlp = Otlp::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(REQUEST_WITHIN);
        if endpoint.starts_with("https:") {
            otlp = otlp.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
        }
        let otlp = otlp.build().map_err(|error| Error(error.to_string()))?;
        Ok(Self::by(otlp, namespace, QUEUE))
    }

    /// Starts the task with another way to the collector.
    pub(super) fn by<E>(mut exporter: E, namespace: &str, room: usize) -> Self
    where
        E: SpanExporter + 'static,
    {
        let node = Resource::builder()
            .with_service_name("chirm")
            .with_attributes([
                KeyValue::new("service.namespace", namespace.to_owned()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
            ]);
        exporter.set_resource(&node.build());
        let (queue, spans) = mpsc::channel(room);
        let closing = CancellationToken::new();
        let told_at = None;
        let task = tokio::spawn(Task { exporter, told_at }.run(spans, closing.clone()));
        Self {
            queue,
            closing,
            task: Mutex::new(Some(task)),
        }
    }

    /// Queues a span, or drops it.
    pub(super) fn give(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            count("dropped", 1);
        }
    }

    /// Exports what waits, for a few seconds at most. Later spans are dropped.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut task) = task else { return };
        if timeout(CLOSE_WITHIN, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("the last spans couldn't be exported in time");
        }
    }
}

struct Task<E> {
    exporter: E,
    /// When it was told last that the collector fails.
    told_at: Option<Instant>,
}

impl<E: SpanExporter> Task<E> {
    async fn run(mut self, mut spans: mpsc::Receiver<SpanData>, closing: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            let some = tokio::select! {
                some = spans.recv_many(&mut batch, BATCH) => some,
                () = closing.cancelled() => break,
            };
            if some == 0 {
                return;
            }
            tokio::select! {
                () = sleep(GATHER), if some < BATCH => {}
                () = std::future::ready(()), if some == BATCH => {}
                () = closing.cancelled() => {}
            }
            while batch.len() < BATCH
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
            self.export(batch).await;
        }
        spans.close();
        let mut batch = Vec::new();
        while spans.recv_many(&mut batch, BATCH).await > 0 {
            self.export(std::mem::take(&mut batch)).await;
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let number = batch.len() as u64;
        let exported = timeout(REQUEST_WITHIN, self.exporter.export(batch)).await;
        let why = match exported {
            Ok(Ok(())) => return count("exported", number),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the collector didn't answer in time".to_owned(),
        };
        count("failed", number);
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::warn!(%why, "spans couldn't be exported; sends go on without them");
        }
    }
}

fn count(outcome: &'static str, number: u64) {
    metrics::counter!("chirm_trace_spans_total", "outcome" => outcome).increment(number);
}
