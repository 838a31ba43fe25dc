//! Reports.

use super::moderation::{DAY, Home};
use super::*;
use crate::model::{AuditAction, ReportState};

#[tokio::test]
async fn reports_reach_the_moderators_who_see_the_channel() {
    let home = Home::new().await;
    let (domain, world) = (home.domain(), &home.world);
    let secret = world
        .private(&home.owner, home.server, &[&home.member])
        .await;
    let open = home.send_with(&home.owner, "").await.unwrap().id;
    let hidden = world.send(&home.owner, secret, "hidden").await.unwrap();
    let first = domain.report_message(&home.member, home.report(home.general, open));
    let first = first.await.unwrap();
    let again = domain.report_message(&home.member, home.report(home.general, open));
    assert_eq!(again.await.unwrap(), first);
    let second = domain.report_message(&home.member, home.report(secret, hidden));
    let second = second.await.unwrap();
    let list = async |caller: &Caller, size| {
        let listed = domain.list_reports(caller, home.server, None, Id::MAX, size);
        listed.await.map(|page| (page.items, page.more))
    };
    assert_eq!(why(list(&home.member, 0).await), Reason::PermissionDenied);
    let all = vec![second.clone(), first.clone()];
    assert_eq!(list(&home.owner, 0).await, Ok((all, false)));
    assert_eq!(list(&home.owner, 1).await, Ok((vec![second.clone()], true)));
    assert_eq!(
        list(&home.moderator, 1).await,
        Ok((vec![first.clone()], false))
    );
    let resolve = async |caller: &Caller, id, state| {
        domain
            .resolve_report(caller, home.server, id, state, "Done".into())
            .await
    };
    let unseen = resolve(&home.moderator, second.id, ReportState::Resolved).await;
    assert_eq!(why(unseen), Reason::NotFound);
    let open_again = resolve(&home.moderator, first.id, ReportState::Open).await;
    assert_eq!(open_again.unwrap_err().fields[0].path, "state");
    let closed = resolve(&home.moderator, first.id, ReportState::Resolved)
        .await
        .unwrap();
    assert_eq!(closed.state, ReportState::Resolved);
    assert_eq!(closed.resolved_by, home.moderator.user_id);
    let still = resolve(&home.owner, first.id, ReportState::Dismissed).await;
    assert_eq!(still.unwrap(), closed);
    let log = home.log().await;
    assert_eq!(
        (log[0].action, log[0].target_id),
        (AuditAction::ReportResolved, first.id)
    );
    assert_eq!(
        (log[0].user_id, log[0].reason.as_str()),
        (home.owner.user_id, "Done")
    );
    // Those of a channel that is gone are shown to all.
    domain.delete_channel(&home.owner, secret).await.unwrap();
    assert_eq!(list(&home.moderator, 0).await.unwrap().0.len(), 2);
}

#[tokio::test]
async fn only_what_one_sees_is_reported() {
    let home = Home::new().await;
    let (domain, world) = (home.domain(), &home.world);
    let report = async |caller: &Caller, new: NewReport| domain.report_message(caller, new).await;
    let message = home.send_with(&home.owner, "").await.unwrap().id;
    for length in [0, 1_025] {
        let new = NewReport {
            reason: "x".repeat(length),
            ..home.report(home.general, message)
        };
        let refused = report(&home.member, new).await.unwrap_err();
        assert_eq!(refused.fields[0].path, "reason");
    }
    let absent = report(&home.member, home.report(home.general, 5)).await;
    assert_eq!(why(absent), Reason::NotFound);
    let secret = world.private(&home.owner, home.server, &[]).await;
    let hidden = world.send(&home.owner, secret, "hidden").await.unwrap();
    let unseen = report(&home.member, home.report(secret, hidden)).await;
    assert_eq!(why(unseen), Reason::NotFound);
    let direct = world.direct(&home.owner, &home.member).await.unwrap();
    let rude = world.send(&home.owner, direct, "rude").await.unwrap();
    let refused = report(&home.member, home.report(direct, rude)).await;
    assert_eq!(why(refused), Reason::WrongChannelType);
    let (_, other) = world.server(&home.member, &[]).await;
    let own = world.send(&home.member, other, "own").await.unwrap();
    let elsewhere = report(&home.member, home.report(other, own)).await;
    assert_eq!(why(elsewhere), Reason::NotFound, "of another server");
    // Who is timed out may still call for help.
    home.time_out(&home.moderator, &home.member, DAY)
        .await
        .unwrap();
    report(&home.member, home.report(home.general, message))
        .await
        .unwrap();
}

#[tokio::test]
async fn open_reports_are_bounded() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.open_reports_per_user = 2;
        config.limits.open_reports_per_server = 3;
    });
    let world = world.await;
    let (owner, anna, ben) = (
        world.user("owner").await,
        world.user("anna").await,
        world.user("ben").await,
    );
    let (server_id, channel_id) = world.server(&owner, &[&anna, &ben]).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(world.send(&owner, channel_id, "rude").await.unwrap());
    }
    let report = async |caller: &Caller, message: usize| {
        let new = NewReport {
            server_id,
            channel_id,
            message_id: messages[message],
            reason: "Rude".into(),
        };
        world.domain.report_message(caller, new).await
    };
    report(&anna, 0).await.unwrap();
    report(&anna, 1).await.unwrap();
    let own = report(&anna, 2).await.unwrap_err();
    assert_eq!(own.metadata, Some(("limit", "2".into())));
    report(&ben, 0).await.unwrap();
    let full = report(&ben, 1).await.unwrap_err();
    assert_eq!(full.reason, Reason::LimitReached);
    assert_eq!(full.metadata, Some(("limit", "3".into())));
}
