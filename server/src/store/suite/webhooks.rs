//! Sentences about webhooks and what waits for them.

use super::*;
use crate::model::{Mentions, QueuedEvent, Webhook, WebhookEvent};
use crate::store::{Error, Settlement};
use std::time::Duration;

const ALL: u32 = 63;
const HOOK: Id = 100;
/// A channel of the server beside its first.
const OTHER: Id = 12;
const DIRECT: Id = 13;
const DEAD_MAX: u32 = 3;

fn webhook(id: Id, server_id: Id, events: u32) -> Webhook {
    Webhook {
        id,
        server_id,
        creator_id: OWNER,
        url: format!("https://example.com/{id}"),
        events,
        enabled: true,
        disabled_reason: String::new(),
        key: vec![7; 32],
        previous_key: vec![],
        rotated_at: 0,
        created_at: SNOWFLAKE_EPOCH_MS,
        queued: 0,
        dropped: 0,
    }
}

async fn world<P: Place>() -> World<P> {
    let world = World::<P>::new().await;
    for channel in [
        channel(OTHER, SERVER, ChannelType::Text),
        direct(DIRECT, &[1, 2]),
    ] {
        let made = world
            .store
            .create_channel(channel, OWNER, None, 99, vec![], None);
        made.await.unwrap();
    }
    world
}

async fn hook<P>(world: &World<P>, webhook: Webhook) {
    let made = world.store.create_webhook(webhook, None, 99).await;
    made.unwrap();
}

async fn say<P>(world: &World<P>, channel: Id, id: Id) {
    let message = message(channel, id, OWNER, "");
    world.store.insert(message).await.unwrap();
}

async fn due<P>(world: &World<P>, webhook: Id) -> Vec<QueuedEvent> {
    let now = world.clock.wall_ms();
    world.store.due_events(webhook, now, 99).await.unwrap()
}

async fn settle<P>(world: &World<P>, event: &QueuedEvent, settlement: Settlement) {
    let settled = vec![(event.clone(), settlement)];
    world.store.settle(settled, DEAD_MAX).await.unwrap();
}

async fn queued<P>(world: &World<P>, webhook: Id) -> i64 {
    world.store.webhook(webhook).await.unwrap().unwrap().queued
}

/// Takes all that waits, in its order: what, where, about whom.
async fn take_all<P>(world: &World<P>, webhook: Id) -> Vec<(WebhookEvent, Id, Id)> {
    let mut taken = Vec::new();
    loop {
        let first = due(world, webhook).await;
        if first.is_empty() {
            break;
        }
        for event in first {
            taken.push((event.id, (event.event, event.lane, event.subject_id)));
            settle(world, &event, Settlement::Done).await;
        }
    }
    assert_eq!(queued(world, webhook).await, 0);
    taken.sort_unstable_by_key(|(id, _)| *id);
    taken.into_iter().map(|(_, event)| event).collect()
}

