//! Deleting many messages.

use super::moderation::Home;
use super::*;
use crate::model::AuditAction;
use crate::store::Anchor;

#[tokio::test]
async fn many_messages_are_deleted_by_their_ids() {
    let home = Home::new().await;
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(
            home.world
                .send(&home.member, home.general, text)
                .await
                .unwrap(),
        );
    }
    let bulk = |by: &Caller, channel_id, ids: Vec<Id>| {
        let delete = BulkDelete {
            server_id: home.server,
            channel_id,
            selection: Selection::Ids(ids),
            reason: "Spam".into(),
        };
        let (domain, by) = (home.domain().clone(), by.clone());
        async move { domain.bulk_delete(&by, delete).await }
    };
    let two = vec![ids[0], ids[2], 5];
    let refused = bulk(&home.member, home.general, two.clone()).await;
    assert_eq!(why(refused), Reason::PermissionDenied);
    let done = bulk(&home.moderator, home.general, two.clone()).await;
    assert_eq!(done, Ok((2, false)));
    assert_eq!(
        bulk(&home.moderator, home.general, two).await,
        Ok((0, false))
    );
    assert_eq!(home.deleted().await, 2);
    let log = home.log().await;
    assert_eq!(
        (log[0].action, log[0].count),
        (AuditAction::MessagesBulkDeleted, 2)
    );
    assert_eq!(
        (log[0].channel_id, log[0].reason.as_str()),
        (home.general, "Spam")
    );
    assert_eq!(log[1].action, AuditAction::MemberRoleChanged, "one entry");
    for (count, path) in [(0, "message_ids"), (101, "message_ids")] {
        let refused = bulk(&home.moderator, home.general, vec![7; count]).await;
        assert_eq!(refused.unwrap_err().fields[0].path, path);
    }
    let (other, elsewhere) = home.world.server(&home.moderator, &[]).await;
    assert_ne!(other, home.server);
    let refused = bulk(&home.moderator, elsewhere, vec![7]).await;
    assert_eq!(why(refused), Reason::NotFound, "another server's channel");
}

#[tokio::test]
async fn what_a_user_wrote_since_is_deleted_where_one_moderates() {
    let home = Home::new().await;
    let (world, member) = (&home.world, &home.member);
    let secret = world.private(&home.owner, home.server, &[member]).await;
    let before = world.send(member, home.general, "before").await.unwrap();
    world.clock.advance(Duration::from_secs(10));
    let since = home.domain().now();
    for channel in [home.general, home.general, secret] {
        world.send(member, channel, "spam").await.unwrap();
    }
    world.send(&home.owner, home.general, "mine").await.unwrap();
    let sweep = async |by: &Caller, since| {
        let delete = BulkDelete {
            server_id: home.server,
            channel_id: 0,
            selection: Selection::OfAuthor(member.user_id, since),
            reason: String::new(),
        };
        home.domain().bulk_delete(by, delete).await
    };
    assert_eq!(why(sweep(member, since).await), Reason::PermissionDenied);
    let old = sweep(&home.moderator, since - 15 * 86_400_000).await;
    assert_eq!(old.unwrap_err().fields[0].path, "since");
    // The moderator doesn't see the private channel.
    assert_eq!(sweep(&home.moderator, since).await, Ok((2, false)));
    assert_eq!(sweep(&home.owner, since).await, Ok((1, false)));
    let page = home
        .domain()
        .list_messages(member, home.general, Anchor::Newest, 0);
    let left: Vec<_> = page
        .await
        .unwrap()
        .0
        .messages
        .into_iter()
        .map(|m| m.id)
        .collect();
    assert_eq!(left[0], before);
    assert_eq!(left.len(), 2);
    let log = home.log().await;
    assert_eq!((log[1].user_id, log[1].count), (member.user_id, 2));
}

#[tokio::test]
async fn a_ban_deletes_what_the_user_wrote_lately() {
    let home = Home::new().await;
    let (world, member) = (&home.world, &home.member);
    world.send(member, home.general, "before").await.unwrap();
    world.clock.advance(Duration::from_secs(300));
    for _ in 0..3 {
        world.send(member, home.general, "spam").await.unwrap();
    }
    let (server, user) = (home.server, member.user_id);
    let ban = async |seconds| {
        let domain = home.domain();
        domain
            .ban_user(&home.moderator, server, user, "Spam".into(), seconds)
            .await
    };
    for wrong in [-1, 604_801] {
        let refused = ban(wrong).await.unwrap_err();
        assert_eq!(refused.fields[0].path, "delete_message_seconds");
    }
    ban(60).await.unwrap();
    let done = async {
        while home.deleted().await < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done)
        .await
        .expect("they are deleted");
    let log = home.log().await;
    assert_eq!(
        (log[0].action, log[0].count),
        (AuditAction::MessagesBulkDeleted, 3)
    );
    assert_eq!((log[0].user_id, log[0].reason.as_str()), (user, "Spam"));
    assert_eq!(log[1].action, AuditAction::UserBanned);
    // None is left: the one before stays, and the ban again changes nothing.
    ban(60).await.unwrap();
    let page = home
        .domain()
        .list_messages(&home.owner, home.general, Anchor::Newest, 0);
    assert_eq!(page.await.unwrap().0.messages.len(), 1);
}
