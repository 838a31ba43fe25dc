//! As much of HTTP/1.1 as a subscriber's one request needs.

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BytesMut};

/// Bytes that a response may have before its body.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Of a body that says why, so much is shown.
const WHY_BYTES_MAX: usize = 300;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// What comes before a response's body.
#[derive(Debug)]
pub(super) struct Head {
    /// The status code.
    pub(super) status: u16,
    lines: String,
}

impl Head {
    /// Takes the head off what was read; `None` if its end hasn't come.
    ///
    /// # Errors
    /// It is no HTTP/1.1, or too long.
    pub(super) fn take(input: &mut BytesMut) -> Result<Option<Self>> {
        let searched = &input[..input.len().min(HEAD_BYTES_MAX)];
        let Some(length) = find(searched, HEAD_END) else {
            ensure!(
                input.len() < HEAD_BYTES_MAX,
                "the answer's head is over the limit of {HEAD_BYTES_MAX} bytes"
            );
            return Ok(None);
        };
        let lines = String::from_utf8_lossy(&input[..length]).into_owned();
        let code = lines.strip_prefix("HTTP/1.1 ").and_then(|l| l.get(..3));
        let status = code.and_then(|code| code.parse().ok());
        let status = status.context("the server didn't answer by HTTP/1.1")?;
        input.advance(length + HEAD_END.len());
        Ok(Some(Self { status, lines }))
    }

    /// A header's value; its name in any case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.lines, name)
    }

    /// The error that another status than `expected` is, with as much of the body as has come.
    pub(super) fn expect(&self, expected: u16, body: &[u8]) -> Result<()> {
        let body = &body[..body.len().min(WHY_BYTES_MAX)];
        ensure!(
            self.status == expected,
            "the server answered {}, not {expected}: {}",
            self.status,
            String::from_utf8_lossy(body)
        );
        Ok(())
    }
}

/// The value of a header among lines of them; its name in any case.
pub(super) fn header<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = lines.split("\r\n").filter_map(|line| line.split_once(':'));
    let (_, value) = headers.find(|(there, _)| there.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

/// Where `needle` begins.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_once_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX: a:b\r\n\r\nbody";
        let head_bytes = whole.len() - 4;
        for cut in 0..head_bytes {
            let mut input = BytesMut::from(&whole[..cut]);
            assert!(Head::take(&mut input).unwrap().is_none(), "cut at {cut}");
        }
        let mut input = BytesMut::from(&whole[..]);
        let head = Head::take(&mut input).unwrap().unwrap();
        assert_eq!((head.status, &input[..]), (200, &b"body"[..]));
        assert_eq!(head.header("content-type"), Some("text/plain"));
        assert_eq!(head.header("x"), Some("a:b"));
        assert_eq!(head.header("y"), None);
        assert!(head.expect(200, b"").is_ok());
        let error = head.expect(101, b"no").unwrap_err().to_string();
        assert!(error.contains("200") && error.ends_with("no"), "{error}");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for odd in ["HTTP/2 200 OK\r\n\r\n", "\r\n\r\n", "HTTP/1.1 \r\n\r\n"] {
            assert!(Head::take(&mut BytesMut::from(odd)).is_err(), "{odd}");
        }
        let endless = vec![b'x'; HEAD_BYTES_MAX];
        assert!(Head::take(&mut BytesMut::from(&endless[..])).is_err());
    }
}
