//! Sentences about audit logs, time-outs, slow mode, deleting many messages, reports.

use super::*;
use crate::model::{AuditAction, AuditChange, AuditEntry, Ban, Invite, Report, ReportState};
use crate::store::{AuditFilter, Error, ReportBounds};

const ANY: AuditFilter = AuditFilter {
    actor: None,
    action: None,
};
const BOUNDS: ReportBounds = ReportBounds {
    server: 9,
    reporter: 9,
};

fn entry(id: Id, action: AuditAction) -> AuditEntry {
    AuditEntry {
        id,
        server_id: SERVER,
        actor_id: OWNER,
        action,
        target_id: 2,
        channel_id: CHANNEL,
        user_id: 3,
        count: 0,
        reason: "Because \"ü\"".into(),
        changes: vec![AuditChange {
            field: "name".into(),
            before: "old".into(),
            after: String::new(),
        }],
        created_at: SNOWFLAKE_EPOCH_MS + id,
    }
}

fn some(id: Id) -> Option<AuditEntry> {
    Some(entry(id, AuditAction::ServerUpdated))
}

async fn logged<P>(world: &World<P>) -> Vec<Id> {
    let log = world.store.audit_log(SERVER, ANY, Id::MAX, 999).await;
    log.unwrap().iter().map(|entry| entry.id).collect()
}

fn invite(code: &str) -> Invite {
    Invite {
        code: code.into(),
        server_id: SERVER,
        creator_id: OWNER,
        max_uses: 0,
        uses: 0,
        expires_at: 0,
    }
}

fn ban(user_id: Id) -> Ban {
    Ban {
        server_id: SERVER,
        user_id,
        banned_by: OWNER,
        reason: String::new(),
        created_at: 5,
    }
}

fn report(id: Id, reporter_id: Id, message_id: Id) -> Report {
    Report {
        id,
        server_id: SERVER,
        channel_id: CHANNEL,
        message_id,
        author_id: 3,
        reporter_id,
        reason: "Spam".into(),
        state: ReportState::Open,
        created_at: 5,
        resolved_by: 0,
        resolved_at: 0,
        note: String::new(),
    }
}

pub(crate) async fn a_change_of_a_server_brings_its_entry<P: Place>() {
    let world = World::<P>::new().await;
    let store = &world.store;
    for user in [2, 3] {
        world.join(SERVER, user).await;
    }
    let update = store.update_server(server(SERVER, OWNER), vec![], some(101));
    update.await.unwrap();
    let role = store.set_role(SERVER, 2, Role::Admin, vec![], some(102));
    role.await.unwrap();
    let removed = store.remove_member(SERVER, 2, vec![], some(103));
    assert!(removed.await.unwrap());
    store.ban(ban(3), vec![], some(104)).await.unwrap();
    assert!(store.unban(SERVER, 3, some(105)).await.unwrap());
    let made = store.create_invite(invite("code"), None, some(106));
    made.await.unwrap();
    let revoked = store.revoke_invite(SERVER, "code", some(107));
    assert!(revoked.await.unwrap());
    let all = [107, 106, 105, 104, 103, 102, 101];
    assert_eq!(logged(&world).await, all);
    // What is refused, or changes nothing, leaves none.
    let gone = store.update_server(server(99, OWNER), vec![], some(201));
    assert!(gone.await.is_err());
    let owner = store.set_role(SERVER, OWNER, Role::Member, vec![], some(202));
    assert!(owner.await.is_err());
    let removed = store.remove_member(SERVER, 2, vec![], some(203));
    assert!(!removed.await.unwrap());
    store.ban(ban(2), vec![], None).await.unwrap();
    store.ban(ban(2), vec![], some(204)).await.unwrap();
    assert!(!store.unban(SERVER, 3, some(205)).await.unwrap());
    let revoked = store.revoke_invite(SERVER, "code", some(206));
    assert!(!revoked.await.unwrap());
    let request = Some((OWNER, "again".to_owned()));
    for audit in [None, some(207)] {
        let made = store.create_invite(invite("more"), request.clone(), audit);
        made.await.unwrap();
    }
    assert_eq!(logged(&world).await, all);
    // The log outlives the server.
    let deleted = store.delete_server(SERVER, vec![], some(108));
    deleted.await.unwrap();
    let deleted = store.delete_server(SERVER, vec![], some(208));
    assert!(deleted.await.is_err());
    assert_eq!(logged(&world).await[..2], [108, 107]);
}

