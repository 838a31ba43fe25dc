use super::*;
use crate::config::{Jwt, JwtAlgorithm, JwtKey, Registration};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use std::time::Duration;

const SECRET: &str = "a secret of at least thirty-two bytes";

fn register(name: &str, invite_code: &str) -> Register {
    Register {
        username: name.into(),
        password: PASSWORD.into(),
        invite_code: invite_code.into(),
        ..Register::default()
    }
}

#[tokio::test]
async fn registering_and_signing_in() {
    let world = World::new().await;
    let domain = &world.domain;
    let anna = domain
        .register(None, register("Anna", ""))
        .await
        .ok()
        .unwrap();
    assert_eq!(
        domain
            .authenticate(&anna.tokens.access)
            .await
            .unwrap()
            .user_id,
        anna.user.id
    );
    for taken in ["Anna", "anna", "аnna", "ΑNNA"] {
        assert_eq!(
            why(domain.register(None, register(taken, "")).await),
            Reason::NameTaken
        );
    }
    let login = |name: &'static str, password: &'static str| async move {
        domain.login(None, name, password.into(), "phone").await
    };
    assert_eq!(
        login("ANNA", PASSWORD).await.ok().unwrap().user.id,
        anna.user.id
    );
    // Which of the two is wrong isn't told.
    let (wrong, unknown) = (
        login("anna", "wrong horse").await,
        login("nobody", PASSWORD).await,
    );
    assert_eq!(wrong.err(), unknown.err());
    assert_eq!(why(login("anna", "short").await), Reason::CredentialsWrong);
    let weak = Register {
        password: "seven77".into(),
        ..register("ben", "")
    };
    assert_eq!(why(domain.register(None, weak).await), Reason::FieldInvalid);
}

#[tokio::test]
async fn registration_may_need_an_invitation_or_be_closed() {
    let closed = World::with(|config| config.auth.registration = Registration::Closed).await;
    let refused = closed.domain.register(None, register("anna", "")).await;
    assert_eq!(why(refused), Reason::RegistrationClosed);
    let world = World::with(|config| config.auth.registration = Registration::Invite).await;
    let domain = &world.domain;
    let owner = world.user("owner").await;
    let (server, _) = world.server(&owner, &[]).await;
    let invite = domain
        .create_invite(&owner, new_invite(server, 1, 0))
        .await
        .unwrap();
    let refused = domain.register(None, register("anna", "")).await;
    assert_eq!(why(refused), Reason::RegistrationClosed);
    assert_eq!(
        why(domain.register(None, register("anna", "nope")).await),
        Reason::NotFound
    );
    let anna = domain
        .register(None, register("anna", &invite.code))
        .await
        .ok()
        .unwrap();
    let visible = domain.visible(anna.user.id).await.unwrap();
    assert!(visible.servers.contains_key(&server));
    // Of two at once the last use makes one account, and nothing of the other.
    let last = domain
        .create_invite(&owner, new_invite(server, 1, 0))
        .await
        .unwrap();
    let both = tokio::join!(
        domain.register(None, register("cleo", &last.code)),
        domain.register(None, register("dora", &last.code)),
    );
    let made = [both.0.is_ok(), both.1.is_ok()];
    assert!(made[0] != made[1], "{made:?}");
    let unmade = if made[0] { "dora" } else { "cleo" };
    assert!(
        domain
            .store
            .account_by_name(unmade)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        why(domain.register(None, register("ben", &invite.code)).await),
        Reason::NotFound
    );
}

