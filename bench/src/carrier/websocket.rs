//! A WebSocket that costs as little as can be (RFC 6455), so that the load generator leaves the
//! machine to the server. Messages are handed out where they lie in the input.

use super::http1::Head;
use crate::link::Protocol;
use crate::wire::{Incoming, MESSAGE_BYTES_MAX};
use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, BytesMut};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

/// Where servers serve WebSockets.
const PATH: &str = "/gateway";

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// Bytes of a control frame's payload at most.
const CONTROL_BYTES_MAX: usize = 125;

/// What the messages of a WebSocket are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `chirm.v1.proto`: encoded frames.
    Proto,
    /// `chirm.v1.json`: frames as proto3 JSON.
    Json,
}

impl Form {
    fn subprotocol(self) -> &'static str {
        match self {
            Self::Proto => "chirm.v1.proto",
            Self::Json => "chirm.v1.json",
        }
    }

    fn opcode(self) -> u8 {
        match self {
            Self::Proto => BINARY,
            Self::Json => TEXT,
        }
    }
}

/// One WebSocket's state, from its handshake on.
pub(super) struct WebSocket {
    output: BytesMut,
    form: Form,
    /// What `sec-websocket-accept` must be, until it came.
    accept: Option<String>,
    /// The beginning of a message whose other fragments haven't come.
    partial: Option<Vec<u8>>,
}

/// A frame of the server: where its payload lies in the input.
struct Frame {
    is_last: bool,
    opcode: u8,
    payload: std::ops::Range<usize>,
}

impl WebSocket {
    /// Begins the handshake with `authority` (`HOST:PORT`).
    pub(super) fn new(authority: &str, form: Form) -> Self {
        let key = generate_key();
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Protocol: {}\r\n\r\n",
            form.subprotocol()
        );
        Self {
            output: BytesMut::from(request.as_bytes()),
            form,
            accept: Some(derive_accept_key(key.as_bytes())),
            partial: None,
        }
    }

    /// Whether the handshake is over. Nothing may be sent before.
    pub(super) fn is_open(&self) -> bool {
        self.accept.is_none()
    }

    /// Queues a message.
    pub(super) fn send(&mut self, message: &[u8]) {
        put_masked(&mut self.output, self.form.opcode(), message);
    }

    fn shake_hands(&self, accept: &str, input: &mut BytesMut) -> Result<bool> {
        let Some(head) = Head::take(input)? else {
            return Ok(false);
        };
        head.expect(101, input)?;
        let given = head.header("sec-websocket-accept");
        ensure!(
            given == Some(accept),
            "the server's sec-websocket-accept isn't that of the key"
        );
        let (asked, given) = (
            self.form.subprotocol(),
            head.header("sec-websocket-protocol"),
        );
        ensure!(
            given == Some(asked),
            "the server's subprotocol is {given:?}, not {asked}"
        );
        Ok(true)
    }

    fn take(
        &mut self,
        frame: &Frame,
        payload: &[u8],
        on: &mut impl FnMut(usize, Incoming<'_>),
    ) -> Result<()> {
        match (frame.opcode, &mut self.partial) {
            (CLOSE, _) => bail!("{}", close_reason(payload)),
            (PING, _) => put_masked(&mut self.output, PONG, payload),
            (PONG, _) => {}
            (CONTINUATION, Some(partial)) => {
                let bytes = partial.len() + payload.len();
                ensure!(bytes <= MESSAGE_BYTES_MAX, "a message of {bytes} bytes");
                partial.extend_from_slice(payload);
                if frame.is_last {
                    on(0, Incoming::Message(partial));
                    self.partial = None;
                }
            }
            (opcode, None) if opcode == self.form.opcode() => {
                if frame.is_last {
                    on(0, Incoming::Message(payload));
                } else {
                    self.partial = Some(payload.to_vec());
                }
            }
            (opcode, partial) => {
                let place = partial.as_ref().map_or("", |_| " within a message");
                bail!("a WebSocket frame of opcode {opcode}{place}")
            }
        }
        Ok(())
    }
}

impl Protocol for WebSocket {
    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    fn step(
        &mut self,
        input: &mut BytesMut,
        on: &mut impl FnMut(usize, Incoming<'_>),
    ) -> Result<bool> {
        if let Some(accept) = &self.accept {
            let is_open = self.shake_hands(accept, input)?;
            if is_open {
                self.accept = None;
            }
            return Ok(is_open);
        }
        let Some(frame) = next_frame(input)? else {
            return Ok(false);
        };
        self.take(&frame, &input[frame.payload.clone()], on)?;
        input.advance(frame.payload.end);
        Ok(true)
    }
}

/// The first frame of `input`; `None` if it isn't whole.
fn next_frame(input: &[u8]) -> Result<Option<Frame>> {
    let &[first, second, ref rest @ ..] = input else {
        return Ok(None);
    };
    ensure!(
        first & RESERVED == 0,
        "a WebSocket frame with reserved bits"
    );
    ensure!(
        second & MASKED == 0,
        "a masked WebSocket frame of the server"
    );
    let (opcode, is_last) = (first & 0x0f, first & FIN != 0);
    let (begin, length) = match (second, rest) {
        (127, &[a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        (126, &[a, b, ..]) => (4, u64::from(u16::from_be_bytes([a, b]))),
        (126 | 127, _) => return Ok(None),
        (length, _) => (2, u64::from(length)),
    };
    let length = usize::try_from(length).context("a WebSocket frame beyond all memory")?;
    ensure!(length <= MESSAGE_BYTES_MAX, "a frame of {length} bytes");
    if opcode >= CLOSE {
        ensure!(
            is_last && length <= CONTROL_BYTES_MAX,
            "a control frame of {length} bytes, or a fragment of one"
        );
    }
    Ok((input.len() >= begin + length).then_some(Frame {
        is_last,
        opcode,
        payload: begin..begin + length,
    }))
}

/// A client's frames are masked, each by a key of its own (section 5.3).
fn put_masked(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    out.reserve(14 + payload.len());
    out.put_u8(FIN | opcode);
    match payload.len() {
        length @ 0..=125 => out.put_u8(MASKED | length as u8),
        length @ 126..=0xffff => {
            out.put_u8(MASKED | 126);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(MASKED | 127);
            out.put_u64(length as u64);
        }
    }
    let key: [u8; 4] = rand::random();
    out.put_slice(&key);
    let masked = payload.iter().zip(key.iter().cycle());
    out.extend(masked.map(|(byte, key)| byte ^ key));
}

fn close_reason(payload: &[u8]) -> String {
    match payload {
        [a, b] => format!(
            "the server closed the WebSocket with code {}",
            u16::from_be_bytes([*a, *b])
        ),
        [a, b, reason @ ..] => format!(
            "the server closed the WebSocket with code {}: {}",
            u16::from_be_bytes([*a, *b]),
            String::from_utf8_lossy(reason)
        ),
        _ => "the server closed the WebSocket without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests;
