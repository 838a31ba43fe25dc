//! Sentences about sessions.

use super::*;
use crate::model::Signal;
use crate::store::Error;
use std::time::Duration;

async fn store<P>(world: &World<P>, session: Session, max: u32) -> Vec<Id> {
    let stored = world.store.create_session(session, max, None);
    stored.await.unwrap()
}

/// The sessions whose ends were told, in that order.
fn told<P>(world: &World<P>) -> Vec<Id> {
    let signals = world.relay.events().into_iter().map(|event| event.signal);
    let ended = signals.map(|signal| match signal {
        Signal::Revoked(session) => session,
        other => panic!("{other:?}"),
    });
    ended.collect()
}

pub(crate) async fn a_session_is_read_as_it_was_made<P: Place>() {
    let world = World::<P>::new().await;
    let made = session(70, OWNER, SessionKind::Bot, 9);
    assert!(store(&world, made.clone(), 9).await.is_empty());
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
    assert!(world.store.end_session(70).await.unwrap());
    assert!(!world.store.end_session(70).await.unwrap());
    assert_eq!(world.store.session(70).await.unwrap(), None);
    assert_eq!(told(&world), [70]);
    assert_eq!(world.relay.events()[0].topic, TopicKey::user(OWNER));
}

pub(crate) async fn too_many_sessions_end_the_longest_unseen<P: Place>() {
    let world = World::<P>::new().await;
    for (id, seen) in [(70, 30), (71, 10), (72, 20)] {
        let made = session(id, OWNER, SessionKind::User, seen);
        assert!(store(&world, made, 3).await.is_empty());
    }
    // Another kind's and another user's don't count.
    for made in [
        session(73, OWNER, SessionKind::Bot, 0),
        session(74, 2, SessionKind::User, 0),
    ] {
        assert!(store(&world, made, 3).await.is_empty());
    }
    // The new one stays, though it was never seen.
    let made = session(75, OWNER, SessionKind::User, 0);
    let mut ended = store(&world, made, 2).await;
    ended.sort_unstable();
    assert_eq!(ended, [71, 72]);
    let left = world.store.sessions_of(OWNER, Id::MAX, 9).await.unwrap();
    let left: Vec<Id> = left.iter().map(|session| session.id).collect();
    assert_eq!(left, [75, 73, 70]);
    let mut told = told(&world);
    told.sort_unstable();
    assert_eq!(told, [71, 72]);
}

pub(crate) async fn a_session_needs_its_user_and_what_was_proved<P: Place>() {
    let world = World::<P>::new().await;
    let create = |id, user, proved: Option<&str>| {
        let made = session(id, user, SessionKind::User, 0);
        world.store.create_session(made, 9, proved.map(Into::into))
    };
    create(70, OWNER, Some("$argon2id$")).await.unwrap();
    let changed = create(71, OWNER, Some("$old")).await;
    assert!(
        matches!(changed, Err(Error::Conflict("password"))),
        "{changed:?}"
    );
    world.store.delete_account(2, vec![]).await.unwrap();
    for gone in [
        create(72, 2, Some("$argon2id$")).await,
        create(73, 2, None).await,
        create(74, 99, None).await,
    ] {
        assert!(matches!(gone, Err(Error::NotFound("user"))), "{gone:?}");
    }
    let taken = create(70, OWNER, None).await;
    assert!(
        matches!(taken, Err(Error::Conflict("session"))),
        "{taken:?}"
    );
}

pub(crate) async fn a_new_password_ends_the_others<P: Place>() {
    let world = World::<P>::new().await;
    for (id, kind) in [
        (70, SessionKind::User),
        (71, SessionKind::User),
        (72, SessionKind::Bot),
    ] {
        store(&world, session(id, OWNER, kind, 0), 9).await;
    }
    let set = world
        .store
        .set_password(OWNER, "$argon2id$".into(), "$new".into(), Some(70));
    assert_eq!(set.await.unwrap(), [71]);
    assert_eq!(world.store.session(71).await.unwrap(), None);
    assert_eq!(told(&world), [71]);
    assert_eq!(
        world
            .store
            .sessions_of(OWNER, Id::MAX, 9)
            .await
            .unwrap()
            .len(),
        2
    );
}

pub(crate) async fn a_users_sessions_are_replaced_by_one<P: Place>() {
    let world = World::<P>::new().await;
    for id in [70, 71] {
        store(&world, session(id, 2, SessionKind::Bot, 0), 9).await;
    }
    store(&world, session(72, 3, SessionKind::Bot, 0), 9).await;
    let next = session(73, 2, SessionKind::Bot, 0);
    let mut ended = world.store.replace_sessions(next.clone()).await.unwrap();
    ended.sort_unstable();
    assert_eq!(ended, [70, 71]);
    assert_eq!(
        world.store.sessions_of(2, Id::MAX, 9).await.unwrap(),
        [next]
    );
    assert_eq!(told(&world).len(), 2);
    assert!(world.store.session(72).await.unwrap().is_some());
    let nobody = session(74, 99, SessionKind::Bot, 0);
    let nobody = world.store.replace_sessions(nobody).await;
    assert!(matches!(nobody, Err(Error::NotFound("user"))), "{nobody:?}");
}

pub(crate) async fn a_refresh_needs_the_hash_it_replaces<P: Place>() {
    let world = World::<P>::new().await;
    let made = session(70, OWNER, SessionKind::User, 9);
    store(&world, made.clone(), 9).await;
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
    let won = (a.is_ok(), b.is_ok());
    assert!(won.0 != won.1, "{a:?} {b:?}");
    let lost = if won.0 { b } else { a };
    assert!(matches!(lost, Err(Error::Conflict(_))), "{lost:?}");
    assert_eq!(world.store.session(70).await.unwrap(), Some(next));
}

pub(crate) async fn a_session_long_over_is_removed<P: Place>() {
    let world = World::<P>::new().await;
    let over = world.clock.wall_ms() + 1;
    for (id, kind) in [(70, SessionKind::User), (71, SessionKind::Bot)] {
        let made = Session {
            refresh_expires_at: over,
            access_expires_at: over,
            ..session(id, OWNER, kind, 0)
        };
        store(&world, made, 9).await;
    }
    // For a day its tokens are still told from wrong ones.
    for (hours, there) in [(23, true), (2, false)] {
        world.clock.advance(Duration::from_secs(hours * 3600));
        world.store.trim(world.clock.wall_ms()).await.unwrap();
        assert_eq!(world.store.session(70).await.unwrap().is_some(), there);
    }
    assert!(world.store.session(71).await.unwrap().is_some());
    assert!(world.relay.events().is_empty());
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
        store(&world, session(id, OWNER, kind, 0), 9).await;
    }
    for (before, limit, expected) in [
        (Id::MAX, 9, vec![72, 71, 70]),
        (Id::MAX, 2, vec![72, 71]),
        (71, 2, vec![70]),
    ] {
        let keys = world.store.keys(before, limit).await.unwrap();
        assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), expected);
        let sessions = world.store.sessions_of(OWNER, before, 9).await.unwrap();
        assert!(sessions.iter().all(|session| session.id < before));
    }
}
