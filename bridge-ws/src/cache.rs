//! Events that were made JSON: the same bytes come once for each recipient, and are made JSON once.
//! Within a process they are mostly the very same bytes, not copies: those are told by their place.

use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts with a lock each.
const SHARDS: usize = 16;
/// Bytes of a part's generation, frames and JSON together; two generations are kept.
const GENERATION_BYTES_MAX: usize = 256 << 10;
/// Frames that are told by their place in memory: each is kept with all that it is a part of.
const PLACES: usize = 64;

/// A frame with its JSON. While it is here its memory is no other frame's.
type Place = Mutex<Option<(Bytes, Bytes)>>;

#[derive(Default)]
struct Shard {
    /// What was asked for lately, and what was before.
    now: HashMap<Bytes, Bytes>,
    before: HashMap<Bytes, Bytes>,
    bytes: usize,
}

/// A bounded map from frames to their JSON: some 8 MiB. What isn't asked for goes.
pub(crate) struct Cache {
    places: [Place; PLACES],
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            places: std::array::from_fn(|_| Mutex::default()),
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
        let address = frame.as_ptr().addr();
        // Allocations lie some hundred bytes apart.
        let place = &self.places[address / 64 % PLACES];
        if let Some((same, json)) = &*lock(place)
            && same.as_ptr().addr() == address
            && same.len() == frame.len()
        {
            return Some(json.clone());
        }
        let json = self.find_or_make(frame, make)?;
        *lock(place) = Some((frame.clone(), json.clone()));
        Some(json)
    }

    fn find_or_make(&self, frame: &Bytes, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        let place = self.hasher.hash_one(frame) as usize % SHARDS;
        let mut shard = lock(&self.shards[place]);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_place_that_has_another_frame_now_is_not_mistaken_for_it() {
        let cache = Cache::new();
        for number in 0..10_000_u32 {
            // Freed and allocated again, mostly at the same place.
            let frame = Bytes::from(number.to_be_bytes().to_vec());
            let expected = json(&number.to_string());
            let found = cache.get_or_make(&frame, || expected.clone());
            assert_eq!(found, expected);
            let part = frame.slice(..3);
            assert_eq!(cache.get_or_make(&part, || json("part")), json("part"));
            assert_eq!(cache.get_or_make(&frame, || None), expected);
        }
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
