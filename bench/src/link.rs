//! A socket with what is spoken on it, and the frames that a gateway stream begins with.

use crate::wire::{Incoming, Wire};
use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use chirm_proto::v1;
use prost::Message;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `GatewayService.Session`.
pub const SESSION: &str = "/chirm.v1.GatewayService/Session";
/// `GatewayService.Listen`.
pub const LISTEN: &str = "/chirm.v1.GatewayService/Listen";
/// How often a stream says that it lives. Servers ask for 20 s by default.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Streams that share a connection; servers allow some 128.
pub const STREAMS_A_CONNECTION: usize = 100;
/// What a read asks for at least.
const READ_BYTES_MIN: usize = 4096;

/// What is spoken on a connection. It does no I/O: bytes go in by `feed`, and come out of `output`.
pub trait Protocol {
    /// Bytes to be written to the socket.
    fn output(&mut self) -> &mut BytesMut;

    /// Understands the first thing of `input` and takes it off; false if it isn't whole.
    ///
    /// # Errors
    /// The server ended the connection, or broke the protocol.
    fn step(
        &mut self,
        input: &mut BytesMut,
        on: &mut impl FnMut(usize, Incoming<'_>),
    ) -> Result<bool>;

    /// Understands all that is whole of `input`; `on` hears what each stream received.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn feed(
        &mut self,
        input: &mut BytesMut,
        mut on: impl FnMut(usize, Incoming<'_>),
    ) -> Result<()> {
        while self.step(input, &mut on)? {}
        Ok(())
    }
}

/// A connection of the load generator; by HTTP/2 unless said otherwise.
pub struct Link<P = Wire> {
    socket: TcpStream,
    /// Bytes read from the socket and not yet understood.
    input: BytesMut,
    /// The protocol's state.
    pub wire: P,
}

impl Link {
    /// Connects by HTTP/2 to `url`, which must be `http://HOST:PORT`.
    ///
    /// # Errors
    /// It isn't, or there is no server.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_by(url, Wire::new).await
    }
}

impl<P: Protocol> Link<P> {
    /// Connects to `url`, which must be `http://HOST:PORT`, by the protocol that `begin` makes for
    /// `HOST:PORT`.
    ///
    /// # Errors
    /// It isn't, or there is no server.
    pub async fn connect_by(url: &str, begin: impl FnOnce(&str) -> P) -> Result<Self> {
        let authority = url.strip_prefix("http://").context(
            "the load generator speaks cleartext HTTP: give --server as http://HOST:PORT",
        )?;
        let socket = TcpStream::connect(authority)
            .await
            .with_context(|| format!("can't connect to {authority}"))?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            input: BytesMut::new(),
            wire: begin(authority),
        })
    }

    /// Writes all that is queued.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn flush(&mut self) -> Result<()> {
        let output = self.wire.output();
        if !output.is_empty() {
            self.socket.write_all_buf(output).await?;
        }
        Ok(())
    }

    /// Reads once, hears what came, and answers what needs an answer. Nothing is lost if the future
    /// is dropped while it waits.
    ///
    /// # Errors
    /// The connection is over, or the server broke the protocol.
    pub async fn turn(&mut self, on: impl FnMut(usize, Incoming<'_>)) -> Result<()> {
        self.input.reserve(READ_BYTES_MIN);
        if self.socket.read_buf(&mut self.input).await? == 0 {
            bail!("the server closed the connection");
        }
        self.wire.feed(&mut self.input, on)?;
        // What is to be written here is small: acknowledgements and window updates.
        self.flush().await
    }
}

