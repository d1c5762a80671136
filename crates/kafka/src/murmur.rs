//! Which partition a key belongs to: as Java's client has it, and librdkafka's with `murmur2_random`.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;

/// MurmurHash 2 of 32 bits, with the seed that Kafka's clients have.
pub fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ (data.len() as u32);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among so many; none among none.
pub fn partition_of(key: &[u8], partitions: usize) -> Option<i32> {
    let partitions = u32::try_from(partitions).ok().filter(|count| *count > 0)?;
    i32::try_from((murmur2(key) & 0x7fff_ffff) % partitions).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_javas_client() {
        for (key, want) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), want, "{key}");
        }
    }

    #[test]
    fn a_key_has_a_partition_wherever_there_is_one() {
        assert_eq!(partition_of(b"a", 0), None);
        for count in 1..50 {
            assert!(partition_of(b"abc", count).is_some_and(|one| (0..count as i32).contains(&one)));
        }
    }
}
