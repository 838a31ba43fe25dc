//! Sentences about pages of history.

use super::*;
use crate::store::{Anchor, Page, Store};
use futures::future::join_all;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

fn ids(page: &Page) -> Vec<Id> {
    page.messages.iter().map(|message| message.id).collect()
}

async fn page<P>(world: &World<P>, anchor: Anchor, limit: u32) -> Page {
    world.store.page(CHANNEL, anchor, limit).await.unwrap()
}

async fn fill<P: Place>(ids: impl Iterator<Item = Id>) -> World<P> {
    let world = World::<P>::new().await;
    let all = ids.map(|id| world.store.insert(message(CHANNEL, id, OWNER, "")));
    for inserted in join_all(all).await {
        inserted.unwrap();
    }
    world
}

pub(crate) async fn a_page_knows_its_ends<P: Place>() {
    let world = World::<P>::new().await;
    assert_eq!(page(&world, Anchor::Newest, 50).await, Page::default());
    assert_eq!(page(&world, Anchor::Around(5), 50).await, Page::default());
    for id in 101..=105 {
        world.write(id).await;
    }
    for (anchor, limit, expected, older, newer) in [
        (
            Anchor::Newest,
            5,
            vec![101, 102, 103, 104, 105],
            false,
            false,
        ),
        (Anchor::Newest, 4, vec![102, 103, 104, 105], true, false),
        (Anchor::Before(103), 2, vec![101, 102], false, true),
        (Anchor::Before(104), 2, vec![102, 103], true, true),
        (Anchor::Before(106), 1, vec![105], true, false),
        (Anchor::Before(101), 9, vec![], false, true),
        (Anchor::After(103), 2, vec![104, 105], true, false),
        (Anchor::After(102), 2, vec![103, 104], true, true),
        (Anchor::After(100), 1, vec![101], false, true),
        (
            Anchor::After(0),
            100,
            vec![101, 102, 103, 104, 105],
            false,
            false,
        ),
        (Anchor::After(105), 9, vec![], true, false),
        (Anchor::After(Id::MAX), 9, vec![], true, false),
    ] {
        let page = page(&world, anchor, limit).await;
        let got = (ids(&page), page.has_older, page.has_newer);
        assert_eq!(got, (expected, older, newer), "{anchor:?} {limit}");
        assert!(page.deleted_ids.is_empty());
    }
}

pub(crate) async fn a_page_names_the_deleted_in_its_range<P: Place>() {
    let world = fill::<P>(101..=110).await;
    for id in [101, 104, 105, 110] {
        world.store.delete(CHANNEL, id, 9, None).await.unwrap();
    }
    for (anchor, limit, expected, deleted, older, newer) in [
        (Anchor::Newest, 2, vec![108, 109], vec![110], true, false),
        (
            Anchor::Newest,
            6,
            vec![102, 103, 106, 107, 108, 109],
            vec![101, 104, 105, 110],
            false,
            false,
        ),
        (
            Anchor::Before(107),
            2,
            vec![103, 106],
            vec![104, 105],
            true,
            true,
        ),
        (
            Anchor::Before(106),
            2,
            vec![102, 103],
            vec![101, 104, 105],
            false,
            true,
        ),
        (Anchor::After(103), 1, vec![106], vec![104, 105], true, true),
        (Anchor::After(108), 1, vec![109], vec![110], true, false),
        (Anchor::Before(102), 5, vec![], vec![101], false, true),
        (Anchor::After(109), 5, vec![], vec![110], true, false),
        (
            Anchor::Around(105),
            2,
            vec![103, 106],
            vec![104, 105],
            true,
            true,
        ),
    ] {
        let page = page(&world, anchor, limit).await;
        let got = (
            ids(&page),
            &page.deleted_ids,
            page.has_older,
            page.has_newer,
        );
        assert_eq!(
            got,
            (expected, &deleted, older, newer),
            "{anchor:?} {limit}"
        );
    }
}

pub(crate) async fn around_splits_evenly_and_fills_up<P: Place>() {
    let world = fill::<P>(101..=110).await;
    for (id, limit, expected) in [
        (105, 4, 103..=106),
        (105, 5, 103..=107),
        (105, 1, 105..=105),
        (101, 4, 101..=104),
        (110, 4, 107..=110),
        (999, 3, 108..=110),
        (1, 3, 101..=103),
        (105, 100, 101..=110),
    ] {
        let page = page(&world, Anchor::Around(id), limit).await;
        let ends = (*expected.start() > 101, *expected.end() < 110);
        assert_eq!(ids(&page), expected.collect::<Vec<_>>(), "{id} {limit}");
        assert_eq!((page.has_older, page.has_newer), ends, "{id} {limit}");
    }
}

