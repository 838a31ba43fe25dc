//! Tokens: `v1.<session>.<32 random bytes>`. The store has their SHA-256 only.
//!
//! The first half of a refresh token's bytes is the same in all of a session's, its family: it
//! tells one that is spent, however long since, from one that never was.

use crate::model::Id;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What a token is for: its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Access,
    Refresh,
    Bot,
    Key,
}

impl Use {
    fn prefix(self) -> &'static str {
        match self {
            Use::Access => "v1",
            Use::Refresh => "r1",
            Use::Bot => "b1",
            Use::Key => "k1",
        }
    }
}

/// What all refresh tokens of a session have in common. Secret: no Debug.
#[derive(Clone, Copy)]
pub(super) struct Family([u8; 16]);

impl Family {
    /// That of a new session.
    pub(super) fn new() -> Self {
        Self(rand::random())
    }

    /// What the store keeps of it.
    pub(super) fn hash(self, session: Id) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(session.to_be_bytes());
        hasher.update(self.0);
        hasher.finalize().into()
    }
}

/// A token taken apart; the secret part is only in the hash of the whole, and in the family.
pub(super) struct Token {
    pub(super) kind: Use,
    pub(super) session: Id,
    pub(super) hash: [u8; 32],
    /// Of a refresh token.
    pub(super) family: Family,
}

/// Takes a token apart; None if it is malformed.
pub(super) fn parse(text: &str) -> Option<Token> {
    let mut parts = text.split('.');
    let (prefix, session, secret) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || secret.len() != 43 || session.len() > 19 {
        return None;
    }
    let uses = [Use::Access, Use::Refresh, Use::Bot, Use::Key];
    let kind = uses.into_iter().find(|kind| kind.prefix() == prefix)?;
    let session: Id = session.parse().ok().filter(|id| *id > 0)?;
    let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
    let family = Family(*secret.first_chunk()?);
    let hash = Sha256::digest(text.as_bytes()).into();
    Some(Token {
        kind,
        session,
        hash,
        family,
    })
}

/// A new token and what the store keeps of it.
pub(super) fn mint(kind: Use, session: Id) -> (String, [u8; 32]) {
    with_secret(kind, session, rand::random())
}

/// A new refresh token of a family and what the store keeps of it.
pub(super) fn mint_refresh(family: Family, session: Id) -> (String, [u8; 32]) {
    let mut secret: [u8; 32] = rand::random();
    secret[..16].copy_from_slice(&family.0);
    with_secret(Use::Refresh, session, secret)
}

fn with_secret(kind: Use, session: Id, secret: [u8; 32]) -> (String, [u8; 32]) {
    let secret = URL_SAFE_NO_PAD.encode(secret);
    let token = format!("{}.{session}.{secret}", kind.prefix());
    let hash = Sha256::digest(token.as_bytes()).into();
    (token, hash)
}

/// Compares in constant time. All zero is no hash at all and equals nothing.
pub(super) fn same(stored: &[u8; 32], given: &[u8; 32]) -> bool {
    stored != &[0; 32] && bool::from(stored.ct_eq(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_minted_parses() {
        for kind in [Use::Access, Use::Refresh, Use::Bot, Use::Key] {
            let (text, hash) = mint(kind, 42);
            let token = parse(&text).expect("parses");
            assert_eq!((token.kind, token.session), (kind, 42));
            assert!(same(&hash, &token.hash));
        }
    }

    #[test]
    fn refresh_tokens_of_a_session_are_of_one_family() {
        let family = Family::new();
        let token = || parse(&mint_refresh(family, 42).0).expect("parses");
        let (first, second) = (token(), token());
        assert_ne!(first.hash, second.hash);
        assert_eq!(first.family.hash(42), second.family.hash(42));
        assert_ne!(first.family.hash(42), first.family.hash(43));
        assert_ne!(first.family.hash(42), Family::new().hash(42));
    }

    #[test]
    fn what_is_malformed_does_not() {
        let good = mint(Use::Access, 42).0;
        for bad in [
            "".to_owned(),
            "v1".to_owned(),
            "v1.42".to_owned(),
            good.replace("v1", "v2"),
            good.replace(".42.", ".-42."),
            good.replace(".42.", ".99999999999999999999."),
            good.replace(".42.", "..42."),
            format!("{good}A"),
            format!("{good}."),
            good.replace(&good[6..7], "!"),
        ] {
            assert!(parse(&bad).is_none(), "{bad}");
        }
        assert!(!same(&[0; 32], &[0; 32]));
    }
}
