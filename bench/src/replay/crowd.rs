//! The nicks' streams: each nick that is here has one, whatever happens to its server.

use super::actors::wait;
use crate::link::{self, HEARTBEAT_EVERY, STREAMS_A_CONNECTION};
use crate::setup::endpoint;
use anyhow::Result;
use chirm_proto::v1::{
    self, ClientFrame, client_frame::Frame as Sent, gateway_service_client::GatewayServiceClient,
    server_frame::Frame as Received,
};
use futures::channel::mpsc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at};
use tonic::transport::Channel;

/// Frames of one stream that may wait for its connection: a heartbeat is the only one.
const FRAMES_MAX: usize = 4;

/// All nicks' streams.
pub(super) struct Crowd {
    url: String,
    /// The connections, each with how often it was taken.
    connections: Mutex<Vec<(Channel, usize)>>,
    counts: Arc<Counts>,
}

/// How many nicks are to be here, and how many streams are ready.
#[derive(Default)]
struct Counts {
    wanted: AtomicU64,
    ready: AtomicU64,
}

/// A nick is here as long as this lives.
pub(super) struct Stay {
    counts: Arc<Counts>,
    _gone: oneshot::Sender<()>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.counts.wanted.fetch_sub(1, Relaxed);
    }
}

/// Counts a stream as ready until it is dropped.
struct IsReady(Arc<Counts>);

impl IsReady {
    fn of(counts: &Arc<Counts>) -> Self {
        counts.ready.fetch_add(1, Relaxed);
        Self(counts.clone())
    }
}

impl Drop for IsReady {
    fn drop(&mut self) {
        self.0.ready.fetch_sub(1, Relaxed);
    }
}

impl Crowd {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            connections: Mutex::default(),
            counts: Arc::default(),
        }
    }

    /// Opens a nick's stream, and opens it again whenever it ends.
    pub(super) fn come(&self, token: &str) -> Result<Stay> {
        let channel = self.channel()?;
        let (gone, left) = oneshot::channel();
        self.counts.wanted.fetch_add(1, Relaxed);
        let counts = self.counts.clone();
        tokio::spawn(stay(channel, token.to_owned(), counts, left));
        Ok(Stay {
            counts: self.counts.clone(),
            _gone: gone,
        })
    }

    /// Whether all who are to be here are, and nobody else.
    pub(super) fn is_at_rest(&self) -> bool {
        self.counts.wanted.load(Relaxed) == self.counts.ready.load(Relaxed)
    }

    /// How many are here.
    pub(super) fn ready(&self) -> u64 {
        self.counts.ready.load(Relaxed)
    }

    fn channel(&self) -> Result<Channel> {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((channel, taken)) = connections.last_mut()
            && *taken < STREAMS_A_CONNECTION
        {
            *taken += 1;
            return Ok(channel.clone());
        }
        let channel = endpoint(&self.url)?.connect_lazy();
        connections.push((channel.clone(), 1));
        Ok(channel)
    }
}

async fn stay(
    channel: Channel,
    token: String,
    counts: Arc<Counts>,
    mut left: oneshot::Receiver<()>,
) {
    for attempt in 0.. {
        tokio::select! {
            // The sender is never used, only dropped.
            _ = &mut left => return,
            () = stream(&channel, &token, &counts) => {}
        }
        tokio::select! {
            _ = &mut left => return,
            () = wait(attempt) => {}
        }
    }
}

/// One stream, to its end.
async fn stream(channel: &Channel, token: &str, counts: &Arc<Counts>) {
    let (mut sender, frames) = mpsc::channel(FRAMES_MAX);
    let identify = link::identify(token, v1::Delivery::Viewed, &[]);
    let identify = frame(Sent::Identify(v1::Identify {
        device: String::new(),
        ..identify
    }));
    if sender.try_send(identify).is_err() {
        return;
    }
    let mut gateway = GatewayServiceClient::new(channel.clone());
    let Ok(response) = gateway.session(frames).await else {
        return;
    };
    let mut received = response.into_inner();
    let start = Instant::now() + HEARTBEAT_EVERY.mul_f64(rand::random());
    let mut heartbeat = interval_at(start, HEARTBEAT_EVERY);
    let mut ready = None;
    loop {
        tokio::select! {
            received = received.message() => match received {
                Ok(Some(received)) => {
                    if let Some(Received::Ready(_)) = received.frame {
                        ready = Some(IsReady::of(counts));
                    }
                }
                Ok(None) | Err(_) => break,
            },
            _ = heartbeat.tick() => {
                if sender.try_send(frame(Sent::Heartbeat(v1::Heartbeat {}))).is_err() {
                    break;
                }
            }
        }
    }
    drop(ready);
}

fn frame(frame: Sent) -> ClientFrame {
    ClientFrame {
        call_id: 0,
        frame: Some(frame),
    }
}
