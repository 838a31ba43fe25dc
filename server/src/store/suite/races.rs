//! Sentences about changes that are made at once: what is bounded or counted stays right.

use super::*;
use crate::model::{AuditAction, AuditEntry, Ban, Invite, Report, ReportState};
use crate::store::{AuditFilter, Error, ReadOf, ReportBounds};
use futures::future::join_all;

/// Calls that are made at once.
const MANY: i64 = 12;

fn joins_of(users: impl Iterator<Item = Id>) -> impl Iterator<Item = Member> {
    users.map(|user| member(SERVER, user, Role::Member))
}

/// So many users more, from 100 on.
async fn users<P: Place>(world: &World<P>) -> Vec<Id> {
    let ids: Vec<Id> = (100..100 + MANY).collect();
    join_all(ids.iter().map(|id| world.account(*id))).await;
    ids
}

pub(crate) async fn who_joins_at_once_is_counted_once_and_within_bounds<P: Place>() {
    let world = World::<P>::new().await;
    let ids = users(&world).await;
    let invite = Invite {
        code: "code".into(),
        server_id: SERVER,
        creator_id: OWNER,
        max_uses: 7,
        uses: 0,
        expires_at: 0,
    };
    let made = world.store.create_invite(invite, None, None).await;
    made.unwrap();
    // Each of them twice.
    let twice = ids.iter().chain(&ids).copied();
    let joins = joins_of(twice).map(|member| {
        let code = Some("code".to_owned());
        let events = vec![event(TopicKey::server(SERVER), member.user_id)];
        world.store.add_member(member, code, 99, 99, events)
    });
    let ended = join_all(joins).await;
    let new = ended.iter().filter(|end| matches!(end, Ok((_, true))));
    assert_eq!(new.count(), 7, "as often as the invitation may be used");
    let server = world.store.server(SERVER).await.unwrap().unwrap();
    let members = world.store.members(SERVER, 0, 99).await.unwrap();
    assert_eq!((server.member_count, members.len()), (8, 8));
    let spent = world.store.invite("code").await.unwrap().unwrap();
    assert_eq!(spent.uses, 7);
    let position = world.store.topic_position(TopicKey::server(SERVER)).await;
    assert_eq!(position.unwrap().seq, 7);
    // Now all without it; ten is the bound.
    let joins = joins_of(ids.iter().copied())
        .map(|member| world.store.add_member(member, None, 10, 99, vec![]));
    let ended = join_all(joins).await;
    let full = |end: &&Result<_, Error>| matches!(end, Err(Error::LimitReached("members", 10)));
    assert_eq!(ended.iter().filter(full).count(), MANY as usize - 9);
    let server = world.store.server(SERVER).await.unwrap().unwrap();
    assert_eq!(server.member_count, 10);
}

pub(crate) async fn who_is_banned_while_it_joins_is_out<P: Place>() {
    let world = World::<P>::new().await;
    let ids = users(&world).await;
    let calls = ids.iter().map(|user| {
        let member = member(SERVER, *user, Role::Member);
        let ban = Ban {
            server_id: SERVER,
            user_id: *user,
            banned_by: OWNER,
            reason: String::new(),
            created_at: 5,
        };
        let joining = world.store.add_member(member, None, 99, 99, vec![]);
        let banning = world.store.ban(ban, vec![], None);
        async {
            let (_, banned) = tokio::join!(joining, banning);
            banned.unwrap();
        }
    });
    join_all(calls).await;
    let server = world.store.server(SERVER).await.unwrap().unwrap();
    let members = world.store.members(SERVER, 0, 99).await.unwrap();
    assert_eq!((server.member_count, members.len()), (1, 1));
}

