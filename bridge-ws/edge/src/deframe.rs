//! gRPC's length-prefixed messages out of the bytes of a body.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes before each message: a flag for compression, and the length.
pub(crate) const PREFIX_BYTES: usize = 5;
/// Bytes of a message at most: what a slow browser can make the bridge hold of one.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What no message can begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("a compressed message, which wasn't asked for")]
    Compressed,
    #[error("a message of {0} bytes; at most {MESSAGE_BYTES_MAX} are taken")]
    TooLarge(usize),
}

/// Takes bytes as they come, and gives messages. What came whole isn't copied.
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    /// The beginning of a message; empty if `fresh` begins with one.
    partial: BytesMut,
    fresh: Bytes,
}

impl Deframer {
    /// More bytes; only after [`Deframer::next`] had no more.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.fresh.is_empty(), "what came before was all taken");
        self.fresh = bytes;
    }

    /// The next message; `None` until more bytes come.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.partial.is_empty() {
            let Some(length) = length(&self.fresh)? else {
                self.keep(PREFIX_BYTES);
                return Ok(None);
            };
            if self.fresh.len() >= PREFIX_BYTES + length {
                self.fresh.advance(PREFIX_BYTES);
                return Ok(Some(self.fresh.split_to(length)));
            }
            self.keep(PREFIX_BYTES + length);
            return Ok(None);
        }
        self.keep(PREFIX_BYTES);
        let Some(length) = length(&self.partial)? else {
            return Ok(None);
        };
        self.keep(PREFIX_BYTES + length);
        if self.partial.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.partial).freeze();
        message.advance(PREFIX_BYTES);
        Ok(Some(message))
    }

    /// Moves fresh bytes to the partial message, until it has so many.
    fn keep(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.partial.len());
        let taken = self.fresh.split_to(missing.min(self.fresh.len()));
        self.partial.extend_from_slice(&taken);
    }
}

/// The length of the message whose prefix this is; `None` if the prefix isn't whole.
fn length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some((prefix, _)) = bytes.split_at_checked(PREFIX_BYTES) else {
        return Ok(None);
    };
    let mut length = &prefix[1..];
    let length = length.get_u32() as usize;
    match prefix[0] {
        0 if length <= MESSAGE_BYTES_MAX => Ok(Some(length)),
        0 => Err(Error::TooLarge(length)),
        _ => Err(Error::Compressed),
    }
}

/// A message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    // The socket's limits are far below 4 GiB.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_however_the_bytes_were_cut() {
        let messages = [&b"one"[..], b"", &[7; 300], b"four"];
        let bytes: Vec<u8> = messages.iter().flat_map(|m| framed(m)).collect();
        for piece in 1..=bytes.len() {
            let mut deframer = Deframer::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                deframer.push(Bytes::copy_from_slice(piece));
                while let Some(message) = deframer.next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, messages, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let mut deframer = Deframer::default();
        deframer.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(deframer.next(), Err(Error::Compressed));
        let mut deframer = Deframer::default();
        deframer.push(Bytes::from_static(&[0, 0xff, 0, 0]));
        assert_eq!(deframer.next(), Ok(None));
        deframer.push(Bytes::from_static(&[0]));
        assert_eq!(deframer.next(), Err(Error::TooLarge(0xff00_0000)));
    }
}
