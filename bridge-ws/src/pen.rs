//! Data frames, written from the bytes that all recipients share.
//!
//! The library copies each message into a buffer of the connection, which is memory that the
//! processor hasn't seen lately, once a recipient. A server's data frame is a header of at most ten
//! bytes and the payload as it is (RFC 6455, section 5.2), so both go to the socket as they lie.
//! All else, what clients send first of all, is the library's.

use crate::form::Form;
use bytes::{Buf as _, Bytes, BytesMut};
use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Frames of one write at most.
pub(crate) const FRAMES_MAX: usize = 16;

/// Payloads of one write.
pub(crate) type Payloads = SmallVec<[Bytes; FRAMES_MAX]>;

/// The socket below the library's: what a frame has left over is written before anything else.
pub(crate) struct Pen<S> {
    socket: S,
    /// Of frames that were begun, what the socket didn't take.
    rest: BytesMut,
}

impl<S: AsyncWrite + Unpin> Pen<S> {
    pub(crate) fn new(socket: S) -> Self {
        let rest = BytesMut::new();
        Self { socket, rest }
    }

    /// Whether a flush has something to do.
    pub(crate) fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Writes data frames; what the socket doesn't take goes with the next flush. Nothing of what
    /// was written before may wait, of the library's neither.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn write(
        &mut self,
        cx: &mut Context<'_>,
        form: Form,
        payloads: &[Bytes],
    ) -> io::Result<()> {
        let headers: SmallVec<[Header; FRAMES_MAX]> = payloads
            .iter()
            .map(|payload| Header::new(form, payload.len()))
            .collect();
        let frames = headers.iter().zip(payloads);
        let parts = frames.flat_map(|(header, payload)| [header.bytes(), payload]);
        let slices: SmallVec<[IoSlice<'_>; 2 * FRAMES_MAX]> = parts.map(IoSlice::new).collect();
        let mut written = 0;
        // Who takes one part a time would be given the headers alone.
        if self.socket.is_write_vectored() {
            let write = Pin::new(&mut self.socket).poll_write_vectored(cx, &slices);
            if let Poll::Ready(count) = write {
                written = count?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
        }
        for slice in &slices {
            let skipped = written.min(slice.len());
            self.rest.extend_from_slice(&slice[skipped..]);
            written -= skipped;
        }
        Ok(())
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.rest.advance(written);
            if self.rest.is_empty() {
                // A connection that was slow once needn't keep its memory.
                self.rest = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A server's data frame but for its payload: final, not masked.
struct Header {
    bytes: [u8; 10],
    length: usize,
}

impl Header {
    fn new(form: Form, payload: usize) -> Self {
        let mut bytes = [0; 10];
        bytes[0] = 0x80 | form.opcode();
        let length = match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(short), _) if short < 126 => {
                bytes[1] = short;
                2
            }
            (_, Ok(medium)) => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&medium.to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&(payload as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Pen<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pen<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use tokio::io::{AsyncWriteExt as _, DuplexStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    /// Takes one part of a vectored write, or all; and as little as there is room for.
    struct Sink {
        socket: DuplexStream,
        vectored: bool,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.socket).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.socket).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.socket).poll_shutdown(cx)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.poll_write(cx, &all)
        }

        fn is_write_vectored(&self) -> bool {
            self.vectored
        }
    }

    /// What the library reads of these payloads, through a socket with room for so many bytes.
    async fn read(form: Form, lengths: &[usize], room: usize, vectored: bool) -> Vec<Bytes> {
        let (client, socket) = tokio::io::duplex(room);
        let payloads: Vec<Bytes> = lengths.iter().map(|n| vec![b'x'; *n].into()).collect();
        let writing = tokio::spawn(async move {
            let mut pen = Pen::new(Sink { socket, vectored });
            for batch in payloads.chunks(FRAMES_MAX) {
                let write = std::future::poll_fn(|cx| Poll::Ready(pen.write(cx, form, batch)));
                write.await.expect("writes");
                pen.flush().await.expect("flushes");
                assert!(!pen.has_rest());
            }
        });
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let messages: Vec<_> = client.take(lengths.len()).collect().await;
        writing.await.expect("no panic");
        let messages = messages
            .into_iter()
            .map(|message| message.expect("a message"));
        messages
            .map(|message| {
                assert_eq!(message.is_text(), form == Form::Json);
                message.into_data()
            })
            .collect()
    }

    #[tokio::test]
    async fn frames_of_all_lengths_are_read_as_they_were_written() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000, 5];
        for form in [Form::Proto, Form::Json] {
            for (room, vectored) in [(1 << 20, true), (7, true), (1_000, false)] {
                let read = read(form, &lengths, room, vectored).await;
                let read: Vec<usize> = read.iter().map(Bytes::len).collect();
                assert_eq!(read, lengths, "{form:?}, room for {room}");
            }
        }
        let many = [200; 40];
        assert_eq!(read(Form::Proto, &many, 3_000, true).await.len(), 40);
    }
}
