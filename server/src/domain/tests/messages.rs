use super::places::send_of;
use super::*;
use crate::bus::{Operation, OperationKind, Reserve, Ticket};
use crate::model::ChannelType;
use crate::store::Anchor;

/// What a store that knows nonces by itself goes by.
const TICKET: Ticket = Ticket {
    id: 0,
    epoch: 0,
    began: 0,
};

const NONCE: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

fn with_nonce(channel_id: Id, content: &str) -> SendMessage {
    let (content, nonce) = (content.into(), NONCE.into());
    SendMessage {
        channel_id,
        content,
        nonce,
        ..SendMessage::default()
    }
}

#[tokio::test]
async fn a_nonce_makes_a_repeat_the_original() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let domain = &world.domain;
    let first = domain
        .send_message(&owner, with_nonce(general, "one"))
        .await
        .unwrap();
    let again = domain
        .send_message(&owner, with_nonce(general, "one"))
        .await
        .unwrap();
    assert_eq!(again, first);
    let other = domain
        .send_message(&owner, with_nonce(general, "two"))
        .await;
    assert_eq!(why(other), Reason::NonceReused);
    // As after a restart, when only the store knows the nonce.
    domain
        .bus
        .reservations
        .release(&send_of(&first, TICKET))
        .await;
    let again = domain
        .send_message(&owner, with_nonce(general, "one"))
        .await
        .unwrap();
    assert_eq!(again, first);
    domain
        .bus
        .reservations
        .release(&send_of(&first, TICKET))
        .await;
    let other = domain
        .send_message(&owner, with_nonce(general, "two"))
        .await;
    assert_eq!(why(other), Reason::NonceReused);
    assert_eq!(
        world.told(TopicKey::channel(general)).await.len(),
        1,
        "told once"
    );
}

#[tokio::test]
async fn many_at_once_under_one_nonce_are_one() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let send = || {
        world
            .domain
            .send_message(&owner, with_nonce(general, "one"))
    };
    let sent = futures::future::join_all((0..20).map(|_| send())).await;
    let ids: std::collections::BTreeSet<_> = sent.into_iter().map(|m| m.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.told(TopicKey::channel(general)).await.len(), 1);
    let (page, _) = world
        .domain
        .list_messages(&owner, general, Anchor::Newest, 0)
        .await
        .unwrap();
    assert_eq!(page.messages.len(), 1);
}

/// As if its first insertion had failed, and nobody knew of that yet.
#[tokio::test]
async fn a_repeat_of_what_was_never_stored_takes_its_place_after_what_came_since() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let reserve = Reserve {
        channel: general,
        author: owner.user_id,
        nonce: NONCE.into(),
        content_hash: nonces::hash(&with_nonce(general, "lost")),
        above: 0,
        repeat: false,
        heard: 0,
        looked: None,
    };
    world
        .domain
        .bus
        .reservations
        .reserve(reserve)
        .await
        .unwrap();
    let since = world.send(&owner, general, "since").await.unwrap();
    let repeat = || {
        world
            .domain
            .send_message(&owner, with_nonce(general, "lost"))
    };
    let lost = repeat().await.unwrap();
    assert!(
        lost.id > since,
        "whoever paged up to {since} misses nothing"
    );
    assert_eq!(repeat().await.unwrap(), lost);
    let other = world
        .domain
        .send_message(&owner, with_nonce(general, "other"));
    assert_eq!(why(other.await), Reason::NonceReused);
    assert_eq!(world.told(TopicKey::channel(general)).await.len(), 2);
}

