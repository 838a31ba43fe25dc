//! Sentences about messages.

use super::*;
use crate::store::{Anchor, Error};
use futures::future::join_all;
use std::collections::HashSet;

const NONCE: &str = "01932c07-1e2a-7abc-8def-0123456789ab";

pub(crate) async fn a_message_is_read_as_it_was_written<P: Place>() {
    let world = World::<P>::new().await;
    let nonces = [
        NONCE,
        "",
        "no uuid",
        "01932C07-1E2A-7ABC-8DEF-0123456789AB",
        "15 characters..",
    ];
    for (id, nonce) in (100..).zip(nonces) {
        let message = Message {
            reply_to: 99,
            mentions: vec![3, i64::MAX],
            groups: Mentions::of("<@everyone> <@&owner>").groups,
            metadata: metadata(),
            content: "Zeilen\n\u{1f600} '\"".into(),
            ..message(CHANNEL, id, OWNER, nonce)
        };
        assert_eq!(
            world.store.insert(message.clone()).await.unwrap(),
            Inserted::New
        );
        assert_eq!(world.store.get(CHANNEL, id).await.unwrap(), Some(message));
    }
    assert_eq!(world.store.get(CHANNEL, 99).await.unwrap(), None);
    assert_eq!(world.store.get(CHANNEL + 1, 100).await.unwrap(), None);
}

pub(crate) async fn a_repeat_of_a_nonce_answers_the_earlier_message<P: Place>() {
    let world = World::<P>::new().await;
    let first = message(CHANNEL, 100, OWNER, NONCE);
    world.store.insert(first.clone()).await.unwrap();
    let again = message(CHANNEL, 101, OWNER, NONCE);
    let repeat = world.store.insert(again.clone()).await.unwrap();
    assert_eq!(repeat, Inserted::Repeat(first.clone()));
    assert_eq!(
        world.store.insert(first.clone()).await.unwrap(),
        Inserted::Repeat(first)
    );
    assert_eq!(world.store.get(CHANNEL, 101).await.unwrap(), None);
    let deleted = world.store.delete(CHANNEL, 100, 7, None).await.unwrap();
    assert_eq!(
        world.store.insert(again).await.unwrap(),
        Inserted::Repeat(deleted)
    );
}

pub(crate) async fn an_insertion_is_queued_without_being_waited_for<P: Place>() {
    let world = World::<P>::new().await;
    let mut forgotten = Vec::new();
    for id in 100..400 {
        let insertion = world.store.insert(message(CHANNEL, id, OWNER, ""));
        if id % 3 == 0 {
            insertion.await.unwrap();
            let page = world
                .store
                .page(CHANNEL, Anchor::Before(id + 1), 100)
                .await
                .unwrap();
            let ids: Vec<Id> = page.messages.iter().map(|message| message.id).collect();
            let first = (id - 99).max(100);
            assert_eq!(ids, (first..=id).collect::<Vec<_>>(), "all below, too");
        } else if id % 3 == 1 {
            forgotten.push(insertion);
        }
    }
    drop(forgotten);
}

pub(crate) async fn of_many_at_once_with_one_nonce_one_is_new<P: Place>() {
    let world = World::<P>::new().await;
    let all = (100..140).map(|id| world.store.insert(message(CHANNEL, id, OWNER, NONCE)));
    let all = join_all(all).await;
    let new = |inserted: &&Result<Inserted, Error>| matches!(inserted, Ok(Inserted::New));
    assert_eq!(all.iter().filter(new).count(), 1);
    let page = world
        .store
        .page(CHANNEL, Anchor::Newest, 100)
        .await
        .unwrap();
    assert_eq!(page.messages.len(), 1);
    let won = &page.messages[0];
    for inserted in all {
        match inserted.unwrap() {
            Inserted::New => {}
            Inserted::Repeat(message) => assert_eq!(&message, won),
        }
    }
}

pub(crate) async fn a_nonce_counts_for_its_author_and_channel_alone<P: Place>() {
    let world = World::<P>::new().await;
    world.server(20, OWNER).await;
    for (channel, id, author) in [(CHANNEL, 100, 1), (CHANNEL, 101, 2), (21, 102, 1)] {
        let inserted = world
            .store
            .insert(message(channel, id, author, NONCE))
            .await;
        assert_eq!(inserted.unwrap(), Inserted::New);
    }
}

pub(crate) async fn without_a_nonce_nothing_repeats<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    world.write(101).await;
}

