//! What the server tells of reactions and pins.

use chirm_proto::v1::{self, event::Event as Body};

use crate::Sample;
use crate::nouns::{channel_topic, marked};
use crate::server::event;

pub(crate) fn samples() -> Vec<Sample> {
    let (channel_id, message_id, user_id) = (201, 401, 2);
    let updated = v1::MessageUpdated {
        message: Some(marked()),
    };
    let added = v1::ReactionAdded {
        channel_id,
        message_id,
        user_id,
        emoji: "\u{2764}\u{FE0F}".to_owned(),
        count: 3,
    };
    let removed = v1::ReactionRemoved {
        channel_id,
        message_id,
        user_id,
        emoji: ":wave:".to_owned(),
        count: 0,
    };
    let cleared = v1::ReactionsCleared {
        channel_id,
        message_id,
        emoji: String::new(),
    };
    let pinned = v1::MessagePinned {
        channel_id,
        message_id,
        user_id,
    };
    let unpinned = v1::MessageUnpinned {
        channel_id,
        message_id,
        user_id,
    };
    [
        ("message_updated_with_marks", Body::MessageUpdated(updated)),
        ("reaction_added", Body::ReactionAdded(added)),
        ("reaction_removed", Body::ReactionRemoved(removed)),
        ("reactions_cleared", Body::ReactionsCleared(cleared)),
        ("message_pinned", Body::MessagePinned(pinned)),
        ("message_unpinned", Body::MessageUnpinned(unpinned)),
    ]
    .map(|(name, body)| event(name, channel_topic(), body))
    .into()
}
