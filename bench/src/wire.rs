//! A gRPC client that costs as little as can be, so that the load generator leaves the machine to
//! the server: HTTP/2 frames over a plain TCP connection, many streams on each. It reads no header
//! blocks (a stream's end is enough), and hands out gRPC messages undecoded.
//!
//! [`Wire`] does no I/O: it is a [`Protocol`].

use crate::link::Protocol;
use anyhow::{Result, bail, ensure};
use bytes::{Buf, BufMut, BytesMut};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What the server may send on a stream before it hears from us, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 16 << 20;
const DEFAULT_WINDOW: u32 = 65_535;
/// Servers send frames up to this size unless told otherwise, and we don't tell.
const FRAME_BYTES_MAX: usize = 16_384;
/// Bytes of a server's frame at most.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const FLAG_ACK: u8 = 1;
const FLAG_END_STREAM: u8 = 1;
const FLAG_END_HEADERS: u8 = 4;
const FLAG_PADDED: u8 = 8;
const SETTING_INITIAL_WINDOW: u16 = 4;

/// What a stream received.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A gRPC message, without its prefix.
    Message(&'a [u8]),
    /// The server ended the stream.
    End,
}

/// One HTTP/2 connection's state.
pub struct Wire {
    output: BytesMut,
    authority: String,
    streams: Vec<StreamState>,
    send_window: i64,
    send_window_initial: i64,
    unacked: u32,
}

struct StreamState {
    /// The beginning of a message whose rest hasn't come.
    partial: Vec<u8>,
    /// What the server's window doesn't admit yet.
    pending: BytesMut,
    send_window: i64,
    unacked: u32,
}

impl Wire {
    /// A new connection to `authority` (`HOST:PORT`).
    #[must_use]
    pub fn new(authority: &str) -> Self {
        let mut output = BytesMut::with_capacity(256);
        output.put_slice(PREFACE);
        put_frame(&mut output, SETTINGS, 0, 0, 12);
        output.put_u16(2); // no server push
        output.put_u32(0);
        output.put_u16(SETTING_INITIAL_WINDOW);
        output.put_u32(STREAM_WINDOW);
        put_window_update(&mut output, 0, CONNECTION_WINDOW - DEFAULT_WINDOW);
        Self {
            output,
            authority: authority.to_owned(),
            streams: Vec::new(),
            send_window: i64::from(DEFAULT_WINDOW),
            send_window_initial: i64::from(DEFAULT_WINDOW),
            unacked: 0,
        }
    }

    /// Opens a stream for a call of `path`; its index counts from 0.
    pub fn open(&mut self, path: &str) -> usize {
        let mut block = BytesMut::with_capacity(128);
        block.put_slice(&[0x83, 0x86]); // :method POST, :scheme http
        put_literal(&mut block, &[0x04], path);
        put_literal(&mut block, &[0x01], &self.authority);
        put_literal(&mut block, &[0x0f, 0x10], "application/grpc");
        put_literal(&mut block, b"\x00\x02te", "trailers");
        let index = self.streams.len();
        put_frame(
            &mut self.output,
            HEADERS,
            FLAG_END_HEADERS,
            stream_id(index),
            block.len(),
        );
        self.output.put_slice(&block);
        self.streams.push(StreamState {
            partial: Vec::new(),
            pending: BytesMut::new(),
            send_window: self.send_window_initial,
            unacked: 0,
        });
        index
    }

    /// Queues a gRPC message on a stream.
    pub fn send(&mut self, stream: usize, message: &[u8]) {
        let pending = &mut self.streams[stream].pending;
        pending.reserve(5 + message.len());
        pending.put_u8(0);
        pending.put_u32(message.len() as u32);
        pending.put_slice(message);
        self.flush(stream);
    }

    /// Ends our half of a stream. Whatever is pending must have gone out.
    pub fn finish(&mut self, stream: usize) {
        put_frame(
            &mut self.output,
            DATA,
            FLAG_END_STREAM,
            stream_id(stream),
            0,
        );
    }

