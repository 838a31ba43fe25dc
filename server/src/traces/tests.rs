//! Which sends are traced, what is recorded of them, and what a collector that fails does.

use super::*;
use crate::clock::ManualClock;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::SpanExporter;
use std::sync::{Mutex, PoisonError};

/// A collector at hand.
#[derive(Clone, Debug, Default)]
struct Collected {
    spans: Arc<Mutex<Vec<SpanData>>>,
    fails: bool,
    hangs: bool,
}

impl SpanExporter for Collected {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if self.fails {
            return Err(OTelSdkError::InternalFailure("down".to_owned()));
        }
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.extend(batch);
        Ok(())
    }
}

struct World {
    traces: Traces,
    clock: Arc<ManualClock>,
    collected: Collected,
}

impl World {
    fn new(ratio: f64, room: usize, collected: Collected) -> Self {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let export = Export::by(collected.clone(), "chirm", room);
        Self {
            traces: Traces::to(export, ratio, clock.clone()),
            clock,
            collected,
        }
    }

    fn pass(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    /// A send that takes its time.
    fn send(&self, message: Id) -> bool {
        let mut timer = self.traces.begin();
        self.pass(1);
        timer.authorised();
        self.pass(2);
        timer.reserving();
        self.pass(4);
        let Some(mut send) = timer.reserved(message, 9, Via::Stream) else {
            return false;
        };
        self.pass(8);
        send.persisted();
        self.pass(16);
        send.published();
        true
    }

    async fn spans(self) -> Vec<SpanData> {
        self.traces.close().await;
        let spans = self.collected.spans.lock();
        spans.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Name, parent's name, and from when to when since the world began, in milliseconds.
fn told(spans: &[SpanData]) -> Vec<(String, String, u128, u128)> {
    let start = UNIX_EPOCH + Duration::from_millis(1_000_000);
    let at = |time: SystemTime| time.duration_since(start).unwrap().as_millis();
    let parent = |span: &SpanData| {
        let mut spans = spans.iter();
        let parent = spans.find(|it| it.span_context.span_id() == span.parent_span_id);
        parent.map_or_else(String::new, |it| it.name.to_string())
    };
    let told = spans.iter().map(|span| {
        let (from, to) = (at(span.start_time), at(span.end_time));
        (span.name.to_string(), parent(span), from, to)
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_send_is_one_trace() {
    let world = World::new(1.0, 100, Collected::default());
    assert!(world.send(7));
    // Another node's; it knows of the send by the message's id alone.
    let mut other = world.traces.fan_out([7].into_iter(), 1).unwrap();
    let picked = other.next_picked().unwrap();
    let deliver = picked.deliver(7).unwrap();
    world.pass(32);
    deliver.taken();
    other.end();
    let spans = world.spans().await;
    let traces: Vec<_> = spans.iter().map(|it| it.span_context.trace_id()).collect();
    assert!(traces.iter().all(|it| *it == traces[0]), "{traces:?}");
    let expected = [
        ("authorise", "send", 0, 1),
        ("deliver", "fan out", 31, 63),
        ("fan out", "publish", 31, 63),
        ("persist", "send", 7, 15),
        ("publish", "send", 15, 31),
        ("reserve", "send", 3, 7),
        ("send", "", 0, 31),
    ];
    let owned =
        |(name, of, from, to): (&str, &str, u128, u128)| (name.to_owned(), of.to_owned(), from, to);
    let expected = expected.map(owned);
    assert_eq!(told(&spans), expected);
    let root = spans.iter().find(|span| span.name == "send").unwrap();
    let mut attributes: Vec<_> = root.attributes.iter().map(|it| it.key.as_str()).collect();
    attributes.sort_unstable();
    assert_eq!(
        attributes,
        ["chirm.channel_id", "chirm.message_id", "chirm.transport"]
    );
}

#[tokio::test]
async fn a_part_of_the_sends_is_traced_the_same_on_all_nodes() {
    let world = World::new(0.25, 100_000, Collected::default());
    let other = World::new(0.25, 100_000, Collected::default());
    let mut traced = 0;
    for message in (1..=4_000).map(|n: i64| n << 22) {
        let is_traced = world.send(message);
        let there = other.traces.fan_out([message].into_iter(), 1);
        assert_eq!(is_traced, there.is_some());
        traced += usize::from(is_traced);
    }
    assert!((800..1_200).contains(&traced), "{traced} of 4,000");
    assert!(!world.send(0), "no message");
}

#[tokio::test]
async fn without_a_share_or_an_endpoint_nothing_is_traced() {
    let clock = Arc::new(ManualClock::new(0));
    for (endpoint, ratio) in [("", 1.0), ("http://127.0.0.1:1", 0.0)] {
        let settings = Tracing {
            endpoint: endpoint.to_owned(),
            ratio,
        };
        let traces = Traces::open(&settings, "chirm", clock.clone()).unwrap();
        assert!(traces.0.is_none());
        assert!(traces.begin().reserved(7, 9, Via::Call).is_none());
    }
    let world = World::new(0.0, 100, Collected::default());
    assert!((1..1_000).all(|message| !world.send(message)));
}

#[tokio::test]
async fn few_of_many_recipients_are_told_of() {
    for recipients in [1, 2, 4, 5, 7, 100, 10_001] {
        let world = World::new(1.0, 100, Collected::default());
        let mut trace = world
            .traces
            .fan_out([7, 8].into_iter(), recipients)
            .unwrap();
        let picked = (0..recipients).filter(|_| trace.next_picked().is_some());
        let picked = picked.count();
        assert!(
            (1..=DELIVERIES_MAX).contains(&picked),
            "{picked} of {recipients}"
        );
        assert!(trace.deliver(9).is_none(), "not of this burst");
    }
}

#[tokio::test]
async fn what_did_not_become_durable_or_was_not_taken_is_marked() {
    let world = World::new(1.0, 100, Collected::default());
    drop(world.traces.begin().reserved(7, 9, Via::Call));
    let mut trace = world.traces.fan_out([7].into_iter(), 1).unwrap();
    drop(trace.next_picked().unwrap().deliver(7));
    let spans = world.spans().await;
    let marked = spans.iter().filter(|it| it.status != Status::Unset);
    let mut marked: Vec<_> = marked.map(|it| it.name.to_string()).collect();
    marked.sort();
    assert_eq!(marked, ["deliver", "send"]);
}

#[tokio::test]
async fn a_collector_that_fails_or_hangs_holds_nothing_up() {
    for (fails, hangs) in [(true, false), (false, true)] {
        let collected = Collected {
            fails,
            hangs,
            ..Collected::default()
        };
        let world = World::new(1.0, 8, collected);
        // Far more than there is room for; nobody waits.
        assert!((1..1_000).all(|message| world.send(message)));
        tokio::task::yield_now().await;
        assert!(world.send(1));
        assert_eq!(world.spans().await, []);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_is_followed() {
    let world = World::new(1.0, 100, Collected::default());
    world.clock.set_wall_ms(5_000_000);
    assert!(world.send(7));
    let clock = world.clock.clone();
    let spans = world.spans().await;
    let root = spans.iter().find(|span| span.name == "send").unwrap();
    let now = UNIX_EPOCH + Duration::from_millis(clock.wall_ms().unsigned_abs());
    assert_eq!(root.end_time, now);
}
