//! Pages of lists: so many items, and so many bytes, that any client takes them.

use super::Error;
use crate::model::{
    AuditChange, AuditEntry, Ban, Channel, DeadLetter, Invite, Member, Metadata, Pin, Report,
    Server, Session, User, Webhook,
};
use std::sync::Arc;

/// Items of a page at most.
const ITEMS_MAX: i32 = 1_000;
/// Bytes of a page, about: half of what gRPC's clients take by default.
const BYTES_MAX: usize = 2 << 20;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}

/// What takes so many bytes on its way, about.
pub(super) trait Bulk {
    fn bytes(&self) -> usize;
}

/// The size of a page that the caller wants; 0 means `usual`.
pub(super) fn size(wanted: i32, usual: u32) -> Result<u32, Error> {
    if !(0..=ITEMS_MAX).contains(&wanted) {
        return Err(Error::field(
            "page_size",
            format!("{wanted}; 0 to {ITEMS_MAX} is allowed"),
        ));
    }
    Ok(if wanted == 0 {
        usual
    } else {
        wanted.unsigned_abs()
    })
}

/// As [`size`], where a whole list usually fits on a page.
pub(super) fn whole(wanted: i32) -> Result<u32, Error> {
    size(wanted, ITEMS_MAX.unsigned_abs())
}

/// The page of the first items. To tell whether more follow, it is given one more than it takes,
/// where there are as many. One item is always on it.
pub(super) fn cut<T: Bulk>(items: impl IntoIterator<Item = T>, size: u32) -> Listed<T> {
    let mut listed = Listed {
        items: Vec::new(),
        more: false,
    };
    let mut bytes = 0;
    for item in items {
        bytes += item.bytes();
        let full = listed.items.len() == size as usize || bytes > BYTES_MAX;
        if full && !listed.items.is_empty() {
            listed.more = true;
            break;
        }
        listed.items.push(item);
    }
    listed
}

/// Ids, numbers and times of an item, and what frames it.
const FIXED: usize = 64;

fn metadata_bytes(metadata: &Metadata) -> usize {
    let bytes = |(key, value): (&String, &String)| key.len() + value.len() + 8;
    metadata.iter().map(bytes).sum()
}

impl Bulk for User {
    fn bytes(&self) -> usize {
        FIXED + self.username.len() + self.display_name.len() + metadata_bytes(&self.metadata)
    }
}

impl Bulk for Pin {
    fn bytes(&self) -> usize {
        let message = &self.message;
        let reactions = message.reactions.iter().map(|kind| kind.emoji.len() + 16);
        let lists = 9 * message.mentions.len() + reactions.sum::<usize>();
        2 * FIXED + message.content.len() + lists + metadata_bytes(&message.metadata)
    }
}

impl Bulk for (Member, User) {
    fn bytes(&self) -> usize {
        FIXED + self.1.bytes()
    }
}

impl Bulk for Server {
    fn bytes(&self) -> usize {
        FIXED + self.name.len() + self.description.len() + metadata_bytes(&self.metadata)
    }
}

impl Bulk for Arc<Channel> {
    fn bytes(&self) -> usize {
        let texts = self.name.len() + self.description.len();
        FIXED + texts + 9 * self.member_ids.len() + metadata_bytes(&self.metadata)
    }
}

impl Bulk for Session {
    fn bytes(&self) -> usize {
        FIXED + self.name.len()
    }
}

impl Bulk for Webhook {
    fn bytes(&self) -> usize {
        // The names of its events take 90 bytes.
        2 * FIXED + self.url.len() + self.disabled_reason.len()
    }
}

impl Bulk for DeadLetter {
    fn bytes(&self) -> usize {
        2 * FIXED + self.error.len()
    }
}

impl Bulk for Invite {
    fn bytes(&self) -> usize {
        FIXED + self.code.len()
    }
}

impl Bulk for Ban {
    fn bytes(&self) -> usize {
        FIXED + self.reason.len()
    }
}

impl Bulk for AuditEntry {
    fn bytes(&self) -> usize {
        let texts = |change: &AuditChange| {
            8 + change.field.len() + change.before.len() + change.after.len()
        };
        2 * FIXED + self.reason.len() + self.changes.iter().map(texts).sum::<usize>()
    }
}

impl Bulk for Report {
    fn bytes(&self) -> usize {
        2 * FIXED + self.reason.len() + self.note.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: i64, bytes: usize) -> Server {
        Server {
            id,
            description: "x".repeat(bytes),
            ..Server::default()
        }
    }

    #[test]
    fn a_page_has_so_many_items_or_bytes() {
        let cut = |items: Vec<Server>, size| {
            let page = cut(items, size);
            (page.items.len(), page.more)
        };
        let small = |n| (0..n).map(|id| server(id, 10)).collect::<Vec<_>>();
        assert_eq!(cut(small(0), 3), (0, false));
        assert_eq!(cut(small(3), 3), (3, false));
        assert_eq!(cut(small(4), 3), (3, true));
        let large = |n| (0..n).map(|id| server(id, 1_000_000)).collect::<Vec<_>>();
        assert_eq!(cut(large(2), 3), (2, false));
        assert_eq!(cut(large(3), 3), (2, true));
        let huge = vec![server(1, BYTES_MAX + 1), server(2, 1)];
        assert_eq!(cut(huge, 3), (1, true), "one is always on it");
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(size(0, 100), Ok(100));
        assert_eq!(size(7, 100), Ok(7));
        assert_eq!(whole(0), Ok(1_000));
        assert_eq!(whole(1_000), Ok(1_000));
        for wrong in [-1, 1_001] {
            assert_eq!(whole(wrong).unwrap_err().fields[0].path, "page_size");
        }
    }
}