pub(crate) async fn a_webhook_is_read_as_it_was_written<P: Place>() {
    let mut world = world::<P>().await;
    let made = webhook(HOOK, SERVER, ALL);
    let request = Some((OWNER, "r".to_owned()));
    let create = |id, server, request| {
        let webhook = webhook(id, server, ALL);
        world.store.create_webhook(webhook, request, 2)
    };
    assert_eq!(create(HOOK, SERVER, request.clone()).await.unwrap(), made);
    assert_eq!(create(101, SERVER, request).await.unwrap(), made);
    create(102, SERVER, None).await.unwrap();
    let full = create(103, SERVER, None).await;
    assert!(matches!(full, Err(Error::LimitReached("webhooks", 2))));
    create(104, 0, None).await.unwrap();
    let nowhere = create(105, 99, None).await;
    assert!(matches!(nowhere, Err(Error::NotFound("server"))));

    let changed = Webhook {
        url: "https://example.com/other".into(),
        events: 1,
        enabled: false,
        disabled_reason: "gone".into(),
        key: vec![8; 32],
        previous_key: vec![7; 32],
        rotated_at: 5,
        ..made
    };
    world.store.update_webhook(changed.clone()).await.unwrap();
    world.reopen().await;
    assert_eq!(world.store.webhook(HOOK).await.unwrap(), Some(changed));
    let ids = async |server, after, limit| {
        let webhooks = world.store.webhooks(server, after, limit).await.unwrap();
        webhooks
            .iter()
            .map(|webhook| webhook.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(SERVER, 0, 9).await, [HOOK, 102]);
    assert_eq!(ids(SERVER, HOOK, 9).await, [102]);
    assert_eq!(ids(SERVER, 0, 1).await, [HOOK]);
    assert_eq!(ids(0, 0, 9).await, [104]);
    assert!(world.store.delete_webhook(HOOK).await.unwrap());
    assert!(!world.store.delete_webhook(HOOK).await.unwrap());
    let gone = world.store.update_webhook(webhook(HOOK, SERVER, ALL)).await;
    assert!(matches!(gone, Err(Error::NotFound("webhook"))));
}

pub(crate) async fn what_is_asked_for_is_queued_and_nothing_else<P: Place>() {
    use WebhookEvent::*;
    let world = world::<P>().await;
    world.server(20, OWNER).await;
    hook(&world, webhook(HOOK, SERVER, ALL)).await;
    hook(&world, webhook(101, 0, ALL)).await;
    hook(&world, webhook(102, SERVER, MemberLeft.bit())).await;
    let off = Webhook {
        enabled: false,
        ..webhook(103, 0, ALL)
    };
    hook(&world, off).await;

    world.join(SERVER, 2).await;
    say(&world, CHANNEL, 1000).await;
    let mentioning = Message {
        mentions: vec![2],
        nonce: "n".into(),
        ..message(OTHER, 1001, OWNER, "n")
    };
    world.store.insert(mentioning.clone()).await.unwrap();
    let repeat = Message {
        id: 1002,
        ..mentioning
    };
    world.store.insert(repeat).await.unwrap();
    say(&world, DIRECT, 1003).await;
    say(&world, 21, 1004).await;
    let edit = |revision| {
        world
            .store
            .edit(CHANNEL, 1000, "x".into(), Mentions::default(), revision, 5)
    };
    edit(2000).await.unwrap();
    edit(1999).await.unwrap();
    for _ in 0..2 {
        world.store.delete(CHANNEL, 1000, 2001, None).await.unwrap();
        world.store.delete(DIRECT, 1003, 2001, None).await.unwrap();
        world
            .store
            .remove_member(SERVER, 2, vec![], None)
            .await
            .unwrap();
    }
    world.store.erase_author(OWNER, (0, 0)).await.unwrap();

    let of_server = [
        (MemberJoined, SERVER, 2),
        (MessageCreated, CHANNEL, 1000),
        (MessageCreated, OTHER, 1001),
        (RecipientOffline, OTHER, 1001),
        (MessageUpdated, CHANNEL, 1000),
        (MessageDeleted, CHANNEL, 1000),
        (MemberLeft, SERVER, 2),
        (MessageDeleted, OTHER, 1001),
    ];
    assert_eq!(take_all(&world, HOOK).await, of_server);
    let mut of_all = of_server.to_vec();
    of_all.insert(4, (RecipientOffline, DIRECT, 1003));
    of_all.insert(5, (MessageCreated, 21, 1004));
    of_all.push((MessageDeleted, 21, 1004));
    assert_eq!(take_all(&world, 101).await, of_all);
    assert_eq!(take_all(&world, 102).await, [(MemberLeft, SERVER, 2)]);
    assert!(take_all(&world, 103).await.is_empty());
}

pub(crate) async fn who_bans_or_goes_is_told_too<P: Place>() {
    use WebhookEvent::*;
    let world = world::<P>().await;
    hook(&world, webhook(HOOK, 0, ALL)).await;
    world.server(20, OWNER).await;
    world.join(20, 2).await;
    world.join(20, 3).await;
    let ban = crate::model::Ban {
        server_id: 20,
        user_id: 2,
        banned_by: OWNER,
        reason: String::new(),
        created_at: 1,
    };
    world.store.ban(ban, vec![], None).await.unwrap();
    world.store.delete_account(3, vec![]).await.unwrap();
    let expected = [
        (MemberJoined, 20, OWNER),
        (MemberJoined, 20, 2),
        (MemberJoined, 20, 3),
        (MemberLeft, 20, 2),
        (MemberLeft, 20, 3),
    ];
    assert_eq!(take_all(&world, HOOK).await, expected);
}

pub(crate) async fn of_a_lane_the_next_waits_for_the_first<P: Place>() {
    let mut world = world::<P>().await;
    hook(&world, webhook(HOOK, SERVER, ALL)).await;
    for (channel, id) in [(CHANNEL, 1000), (CHANNEL, 1001), (OTHER, 1002)] {
        say(&world, channel, id).await;
    }
    let heads = |due: &[QueuedEvent]| -> Vec<(Id, u32)> {
        let mut heads: Vec<_> = due.iter().map(|e| (e.subject_id, e.attempts)).collect();
        heads.sort_unstable();
        heads
    };
    let first = due(&world, HOOK).await;
    assert_eq!(heads(&first), [(1000, 0), (1002, 0)]);
    let now = world.clock.wall_ms();
    let head = first.iter().find(|event| event.lane == CHANNEL).unwrap();
    let retry = Settlement::Retry {
        due: now + 5_000,
        error: "HTTP 500".into(),
    };
    settle(&world, head, retry.clone()).await;
    assert_eq!(heads(&due(&world, HOOK).await), [(1002, 0)]);
    world.reopen().await;
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(heads(&due(&world, HOOK).await), [(1000, 1), (1002, 0)]);
    settle(&world, head, Settlement::Done).await;
    // Too late: it isn't queued any more.
    settle(&world, head, retry).await;
    settle(&world, head, Settlement::Done).await;
    assert_eq!(heads(&due(&world, HOOK).await), [(1001, 0), (1002, 0)]);
    assert_eq!(queued(&world, HOOK).await, 2);
    let waiting = world.store.waiting_webhooks(0, 9).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert!(
        world
            .store
            .waiting_webhooks(HOOK, 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(world.store.backlog().await.unwrap(), (2, now));
}

pub(crate) async fn what_nobody_takes_is_kept_and_queued_anew<P: Place>() {
    let world = world::<P>().await;
    hook(&world, webhook(HOOK, SERVER, ALL)).await;
    for id in 1000..1005 {
        say(&world, CHANNEL, id).await;
        let first = due(&world, HOOK).await.remove(0);
        let dead = Settlement::Dead {
            died_at: 9,
            error: "é".repeat(300),
        };
        settle(&world, &first, dead).await;
    }
    let letters = async |after| {
        let letters = world.store.dead_letters(HOOK, after, 9).await.unwrap();
        letters
            .iter()
            .map(|letter| letter.event.subject_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(letters(0).await, [1002, 1003, 1004]);
    let first = world
        .store
        .dead_letters(HOOK, 0, 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!((first.died_at, first.error.chars().count()), (9, 200));
    assert_eq!(letters(first.event.id).await, [1003, 1004]);
    let now = world.store.webhook(HOOK).await.unwrap().unwrap();
    assert_eq!((now.queued, now.dropped), (0, 2));

    say(&world, CHANNEL, 1005).await;
    let requeue = async |letter| world.store.requeue(HOOK, letter, 7).await.unwrap();
    assert_eq!(requeue(first.event.id).await, 1);
    assert_eq!(requeue(first.event.id).await, 0);
    let next = due(&world, HOOK).await.remove(0);
    assert_eq!(
        (next.id, next.subject_id, next.created_at),
        (first.event.id, 1002, 7)
    );
    assert_eq!(requeue(0).await, 2);
    let taken = take_all(&world, HOOK).await;
    let taken: Vec<Id> = taken.into_iter().map(|(_, _, id)| id).collect();
    assert_eq!(taken, [1002, 1003, 1004, 1005]);
    assert_eq!(world.store.requeue(99, 0, 7).await.unwrap(), 0);
}

pub(crate) async fn what_waits_too_long_and_what_is_too_much_dies<P: Place>() {
    let world = world::<P>().await;
    hook(&world, webhook(HOOK, SERVER, ALL)).await;
    say(&world, CHANNEL, 1000).await;
    world.clock.advance(Duration::from_secs(10));
    for id in 1001..1005 {
        say(&world, OTHER, id).await;
    }
    let start = world.clock.wall_ms();
    let expire = async |before, max| {
        let expired = world.store.expire_events(HOOK, before, max, start, 99);
        expired.await.unwrap()
    };
    assert_eq!(expire(start - 10_000, 5).await, 0);
    assert_eq!(expire(start - 5_000, 5).await, 1);
    assert_eq!(expire(start - 5_000, 4).await, 0);
    assert_eq!(expire(start - 5_000, 2).await, 2);
    let letters = world.store.dead_letters(HOOK, 0, 9).await.unwrap();
    let why: Vec<_> = letters
        .iter()
        .map(|letter| (letter.event.subject_id, letter.error.as_str()))
        .collect();
    let expected = [
        (1000, "it waited too long"),
        (1001, "too many waited"),
        (1002, "too many waited"),
    ];
    assert_eq!(why, expected);
    assert_eq!(queued(&world, HOOK).await, 2);
}

pub(crate) async fn a_webhook_goes_with_its_server<P: Place>() {
    let world = world::<P>().await;
    hook(&world, webhook(HOOK, SERVER, ALL)).await;
    say(&world, CHANNEL, 1000).await;
    let notice = world.store.queued();
    notice.notified().await;
    world
        .store
        .delete_server(SERVER, vec![], None)
        .await
        .unwrap();
    assert_eq!(world.store.webhook(HOOK).await.unwrap(), None);
    assert!(world.store.waiting_webhooks(0, 9).await.unwrap().is_empty());
    // What waited is removed in the background.
    for _ in 0..1_000 {
        if due(&world, HOOK).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what waited is still there");
}
