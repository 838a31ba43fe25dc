//! Sentences about users, credentials and sessions.

use super::*;
use crate::store::Error;

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
    world.store.create_account(made.clone()).await.unwrap();
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
    world.store.create_account(with(5, "ext")).await.unwrap();
    world.account(6).await;
    let same = Account {
        name_key: "user5".into(),
        ..account(7)
    };
    // All at once: each refusal undoes only itself.
    let all = [with(8, ""), same, with(9, "ext"), with(10, "")];
    let all = all.map(|account| world.store.create_account(account));
    let all = futures::future::join_all(all).await;
    assert!(matches!(all[0], Ok(())), "{all:?}");
    assert!(
        matches!(all[1], Err(Error::Conflict("username"))),
        "{all:?}"
    );
    assert!(
        matches!(all[2], Err(Error::Conflict("external_id"))),
        "{all:?}"
    );
    assert!(matches!(all[3], Ok(())), "{all:?}");
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
    world
        .store
        .set_password(OWNER, "$new".into())
        .await
        .unwrap();
    let found = world.store.account(OWNER).await.unwrap().unwrap();
    assert_eq!((found.user, found.password_hash), (changed, "$new".into()));
    let nobody = world.store.set_password(99, "$new".into()).await;
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
    let session = session(70, 5, SessionKind::User, 0);
    world.store.create_session(session, 9).await.unwrap();
    world.store.delete_account(5, vec![]).await.unwrap();
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
    world.store.create_account(next).await.unwrap();
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
        matches!(more, Err(Error::LimitReached("blocks"))),
        "{more:?}"
    );
    world.store.block(1, 2).await.unwrap();
    world.store.unblock(1, 2).await.unwrap();
    world.store.unblock(1, 2).await.unwrap();
    assert!(!world.store.blocked(1, 2).await.unwrap());
}

pub(crate) async fn a_session_is_read_as_it_was_made<P: Place>() {
    let world = World::<P>::new().await;
    let made = session(70, OWNER, SessionKind::Bot, 9);
    let ended = world.store.create_session(made.clone(), 9).await.unwrap();
    assert!(ended.is_empty());
    assert_eq!(world.store.session(70).await.unwrap(), Some(made.clone()));
    world
        .store
        .touch_sessions(vec![(70, 12), (99, 5)])
        .await
        .unwrap();
    world.store.touch_sessions(vec![(70, 11)]).await.unwrap();
    let seen = Session {
        last_seen_at: 12,
        ..made
    };
    assert_eq!(world.store.session(70).await.unwrap(), Some(seen));
    let events = || vec![event(TopicKey::user(OWNER), 70)];
    assert!(world.store.end_session(70, events()).await.unwrap());
    assert!(!world.store.end_session(70, events()).await.unwrap());
    assert_eq!(world.store.session(70).await.unwrap(), None);
    assert_eq!(world.relay.events().len(), 1);
}

pub(crate) async fn too_many_sessions_end_the_longest_unseen<P: Place>() {
    let world = World::<P>::new().await;
    for (id, seen) in [(70, 30), (71, 10), (72, 20)] {
        let made = session(id, OWNER, SessionKind::User, seen);
        assert!(
            world
                .store
                .create_session(made, 3)
                .await
                .unwrap()
                .is_empty()
        );
    }
    // Another kind's and another user's don't count.
    for made in [
        session(73, OWNER, SessionKind::Bot, 0),
        session(74, 2, SessionKind::User, 0),
    ] {
        assert!(
            world
                .store
                .create_session(made, 3)
                .await
                .unwrap()
                .is_empty()
        );
    }
    // The new one stays, though it was never seen.
    let made = session(75, OWNER, SessionKind::User, 0);
    let mut ended = world.store.create_session(made, 2).await.unwrap();
    ended.sort_unstable();
    assert_eq!(ended, [71, 72]);
    let left = world.store.sessions_of(OWNER).await.unwrap();
    let left: Vec<Id> = left.iter().map(|session| session.id).collect();
    assert_eq!(left, [75, 73, 70]);
}

pub(crate) async fn a_refresh_needs_the_hash_it_replaces<P: Place>() {
    let world = World::<P>::new().await;
    let made = session(70, OWNER, SessionKind::User, 9);
    world.store.create_session(made.clone(), 9).await.unwrap();
    let next = Session {
        access_hash: [5; 32],
        refresh_hash: [6; 32],
        previous_refresh_hash: [2; 32],
        access_expires_at: 50,
        refresh_expires_at: 60,
        refreshed_at: 70,
        ..made
    };
    // Of two at once one wins.
    let refresh = || world.store.refresh_session(next.clone(), [2; 32]);
    let (a, b) = tokio::join!(refresh(), refresh());
    assert!(
        a.is_ok() && matches!(b, Err(Error::Conflict(_))),
        "{a:?} {b:?}"
    );
    assert_eq!(world.store.session(70).await.unwrap(), Some(next));
}

pub(crate) async fn service_keys_are_listed<P: Place>() {
    let world = World::<P>::new().await;
    for (id, kind) in [
        (70, SessionKind::Service),
        (72, SessionKind::Admin),
        (71, SessionKind::Service),
        (73, SessionKind::User),
        (74, SessionKind::Bot),
    ] {
        let made = session(id, OWNER, kind, 0);
        world.store.create_session(made, 9).await.unwrap();
    }
    let keys = world.store.keys().await.unwrap();
    let keys: Vec<Id> = keys.iter().map(|key| key.id).collect();
    assert_eq!(keys, [72, 71, 70]);
}
