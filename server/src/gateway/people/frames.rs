//! The frames that tell of people.

use super::RangeKey;
use super::list::{GROUPS, Place};
use super::range::Op;
use crate::frames;
use crate::model::{Id, Member, Metadata, Presence, User};
use bytes::Bytes;
use chirm_proto::v1::{self, member_list_item::Item, member_list_op::Kind, server_frame::Frame};
use std::collections::HashMap;

/// Presences that changed.
pub(super) fn presences<'a>(presences: impl IntoIterator<Item = &'a Presence>) -> Bytes {
    frames::encode(Frame::PresenceChanged(v1::PresenceChanged {
        presences: presences.into_iter().map(frames::presence).collect(),
        stale: false,
    }))
}

/// What items of a list show.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) members: HashMap<Id, (Member, User)>,
    pub(super) presences: HashMap<Id, Presence>,
}

/// A frame about a range: steps, or (None) all of it.
pub(super) fn list_changed(
    range: RangeKey,
    seq: i64,
    counts: &[usize],
    ops: Vec<v1::MemberListOp>,
) -> Bytes {
    let groups = (0..counts.len()).filter(|group| counts[*group] > 0);
    frames::encode(Frame::MemberListChanged(v1::MemberListChanged {
        server_id: range.server,
        range: Some(v1::MemberRange {
            start: whole(range.start),
            count: whole(range.count),
        }),
        seq,
        ops,
        groups: groups.map(|index| group(index, counts)).collect(),
    }))
}

/// The one step that replaces a range.
pub(super) fn sync(
    range: RangeKey,
    window: &[Place],
    counts: &[usize],
    rows: &Rows,
) -> v1::MemberListOp {
    let items = window.iter();
    v1::MemberListOp {
        kind: Kind::Sync as i32,
        index: whole(range.start),
        items: items
            .map(|place| item(range.server, *place, counts, rows))
            .collect(),
    }
}

/// A step.
pub(super) fn op(server: Id, op: Op, counts: &[usize], rows: &Rows) -> v1::MemberListOp {
    let (kind, index, place) = match op {
        Op::Insert(index, place) => (Kind::Insert, index, Some(place)),
        Op::Update(index, place) => (Kind::Update, index, Some(place)),
        Op::Delete(index) => (Kind::Delete, index, None),
    };
    let items = place.map(|place| item(server, place, counts, rows));
    v1::MemberListOp {
        kind: kind as i32,
        index: whole(index),
        items: items.into_iter().collect(),
    }
}

fn item(server_id: Id, place: Place, counts: &[usize], rows: &Rows) -> v1::MemberListItem {
    let user_id = match place {
        Place::Heading(index) => {
            return v1::MemberListItem {
                item: Some(Item::Group(group(usize::from(index), counts))),
                presence: None,
            };
        }
        Place::Member(id) => id,
    };
    let member = match rows.members.get(&user_id) {
        Some((member, user)) => {
            // A page of profiles must stay small; who wants all of one reads it.
            let slim = User {
                metadata: Metadata::new(),
                ..user.clone()
            };
            frames::member(member, Some(&slim))
        }
        // It left a moment ago: the next frame takes it out.
        None => v1::Member {
            server_id,
            user_id,
            ..v1::Member::default()
        },
    };
    let presence = rows.presences.get(&user_id);
    let offline = || frames::presence(&Presence::offline(user_id));
    v1::MemberListItem {
        item: Some(Item::Member(member)),
        presence: Some(presence.map_or_else(offline, frames::presence)),
    }
}

fn group(index: usize, counts: &[usize]) -> v1::MemberListGroup {
    v1::MemberListGroup {
        role: GROUPS[index].map_or(0, |role| role as i32),
        count: whole(counts[index]),
    }
}

fn whole(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
