//! Signatures as the Standard Webhooks specification has them: HMAC-SHA256 of
//! `<id>.<unix seconds>.<body>`, in base64, after `v1,`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;

/// The header with the event's id; the same for each try.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of the try: seconds since the Unix epoch.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, one of each key, with a space between.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// What the text of a key begins with; base64 of the key follows.
pub const SECRET_PREFIX: &str = "whsec_";

/// Bytes of a key: those that the specification allows.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A key that sender and receiver share. Secret: Debug shows nothing of it.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// A new random one, of 32 bytes.
    #[must_use]
    pub fn generate() -> SigningKey {
        SigningKey(rand::random::<[u8; 32]>().to_vec())
    }

    /// That of a text `whsec_<base64 of 24 to 64 bytes>`; None for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<SigningKey> {
        let key = STANDARD.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?;
        KEY_BYTES.contains(&key.len()).then_some(SigningKey(key))
    }

    /// That of stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> SigningKey {
        SigningKey(bytes)
    }

    /// The bytes, to be stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text that a receiver is given.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The signature of a body sent as `id` at `timestamp` (seconds since the Unix epoch):
    /// `v1,<base64>`.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        if !crate::mutation::on("webhook_unsigned") {
            mac.update(format!("{id}.{timestamp}.").as_bytes());
        }
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey")
    }
}