pub(crate) async fn a_change_of_a_channel_brings_its_entry<P: Place>() {
    let world = World::<P>::new().await;
    let store = &world.store;
    world.join(SERVER, 2).await;
    let made = channel(50, SERVER, ChannelType::Private);
    let request = Some((OWNER, "again".to_owned()));
    for audit in [some(101), some(201)] {
        let make = store.create_channel(made.clone(), OWNER, request.clone(), 9, vec![], audit);
        make.await.unwrap();
    }
    let update = store.update_channel(made.clone(), vec![], some(102));
    update.await.unwrap();
    for (audit, new) in [(some(103), true), (some(203), false)] {
        let added = store.add_channel_member(50, 2, 9, vec![], audit).await;
        assert_eq!(added.unwrap(), new);
    }
    for (audit, was) in [(some(104), true), (some(204), false)] {
        let removed = store.remove_channel_member(50, 2, vec![], audit).await;
        assert_eq!(removed.unwrap(), was);
    }
    for (audit, there) in [(some(105), true), (some(205), false)] {
        let deleted = store.delete_channel(50, vec![], audit).await;
        assert_eq!(deleted.is_ok(), there);
    }
    let gone = store.update_channel(made, vec![], some(206));
    assert!(gone.await.is_err());
    world.write(300).await;
    for audit in [some(106), some(207)] {
        store.delete(CHANNEL, 300, 7, audit).await.unwrap();
    }
    assert!(store.delete(CHANNEL, 301, 7, some(208)).await.is_err());
    assert_eq!(logged(&world).await, [106, 105, 104, 103, 102, 101]);
}

pub(crate) async fn a_log_is_listed_newest_first_by_actor_and_action<P: Place>() {
    let mut world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    let banned = entry(103, AuditAction::UserBanned);
    for (id, audit) in [
        (4, entry(101, AuditAction::ServerUpdated)),
        (
            5,
            AuditEntry {
                actor_id: 2,
                ..entry(102, AuditAction::UserBanned)
            },
        ),
        (6, banned.clone()),
    ] {
        world.store.ban(ban(id), vec![], Some(audit)).await.unwrap();
    }
    world.reopen().await;
    let log = world.store.audit_log(SERVER, ANY, Id::MAX, 1).await;
    assert_eq!(log.unwrap(), [banned], "as it was written");
    let list = async |actor, action, before, limit| {
        let filter = AuditFilter { actor, action };
        let log = world.store.audit_log(SERVER, filter, before, limit).await;
        let ids = log.unwrap().into_iter().map(|entry| entry.id);
        ids.collect::<Vec<_>>()
    };
    let bans = Some(AuditAction::UserBanned);
    assert_eq!(list(None, None, 103, 9).await, [102, 101]);
    assert_eq!(list(None, None, Id::MAX, 2).await, [103, 102]);
    assert_eq!(list(Some(OWNER), None, Id::MAX, 9).await, [103, 101]);
    assert_eq!(list(None, bans, Id::MAX, 9).await, [103, 102]);
    assert_eq!(list(Some(OWNER), bans, Id::MAX, 9).await, [103]);
    assert!(list(Some(OWNER), bans, 103, 9).await.is_empty());
    let other = world.store.audit_log(20, ANY, Id::MAX, 9).await;
    assert_eq!(other.unwrap(), []);
}

pub(crate) async fn what_moderators_left_is_trimmed<P: Place>() {
    let world = World::<P>::new().await;
    let store = &world.store;
    world.join(SERVER, 2).await;
    for id in [101, 102] {
        store.ban(ban(id), vec![], some(id)).await.unwrap();
    }
    for (id, message) in [(201, 1), (202, 2), (203, 3)] {
        let made = store.create_report(report(id, 2, message), BOUNDS).await;
        made.unwrap();
    }
    for (id, resolved_at) in [(201, 101), (202, 102)] {
        let closed = Report {
            state: ReportState::Dismissed,
            resolved_by: OWNER,
            resolved_at: SNOWFLAKE_EPOCH_MS + resolved_at,
            ..report(id, 2, 0)
        };
        let audit = entry(id, AuditAction::ReportResolved);
        store.resolve_report(closed, audit).await.unwrap();
    }
    store.time_out(SERVER, 2, 50, vec![], None).await.unwrap();
    let kept_from = SNOWFLAKE_EPOCH_MS + 102;
    store.trim_moderation(49, kept_from).await.unwrap();
    assert_eq!(logged(&world).await, [202, 201, 102]);
    let left = store.reports(SERVER, None, Id::MAX, 9).await.unwrap();
    let left: Vec<_> = left.iter().map(|report| report.id).collect();
    assert_eq!(left, [203, 202], "an open one stays");
    assert_eq!(store.time_outs_of(2).await.unwrap(), [(SERVER, 50)]);
    store.trim_moderation(50, kept_from).await.unwrap();
    assert_eq!(store.time_outs_of(2).await.unwrap(), []);
}

