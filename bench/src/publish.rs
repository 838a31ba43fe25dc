//! The publisher's side of fan-out and floor: when to publish the next message.

use crate::link::{self, Link, tag};
use crate::tracker::{Pace, Tracker};
use crate::wire::Incoming;
use anyhow::{Result, bail};
use chirm_proto::v1;
use prost::Message;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Without a delivery for so long the rest counts as lost.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// How messages are published.
pub enum Publisher {
    /// By a gateway stream.
    Session(SessionPublisher),
    /// By a byte to the floor's child for each message.
    Trigger(TcpStream),
}

/// Publishes on a gateway stream.
pub struct SessionPublisher {
    link: Link,
    stream: usize,
    channel_id: i64,
    content: Content,
}

/// What the messages of a run contain: the run's mark, the message's index, padding.
#[derive(Debug, Clone)]
pub struct Content {
    run: u32,
    bytes: usize,
}

impl Content {
    /// The smallest size that has room for mark and index.
    pub const BYTES_MIN: usize = 18;

    /// Messages of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            run: rand::random(),
            bytes: bytes.clamp(Self::BYTES_MIN, 4000),
        }
    }

    /// The content of message `index`.
    #[must_use]
    pub fn of(&self, index: u32) -> String {
        let width = self.bytes;
        format!(
            "{:.<width$}",
            format_args!("{:08x}:{index:08x}:", self.run).to_string()
        )
    }

    /// The index in a content of this run.
    #[must_use]
    pub fn index(&self, content: &[u8]) -> Option<u32> {
        let number = |range: std::ops::Range<usize>| {
            let digits = std::str::from_utf8(content.get(range)?).ok()?;
            u32::from_str_radix(digits, 16).ok()
        };
        (number(0..8)? == self.run).then(|| number(9..17)).flatten()
    }
}

impl SessionPublisher {
    /// Opens a session that views nothing, and waits until it is ready.
    pub async fn open(url: &str, token: &str, channel_id: i64, content: Content) -> Result<Self> {
        let mut link = Link::connect(url).await?;
        let stream = open_session(&mut link, token).await?;
        Ok(Self {
            link,
            stream,
            channel_id,
            content,
        })
    }

    async fn publish(&mut self, index: u32) -> Result<()> {
        let request = send_request(self.channel_id, self.content.of(index));
        let frame = link::client_frame(index + 1, request);
        self.link.wire.send(self.stream, &frame);
        self.link.flush().await
    }

    async fn turn(&mut self) -> Result<()> {
        let mut refused = None;
        self.link
            .turn(|_, incoming| {
                if let Some(reason) = refusal(&incoming) {
                    refused.get_or_insert(reason);
                }
            })
            .await?;
        match refused {
            Some(reason) => bail!("the server refused to publish: {reason}"),
            None => Ok(()),
        }
    }
}

/// Opens a session on a connection: no channel viewed, so it hears next to nothing.
pub(crate) async fn open_session(link: &mut Link, token: &str) -> Result<usize> {
    let stream = link.wire.open(link::SESSION);
    let identify = link::identify(token, v1::Delivery::Viewed, &[]);
    let frame = link::client_frame(0, v1::client_frame::Frame::Identify(identify));
    link.wire.send(stream, &frame);
    link.flush().await?;
    let (mut ready, mut refused) = (false, None);
    while !ready {
        link.turn(|_, incoming| {
            ready |= matches!(incoming, Incoming::Message([tag::READY, ..]));
            refused = refused.take().or_else(|| refusal(&incoming));
        })
        .await?;
        if let Some(reason) = refused {
            bail!("the server refused the session: {reason}");
        }
    }
    Ok(stream)
}

/// A send with a nonce of its own, as clients make them.
pub(crate) fn send_request(channel_id: i64, content: String) -> v1::client_frame::Frame {
    v1::client_frame::Frame::SendMessage(v1::SendMessageRequest {
        channel_id,
        content,
        nonce: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    })
}

