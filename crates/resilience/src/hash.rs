//! A fast, stable 64-bit hash for consistent hashing and sharding.
//!
//! Stable over releases and machines, so that two gateways send one key to one endpoint. Not for secrets: whoever
//! chooses the keys can make collisions.

const MULTIPLIERS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// Hashes bytes.
pub fn hash64(bytes: &[u8]) -> u64 {
    let mut state = mix(bytes.len() as u64 ^ MULTIPLIERS[0]);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    state
}

/// Spreads one word over all bits (the finaliser of SplitMix64, Steele et al. 2014).
pub fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(MULTIPLIERS[0]);
    let word = (word ^ (word >> 30)).wrapping_mul(MULTIPLIERS[1]);
    let word = (word ^ (word >> 27)).wrapping_mul(MULTIPLIERS[2]);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stable_over_releases() {
        assert_eq!(hash64(b""), hash64(b""));
        assert_ne!(hash64(b"a"), hash64(b"a\0"), "a shorter key is not a padded one");
        assert_ne!(hash64(b"12345678"), hash64(b"123456780"));
    }

    #[test]
    fn keys_that_differ_little_spread_evenly() {
        let mut buckets = [0u32; 64];
        for number in 0..64_000u32 {
            buckets[(hash64(format!("user-{number}").as_bytes()) % 64) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1150).contains(count)), "{buckets:?}");
    }
}
