//! The names of keys. All that one script touches is of one group, whose number stands in braces:
//! on a cluster that makes it one slot.

use crate::model::{Id, TopicKey, TopicKind};

/// Groups that channels, servers and users are spread over.
pub(super) const GROUPS: usize = 256;

/// The group of a topic, channel, server or user.
pub(super) fn group_of(id: Id) -> u8 {
    // Ids of one moment and worker differ in few bits: all of them count.
    let mixed = id.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// Parts that presence is spread over: the first of the groups, by the same names.
pub(super) const PARTS: usize = 32;

/// The part of presence that has a user, or what else is told there.
pub(super) fn part_of(id: Id) -> u8 {
    group_of(id) % PARTS as u8
}

/// Ids as Redis has them: strings that sort as the numbers do.
pub(super) fn padded(id: Id) -> String {
    format!("{:019}", id.max(0))
}

/// What a topic is called in keys.
pub(super) fn name(topic: TopicKey) -> String {
    let kind = match topic.kind {
        TopicKind::Channel => 'c',
        TopicKind::Server => 's',
        TopicKind::User => 'u',
    };
    format!("{kind}{}", topic.id)
}

/// The topic of a name.
pub(super) fn topic_of(name: &str) -> Option<TopicKey> {
    let mut rest = name.chars();
    let kind = rest.next()?;
    let id = rest.as_str().parse().ok()?;
    match kind {
        'c' => Some(TopicKey::channel(id)),
        's' => Some(TopicKey::server(id)),
        'u' => Some(TopicKey::user(id)),
        _ => None,
    }
}

/// Makes keys with a prefix in front.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, kind: &str, group: u8, rest: &str) -> String {
        let (prefix, colon) = (&self.prefix, if rest.is_empty() { "" } else { ":" });
        format!("{prefix}{kind}:{{{group}}}{colon}{rest}")
    }

    pub(super) fn epoch(&self, group: u8) -> String {
        self.key("e", group, "")
    }

    pub(super) fn active(&self, group: u8) -> String {
        self.key("active", group, "")
    }

    /// What is written to see whether it can be.
    pub(super) fn check(&self, group: u8) -> String {
        self.key("check", group, "")
    }

    /// What is pending: by when it is due, and since when.
    pub(super) fn pending(&self, group: u8) -> [String; 2] {
        [self.key("pending", group, ""), self.key("since", group, "")]
    }

    /// A topic's Pub/Sub channel.
    pub(super) fn channel(&self, topic: TopicKey) -> String {
        self.key("t", group_of(topic.id), &name(topic))
    }

    /// The topic of a Pub/Sub channel.
    pub(super) fn topic(&self, channel: &str) -> Option<TopicKey> {
        let rest = channel.strip_prefix(self.prefix.as_str())?;
        topic_of(rest.strip_prefix("t:{")?.split_once("}:")?.1)
    }

    /// What every script of a topic begins with.
    pub(super) fn of_topic(&self, topic: TopicKey) -> Vec<String> {
        let (group, name) = (group_of(topic.id), name(topic));
        vec![
            self.epoch(group),
            self.key("p", group, &name),
            self.key("r", group, &name),
            self.active(group),
            self.channel(topic),
        ]
    }

    /// A message's mark of the deleted.
    pub(super) fn deleted(&self, channel: Id, message: Id) -> String {
        self.key("x", group_of(channel), &message.to_string())
    }

    pub(super) fn nonce(&self, channel: Id, author: Id, nonce: &str) -> String {
        self.key(
            "n",
            group_of(channel),
            &format!("{channel}:{author}:{nonce}"),
        )
    }

    /// What every call of a part of presence begins with: its state, who is to be heard of by when,
    /// its Pub/Sub channel.
    pub(super) fn of_part(&self, part: u8) -> Vec<String> {
        vec![
            self.key("presences", part, ""),
            self.key("presences-due", part, ""),
            self.key("here", part, ""),
        ]
    }

    /// The part of a Pub/Sub channel.
    pub(super) fn part(&self, channel: &str) -> Option<u8> {
        let rest = channel.strip_prefix(self.prefix.as_str())?;
        let part = rest.strip_prefix("here:{")?.strip_suffix('}')?;
        part.parse().ok().filter(|part| usize::from(*part) < PARTS)
    }

    /// Who a user is on which nodes.
    pub(super) fn presence(&self, part: u8, user: &str) -> String {
        self.key("presence", part, user)
    }

    pub(super) fn session(&self, id: Id) -> String {
        self.key("session", group_of(id), &id.to_string())
    }
}

/// The slot of a group on a cluster: CRC-16 (XMODEM) of the tag.
pub(super) fn slot_of(group: u8) -> u16 {
    let crc = group.to_string().bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_found_by_its_channel() {
        let keys = Keys::new("chirm:");
        for topic in [
            TopicKey::channel(1),
            TopicKey::server(i64::MAX),
            TopicKey::user(7),
        ] {
            assert_eq!(keys.topic(&keys.channel(topic)), Some(topic));
        }
        assert_eq!(keys.topic("chirm:t:{1}:x7"), None);
        assert_eq!(keys.topic("other:t:{1}:c7"), None);
    }

    #[test]
    fn a_part_is_found_by_its_channel() {
        let keys = Keys::new("chirm:");
        for part in 0..PARTS as u8 {
            assert_eq!(keys.part(&keys.of_part(part)[2]), Some(part));
        }
        for channel in ["chirm:here:{32}", "chirm:t:{1}:c7", "other:here:{1}"] {
            assert_eq!(keys.part(channel), None, "{channel}");
        }
    }

    #[test]
    fn ids_sort_as_strings() {
        assert!(padded(999) < padded(1_000));
        assert!(padded(i64::MAX - 1) < padded(i64::MAX));
        assert_eq!(padded(i64::MAX).len(), 19);
    }

    #[test]
    fn ids_of_one_moment_are_spread() {
        let groups: std::collections::HashSet<u8> = (0..1_000).map(|n| group_of(n << 12)).collect();
        assert!(groups.len() > 200, "{}", groups.len());
    }

    /// As `CLUSTER KEYSLOT` answers.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!([0, 1, 7, 255].map(slot_of), [13_907, 9_842, 1_716, 14_163]);
    }
}