pub(crate) async fn a_channel_that_is_gone_takes_no_message<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    world
        .store
        .delete_channel(CHANNEL, vec![], None)
        .await
        .unwrap();
    for (channel, nonce) in [(CHANNEL, ""), (CHANNEL, NONCE), (999, NONCE)] {
        let refused = world
            .store
            .insert(message(channel, 101, OWNER, nonce))
            .await;
        assert!(
            matches!(refused, Err(Error::NotFound("channel"))),
            "{refused:?}"
        );
    }
    assert_eq!(world.store.get(CHANNEL, 100).await.unwrap(), None);
    assert_eq!(world.store.newest(&[CHANNEL]).await.unwrap(), [0]);
}

pub(crate) async fn an_id_is_taken_once<P: Place>() {
    let world = World::<P>::new().await;
    let first = world.write(100).await;
    let other = Message {
        content: "other".into(),
        ..message(CHANNEL, 100, OWNER, NONCE)
    };
    let refused = world.store.insert(other).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(world.store.get(CHANNEL, 100).await.unwrap(), Some(first));
    // The refused one didn't use its nonce up.
    let later = world
        .store
        .insert(message(CHANNEL, 101, OWNER, NONCE))
        .await;
    assert_eq!(later.unwrap(), Inserted::New);
}

pub(crate) async fn a_refused_message_leaves_its_neighbours_alone<P: Place>() {
    let world = World::<P>::new().await;
    world.write(100).await;
    let all = (90..400).map(|id| {
        let channel = if id % 7 == 0 { 999 } else { CHANNEL };
        let nonce = if id % 2 == 0 {
            String::new()
        } else {
            format!("nonce {id}")
        };
        let mut message = message(channel, id, OWNER, &nonce);
        message.content.push_str(" differs");
        world.store.insert(message)
    });
    let all = join_all(all).await;
    for (id, inserted) in (90..400).zip(all) {
        let there = world.store.get(CHANNEL, id).await.unwrap();
        match inserted {
            Ok(inserted) => assert_eq!((inserted, there.is_some()), (Inserted::New, true)),
            Err(Error::NotFound("channel")) => assert!(id % 7 == 0 && there.is_none()),
            Err(Error::Conflict(_)) => assert_eq!(id, 100),
            Err(error) => panic!("{id}: {error}"),
        }
    }
}

pub(crate) async fn the_highest_revision_wins<P: Place>() {
    let world = World::<P>::new().await;
    let first = Message {
        metadata: metadata(),
        ..message(CHANNEL, 100, OWNER, NONCE)
    };
    world.store.insert(first.clone()).await.unwrap();
    let mentions = Mentions::of("<@5> <@&admin>");
    let edit = |content: &str, revision| {
        world.store.edit(
            CHANNEL,
            100,
            content.into(),
            mentions.clone(),
            revision,
            revision * 10,
        )
    };
    let expected = Message {
        content: "nine".into(),
        mentions: vec![5],
        groups: mentions.groups,
        revision: 9,
        edited_at: 90,
        ..first
    };
    assert_eq!(edit("nine", 9).await.unwrap(), expected);
    assert_eq!(edit("eight", 8).await.unwrap(), expected);
    assert_eq!(edit("nine again", 9).await.unwrap(), expected);
    assert_eq!(world.store.get(CHANNEL, 100).await.unwrap(), Some(expected));
}

pub(crate) async fn deleted_is_final_and_leaves_no_content<P: Place>() {
    let world = World::<P>::new().await;
    let first = Message {
        metadata: metadata(),
        mentions: vec![5],
        groups: Mentions::of("<@everyone>").groups,
        reply_to: 99,
        ..message(CHANNEL, 100, OWNER, NONCE)
    };
    world.store.insert(first.clone()).await.unwrap();
    let expected = Message {
        content: String::new(),
        metadata: Metadata::new(),
        mentions: vec![],
        groups: Default::default(),
        revision: 9,
        deleted: true,
        ..first
    };
    assert_eq!(
        world.store.delete(CHANNEL, 100, 9, None).await.unwrap(),
        expected
    );
    assert_eq!(
        world.store.delete(CHANNEL, 100, 12, None).await.unwrap(),
        expected
    );
    let edit = world
        .store
        .edit(CHANNEL, 100, "back".into(), Mentions::default(), 99, 99)
        .await;
    assert_eq!(edit.unwrap(), expected);
    assert_eq!(world.store.get(CHANNEL, 100).await.unwrap(), Some(expected));
}

pub(crate) async fn what_is_not_there_cannot_be_changed<P: Place>() {
    let world = World::<P>::new().await;
    let edit = world
        .store
        .edit(CHANNEL, 100, "x".into(), Mentions::default(), 9, 9)
        .await;
    assert!(matches!(edit, Err(Error::NotFound("message"))), "{edit:?}");
    let delete = world.store.delete(CHANNEL, 100, 9, None).await;
    assert!(
        matches!(delete, Err(Error::NotFound("message"))),
        "{delete:?}"
    );
}

