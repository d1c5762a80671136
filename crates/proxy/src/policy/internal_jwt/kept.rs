//! Tokens that are used again, within a bound: by the digest of what they say, in shards so that workers do not wait for
//! each other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderValue;

const SHARDS: usize = 16;

/// A token, as its header has it.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) value: HeaderValue,
    pub(super) kid: Arc<str>,
}

/// A token, and when it is made anew, in seconds since 1970.
type Entry = (Token, u64);

/// All of them.
pub(super) struct Kept {
    shards: [Mutex<HashMap<[u8; 32], Entry>>; SHARDS],
    /// Of one shard.
    most: usize,
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self { shards: Default::default(), most: most.div_ceil(SHARDS).max(1) }
    }

    fn shard(&self, key: &[u8; 32]) -> &Mutex<HashMap<[u8; 32], Entry>> {
        // The digest is spread evenly.
        &self.shards[usize::from(key[0]) % SHARDS]
    }

    pub(super) fn get(&self, key: &[u8; 32], now: u64) -> Option<Token> {
        let shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(key).filter(|(_, renewed)| now < *renewed).map(|(token, _)| token.clone())
    }

    pub(super) fn put(&self, key: [u8; 32], token: Token, renewed: u64, now: u64) {
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.most && !shard.contains_key(&key) {
            shard.retain(|_, (_, renewed)| now < *renewed);
            // Still full: the older half goes, so that this is not done for each that comes.
            if shard.len() >= self.most {
                let mut times: Vec<u64> = shard.values().map(|(_, renewed)| *renewed).collect();
                let middle = times.len() / 2;
                let (_, middle, _) = times.select_nth_unstable(middle);
                let (middle, mut left) = (*middle, self.most / 2);
                shard.retain(|_, (_, renewed)| {
                    let stays = *renewed >= middle && left > 0;
                    left -= usize::from(stays);
                    stays
                });
            }
        }
        shard.insert(key, (token, renewed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_it_is_to_be_made_anew_and_they_stay_within_their_bound() {
        let kept = Kept::new(32);
        let token = Token { value: HeaderValue::from_static("a"), kid: "k".into() };
        kept.put([7; 32], token.clone(), 100, 1);
        assert!(kept.get(&[7; 32], 99).is_some() && kept.get(&[7; 32], 100).is_none());
        for n in 0..10_000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            kept.put(key, token.clone(), 50, 1);
            assert!(kept.get(&key, 1).is_some(), "the newest is there");
        }
        let all: usize = kept.shards.iter().map(|shard| shard.lock().expect("not poisoned").len()).sum();
        assert!(all <= 32, "{all}");
    }
}
