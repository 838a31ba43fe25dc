//! Sentences about servers, members, invitations, bans.

use super::*;
use crate::model::{Ban, Invite};
use crate::store::Error;
use std::time::Duration;

async fn count<P>(world: &World<P>) -> i32 {
    let server = world.store.server(SERVER).await.unwrap().unwrap();
    server.member_count
}

fn invite(code: &str, max_uses: i32, expires_at: i64) -> Invite {
    Invite {
        code: code.into(),
        server_id: SERVER,
        creator_id: OWNER,
        max_uses,
        uses: 0,
        expires_at,
    }
}

async fn open<P>(world: &World<P>, now: i64) -> Vec<Invite> {
    let listed = world.store.invites(SERVER, now, String::new(), 99);
    listed.await.unwrap()
}

fn ban(user_id: Id) -> Ban {
    Ban {
        server_id: SERVER,
        user_id,
        banned_by: OWNER,
        reason: "Spam".into(),
        created_at: 5,
    }
}

pub(crate) async fn a_server_comes_with_its_owner_and_channel<P: Place>() {
    let world = World::<P>::new().await;
    let made = server(SERVER, OWNER);
    assert_eq!(
        world.store.server(SERVER).await.unwrap(),
        Some(made.clone())
    );
    let owner = world.store.member(SERVER, OWNER).await.unwrap();
    assert_eq!(owner, Some(member(SERVER, OWNER, Role::Owner)));
    let of = world.store.servers_of(OWNER, 0, 9).await.unwrap();
    assert_eq!(of, [made]);
    let roles = world.store.roles_of(OWNER).await.unwrap();
    assert_eq!(roles, [(SERVER, Role::Owner)]);
    let channels = world.store.channels_of_server(SERVER).await.unwrap();
    assert_eq!(channels, [channel(CHANNEL, SERVER, ChannelType::Text)]);
}

pub(crate) async fn a_request_repeated_answers_the_first_server<P: Place>() {
    let world = World::<P>::new().await;
    let make = |id: Id, caller: Id, request: &str| {
        world.store.create_server(
            server(id, OWNER),
            member(id, OWNER, Role::Owner),
            channel(id + 1, id, ChannelType::Text),
            Some((caller, request.to_owned())),
            99,
            vec![event(TopicKey::user(OWNER), id)],
        )
    };
    assert_eq!(make(20, 1, "a").await.unwrap(), (server(20, OWNER), 21));
    assert_eq!(make(30, 1, "a").await.unwrap(), (server(20, OWNER), 21));
    assert_eq!(make(40, 1, "b").await.unwrap(), (server(40, OWNER), 41));
    assert_eq!(make(50, 2, "a").await.unwrap(), (server(50, OWNER), 51));
    assert_eq!(world.store.server(30).await.unwrap(), None);
    assert_eq!(world.relay.events().len(), 3);
}

pub(crate) async fn a_request_is_forgotten_after_a_day<P: Place>() {
    let world = World::<P>::new().await;
    let make = |id: Id| {
        world.store.create_server(
            server(id, OWNER),
            member(id, OWNER, Role::Owner),
            channel(id + 1, id, ChannelType::Text),
            Some((OWNER, "a".to_owned())),
            99,
            vec![],
        )
    };
    make(20).await.unwrap();
    for (hours, expected) in [(23, 20), (2, 40), (23, 40)] {
        world.clock.advance(Duration::from_secs(hours * 3600));
        world.store.trim(world.clock.wall_ms()).await.unwrap();
        assert_eq!(make(40).await.unwrap().0.id, expected);
    }
}

pub(crate) async fn a_server_is_changed_and_deleted<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    world
        .store
        .create_invite(invite("code", 0, 0), None, None)
        .await
        .unwrap();
    let changed = Server {
        name: "New".into(),
        description: String::new(),
        open: false,
        metadata: Metadata::new(),
        member_count: 2,
        ..server(SERVER, OWNER)
    };
    world
        .store
        .update_server(changed.clone(), vec![], None)
        .await
        .unwrap();
    assert_eq!(
        world.store.server(SERVER).await.unwrap(),
        Some(changed.clone())
    );
    world
        .store
        .delete_server(SERVER, vec![], None)
        .await
        .unwrap();
    assert_eq!(world.store.server(SERVER).await.unwrap(), None);
    assert_eq!(world.store.member(SERVER, 2).await.unwrap(), None);
    assert_eq!(world.store.channel(CHANNEL).await.unwrap(), None);
    assert_eq!(world.store.invite("code").await.unwrap(), None);
    assert_eq!(world.store.roles_of(OWNER).await.unwrap(), []);
    let update = world.store.update_server(changed, vec![], None).await;
    assert!(
        matches!(update, Err(Error::NotFound("server"))),
        "{update:?}"
    );
    let delete = world.store.delete_server(SERVER, vec![], None).await;
    assert!(
        matches!(delete, Err(Error::NotFound("server"))),
        "{delete:?}"
    );
}