pub(crate) async fn a_thousand_deleted_end_a_page_but_not_the_walk<P: Place>() {
    let world = fill::<P>(1000..4000).await;
    let all = (1500..3900).map(|id| world.store.delete(CHANNEL, id, 9, None));
    for deleted in join_all(all).await {
        deleted.unwrap();
    }
    let (messages, deleted) = walk_back(&*world.store, 100).await;
    assert_eq!(messages, (1000..1500).chain(3900..4000).collect::<Vec<_>>());
    assert_eq!(
        deleted.into_iter().collect::<Vec<_>>(),
        (1500..3900).collect::<Vec<_>>()
    );
    let (messages, deleted) = walk_on(&*world.store, Id::MAX, 7).await;
    assert_eq!(messages, (1000..1500).chain(3900..4000).collect::<Vec<_>>());
    assert_eq!(deleted.len(), 2400);
}

pub(crate) async fn a_deleted_channel_has_no_pages<P: Place>() {
    let world = fill::<P>(101..=110).await;
    world
        .store
        .delete_channel(CHANNEL, vec![], None)
        .await
        .unwrap();
    for anchor in [Anchor::Newest, Anchor::After(0), Anchor::Around(105)] {
        assert_eq!(page(&world, anchor, 50).await, Page::default());
    }
}

/// All ids from the newest page back, and the deleted ones named.
async fn walk_back(store: &dyn Store, limit: u32) -> (Vec<Id>, BTreeSet<Id>) {
    let (mut messages, mut deleted) = (Vec::new(), BTreeSet::new());
    let mut anchor = Anchor::Newest;
    loop {
        let page = store.page(CHANNEL, anchor, limit).await.unwrap();
        assert!(page.messages.len() <= limit as usize && page.deleted_ids.len() <= 1000);
        messages.splice(0..0, ids(&page));
        deleted.extend(&page.deleted_ids);
        let first = ids(&page).into_iter().chain(page.deleted_ids).min();
        match first {
            Some(first) if page.has_older => anchor = Anchor::Before(first),
            _ => break,
        }
    }
    (messages, deleted)
}

/// All ids of the ascending pages up to the first one that reaches `until`.
async fn walk_on(store: &dyn Store, until: Id, limit: u32) -> (Vec<Id>, BTreeSet<Id>) {
    let (mut messages, mut deleted) = (Vec::new(), BTreeSet::new());
    let mut anchor = Anchor::After(0);
    loop {
        let page = store.page(CHANNEL, anchor, limit).await.unwrap();
        messages.extend(ids(&page));
        deleted.extend(&page.deleted_ids);
        let last = ids(&page).into_iter().chain(page.deleted_ids).max();
        match last {
            Some(last) if page.has_newer && last < until => anchor = Anchor::After(last),
            _ => break,
        }
    }
    (messages, deleted)
}

/// What is there at the start: for each of the ids from 1,000 on, whether it is deleted.
fn history() -> impl Strategy<Value = (Vec<bool>, Vec<u32>)> {
    (
        proptest::collection::vec(proptest::bool::weighted(0.3), 0..300),
        proptest::collection::vec(1u32..=100, 6),
    )
}

pub(crate) async fn pages_concatenate_while_writes_go_on<P: Place>() {
    let mut runner = TestRunner::default();
    for _ in 0..12 {
        let (rows, limits) = history().new_tree(&mut runner).unwrap().current();
        println!("rows {rows:?} limits {limits:?}");
        let world = fill::<P>((1000..).take(rows.len())).await;
        let mut truth = Vec::new();
        for (id, deleted) in (1000..).zip(&rows) {
            if *deleted {
                world.store.delete(CHANNEL, id, 9, None).await.unwrap();
            } else {
                truth.push(id);
            }
        }
        let done = AtomicBool::new(false);
        let write = async {
            let mut id = 100_000;
            while !done.load(Ordering::Relaxed) {
                world.write(id).await;
                if id % 3 == 0 {
                    world.store.delete(CHANNEL, id, 9, None).await.unwrap();
                }
                id += 1;
            }
            (100_000..id).filter(|id| id % 3 != 0).collect::<Vec<Id>>()
        };
        let read = async {
            for limit in limits {
                let (back, _) = walk_back(&*world.store, limit).await;
                let old: Vec<Id> = back.iter().copied().filter(|id| *id < 100_000).collect();
                assert_eq!(old, truth, "limit {limit}");
                assert!(back.is_sorted_by(|a, b| a < b));
                let (on, _) = walk_on(&*world.store, 100_000, limit).await;
                assert!(on.starts_with(&truth) && on.is_sorted_by(|a, b| a < b));
            }
            done.store(true, Ordering::Relaxed);
        };
        let (written, ()) = tokio::join!(write, read);
        let (all, _) = walk_on(&*world.store, Id::MAX, 100).await;
        assert_eq!(all, [truth, written].concat());
        world.store.close().await;
    }
}
