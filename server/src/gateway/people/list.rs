//! A server's members in the order in which they are shown: those who are here by role, then all
//! others, each group by name. A sorted sequence in chunks: a place is found by their lengths, so
//! a change costs a few hundred steps in a list of 100,000.

use super::name::NameKey;
use crate::model::{Id, Role};
use std::cmp::Ordering;
use std::collections::HashMap;

/// Members of a chunk at most; a fuller one is split.
const CHUNK_MAX: usize = 512;

/// The groups of a list in their order: members who are here, by role, and those who aren't.
pub(super) const GROUPS: [Option<Role>; 5] = [
    Some(Role::Owner),
    Some(Role::Admin),
    Some(Role::Moderator),
    Some(Role::Member),
    None,
];

/// A place of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// The heading of a group, by its index in [`GROUPS`]. Only groups with members have one.
    Heading(u8),
    /// A member.
    Member(Id),
}

struct Slot {
    id: Id,
    name: NameKey,
    role: Role,
    here: bool,
}

impl Slot {
    fn group(&self) -> usize {
        let role = self.here.then_some(self.role);
        let group = GROUPS.iter().position(|group| *group == role);
        group.unwrap_or(GROUPS.len() - 1)
    }

    fn order(&self, other: &Self) -> Ordering {
        let by_group = self.group().cmp(&other.group());
        let by_name = || self.name.cmp(&other.name);
        by_group.then_with(by_name).then(self.id.cmp(&other.id))
    }
}

/// The members of a server in order.
#[derive(Default)]
pub(super) struct List {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_user: HashMap<Id, u32>,
    chunks: Vec<Vec<u32>>,
    counts: [usize; GROUPS.len()],
}

impl List {
    /// Begins a list of so many members, to be added in any order; [`List::sort`] ends that.
    pub(super) fn of(members: usize) -> Self {
        Self {
            slots: Vec::with_capacity(members),
            by_user: HashMap::with_capacity(members),
            ..Self::default()
        }
    }

    /// Adds members that it doesn't have, until it is sorted.
    pub(super) fn add(&mut self, members: impl IntoIterator<Item = (Id, Role, NameKey, bool)>) {
        for (id, role, name, here) in members {
            let slot = Slot {
                id,
                name,
                role,
                here,
            };
            self.counts[slot.group()] += 1;
            self.by_user.insert(id, self.slots.len() as u32);
            self.slots.push(slot);
        }
    }