pub(crate) async fn joining_counts_and_is_idempotent<P: Place>() {
    let world = World::<P>::new().await;
    let first = member(SERVER, 2, Role::Member);
    let later = Member {
        joined_at: SNOWFLAKE_EPOCH_MS + 1,
        ..first.clone()
    };
    let add = |member: Member| {
        let events = vec![event(TopicKey::server(SERVER), 2)];
        world.store.add_member(member, None, 100, 100, events)
    };
    assert_eq!(add(first.clone()).await.unwrap(), (first.clone(), true));
    assert_eq!(add(later).await.unwrap(), (first, false));
    assert_eq!(count(&world).await, 2);
    assert_eq!(world.relay.events().len(), 1);
    let nowhere = add(member(999, 2, Role::Member)).await;
    assert!(
        matches!(nowhere, Err(Error::NotFound("server"))),
        "{nowhere:?}"
    );
}

pub(crate) async fn bounds_of_members_and_servers_hold<P: Place>() {
    let world = World::<P>::new().await;
    world.server(20, OWNER).await;
    let add = |server, user, members, servers| {
        let member = member(server, user, Role::Member);
        world
            .store
            .add_member(member, None, members, servers, vec![])
    };
    assert!(add(SERVER, 2, 2, 1).await.unwrap().1);
    let full = add(SERVER, 3, 2, 1).await;
    assert!(
        matches!(full, Err(Error::LimitReached("members", 2))),
        "{full:?}"
    );
    let many = add(20, 2, 9, 1).await;
    assert!(
        matches!(many, Err(Error::LimitReached("servers", 1))),
        "{many:?}"
    );
    assert_eq!(count(&world).await, 2);
}

pub(crate) async fn an_invitation_is_spent_by_its_uses<P: Place>() {
    let world = World::<P>::new().await;
    world
        .store
        .create_invite(invite("code", 1, 0), None, None)
        .await
        .unwrap();
    let taken = world
        .store
        .create_invite(invite("code", 1, 0), None, None)
        .await;
    assert!(matches!(taken, Err(Error::Conflict(_))), "{taken:?}");
    let add = |user| {
        let member = member(SERVER, user, Role::Member);
        world
            .store
            .add_member(member, Some("code".into()), 3, 1, vec![])
    };
    assert!(add(2).await.unwrap().1);
    // Who is a member already spends nothing, and learns nothing of the invitation.
    assert!(!add(2).await.unwrap().1);
    let spent = add(3).await;
    assert!(matches!(spent, Err(Error::NotFound("invite"))), "{spent:?}");
    // It stays for a day, for who repeats the call that spent it.
    let over = SNOWFLAKE_EPOCH_MS + 24 * 3600 * 1000;
    let stored = world.store.invite("code").await.unwrap().unwrap();
    assert_eq!(
        stored,
        Invite {
            uses: 1,
            ..invite("code", 1, over)
        }
    );
    assert_eq!(open(&world, 0).await, []);
    for (hours, there) in [(23, true), (1, false)] {
        world.clock.advance(Duration::from_secs(hours * 3600));
        world.store.trim(world.clock.wall_ms()).await.unwrap();
        let stored = world.store.invite("code").await.unwrap();
        assert_eq!(stored.is_some(), there);
    }
}

pub(crate) async fn an_invitation_ends<P: Place>() {
    let world = World::<P>::new().await;
    let joined = member(SERVER, 2, Role::Member);
    world
        .store
        .create_invite(invite("old", 0, joined.joined_at), None, None)
        .await
        .unwrap();
    world
        .store
        .create_invite(invite("good", 0, joined.joined_at + 1), None, None)
        .await
        .unwrap();
    let open = open(&world, joined.joined_at).await;
    assert_eq!(open, [invite("good", 0, joined.joined_at + 1)]);
    let add = |code: &str| {
        world
            .store
            .add_member(joined.clone(), Some(code.into()), 9, 9, vec![])
    };
    let old = add("old").await;
    assert!(matches!(old, Err(Error::NotFound("invite"))), "{old:?}");
    assert!(!world.store.revoke_invite(20, "good", None).await.unwrap());
    assert!(add("good").await.unwrap().1);
    assert!(
        world
            .store
            .revoke_invite(SERVER, "good", None)
            .await
            .unwrap()
    );
    assert!(
        !world
            .store
            .revoke_invite(SERVER, "good", None)
            .await
            .unwrap()
    );
    assert_eq!(world.store.invite("good").await.unwrap(), None);
}

