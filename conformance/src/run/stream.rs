//! A stream of a case: what was sent and what came, with the runner's heartbeats beside it.

use super::RUN_MAX;
use super::model::Model;
use crate::carrier::{Cut, End, In, Out, Wire};
use crate::case::Carrier;
use crate::proxy::Proxy;
use crate::{api, matching};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What came on a stream.
#[derive(Default)]
pub(crate) struct Log {
    /// Frames as cases see them.
    pub(crate) frames: Vec<Value>,
    pub(crate) end: Option<End>,
    pub(crate) model: Model,
    /// What breaks what a client may rely on.
    pub(crate) faults: Vec<String>,
    hello: Option<Value>,
}

/// See [`Log`].
#[derive(Default)]
pub(crate) struct Shared {
    log: Mutex<Log>,
    news: Notify,
}

impl Shared {
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take(&self, frame: &prost_reflect::DynamicMessage) {
        let mut log = self.log();
        match api::to_case(frame) {
            Ok(frame) => {
                if let Err(fault) = log.model.take(&frame) {
                    log.faults.push(fault);
                }
                if let Some(hello) = frame.get("hello") {
                    log.hello = Some(hello.clone());
                }
                log.frames.push(frame);
            }
            Err(error) => log
                .faults
                .push(format!("a frame that can't be read: {error:#}")),
        }
        drop(log);
        self.news.notify_waiters();
    }

    /// Waits until `check` has an answer about what came, or the time is over. An ended stream has
    /// nothing more to wait for.
    pub(crate) async fn until<T>(
        &self,
        within: Duration,
        mut check: impl FnMut(&Log) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + within;
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let log = self.log();
                if let Some(found) = check(&log) {
                    return Some(found);
                }
                if log.end.is_some() {
                    return None;
                }
            }
            if tokio::time::timeout_at(deadline, news).await.is_err() {
                return None;
            }
        }
    }

    /// A time that `Hello` names, which comes within so long.
    pub(crate) async fn timer(&self, name: &str, within: Duration) -> Result<Duration> {
        let hello = self.until(within, |log| log.hello.clone()).await;
        let hello = hello.context("no Hello came")?;
        let text = hello[name]
            .as_str()
            .with_context(|| format!("Hello has no {name}"))?;
        let seconds: f64 = text.trim_end_matches('s').parse()?;
        Ok(Duration::from_secs_f64(seconds))
    }
}

/// One stream.
pub(crate) struct Stream {
    out: mpsc::Sender<Out>,
    pub(crate) shared: Arc<Shared>,
    /// Where the next step looks from.
    cursor: AtomicUsize,
    pub(crate) cut: Cut,
    pub(crate) proxy: Option<Proxy>,
    /// Whether it ends with a status, rather than a close code.
    pub(crate) is_grpc: bool,
    call_id: AtomicU32,
    _tasks: JoinSet<()>,
}

impl Stream {
    /// Begins to read; with `beats` it sends heartbeats once `Hello` says how often.
    /// `identify` is what the client presents: known before the first frame comes.
    pub(crate) fn new(
        wire: Wire,
        carrier: Carrier,
        proxy: Option<Proxy>,
        beats: bool,
        identify: Option<&Value>,
    ) -> Self {
        let Wire {
            out,
            mut incoming,
            cut,
        } = wire;
        let shared = Arc::new(Shared::default());
        if let Some(identify) = identify {
            shared.log().model.present(identify);
        }
        let mut tasks = JoinSet::new();
        let to = shared.clone();
        tasks.spawn(async move {
            while let Some(next) = incoming.recv().await {
                match next {
                    In::Frame(frame) => to.take(&frame),
                    In::Bad(why) => to.log().faults.push(why),
                    In::End(end) => {
                        to.log().end = Some(end);
                        break;
                    }
                }
            }
            to.log().end.get_or_insert_default();
            to.news.notify_waiters();
        });
        if beats {
            tasks.spawn(beat(shared.clone(), out.clone()));
        }
        Self {
            out,
            shared,
            cursor: AtomicUsize::new(0),
            cut,
            proxy,
            is_grpc: matches!(carrier, Carrier::Grpc | Carrier::Web),
            call_id: AtomicU32::new(0),
            _tasks: tasks,
        }
    }

    pub(crate) fn cursor(&self) -> usize {
        self.cursor.load(Ordering::SeqCst)
    }

    /// The next step looks from behind this frame.
    pub(crate) fn pass(&self, index: usize) {
        self.cursor.store(index + 1, Ordering::SeqCst);
    }

    /// Of calls of the runner; far from what cases choose.
    pub(crate) fn next_call_id(&self) -> u32 {
        1_000_000 + self.call_id.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) async fn send(&self, out: Out) -> Result<()> {
        let sent = self.out.send(out).await;
        sent.ok().context("the stream has ended")
    }

    /// Sends a frame as cases write it.
    pub(crate) async fn frame(&self, frame: &Value) -> Result<()> {
        if let Some(view) = frame.get("view") {
            self.shared.log().model.view(view);
        }
        let message = api::from_case(&api::message("ClientFrame"), frame)?;
        self.send(Out::Frame(message)).await
    }

    /// The first frame from `from` on that matches; a failure that shows what came, if none does
    /// within so long.
    pub(crate) async fn must_find(
        &self,
        from: usize,
        frame: &Value,
        within: Duration,
    ) -> Result<(usize, Value)> {
        let found = self
            .shared
            .until(within, |log| find(&log.frames, from, frame))
            .await;
        found.with_context(|| {
            let wanted = matching::short(frame);
            format!("didn't come: {wanted}{}", self.shown(from))
        })
    }

    /// What a failed step shows of the stream.
    pub(crate) fn shown(&self, from: usize) -> String {
        let log = self.shared.log();
        let mut shown = String::new();
        let rest = log
            .frames
            .get(from.min(log.frames.len())..)
            .unwrap_or_default();
        for frame in rest.iter().rev().take(12).rev() {
            shown.push_str("\n    came: ");
            shown.push_str(&matching::short(frame));
        }
        if let Some(end) = &log.end {
            shown.push_str(&format!("\n    ended: {:?} {}", end.code, end.why));
        }
        shown
    }

    /// The kinds of frames that stand beside all others, and aren't anybody's next.
    pub(crate) fn is_aside(frame: &Value) -> bool {
        [
            "heartbeat_ack",
            "presence_changed",
            "result",
            "channel_activity",
        ]
        .iter()
        .any(|kind| frame.get(kind).is_some())
    }
}

pub(crate) fn find(frames: &[Value], from: usize, wanted: &Value) -> Option<(usize, Value)> {
    let rest = frames.iter().enumerate().skip(from);
    let mut fitting = rest.filter(|(_, frame)| matching::mismatch(wanted, frame).is_none());
    fitting.next().map(|(index, frame)| (index, frame.clone()))
}

async fn beat(shared: Arc<Shared>, out: mpsc::Sender<Out>) {
    let Ok(interval) = shared.timer("heartbeat_interval", RUN_MAX).await else {
        return;
    };
    // Not at once: heartbeats of many streams shouldn't fall together.
    let mut wait = interval.mul_f64(rand::random_range(0.2..0.9));
    while let Ok(frame) = heartbeat() {
        tokio::time::sleep(wait).await;
        wait = interval;
        if out.send(Out::Frame(frame)).await.is_err() {
            return;
        }
    }
}

fn heartbeat() -> Result<prost_reflect::DynamicMessage> {
    api::from_case(&api::message("ClientFrame"), &json!({"heartbeat": {}}))
}