/// The store couldn't say what became of a change, and meanwhile somebody deleted the message.
#[tokio::test]
async fn a_change_of_unknown_outcome_ends_as_the_row_is() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let domain = &world.domain;
    let id = world.send(&owner, general, "one").await.unwrap();
    let message = domain.get_message(&owner, general, id).await.unwrap();
    let settle = async |kind| {
        let operation = Operation {
            kind,
            revision: domain.mint().unwrap(),
            ..send_of(&message, TICKET)
        };
        let unknown = store::Error::Unavailable("the disk is away".into());
        domain.settle(&operation, unknown).await
    };
    let edited = settle(OperationKind::Edit).await;
    assert_eq!(why(edited), Reason::StoreUnavailable);
    domain.delete_message(&owner, general, id).await.unwrap();
    for kind in [
        OperationKind::Create,
        OperationKind::Edit,
        OperationKind::Delete,
    ] {
        let row = settle(kind).await.unwrap();
        assert!(row.deleted && row.content.is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_named_with_its_size() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let error = world
        .send(&owner, general, &"x".repeat(4_001))
        .await
        .unwrap_err();
    assert_eq!(error.fields[0].path, "content");
    assert!(error.fields[0].problem.contains("4001"), "{error}");
    for send in [
        SendMessage {
            content: String::new(),
            ..with_nonce(general, "")
        },
        SendMessage {
            nonce: "short".into(),
            ..with_nonce(general, "x")
        },
        SendMessage {
            attempt: -1,
            ..with_nonce(general, "x")
        },
        SendMessage {
            metadata: [("k".into(), "v".repeat(5_000))].into(),
            ..with_nonce(general, "x")
        },
    ] {
        assert_eq!(
            why(world.domain.send_message(&owner, send).await),
            Reason::FieldInvalid
        );
    }
    assert_eq!(world.told(TopicKey::channel(general)).await.len(), 0);
}

#[tokio::test]
async fn a_reply_answers_a_message_of_its_channel() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (server, general) = world.server(&owner, &[]).await;
    let new = new_channel(server, ChannelType::Text, "other");
    let other = world.domain.create_channel(&owner, new).await.unwrap().id;
    let first = world.send(&owner, general, "one").await.unwrap();
    let reply = |channel| SendMessage {
        reply_to: first,
        ..with_nonce(channel, "two")
    };
    let refused = world.domain.send_message(&owner, reply(other)).await;
    assert_eq!(why(refused), Reason::ReplyNotFound);
    let answer = world
        .domain
        .send_message(&owner, reply(general))
        .await
        .unwrap();
    assert!(answer.id > first && answer.reply_to == first);
}

#[tokio::test]
async fn edits_and_deletes_are_the_authors_and_deleted_is_final() {
    let world = World::new().await;
    let (owner, anna, mo) = (
        world.user("owner").await,
        world.user("anna").await,
        world.user("mo").await,
    );
    let (server, general) = world.server(&owner, &[&anna, &mo]).await;
    let domain = &world.domain;
    let id = world.send(&anna, general, "one").await.unwrap();
    let edited = domain
        .edit_message(&anna, general, id, "two".into())
        .await
        .unwrap();
    assert!(edited.revision > id && edited.content == "two");
    let again = domain
        .edit_message(&anna, general, id, "three".into())
        .await
        .unwrap();
    assert!(again.revision > edited.revision);
    let others = domain
        .edit_message(&owner, general, id, "mine".into())
        .await;
    assert_eq!(why(others), Reason::PermissionDenied);
    assert_eq!(
        why(domain.delete_message(&mo, general, id).await),
        Reason::PermissionDenied
    );
    world.role(&owner, server, &mo, Role::Moderator).await;
    domain.delete_message(&mo, general, id).await.unwrap();
    domain.delete_message(&mo, general, id).await.unwrap();
    assert_eq!(
        why(domain.get_message(&anna, general, id).await),
        Reason::NotFound
    );
    let late = domain.edit_message(&anna, general, id, "late".into()).await;
    assert_eq!(why(late), Reason::NotFound);
    let (page, settled) = domain
        .list_messages(&anna, general, Anchor::Newest, 100)
        .await
        .unwrap();
    assert_eq!(settled, id, "a deleted one counts");
    assert_eq!((page.messages.len(), page.deleted_ids), (0, vec![id]));
    assert_eq!(
        world.told(TopicKey::channel(general)).await.len(),
        4,
        "made, 2 edits, deleted"
    );
    for limit in [-1, 101] {
        let page = domain
            .list_messages(&anna, general, Anchor::Newest, limit)
            .await;
        assert_eq!(why(page), Reason::FieldInvalid);
    }
}