pub(crate) async fn a_server_has_a_thousand_open_invitations_at_most<P: Place>() {
    let world = World::<P>::new().await;
    let create = |code: String, max_uses, expires_at| {
        let made = invite(&code, max_uses, expires_at);
        world.store.create_invite(made, None, None)
    };
    let all = (0..998).map(|n| create(format!("code{n}"), 0, 0));
    for made in futures::future::join_all(all).await {
        made.unwrap();
    }
    // What is spent or over doesn't count.
    create("once".into(), 1, 0).await.unwrap();
    create("over".into(), 0, SNOWFLAKE_EPOCH_MS).await.unwrap();
    create("almost".into(), 0, 0).await.unwrap();
    let full = create("more".into(), 0, 0).await;
    assert!(
        matches!(full, Err(Error::LimitReached("invites", 1000))),
        "{full:?}"
    );
    let joined = member(SERVER, 2, Role::Member);
    let spent = world
        .store
        .add_member(joined, Some("once".into()), 9, 9, vec![]);
    spent.await.unwrap();
    create("more".into(), 0, 0).await.unwrap();
    assert!(create("another".into(), 0, 0).await.is_err());
}

pub(crate) async fn open_invitations_are_listed_by_code<P: Place>() {
    let world = World::<P>::new().await;
    for code in ["c", "a", "b"] {
        let made = world.store.create_invite(invite(code, 0, 0), None, None);
        made.await.unwrap();
    }
    let list = async |after: &str, limit| {
        let listed = world.store.invites(SERVER, 0, after.into(), limit);
        let codes = listed.await.unwrap().into_iter().map(|invite| invite.code);
        codes.collect::<Vec<_>>()
    };
    assert_eq!(list("", 2).await, ["a", "b"]);
    assert_eq!(list("b", 2).await, ["c"]);
}

pub(crate) async fn a_request_repeated_answers_the_first_invitation<P: Place>() {
    let world = World::<P>::new().await;
    let create = |code: &str, caller| {
        let request = Some((caller, "a".to_owned()));
        world.store.create_invite(invite(code, 0, 0), request, None)
    };
    assert_eq!(create("a", OWNER).await.unwrap(), invite("a", 0, 0));
    assert_eq!(create("b", OWNER).await.unwrap(), invite("a", 0, 0));
    assert_eq!(create("c", 2).await.unwrap(), invite("c", 0, 0));
    assert_eq!(world.store.invite("b").await.unwrap(), None);
    assert!(world.store.revoke_invite(SERVER, "a", None).await.unwrap());
    let gone = create("b", OWNER).await;
    assert!(matches!(gone, Err(Error::NotFound("invite"))), "{gone:?}");
}

pub(crate) async fn a_ban_takes_out_and_keeps_out<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    world.store.ban(ban(2), vec![], None).await.unwrap();
    world.store.ban(ban(2), vec![], None).await.unwrap();
    world.store.ban(ban(3), vec![], None).await.unwrap();
    assert_eq!(world.store.member(SERVER, 2).await.unwrap(), None);
    assert_eq!(count(&world).await, 1);
    assert_eq!(world.store.bans(SERVER, 0, 1).await.unwrap(), [ban(2)]);
    assert_eq!(world.store.bans(SERVER, 2, 9).await.unwrap(), [ban(3)]);
    let add = || {
        let member = member(SERVER, 2, Role::Member);
        world.store.add_member(member, None, 9, 9, vec![])
    };
    let kept_out = add().await;
    assert!(
        matches!(kept_out, Err(Error::Conflict("banned"))),
        "{kept_out:?}"
    );
    assert!(world.store.unban(SERVER, 2, None).await.unwrap());
    assert!(!world.store.unban(SERVER, 2, None).await.unwrap());
    assert!(add().await.unwrap().1);
    let owner = world.store.ban(ban(OWNER), vec![], None).await;
    assert!(matches!(owner, Err(Error::Conflict("owner"))), "{owner:?}");
}

