//! What is sent under a nonce, and whether something repeats it.

use super::send::SendMessage;
use super::{Error, Reason};
use crate::model::{Id, Message, Metadata};
use crate::mutation;
use sha2::{Digest as _, Sha256};

/// The nonce's earlier message, unless that was another one. What was edited or deleted since
/// can't be compared any more.
pub(super) fn repeat(original: Message, now: &Message) -> Result<Message, Error> {
    let untouched = !original.deleted && original.revision == 0;
    let same = if original.sent_hash.is_some() || now.sent_hash.is_some() {
        // What was sent counts, not what a hook made of it.
        sent_hash(&original) == sent_hash(now)
    } else {
        original.content == now.content
            && original.reply_to == now.reply_to
            && original.metadata == now.metadata
    };
    if untouched && !same && !mutation::on("nonce_content_unchecked") {
        return Err(nonce_reused());
    }
    Ok(original)
}

pub(super) fn nonce_reused() -> Error {
    Error::new(
        Reason::NonceReused,
        "The nonce was used for another message; make a new one for each.",
    )
}

/// What is sent under a nonce, in short.
pub(super) fn hash(send: &SendMessage) -> u64 {
    hash_of(send.reply_to, &send.content, &send.metadata)
}

/// As [`hash`], of a message.
fn sent_hash(message: &Message) -> u64 {
    let now = || hash_of(message.reply_to, &message.content, &message.metadata);
    message.sent_hash.unwrap_or_else(now)
}

fn hash_of(reply_to: Id, content: &str, metadata: &Metadata) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(reply_to.to_be_bytes());
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    add(content);
    for (key, value) in metadata {
        add(key);
        add(value);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}
