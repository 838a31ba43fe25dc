//! Sentences about users, credentials and sessions.

use super::*;
use crate::model::Invite;
use crate::store::{Error, Join, Made, NewAccount};

async fn create<P>(world: &World<P>, account: Account) -> Result<Made, Error> {
    world.store.create_account(account.into(), vec![]).await
}

fn bot(id: Id) -> NewAccount {
    NewAccount {
        account: Account {
            owner_id: 2,
            ..account(id)
        },
        session: Some(session(id + 500, id, SessionKind::Bot, 0)),
        request: Some((2, format!("request {id}"))),
        max_owned: 2,
        ..NewAccount::default()
    }
}

pub(crate) async fn an_account_is_found_by_each_key<P: Place>() {
    let world = World::<P>::new().await;
    let made = Account {
        external_id: "ext".into(),
        owner_id: OWNER,
        user: User {
            bot: true,
            ..account(5).user
        },
        ..account(5)
    };
    create(&world, made.clone()).await.unwrap();
    let by_name = world.store.account_by_name("user5").await.unwrap();
    let by_external = world.store.account_by_external("ext").await.unwrap();
    for found in [by_name, by_external, world.store.account(5).await.unwrap()] {
        let found = found.unwrap();
        assert_eq!(found.user, made.user);
        assert_eq!(
            (
                found.name_key,
                found.password_hash,
                found.external_id,
                found.owner_id
            ),
            (
                made.name_key.clone(),
                made.password_hash.clone(),
                "ext".into(),
                OWNER
            )
        );
    }
    assert!(
        world
            .store
            .account_by_name("nobody")
            .await
            .unwrap()
            .is_none()
    );
    assert!(world.store.account_by_external("").await.unwrap().is_none());
    let users = world.store.users(&[5, 99, OWNER]).await.unwrap();
    assert_eq!(users, [made.user, account(OWNER).user]);
}

pub(crate) async fn names_and_external_ids_are_unique<P: Place>() {
    let world = World::<P>::new().await;
    let with = |id, external_id: &str| Account {
        external_id: external_id.into(),
        ..account(id)
    };
    create(&world, with(5, "ext")).await.unwrap();
    world.account(6).await;
    let same = Account {
        name_key: "user5".into(),
        ..account(7)
    };
    // All at once: each refusal undoes only itself.
    let all = [with(8, ""), same, with(9, "ext"), with(10, "")];
    let all = all.map(|account| create(&world, account));
    let all = futures::future::join_all(all).await;
    assert!(all[0].is_ok(), "{all:?}");
    assert!(
        matches!(all[1], Err(Error::Conflict("username"))),
        "{all:?}"
    );
    assert!(
        matches!(all[2], Err(Error::Conflict("external_id"))),
        "{all:?}"
    );
    assert!(all[3].is_ok(), "{all:?}");
    let users = world.store.users(&[7, 8, 9, 10]).await.unwrap();
    assert_eq!(users, [account(8).user, account(10).user]);
}

pub(crate) async fn a_profile_and_a_password_change<P: Place>() {
    let world = World::<P>::new().await;
    let changed = User {
        display_name: "New".into(),
        metadata: Metadata::new(),
        ..account(OWNER).user
    };
    world
        .store
        .update_profile(changed.clone(), vec![])
        .await
        .unwrap();
    let set = |user, expected: &str, hash: &str| {
        let (expected, hash) = (expected.into(), hash.into());
        world.store.set_password(user, expected, hash, None)
    };
    let stale = set(OWNER, "$other", "$new").await;
    assert!(
        matches!(stale, Err(Error::Conflict("password"))),
        "{stale:?}"
    );
    assert!(set(OWNER, "$argon2id$", "$new").await.unwrap().is_empty());
    let found = world.store.account(OWNER).await.unwrap().unwrap();
    assert_eq!((found.user, found.password_hash), (changed, "$new".into()));
    let nobody = set(99, "", "$new").await;
    assert!(matches!(nobody, Err(Error::NotFound("user"))), "{nobody:?}");
    let nobody = world.store.update_profile(account(99).user, vec![]).await;
    assert!(matches!(nobody, Err(Error::NotFound("user"))), "{nobody:?}");
}

