//! What is kept of answers in the memory of the process, shared by its workers: bounded by weight, found by key, purged
//! by address, its beginning, or tag. The answers themselves, or where they lie.
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
};

use http::HeaderMap;

use super::{Kept, entry::Stored, key::Key};

const SHARDS: usize = 16;
/// Answers to one key that `Vary` tells apart.
const VARIANTS_MAX: usize = 64;
/// Invalidated addresses that a shard remembers, for answers that were asked for before.
const CHANGES_MAX: usize = 1024;

/// What is kept of one answer, beside its key.
pub(super) trait Entry {
    /// Which of the two weights keys count for.
    const KEYS_COUNT_FOR: usize;

    /// Whether an answer to this request would be the same.
    fn fits(&self, request: &HeaderMap) -> bool;

    /// Whether it was selected by the same fields with the same values.
    fn replaces(&self, other: &Self) -> bool;

    /// Whether it is purged by this tag.
    fn has_tag(&self, tag: &str) -> bool;

    /// Has it asked about before it is given again.
    fn spend(&self);

    /// What it takes of each of the two bounds.
    fn weight(&self) -> Weight;

    /// It is no longer kept: purged, evicted, or another has its place.
    fn gone(&self) {}
}

/// What is bounded: bytes of two kinds.
pub(super) type Weight = [usize; 2];

/// The answers of one policy that are in memory.
pub(super) type Memory = Store<Stored>;

