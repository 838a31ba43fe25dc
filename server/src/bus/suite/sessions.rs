//! The cache of sessions.

use super::*;
use crate::bus::Cached;
use crate::model::{Session, SessionKind};

/// A user's session.
pub(crate) fn session(id: Id) -> Arc<Session> {
    Arc::new(Session {
        id,
        user_id: 2,
        kind: SessionKind::User,
        name: String::new(),
        access_hash: [0; 32],
        access_expires_at: 0,
        refresh_family_hash: [0; 32],
        refresh_hash: [0; 32],
        refresh_expires_at: 0,
        previous_refresh_hash: [0; 32],
        refreshed_at: 0,
        created_at: 0,
        last_seen_at: 0,
    })
}

pub(crate) async fn a_session_is_believed_for_25_seconds<P: Place>() {
    let sessions = World::new::<P>().await.bus.sessions;
    assert!(matches!(sessions.get(1, START).await, Cached::Unknown));
    sessions.put(session(1), START).await;
    let Cached::Valid(cached) = sessions.get(1, START + 24_999).await else {
        panic!("forgotten")
    };
    assert_eq!(cached, session(1));
    let later = sessions.get(1, START + 25_000).await;
    assert!(matches!(later, Cached::Unknown));
    assert!(matches!(sessions.get(2, START).await, Cached::Unknown));
}

pub(crate) async fn an_ended_session_stays_ended<P: Place>() {
    let sessions = World::new::<P>().await.bus.sessions;
    sessions.put(session(1), START).await;
    sessions.revoke(1, START + 1_000).await;
    assert!(matches!(sessions.get(1, START).await, Cached::Revoked));
    sessions.put(session(1), START + 2_000).await;
    let now = sessions.get(1, START + 3_000).await;
    assert!(matches!(now, Cached::Revoked));
}

pub(crate) async fn an_ended_session_is_remembered_for_a_minute<P: Place>() {
    let sessions = World::new::<P>().await.bus.sessions;
    sessions.revoke(1, START).await;
    sessions.revoke(1, START + 30_000).await;
    let later = sessions.get(1, START + 89_999).await;
    assert!(matches!(later, Cached::Revoked));
    let later = sessions.get(1, START + 90_000).await;
    assert!(matches!(later, Cached::Unknown));
}

/// A session that was read just before it ended is put beside the ending.
pub(crate) async fn an_ending_overtakes_what_is_put_meanwhile<P: Place>() {
    let sessions = World::new::<P>().await.bus.sessions;
    for id in 1..=2_000 {
        let (putting, ending) = (sessions.clone(), sessions.clone());
        let put = tokio::spawn(async move { putting.put(session(id), START).await });
        let end = tokio::spawn(async move { ending.revoke(id, START).await });
        put.await.unwrap();
        end.await.unwrap();
        let now = sessions.get(id, START).await;
        assert!(matches!(now, Cached::Revoked), "{id}");
    }
}
