//! What goes through Pub/Sub and stands in rings: what an event asks of gateways beside its
//! payload, events with their positions, and what has none.

use crate::bus::{Draft, Publication, Transient, TransientKind};
use crate::frames;
use crate::model::{Id, Position, Signal, TopicKey, UnixMs};
use bytes::Bytes;
use std::sync::Arc;

/// What is heard on a topic's channel.
pub(super) enum Heard {
    Event(Arc<Publication>),
    Transient(Arc<Transient>),
    /// Events may be missing.
    Dirty,
}

/// What stands beside a payload: `SIGNAL MESSAGE PUBLISHED`, the last in milliseconds.
pub(super) fn meta(signal: Signal, message_id: Id, published_ms: UnixMs) -> String {
    match signal {
        Signal::None => format!("- {message_id} {published_ms}"),
        Signal::Recheck => format!("c {message_id} {published_ms}"),
        Signal::Revoked(session) => format!("r{session} {message_id} {published_ms}"),
    }
}

/// Rings may have what was written before the time stood there.
fn parse_meta(meta: &str) -> Option<(Signal, Id, UnixMs)> {
    let (signal, rest) = meta.split_once(' ')?;
    let (message_id, published_ms) = rest.split_once(' ').unwrap_or((rest, "0"));
    let signal = match signal.split_at_checked(1)? {
        ("-", "") => Signal::None,
        ("c", "") => Signal::Recheck,
        ("r", session) => Signal::Revoked(session.parse().ok()?),
        _ => return None,
    };
    Some((signal, message_id.parse().ok()?, published_ms.parse().ok()?))
}

/// An event as it was read; None if it isn't understood.
pub(super) fn publication(
    topic: TopicKey,
    position: Position,
    meta: &str,
    payload: &[u8],
) -> Option<Arc<Publication>> {
    let (signal, message_id, published_ms) = parse_meta(meta)?;
    Some(Arc::new(Publication {
        topic,
        position,
        frame: frames::event_frame(topic, position, payload),
        signal,
        message_id,
        published_ms,
    }))
}

/// What a script takes of an event: meta, payload and the frame's size.
pub(super) fn event_args(draft: &Draft, now: UnixMs) -> [Vec<u8>; 3] {
    let size = frames::event_frame_len(draft.topic, &draft.payload);
    [
        meta(draft.signal, draft.message_id, now).into_bytes(),
        draft.payload.to_vec(),
        size.to_string().into_bytes(),
    ]
}

/// What is said where events may be missing.
pub(super) const DIRTY: &[u8] = b"D";

/// What is said of an event, as enter.lua says it.
pub(super) fn event(draft: &Draft, at: Position, now: UnixMs) -> Vec<u8> {
    let meta = meta(draft.signal, draft.message_id, now);
    let head = format!("E{} {} {meta}\n", at.epoch, at.seq);
    [head.as_bytes(), &draft.payload].concat()
}

/// What is said once.
pub(super) fn transient(transient: &Transient) -> Vec<u8> {
    let kind = match transient.kind {
        TransientKind::Typing => b't',
        TransientKind::Custom => b'c',
    };
    [&[b'T', kind], transient.frame.as_ref()].concat()
}

/// Reads what came on a topic's channel.
pub(super) fn parse(topic: TopicKey, said: &[u8]) -> Option<Heard> {
    let (kind, rest) = said.split_first()?;
    match kind {
        b'D' => Some(Heard::Dirty),
        b'T' => {
            let (kind, frame) = rest.split_first()?;
            let kind = match kind {
                b't' => TransientKind::Typing,
                b'c' => TransientKind::Custom,
                _ => return None,
            };
            Some(Heard::Transient(Arc::new(Transient {
                channel: topic.id,
                kind,
                frame: Bytes::copy_from_slice(frame),
            })))
        }
        b'E' => {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let head = std::str::from_utf8(&rest[..end]).ok()?;
            let mut parts = head.splitn(3, ' ');
            let position = Position {
                epoch: parts.next()?.parse().ok()?,
                seq: parts.next()?.parse().ok()?,
            };
            publication(topic, position, parts.next()?, &rest[end + 1..]).map(Heard::Event)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for signal in [Signal::None, Signal::Recheck, Signal::Revoked(i64::MAX)] {
            let (read, id, now) = parse_meta(&meta(signal, 7, 5)).unwrap();
            assert_eq!(
                (format!("{read:?}"), id, now),
                (format!("{signal:?}"), 7, 5)
            );
        }
        let topic = TopicKey::channel(3);
        let Some(Heard::Event(event)) = parse(topic, b"E9 4 - 7\n\x01\n\x02") else {
            panic!("not read")
        };
        let position = Position { epoch: 9, seq: 4 };
        assert_eq!((event.position, event.message_id), (position, 7));
        assert_eq!(event.published_ms, 0);
        assert_eq!(
            event.frame,
            frames::event_frame(topic, position, b"\x01\n\x02")
        );
        let draft = Draft {
            topic,
            payload: Bytes::from_static(b"\x01\n\x02"),
            signal: Signal::None,
            message_id: 7,
            operation: None,
        };
        let said = super::event(&draft, position, 5);
        assert_eq!(said, b"E9 4 - 7 5\n\x01\n\x02");
        let Some(Heard::Event(event)) = parse(topic, &said) else {
            panic!("not read")
        };
        assert_eq!((event.message_id, event.published_ms), (7, 5));
        let said = Transient {
            channel: 3,
            kind: TransientKind::Custom,
            frame: Bytes::from_static(b"x\ny"),
        };
        let Some(Heard::Transient(heard)) = parse(topic, &transient(&said)) else {
            panic!("not read")
        };
        assert_eq!((heard.kind, &heard.frame), (said.kind, &said.frame));
        assert!(matches!(parse(topic, DIRTY), Some(Heard::Dirty)));
        for said in [
            "",
            "x",
            "T",
            "Tx",
            "E",
            "E1 2\n",
            "E1 x - 1\n",
            "E1 2 - 1 x\n",
            "E1 2 z 1\n",
            "E1 2 r 1\n",
        ] {
            assert!(parse(topic, said.as_bytes()).is_none(), "{said}");
        }
    }
}