/// What is kept of the answers of one policy.
pub(super) struct Store<E> {
    shards: Box<[Mutex<Shard<E>>]>,
    hasher: RandomState,
    bounds: Weight,
    used: [AtomicUsize; 2],
    /// Bytes of copies that are being made, beside the first of `used`.
    copying: AtomicUsize,
    entries: AtomicUsize,
    pub(super) evicted: AtomicU64,
    purges: AtomicU64,
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
        let memory = &self.kept.tiers.memory;
        let all = memory.copying.fetch_add(by, Ordering::Relaxed) + by;
        let own = self.bytes + by;
        if all > memory.bounds[0].max(1) / 2 && all != own || own > memory.bounds[0] {
            memory.copying.fetch_sub(by, Ordering::Relaxed);
            return false;
        }
        self.bytes = own;
        memory.make_room(0);
        true
    }

    pub(super) fn give_back(&mut self) {
        self.kept.tiers.memory.copying.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
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
pub(super) enum Found<E> {
    /// An answer that fits.
    Answer(Arc<E>),
    /// Answers, and none of them fits.
    OtherVariants,
    Nothing,
}

/// What came of keeping an answer.
pub(super) enum Placed<E> {
    Kept,
    /// Another stays in its place.
    There(Arc<E>),
    /// It takes more than there is.
    TooLarge,
    /// What it was asked for has been invalidated since.
    Changed,
}

/// What is to go.
#[derive(Clone, Copy)]
pub(super) enum Purge<'p> {
    Address(&'p [u8]),
    Beginning(&'p [u8]),
    Tag(&'p str),
    All,
}

struct Shard<E> {
    /// The addresses that were invalidated last, by their hashes, and how many there ever were.
    changed: VecDeque<u64>,
    changes: u64,
    places: HashMap<Arc<[u8]>, usize>,
    nodes: Vec<Option<Node<E>>>,
    free: Vec<usize>,
    by_address: HashMap<u64, Vec<usize>>,
    newest: Option<usize>,
    oldest: Option<usize>,
    hand: Option<usize>,
}

impl<E> Default for Shard<E> {
    fn default() -> Self {
        Self {
            changed: VecDeque::new(),
            changes: 0,
            places: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            by_address: HashMap::new(),
            newest: None,
            oldest: None,
            hand: None,
        }
    }
}

struct Node<E> {
    key: Key,
    address: u64,
    variants: Vec<Arc<E>>,
    bytes: Weight,
    was_given: bool,
    newer: Option<usize>,
    older: Option<usize>,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self::bounded([bytes_max, usize::MAX])
    }
}

impl<E: Entry> Store<E> {
    pub(super) fn bounded(bounds: Weight) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            bounds,
            used: Default::default(),
            copying: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            purges: AtomicU64::new(0),
        }
    }

    /// Bytes in use of the first kind, those of copies in the making included, and answers.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.in_use()[0], self.entries.load(Ordering::Relaxed))
    }

    /// Bytes in use of both kinds.
    pub(super) fn in_use(&self) -> Weight {
        let [first, second] = &self.used;
        let copying = self.copying.load(Ordering::Relaxed);
        [first.load(Ordering::Relaxed).saturating_add(copying), second.load(Ordering::Relaxed)]
    }

    fn is_beyond(&self, weight: Weight) -> bool {
        weight.iter().zip(self.bounds).any(|(bytes, most)| *bytes > most)
    }

    fn take(&self, weight: Weight) {
        for (used, bytes) in self.used.iter().zip(weight) {
            used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn give_back(&self, weight: Weight) {
        for (used, bytes) in self.used.iter().zip(weight) {
            used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// What a key takes, once for all answers to it.
    fn weight_of(key: &Key) -> Weight {
        let mut weight = Weight::default();
        weight[E::KEYS_COUNT_FOR] = 2 * key.bytes.len();
        weight
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<E>> {
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
    pub(super) fn find(&self, key: &Key, request: &HeaderMap) -> Found<E> {
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

    /// Whether something has been invalidated since this epoch that this key may be of.
    pub(super) fn has_changed(&self, key: &Key, epoch: Epoch) -> bool {
        let address = self.hash(key.address());
        self.shard(address).has_changed(address, epoch.changes)
            || self.purges.load(Ordering::Acquire) != epoch.purges
    }

    /// Whether an answer to this key is kept for which this holds.
    pub(super) fn has(&self, key: &Key, is_meant: impl Fn(&E) -> bool) -> bool {
        let mut shard = self.shard(self.hash(key.address()));
        let node = shard.places.get(&key.bytes).copied().and_then(|at| shard.node(at));
        node.is_some_and(|node| node.variants.iter().any(|entry| is_meant(entry)))
    }

    /// Keeps an answer, unless what it was asked for at this epoch has been invalidated since. It takes the place of the
    /// one with the same selecting fields, and of the one that it was made of, whose fields may be others.
    pub(super) fn put(&self, key: &Key, entry: Arc<E>, made_of: Option<&Arc<E>>, epoch: Epoch) -> bool {
        let is_source = |other: &Arc<E>| made_of.is_some_and(|source| Arc::ptr_eq(source, other));
        matches!(self.place(key, entry, epoch, is_source, |_| false), Placed::Kept)
    }

    /// The same, with what goes for it beside, and which of those whose place it would take stay in it.
    pub(super) fn place(
        &self,
        key: &Key,
        entry: Arc<E>,
        epoch: Epoch,
        goes: impl Fn(&Arc<E>) -> bool,
        stays: impl Fn(&Arc<E>) -> bool,
    ) -> Placed<E> {
        if self.is_beyond(plus(entry.weight(), Self::weight_of(key))) {
            return Placed::TooLarge;
        }
        let address = self.hash(key.address());
        {
            let mut shard = self.shard(address);
            if self.purges.load(Ordering::Acquire) != epoch.purges
                || shard.has_changed(address, epoch.changes)
            {
                return Placed::Changed;
            }
            let at = match shard.places.get(&key.bytes) {
                Some(at) => *at,
                None => shard.add(key, address),
            };
            let Some(node) = shard.node(at) else { return Placed::Changed };
            if let Some(there) = node.variants.iter().find(|other| entry.replaces(other) && stays(other)) {
                return Placed::There(there.clone());
            }
            let before = (node.bytes, node.variants.len());
            node.variants.retain(|other| {
                let stays = !entry.replaces(other) && !goes(other);
                if !stays {
                    other.gone();
                }
                stays
            });
            if node.variants.len() >= VARIANTS_MAX
                && let Some(oldest) = node.variants.pop()
            {
                oldest.gone();
            }
            // The newest first: of several that fit, it is the one (RFC 9111 §4.1).
            node.variants.insert(0, entry);
            node.bytes =
                node.variants.iter().fold(Self::weight_of(key), |sum, entry| plus(sum, entry.weight()));
            let after = (node.bytes, node.variants.len());
            self.take(after.0);
            self.give_back(before.0);
            self.entries.fetch_add(after.1, Ordering::Relaxed);
            self.entries.fetch_sub(before.1, Ordering::Relaxed);
        }
        self.make_room(address);
        Placed::Kept
    }

    /// Takes out the answers to a key for which this holds.
    pub(super) fn drop_of(&self, key: &Key, is_meant: impl Fn(&Arc<E>) -> bool) {
        let mut shard = self.shard(self.hash(key.address()));
        let places = shard.places.get(&key.bytes).copied().into_iter().collect();
        self.purge_in(&mut shard, places, false, |_, entry| is_meant(entry), |_, _| true);
    }

    /// Takes answers out until all have room, from the neighbours in turn.
    fn make_room(&self, from: u64) {
        self.evict(from, || !self.is_beyond(self.in_use()));
    }

    /// Takes out those that would go next until so many bytes of the first kind are free; whether any went.
    pub(super) fn free(&self, bytes: usize) -> bool {
        let before = self.used[0].load(Ordering::Relaxed);
        let wanted = before.saturating_sub(bytes);
        self.evict(0, || self.used[0].load(Ordering::Relaxed) <= wanted);
        self.used[0].load(Ordering::Relaxed) < before
    }

    /// Takes answers out until it is enough. No two shards are held at once.
    fn evict(&self, from: u64, is_enough: impl Fn() -> bool) {
        let mut empty = 0;
        let mut next = from.wrapping_add(1);
        while !is_enough() && empty < 2 * SHARDS {
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
                    node.variants.iter().for_each(|entry| entry.gone());
                    self.account_for(&node);
                }
                None => empty += 1,
            }
            next = next.wrapping_add(1);
        }
    }

    fn account_for(&self, gone: &Node<E>) {
        self.give_back(gone.bytes);
        self.entries.fetch_sub(gone.variants.len(), Ordering::Relaxed);
    }

    /// Takes out, or has asked about before they are given again, all answers that are meant; how many they were.
    pub(super) fn purge(&self, what: Purge<'_>, is_soft: bool) -> usize {
        self.purge_counting(what, is_soft, |_, _| true)
    }

    /// The same, of which those count for which this holds.
    pub(super) fn purge_counting(
        &self,
        what: Purge<'_>,
        is_soft: bool,
        counts: impl Fn(&Key, &E) -> bool,
    ) -> usize {
        if let Purge::Address(address) = what {
            let hash = self.hash(address);
            let mut shard = self.shard(hash);
            shard.change(hash);
            let places = shard.by_address.get(&hash).cloned().unwrap_or_default();
            let is_meant = |key: &Key, entry: &Arc<E>| what.means(key, |tag| entry.has_tag(tag));
            return self.purge_in(&mut shard, places, is_soft, is_meant, counts);
        }
        self.purges.fetch_add(1, Ordering::AcqRel);
        let mut count = 0;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let places = shard.places.values().copied().collect();
            let is_meant = |key: &Key, entry: &Arc<E>| what.means(key, |tag| entry.has_tag(tag));
            count += self.purge_in(&mut shard, places, is_soft, is_meant, &counts);
        }
        count
    }

    fn purge_in(
        &self,
        shard: &mut Shard<E>,
        places: Vec<usize>,
        is_soft: bool,
        is_meant: impl Fn(&Key, &Arc<E>) -> bool,
        counts: impl Fn(&Key, &E) -> bool,
    ) -> usize {
        let mut count = 0;
        for at in places {
            let Some(node) = shard.node(at) else { continue };
            let (gone, left): (Vec<_>, Vec<_>) =
                node.variants.iter().cloned().partition(|entry| is_meant(&node.key, entry));
            count += gone.iter().filter(|entry| counts(&node.key, entry)).count();
            if is_soft {
                gone.iter().for_each(|entry| entry.spend());
            } else if !gone.is_empty() {
                let bytes = gone.iter().fold(Weight::default(), |sum, entry| plus(sum, entry.weight()));
                gone.iter().for_each(|entry| entry.gone());
                node.variants = left;
                node.bytes = [0, 1].map(|kind| node.bytes[kind].saturating_sub(bytes[kind]));
                self.give_back(bytes);
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
}

fn plus(one: Weight, other: Weight) -> Weight {
    [one[0].saturating_add(other[0]), one[1].saturating_add(other[1])]
}

impl Purge<'_> {
    /// Whether an answer to this key with these tags is meant.
    pub(super) fn means(&self, key: &Key, has_tag: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Address(address) => key.address() == *address,
            Self::Beginning(begin) => key.address().starts_with(begin),
            Self::Tag(tag) => has_tag(tag),
            Self::All => true,
        }
    }
}

impl<E> Shard<E> {
    fn node(&mut self, at: usize) -> Option<&mut Node<E>> {
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
            bytes: Weight::default(),
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

    fn remove(&mut self, at: usize) -> Option<Node<E>> {
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
