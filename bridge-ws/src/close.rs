//! How a WebSocket ends: a last `Closing` frame, then a close code.

use bytes::Bytes;
use chirm_proto::v1;
use prost::Message as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The first byte of an encoded `ServerFrame` that is `closing`.
const CLOSING_TAG: u8 = 15 << 3 | 2;

/// Why a bridge ends a session by itself; docs/errors.md has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The message is of the kind that the subprotocol doesn't have.
    WrongKind,
    /// It can't be decoded.
    Malformed,
    /// It is no WebSocket any more.
    Protocol,
    /// It is over the limit.
    TooLarge,
    /// Nothing came in time.
    IdentifyTimeout,
    /// The bridge is about to stop.
    Draining,
    /// The server behind it is gone.
    UpstreamLost,
}

impl Close {
    /// The WebSocket's close code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::WrongKind => 1003,
            Self::Malformed => 1007,
            Self::Protocol => 1002,
            Self::TooLarge => 1009,
            Self::IdentifyTimeout => 4005,
            Self::UpstreamLost => 4031,
            Self::Draining => 4030,
        }
    }

    /// The `Closing` frame that comes before, with what was wrong in place of the usual words.
    #[must_use]
    pub fn frame(self, detail: Option<String>) -> Bytes {
        let (code, reason, message, advice) = match self {
            Self::WrongKind | Self::Malformed | Self::Protocol => {
                let message = "the frame can't be decoded";
                (4001, "MALFORMED", message, v1::Advice::Stop)
            }
            Self::TooLarge => {
                let message = "a frame is over the limit";
                (4002, "REQUEST_TOO_LARGE", message, v1::Advice::Stop)
            }
            Self::IdentifyTimeout => {
                let message = "no identify within the deadline";
                (4005, "IDENTIFY_TIMEOUT", message, v1::Advice::Resume)
            }
            Self::Draining => {
                let message = "this node is about to stop";
                (4030, "DRAINING", message, v1::Advice::Resume)
            }
            Self::UpstreamLost => {
                let message = "the server behind this bridge is gone";
                (4031, "UPSTREAM_LOST", message, v1::Advice::Resume)
            }
        };
        let closing = v1::Closing {
            code,
            reason: reason.to_owned(),
            message: detail.unwrap_or_else(|| message.to_owned()),
            advice: advice as i32,
        };
        let frame = Some(v1::server_frame::Frame::Closing(closing));
        v1::ServerFrame { frame }.encode_to_vec().into()
    }
}

/// Whether an encoded `ServerFrame` is `Closing`: a session's last.
#[must_use]
pub fn is_closing(frame: &[u8]) -> bool {
    frame.first() == Some(&CLOSING_TAG)
}

/// The close code that follows a frame, if it is the last.
pub(crate) fn code_after(frame: &[u8]) -> Option<CloseCode> {
    if !is_closing(frame) {
        return None;
    }
    let frame = v1::ServerFrame::decode(frame).ok()?.frame?;
    let v1::server_frame::Frame::Closing(closing) = frame else {
        return None;
    };
    // What WebSocket has a code of its own for.
    Some(match closing.code {
        4001 => CloseCode::Invalid,
        4002 => CloseCode::Size,
        code => u16::try_from(code).map_or(CloseCode::Error, CloseCode::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frame_says_with_which_code_to_close() {
        for close in [Close::IdentifyTimeout, Close::Draining, Close::UpstreamLost] {
            let code = code_after(&close.frame(None)).unwrap();
            assert_eq!(u16::from(code), close.code());
        }
        let detail = Some("odd".to_owned());
        assert_eq!(
            code_after(&Close::TooLarge.frame(None)),
            Some(CloseCode::Size)
        );
        assert_eq!(
            code_after(&Close::Malformed.frame(detail)),
            Some(CloseCode::Invalid)
        );
        let ready = v1::server_frame::Frame::Ready(v1::Ready::default());
        let ready = v1::ServerFrame { frame: Some(ready) }.encode_to_vec();
        assert_eq!(code_after(&ready), None);
        assert_eq!(code_after(&[]), None);
    }

    #[test]
    fn the_table_of_errors_has_them() {
        let table = include_str!("../../docs/errors.md");
        for close in [
            Close::WrongKind,
            Close::TooLarge,
            Close::IdentifyTimeout,
            Close::Draining,
            Close::UpstreamLost,
        ] {
            let frame = v1::ServerFrame::decode(close.frame(None)).unwrap().frame;
            let Some(v1::server_frame::Frame::Closing(closing)) = frame else {
                panic!("a Closing frame");
            };
            let advice = closing.advice().as_str_name().trim_start_matches("ADVICE_");
            let (code, reason) = (closing.code, closing.reason.clone());
            let row = format!("| {code} | {reason} | {} |", advice.to_lowercase());
            assert!(table.contains(&row), "docs/errors.md lacks: {row}");
        }
    }
}
