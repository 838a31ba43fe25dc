//! Traces of sends, by OpenTelemetry: from the call to the socket, on every node that has a part in
//! it. A trace's id, and whether it is recorded, follow from the message's id alone, so nodes agree
//! on both without a word on the bus.
//!
//! A trace is `send` with `authorise`, `reserve`, `persist` and `publish` below it; below `publish`
//! a `fan out` of each node; below that `deliver` for a few of the recipients. Of a message it
//! has the id and the channel, nothing else. With traces off nothing of this is made.
//!
//! - `export`: on the way to the collector; bounded, best effort.

mod export;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::config::Tracing;
use crate::model::Id;
use export::Export;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Recipients of a message that a node's traces tell of, at most; spread over all of them.
const DELIVERIES_MAX: usize = 4;

/// How far the wall clock may go from where it was held to be, before it is looked at anew: within
/// that, spans of a node keep their order whatever the clock's precision.
const DRIFT_MS: i64 = 20;

/// Bits of a trace's id that decide whether it is recorded: those that W3C calls random.
const RANDOM_BITS: u32 = 56;

/// Why traces can't be sent.
#[derive(Debug, thiserror::Error)]
#[error("tracing.endpoint: {0}")]
pub struct Error(String);

/// By which way a message was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// A call of its own: gRPC or REST.
    #[default]
    Call,
    /// A frame on a gateway's stream.
    Stream,
}

impl Via {
    fn name(self) -> &'static str {
        match self {
            Via::Call => "call",
            Via::Stream => "stream",
        }
    }
}

/// Where spans are recorded; by default nowhere. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Recorder>>);

struct Recorder {
    clock: Arc<dyn Clock>,
    /// The wall clock's time when [`Clock::elapsed`] was zero, in milliseconds.
    began_ms: AtomicI64,
    /// Traces are recorded from here on, by the random bits of their ids.
    from: u64,
    scope: InstrumentationScope,
    export: Export,
}

impl Traces {
    /// As the settings say: to a collector, or nowhere. It needn't be there yet.
    ///
    /// # Errors
    /// The collector's address can't be used.
    pub fn open(settings: &Tracing, namespace: &str, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        if !settings.is_enabled() {
            return Ok(Self(None));
        }
        let export = Export::start(&settings.endpoint, namespace)?;
        Ok(Self::to(export, settings.ratio, clock))
    }

    fn to(export: Export, ratio: f64, clock: Arc<dyn Clock>) -> Self {
        let all = (1_u64 << RANDOM_BITS) as f64;
        let scope = InstrumentationScope::builder("chirm").with_version(env!("CARGO_PKG_VERSION"));
        Self(Some(Arc::new(Recorder {
            began_ms: AtomicI64::new(began_ms(&*clock)),
            clock,
            from: ((1.0 - ratio.clamp(0.0, 1.0)) * all) as u64,
            scope: scope.build(),
            export,
        })))
    }

    /// A send begins.
    #[must_use]
    pub fn begin(&self) -> Timer<'_> {
        let now = self.0.as_ref().map_or(Duration::ZERO, |it| it.now());
        Timer {
            recorder: self.0.as_ref(),
            began: now,
            authorised: now,
            reserving: now,
        }
    }

    /// Messages are handed to so many sessions; None if none of them is traced.
    #[must_use]
    pub fn fan_out(&self, messages: impl Iterator<Item = Id>, recipients: usize) -> Option<FanOut> {
        let recorder = self.0.as_ref()?;
        let traced = messages.filter(|message| recorder.is_recorded(*message));
        let traced: Vec<_> = traced.map(|message| (message, new_span())).collect();
        (!traced.is_empty()).then(|| FanOut {
            began: recorder.now(),
            recorder: recorder.clone(),
            traced,
            recipients,
            seen: 0,
        })
    }

    /// Hands the collector what was recorded, within some seconds; later spans are dropped.
    pub async fn close(&self) {
        if let Some(recorder) = &self.0 {
            recorder.export.close().await;
        }
    }
}

