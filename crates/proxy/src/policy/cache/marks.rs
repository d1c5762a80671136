//! Notes about keys that hold for a while, in as much room as there ever is.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::key::Key;

/// Keys about which something is noted, by place.
const MARKS: usize = 4096;

/// Keys about which something is noted for a while. Of two at one place the later stays: a note may get lost, and none
/// is taken for another's.
pub(super) struct Marks {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
    since: Instant,
    seconds: u64,
}

impl Marks {
    /// Notes that hold for so many seconds.
    pub(super) fn of(seconds: u64) -> Self {
        Self {
            places: (0..MARKS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            since: Instant::now(),
            seconds,
        }
    }

    /// Notes it of this key.
    pub(super) fn set(&self, key: &Key) {
        let hash = self.hasher.hash_one(&key.bytes);
        let until = self.since.elapsed().as_secs() + self.seconds;
        if let Some(place) = self.places.get(hash as usize % MARKS) {
            place.store((hash & !0xffff_ffff) | until, Ordering::Relaxed);
        }
    }

    /// Whether it is noted of this key.
    pub(super) fn is_set(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(&key.bytes);
        let noted = self.places.get(hash as usize % MARKS).map_or(0, |place| place.load(Ordering::Relaxed));
        noted & !0xffff_ffff == hash & !0xffff_ffff && noted & 0xffff_ffff > self.since.elapsed().as_secs()
    }
}
