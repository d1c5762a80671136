//! Kept answers in the memory of the process, shared by its workers: bounded by weight, found by key, purged by
//! address, its beginning, or tag.
//!
//! What goes first is decided as SIEVE does: a hand passes over the answers from the oldest on, spares those that were
//! given since it last came by, and takes the first that was not. A hit then sets a mark and moves nothing.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use http::HeaderMap;

use super::{Kept, entry::Stored, key::Key};

const SHARDS: usize = 16;
/// Answers to one key that `Vary` tells apart.
const VARIANTS_MAX: usize = 64;
/// Invalidated addresses that a shard remembers, for answers that were asked for before.
const CHANGES_MAX: usize = 1024;
/// Keys about which something is noted for a while, by place.
const MARKS: usize = 4096;
/// For how many seconds nobody waits for such an answer.
const PASS_SECONDS: u64 = 10;
/// For how many seconds nobody asks again beside a call what could not be asked.
const REST_SECONDS: u64 = 5;

/// The answers of one policy.
pub(super) struct Memory {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    bytes_max: usize,
    bytes: AtomicUsize,
    /// Bytes of copies that are being made, beside `bytes`.
    copying: AtomicUsize,
    entries: AtomicUsize,
    pub(super) evicted: AtomicU64,
    purges: AtomicU64,
    passes: Marks,
    rests: Marks,
    since: Instant,
}

/// Keys about which something is noted for a while. Of two at one place the later stays: a note may get lost, and none
/// is taken for another's.
struct Marks(Box<[AtomicU64]>);

impl Marks {
    fn new() -> Self {
        Self((0..MARKS).map(|_| AtomicU64::new(0)).collect())
    }

    fn set(&self, hash: u64, until: u64) {
        if let Some(place) = self.0.get(hash as usize % MARKS) {
            place.store((hash & !0xffff_ffff) | until, Ordering::Relaxed);
        }
    }

    fn is_set(&self, hash: u64, now: u64) -> bool {
        let noted = self.0.get(hash as usize % MARKS).map_or(0, |place| place.load(Ordering::Relaxed));
        noted & !0xffff_ffff == hash & !0xffff_ffff && noted & 0xffff_ffff > now
    }
}

/// What the copy of an answer takes while it is being made; given back when it is dropped.
pub(super) struct Room {
    kept: Arc<Kept>,
    bytes: usize,
}