/// The first frame of a session: who it is and what it looks at.
#[must_use]
pub fn identify(token: &str, delivery: v1::Delivery, viewed: &[i64]) -> v1::Identify {
    let view = |&channel_id| v1::ViewedChannel {
        channel_id,
        position: None,
    };
    v1::Identify {
        token: token.to_owned(),
        delivery: delivery as i32,
        device: "chirm-bench".to_owned(),
        view: Some(v1::View {
            channels: viewed.iter().map(view).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A client's frame, encoded.
#[must_use]
pub fn client_frame(call_id: u32, frame: v1::client_frame::Frame) -> Vec<u8> {
    v1::ClientFrame {
        call_id,
        frame: Some(frame),
    }
    .encode_to_vec()
}

/// A heartbeat, encoded.
#[must_use]
pub fn heartbeat() -> Vec<u8> {
    client_frame(0, v1::client_frame::Frame::Heartbeat(v1::Heartbeat {}))
}

/// What the first byte of an encoded `ServerFrame` says that it is.
pub mod tag {
    /// `ready`.
    pub const READY: u8 = 2 << 3 | 2;
    /// `result`.
    pub const RESULT: u8 = 4 << 3 | 2;
    /// `event`.
    pub const EVENT: u8 = 5 << 3 | 2;
    /// `presence_changed`.
    pub const PRESENCE_CHANGED: u8 = 10 << 3 | 2;
    /// `member_list_changed`.
    pub const MEMBER_LIST_CHANGED: u8 = 12 << 3 | 2;
    /// `closing`.
    pub const CLOSING: u8 = 15 << 3 | 2;
}

/// The content of the message that an encoded `ServerFrame` tells of, if it tells of a new one.
#[must_use]
pub fn created_content(frame: &[u8]) -> Option<&[u8]> {
    use crate::wire::field;
    let created = field(field(frame, 5)?, 10)?;
    field(field(created, 1)?, 4)
}

/// Why a `Closing` frame says that the stream ends.
#[must_use]
pub fn closing_reason(frame: &[u8]) -> String {
    match v1::ServerFrame::decode(frame)
        .ok()
        .and_then(|frame| frame.frame)
    {
        Some(v1::server_frame::Frame::Closing(closing)) => {
            format!("{} {}: {}", closing.code, closing.reason, closing.message)
        }
        _ => "a Closing frame that can't be decoded".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::server_frame::Frame;

    #[test]
    fn tags_are_those_of_the_protocol() {
        let first = |frame| v1::ServerFrame { frame: Some(frame) }.encode_to_vec()[0];
        assert_eq!(first(Frame::Ready(v1::Ready::default())), tag::READY);
        assert_eq!(first(Frame::Result(v1::Result::default())), tag::RESULT);
        assert_eq!(first(Frame::Event(v1::Event::default())), tag::EVENT);
        let presence = Frame::PresenceChanged(v1::PresenceChanged::default());
        assert_eq!(first(presence), tag::PRESENCE_CHANGED);
        let list = Frame::MemberListChanged(v1::MemberListChanged::default());
        assert_eq!(first(list), tag::MEMBER_LIST_CHANGED);
        assert_eq!(first(Frame::Closing(v1::Closing::default())), tag::CLOSING);
    }

    #[test]
    fn the_content_of_a_new_message_is_found_without_decoding() {
        let message = v1::Message {
            id: 9,
            content: "hello".into(),
            ..Default::default()
        };
        let event = v1::Event {
            topic: Some(v1::Topic { kind: 1, id: 5 }),
            position: Some(v1::Position {
                epoch: 1 << 40,
                seq: 3,
            }),
            event: Some(v1::event::Event::MessageCreated(v1::MessageCreated {
                message: Some(message),
            })),
        };
        let frame = v1::ServerFrame {
            frame: Some(Frame::Event(event)),
        }
        .encode_to_vec();
        assert_eq!(created_content(&frame), Some(&b"hello"[..]));
        let closing = v1::Closing {
            code: 4001,
            reason: "GONE".into(),
            ..Default::default()
        };
        let frame = v1::ServerFrame {
            frame: Some(Frame::Closing(closing)),
        }
        .encode_to_vec();
        assert_eq!(created_content(&frame), None);
        assert_eq!(closing_reason(&frame), "4001 GONE: ");
    }
}