pub(crate) async fn a_deleted_account_frees_its_name<P: Place>() {
    let world = World::<P>::new().await;
    world.account(5).await;
    world.join(SERVER, 5).await;
    world.store.block(5, OWNER).await.unwrap();
    world.store.block(OWNER, 5).await.unwrap();
    let private = Channel {
        member_ids: vec![OWNER, 5],
        ..channel(50, SERVER, ChannelType::Private)
    };
    for made in [private, direct(51, &[2, 5])] {
        let made = world
            .store
            .create_channel(made, OWNER, None, 9, vec![], None);
        made.await.unwrap();
    }
    let session = session(70, 5, SessionKind::User, 0);
    let stored = world.store.create_session(session, 9, None);
    stored.await.unwrap();
    let left = vec![event(TopicKey::server(SERVER), 5)];
    let departed = world.store.delete_account(5, left).await.unwrap();
    assert_eq!(
        (departed.sessions, departed.channels),
        (vec![70], vec![50, 51])
    );
    let told: Vec<_> = world.relay.events().iter().map(|told| told.topic).collect();
    assert_eq!(told, [TopicKey::user(5), TopicKey::server(SERVER)]);
    let found = world.store.account(5).await.unwrap().unwrap();
    assert!(found.user.deleted && found.password_hash.is_empty() && found.name_key.is_empty());
    assert!(!found.user.username.contains("User") && found.user.metadata.is_empty());
    assert!(
        world
            .store
            .account_by_name("user5")
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(world.store.session(70).await.unwrap(), None);
    assert_eq!(world.store.member(SERVER, 5).await.unwrap(), None);
    assert_eq!(
        world
            .store
            .server(SERVER)
            .await
            .unwrap()
            .unwrap()
            .member_count,
        1
    );
    assert!(!world.store.blocked(OWNER, 5).await.unwrap());
    let next = Account {
        name_key: "user5".into(),
        ..account(6)
    };
    create(&world, next).await.unwrap();
}

pub(crate) async fn nothing_begins_for_who_is_gone<P: Place>() {
    let world = World::<P>::new().await;
    world.account(5).await;
    world.store.delete_account(5, vec![]).await.unwrap();
    let joined = member(SERVER, 5, Role::Member);
    let joined = world.store.add_member(joined, None, 9, 9, vec![]).await;
    assert!(matches!(joined, Err(Error::NotFound("user"))), "{joined:?}");
    let general = channel(21, 20, ChannelType::Text);
    let owner = member(20, 5, Role::Owner);
    let made = world
        .store
        .create_server(server(20, 5), owner, general, None, 999, vec![]);
    let made = made.await;
    assert!(matches!(made, Err(Error::NotFound("user"))), "{made:?}");
    let again = world.store.delete_account(5, vec![]).await;
    assert!(matches!(again, Err(Error::NotFound("user"))), "{again:?}");
    let owner = world.store.delete_account(OWNER, vec![]).await;
    assert!(matches!(owner, Err(Error::Conflict(_))), "{owner:?}");
    let nobody = world.store.delete_account(99, vec![]).await;
    assert!(matches!(nobody, Err(Error::NotFound("user"))), "{nobody:?}");
}

pub(crate) async fn blocks_count_both_ways_and_are_bounded<P: Place>() {
    let world = World::<P>::new().await;
    world.store.block(1, 2).await.unwrap();
    world.store.block(1, 2).await.unwrap();
    assert!(world.store.blocked(1, 2).await.unwrap());
    assert!(world.store.blocked(2, 1).await.unwrap());
    assert!(!world.store.blocked(1, 3).await.unwrap());
    for other in 100..1099 {
        world.store.block(1, other).await.unwrap();
    }
    let more = world.store.block(1, 5000).await;
    assert!(
        matches!(more, Err(Error::LimitReached("blocks", 1000))),
        "{more:?}"
    );
    world.store.block(1, 2).await.unwrap();
    world.store.unblock(1, 2).await.unwrap();
    world.store.unblock(1, 2).await.unwrap();
    assert!(!world.store.blocked(1, 2).await.unwrap());
}

pub(crate) async fn an_account_begins_with_all_or_nothing<P: Place>() {
    let world = World::<P>::new().await;
    let invite = Invite {
        code: "code".into(),
        server_id: SERVER,
        creator_id: OWNER,
        max_uses: 1,
        uses: 0,
        expires_at: 0,
    };
    world.store.create_invite(invite, None, None).await.unwrap();
    let register = |id: Id| {
        let join = Join {
            member: member(SERVER, id, Role::Member),
            code: "code".into(),
            max_members: 9,
        };
        let new = NewAccount {
            session: Some(session(id + 500, id, SessionKind::User, 0)),
            join: Some(join),
            ..NewAccount::from(account(id))
        };
        let events = vec![event(TopicKey::server(SERVER), id)];
        world.store.create_account(new, events)
    };
    // Either of two at once may get the one use that there is.
    let ends = tokio::join!(register(5), register(6));
    let (made, refused, in_, out) = match ends {
        (made @ Ok(_), refused) => (made, refused, 5, 6),
        (refused, made) => (made, refused, 6, 5),
    };
    assert!(made.unwrap().new);
    assert!(
        matches!(refused, Err(Error::NotFound("invite"))),
        "{refused:?}"
    );
    assert!(world.store.member(SERVER, in_).await.unwrap().is_some());
    assert!(world.store.session(in_ + 500).await.unwrap().is_some());
    assert!(world.store.account(out).await.unwrap().is_none());
    assert!(world.store.session(out + 500).await.unwrap().is_none());
    assert_eq!(world.relay.events().len(), 1);
}

pub(crate) async fn a_request_repeated_answers_the_first_account_with_a_new_session<P: Place>() {
    let world = World::<P>::new().await;
    let first = world.store.create_account(bot(5), vec![]).await.unwrap();
    assert!(first.new && first.ended.is_empty());
    let again = || NewAccount {
        session: Some(session(506, 6, SessionKind::Bot, 0)),
        account: Account {
            user: User {
                id: 6,
                ..account(5).user
            },
            ..bot(5).account
        },
        ..bot(5)
    };
    let second = world.store.create_account(again(), vec![]).await.unwrap();
    assert_eq!((second.user, second.new), (account(5).user, false));
    assert_eq!(second.ended, [505]);
    assert_eq!(world.store.session(505).await.unwrap(), None);
    let session = world.store.session(506).await.unwrap().unwrap();
    assert_eq!(session.user_id, 5);
    assert!(world.store.account(6).await.unwrap().is_none());
    let told = world.relay.events();
    assert_eq!(told[0].signal, crate::model::Signal::Revoked(505));
    // A key by the same request is another thing, and so is another name.
    let key = NewAccount {
        session: Some(super::session(510, 7, SessionKind::Service, 0)),
        account: account(7),
        ..bot(5)
    };
    assert!(world.store.create_account(key, vec![]).await.unwrap().new);
    let other = NewAccount {
        account: account(8),
        ..again()
    };
    let other = world.store.create_account(other, vec![]).await;
    assert!(
        matches!(other, Err(Error::Conflict("request"))),
        "{other:?}"
    );
}

pub(crate) async fn an_owner_has_so_many_accounts_at_most<P: Place>() {
    let world = World::<P>::new().await;
    let create = |id| world.store.create_account(bot(id), vec![]);
    create(5).await.unwrap();
    create(6).await.unwrap();
    let full = create(7).await;
    assert!(
        matches!(full, Err(Error::LimitReached("bots", 2))),
        "{full:?}"
    );
    let owned = |before, limit| world.store.owned_by(2, before, limit);
    let ids = |users: Vec<User>| users.iter().map(|user| user.id).collect::<Vec<_>>();
    assert_eq!(ids(owned(Id::MAX, 9).await.unwrap()), [6, 5]);
    assert_eq!(ids(owned(Id::MAX, 1).await.unwrap()), [6]);
    assert_eq!(ids(owned(6, 9).await.unwrap()), [5]);
    world.store.delete_account(5, vec![]).await.unwrap();
    assert_eq!(ids(owned(Id::MAX, 9).await.unwrap()), [6]);
    assert!(
        world
            .store
            .owned_by(0, Id::MAX, 9)
            .await
            .unwrap()
            .is_empty()
    );
    create(7).await.unwrap();
    world.store.delete_account(2, vec![]).await.unwrap();
    let orphan = create(8).await;
    assert!(matches!(orphan, Err(Error::NotFound("user"))), "{orphan:?}");
}
