//! Pages of lists: they meet, at every size.

use super::*;
use crate::model::{Ban, ChannelType, User};
use futures::future::join_all;

/// Walks a list page by page, from `from` on; checks the pages' sizes, answers all items.
async fn walk<T, P, F>(
    size: usize,
    mut from: P,
    place: impl Fn(&T) -> P,
    list: impl Fn(P) -> F,
) -> Vec<T>
where
    F: Future<Output = Result<Listed<T>, Error>>,
{
    let mut all = Vec::new();
    loop {
        let page = list(from).await.unwrap();
        let whole = page.items.len() == size;
        assert!(whole || (!page.more && page.items.len() < size));
        let last = page.items.last().map(&place);
        all.extend(page.items);
        match last {
            Some(last) if page.more => from = last,
            _ => return all,
        }
    }
}

/// Accounts of these ids.
async fn accounts(world: &World, ids: &[Id]) {
    let made = ids.iter().map(|id| {
        let user = User {
            id: *id,
            username: format!("user {id}"),
            ..User::default()
        };
        let account = store::Account {
            name_key: user.username.clone(),
            user,
            ..store::Account::default()
        };
        world
            .domain
            .store
            .create_account(account.into(), Vec::new())
    });
    for made in join_all(made).await {
        made.unwrap();
    }
}

#[tokio::test]
async fn the_largest_pages_of_members_meet() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (server, _) = world.server(&owner, &[]).await;
    let domain = &world.domain;
    let mut expected: Vec<Id> = (1..=1_000).collect();
    accounts(&world, &expected).await;
    let joined = expected.iter().map(|id| {
        let member = domain.new_member(server, *id);
        let store = &domain.store;
        store.add_member(member, None, u32::MAX, u32::MAX, Vec::new())
    });
    for joined in join_all(joined).await {
        joined.unwrap();
    }
    expected.push(owner.user_id);
    for size in [1_000, 999] {
        let list = |after| domain.list_members(&owner, server, after, size);
        let members = walk(size as usize, 0, |(member, _)| member.user_id, list).await;
        let ids: Vec<Id> = members.iter().map(|(member, _)| member.user_id).collect();
        assert_eq!(ids, expected);
    }
    let page = domain.list_members(&owner, server, 0, 1_001).await;
    assert_eq!(why(page), Reason::FieldInvalid);
}

#[tokio::test]
async fn the_largest_pages_of_bans_meet() {
    let world = World::new().await;
    let owner = world.user("owner").await;
    let (server, _) = world.server(&owner, &[]).await;
    let banned = (1..=1_001).map(|user_id| {
        let ban = Ban {
            server_id: server,
            user_id,
            banned_by: owner.user_id,
            reason: String::new(),
            created_at: 0,
        };
        world.domain.store.ban(ban, Vec::new(), None)
    });
    for banned in join_all(banned).await {
        banned.unwrap();
    }
    for size in [1_000, 7] {
        let list = |after| world.domain.list_bans(&owner, server, after, size);
        let bans = walk(size as usize, 0, |ban| ban.user_id, list).await;
        let ids: Vec<Id> = bans.iter().map(|ban| ban.user_id).collect();
        assert_eq!(ids, (1..=1_001).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn pages_of_channels_meet() {
    let world = World::new().await;
    let (owner, anna) = (world.user("owner").await, world.user("anna").await);
    let (server, general) = world.server(&owner, &[&anna]).await;
    let domain = &world.domain;
    let mut expected = vec![(0, general)];
    for rank in [5, -3, 5, 0, i32::MAX, i32::MIN] {
        let new = NewChannel {
            rank,
            ..new_channel(server, ChannelType::Text, "open")
        };
        let made = domain.create_channel(&owner, new).await.unwrap();
        expected.push((rank, made.id));
        // Hidden ones count for nothing.
        world.private(&owner, server, &[]).await;
    }
    expected.sort_unstable();
    for size in [1, 3, 7, 100] {
        let place = |channel: &Arc<Channel>| Some((channel.rank, channel.id));
        let list = |after| domain.list_channels(&anna, server, after, size);
        let listed = walk(size as usize, None, place, list).await;
        let places: Vec<_> = listed.iter().map(|c| (c.rank, c.id)).collect();
        assert_eq!(places, expected);
    }
    let mut directs = Vec::new();
    for n in 0..5 {
        let other = world.user(&format!("friend {n}")).await;
        directs.push(world.direct(&other, &anna).await.unwrap());
    }
    directs.reverse();
    let place = |channel: &Arc<Channel>| channel.id;
    let list = |before| domain.list_direct_channels(&anna, before, 2);
    let listed = walk(2, Id::MAX, place, list).await;
    assert_eq!(listed.iter().map(|c| c.id).collect::<Vec<_>>(), directs);
}

#[tokio::test]
async fn pages_of_what_one_has_meet() {
    let world = World::new().await;
    let anna = world.user("anna").await;
    let domain = &world.domain;
    let (server, _) = world.server(&anna, &[]).await;
    for n in 0..4 {
        world.server(&anna, &[]).await;
        world.sign_in(anna.user_id).await;
        let invite = domain.create_invite(&anna, new_invite(server, 0, 0)).await;
        invite.unwrap();
        let bot = domain.create_bot(&anna, &format!("bot {n}"), "", "").await;
        bot.unwrap();
        world.service().await;
    }
    let key = domain.create_key("operator", true, None).await;
    let admin = domain.authenticate(&key.ok().unwrap().token).await.unwrap();
    let up = |ids: &[Id]| ids.is_sorted_by(|a, b| a < b);
    let down = |ids: &[Id]| ids.is_sorted_by(|a, b| a > b);

    let list = |after| domain.list_servers(&anna, after, 2);
    let servers = walk(2, 0, |server| server.id, list).await;
    let ids: Vec<Id> = servers.iter().map(|server| server.id).collect();
    assert!(ids.len() == 5 && up(&ids), "{ids:?}");

    let list = |before| domain.list_sessions(&anna, before, 2);
    let sessions = walk(2, Id::MAX, |session| session.id, list).await;
    let ids: Vec<Id> = sessions.iter().map(|session| session.id).collect();
    assert!(ids.len() == 5 && down(&ids), "{ids:?}");

    let list = |before| domain.list_bots(&anna, 0, before, 3);
    let bots = walk(3, Id::MAX, |bot| bot.id, list).await;
    let ids: Vec<Id> = bots.iter().map(|bot| bot.id).collect();
    assert!(ids.len() == 4 && down(&ids), "{ids:?}");

    let list = |before| domain.list_keys(&admin, before, 2);
    let keys = walk(2, Id::MAX, |key| key.id, list).await;
    let ids: Vec<Id> = keys.iter().map(|key| key.id).collect();
    assert!(ids.len() == 5 && down(&ids), "{ids:?}");

    let list = |after| domain.list_invites(&anna, server, after, 3);
    let invites = walk(3, String::new(), |invite| invite.code.clone(), list).await;
    let codes: Vec<_> = invites.iter().map(|invite| &invite.code).collect();
    assert!(codes.len() == 4 && codes.is_sorted_by(|a, b| a < b));
}