#[tokio::test]
async fn a_page_says_how_far_it_is_final() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (_, general) = world.server(&owner, &[]).await;
    let settled = |anchor| {
        let domain = world.domain.clone();
        let owner = owner.clone();
        async move {
            domain
                .list_messages(&owner, general, anchor, 2)
                .await
                .unwrap()
                .1
        }
    };
    assert_eq!(settled(Anchor::Newest).await, 0);
    let mut ids = Vec::new();
    for content in ["a", "b", "c"] {
        ids.push(world.send(&owner, general, content).await.unwrap());
    }
    assert_eq!(settled(Anchor::Newest).await, ids[2]);
    assert_eq!(settled(Anchor::After(0)).await, ids[1], "there is more");
    assert_eq!(settled(Anchor::After(ids[1])).await, ids[2]);
    assert_eq!(settled(Anchor::After(ids[2])).await, ids[2]);
    for anchor in [Anchor::Before(ids[2]), Anchor::Around(ids[1])] {
        assert_eq!(settled(anchor).await, 0);
    }
}

#[tokio::test]
async fn who_is_mentioned_and_may_see_it_is_told() {
    let world = World::new().await;
    let (owner, anna, stranger) = (
        world.user("owner").await,
        world.user("anna").await,
        world.user("stranger").await,
    );
    let (_, general) = world.server(&owner, &[&anna]).await;
    let content = format!(
        "<@{}> <@{}> <@{}>",
        anna.user_id, stranger.user_id, owner.user_id
    );
    let message_id = world.send(&owner, general, &content).await.unwrap();
    let mentioned = v1::event::Event::Mentioned(v1::Mentioned {
        channel_id: general,
        message_id,
    });
    // All that is under way is over.
    let all = world.domain.mentions.acquire_many(MENTIONS_MAX as u32);
    drop(all.await.unwrap());
    assert_eq!(world.told_user(&anna).await.last(), Some(&mentioned));
    assert!(!world.told_user(&stranger).await.contains(&mentioned));
    assert!(
        !world.told_user(&owner).await.contains(&mentioned),
        "not of oneself"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_mentions_others_does_not_wait_until_they_are_told() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    let (answered, answer) = std::sync::mpsc::channel();
    let (tell, told) = std::sync::mpsc::channel();
    *world.probe.look.lock().unwrap() = Some(Box::new(move || {
        // The mention is stored, and who stored it not answered yet.
        let sent = tokio::task::block_in_place(|| answer.recv_timeout(PATIENCE));
        tell.send(sent.is_ok()).unwrap();
    }));
    let content = format!("<@{}>", anna.user_id);
    world.send(&owner, general, &content).await.unwrap();
    answered.send(()).unwrap();
    let before = tokio::task::block_in_place(|| told.recv().unwrap());
    assert!(before, "the sender was answered before");
}

#[tokio::test]
async fn an_erased_users_messages_are_gone_and_told_whoever_waits() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (_, general) = world.server(&owner, &[&anna]).await;
    for n in 0..3 {
        world.send(&anna, general, &n.to_string()).await.unwrap();
        world.send(&owner, general, &n.to_string()).await.unwrap();
    }
    let domain = &world.domain;
    let key = domain.create_key("operator", true, None).await.unwrap();
    let admin = domain.authenticate(&key.token).await.unwrap();
    {
        let mut erasing = std::pin::pin!(domain.erase_user(&admin, anna.user_id));
        // Given up as soon as the account is gone.
        while futures::poll!(&mut erasing).is_pending() {
            let account = domain.store.account(anna.user_id).await.unwrap();
            if account.is_none_or(|account| account.user.deleted) {
                break;
            }
        }
    }
    let deleted = |event: &v1::event::Event| matches!(event, v1::event::Event::MessageDeleted(_));
    let all_told = async {
        let told = async || world.told(TopicKey::channel(general)).await;
        while told().await.iter().filter(|event| deleted(event)).count() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_told).await.unwrap();
    let (page, _) = domain
        .list_messages(&owner, general, Anchor::Newest, 0)
        .await
        .unwrap();
    assert_eq!((page.messages.len(), page.deleted_ids.len()), (3, 3));
    let again = domain.erase_user(&admin, anna.user_id).await.unwrap();
    assert_eq!(again, 0);
}
