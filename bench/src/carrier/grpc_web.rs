//! One `Listen` by gRPC-Web over HTTP/1.1, as a browser has it from a server without TLS: a request
//! with its whole body, then a response in chunks (RFC 9112, section 7.1) that holds messages and,
//! in a frame of their own, the trailers.

use super::http1::{Head, header};
use crate::link::{LISTEN, Protocol};
use crate::wire::{Incoming, cut_frames};
use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, BytesMut};

/// The type of what is asked for and answered.
const CONTENT_TYPE: &str = "application/grpc-web+proto";
/// The flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;
/// Bytes of a line with a chunk's length at most.
const LENGTH_LINE_BYTES_MAX: usize = 64;

/// One response's state.
pub(super) struct GrpcWeb {
    output: BytesMut,
    place: Place,
    /// The beginning of a gRPC frame whose rest hasn't come.
    partial: Vec<u8>,
}

/// Where in the response the input begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    /// Before the line that says how long the next chunk is.
    Length,
    /// In a chunk, so many bytes before its end.
    Chunk(usize),
    /// Behind a chunk, before the end of its line.
    LineEnd,
}

impl GrpcWeb {
    /// Calls `Listen` of `authority` (`HOST:PORT`) with an encoded `Identify`.
    pub(super) fn new(authority: &str, identify: &[u8]) -> Self {
        let head = format!(
            "POST {LISTEN} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {CONTENT_TYPE}\r\n\
             Accept: {CONTENT_TYPE}\r\nX-Grpc-Web: 1\r\nContent-Length: {}\r\n\r\n",
            5 + identify.len()
        );
        let mut output = BytesMut::from(head.as_bytes());
        output.put_u8(0);
        output.put_u32(identify.len() as u32);
        output.put_slice(identify);
        Self {
            output,
            place: Place::Head,
            partial: Vec::new(),
        }
    }
}

