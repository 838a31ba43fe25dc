//! A socket some of whose bytes were read already, that counts while it is open, that gives up on a
//! client that takes nothing, and whose end waits for a client that still sends.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::caps::Permit;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is passed over at once of what comes too late.
const PASSED_OVER_BYTES: usize = 4 << 10;

/// Gives the bytes that [`Socket::detect`] read again, then those of the stream. It holds the
/// permit of its connection wherever it goes: a WebSocket outlives the connection's own task.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    head: [u8; PREFACE.len()],
    head_start: u8,
    head_end: u8,
    /// A write that waits for so long fails.
    write_timeout: Duration,
    /// While one waits, or the client's end is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// How long the client's end is waited for.
    linger: Duration,
    /// Nothing more is written.
    shut: bool,
    _permit: Permit,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl<S: AsyncRead + Unpin> Socket<S> {
    pub(super) fn new(stream: S, permit: Permit, write_timeout: Duration) -> Socket<S> {
        Socket {
            stream,
            head: [0; _],
            head_start: 0,
            head_end: 0,
            write_timeout,
            timer: None,
            linger: Duration::ZERO,
            shut: false,
            _permit: permit,
        }
    }

    /// Lets a shutdown wait until the client ends its side, too, for so long at most. To close
    /// while it sends would reset the connection, and with that lose what it had not read yet: an
    /// answer that came before the request's end (RFC 9112, section 9.6).
    pub(super) fn linger(self, linger: Duration) -> Socket<S> {
        Socket { linger, ..self }
    }

    /// Reads until it is clear whether the client sends HTTP/2's preface.
    pub(super) async fn detect(&mut self) -> io::Result<Protocol> {
        loop {
            let end = usize::from(self.head_end);
            if self.head[..end] != PREFACE[..end] {
                return Ok(Protocol::Http1);
            }
            if end == PREFACE.len() {
                return Ok(Protocol::Http2);
            }
            let count = self.stream.read(&mut self.head[end..]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.head_end += u8::try_from(count).expect("the head is shorter than 256 bytes");
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.head_start == this.head_end {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let rest = &this.head[usize::from(this.head_start)..usize::from(this.head_end)];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.head_start += u8::try_from(count).expect("the head is shorter than 256 bytes");
        Poll::Ready(Ok(()))
    }
}

impl<S> Socket<S> {
    /// Passes on what a write came to, or that it waited for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            // hyper flushes now and then, after the shutdown, too.
            if !self.shut {
                self.timer = None;
            }
            return written;
        }
        let within = self.write_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(within)));
        timer.as_mut().poll(cx).map(|()| {
            counter!("chirm_net_connections_closed_total", "reason" => "unread").increment(1);
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

impl<S: AsyncRead + Unpin> Socket<S> {
    /// Passes over what still comes, until the client ends or the time is over.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [MaybeUninit::uninit(); PASSED_OVER_BYTES];
        loop {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            // It comes to a stop by itself: Tokio lets a task read only so much in a row.
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        let linger = self.linger;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(linger)));
        timer.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            let written = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.in_time(cx, written))?;
            self.shut = true;
        }
        if self.linger.is_zero() {
            return Poll::Ready(Ok(()));
        }
        self.poll_end(cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::super::caps::Caps;
    use super::*;

    async fn detect(pieces: &[&[u8]]) -> (io::Result<Protocol>, Vec<u8>) {
        let permit = Caps::new(1, None, vec![])
            .take([127, 0, 0, 1].into())
            .unwrap();
        let (mut client, server) = tokio::io::duplex(1024);
        let mut socket = Socket::new(server, permit, Duration::from_secs(60));
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let writer = tokio::spawn(async move {
            for piece in pieces {
                client.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let protocol = socket.detect().await;
        writer.await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        (protocol, rest)
    }

    #[tokio::test]
    async fn every_byte_is_given_again() {
        for (pieces, protocol) in [
            (vec![&PREFACE[..], b"frames"], Protocol::Http2),
            (
                vec![&PREFACE[..1], &PREFACE[1..23], &PREFACE[23..]],
                Protocol::Http2,
            ),
            (vec![&b"GET / HTTP/1.1\r\n"[..]], Protocol::Http1),
            (vec![&b"P"[..], b"UT / HTTP/1.1\r\n"], Protocol::Http1),
            (vec![&PREFACE[..23], b"X"], Protocol::Http1),
        ] {
            let (detected, bytes) = detect(&pieces).await;
            assert_eq!(detected.unwrap(), protocol);
            assert_eq!(bytes, pieces.concat());
        }
        for pieces in [vec![], vec![&PREFACE[..23]]] {
            assert!(detect(&pieces).await.0.is_err());
        }
    }
}
