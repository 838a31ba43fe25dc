//! What stands on a message, kept up to date by events.

use chirm_proto::v1::{self, event::Event as Body};

/// Brings a message that the program holds up to date with an event of its channel: its reactions
/// and whether it is pinned. `user_id` is the program's own user, whose reactions are `own`. False:
/// the event is of something else. Events are applied in their order; one that came before the
/// message was read does no harm, since those after it come, too.
///
/// An edited message ([`crate::Event::MessageUpdated`]) comes with its reactions, but can't tell
/// which are the user's own: [`keep_own`] does.
///
/// ```
/// use chirm_client::{apply_mark, v1};
/// let mut message = v1::Message { id: 7, channel_id: 3, ..Default::default() };
/// let event = v1::event::Event::ReactionAdded(v1::ReactionAdded {
///     channel_id: 3,
///     message_id: 7,
///     user_id: 1,
///     emoji: ":wave:".into(),
///     count: 4,
/// });
/// assert!(apply_mark(&mut message, &event, 1));
/// assert_eq!((message.reactions[0].count, message.reactions[0].own), (4, true));
/// ```
pub fn apply_mark(message: &mut v1::Message, event: &Body, user_id: i64) -> bool {
    let held = (message.channel_id, message.id);
    match event {
        Body::ReactionAdded(r) if (r.channel_id, r.message_id) == held => {
            let own = (r.user_id == user_id).then_some(true);
            count(message, &r.emoji, r.count, own);
        }
        Body::ReactionRemoved(r) if (r.channel_id, r.message_id) == held => {
            let own = (r.user_id == user_id).then_some(false);
            count(message, &r.emoji, r.count, own);
        }
        Body::ReactionsCleared(r) if (r.channel_id, r.message_id) == held => {
            let goes = |kind: &v1::Reaction| r.emoji.is_empty() || kind.emoji == r.emoji;
            message.reactions.retain(|kind| !goes(kind));
        }
        Body::MessagePinned(p) if (p.channel_id, p.message_id) == held => message.pinned = true,
        Body::MessageUnpinned(p) if (p.channel_id, p.message_id) == held => message.pinned = false,
        _ => return false,
    }
    true
}

/// Takes over from the message held which reactions are the user's own: for one that an event
/// brought, which says so of none.
pub fn keep_own(updated: &mut v1::Message, held: &v1::Message) {
    for kind in &mut updated.reactions {
        let own = |held: &v1::Reaction| held.own && held.emoji == kind.emoji;
        kind.own = held.reactions.iter().any(own);
    }
}