impl Protocol for GrpcWeb {
    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    fn step(
        &mut self,
        input: &mut BytesMut,
        on: &mut impl FnMut(usize, Incoming<'_>),
    ) -> Result<bool> {
        match self.place {
            Place::Head => {
                let Some(head) = Head::take(input)? else {
                    return Ok(false);
                };
                check(&head, input)?;
                self.place = Place::Length;
            }
            Place::Length => {
                let Some(line) = take_line(input, LENGTH_LINE_BYTES_MAX)? else {
                    return Ok(false);
                };
                let length = chunk_length(&line)?;
                ensure!(length > 0, "the response ended");
                self.place = Place::Chunk(length);
            }
            Place::Chunk(rest) => {
                let here = rest.min(input.len());
                if here == 0 {
                    return Ok(false);
                }
                messages(&mut self.partial, &input[..here], on)?;
                input.advance(here);
                self.place = match rest - here {
                    0 => Place::LineEnd,
                    rest => Place::Chunk(rest),
                };
            }
            Place::LineEnd => {
                let Some(line) = take_line(input, 2)? else {
                    return Ok(false);
                };
                ensure!(line.is_empty(), "a chunk is longer than its length");
                self.place = Place::Length;
            }
        }
        Ok(true)
    }
}

fn check(head: &Head, body: &[u8]) -> Result<()> {
    head.expect(200, body)?;
    // A call that is refused at once has its status here.
    if let Some(status) = head.header("grpc-status") {
        bail!(ended(status, head.header("grpc-message")));
    }
    let given = head.header("content-type");
    ensure!(
        given == Some(CONTENT_TYPE),
        "the server answered with {given:?}, not {CONTENT_TYPE}"
    );
    let encoding = head.header("transfer-encoding");
    ensure!(
        encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")),
        "the response's transfer-encoding is {encoding:?}, not chunked"
    );
    Ok(())
}

fn messages(
    partial: &mut Vec<u8>,
    payload: &[u8],
    on: &mut impl FnMut(usize, Incoming<'_>),
) -> Result<()> {
    cut_frames(partial, payload, |flags, message| {
        match flags {
            0 => on(0, Incoming::Message(message)),
            TRAILERS => {
                let trailers = String::from_utf8_lossy(message);
                let status = header(&trailers, "grpc-status").unwrap_or("missing");
                if status != "0" {
                    bail!(ended(status, header(&trailers, "grpc-message")));
                }
                on(0, Incoming::End);
            }
            _ => bail!("a gRPC-Web frame with flags {flags:#04x}"),
        }
        Ok(())
    })
}

fn ended(status: &str, message: Option<&str>) -> String {
    let message = message.unwrap_or("without a message");
    format!("the call ended with grpc-status {status}: {message}")
}

fn chunk_length(line: &[u8]) -> Result<usize> {
    // Behind a semicolon extensions may stand, of which none means anything here.
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = std::str::from_utf8(digits).unwrap_or_default().trim();
    usize::from_str_radix(digits, 16).context("a chunk's length is no hexadecimal number")
}

/// Takes a line off, without its end; `None` if its end hasn't come.
fn take_line(input: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>> {
    let searched = &input[..input.len().min(bytes_max)];
    let Some(length) = super::http1::find(searched, b"\r\n") else {
        ensure!(
            input.len() < bytes_max,
            "a line of a chunked response is over the limit of {bytes_max} bytes"
        );
        return Ok(None);
    };
    let line = input.split_to(length);
    input.advance(2);
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\n\
                        transfer-encoding: chunked\r\n\r\n";

    fn grpc(flags: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flags];
        bytes.put_u32(message.len() as u32);
        bytes.extend_from_slice(message);
        bytes
    }

    fn response(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
        let mut bytes = HEAD.as_bytes().to_vec();
        for chunk in body.chunks(chunk_bytes) {
            bytes.extend(format!("{:X};odd=1\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    fn received(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<()>) {
        let mut call = GrpcWeb::new("h:1", b"");
        let (mut input, mut seen) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            let result = call.feed(&mut input, |stream, incoming| match incoming {
                Incoming::Message(message) if stream == 0 => seen.push(message.to_vec()),
                Incoming::End => seen.push(b"end".to_vec()),
                other => panic!("{stream}: {other:?}"),
            });
            if result.is_err() {
                return (seen, result);
            }
        }
        (seen, Ok(()))
    }

    #[test]
    fn messages_are_whole_however_chunks_and_reads_cut_them() {
        let trailers = grpc(TRAILERS, b"grpc-status: 0\r\ngrpc-message: fine\r\n");
        let body = [grpc(0, b"one"), grpc(0, b""), grpc(0, b"three"), trailers].concat();
        let expected = [&b"one"[..], b"", b"three", b"end"].map(<[u8]>::to_vec);
        for chunk_bytes in [1, 4, 9, 26, body.len()] {
            let bytes = response(&body, chunk_bytes);
            for cut in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                let (seen, result) = received(&[head, tail]);
                result.unwrap();
                assert_eq!(seen, expected, "chunks of {chunk_bytes}, cut at {cut}");
            }
        }
    }

    #[test]
    fn an_end_says_why() {
        let trailers = grpc(TRAILERS, b"grpc-status:16\r\ngrpc-message:who?");
        let trailers_only = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\n\
                             grpc-status: 16\r\ngrpc-message: who?\r\n\r\n";
        for bytes in [response(&trailers, 100), trailers_only.into()] {
            let (_, result) = received(&[&bytes]);
            let error = result.unwrap_err().to_string();
            assert!(error.ends_with("grpc-status 16: who?"), "{error}");
        }
        let over = [&response(&grpc(0, b"one"), 100)[..], b"0\r\n\r\n"].concat();
        let (seen, result) = received(&[&over]);
        assert_eq!(seen, [b"one".to_vec()]);
        assert!(result.unwrap_err().to_string().contains("ended"));
    }

    #[test]
    fn nonsense_is_an_error() {
        let chunked = |rest: &str| [HEAD, rest].concat();
        for (bytes, expected) in [
            (chunked("x\r\n"), "hexadecimal"),
            (chunked(&"0".repeat(LENGTH_LINE_BYTES_MAX)), "limit of 64"),
            (chunked("1\r\n\0more"), "limit of 2"),
            (chunked("6\r\n\u{1}\0\0\0\0.\r\n"), "flags 0x01"),
            (HEAD.replace("200 OK", "404 Not Found"), "404"),
            (HEAD.replace("+proto", "-text"), "grpc-web-text"),
            (HEAD.replace("transfer-encoding", "x"), "None"),
        ] {
            let (_, result) = received(&[bytes.as_bytes()]);
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes}: {error}");
        }
    }

    #[test]
    fn the_request_is_whole() {
        let output = GrpcWeb::new("h:1", b"identify").output;
        let text = String::from_utf8(output.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /chirm.v1.GatewayService/Listen HTTP/1.1\r\nHost: h:1"));
        assert!(head.contains("\r\nContent-Length: 13"), "{head}");
        assert_eq!(body.as_bytes(), grpc(0, b"identify"));
    }
}