/// The times of a send whose message has no id yet. Without traces it does nothing.
#[derive(Default)]
pub struct Timer<'a> {
    recorder: Option<&'a Arc<Recorder>>,
    began: Duration,
    authorised: Duration,
    reserving: Duration,
}

impl Timer<'_> {
    fn now(&self) -> Duration {
        self.recorder.map_or(Duration::ZERO, |it| it.now())
    }

    /// It is allowed.
    pub fn authorised(&mut self) {
        self.authorised = self.now();
    }

    /// Its id is asked for.
    pub fn reserving(&mut self) {
        self.reserving = self.now();
    }

    /// Its id is this; None if it isn't traced.
    #[must_use]
    pub fn reserved(&self, message: Id, channel: Id, via: Via) -> Option<Box<SendTrace>> {
        let recorder = self.recorder.filter(|it| it.is_recorded(message))?;
        let now = recorder.now();
        let mut send = SendTrace {
            recorder: recorder.clone(),
            message,
            channel,
            via,
            began: self.began,
            step: self.began,
            is_durable: false,
        };
        send.span("authorise", new_span(), SpanKind::Internal, self.authorised);
        send.step = self.reserving;
        send.span("reserve", new_span(), SpanKind::Client, now);
        Some(Box::new(send))
    }
}

/// A send that is traced. It is recorded when it is dropped.
pub struct SendTrace {
    recorder: Arc<Recorder>,
    message: Id,
    channel: Id,
    via: Via,
    began: Duration,
    /// When its latest step ended.
    step: Duration,
    is_durable: bool,
}

impl SendTrace {
    /// It is durable.
    pub fn persisted(&mut self) {
        self.is_durable = true;
        self.span("persist", new_span(), SpanKind::Client, self.recorder.now());
    }

    /// It is published, after those before it.
    pub fn published(&mut self) {
        let span = span_of(self.message, Part::Publish);
        self.span("publish", span, SpanKind::Producer, self.recorder.now());
    }

    fn span(&mut self, name: &'static str, id: SpanId, kind: SpanKind, end: Duration) {
        self.recorder.record(Span {
            message: self.message,
            id,
            parent: span_of(self.message, Part::Send),
            name,
            kind,
            from: self.step,
            to: end,
            attributes: Vec::new(),
            status: Status::Unset,
        });
        self.step = end;
    }
}

impl Drop for SendTrace {
    fn drop(&mut self) {
        let status = match self.is_durable {
            true => Status::Unset,
            false => Status::error("not known to be durable"),
        };
        self.recorder.record(Span {
            message: self.message,
            id: span_of(self.message, Part::Send),
            parent: SpanId::INVALID,
            name: "send",
            kind: SpanKind::Server,
            from: self.began,
            to: self.recorder.now(),
            attributes: vec![
                KeyValue::new("chirm.channel_id", self.channel),
                KeyValue::new("chirm.message_id", self.message),
                KeyValue::new("chirm.transport", self.via.name()),
            ],
            status,
        });
    }
}

/// The fan-out of messages of which some are traced.
pub struct FanOut {
    recorder: Arc<Recorder>,
    /// Those, and their spans.
    traced: Vec<(Id, SpanId)>,
    began: Duration,
    recipients: usize,
    seen: usize,
}

impl FanOut {
    /// Comes to the next of the recipients; None if it isn't one of the few that are told of.
    pub fn next_picked(&mut self) -> Option<&Self> {
        let every = self.recipients.div_ceil(DELIVERIES_MAX).max(1);
        self.seen += 1;
        (self.seen - 1).is_multiple_of(every).then_some(self)
    }

    /// A message is handed to a session; None if it isn't traced.
    #[must_use]
    pub fn deliver(&self, message: Id) -> Option<Box<Deliver>> {
        let (message, parent) = *self.traced.iter().find(|(id, _)| *id == message)?;
        Some(Box::new(Deliver {
            recorder: self.recorder.clone(),
            message,
            parent,
            began: self.recorder.now(),
            is_taken: false,
        }))
    }