    fn flush(&mut self, stream: usize) {
        let state = &mut self.streams[stream];
        while !state.pending.is_empty() {
            let window = self.send_window.min(state.send_window).max(0) as usize;
            let length = state.pending.len().min(window).min(FRAME_BYTES_MAX);
            if length == 0 {
                return;
            }
            put_frame(&mut self.output, DATA, 0, stream_id(stream), length);
            self.output.put_slice(&state.pending.split_to(length));
            state.send_window -= length as i64;
            self.send_window -= length as i64;
        }
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
        on: &mut impl FnMut(usize, Incoming<'_>),
    ) -> Result<()> {
        match kind {
            DATA => {
                self.data(flags, id, payload, on)?;
                self.end(flags, id, on)
            }
            HEADERS => self.end(flags, id, on),
            RST_STREAM => self.end(FLAG_END_STREAM, id, on),
            SETTINGS if flags & FLAG_ACK == 0 => {
                self.settings(payload);
                put_frame(&mut self.output, SETTINGS, FLAG_ACK, 0, 0);
                Ok(())
            }
            PING if flags & FLAG_ACK == 0 => {
                put_frame(&mut self.output, PING, FLAG_ACK, 0, payload.len());
                self.output.put_slice(payload);
                Ok(())
            }
            GOAWAY => {
                let code = payload.get(4..8).map_or(0, |mut b| b.get_u32());
                let text = payload.get(8..).unwrap_or_default();
                bail!(
                    "the server said GOAWAY {code}: {}",
                    String::from_utf8_lossy(text)
                )
            }
            WINDOW_UPDATE => self.window_update(id, payload),
            _ => Ok(()),
        }
    }

    fn data(
        &mut self,
        flags: u8,
        id: u32,
        payload: &[u8],
        on: &mut impl FnMut(usize, Incoming<'_>),
    ) -> Result<()> {
        let size = payload.len() as u32;
        self.unacked += size;
        if self.unacked >= CONNECTION_WINDOW / 2 {
            put_window_update(&mut self.output, 0, self.unacked);
            self.unacked = 0;
        }
        let Some(state) = self.streams.get_mut(stream_index(id)) else {
            bail!("the server sent data of a stream that was never opened");
        };
        state.unacked += size;
        if state.unacked >= STREAM_WINDOW / 2 {
            put_window_update(&mut self.output, id, state.unacked);
            state.unacked = 0;
        }
        let payload = unpadded(flags, payload)?;
        cut_frames(&mut state.partial, payload, |flags, message| {
            ensure!(
                flags == 0,
                "a compressed message, though none was asked for"
            );
            on(stream_index(id), Incoming::Message(message));
            Ok(())
        })
    }

    fn end(&mut self, flags: u8, id: u32, on: &mut impl FnMut(usize, Incoming<'_>)) -> Result<()> {
        if flags & FLAG_END_STREAM != 0 {
            ensure!(
                stream_index(id) < self.streams.len(),
                "the server ended an unknown stream"
            );
            on(stream_index(id), Incoming::End);
        }
        Ok(())
    }

    fn settings(&mut self, mut payload: &[u8]) {
        while payload.len() >= 6 {
            let (name, value) = (payload.get_u16(), payload.get_u32());
            if name == SETTING_INITIAL_WINDOW {
                let delta = i64::from(value) - self.send_window_initial;
                self.send_window_initial = i64::from(value);
                for index in 0..self.streams.len() {
                    self.streams[index].send_window += delta;
                    self.flush(index);
                }
            }
        }
    }

    fn window_update(&mut self, id: u32, mut payload: &[u8]) -> Result<()> {
        ensure!(
            payload.len() == 4,
            "a WINDOW_UPDATE of {} bytes",
            payload.len()
        );
        let increment = i64::from(payload.get_u32() & 0x7fff_ffff);
        if id == 0 {
            self.send_window += increment;
            for index in 0..self.streams.len() {
                self.flush(index);
            }
        } else if let Some(state) = self.streams.get_mut(stream_index(id)) {
            state.send_window += increment;
            self.flush(stream_index(id));
        }
        Ok(())
    }
}

impl Protocol for Wire {
    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    fn step(
        &mut self,
        input: &mut BytesMut,
        on: &mut impl FnMut(usize, Incoming<'_>),
    ) -> Result<bool> {
        let Some(&[l0, l1, l2, kind, flags, i0, i1, i2, i3]) = input.get(..9) else {
            return Ok(false);
        };
        let end = 9 + u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let Some(payload) = input.get(9..end) else {
            return Ok(false);
        };
        let id = u32::from_be_bytes([i0, i1, i2, i3]) & 0x7fff_ffff;
        self.frame(kind, flags, id, payload, on)?;
        input.advance(end);
        Ok(true)
    }
}

fn stream_id(index: usize) -> u32 {
    index as u32 * 2 + 1
}

fn stream_index(id: u32) -> usize {
    id.saturating_sub(1) as usize / 2
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8]> {
    if flags & FLAG_PADDED == 0 {
        return Ok(payload);
    }
    let padding = usize::from(payload.first().copied().unwrap_or(0));
    ensure!(
        padding < payload.len(),
        "a DATA frame with more padding than bytes"
    );
    Ok(&payload[1..payload.len() - padding])
}

/// Cuts gRPC's frames out of a stream's bytes, in place where one came whole: `on` has the flags
/// and the message of each.
pub(crate) fn cut_frames(
    partial: &mut Vec<u8>,
    mut payload: &[u8],
    mut on: impl FnMut(u8, &[u8]) -> Result<()>,
) -> Result<()> {
    if !partial.is_empty() {
        partial.extend_from_slice(payload);
        let whole = std::mem::take(partial);
        return cut_frames(partial, &whole, on);
    }
    while payload.len() >= 5 {
        let length = u32::from_be_bytes([payload[1], payload[2], payload[3], payload[4]]) as usize;
        ensure!(length <= MESSAGE_BYTES_MAX, "a message of {length} bytes");
        let Some(message) = payload.get(5..5 + length) else {
            break;
        };
        on(payload[0], message)?;
        payload = &payload[5 + length..];
    }
    partial.extend_from_slice(payload);
    Ok(())
}

fn put_frame(out: &mut BytesMut, kind: u8, flags: u8, id: u32, length: usize) {
    out.reserve(9 + length);
    out.put_uint(length as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(id);
}

fn put_window_update(out: &mut BytesMut, id: u32, increment: u32) {
    put_frame(out, WINDOW_UPDATE, 0, id, 4);
    out.put_u32(increment);
}

/// A header field that the server shall not index, its value neither compressed nor long.
fn put_literal(out: &mut BytesMut, name: &[u8], value: &str) {
    debug_assert!(
        value.len() < 127,
        "longer values need more than one byte of length"
    );
    out.put_slice(name);
    out.put_u8(value.len() as u8);
    out.put_slice(value.as_bytes());
}

/// The bytes of the first length-delimited field `number` of an encoded protobuf message.
#[must_use]
pub fn field(mut message: &[u8], number: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let length = match key & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let bytes = message.get(..length)?;
        if key == number << 3 | 2 {
            return Some(bytes);
        }
        message = &message[length..];
    }
    None
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use chirm_proto::v1;
    use prost::Message;

    fn grpc(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.put_u32(message.len() as u32);
        bytes.extend_from_slice(message);
        bytes
    }

    fn data(input: &mut BytesMut, flags: u8, id: u32, payload: &[u8]) {
        put_frame(input, DATA, flags, id, payload.len());
        input.put_slice(payload);
    }

    #[test]
    fn messages_are_whole_however_they_were_cut() {
        let bytes: Vec<u8> = [grpc(b"one"), grpc(b""), grpc(b"three")].concat();
        for cut in 0..bytes.len() {
            let mut wire = Wire::new("h:1");
            wire.open("/p");
            let (mut input, mut seen) = (BytesMut::new(), Vec::new());
            data(&mut input, 0, 1, &bytes[..cut]);
            data(&mut input, FLAG_END_STREAM, 1, &bytes[cut..]);
            wire.feed(&mut input, |stream, incoming| match incoming {
                Incoming::Message(message) => seen.push((stream, message.to_vec())),
                Incoming::End => seen.push((stream, b"end".to_vec())),
            })
            .unwrap();
            let expected = [&b"one"[..], b"", b"three", b"end"].map(|m| (0, m.to_vec()));
            assert_eq!(seen, expected, "cut at {cut}");
        }
    }

    #[test]
    fn sending_stops_at_the_window_and_goes_on_when_it_opens() {
        let mut wire = Wire::new("h:1");
        let stream = wire.open("/p");
        wire.output.clear();
        wire.send(stream, &vec![7; 70_000]);
        let first = wire.output.len();
        assert!(first < 66_000, "{first} bytes went out");
        let mut input = BytesMut::new();
        for id in [0, 1] {
            put_window_update(&mut input, id, 10_000);
        }
        wire.feed(&mut input, |_, _| ()).unwrap();
        assert!(wire.output.len() > 70_000);
        assert!(wire.streams[stream].pending.is_empty());
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut wire = Wire::new("h:1");
        let mut input = BytesMut::new();
        data(&mut input, 0, 5, b"x");
        assert!(wire.feed(&mut input, |_, _| ()).is_err());
        let mut wire = Wire::new("h:1");
        wire.open("/p");
        let mut input = BytesMut::new();
        data(&mut input, FLAG_PADDED, 1, &[9, 1]);
        assert!(wire.feed(&mut input, |_, _| ()).is_err());
    }

    #[test]
    fn a_field_is_found_behind_others() {
        let message = v1::Message {
            id: 1,
            author_id: 2,
            content: "text".into(),
            ..default()
        };
        let bytes = message.encode_to_vec();
        assert_eq!(field(&bytes, 4), Some(&b"text"[..]));
        assert_eq!(field(&bytes, 6), None);
        assert_eq!(field(&bytes[..bytes.len() - 1], 4), None);
    }

    fn default<T: Default>() -> T {
        T::default()
    }
}