pub(crate) async fn the_highest_id_outlives_its_channel<P: Place>() {
    let mut world = World::<P>::new().await;
    assert_eq!(world.store.highest().await.unwrap(), 0);
    world.server(20, OWNER).await;
    world.write(100).await;
    world
        .store
        .insert(message(21, 200, OWNER, ""))
        .await
        .unwrap();
    world.store.delete(21, 200, 9, None).await.unwrap();
    assert_eq!(
        world.store.newest(&[21, CHANNEL, 999]).await.unwrap(),
        [200, 100, 0]
    );
    assert!(world.store.highest().await.unwrap() >= 200);
    world.store.delete_server(20, vec![], None).await.unwrap();
    assert!(world.store.highest().await.unwrap() >= 200);
    world.reopen().await;
    assert!(world.store.highest().await.unwrap() >= 200);
}

pub(crate) async fn an_author_is_erased_everywhere_step_by_step<P: Place>() {
    let world = World::<P>::new().await;
    world.server(20, OWNER).await;
    world.server(30, OWNER).await;
    let channels = [CHANNEL, 21, 31];
    let all = (1000..4000).map(|id| {
        let channel = channels[id as usize % 3];
        world.store.insert(message(channel, id, 2 + id / 3 % 2, ""))
    });
    for inserted in join_all(all).await {
        inserted.unwrap();
    }
    world.store.delete_server(30, vec![], None).await.unwrap();
    let erase = async || {
        let (mut erased, mut from) = (Vec::new(), Some((0, 0)));
        while let Some(after) = from {
            let step = world.store.erase_author(2, after).await.unwrap();
            assert!(step.next.is_none_or(|next| next > after), "it goes on");
            erased.extend(step.messages);
            from = step.next;
        }
        erased
    };
    let erased = erase().await;
    assert_eq!(erased.len(), 1_000);
    let mut revisions = HashSet::new();
    for row in erased {
        assert!(row.deleted && row.content.is_empty() && row.author_id == 2);
        assert!(row.revision > 0 && revisions.insert((row.channel_id, row.id)));
        let stored = world.store.get(row.channel_id, row.id).await.unwrap();
        assert_eq!(stored, Some(row));
    }
    for id in 1000..1006 {
        let stored = world
            .store
            .get(channels[id as usize % 3], id)
            .await
            .unwrap();
        let Some(stored) = stored else { continue };
        assert_eq!(stored.content.is_empty(), stored.author_id == 2);
    }
    assert!(erase().await.is_empty());
}

pub(crate) async fn a_nonce_is_remembered_for_a_day<P: Place>() {
    const DAY: i64 = 24 * 3600 * 1000;
    let world = World::<P>::new().await;
    let first = message(CHANNEL, 100 << 22, OWNER, NONCE);
    world.store.insert(first.clone()).await.unwrap();
    let made_at = crate::model::id_time_ms(first.id);
    world.store.trim(made_at + DAY - 1).await.unwrap();
    let again = message(CHANNEL, 200 << 22, OWNER, NONCE);
    let repeat = world.store.insert(again).await.unwrap();
    assert_eq!(repeat, Inserted::Repeat(first));
}

pub(crate) async fn repeats_beside_new_messages_are_told_apart<P: Place>() {
    let world = World::<P>::new().await;
    let first = message(CHANNEL, 100, OWNER, NONCE);
    let again = message(CHANNEL, 101, OWNER, NONCE);
    let other = message(CHANNEL, 102, OWNER, "");
    let gone = message(CHANNEL + 1, 103, OWNER, "");
    let all = [&first, &first, &again, &other, &gone].map(|m| world.store.insert(m.clone()));
    let mut outcomes = join_all(all).await;
    assert!(matches!(
        outcomes.pop(),
        Some(Err(Error::NotFound("channel")))
    ));
    let outcomes: Vec<Inserted> = outcomes.into_iter().map(Result::unwrap).collect();
    let repeat = || Inserted::Repeat(first.clone());
    assert_eq!(outcomes, [Inserted::New, repeat(), repeat(), Inserted::New]);
}

pub(crate) async fn acknowledged_messages_outlive_a_restart<P: Place>() {
    let mut world = World::<P>::new().await;
    let all = (100..1000).map(|id| world.store.insert(message(CHANNEL, id, OWNER, "")));
    for inserted in join_all(all).await {
        assert_eq!(inserted.unwrap(), Inserted::New);
    }
    world.reopen().await;
    for id in 100..1000 {
        assert!(
            world.store.get(CHANNEL, id).await.unwrap().is_some(),
            "{id}"
        );
    }
}