pub(crate) async fn a_user_joins_no_more_servers_at_once_than_it_may<P: Place>() {
    let world = World::<P>::new().await;
    let servers: Vec<Id> = (0..MANY).map(|n| 1_000 + 10 * n).collect();
    join_all(servers.iter().map(|id| world.server(*id, OWNER))).await;
    let joins = servers.iter().map(|id| {
        let member = member(*id, 2, Role::Member);
        world.store.add_member(member, None, 99, 5, vec![])
    });
    let ended = join_all(joins).await;
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 5);
    assert_eq!(world.store.roles_of(2).await.unwrap().len(), 5);
}

pub(crate) async fn a_request_made_at_once_makes_one_thing<P: Place>() {
    let world = World::<P>::new().await;
    let servers = (0..MANY).map(|n| 1_000 + 10 * n).map(|id| {
        let request = Some((OWNER, "a".to_owned()));
        let owner = member(id, OWNER, Role::Owner);
        let general = channel(id + 1, id, ChannelType::Text);
        let events = vec![event(TopicKey::user(OWNER), id)];
        world
            .store
            .create_server(server(id, OWNER), owner, general, request, 99, events)
    });
    let made = join_all(servers).await;
    let first = made[0].as_ref().unwrap();
    for other in &made {
        assert_eq!(other.as_ref().unwrap(), first);
    }
    assert_eq!(world.store.roles_of(OWNER).await.unwrap().len(), 2);
    let channels = (0..MANY).map(|n| 5_000 + n).map(|id| {
        let request = Some((OWNER, "a".to_owned()));
        let made = channel(id, SERVER, ChannelType::Text);
        world
            .store
            .create_channel(made, OWNER, request, 99, vec![], None)
    });
    let made = join_all(channels).await;
    let new = made.iter().filter(|end| end.as_ref().unwrap().1).count();
    assert_eq!(new, 1);
    let channels = world.store.channels_of_server(SERVER).await.unwrap();
    assert_eq!(channels.len(), 2);
}

pub(crate) async fn a_server_fills_up_at_once_and_no_further<P: Place>() {
    let world = World::<P>::new().await;
    let channels = (0..MANY).map(|n| {
        let made = channel(5_000 + n, SERVER, ChannelType::Text);
        world
            .store
            .create_channel(made, OWNER, None, 6, vec![], None)
    });
    let ended = join_all(channels).await;
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 5);
    let channels = world.store.channels_of_server(SERVER).await.unwrap();
    assert_eq!(channels.len(), 6);
}

pub(crate) async fn of_two_who_write_to_each_other_at_once_one_channel_comes<P: Place>() {
    let world = World::<P>::new().await;
    let calls = (0..MANY).map(|n| {
        let creator = 2 + n % 2;
        world
            .store
            .create_channel(direct(5_000 + n, &[2, 3]), creator, None, 9, vec![], None)
    });
    let ended = join_all(calls).await;
    let ids: Vec<(Id, bool)> = ended
        .into_iter()
        .map(|end| end.map(|(channel, new)| (channel.id, new)).unwrap())
        .collect();
    assert_eq!(ids.iter().filter(|(_, new)| *new).count(), 1, "{ids:?}");
    assert!(ids.iter().all(|(id, _)| *id == ids[0].0), "{ids:?}");
    assert_eq!(world.store.direct_channels_of(2).await.unwrap().len(), 1);
}

pub(crate) async fn a_member_of_no_server_is_in_none_of_its_channels<P: Place>() {
    let world = World::<P>::new().await;
    let ids = users(&world).await;
    for user in &ids {
        world.join(SERVER, *user).await;
    }
    let calls = ids.iter().zip(5_000..).map(|(user, id)| {
        let private = Channel {
            member_ids: vec![OWNER, *user],
            ..channel(id, SERVER, ChannelType::Private)
        };
        let making = world
            .store
            .create_channel(private, OWNER, None, 99, vec![], None);
        let leaving = world.store.remove_member(SERVER, *user, vec![], None);
        async {
            let (_, left) = tokio::join!(making, leaving);
            assert!(left.unwrap());
        }
    });
    join_all(calls).await;
    let channels = world.store.channels_of_server(SERVER).await.unwrap();
    for channel in channels.iter().filter(|channel| channel.id >= 5_000) {
        assert_eq!(channel.member_ids, [OWNER]);
    }
    let server = world.store.server(SERVER).await.unwrap().unwrap();
    assert_eq!(server.member_count, 1);
}