pub(crate) async fn a_role_is_set_and_ownership_handed_on<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    let set = |user, role| world.store.set_role(SERVER, user, role, vec![], None);
    let expected = member(SERVER, 2, Role::Moderator);
    assert_eq!(set(2, Role::Moderator).await.unwrap(), expected);
    assert_eq!(world.store.member(SERVER, 2).await.unwrap(), Some(expected));
    let refused = set(OWNER, Role::Admin).await;
    assert!(
        matches!(refused, Err(Error::Conflict("owner"))),
        "{refused:?}"
    );
    let nobody = set(3, Role::Admin).await;
    assert!(
        matches!(nobody, Err(Error::NotFound("member"))),
        "{nobody:?}"
    );
    assert_eq!(set(2, Role::Owner).await.unwrap().role, Role::Owner);
    let old = world.store.member(SERVER, OWNER).await.unwrap().unwrap();
    assert_eq!(old.role, Role::Admin);
    let server = world.store.server(SERVER).await.unwrap().unwrap();
    assert_eq!(server.owner_id, 2);
}

pub(crate) async fn leaving_takes_out_of_private_channels<P: Place>() {
    let world = World::<P>::new().await;
    world.join(SERVER, 2).await;
    let private = Channel {
        member_ids: vec![OWNER, 2],
        ..channel(50, SERVER, ChannelType::Private)
    };
    let others = direct(51, &[2, 3]);
    for made in [private, others.clone()] {
        world
            .store
            .create_channel(made, OWNER, None, 9, vec![], None)
            .await
            .unwrap();
    }
    assert!(
        world
            .store
            .remove_member(SERVER, 2, vec![], None)
            .await
            .unwrap()
    );
    assert!(
        !world
            .store
            .remove_member(SERVER, 2, vec![], None)
            .await
            .unwrap()
    );
    let private = world.store.channel(50).await.unwrap().unwrap();
    assert_eq!(private.member_ids, [OWNER]);
    assert_eq!(world.store.channel(51).await.unwrap(), Some(others));
    assert_eq!(count(&world).await, 1);
    let owner = world.store.remove_member(SERVER, OWNER, vec![], None).await;
    assert!(matches!(owner, Err(Error::Conflict("owner"))), "{owner:?}");
}

pub(crate) async fn members_are_listed_by_id<P: Place>() {
    let world = World::<P>::new().await;
    for user in [5, 4] {
        world.account(user).await;
    }
    for user in [5, 3, 4] {
        world.join(SERVER, user).await;
    }
    let expected = |user| (member(SERVER, user, Role::Member), account(user).user);
    let some = world.store.members(SERVER, 1, 2).await.unwrap();
    assert_eq!(some, [expected(3), expected(4)]);
    let rest = world.store.members(SERVER, 4, 2).await.unwrap();
    assert_eq!(rest, [expected(5)]);
}

pub(crate) async fn servers_of_a_user_are_listed_by_id<P: Place>() {
    let world = World::<P>::new().await;
    for id in [40, 20, 30] {
        world.server(id, OWNER).await;
    }
    let list = async |after, limit| {
        let servers = world.store.servers_of(OWNER, after, limit).await.unwrap();
        servers
            .into_iter()
            .map(|server| server.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(0, 3).await, [SERVER, 20, 30]);
    assert_eq!(list(30, 3).await, [40]);
}

pub(crate) async fn who_is_in_many_servers_makes_no_more<P: Place>() {
    let world = World::<P>::new().await;
    let make = |id: Id, request: &str| {
        world.store.create_server(
            server(id, OWNER),
            member(id, OWNER, Role::Owner),
            channel(id + 1, id, ChannelType::Text),
            Some((OWNER, request.to_owned())),
            2,
            vec![],
        )
    };
    assert_eq!(make(20, "a").await.unwrap().0.id, 20);
    let more = make(30, "b").await;
    assert!(
        matches!(more, Err(Error::LimitReached("servers", 2))),
        "{more:?}"
    );
    // A repeat makes nothing.
    assert_eq!(make(30, "a").await.unwrap().0.id, 20);
}

pub(crate) async fn admins_are_told_from_members<P: Place>() {
    let world = World::<P>::new().await;
    world.account(4).await;
    for (user, role) in [(2, Role::Admin), (3, Role::Moderator), (4, Role::Member)] {
        world.join(SERVER, user).await;
        let set = world.store.set_role(SERVER, user, role, vec![], None);
        set.await.unwrap();
    }
    let mut admins = world.store.admins(SERVER).await.unwrap();
    admins.sort_unstable();
    assert_eq!(admins, [OWNER, 2]);
}
