//! Counters that a plugin's instances share, bounded in number and in names.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Counters of a plugin.
const COUNTERS_MAX: usize = 64;
/// Bytes of a counter's name.
const NAME_BYTES_MAX: usize = 64;

/// Counters of a plugin, by name.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<String, u64>>);

impl Counters {
    /// Adds to a counter, and tells what it is then.
    pub fn add(&self, name: &str, by: u64) -> Result<u64, String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(name) {
            *count = count.saturating_add(by);
            return Ok(*count);
        }
        let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) {
            return Err(format!("a counter's name has 1 to {NAME_BYTES_MAX} of `a-z`, `0-9` and `_`"));
        }
        if all.len() >= COUNTERS_MAX {
            return Err(format!("a plugin has {COUNTERS_MAX} counters at most"));
        }
        all.insert(name.to_owned(), by);
        Ok(by)
    }

    /// What a counter is; 0 when nobody has counted.
    pub fn get(&self, name: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(String, u64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, count)| (name.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_bounded_in_number_and_in_names() {
        let counters = Counters::default();
        assert_eq!(counters.add("seen", 2), Ok(2));
        assert_eq!(counters.add("seen", 3), Ok(5));
        assert_eq!((counters.get("seen"), counters.get("other")), (5, 0));
        for wrong in ["", "Seen", "a b", "ä", &"a".repeat(65)] {
            assert!(counters.add(wrong, 1).is_err(), "{wrong}");
        }
        for number in 1..COUNTERS_MAX {
            assert_eq!(counters.add(&format!("n{number}"), u64::MAX), Ok(u64::MAX));
        }
        assert!(counters.add("one_more", 1).is_err());
        assert_eq!(counters.add("n1", 1), Ok(u64::MAX), "it stays where it is");
        assert_eq!(counters.all().len(), COUNTERS_MAX);
    }
}