pub(crate) async fn reports_made_at_once_keep_to_their_bounds<P: Place>() {
    let world = World::<P>::new().await;
    let report = |id: Id, message_id: Id| Report {
        id,
        server_id: SERVER,
        channel_id: CHANNEL,
        message_id,
        author_id: OWNER,
        reporter_id: 2,
        reason: "Spam".into(),
        state: ReportState::Open,
        created_at: 5,
        resolved_by: 0,
        resolved_at: 0,
        note: String::new(),
    };
    let bounds = ReportBounds {
        server: 99,
        reporter: 4,
    };
    // Of the same message twice.
    let calls = (0..MANY).map(|n| {
        let report = report(5_000 + n, 100 + n / 2);
        world.store.create_report(report, bounds)
    });
    let ended = join_all(calls).await;
    let all = world.store.reports(SERVER, None, Id::MAX, 99).await;
    let mut messages: Vec<Id> = all.unwrap().iter().map(|r| r.message_id).collect();
    assert_eq!(messages.len(), 4);
    messages.dedup();
    assert_eq!(messages.len(), 4, "one of each message");
    let refused = |end: &&Result<_, Error>| {
        matches!(end, Err(Error::LimitReached("open reports of yours", 4)))
    };
    assert_eq!(ended.iter().filter(refused).count(), MANY as usize - 8);
}

pub(crate) async fn what_is_read_at_once_goes_nowhere_back<P: Place>() {
    let world = World::<P>::new().await;
    let of = ReadOf {
        channel: CHANNEL,
        role: Role::Member,
        at_least: 0,
    };
    let calls = (0..MANY).map(|n| world.store.acknowledge(2, of, 100 + n));
    let ended = join_all(calls).await;
    for (n, end) in (0..).zip(ended) {
        assert!(end.unwrap().last_read_id >= 100 + n);
    }
    let last = 100 + MANY - 1;
    let all = (0..MANY).map(|n| {
        let other = 50 + 2 * n;
        world
            .store
            .acknowledge_all(vec![(3, CHANNEL, other), (2, CHANNEL, other)])
    });
    for end in join_all(all).await {
        end.unwrap();
    }
    let read = world.store.read_states(2, &[of]).await.unwrap();
    assert_eq!(read[0].last_read_id, last);
    let read = world.store.read_states(3, &[of]).await.unwrap();
    assert_eq!(read[0].last_read_id, 50 + 2 * (MANY - 1));
}

pub(crate) async fn what_is_done_at_once_is_all_in_the_log<P: Place>() {
    let world = World::<P>::new().await;
    let calls = (0..MANY).map(|n| {
        let entry = AuditEntry {
            id: 5_000 + n,
            server_id: SERVER,
            actor_id: OWNER,
            action: AuditAction::ChannelUpdated,
            target_id: CHANNEL,
            channel_id: CHANNEL,
            user_id: 0,
            count: 1,
            reason: String::new(),
            changes: vec![],
            created_at: 5,
        };
        let changed = Channel {
            rank: n as i32,
            ..channel(CHANNEL, SERVER, ChannelType::Text)
        };
        let events = vec![event(TopicKey::server(SERVER), n)];
        world.store.update_channel(changed, events, Some(entry))
    });
    for end in join_all(calls).await {
        end.unwrap();
    }
    let log = world
        .store
        .audit_log(SERVER, AuditFilter::default(), Id::MAX, 99);
    let ids: Vec<Id> = log.await.unwrap().iter().map(|entry| entry.id).collect();
    let all: Vec<Id> = (0..MANY).rev().map(|n| 5_000 + n).collect();
    assert_eq!(ids, all);
    let position = world.store.topic_position(TopicKey::server(SERVER)).await;
    assert_eq!(position.unwrap().seq, MANY);
}