impl Room {
    pub(super) fn none(kept: &Arc<Kept>) -> Self {
        Self { kept: kept.clone(), bytes: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more; false when there is none, and then nothing more is taken. Copies that may come to nothing drive out
    /// at most half of what is kept, or else clients that never read to the end could empty a cache.
    pub(super) fn grow(&mut self, by: usize) -> bool {
        let memory = &self.kept.memory;
        let all = memory.copying.fetch_add(by, Ordering::Relaxed) + by;
        let own = self.bytes + by;
        if all > memory.bytes_max.max(1) / 2 && all != own || own > memory.bytes_max {
            memory.copying.fetch_sub(by, Ordering::Relaxed);
            return false;
        }
        self.bytes = own;
        memory.make_room(0);
        true
    }

    pub(super) fn give_back(&mut self) {
        self.kept.memory.copying.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What had been invalidated when a request went out: an answer that was given before is not kept after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Epoch {
    /// Of single addresses, in the shard.
    changes: u64,
    /// Of whatever answers there are.
    purges: u64,
}

/// What is found of a key.
pub(super) enum Found {
    /// An answer that fits.
    Answer(Arc<Stored>),
    /// Answers, and none of them fits.
    OtherVariants,
    Nothing,
}

/// What is to go.
pub(super) enum Purge<'p> {
    Address(&'p [u8]),
    Beginning(&'p [u8]),
    Tag(&'p str),
    All,
}

#[derive(Default)]
struct Shard {
    /// The addresses that were invalidated last, by their hashes, and how many there ever were.
    changed: VecDeque<u64>,
    changes: u64,
    places: HashMap<Arc<[u8]>, usize>,
    nodes: Vec<Option<Node>>,
    free: Vec<usize>,
    by_address: HashMap<u64, Vec<usize>>,
    newest: Option<usize>,
    oldest: Option<usize>,
    hand: Option<usize>,
}

struct Node {
    key: Key,
    address: u64,
    variants: Vec<Arc<Stored>>,
    bytes: usize,
    was_given: bool,
    newer: Option<usize>,
    older: Option<usize>,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            bytes_max,
            bytes: AtomicUsize::new(0),
            copying: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            purges: AtomicU64::new(0),
            passes: Marks::new(),
            rests: Marks::new(),
            since: Instant::now(),
        }
    }

    /// Bytes in use, those of copies in the making included, and answers.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.in_use(), self.entries.load(Ordering::Relaxed))
    }

    fn in_use(&self) -> usize {
        self.bytes.load(Ordering::Relaxed).saturating_add(self.copying.load(Ordering::Relaxed))
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let place = hash as usize % self.shards.len();
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }

    /// What has been invalidated so far.
    pub(super) fn epoch(&self, key: &Key) -> Epoch {
        let changes = self.shard(self.hash(key.address())).changes;
        Epoch { changes, purges: self.purges.load(Ordering::Acquire) }
    }

    /// The answer to a request of this key.
    pub(super) fn find(&self, key: &Key, request: &HeaderMap) -> Found {
        let mut shard = self.shard(self.hash(key.address()));
        let Some(node) = shard.places.get(&key.bytes).copied().and_then(|at| shard.node(at)) else {
            return Found::Nothing;
        };
        match node.variants.iter().find(|stored| stored.fits(request)) {
            Some(stored) => {
                let stored = stored.clone();
                node.was_given = true;
                Found::Answer(stored)
            }
            None => Found::OtherVariants,
        }
    }

    /// Keeps an answer, unless what it was asked for at this epoch has been invalidated since. It takes the place of the
    /// one with the same selecting fields, and of the one that it was made of, whose fields may be others.
    pub(super) fn put(
        &self,
        key: &Key,
        stored: Arc<Stored>,
        made_of: Option<&Arc<Stored>>,
        epoch: Epoch,
    ) -> bool {
        let weight = stored.weight() + 2 * key.bytes.len();
        if weight > self.bytes_max {
            return false;
        }
        let address = self.hash(key.address());
        {
            let mut shard = self.shard(address);
            if self.purges.load(Ordering::Acquire) != epoch.purges
                || shard.has_changed(address, epoch.changes)
            {
                return false;
            }
            let at = match shard.places.get(&key.bytes) {
                Some(at) => *at,
                None => shard.add(key, address),
            };
            let Some(node) = shard.node(at) else { return false };
            let before = (node.bytes, node.variants.len());
            let is_source = |other: &Arc<Stored>| made_of.is_some_and(|source| Arc::ptr_eq(source, other));
            node.variants.retain(|other| !stored.replaces(other) && !is_source(other));
            if node.variants.len() >= VARIANTS_MAX {
                node.variants.pop();
            }
            // The newest first: of several that fit, it is the one (RFC 9111 §4.1).
            node.variants.insert(0, stored);
            node.bytes =
                node.variants.iter().map(|stored| stored.weight()).sum::<usize>() + 2 * key.bytes.len();
            let after = (node.bytes, node.variants.len());
            self.bytes.fetch_add(after.0, Ordering::Relaxed);
            self.bytes.fetch_sub(before.0, Ordering::Relaxed);
            self.entries.fetch_add(after.1, Ordering::Relaxed);
            self.entries.fetch_sub(before.1, Ordering::Relaxed);
        }
        self.make_room(address);
        true
    }

    /// Takes answers out until all have room, from the neighbours in turn. No two shards are held at once.
    fn make_room(&self, from: u64) {
        let mut empty = 0;
        let mut next = from.wrapping_add(1);
        while self.in_use() > self.bytes_max && empty < 2 * SHARDS {
            let gone = {
                let mut shard = self.shard(next);
                // Where all were given since, another shard may have one that was not; after a round somebody has to go.
                let is_last = empty >= SHARDS;
                let victim = shard.victim().or(shard.oldest.filter(|_| is_last));
                victim.and_then(|at| shard.remove(at))
            };
            match gone {
                Some(node) => {
                    empty = 0;
                    self.evicted.fetch_add(node.variants.len() as u64, Ordering::Relaxed);
                    self.account_for(&node);
                }
                None => empty += 1,
            }
            next = next.wrapping_add(1);
        }
    }

    fn account_for(&self, gone: &Node) {
        self.bytes.fetch_sub(gone.bytes, Ordering::Relaxed);
        self.entries.fetch_sub(gone.variants.len(), Ordering::Relaxed);
    }

    /// Takes out, or has asked about before they are given again, all answers that are meant; how many they were.
    pub(super) fn purge(&self, what: &Purge<'_>, is_soft: bool) -> usize {
        match what {
            Purge::Address(address) => {
                let hash = self.hash(address);
                let mut shard = self.shard(hash);
                shard.change(hash);
                let places = shard.by_address.get(&hash).cloned().unwrap_or_default();
                self.purge_in(&mut shard, places, is_soft, |node, _| node.key.address() == *address)
            }
            other => {
                self.purges.fetch_add(1, Ordering::AcqRel);
                let mut count = 0;
                for shard in &self.shards {
                    let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                    let places = shard.places.values().copied().collect();
                    count += self.purge_in(&mut shard, places, is_soft, |node, stored| match other {
                        Purge::Beginning(begin) => node.key.address().starts_with(begin),
                        Purge::Tag(tag) => stored.has_tag(tag),
                        Purge::Address(_) | Purge::All => true,
                    });
                }
                count
            }
        }
    }

    fn purge_in(
        &self,
        shard: &mut Shard,
        places: Vec<usize>,
        is_soft: bool,
        is_meant: impl Fn(&Node, &Stored) -> bool,
    ) -> usize {
        let mut count = 0;
        for at in places {
            let Some(node) = shard.node(at) else { continue };
            let (gone, left): (Vec<_>, Vec<_>) =
                node.variants.iter().cloned().partition(|stored| is_meant(node, stored));
            count += gone.len();
            if is_soft {
                gone.iter().for_each(|stored| stored.spend());
            } else if !gone.is_empty() {
                let bytes: usize = gone.iter().map(|stored| stored.weight()).sum();
                node.variants = left;
                node.bytes = node.bytes.saturating_sub(bytes);
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.entries.fetch_sub(gone.len(), Ordering::Relaxed);
                if node.variants.is_empty()
                    && let Some(node) = shard.remove(at)
                {
                    self.account_for(&node);
                }
            }
        }
        count
    }

    /// Notes that nobody is to wait for the next answer to this key for a while: the last one was not for others.
    pub(super) fn pass(&self, key: &Key) {
        self.passes.set(self.hash(&key.bytes), self.since.elapsed().as_secs() + PASS_SECONDS);
    }

    /// Whether the last answer to this key was not for others.
    pub(super) fn passes(&self, key: &Key) -> bool {
        self.passes.is_set(self.hash(&key.bytes), self.since.elapsed().as_secs())
    }

    /// Notes that what is kept of this key could not be asked about, so that it is left alone for a while.
    pub(super) fn rest(&self, key: &Key) {
        self.rests.set(self.hash(&key.bytes), self.since.elapsed().as_secs() + REST_SECONDS);
    }

    /// Whether what is kept of this key is left alone.
    pub(super) fn rests(&self, key: &Key) -> bool {
        self.rests.is_set(self.hash(&key.bytes), self.since.elapsed().as_secs())
    }
}

impl Shard {
    fn node(&mut self, at: usize) -> Option<&mut Node> {
        self.nodes.get_mut(at)?.as_mut()
    }

    /// Remembers that what is asked for at an address may have changed.
    fn change(&mut self, address: u64) {
        if self.changed.len() >= CHANGES_MAX {
            self.changed.pop_front();
        }
        self.changed.push_back(address);
        self.changes += 1;
    }

    /// Whether an address may have changed after so many changes. What is no longer remembered may have been of it.
    fn has_changed(&self, address: u64, since: u64) -> bool {
        let newer = usize::try_from(self.changes.saturating_sub(since)).unwrap_or(usize::MAX);
        newer > self.changed.len() || self.changed.iter().rev().take(newer).any(|known| *known == address)
    }

    /// A place for a new key, as the newest.
    fn add(&mut self, key: &Key, address: u64) -> usize {
        let older = self.newest;
        let node = Node {
            key: key.clone(),
            address,
            variants: Vec::new(),
            bytes: 0,
            was_given: false,
            newer: None,
            older,
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.nodes.push(None);
                self.nodes.len() - 1
            }
        };
        self.nodes[at] = Some(node);
        if let Some(older) = older.and_then(|older| self.node(older)) {
            older.newer = Some(at);
        }
        self.newest = Some(at);
        self.oldest = self.oldest.or(Some(at));
        self.places.insert(key.bytes.clone(), at);
        self.by_address.entry(address).or_default().push(at);
        at
    }

    /// The next that goes. None when each was given since the hand came by, which each is spared for once.
    fn victim(&mut self) -> Option<usize> {
        for _ in 0..self.places.len() {
            let at = self.hand.or(self.oldest)?;
            let node = self.node(at)?;
            let newer = node.newer;
            if !node.was_given {
                return Some(at);
            }
            node.was_given = false;
            self.hand = newer;
        }
        None
    }

    fn remove(&mut self, at: usize) -> Option<Node> {
        let node = self.nodes.get_mut(at)?.take()?;
        match node.newer {
            Some(newer) => self.node(newer)?.older = node.older,
            None => self.newest = node.older,
        }
        match node.older {
            Some(older) => self.node(older)?.newer = node.newer,
            None => self.oldest = node.newer,
        }
        if self.hand == Some(at) {
            self.hand = node.newer;
        }
        self.places.remove(&node.key.bytes);
        if let Some(places) = self.by_address.get_mut(&node.address) {
            places.retain(|other| *other != at);
            if places.is_empty() {
                self.by_address.remove(&node.address);
            }
        }
        self.free.push(at);
        Some(node)
    }
}

#[cfg(test)]
mod tests;