pub(crate) async fn a_time_out_outlives_the_membership<P: Place>() {
    let mut world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    let topic = TopicKey::server(SERVER);
    let set = async |world: &World<P>, user, until, id| {
        let events = vec![event(topic, id)];
        world
            .store
            .time_out(SERVER, user, until, events, some(id))
            .await
    };
    assert_eq!(set(&world, 2, 70, 101).await.unwrap().timed_out_until, 70);
    set(&world, 2, 70, 201).await.unwrap();
    assert_eq!(logged(&world).await, [101], "the same end is no change");
    assert_eq!(world.relay.events().len(), 1);
    let owner = set(&world, OWNER, 70, 202).await;
    assert!(matches!(owner, Err(Error::Conflict("owner"))), "{owner:?}");
    let stranger = set(&world, 3, 70, 203).await;
    assert!(
        matches!(stranger, Err(Error::NotFound("member"))),
        "{stranger:?}"
    );
    world.reopen().await;
    let member = world.store.member(SERVER, 2).await.unwrap().unwrap();
    assert_eq!(member.timed_out_until, 70);
    let members = world.store.members(SERVER, 0, 9).await.unwrap();
    let ends: Vec<_> = members.iter().map(|(m, _)| m.timed_out_until).collect();
    assert_eq!(ends, [0, 70]);
    let role = world.store.set_role(SERVER, 2, Role::Admin, vec![], None);
    assert_eq!(role.await.unwrap().timed_out_until, 70);
    let left = world.store.remove_member(SERVER, 2, vec![], None).await;
    assert!(left.unwrap());
    assert_eq!(world.store.time_outs_of(2).await.unwrap(), [(SERVER, 70)]);
    world.join(SERVER, 2).await;
    let member = world.store.member(SERVER, 2).await.unwrap().unwrap();
    assert_eq!(member.timed_out_until, 70);
    assert_eq!(set(&world, 2, 0, 102).await.unwrap().timed_out_until, 0);
    assert_eq!(world.store.time_outs_of(2).await.unwrap(), []);
}

pub(crate) async fn an_authors_newest_and_a_nonces_message_are_found<P: Place>() {
    let world = World::<P>::new().await;
    let store = &world.store;
    let nonce = "0190163d-8694-739b-aea5-966c26f8ad91";
    let first = Message {
        sent_hash: Some(u64::MAX),
        ..message(CHANNEL, 100, 2, nonce)
    };
    store.insert(first.clone()).await.unwrap();
    store.insert(message(CHANNEL, 101, 3, "")).await.unwrap();
    let newest = async |author, after| {
        let newest = store.newest_of_author(CHANNEL, author, after).await;
        newest.unwrap()
    };
    assert_eq!(newest(2, 99).await, Some(100));
    assert_eq!(newest(2, 100).await, None);
    assert_eq!(newest(3, 0).await, Some(101));
    let found = store.by_nonce(CHANNEL, 2, nonce.into()).await;
    assert_eq!(found.unwrap(), Some(first));
    for (channel, author) in [(CHANNEL, 3), (99, 2)] {
        let found = store.by_nonce(channel, author, nonce.into()).await;
        assert_eq!(found.unwrap(), None);
    }
    let without = store.by_nonce(CHANNEL, 3, String::new()).await;
    assert_eq!(without.unwrap(), None, "without a nonce nothing is found");
    store.delete(CHANNEL, 100, 7, None).await.unwrap();
    assert_eq!(newest(2, 99).await, Some(100), "a deleted one counts");
}

pub(crate) async fn many_messages_are_deleted_with_one_entry<P: Place>() {
    let world = World::<P>::new().await;
    let store = &world.store;
    for id in 100..105 {
        world.write(id).await;
    }
    store.delete(CHANNEL, 101, 7, None).await.unwrap();
    let bulk = |id| entry(id, AuditAction::MessagesBulkDeleted);
    let ids = vec![100, 101, 102, 999];
    let deleted = store
        .delete_messages(CHANNEL, ids, bulk(501))
        .await
        .unwrap();
    let found: Vec<_> = deleted.iter().map(|row| (row.id, row.deleted)).collect();
    assert_eq!(found, [(100, true), (102, true)]);
    assert!(deleted.iter().all(|row| row.content.is_empty()));
    let none = store.delete_messages(CHANNEL, vec![100], bulk(502)).await;
    assert_eq!(none.unwrap(), []);
    let log = store.audit_log(SERVER, ANY, Id::MAX, 9).await.unwrap();
    let counts: Vec<_> = log.iter().map(|entry| (entry.id, entry.count)).collect();
    assert_eq!(counts, [(501, 2)]);
}

