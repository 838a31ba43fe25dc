//! A part of a member list that somebody looks at: what its viewers hold of it, and what turns
//! that into what it is now.

use super::RangeKey;
use super::list::{List, Place};
use crate::model::Id;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::{HashMap, HashSet};

/// More steps than these aren't sent: the whole range is.
const OPS_MAX: usize = 50;

/// A step that turns what viewers hold into what is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Insert(usize, Place),
    Update(usize, Place),
    Delete(usize),
}

/// What a range's viewers are to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Ops(Vec<Op>),
    Whole,
}

/// A range with its viewers: all of one range of a server share it, and its numbers.
#[derive(Default)]
pub(super) struct Range {
    /// What its viewers hold.
    pub(super) window: Vec<Place>,
    /// The number of the latest frame.
    pub(super) seq: i64,
    /// Sessions, and whether they hold the window: until then they have to be sent the whole.
    pub(super) viewers: HashMap<u64, bool>,
}

impl Range {
    pub(super) fn new(key: RangeKey, list: &List) -> Self {
        Self {
            window: list.places(key.start, key.count),
            ..Self::default()
        }
    }

    /// Takes on what the list is now. What that is for viewers, if anything; `changed` are members
    /// that look different where they are.
    pub(super) fn follow(
        &mut self,
        key: RangeKey,
        list: &List,
        changed: &HashSet<Place>,
    ) -> Option<Change> {
        let now = list.places(key.start, key.count);
        let ops = ops(key.start, &self.window, &now, changed);
        self.window = now;
        if ops.is_empty() {
            return None;
        }
        self.seq += i64::from(!crate::mutation::on("member_list_seq_stuck"));
        Some(if ops.len() > OPS_MAX {
            Change::Whole
        } else {
            Change::Ops(ops)
        })
    }

    /// The members among its places.
    pub(super) fn members(&self) -> impl Iterator<Item = Id> + '_ {
        self.window.iter().filter_map(|place| match place {
            Place::Member(id) => Some(*id),
            Place::Heading(_) => None,
        })
    }
}

/// The steps from one window to another, in order; indexes are places of the whole list.
fn ops(start: usize, before: &[Place], now: &[Place], changed: &HashSet<Place>) -> Vec<Op> {
    let mut ops = Vec::new();
    for step in capture_diff_slices(Algorithm::Myers, before, now) {
        let (old, new) = (step.old_range(), step.new_range());
        // What is left of `new.start` is as it will be.
        let at = start + new.start;
        if matches!(step, DiffOp::Equal { .. }) {
            let same = now[new].iter().enumerate();
            let updated = same.filter(|(_, place)| changed.contains(place));
            ops.extend(updated.map(|(n, place)| Op::Update(at + n, *place)));
            continue;
        }
        let replaced = old.len().min(new.len());
        let come = now[new.clone()].iter().enumerate();
        ops.extend(come.map(|(n, place)| match n < replaced {
            true => Op::Update(at + n, *place),
            false => Op::Insert(at + n, *place),
        }));
        let gone = old.len() - replaced;
        ops.extend(std::iter::repeat_n(Op::Delete(at + replaced), gone));
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(start: usize, window: &[Place], ops: &[Op]) -> Vec<Place> {
        let mut window = window.to_vec();
        for op in ops {
            match *op {
                Op::Insert(at, place) => window.insert(at - start, place),
                Op::Update(at, place) => window[at - start] = place,
                Op::Delete(at) => {
                    window.remove(at - start);
                }
            }
        }
        window
    }

    fn places(ids: Vec<Id>) -> Vec<Place> {
        ids.into_iter().map(Place::Member).collect()
    }

    proptest! {
        #[test]
        fn the_steps_lead_from_one_window_to_the_other(
            before in prop::collection::vec(1..30_i64, 0..20),
            now in prop::collection::vec(1..30_i64, 0..20),
            start in 0..50_usize,
        ) {
            let (before, now) = (places(before), places(now));
            let ops = ops(start, &before, &now, &HashSet::new());
            prop_assert_eq!(apply(start, &before, &ops), now);
        }
    }

    #[test]
    fn who_looks_different_is_updated_where_it_is() {
        let window = places(vec![5, 6, 7]);
        let changed = HashSet::from([Place::Member(6), Place::Member(9)]);
        let found = ops(100, &window, &window, &changed);
        assert_eq!(found, [Op::Update(101, Place::Member(6))]);
    }

    #[test]
    fn who_moves_out_of_view_costs_two_steps() {
        let before = places((1..=100).collect());
        let now = places((2..=101).collect());
        let found = ops(0, &before, &now, &HashSet::new());
        assert_eq!(found, [Op::Delete(0), Op::Insert(99, Place::Member(101))]);
    }
}