/// Why what came means that no answer will come, or a bad one came.
pub(crate) fn refusal(incoming: &Incoming<'_>) -> Option<String> {
    match incoming {
        Incoming::End => Some("the stream ended".to_owned()),
        Incoming::Message(frame @ [tag::CLOSING, ..]) => Some(link::closing_reason(frame)),
        Incoming::Message(frame @ [tag::RESULT, ..]) => {
            match v1::ServerFrame::decode(*frame).ok()?.frame? {
                v1::server_frame::Frame::Result(v1::Result {
                    result: Some(v1::result::Result::Error(status)),
                    ..
                }) => Some(format!("{} (code {})", status.message, status.code)),
                _ => None,
            }
        }
        Incoming::Message(_) => None,
    }
}

impl Publisher {
    async fn publish(&mut self, index: u32) -> Result<()> {
        match self {
            Self::Session(session) => session.publish(index).await,
            Self::Trigger(socket) => Ok(socket.write_all(&[1]).await?),
        }
    }

    /// Reads what the server says; never ends for a floor, which says nothing.
    async fn turn(&mut self) -> Result<()> {
        match self {
            Self::Session(session) => session.turn().await,
            Self::Trigger(_) => std::future::pending().await,
        }
    }

    fn heartbeat(&mut self) {
        if let Self::Session(session) = self {
            session.link.wire.send(session.stream, &link::heartbeat());
        }
    }

    async fn flush(&mut self) -> Result<()> {
        match self {
            Self::Session(session) => session.link.flush().await,
            Self::Trigger(_) => Ok(()),
        }
    }

    /// Publishes all messages of `tracker` at this pace, and waits until all were received, or
    /// until nothing was for 10 s. `progress` hears the deliveries so far, once a second.
    pub async fn run(
        &mut self,
        tracker: &Tracker,
        pace: Pace,
        progress: impl Fn(u64),
    ) -> Result<()> {
        let start = Instant::now();
        let mut next = 0;
        let mut heard = (0, Instant::now());
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut heartbeat =
            tokio::time::interval_at(start + link::HEARTBEAT_EVERY, link::HEARTBEAT_EVERY);
        loop {
            let due = async {
                match pace {
                    Pace::InFlight(_) => {
                        if let Ok(permit) = tracker.permits.acquire().await {
                            permit.forget();
                        }
                        Instant::now()
                    }
                    Pace::Rate(rate) => {
                        let at = start + Duration::from_secs_f64(f64::from(next) / rate);
                        tokio::time::sleep_until(at).await;
                        at
                    }
                }
            };
            tokio::select! {
                at = due, if next < tracker.messages() => {
                    tracker.published(next, at.into_std());
                    self.publish(next).await?;
                    next += 1;
                }
                result = self.turn() => result?,
                () = tracker.finished.notified() => return Ok(()),
                _ = heartbeat.tick() => {
                    self.heartbeat();
                    self.flush().await?;
                }
                _ = second.tick() => {
                    let deliveries = tracker.deliveries();
                    progress(deliveries);
                    if deliveries > heard.0 || (next < tracker.messages() && is_paced(pace)) {
                        heard = (deliveries, Instant::now());
                    }
                    if heard.1.elapsed() > STALLED_AFTER {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn is_paced(pace: Pace) -> bool {
    matches!(pace, Pace::Rate(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_names_its_run_and_index_and_has_its_size() {
        let content = Content::new(200);
        let text = content.of(77);
        assert_eq!(text.len(), 200);
        assert_eq!(content.index(text.as_bytes()), Some(77));
        let other = Content {
            run: content.run ^ 1,
            bytes: 200,
        };
        assert_eq!(content.index(other.of(77).as_bytes()), None);
        assert_eq!(content.index(b"short"), None);
        assert_eq!(Content::new(1).of(0).len(), Content::BYTES_MIN);
    }
}