/// Sets a kind's count; whether it is the user's own stays, unless `own` says so.
fn count(message: &mut v1::Message, emoji: &str, count: i32, own: Option<bool>) {
    let kinds = &mut message.reactions;
    let at = kinds.iter().position(|kind| kind.emoji == emoji);
    match at {
        Some(at) if count <= 0 => drop(kinds.remove(at)),
        Some(at) => {
            kinds[at].count = count;
            kinds[at].own = own.unwrap_or(kinds[at].own);
        }
        None if count <= 0 => {}
        None => kinds.push(v1::Reaction {
            emoji: emoji.to_owned(),
            count,
            own: own.unwrap_or(false),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: i64 = 1;

    fn added(user_id: i64, emoji: &str, count: i32) -> Body {
        Body::ReactionAdded(v1::ReactionAdded {
            channel_id: 3,
            message_id: 7,
            user_id,
            emoji: emoji.into(),
            count,
        })
    }

    fn removed(user_id: i64, emoji: &str, count: i32) -> Body {
        Body::ReactionRemoved(v1::ReactionRemoved {
            channel_id: 3,
            message_id: 7,
            user_id,
            emoji: emoji.into(),
            count,
        })
    }

    fn cleared(emoji: &str) -> Body {
        Body::ReactionsCleared(v1::ReactionsCleared {
            channel_id: 3,
            message_id: 7,
            emoji: emoji.into(),
        })
    }

    fn message() -> v1::Message {
        v1::Message {
            id: 7,
            channel_id: 3,
            ..Default::default()
        }
    }

    /// Emoji, count, own.
    type Kind<'a> = (&'a str, i32, bool);

    fn kinds(message: &v1::Message) -> Vec<Kind<'_>> {
        let kinds = message.reactions.iter();
        kinds
            .map(|kind| (kind.emoji.as_str(), kind.count, kind.own))
            .collect()
    }

    #[test]
    fn the_latest_count_wins_and_own_follows_from_the_user() {
        let mut message = message();
        let steps: [(Body, &[Kind<'_>]); 8] = [
            (added(2, "a", 1), &[("a", 1, false)]),
            (added(OWN, "a", 2), &[("a", 2, true)]),
            (added(OWN, "a", 2), &[("a", 2, true)]),
            (added(3, "b", 1), &[("a", 2, true), ("b", 1, false)]),
            (removed(2, "a", 1), &[("a", 1, true), ("b", 1, false)]),
            (removed(3, "b", 0), &[("a", 1, true)]),
            (removed(OWN, "a", 0), &[]),
            (removed(OWN, "a", 0), &[]),
        ];
        for (event, expected) in steps {
            assert!(apply_mark(&mut message, &event, OWN));
            assert_eq!(kinds(&message), expected, "{event:?}");
        }
    }

    /// The page was read after the events that are applied to it.
    #[test]
    fn events_from_before_a_page_end_where_the_page_was() {
        let events = [added(2, "a", 1), added(OWN, "a", 2), removed(2, "a", 1)];
        let mut message = message();
        for event in &events {
            apply_mark(&mut message, event, OWN);
        }
        let page = message.clone();
        for event in &events {
            apply_mark(&mut message, event, OWN);
        }
        assert_eq!(message, page);
    }

    #[test]
    fn clearing_takes_a_kind_or_all() {
        let mut message = message();
        for emoji in ["a", "b", "c"] {
            apply_mark(&mut message, &added(2, emoji, 1), OWN);
        }
        apply_mark(&mut message, &cleared("b"), OWN);
        assert_eq!(kinds(&message), [("a", 1, false), ("c", 1, false)]);
        apply_mark(&mut message, &cleared(""), OWN);
        assert!(message.reactions.is_empty());
    }

    #[test]
    fn other_events_and_other_messages_change_nothing() {
        let mut other = v1::Message { id: 8, ..message() };
        for event in [added(2, "a", 1), removed(2, "a", 0), cleared("")] {
            assert!(!apply_mark(&mut other, &event, OWN));
        }
        let typed = Body::MessageCreated(v1::MessageCreated::default());
        assert!(!apply_mark(&mut other, &typed, OWN));
        assert!(other.reactions.is_empty());
    }

    #[test]
    fn pins_come_and_go() {
        let mut message = message();
        let pinned = v1::MessagePinned {
            channel_id: 3,
            message_id: 7,
            user_id: 2,
        };
        assert!(apply_mark(&mut message, &Body::MessagePinned(pinned), OWN));
        assert!(message.pinned);
        let unpinned = v1::MessageUnpinned {
            channel_id: 3,
            message_id: 7,
            user_id: 2,
        };
        assert!(apply_mark(
            &mut message,
            &Body::MessageUnpinned(unpinned),
            OWN
        ));
        assert!(!message.pinned);
    }

    #[test]
    fn an_edit_keeps_what_is_own() {
        let mut held = message();
        apply_mark(&mut held, &added(OWN, "a", 1), OWN);
        apply_mark(&mut held, &added(2, "b", 1), OWN);
        let mut updated = held.clone();
        updated
            .reactions
            .iter_mut()
            .for_each(|kind| kind.own = false);
        keep_own(&mut updated, &held);
        assert_eq!(updated, held);
    }
}
