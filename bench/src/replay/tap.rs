//! What a watcher's connection carries, frame by frame: of topics as records, of people as a
//! picture.

use super::picture::Picture;
use crate::history::{At, Record, Recorder};
use chirm_client::{Tap, Tapped};
use chirm_proto::v1;
use std::sync::{Arc, Mutex, PoisonError};

/// Writes down what a connection carries: what the server does is judged by its frames,
/// not by what the client makes of them.
pub(super) fn tap(
    name: &'static str,
    recorder: Arc<Recorder>,
    picture: Arc<Mutex<Picture>>,
) -> Tap {
    Arc::new(move |frame| {
        let mut picture = picture.lock().unwrap_or_else(PoisonError::into_inner);
        let record = match frame {
            Tapped::Sent(frame) => {
                picture.sent(frame);
                presented(name, frame)
            }
            Tapped::Received(frame) => {
                picture.received(frame);
                carried(name, frame)
            }
        };
        drop(picture);
        if let Some(record) = record {
            recorder.record(record);
        }
    })
}

fn presented(name: &str, frame: &v1::client_frame::Frame) -> Option<Record> {
    use v1::client_frame::Frame;
    let (begins, held, view) = match frame {
        Frame::Identify(identify) => (true, &identify.positions[..], identify.view.as_ref()),
        Frame::View(view) => (false, &[][..], Some(view)),
        _ => return None,
    };
    let viewed = view.into_iter().flat_map(|view| &view.channels);
    let viewed = viewed.filter_map(|c| {
        let topic = v1::Topic {
            kind: v1::TopicKind::Channel as i32,
            id: c.channel_id,
        };
        Some((topic_name(topic), at(c.position?)))
    });
    let held = held
        .iter()
        .filter_map(|held| Some((topic_name(held.topic?), at(held.position?))));
    Some(Record::Present {
        connection: name.to_owned(),
        begins,
        positions: held.chain(viewed).collect(),
    })
}

fn carried(name: &str, frame: &v1::server_frame::Frame) -> Option<Record> {
    use v1::server_frame::Frame;
    let connection = name.to_owned();
    Some(match frame {
        Frame::Event(event) => Record::Event {
            connection,
            topic: topic_name(event.topic?),
            position: at(event.position?),
        },
        Frame::Snapshot(snapshot) => Record::Snapshot {
            connection,
            topic: topic_name(snapshot.topic?),
            position: at(snapshot.position?),
        },
        Frame::Gap(gap) => Record::Gap {
            connection,
            topic: topic_name(gap.topic?),
            position: at(gap.position?),
        },
        Frame::TopicRemoved(removed) => Record::Removed {
            connection,
            topic: topic_name(removed.topic?),
        },
        _ => return None,
    })
}

fn at(position: v1::Position) -> At {
    At {
        epoch: position.epoch,
        seq: position.seq,
    }
}

fn topic_name(topic: v1::Topic) -> String {
    let kind = match topic.kind() {
        v1::TopicKind::Channel => "channel",
        v1::TopicKind::Server => "server",
        v1::TopicKind::User => "user",
        v1::TopicKind::Unspecified => "unspecified",
    };
    format!("{kind}:{}", topic.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_records() {
        let topic = v1::Topic {
            kind: v1::TopicKind::Server as i32,
            id: 4,
        };
        let position = v1::Position { epoch: 2, seq: 3 };
        let gap = v1::Gap {
            topic: Some(topic),
            position: Some(position),
            channel: None,
        };
        let record = carried("w", &v1::server_frame::Frame::Gap(gap));
        let expected = Record::Gap {
            connection: "w".into(),
            topic: "server:4".into(),
            position: At { epoch: 2, seq: 3 },
        };
        assert_eq!(record, Some(expected));
        let viewed = v1::ViewedChannel {
            channel_id: 6,
            position: Some(position),
        };
        let view = v1::View {
            channels: vec![viewed],
            ..Default::default()
        };
        let record = presented("w", &v1::client_frame::Frame::View(view));
        let expected = Record::Present {
            connection: "w".into(),
            begins: false,
            positions: vec![("channel:6".into(), At { epoch: 2, seq: 3 })],
        };
        assert_eq!(record, Some(expected));
    }
}