pub(crate) async fn an_authors_messages_are_deleted_step_by_step<P: Place>() {
    let world = World::<P>::new().await;
    let store = &world.store;
    for id in 100..110 {
        let message = message(CHANNEL, id, 2 + id % 2, "");
        store.insert(message).await.unwrap();
    }
    let (mut deleted, mut from) = (Vec::new(), Some(101));
    while let Some(after) = from {
        let audit = entry(501, AuditAction::MessagesBulkDeleted);
        let step = store.delete_of_author(CHANNEL, 2, (after, 106), 2, audit);
        let step = step.await.unwrap();
        assert!(step.messages.len() <= 2);
        deleted.extend(step.messages.into_iter().map(|row| row.id));
        from = step.next;
    }
    assert_eq!(
        deleted,
        [102, 104, 106],
        "not 100, which is before, nor 108"
    );
    let log = store.audit_log(SERVER, ANY, Id::MAX, 9).await.unwrap();
    let counts: Vec<_> = log.iter().map(|entry| (entry.id, entry.count)).collect();
    assert_eq!(counts, [(501, 3)]);
}

pub(crate) async fn a_report_is_open_until_it_is_closed<P: Place>() {
    let mut world = World::<P>::new().await;
    let first = report(201, 2, 100);
    let made = world.store.create_report(first.clone(), BOUNDS).await;
    assert_eq!(made.unwrap(), first);
    let again = world.store.create_report(report(202, 2, 100), BOUNDS).await;
    assert_eq!(again.unwrap(), first);
    let second = report(203, 3, 100);
    let made = world.store.create_report(second.clone(), BOUNDS).await;
    assert_eq!(made.unwrap(), second);
    world.reopen().await;
    let store = &world.store;
    let list = async |state, before| store.reports(SERVER, state, before, 9).await.unwrap();
    assert_eq!(list(None, Id::MAX).await, [second.clone(), first.clone()]);
    assert_eq!(list(None, 203).await, vec![first.clone()]);
    let closed = Report {
        state: ReportState::Resolved,
        resolved_by: OWNER,
        resolved_at: 9,
        note: "Gone".into(),
        ..first
    };
    let audit = entry(301, AuditAction::ReportResolved);
    let done = store.resolve_report(closed.clone(), audit).await;
    assert_eq!(done.unwrap(), closed);
    let other = Report {
        state: ReportState::Dismissed,
        ..closed.clone()
    };
    let audit = entry(302, AuditAction::ReportResolved);
    let again = store.resolve_report(other, audit).await;
    assert_eq!(again.unwrap(), closed, "it stays closed");
    assert_eq!(logged(&world).await, [301]);
    assert_eq!(list(Some(ReportState::Open), Id::MAX).await, [second]);
    let resolved = list(Some(ReportState::Resolved), Id::MAX).await;
    assert_eq!(resolved, vec![closed.clone()]);
    assert_eq!(store.report(SERVER, 201).await.unwrap(), Some(closed));
    assert_eq!(store.report(20, 201).await.unwrap(), None);
    let audit = entry(303, AuditAction::ReportResolved);
    let absent = store.resolve_report(report(299, 2, 1), audit).await;
    assert!(
        matches!(absent, Err(Error::NotFound("report"))),
        "{absent:?}"
    );
}

pub(crate) async fn so_many_reports_are_open_at_most<P: Place>() {
    let world = World::<P>::new().await;
    let bounds = ReportBounds {
        server: 3,
        reporter: 2,
    };
    let make = async |id, reporter| {
        let made = world.store.create_report(report(id, reporter, id), bounds);
        made.await.map(drop)
    };
    make(201, 2).await.unwrap();
    make(202, 2).await.unwrap();
    let own = make(203, 2).await;
    assert!(
        matches!(own, Err(Error::LimitReached("open reports of yours", 2))),
        "{own:?}"
    );
    make(204, 3).await.unwrap();
    let full = make(205, 3).await;
    assert!(
        matches!(full, Err(Error::LimitReached("open reports", 3))),
        "{full:?}"
    );
    let elsewhere = Report {
        server_id: 99,
        ..report(206, 2, 206)
    };
    let elsewhere = world.store.create_report(elsewhere, bounds).await;
    assert!(
        matches!(elsewhere, Err(Error::NotFound("server"))),
        "{elsewhere:?}"
    );
}