    /// All sessions have them.
    pub fn end(self) {
        let now = self.recorder.now();
        let recipients = i64::try_from(self.recipients).unwrap_or(i64::MAX);
        for (message, id) in self.traced {
            self.recorder.record(Span {
                message,
                id,
                parent: span_of(message, Part::Publish),
                name: "fan out",
                kind: SpanKind::Consumer,
                from: self.began,
                to: now,
                attributes: vec![KeyValue::new("chirm.recipients", recipients)],
                status: Status::Unset,
            });
        }
    }
}

/// A message on its way to one client, from the session's queue to the transport's next write. It
/// is recorded when it is dropped.
pub struct Deliver {
    recorder: Arc<Recorder>,
    message: Id,
    parent: SpanId,
    began: Duration,
    is_taken: bool,
}

impl Deliver {
    /// The transport took it, to write it to the socket.
    pub fn taken(mut self) {
        self.is_taken = true;
    }
}

impl Drop for Deliver {
    fn drop(&mut self) {
        let status = match self.is_taken {
            true => Status::Unset,
            false => Status::error("the session ended first"),
        };
        self.recorder.record(Span {
            message: self.message,
            id: new_span(),
            parent: self.parent,
            name: "deliver",
            kind: SpanKind::Internal,
            from: self.began,
            to: self.recorder.now(),
            attributes: Vec::new(),
            status,
        });
    }
}

struct Span {
    message: Id,
    id: SpanId,
    parent: SpanId,
    name: &'static str,
    kind: SpanKind,
    from: Duration,
    to: Duration,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Recorder {
    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    fn is_recorded(&self, message: Id) -> bool {
        let [.., low] = trace_of(message);
        message > 0 && low & ((1 << RANDOM_BITS) - 1) >= self.from
    }

    fn record(&self, span: Span) {
        let began_ms = self.began_ms();
        let time = |at: Duration| -> SystemTime {
            UNIX_EPOCH + Duration::from_millis(began_ms.unsigned_abs()) + at
        };
        let [high, low] = trace_of(span.message);
        let trace = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
        let context = SpanContext::new(
            TraceId::from_bytes(trace),
            span.id,
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        );
        self.export.give(SpanData {
            span_context: context,
            parent_span_id: span.parent,
            parent_span_is_remote: span.kind == SpanKind::Consumer,
            span_kind: span.kind,
            name: span.name.into(),
            start_time: time(span.from),
            end_time: time(span.to.max(span.from)),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.status,
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// When [`Clock::elapsed`] was zero. The clock may be set, and run apart from the other one.
    fn began_ms(&self) -> i64 {
        let (held, now) = (
            self.began_ms.load(Ordering::Relaxed),
            began_ms(&*self.clock),
        );
        if (now - held).abs() <= DRIFT_MS {
            return held;
        }
        self.began_ms.store(now, Ordering::Relaxed);
        now
    }
}

fn began_ms(clock: &dyn Clock) -> i64 {
    let elapsed_ms = i64::try_from(clock.elapsed().as_millis()).unwrap_or(i64::MAX);
    clock.wall_ms().saturating_sub(elapsed_ms).max(0)
}

/// Spans that other nodes have to know.
#[derive(Clone, Copy)]
enum Part {
    Send = 3,
    Publish = 4,
}

/// The id of a message's trace: 128 bits that look random.
fn trace_of(message: Id) -> [u64; 2] {
    [mixed(message, 1), mixed(message, 2)]
}

fn span_of(message: Id, part: Part) -> SpanId {
    // Zero would be none.
    SpanId::from_bytes(mixed(message, part as u64).max(1).to_be_bytes())
}

fn new_span() -> SpanId {
    SpanId::from_bytes(rand::random_range(1..=u64::MAX).to_be_bytes())
}

/// A message's id, mixed as SplitMix64 does: all bits of the result depend on all bits of the id.
/// Every node of a cluster must make the same of it, whatever its version.
fn mixed(message: Id, stream: u64) -> u64 {
    let step = stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut x = message.cast_unsigned().wrapping_add(step);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
