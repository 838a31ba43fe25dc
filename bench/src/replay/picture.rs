//! What a watcher is shown of people, made of the frames as they came.

use chirm_proto::v1::{
    self, PresenceStatus, client_frame, member_list_item::Item, member_list_op::Kind, server_frame,
};
use std::collections::{HashMap, HashSet};

/// Places of one range.
pub(super) const RANGE: i32 = 100;
/// Ranges of one server that may be viewed.
pub(super) const RANGES: i32 = 5;
/// Servers whose lists may be viewed at once.
pub(super) const LISTS: usize = 10;
/// How many faults are kept in full.
const FAULTS_MAX: usize = 10;

/// Who is here, and the viewed parts of member lists.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// By presences: those that aren't OFFLINE.
    present: HashSet<i64>,
    /// By server and a range's first place.
    ranges: HashMap<(i64, i32), Range>,
    faults: Vec<String>,
}

#[derive(Debug, Default)]
struct Range {
    seq: i64,
    places: Vec<Place>,
    /// How many places all groups have.
    total: i32,
}

/// A place of a list.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A group's heading: whether those below it are here.
    Heading(bool),
    /// A member, and whether it is here.
    Member(i64, bool),
}

/// Members by a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) here: Vec<i64>,
    pub(super) away: Vec<i64>,
}

impl Picture {
    /// A stream begins: whoever isn't named on it is OFFLINE, and ranges begin with a SYNC.
    pub(super) fn sent(&mut self, frame: &client_frame::Frame) {
        match frame {
            client_frame::Frame::Identify(_) => {
                self.present.clear();
                self.ranges.clear();
            }
            client_frame::Frame::View(view) => {
                let viewed = |server: i64, start: i32| {
                    let list = view.member_lists.iter().find(|l| l.server_id == server);
                    list.is_some_and(|list| list.ranges.iter().any(|r| r.start == start))
                };
                self.ranges
                    .retain(|(server, start), _| viewed(*server, *start));
            }
            _ => {}
        }
    }

    /// Takes what came.
    pub(super) fn received(&mut self, frame: &server_frame::Frame) {
        match frame {
            server_frame::Frame::PresenceChanged(changed) => {
                for presence in &changed.presences {
                    if is_here(presence) {
                        self.present.insert(presence.user_id);
                    } else {
                        self.present.remove(&presence.user_id);
                    }
                }
            }
            server_frame::Frame::MemberListChanged(changed) => {
                if let Err(fault) = self.change(changed)
                    && self.faults.len() < FAULTS_MAX
                {
                    self.faults.push(fault);
                }
            }
            _ => {}
        }
    }

    /// Who is here by presences.
    pub(super) fn present(&self) -> impl Iterator<Item = i64> {
        self.present.iter().copied()
    }

    /// A server's members by its list; `None` if it isn't viewed, or not to its end. Who isn't what
    /// its group says is left out.
    pub(super) fn listed(&self, server: i64) -> Option<Listed> {
        let first = self.ranges.get(&(server, 0))?;
        let mut listed = Listed::default();
        let mut group = None;
        for start in (0..first.total).step_by(RANGE as usize) {
            let range = self.ranges.get(&(server, start))?;
            for place in &range.places {
                match *place {
                    Place::Heading(here) => group = Some(here),
                    Place::Member(user, true) if group == Some(true) => listed.here.push(user),
                    Place::Member(user, false) if group == Some(false) => listed.away.push(user),
                    Place::Member(..) => {}
                }
            }
        }
        Some(listed)
    }

    /// What was wrong with the frames since this was last asked.
    pub(super) fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    fn change(&mut self, changed: &v1::MemberListChanged) -> Result<(), String> {
        let asked = changed.range.unwrap_or_default();
        let (server, start) = (changed.server_id, asked.start);
        let range = self.ranges.entry((server, start)).or_default();
        let whole = changed.ops.iter().any(|op| op.kind() == Kind::Sync);
        let fault = |what: String| format!("list of server {server} from place {start}: {what}");
        if !whole && changed.seq != range.seq + 1 {
            return Err(fault(format!("{} after {}", changed.seq, range.seq)));
        }
        range.seq = changed.seq;
        for op in &changed.ops {
            range.step(start, op).map_err(fault)?;
        }
        range.total = changed.groups.iter().map(|group| group.count + 1).sum();
        let places = (range.total - start).clamp(0, asked.count);
        if range.places.len() != places as usize {
            let has = range.places.len();
            return Err(fault(format!("{has} places where {places} should be")));
        }
        Ok(())
    }
}

impl Range {
    fn step(&mut self, start: i32, op: &v1::MemberListOp) -> Result<(), String> {
        let kind = op.kind();
        let at = usize::try_from(op.index - start).unwrap_or(usize::MAX);
        let first = op.items.first().map(place);
        match (kind, first) {
            (Kind::Sync, _) => self.places = op.items.iter().map(place).collect(),
            (Kind::Insert, Some(place)) if at <= self.places.len() => self.places.insert(at, place),
            (Kind::Update, Some(place)) if at < self.places.len() => self.places[at] = place,
            (Kind::Delete, _) if at < self.places.len() => drop(self.places.remove(at)),
            _ => return Err(format!("{kind:?} at place {}", op.index)),
        }
        Ok(())
    }
}