#[tokio::test]
async fn tokens_end_by_time_by_refresh_and_by_revocation() {
    let world = World::new().await;
    let domain = &world.domain;
    let user = world.user("anna").await;
    let (caller, tokens) = world.sign_in(user.user_id).await;
    world.clock.advance(Duration::from_secs(3_601));
    assert_eq!(
        why(domain.authenticate(&tokens.access).await),
        Reason::TokenExpired
    );
    domain
        .revalidate(&caller)
        .await
        .expect("a stream outlives its access token");
    let new = domain.refresh(&tokens.refresh).await.ok().unwrap();
    assert_eq!(
        why(domain.authenticate(&tokens.access).await),
        Reason::TokenInvalid
    );
    assert_eq!(domain.authenticate(&new.access).await.unwrap(), caller);
    assert_eq!(
        why(domain.authenticate(&new.refresh).await),
        Reason::TokenInvalid
    );
    assert_eq!(why(domain.refresh(&new.access).await), Reason::TokenInvalid);
    domain.logout(&caller).await.unwrap();
    assert_eq!(
        why(domain.authenticate(&new.access).await),
        Reason::SessionRevoked
    );
    assert_eq!(
        why(domain.revalidate(&caller).await),
        Reason::SessionRevoked
    );
    let session_id = caller.session_id;
    let revoked = v1::event::Event::SessionRevoked(v1::SessionRevoked { session_id });
    assert_eq!(world.told_user(&caller).await.last(), Some(&revoked));
    world.clock.advance(Duration::from_secs(120));
    assert_eq!(
        why(domain.authenticate(&new.access).await),
        Reason::TokenInvalid
    );
    for bad in ["", "v1.1.x", "Bearer x", &"x".repeat(100_000)] {
        assert_eq!(why(domain.authenticate(bad).await), Reason::TokenInvalid);
    }
}

#[tokio::test]
async fn a_stream_sees_at_its_next_look_what_another_process_ended() {
    let world = World::new().await;
    let caller = world.user("anna").await;
    world.domain.revalidate(&caller).await.unwrap();
    world
        .domain
        .store
        .end_session(caller.session_id)
        .await
        .unwrap();
    assert_eq!(
        why(world.domain.revalidate(&caller).await),
        Reason::SessionRevoked
    );
}

