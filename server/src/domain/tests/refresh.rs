//! Refresh tokens: each is spent by its use, and a spent one gives a thief away.

use super::*;
use std::time::Duration;

#[tokio::test]
async fn a_spent_refresh_token_has_ten_seconds_and_then_ends_the_session() {
    let world = World::new().await;
    let domain = &world.domain;
    let user = world.user("anna").await;
    let (_, first) = world.sign_in(user.user_id).await;
    domain.refresh(&first.refresh).await.ok().unwrap();
    // Its reply was lost: the old one still buys new tokens.
    world.clock.advance(Duration::from_secs(9));
    let third = domain.refresh(&first.refresh).await.ok().unwrap();
    domain.authenticate(&third.access).await.unwrap();
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(
        why(domain.refresh(&first.refresh).await),
        Reason::SessionRevoked
    );
    assert_eq!(
        why(domain.authenticate(&third.access).await),
        Reason::SessionRevoked
    );
    let (_, late) = world.sign_in(user.user_id).await;
    world.clock.advance(Duration::from_secs(2_592_001));
    assert_eq!(
        why(domain.refresh(&late.refresh).await),
        Reason::TokenExpired
    );
}

#[tokio::test]
async fn a_lost_reply_in_the_grace_costs_nothing() {
    let world = World::new().await;
    let domain = &world.domain;
    let user = world.user("anna").await;
    let (_, first) = world.sign_in(user.user_id).await;
    domain.refresh(&first.refresh).await.ok().unwrap();
    let mut tokens = domain.refresh(&first.refresh).await.ok().unwrap();
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(60));
        tokens = domain.refresh(&tokens.refresh).await.ok().unwrap();
    }
    domain.authenticate(&tokens.access).await.unwrap();
}

#[tokio::test]
async fn a_thief_who_refreshes_twice_is_noticed_by_the_owners_refresh() {
    let world = World::new().await;
    let domain = &world.domain;
    let user = world.user("anna").await;
    let (_, stolen) = world.sign_in(user.user_id).await;
    let once = domain.refresh(&stolen.refresh).await.ok().unwrap();
    let twice = domain.refresh(&once.refresh).await.ok().unwrap();
    assert_eq!(
        why(domain.refresh(&stolen.refresh).await),
        Reason::SessionRevoked
    );
    assert_eq!(
        why(domain.authenticate(&twice.access).await),
        Reason::SessionRevoked
    );
    assert_eq!(
        why(domain.refresh(&twice.refresh).await),
        Reason::TokenInvalid
    );
}

#[tokio::test]
async fn what_the_grace_superseded_is_spent() {
    let world = World::new().await;
    let domain = &world.domain;
    let user = world.user("anna").await;
    let (_, first) = world.sign_in(user.user_id).await;
    let second = domain.refresh(&first.refresh).await.ok().unwrap();
    domain.refresh(&first.refresh).await.ok().unwrap();
    assert_eq!(
        why(domain.refresh(&second.refresh).await),
        Reason::SessionRevoked
    );
}

#[tokio::test]
async fn of_two_refreshes_at_once_the_later_one_goes_on() {
    let world = World::new().await;
    let domain = &world.domain;
    let user = world.user("anna").await;
    let (_, first) = world.sign_in(user.user_id).await;
    let both = tokio::join!(
        domain.refresh(&first.refresh),
        domain.refresh(&first.refresh)
    );
    let both = [both.0.ok().unwrap(), both.1.ok().unwrap()];
    let mut latest = Vec::new();
    for tokens in both {
        if domain.authenticate(&tokens.access).await.is_ok() {
            latest.push(tokens);
        }
    }
    assert_eq!(latest.len(), 1);
    world.clock.advance(Duration::from_secs(60));
    domain.refresh(&latest[0].refresh).await.ok().unwrap();
}

#[tokio::test]
async fn a_guess_ends_nothing() {
    let world = World::new().await;
    let domain = &world.domain;
    let user = world.user("anna").await;
    let (_, tokens) = world.sign_in(user.user_id).await;
    let (_, other) = world.sign_in(user.user_id).await;
    let (head, _) = tokens.refresh.rsplit_once('.').unwrap();
    let (_, secret) = other.refresh.rsplit_once('.').unwrap();
    let guess = format!("{head}.{secret}");
    assert_eq!(why(domain.refresh(&guess).await), Reason::TokenInvalid);
    domain.authenticate(&tokens.access).await.unwrap();
    domain.refresh(&tokens.refresh).await.ok().unwrap();
}