fn place(item: &v1::MemberListItem) -> Place {
    match &item.item {
        Some(Item::Member(member)) => {
            let is_here = item.presence.as_ref().is_some_and(is_here);
            Place::Member(member.user_id, is_here)
        }
        Some(Item::Group(group)) => Place::Heading(group.role() != v1::Role::Unspecified),
        None => Place::Heading(false),
    }
}

/// Whether a status is one of those that are here.
fn is_here(presence: &v1::Presence) -> bool {
    !matches!(
        presence.status(),
        PresenceStatus::Offline | PresenceStatus::Unspecified
    )
}

/// The view of whole lists of some servers, as far as views reach.
pub(super) fn views(servers: &[i64]) -> Vec<v1::MemberListView> {
    let ranges: Vec<v1::MemberRange> = (0..RANGES)
        .map(|number| v1::MemberRange {
            start: number * RANGE,
            count: RANGE,
        })
        .collect();
    let view = |server: &i64| v1::MemberListView {
        server_id: *server,
        ranges: ranges.clone(),
    };
    servers.iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use server_frame::Frame;

    fn presence(user_id: i64, status: PresenceStatus) -> v1::Presence {
        v1::Presence {
            user_id,
            status: status as i32,
            ..Default::default()
        }
    }

    fn member(user_id: i64, status: PresenceStatus) -> v1::MemberListItem {
        let member = v1::Member {
            user_id,
            ..Default::default()
        };
        v1::MemberListItem {
            item: Some(Item::Member(member)),
            presence: Some(presence(user_id, status)),
        }
    }

    fn heading(role: v1::Role, count: i32) -> v1::MemberListItem {
        let role = role as i32;
        let group = v1::MemberListGroup { role, count };
        v1::MemberListItem {
            item: Some(Item::Group(group)),
            presence: None,
        }
    }

    fn changed(seq: i64, counts: &[i32], ops: Vec<v1::MemberListOp>) -> Frame {
        let groups = counts
            .iter()
            .map(|count| v1::MemberListGroup {
                role: 0,
                count: *count,
            })
            .collect();
        Frame::MemberListChanged(v1::MemberListChanged {
            server_id: 7,
            range: Some(v1::MemberRange {
                start: 0,
                count: RANGE,
            }),
            seq,
            ops,
            groups,
        })
    }

    fn op(kind: Kind, index: i32, items: Vec<v1::MemberListItem>) -> v1::MemberListOp {
        v1::MemberListOp {
            kind: kind as i32,
            index,
            items,
        }
    }

    fn synced() -> Picture {
        let (online, offline) = (PresenceStatus::Online, PresenceStatus::Offline);
        let items = vec![
            heading(v1::Role::Member, 1),
            member(1, online),
            heading(v1::Role::Unspecified, 1),
            member(2, offline),
        ];
        let mut picture = Picture::default();
        picture.received(&changed(1, &[1, 1], vec![op(Kind::Sync, 0, items)]));
        picture
    }

    #[test]
    fn presences_are_of_one_stream() {
        let mut picture = Picture::default();
        let presences = vec![
            presence(1, PresenceStatus::Idle),
            presence(2, PresenceStatus::Online),
            presence(2, PresenceStatus::Offline),
        ];
        let changed = v1::PresenceChanged {
            presences,
            stale: false,
        };
        picture.received(&Frame::PresenceChanged(changed));
        assert_eq!(picture.present().collect::<Vec<_>>(), [1]);
        let identify = client_frame::Frame::Identify(v1::Identify::default());
        picture.sent(&identify);
        assert_eq!(picture.present().count(), 0);
    }

    #[test]
    fn a_list_follows_its_steps() {
        let mut picture = synced();
        let coming = vec![
            op(Kind::Delete, 3, Vec::new()),
            op(Kind::Delete, 2, Vec::new()),
            op(Kind::Update, 0, vec![heading(v1::Role::Member, 2)]),
            op(Kind::Insert, 2, vec![member(2, PresenceStatus::Online)]),
        ];
        picture.received(&changed(2, &[2], coming));
        assert_eq!(picture.take_faults(), Vec::<String>::new());
        let listed = picture.listed(7).unwrap();
        assert_eq!((listed.here, listed.away), (vec![1, 2], Vec::new()));
        assert!(picture.listed(8).is_none());
        picture.sent(&client_frame::Frame::View(v1::View::default()));
        assert!(picture.listed(7).is_none(), "it isn't viewed any more");
    }

    #[test]
    fn who_is_not_what_its_group_says_is_left_out() {
        let mut picture = synced();
        let turned = op(Kind::Update, 3, vec![member(2, PresenceStatus::Online)]);
        picture.received(&changed(2, &[1, 1], vec![turned]));
        let listed = picture.listed(7).unwrap();
        assert_eq!((listed.here, listed.away), (vec![1], Vec::new()));
    }

    #[test]
    fn frames_left_out_and_steps_beside_the_range_are_faults() {
        for frame in [
            changed(3, &[1, 1], Vec::new()),
            changed(2, &[1, 1], vec![op(Kind::Delete, 9, Vec::new())]),
            changed(2, &[2, 1], Vec::new()),
        ] {
            let mut picture = synced();
            picture.received(&frame);
            assert_eq!(picture.take_faults().len(), 1, "{frame:?}");
        }
    }
}
