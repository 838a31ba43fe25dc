//! The body of a request to a webhook: proto3 JSON.

use super::convert;
use crate::model::{Id, QueuedEvent, WebhookData};
use bytes::Bytes;
use chirm_proto::v1;
use prost::Message as _;
use prost_reflect::{DynamicMessage, SerializeOptions};

/// The id that a receiver knows an event by. What it is about is in it, since a store that is put
/// back from a backup uses numbers again.
#[must_use]
pub fn webhook_event_id(event: &QueuedEvent) -> String {
    format!("evt_{}_{}_{}", event.webhook_id, event.id, event.subject_id)
}

/// The body that tells of an event.
///
/// # Panics
/// Never: the message is of the descriptors that this build was made with.
#[must_use]
pub fn webhook_body(event: &QueuedEvent, server_id: Id, data: &WebhookData) -> Bytes {
    let mut delivery = v1::WebhookDelivery {
        id: webhook_event_id(event),
        r#type: event.event.name().to_owned(),
        created_at: convert::timestamp(event.created_at),
        server_id,
        ..v1::WebhookDelivery::default()
    };
    match data {
        WebhookData::Message(message) => delivery.message = Some(convert::message(message)),
        WebhookData::Member(Some(member), _, user) => {
            delivery.member = Some(convert::member(member, user.as_ref()));
        }
        WebhookData::Member(None, (server_id, user_id), user) => {
            delivery.member = Some(v1::Member {
                server_id: *server_id,
                user_id: *user_id,
                user: user.as_ref().map(convert::user),
                ..v1::Member::default()
            });
        }
        WebhookData::Recipients(message, users) => {
            delivery.message = Some(convert::message(message));
            delivery.recipient_ids.clone_from(users);
        }
    }
    let descriptor = chirm_proto::pool()
        .get_message_by_name("chirm.v1.WebhookDelivery")
        .expect("the build made the descriptors");
    let bytes = delivery.encode_to_vec();
    let message = DynamicMessage::decode(descriptor, bytes.as_slice())
        .expect("what was encoded of the same descriptor decodes");
    let mut json = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut json);
    message
        .serialize_with_options(&mut serializer, &SerializeOptions::new())
        .expect("strings and numbers are always JSON");
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Message, WebhookEvent};

    #[test]
    fn a_body_is_proto3_json() {
        let event = QueuedEvent {
            id: 7,
            webhook_id: 3,
            event: WebhookEvent::RecipientOffline,
            lane: 4,
            subject_id: 5,
            created_at: 1_735_689_600_123,
            attempts: 2,
        };
        let message = Message {
            id: 5,
            channel_id: 4,
            author_id: 9,
            content: "\"hé\"".into(),
            ..Message::default()
        };
        let data = WebhookData::Recipients(message, vec![8]);
        let body = webhook_body(&event, 2, &data);
        let expected = r#"{"id":"evt_3_7_5","type":"recipient.offline","#.to_owned()
            + r#""createdAt":"2025-01-01T00:00:00.123Z","serverId":"2","#
            + r#""message":{"id":"5","channelId":"4","authorId":"9","content":"\"hé\""},"#
            + r#""recipientIds":["8"]}"#;
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
    }
}
