//! Events that were made JSON: the same bytes come once for each recipient, and are made JSON once.

use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Parts with a lock each.
const SHARDS: usize = 16;
/// Bytes of a part's generation, frames and JSON together; two generations are kept.
const GENERATION_BYTES_MAX: usize = 256 << 10;

#[derive(Default)]
struct Shard {
    /// What was asked for lately, and what was before.
    now: HashMap<Bytes, Bytes>,
    before: HashMap<Bytes, Bytes>,
    bytes: usize,
}

/// A bounded map from frames to their JSON: some 8 MiB. What isn't asked for goes.
pub(crate) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    /// The frame's JSON, made if it isn't there. Others that ask for a frame of the same part wait
    /// meanwhile, so that it is made once.
    pub(crate) fn get_or_make(
        &self,
        frame: &Bytes,
        make: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Bytes> {
        let place = self.hasher.hash_one(frame) as usize % SHARDS;
        let mut shard = self.shards[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(json) = shard.now.get(frame) {
            return Some(json.clone());
        }
        let json = match shard.before.get(frame) {
            Some(json) => json.clone(),
            None => make()?,
        };
        shard.put(frame, json.clone());
        Some(json)
    }
}

impl Shard {
    fn put(&mut self, frame: &Bytes, json: Bytes) {
        let bytes = frame.len() + json.len();
        if self.bytes + bytes > GENERATION_BYTES_MAX {
            self.before = std::mem::take(&mut self.now);
            self.bytes = 0;
        }
        self.bytes += bytes;
        // A copy: the frame may be a part of something larger that it would keep.
        self.now.insert(Bytes::copy_from_slice(frame), json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_frame_is_made_json_once() {
        let cache = Cache::new();
        let frame = Bytes::from_static(b"frame");
        assert_eq!(cache.get_or_make(&frame, || json("{}")), json("{}"));
        let same = Bytes::copy_from_slice(b"frame");
        let again = cache.get_or_make(&same, || panic!("it was made"));
        assert_eq!(again, json("{}"));
        let other = Bytes::from_static(b"other");
        assert_eq!(cache.get_or_make(&other, || None), None);
        assert_eq!(cache.get_or_make(&other, || json("1")), json("1"));
    }

    #[test]
    fn it_stays_within_its_bound() {
        let cache = Cache::new();
        for number in 0..20_000_u32 {
            let frame = Bytes::from(format!("{number:01000}"));
            cache.get_or_make(&frame, || json("{}"));
        }
        let bytes: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                let frames = shard.now.keys().chain(shard.before.keys());
                frames.map(Bytes::len).sum::<usize>()
            })
            .sum();
        assert!(bytes <= 2 * SHARDS * GENERATION_BYTES_MAX, "{bytes} bytes");
    }
}
