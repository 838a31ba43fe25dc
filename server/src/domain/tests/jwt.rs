use super::*;
use crate::config::{Jwt, JwtAlgorithm, JwtKey};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::json;
use std::time::{Duration, SystemTime};

/// Made for this test alone.
const RSA_PRIVATE: &str = include_str!("rsa_private.pem");
const RSA_PUBLIC: &str = include_str!("rsa_public.pem");

fn settings() -> Jwt {
    Jwt {
        keys: Vec::new(),
        jwks_file: None,
        audience: "chirm".into(),
        issuer: String::new(),
        leeway: Duration::from_secs(30),
    }
}

fn sign(world: &World, algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
    let exp = world.clock.wall_ms() / 1_000 + 60;
    let claims = json!({"sub": "player-1", "exp": exp, "aud": ["others", "chirm"]});
    let header = Header {
        kid: kid.map(Into::into),
        ..Header::new(algorithm)
    };
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

/// A key pair: what the integrator signs with, and what it tells.
fn pair(algorithm: Algorithm) -> (EncodingKey, String) {
    let kind = match algorithm {
        Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
        Algorithm::EdDSA => &PKCS_ED25519,
        _ => {
            return (
                EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap(),
                RSA_PUBLIC.into(),
            );
        }
    };
    let pair = KeyPair::generate_for(kind).unwrap();
    let private = pair.serialize_pem();
    let key = match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_pem(private.as_bytes()),
        _ => EncodingKey::from_ed_pem(private.as_bytes()),
    };
    (key.unwrap(), pair.public_key_pem())
}

#[tokio::test]
async fn each_algorithm_is_taken_from_its_own_key_only() {
    let algorithms = [
        (JwtAlgorithm::ES256, Algorithm::ES256),
        (JwtAlgorithm::EdDSA, Algorithm::EdDSA),
        (JwtAlgorithm::RS256, Algorithm::RS256),
    ];
    let pairs = algorithms.map(|(_, algorithm)| pair(algorithm));
    let mut jwt = settings();
    for ((algorithm, _), (_, public)) in algorithms.iter().zip(&pairs) {
        jwt.keys.push(JwtKey {
            kid: format!("{algorithm:?}"),
            algorithm: *algorithm,
            key: serde_json::from_value(json!(public)).unwrap(),
            key_file: None,
        });
    }
    let world = World::with(|config| config.auth.jwt = jwt).await;
    world.domain.check_keys().unwrap();
    for ((name, algorithm), (key, public)) in algorithms.iter().zip(&pairs) {
        for kid in [Some(format!("{name:?}")), None] {
            let jwt = sign(&world, *algorithm, kid.as_deref(), key);
            world
                .domain
                .exchange_token(jwt, "")
                .await
                .expect("signed by the key");
        }
        let jwt = sign(&world, *algorithm, Some("HS256"), key);
        assert_eq!(
            why(world.domain.exchange_token(jwt, "").await),
            Reason::JwtInvalid
        );
        // The old trick: the public key taken for a secret.
        let secret = EncodingKey::from_secret(public.as_bytes());
        let jwt = sign(
            &world,
            Algorithm::HS256,
            Some(&format!("{name:?}")),
            &secret,
        );
        assert_eq!(
            why(world.domain.exchange_token(jwt, "").await),
            Reason::JwtInvalid
        );
    }
}

#[tokio::test]
async fn a_key_set_is_read_again_when_its_file_changed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let keys = [pair(Algorithm::ES256).0, pair(Algorithm::RS256).0];
    let algorithms = [Algorithm::ES256, Algorithm::RS256];
    let write = |index: usize, at: u64| {
        let mut jwk = Jwk::from_encoding_key(&keys[index], algorithms[index]).unwrap();
        jwk.common.key_id = Some(format!("key-{index}"));
        let set = serde_json::to_vec(&JwkSet { keys: vec![jwk] }).unwrap();
        std::fs::write(&file, set).unwrap();
        // As if it had been written at that moment: no test waits for a file system's clock.
        let opened = std::fs::File::options().write(true).open(&file).unwrap();
        opened
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at))
            .unwrap();
    };
    write(0, 1_000);
    let jwt = Jwt {
        jwks_file: Some(file.clone()),
        ..settings()
    };
    let world = World::with(|config| config.auth.jwt = jwt).await;
    let signed = |index: usize| {
        let kid = format!("key-{index}");
        sign(&world, algorithms[index], Some(&kid), &keys[index])
    };
    let domain = &world.domain;
    domain.exchange_token(signed(0), "").await.ok().unwrap();
    assert_eq!(
        why(domain.exchange_token(signed(1), "").await),
        Reason::JwtInvalid
    );
    write(1, 2_000);
    domain.exchange_token(signed(1), "").await.ok().unwrap();
    assert_eq!(
        why(domain.exchange_token(signed(0), "").await),
        Reason::JwtInvalid
    );
    // Half a file, or none: the keys of before hold on.
    std::fs::write(&file, "{").unwrap();
    domain.exchange_token(signed(1), "").await.ok().unwrap();
    std::fs::remove_file(&file).unwrap();
    domain.exchange_token(signed(1), "").await.ok().unwrap();
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_named_at_the_start() {
    let mut jwt = settings();
    jwt.keys.push(JwtKey {
        kid: "weak".into(),
        algorithm: JwtAlgorithm::HS256,
        key: serde_json::from_value(json!("too short")).unwrap(),
        key_file: None,
    });
    let world = World::with(|config| config.auth.jwt = jwt).await;
    let problem = world.domain.check_keys().unwrap_err();
    assert!(
        problem.contains("weak") && problem.contains("32"),
        "{problem}"
    );
}
