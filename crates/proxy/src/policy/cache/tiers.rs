//! Where answers are kept: in memory, and below it where the process ends and they do not: on disk, or in Redis, which
//! several gateways share.
//!
//! Memory is the first tier and has the word: what it keeps is offered to the one below, and what is found there comes
//! back to memory before it is given. Whatever makes answers void goes through here and reaches both, the lower one
//! first, so that nothing comes up again that was purged above.

use std::{sync::Arc, time::Instant};

use http::HeaderMap;

use super::{
    disk::{Disk, Seeking},
    entry::Stored,
    key::Key,
    marks::Marks,
    shared::Shared,
    store::{Epoch, Found, Memory, Placed, Purge},
};

/// For how many seconds nobody waits for an answer that was not for others.
const PASS_SECONDS: u64 = 10;
/// For how many seconds nobody asks again beside a call what could not be asked.
const REST_SECONDS: u64 = 5;

/// All tiers of one policy's cache.
pub(super) struct Tiers {
    pub(super) memory: Arc<Memory>,
    pub(super) disk: Option<Disk>,
    pub(super) shared: Option<Shared>,
    passes: Marks,
    rests: Marks,
}

/// What had been invalidated in each tier when a request went out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Epochs {
    memory: Epoch,
    disk: Epoch,
    /// The time of the shared server; nothing where it is not known.
    shared: u64,
}

/// What a tier below memory has of a key.
pub(super) enum Below {
    /// An answer that fits, which is on its way.
    Answer(Seeking),
    /// Answers, and none of them fits.
    OtherVariants,
    Nothing,
}

impl Tiers {
    pub(super) fn new(memory: Arc<Memory>, disk: Option<Disk>, shared: Option<Shared>) -> Self {
        Self { memory, disk, shared, passes: Marks::of(PASS_SECONDS), rests: Marks::of(REST_SECONDS) }
    }

    /// Opens what there is below memory. Until the configuration is live nothing is touched.
    pub(super) fn begin(&self) {
        if let Some(disk) = &self.disk {
            disk.begin();
        }
        if let Some(shared) = &self.shared {
            shared.begin();
        }
    }

    /// What has been invalidated so far.
    pub(super) fn epoch(&self, key: &Key) -> Epochs {
        let disk = self.disk.as_ref().map(|disk| disk.epoch(key)).unwrap_or_default();
        let shared = self.shared.as_ref().map_or(0, Shared::epoch);
        Epochs { memory: self.memory.epoch(key), disk, shared }
    }

    /// Whether something has been invalidated since this epoch that this key may be of.
    pub(super) fn has_changed(&self, key: &Key, epoch: Epochs) -> bool {
        self.memory.has_changed(key, epoch.memory)
    }

    /// The answer to a request of this key that is in memory.
    pub(super) fn find(&self, key: &Key, request: &HeaderMap) -> Found<Stored> {
        self.memory.find(key, request)
    }

    /// Whether there is a tier on disk.
    pub(super) fn has_below(&self) -> bool {
        self.disk.is_some()
    }

    /// What there is for a request of this key where memory has nothing.
    pub(super) fn below(&self, key: &Key, request: &HeaderMap) -> Below {
        self.disk.as_ref().map_or(Below::Nothing, |disk| disk.seek(key, request))
    }

    /// What came from below, in memory if it fits there. None when it has become void meanwhile.
    pub(super) fn take_up(&self, key: &Key, stored: Arc<Stored>, epoch: Epochs) -> Option<Arc<Stored>> {
        // What came meanwhile is newer, and so may be what other gateways have.
        let now = Instant::now();
        let is_younger = |other: &Arc<Stored>| other.age(now) <= stored.age(now);
        match self.memory.place(key, stored.clone(), epoch.memory, |_| false, is_younger) {
            Placed::Kept => Some(stored),
            Placed::There(newer) => Some(newer),
            Placed::TooLarge => (!self.memory.has_changed(key, epoch.memory)).then_some(stored),
            Placed::Changed => None,
        }
    }

    /// Keeps an answer in memory and offers it to the tier below, unless what it was asked for at this epoch has been
    /// invalidated since.
    pub(super) fn put(
        &self,
        key: &Key,
        stored: Arc<Stored>,
        made_of: Option<&Arc<Stored>>,
        epoch: Epochs,
    ) -> bool {
        let is_kept = self.memory.put(key, stored.clone(), made_of, epoch.memory);
        if let Some(disk) = self.disk.as_ref().filter(|_| is_kept) {
            disk.offer(key, stored.clone(), made_of, epoch.disk);
        }
        if let Some(shared) = self.shared.as_ref().filter(|_| is_kept) {
            shared.offer(key, stored, epoch.shared);
        }
        is_kept
    }

    /// Takes out, or has asked about before they are given again, all answers that are meant; how many they were.
    pub(super) fn purge(&self, what: Purge<'_>, is_soft: bool) -> usize {
        if let Some(shared) = &self.shared {
            shared.purge(what, is_soft);
        }
        let Some(disk) = &self.disk else { return self.memory.purge(what, is_soft) };
        // One that is in both is one.
        let below = disk.purge(what, is_soft, |key, filed| {
            !self.memory.has(key, |stored| stored.selecting() == filed.selecting())
        });
        below + self.memory.purge(what, is_soft)
    }

    /// Waits until nothing is left below of what was purged, but not longer than this; whether nothing is. Not for workers.
    pub(super) fn settle(&self, until: Instant) -> bool {
        self.disk.as_ref().is_none_or(|disk| disk.settle(until))
            && self.shared.as_ref().is_none_or(|shared| shared.settle(until))
    }

    /// Notes that nobody is to wait for the next answer to this key for a while: the last one was not for others.
    pub(super) fn pass(&self, key: &Key) {
        self.passes.set(key);
    }

    /// Whether the last answer to this key was not for others.
    pub(super) fn passes(&self, key: &Key) -> bool {
        self.passes.is_set(key)
    }

    /// Notes that what is kept of this key could not be asked about, so that it is left alone for a while.
    pub(super) fn rest(&self, key: &Key) {
        self.rests.set(key);
    }

    /// Whether what is kept of this key is left alone.
    pub(super) fn rests(&self, key: &Key) -> bool {
        self.rests.is_set(key)
    }
}