    /// Puts what was added in order.
    pub(super) fn sort(mut self) -> Self {
        let slots = &self.slots;
        let mut order: Vec<u32> = (0..slots.len() as u32).collect();
        order.sort_unstable_by(|a, b| slots[*a as usize].order(&slots[*b as usize]));
        let chunks = order.chunks(CHUNK_MAX / 2);
        self.chunks = chunks.map(<[u32]>::to_vec).collect();
        self
    }

    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }

    pub(super) fn contains(&self, user: Id) -> bool {
        self.by_user.contains_key(&user)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = Id> + '_ {
        self.by_user.keys().copied()
    }

    /// How many members each of [`GROUPS`] has.
    pub(super) fn counts(&self) -> [usize; GROUPS.len()] {
        self.counts
    }

    /// Whether a member is here; None: it isn't one.
    pub(super) fn is_here(&self, user: Id) -> Option<bool> {
        let index = self.by_user.get(&user)?;
        Some(self.slots[*index as usize].here)
    }

    /// Notes whether a member is here. False: it is none.
    pub(super) fn set_here(&mut self, user: Id, here: bool) -> bool {
        let Some(&index) = self.by_user.get(&user) else {
            return false;
        };
        if self.slots[index as usize].here != here {
            self.take_out(index);
            self.slots[index as usize].here = here;
            self.put_in(index);
        }
        true
    }

    /// Adds a member, or changes its role and name.
    pub(super) fn put(&mut self, id: Id, role: Role, name: NameKey, here: bool) {
        if let Some(&index) = self.by_user.get(&id) {
            self.take_out(index);
            let slot = &mut self.slots[index as usize];
            (slot.role, slot.name, slot.here) = (role, name, here);
            self.put_in(index);
            return;
        }
        let slot = Slot {
            id,
            name,
            role,
            here,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.by_user.insert(id, index);
        self.put_in(index);
    }

    /// Takes a member out. False: it was none.
    pub(super) fn remove(&mut self, user: Id) -> bool {
        let Some(index) = self.by_user.remove(&user) else {
            return false;
        };
        self.take_out(index);
        self.slots[index as usize].name = NameKey::default();
        self.free.push(index);
        true
    }

    /// The chunk and the place in it where a slot is, or where it belongs.
    fn locate(&self, slot: &Slot) -> (usize, usize) {
        let slots = &self.slots;
        let is_below = |index: &u32| slots[*index as usize].order(slot) == Ordering::Less;
        let chunk = self
            .chunks
            .partition_point(|chunk| chunk.last().is_some_and(is_below));
        let chunk = chunk.min(self.chunks.len().saturating_sub(1));
        let within = self
            .chunks
            .get(chunk)
            .map_or(0, |c| c.partition_point(is_below));
        (chunk, within)
    }

    fn put_in(&mut self, index: u32) {
        let slot = &self.slots[index as usize];
        self.counts[slot.group()] += 1;
        let (chunk, within) = self.locate(slot);
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        let there = &mut self.chunks[chunk];
        there.insert(within, index);
        if there.len() > CHUNK_MAX {
            let upper = there.split_off(CHUNK_MAX / 2);
            self.chunks.insert(chunk + 1, upper);
        }
    }

    fn take_out(&mut self, index: u32) {
        let slot = &self.slots[index as usize];
        self.counts[slot.group()] -= 1;
        let (chunk, within) = self.locate(slot);
        self.chunks[chunk].remove(within);
        if self.chunks[chunk].is_empty() {
            self.chunks.remove(chunk);
        }
    }

    /// What is at the places from `start` on, `count` of them at most.
    pub(super) fn places(&self, start: usize, count: usize) -> Vec<Place> {
        let most = (self.len() + GROUPS.len()).saturating_sub(start);
        let mut places = Vec::with_capacity(count.min(most));
        // The group's heading is at `at`, its members follow; `before` members come before them.
        let (mut at, mut before) = (0, 0);
        for (group, &members) in self.counts.iter().enumerate() {
            if members == 0 {
                continue;
            }
            let end = at + 1 + members;
            let from = (start + places.len()).max(at);
            if from < end && places.len() < count {
                if from == at {
                    places.push(Place::Heading(group as u8));
                }
                let first = from.max(at + 1) - (at + 1);
                let wanted = (count - places.len()).min(members - first);
                places.extend(self.ranked(before + first, wanted).map(Place::Member));
            }
            (at, before) = (end, before + members);
        }
        places
    }

    /// The members from a rank on, headings not counted.
    fn ranked(&self, mut rank: usize, count: usize) -> impl Iterator<Item = Id> + '_ {
        let mut chunk = 0;
        while chunk < self.chunks.len() && rank >= self.chunks[chunk].len() {
            rank -= self.chunks[chunk].len();
            chunk += 1;
        }
        let following = self.chunks[chunk..].iter().flatten();
        let slots = &self.slots;
        following
            .skip(rank)
            .take(count)
            .map(|index| slots[*index as usize].id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn name(text: &str) -> NameKey {
        NameKey::of(text)
    }

    /// The same list, made anew each time.
    fn sorted(members: &BTreeMap<Id, (Role, String, bool)>) -> Vec<Place> {
        let mut places = Vec::new();
        for (group, role) in GROUPS.iter().enumerate() {
            let is_in = |role_: Role, here: bool| here.then_some(role_) == *role;
            let of = members.iter().filter(|(_, (r, _, here))| is_in(*r, *here));
            let mut of: Vec<_> = of.map(|(id, (_, text, _))| (name(text), *id)).collect();
            of.sort();
            if !of.is_empty() {
                places.push(Place::Heading(group as u8));
            }
            places.extend(of.into_iter().map(|(_, id)| Place::Member(id)));
        }
        places
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(Id, Role, String, bool),
        Here(Id, bool),
        Remove(Id),
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = 1..40_i64;
        let role = prop::sample::select(vec![
            Role::Owner,
            Role::Admin,
            Role::Moderator,
            Role::Member,
        ]);
        let put = (id.clone(), role, "[a-cA-C]{1,2}", any::<bool>());
        prop_oneof![
            3 => put.prop_map(|(id, role, name, here)| Step::Put(id, role, name, here)),
            3 => (id.clone(), any::<bool>()).prop_map(|(id, here)| Step::Here(id, here)),
            1 => id.prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn it_is_in_order_whatever_changes(steps in prop::collection::vec(step(), 0..200)) {
            let mut members = BTreeMap::new();
            let mut list = List::default();
            for step in steps {
                match step {
                    Step::Put(id, role, text, here) => {
                        list.put(id, role, name(&text), here);
                        members.insert(id, (role, text, here));
                    }
                    Step::Here(id, here) => {
                        let there = members.get_mut(&id).map(|member| member.2 = here);
                        prop_assert_eq!(list.set_here(id, here), there.is_some());
                    }
                    Step::Remove(id) => {
                        prop_assert_eq!(list.remove(id), members.remove(&id).is_some());
                    }
                }
                let all = sorted(&members);
                prop_assert_eq!(&list.places(0, usize::MAX >> 1), &all);
                for (start, count) in [(0, 3), (1, 4), (5, 1), (all.len(), 2), (3, 100)] {
                    let from = start.min(all.len());
                    let to = (start + count).min(all.len());
                    prop_assert_eq!(list.places(start, count), &all[from..to]);
                }
            }
        }
    }

    #[test]
    fn a_large_one_keeps_its_order_over_many_chunks() {
        let text = |id: Id| format!("user {:05}", (id * 7_919) % 100_003);
        let members = (1..=5_000).map(|id| (id, Role::Member, name(&text(id)), id % 3 == 0));
        let mut list = List::of(5_000);
        list.add(members);
        let mut list = list.sort();
        for id in (1..=5_000).rev() {
            list.set_here(id, id % 2 == 0);
            list.put(
                id + 5_000,
                Role::Member,
                name(&text(id + 5_000)),
                id % 5 == 0,
            );
        }
        let of = |id: Id| {
            (
                Role::Member,
                text(id),
                if id <= 5_000 {
                    id % 2 == 0
                } else {
                    id % 5 == 0
                },
            )
        };
        let members: BTreeMap<_, _> = (1..=10_000).map(|id| (id, of(id))).collect();
        assert_eq!(list.places(0, 20_000), sorted(&members));
        assert!(list.chunks.iter().all(|chunk| chunk.len() <= CHUNK_MAX));
        assert_eq!(list.places(5_000, 100), &sorted(&members)[5_000..5_100]);
    }
}