#[tokio::test]
async fn a_user_has_twenty_sessions_and_a_new_password_ends_the_others() {
    let world = World::with(|config| config.limits.enabled = true).await;
    let domain = &world.domain;
    let anna = domain
        .register(None, register("anna", ""))
        .await
        .ok()
        .unwrap();
    for _ in 0..25 {
        world.clock.advance(Duration::from_secs(1));
        world.sign_in(anna.user.id).await;
    }
    let refused = domain.authenticate(&anna.tokens.access).await;
    assert_eq!(
        why(refused),
        Reason::SessionRevoked,
        "the longest unseen ones ended"
    );
    let (caller, _) = world.sign_in(anna.user.id).await;
    assert_eq!(
        domain
            .list_sessions(&caller, Id::MAX, 0)
            .await
            .unwrap()
            .items
            .len(),
        20
    );
    let wrong = domain
        .change_password(&caller, "wrong horse".into(), "new horse 1".into())
        .await;
    assert_eq!(why(wrong), Reason::CredentialsWrong);
    domain
        .change_password(&caller, PASSWORD.into(), "new horse 1".into())
        .await
        .unwrap();
    assert_eq!(
        domain
            .list_sessions(&caller, Id::MAX, 0)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    domain.revalidate(&caller).await.unwrap();
    assert_eq!(
        why(domain.login(None, "anna", PASSWORD.into(), "").await),
        Reason::CredentialsWrong
    );
    domain
        .login(None, "anna", "new horse 1".into(), "")
        .await
        .ok()
        .unwrap();
}

#[tokio::test]
async fn a_sign_in_that_a_new_password_or_the_end_overtook_makes_no_session() {
    let world = World::new().await;
    let domain = &world.domain;
    let anna = domain
        .register(None, register("anna", ""))
        .await
        .ok()
        .unwrap();
    let stored = || async {
        let account = domain.store.account(anna.user.id).await.unwrap();
        account.unwrap().password_hash
    };
    let proved = stored().await;
    let caller = domain.authenticate(&anna.tokens.access).await.unwrap();
    domain
        .change_password(&caller, PASSWORD.into(), "new horse 1".into())
        .await
        .unwrap();
    let start = |proved| domain.start_session(anna.user.id, String::new(), Some(proved));
    assert_eq!(why(start(proved).await), Reason::CredentialsWrong);
    let proved = stored().await;
    start(proved.clone()).await.ok().unwrap();
    domain
        .delete_account(&caller, "new horse 1".into())
        .await
        .unwrap();
    assert_eq!(why(start(proved).await), Reason::NotFound);
}

#[tokio::test]
async fn a_password_that_is_hashed_as_of_old_is_hashed_anew_at_sign_in() {
    let world = World::new().await;
    let domain = &world.domain;
    let anna = domain
        .register(None, register("anna", ""))
        .await
        .ok()
        .unwrap();
    let old = passwords::hash_as_of_old(PASSWORD);
    let stored = || async {
        let account = domain.store.account(anna.user.id).await.unwrap();
        account.unwrap().password_hash
    };
    let set = domain
        .store
        .set_password(anna.user.id, stored().await, old.clone(), None);
    set.await.unwrap();
    let login = |password: &str| domain.login(None, "anna", password.into(), "");
    assert_eq!(why(login("wrong horse").await), Reason::CredentialsWrong);
    assert_eq!(stored().await, old);
    let again = login(PASSWORD).await.ok().unwrap();
    let new = stored().await;
    assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
    // Nobody is signed out by it, and the password is the same.
    domain.authenticate(&anna.tokens.access).await.unwrap();
    domain.authenticate(&again.tokens.access).await.unwrap();
    login(PASSWORD).await.ok().unwrap();
    assert_eq!(stored().await, new);
}

#[tokio::test]
async fn one_ends_only_ones_own_sessions() {
    let world = World::new().await;
    let (anna, eve) = (world.user("anna").await, world.user("eve").await);
    let revoked = world.domain.revoke_session(&eve, anna.session_id).await;
    assert_eq!(why(revoked), Reason::NotFound);
    world.domain.revalidate(&anna).await.unwrap();
}

#[tokio::test]
async fn sign_ins_are_limited_by_name_and_address() {
    let world = World::with(|config| config.limits.enabled = true).await;
    let from = Some([192, 0, 2, 1].into());
    let mut reasons = Vec::new();
    for _ in 0..12 {
        let login = world.domain.login(from, "anna", PASSWORD.into(), "").await;
        reasons.push(why(login));
    }
    assert_eq!(reasons[0], Reason::CredentialsWrong);
    assert_eq!(reasons[11], Reason::RateLimited);
    let elsewhere = Some([192, 0, 2, 2].into());
    let login = world.domain.login(elsewhere, "anna", PASSWORD.into(), "");
    assert_eq!(why(login.await), Reason::CredentialsWrong);
}

#[tokio::test]
async fn sign_ins_of_an_address_are_limited_whatever_the_names() {
    let world = World::with(|config| config.limits.enabled = true).await;
    let from = |last: u16| Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into());
    let sign_in = |from, name: usize| world.domain.throttle.sign_in(from, &name.to_string());
    let passed = (0..1_000).take_while(|n| sign_in(from(*n as u16), *n).is_ok());
    // One comes free a second.
    assert!((60..1_000).contains(&passed.count()));
    let other = Some([0x2001, 0xdb8, 0, 1, 0, 0, 0, 1].into());
    sign_in(other, 0).unwrap();
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_name_free() {
    let world = World::new().await;
    let domain = &world.domain;
    let owner = world.user("owner").await;
    let (server, general) = world.server(&owner, &[]).await;
    let anna = domain
        .register(None, register("anna", ""))
        .await
        .ok()
        .unwrap();
    let caller = domain.authenticate(&anna.tokens.access).await.unwrap();
    domain.join_by_id(&caller, server).await.unwrap();
    world.send(&caller, general, "bye").await.unwrap();
    let wrong = domain.delete_account(&caller, "wrong horse".into()).await;
    assert_eq!(why(wrong), Reason::CredentialsWrong);
    domain
        .delete_account(&caller, PASSWORD.into())
        .await
        .unwrap();
    assert_eq!(
        why(domain.authenticate(&anna.tokens.access).await),
        Reason::SessionRevoked
    );
    assert_eq!(
        why(world.send(&caller, general, "?").await),
        Reason::NotFound
    );
    assert!(domain.get_user(anna.user.id).await.unwrap().deleted);
    domain
        .register(None, register("anna", ""))
        .await
        .ok()
        .unwrap();
    let owns = domain.delete_account(&owner, String::new()).await;
    assert_eq!(why(owns), Reason::OwnerLeaves);
}

async fn with_jwt() -> World {
    let key = JwtKey {
        kid: "one".into(),
        algorithm: JwtAlgorithm::HS256,
        key: serde_json::from_value(json!(SECRET)).unwrap(),
        key_file: None,
    };
    let jwt = Jwt {
        keys: vec![key],
        jwks_file: None,
        audience: "chirm".into(),
        issuer: "game".into(),
        leeway: Duration::from_secs(30),
    };
    World::with(|config| config.auth.jwt = jwt).await
}

fn claims(now_s: i64) -> serde_json::Value {
    json!({"sub": "player-1", "exp": now_s + 60, "aud": "chirm", "iss": "game", "name": "Anna"})
}

fn sign(kid: &str, claims: &serde_json::Value) -> String {
    let header = Header {
        kid: Some(kid.into()),
        ..Header::new(Algorithm::HS256)
    };
    jsonwebtoken::encode(
        &header,
        claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap()
}

#[tokio::test]
async fn a_signed_jwt_signs_in_and_makes_the_user_on_first_sight() {
    let world = with_jwt().await;
    let now_s = world.clock.wall_ms() / 1_000;
    let jwt = sign("one", &claims(now_s));
    let first = world
        .domain
        .exchange_token(jwt.clone(), "")
        .await
        .ok()
        .unwrap();
    let again = world.domain.exchange_token(jwt, "").await.ok().unwrap();
    assert!(first.created && !again.created);
    assert_eq!(
        (first.user.display_name.as_str(), first.user.id),
        ("Anna", again.user.id)
    );
    world
        .domain
        .authenticate(&first.tokens.access)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wrong_jwt_is_refused() {
    use base64::Engine as _;
    let world = with_jwt().await;
    let now_s = world.clock.wall_ms() / 1_000;
    let good = claims(now_s);
    let with = |key: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[key] = value;
        sign("one", &claims)
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        sign("one", &claims)
    };
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let none = format!(
        "{}.{}.",
        encode(r#"{"alg":"none","kid":"one"}"#),
        encode(&good.to_string())
    );
    let header = Header {
        kid: Some("one".into()),
        ..Header::new(Algorithm::HS384)
    };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let other = jsonwebtoken::encode(&header, &good, &key).unwrap();
    let mut forged = sign("one", &good);
    forged.truncate(forged.len() - 4);
    for (what, jwt) in [
        ("alg none", none),
        ("another algorithm", other),
        ("no such key", sign("two", &good)),
        ("wrong signature", format!("{forged}AAAA")),
        ("expired", with("exp", json!(now_s - 31))),
        ("not yet", with("nbf", json!(now_s + 31))),
        ("wrong audience", with("aud", json!("others"))),
        ("wrong issuer", with("iss", json!("others"))),
        ("no exp", without("exp")),
        ("no aud", without("aud")),
        ("no iss", without("iss")),
        ("no sub", without("sub")),
        ("empty sub", with("sub", json!(""))),
        ("long sub", with("sub", json!("x".repeat(129)))),
        ("garbage", "a.b.c".to_owned()),
        ("empty", String::new()),
        ("huge", "x".repeat(10_000)),
    ] {
        let refused = world.domain.exchange_token(jwt, "").await;
        assert_eq!(why(refused), Reason::JwtInvalid, "{what}");
    }
    for jwt in [
        with("exp", json!(now_s - 29)),
        with("nbf", json!(now_s + 29)),
    ] {
        world
            .domain
            .exchange_token(jwt, "")
            .await
            .expect("within the leeway");
    }
}
