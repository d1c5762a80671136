//! Collections that outlive a call: what rules count by address, session or altogether. In memory, bounded.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use foldhash::fast::RandomState;

use crate::{operator::number, variable::Variable};

/// Variables in one collection, and bytes of a name or a value.
const VARIABLES_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 256;
const SHARDS: usize = 16;

/// The key of a collection: which, and of whom.
pub(crate) type Key = (u8, Box<[u8]>);

/// Collections of all calls.
#[derive(Debug)]
pub struct Collections {
    shards: [Mutex<HashMap<Key, Kept, RandomState>>; SHARDS],
    /// How many each shard holds.
    capacity: usize,
}

#[derive(Debug, Default)]
struct Kept {
    variables: HashMap<Box<str>, Value, RandomState>,
    /// Milliseconds since the epoch.
    until: u64,
}

#[derive(Debug, Clone, Default)]
struct Value {
    text: Vec<u8>,
    until: Option<u64>,
}

/// A change of a variable.
pub(crate) enum Change<'c> {
    To(&'c [u8]),
    Plus(i64),
    Expires(u64),
    Gone,
}

impl Collections {
    /// Room for so many.
    pub fn new(capacity: usize) -> Self {
        Self { shards: Default::default(), capacity: capacity.div_ceil(SHARDS).max(1) }
    }

    /// The key of a collection.
    pub(crate) fn key(collection: Variable, of: &[u8]) -> Key {
        (collection as u8, of.get(..VALUE_BYTES_MAX).unwrap_or(of).into())
    }

    fn shard(&self, key: &Key) -> Option<&Mutex<HashMap<Key, Kept, RandomState>>> {
        let sum =
            key.1.iter().fold(usize::from(key.0), |sum, byte| sum.wrapping_mul(31) ^ usize::from(*byte));
        self.shards.get(sum % SHARDS)
    }

    /// Name and value of what is in a collection.
    pub(crate) fn all(&self, key: &Key, now: u64) -> Vec<(Box<str>, Vec<u8>)> {
        let Some(shard) = self.shard(key) else { return Vec::new() };
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = shard.get(key).filter(|kept| kept.until > now) else { return Vec::new() };
        let is_there = |value: &Value| value.until.is_none_or(|until| until > now);
        let there = kept.variables.iter().filter(|(_, value)| is_there(value));
        let mut all: Vec<_> = there.map(|(name, value)| (name.clone(), value.text.clone())).collect();
        all.sort();
        all
    }

    /// A variable.
    pub(crate) fn get(&self, key: &Key, name: &str, now: u64) -> Option<Vec<u8>> {
        let shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let value = shard.get(key).filter(|kept| kept.until > now)?.variables.get(name)?;
        value.until.is_none_or(|until| until > now).then(|| value.text.clone())
    }

    /// Changes a variable; the collection goes on for so many milliseconds.
    pub(crate) fn change(&self, key: &Key, name: &str, change: &Change<'_>, now: u64, timeout: u64) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.capacity && !shard.contains_key(key) {
            shard.retain(|_, kept| kept.until > now);
            // Still full: some give way, whichever come first.
            let excess = (shard.len() + 1).saturating_sub(self.capacity);
            if excess > 0 {
                let gone: Vec<Key> = shard.keys().take(excess.max(self.capacity / 16)).cloned().collect();
                for key in gone {
                    shard.remove(&key);
                }
            }
        }
        let kept = shard.entry(key.clone()).or_default();
        if kept.until <= now {
            kept.variables.clear();
        }
        kept.until = now.saturating_add(timeout);
        kept.variables.retain(|_, value| value.until.is_none_or(|until| until > now));
        match change {
            Change::Gone => {
                kept.variables.remove(name);
            }
            Change::Expires(seconds) => {
                if let Some(value) = kept.variables.get_mut(name) {
                    value.until = Some(now.saturating_add(seconds.saturating_mul(1_000)));
                }
            }
            Change::To(_) | Change::Plus(_) => {
                if name.len() > VALUE_BYTES_MAX
                    || (kept.variables.len() >= VARIABLES_MAX && !kept.variables.contains_key(name))
                {
                    return;
                }
                let value = kept.variables.entry(name.into()).or_default();
                value.text = match change {
                    Change::To(text) => text.get(..VALUE_BYTES_MAX).unwrap_or(text).to_vec(),
                    Change::Plus(count) => {
                        number(&value.text).saturating_add(*count).to_string().into_bytes()
                    }
                    Change::Expires(_) | Change::Gone => return,
                };
            }
        }
    }

    /// How many there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_counted_and_expire_and_collections_are_bounded() {
        let all = Collections::new(160);
        let key = Collections::key(Variable::Ip, b"192.0.2.1");
        all.change(&key, "hits", &Change::Plus(1), 0, 1_000);
        all.change(&key, "hits", &Change::Plus(2), 0, 1_000);
        assert_eq!(all.get(&key, "hits", 10).as_deref(), Some(&b"3"[..]));
        all.change(&key, "hits", &Change::Expires(1), 0, 10_000);
        assert_eq!(all.get(&key, "hits", 999).as_deref(), Some(&b"3"[..]));
        assert_eq!(all.get(&key, "hits", 1_000), None);
        all.change(&key, "x", &Change::To(b"y"), 0, 10);
        all.change(&key, "x", &Change::Gone, 0, 10);
        assert_eq!(all.get(&key, "x", 1), None);
        for number in 0..10_000_u32 {
            let key = Collections::key(Variable::Ip, number.to_string().as_bytes());
            all.change(&key, "hits", &Change::Plus(1), 0, 1_000);
        }
        assert!(all.len() <= 160, "{}", all.len());
    }
}
