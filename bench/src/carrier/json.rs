//! What a server's frame in JSON says, without decoding it.

use super::http1::find;

/// The content of the message that a frame tells of, if it tells of a new one. Escapes stay as they
/// are: a bench's own contents have none.
#[must_use]
pub(super) fn created_content(frame: &[u8]) -> Option<&[u8]> {
    let created = after(frame, br#""messageCreated":"#)?;
    let content = after(created, br#""content":""#)?;
    let length = content.iter().position(|&byte| byte == b'"')?;
    Some(&content[..length])
}

/// Whether a frame is the one of this name.
pub(super) fn is(frame: &[u8], name: &str) -> bool {
    let rest = frame.strip_prefix(br#"{""#);
    let rest = rest.and_then(|rest| rest.strip_prefix(name.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(br#"":"#))
}

fn after<'a>(bytes: &'a [u8], needle: &[u8]) -> Option<&'a [u8]> {
    let place = find(bytes, needle)?;
    Some(&bytes[place + needle.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use chirm_proto::{json, v1, v1::event::Event, v1::server_frame::Frame};
    use prost::Message as _;

    fn written(frame: Frame) -> String {
        let frame = v1::ServerFrame { frame: Some(frame) }.encode_to_vec();
        json::of_encoded(&json::server_frame(), frame.into()).unwrap()
    }

    fn event(event: Event) -> Frame {
        Frame::Event(v1::Event {
            topic: Some(v1::Topic { kind: 1, id: 5 }),
            position: Some(v1::Position { epoch: 7, seq: 3 }),
            event: Some(event),
        })
    }

    fn message() -> v1::Message {
        v1::Message {
            id: 9,
            author_id: 4,
            content: "0123abcd:00000007:...".into(),
            nonce: "n".into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_content_of_a_new_message_is_found() {
        let created = Event::MessageCreated(v1::MessageCreated {
            message: Some(message()),
        });
        let text = written(event(created));
        assert!(is(text.as_bytes(), "event"), "{text}");
        let expected = Some(&b"0123abcd:00000007:..."[..]);
        assert_eq!(created_content(text.as_bytes()), expected);
        let cut = &text.as_bytes()[..text.find("...").unwrap()];
        assert_eq!(created_content(cut), None);
    }

    #[test]
    fn other_frames_have_none() {
        let edited = Event::MessageUpdated(v1::MessageUpdated {
            message: Some(message()),
        });
        let text = written(event(edited));
        assert!(text.contains("\"content\":\""), "{text}");
        assert_eq!(created_content(text.as_bytes()), None);
        let ready = written(Frame::Ready(v1::Ready::default()));
        assert!(is(ready.as_bytes(), "ready"), "{ready}");
        assert!(!is(ready.as_bytes(), "read"));
        assert_eq!(created_content(ready.as_bytes()), None);
        let closing = written(Frame::Closing(v1::Closing::default()));
        assert!(is(closing.as_bytes(), "closing"), "{closing}");
    }
}
