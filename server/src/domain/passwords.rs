//! Passwords: argon2id, 19 MiB, two passes, one lane; a few at a time, off the runtime's threads.

use super::{Error, Reason};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::Semaphore;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Computed at once: each takes 19 MiB and some 20 ms of a core.
const AT_ONCE: usize = 4;
/// How long a sign-in waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// Stands in for the hash of a user that doesn't exist, so that the answer takes as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash("nobody's password").unwrap_or_default());

/// Computes hashes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Passwords(Arc<Semaphore>);

/// How a password compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// Right, but hashed with other parameters than today's.
    RightButOld,
    Wrong,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// The PHC string of a password.
    pub(super) async fn hash(&self, password: String) -> Result<String, Error> {
        self.run(move || hash(&password)).await?.ok_or_else(failed)
    }

    /// Compares with a stored hash; of nobody's (empty) the answer is Wrong, after as long.
    pub(super) async fn verify(&self, password: String, stored: String) -> Result<Verdict, Error> {
        self.run(move || verify(&password, &stored)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = tokio::time::timeout(TURN, self.0.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = turn else {
            return Err(
                Error::new(Reason::Overloaded, "Too many sign-ins at once; wait.")
                    .retry_after(TURN),
            );
        };
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| failed())
    }
}

fn hash(password: &str) -> Option<String> {
    let hash = hasher().hash_password(password.as_bytes()).ok()?;
    Some(hash.to_string())
}

fn verify(password: &str, stored: &str) -> Verdict {
    let text = if stored.is_empty() {
        NOBODY.as_str()
    } else {
        stored
    };
    let Ok(parsed) = PasswordHash::new(text) else {
        return Verdict::Wrong;
    };
    let right = hasher()
        .verify_password(password.as_bytes(), &parsed)
        .is_ok();
    if !right || stored.is_empty() {
        return Verdict::Wrong;
    }
    let today = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$");
    if stored.starts_with(&today) {
        Verdict::Right
    } else {
        Verdict::RightButOld
    }
}

fn hasher() -> Argon2<'static> {
    // The parameters are constants within argon2's bounds, so its own never take their place.
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn failed() -> Error {
    Error::new(Reason::Internal, "The password couldn't be hashed.")
}

/// A hash with other parameters than today's.
#[cfg(test)]
pub(super) fn hash_as_of_old(password: &str) -> String {
    let params = Params::new(8 * 1024, 1, 1, None).unwrap();
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = hasher.hash_password(password.as_bytes()).unwrap();
    hash.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passwords_are_told_apart() {
        let passwords = Passwords::new();
        let stored = passwords
            .hash("correct horse".into())
            .await
            .expect("hashes");
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        for (password, hash, verdict) in [
            ("correct horse", stored.as_str(), Verdict::Right),
            ("correct hors", stored.as_str(), Verdict::Wrong),
            ("nobody's password", "", Verdict::Wrong),
            ("x", "garbage", Verdict::Wrong),
        ] {
            let found = passwords.verify(password.into(), hash.into()).await;
            assert_eq!(found, Ok(verdict), "{password} {hash}");
        }
    }
}
