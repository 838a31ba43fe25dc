//! JWTs that an integrator signed: ES256, EdDSA, RS256, HS256; keys from the configuration or a
//! JWK set, read again when its file changed.

use super::{Error, Reason};
use crate::config::{Jwt, JwtAlgorithm, JwtKey};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Bytes of a JWT.
const JWT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a key or key set file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an HS256 secret at least.
const SECRET_BYTES_MIN: usize = 32;

/// What a good JWT says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Claims {
    /// The integrator's own user id.
    pub(super) sub: String,
    /// The display name.
    pub(super) name: Option<String>,
}

struct Key {
    kid: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Default)]
struct Loaded {
    /// When each file was last changed, as of the reading.
    stamps: Vec<Option<SystemTime>>,
    keys: Arc<Vec<Key>>,
}

/// Checks JWTs.
pub(super) struct Verifier {
    settings: Jwt,
    loaded: Mutex<Option<Loaded>>,
}

impl Verifier {
    pub(super) fn new(settings: Jwt) -> Self {
        Self {
            settings,
            loaded: Mutex::new(None),
        }
    }

    /// Reads the keys; says which can't be.
    pub(super) fn check_keys(&self) -> Result<(), String> {
        self.keys().map(|_| ())
    }

    /// The claims of a JWT that is good now. Reads files if they changed: not for the runtime's
    /// threads.
    pub(super) fn verify(&self, jwt: &str, now_s: i64) -> Result<Claims, Error> {
        if !self.settings.is_enabled() {
            return Err(refused("no key is configured here"));
        }
        if jwt.len() > JWT_BYTES_MAX {
            return Err(refused("it is over 8 KiB"));
        }
        let header = decode_header(jwt).map_err(|error| refused(explain(error.kind())))?;
        let keys = self.keys().map_err(|problem| {
            tracing::error!(problem, "the keys for JWTs can't be read");
            Error::new(
                Reason::Internal,
                "The keys for JWTs can't be read; see the server's log.",
            )
        })?;
        let known = |key: &&Key| header.kid.as_ref().is_none_or(|kid| *kid == key.kid);
        let mut candidates = keys.iter().filter(known).peekable();
        if candidates.peek().is_none() {
            return Err(refused("its kid names no key"));
        }
        let mut worst = refused("its algorithm isn't its key's");
        for key in candidates.filter(|key| key.algorithm == header.alg) {
            match self.decode(jwt, key, now_s) {
                Ok(claims) => return Ok(claims),
                Err(error) => worst = error,
            }
        }
        Err(worst)
    }

    fn decode(&self, jwt: &str, key: &Key, now_s: i64) -> Result<Claims, Error> {
        let mut validation = Validation::new(key.algorithm);
        validation.set_audience(&[&self.settings.audience]);
        let mut required = vec!["exp", "aud", "sub"];
        if !self.settings.issuer.is_empty() {
            validation.set_issuer(&[&self.settings.issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        // The times are compared here, by the server's own clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let data = decode::<Timed>(jwt, &key.key, &validation);
        let timed = data.map_err(|error| refused(explain(error.kind())))?.claims;
        let leeway = i64::try_from(self.settings.leeway.as_secs()).unwrap_or(i64::MAX);
        let at = |time: f64| time as i64;
        if at(timed.exp).saturating_add(leeway) <= now_s {
            return Err(refused("it has expired"));
        }
        let begins = [timed.nbf, timed.iat].into_iter().flatten();
        if begins
            .map(at)
            .any(|time| time.saturating_sub(leeway) > now_s)
        {
            return Err(refused("it is of the future"));
        }
        Ok(timed.claims)
    }

    fn keys(&self) -> Result<Arc<Vec<Key>>, String> {
        let stamps: Vec<_> = self.files().map(|path| stamp(path)).collect();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded
            && loaded.stamps == stamps
        {
            return Ok(loaded.keys.clone());
        }
        match self.load() {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *loaded = Some(Loaded {
                    stamps,
                    keys: keys.clone(),
                });
                Ok(keys)
            }
            // A file that is being replaced is half there: the keys of before hold on.
            Err(problem) => match &*loaded {
                Some(before) => {
                    tracing::warn!(
                        problem,
                        "the keys for JWTs can't be read; the old ones stay"
                    );
                    Ok(before.keys.clone())
                }
                None => Err(problem),
            },
        }
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let single = self
            .settings
            .keys
            .iter()
            .filter_map(|key| key.key_file.as_ref());
        single.chain(&self.settings.jwks_file)
    }

    fn load(&self) -> Result<Vec<Key>, String> {
        let mut keys = Vec::new();
        for key in &self.settings.keys {
            keys.push(configured(key).map_err(|problem| format!("{}: {problem}", key.kid))?);
        }
        if let Some(path) = &self.settings.jwks_file {
            let text = read(path)?;
            let set: JwkSet = serde_json::from_slice(&text)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            // Keys of other kinds are others' business.
            keys.extend(set.keys.iter().filter_map(of_set));
        }
        if keys.is_empty() {
            return Err("there is no usable key".to_owned());
        }
        Ok(keys)
    }
}

/// The times as they stand in a JWT: numbers, possibly with a fraction.
#[derive(Deserialize)]
struct Timed {
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(flatten)]
    claims: Claims,
}

fn configured(key: &JwtKey) -> Result<Key, String> {
    let bytes = match (&key.key, &key.key_file) {
        (Some(secret), _) => secret.expose().as_bytes().to_vec(),
        (None, Some(path)) => read(path)?,
        (None, None) => return Err("neither key nor key_file".to_owned()),
    };
    let (algorithm, decoded) = match key.algorithm {
        JwtAlgorithm::ES256 => (Algorithm::ES256, DecodingKey::from_ec_pem(&bytes)),
        JwtAlgorithm::EdDSA => (Algorithm::EdDSA, DecodingKey::from_ed_pem(&bytes)),
        JwtAlgorithm::RS256 => (Algorithm::RS256, DecodingKey::from_rsa_pem(&bytes)),
        JwtAlgorithm::HS256 => {
            let secret = bytes.trim_ascii_end();
            if secret.len() < SECRET_BYTES_MIN {
                return Err(format!(
                    "{} bytes; at least {SECRET_BYTES_MIN} are needed",
                    secret.len()
                ));
            }
            (Algorithm::HS256, Ok(DecodingKey::from_secret(secret)))
        }
    };
    let decoded = decoded.map_err(|error| format!("not a {algorithm:?} public key: {error}"))?;
    Ok(Key {
        kid: key.kid.clone(),
        algorithm,
        key: decoded,
    })
}

/// A key of a set, with the one algorithm that its kind is used with here.
fn of_set(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key {
        kid: jwk.common.key_id.clone().unwrap_or_default(),
        algorithm,
        key,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let explain = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(path).map_err(explain)?.len() > FILE_BYTES_MAX {
        return Err(format!("{}: over 1 MiB", path.display()));
    }
    std::fs::read(path).map_err(explain)
}

fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|file| file.modified())
        .ok()
}

fn explain(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::InvalidAudience => "its aud isn't the configured one",
        ErrorKind::InvalidIssuer => "its iss isn't the configured one",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "its algorithm isn't allowed"
        }
        ErrorKind::MissingRequiredClaim(_) => "a required claim is missing: exp, aud, sub, iss",
        _ => "it is malformed",
    }
}

fn refused(why: &str) -> Error {
    Error::new(Reason::JwtInvalid, format!("The JWT was refused: {why}."))
}
