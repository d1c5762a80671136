//! What was purged, or could not be written, before all files of a directory had been looked at: it counts for those that
//! have not.
//!
//! Each file is held against all of it while nothing can be added, in a time that does not grow with single addresses and
//! tags, of which there may be many.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::super::{key::Key, store::Purge};

/// Of more nobody remembers which they were: then all files go that have not been looked at.
const NOTES_MAX: usize = 100_000;
/// Beginnings of addresses are held against each file one by one.
const BEGINNINGS_MAX: usize = 1_000;

/// What is noted, and how far the look through the files is.
pub(super) struct Early {
    noted: Mutex<Noted>,
    changed: Condvar,
    hasher: RandomState,
    is_over: AtomicBool,
}

/// What counts for files that have not been looked at. With whether a purge was soft.
pub(super) struct Noted {
    /// By their hashes: two that share one go together.
    addresses: HashMap<u64, bool>,
    /// Keys, by their hashes, of answers that should have taken the place of older ones.
    given_up: HashSet<u64>,
    tags: HashMap<Box<str>, bool>,
    beginnings: Vec<(Box<[u8]>, bool)>,
    all: Option<bool>,
    is_too_much: bool,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Files are being looked at, or will be at once.
    Goes,
    /// Something failed; it is tried again later.
    Rests,
    Over,
}

/// What becomes of a file that was purged, or not, before it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Spent,
    Goes,
}

impl Fate {
    fn of(is_soft: bool) -> Self {
        if is_soft { Self::Spent } else { Self::Goes }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Goes, _) | (_, Self::Goes) => Self::Goes,
            (Self::Spent, _) | (_, Self::Spent) => Self::Spent,
            (Self::Stays, Self::Stays) => Self::Stays,
        }
    }
}

/// What is noted, while nothing can be added and no file is looked at.
pub(super) struct Held<'e> {
    noted: MutexGuard<'e, Noted>,
    hasher: &'e RandomState,
}

impl Early {
    pub(super) fn new() -> Self {
        let noted = Noted {
            addresses: HashMap::new(),
            given_up: HashSet::new(),
            tags: HashMap::new(),
            beginnings: Vec::new(),
            all: None,
            is_too_much: false,
            progress: Progress::Goes,
        };
        Self {
            noted: Mutex::new(noted),
            changed: Condvar::new(),
            hasher: RandomState::new(),
            is_over: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all files have been looked at.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// What is noted so far; nothing is added as long as it is held.
    pub(super) fn held(&self) -> Held<'_> {
        Held { noted: self.lock(), hasher: &self.hasher }
    }

    /// Notes a purge. No file is looked at as long as what it gives is held.
    pub(super) fn note(&self, what: Purge<'_>, is_soft: bool) -> Option<Held<'_>> {
        if self.is_over() {
            return None;
        }
        let mut held = self.held();
        held.noted.note(what, is_soft, &self.hasher);
        Some(held)
    }

    /// Notes that an answer to this key should have taken the place of an older one, and could not.
    pub(super) fn note_given_up(&self, key: &Key) {
        if self.is_over() {
            return;
        }
        let mut noted = self.lock();
        if noted.has_room() {
            noted.given_up.insert(self.hasher.hash_one(&*key.bytes));
        }
    }

    /// Files are being looked at.
    pub(super) fn goes(&self) {
        self.turn(Progress::Goes);
    }

    /// Something failed: those who wait need not wait any longer.
    pub(super) fn rests(&self) {
        self.turn(Progress::Rests);
    }

    /// All files have been looked at.
    pub(super) fn end(&self) {
        let mut noted = self.lock();
        noted.forget();
        drop(noted);
        self.turn(Progress::Over);
    }

    fn turn(&self, progress: Progress) {
        let mut noted = self.lock();
        noted.progress = progress;
        self.is_over.store(progress == Progress::Over, Ordering::Release);
        drop(noted);
        self.changed.notify_all();
    }

    /// Waits until all files have been looked at, but not longer than this, nor where that has failed; whether they have.
    pub(super) fn settle(&self, until: Instant) -> bool {
        let mut noted = self.lock();
        while noted.progress == Progress::Goes {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            noted = self.changed.wait_timeout(noted, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        noted.progress == Progress::Over
    }
}

impl Held<'_> {
    /// What becomes of an older answer to this key with these tags.
    pub(super) fn fate(&self, key: &Key, tags: &[Box<str>]) -> Fate {
        let noted = &self.noted;
        let hash = |bytes: &[u8]| self.hasher.hash_one(bytes);
        if noted.is_too_much || !noted.given_up.is_empty() && noted.given_up.contains(&hash(&key.bytes)) {
            return Fate::Goes;
        }
        let of_address = noted.addresses.get(&hash(key.address()));
        let of_tags = tags.iter().filter_map(|tag| noted.tags.get(tag));
        let of_beginnings = noted
            .beginnings
            .iter()
            .filter(|(begin, _)| key.address().starts_with(begin))
            .map(|(_, is_soft)| is_soft);
        let all = of_address.into_iter().chain(of_tags).chain(of_beginnings).chain(&noted.all);
        all.fold(Fate::Stays, |fate, is_soft| fate.and(Fate::of(*is_soft)))
    }
}

impl Noted {
    /// Whether one more can be noted; if not, no more need be.
    fn has_room(&mut self) -> bool {
        let notes = self.addresses.len() + self.given_up.len() + self.tags.len();
        if notes >= NOTES_MAX || self.beginnings.len() >= BEGINNINGS_MAX {
            self.forget();
            self.is_too_much = true;
        }
        !self.is_too_much
    }

    fn note(&mut self, what: Purge<'_>, is_soft: bool, hasher: &RandomState) {
        if !self.has_room() {
            return;
        }
        // One that is not soft holds against one that is.
        match what {
            Purge::Address(address) => {
                *self.addresses.entry(hasher.hash_one(address)).or_insert(true) &= is_soft;
            }
            Purge::Tag(tag) => *self.tags.entry(tag.into()).or_insert(true) &= is_soft,
            Purge::Beginning(begin) => self.beginnings.push((begin.into(), is_soft)),
            Purge::All => self.all = Some(is_soft && self.all.unwrap_or(true)),
        }
    }

    fn forget(&mut self) {
        self.addresses = HashMap::new();
        self.given_up = HashSet::new();
        self.tags = HashMap::new();
        self.beginnings = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(text: &str) -> Key {
        Key::restored(text.as_bytes(), text.len()).expect("a key")
    }

    #[test]
    fn the_harder_of_all_purges_counts_and_only_for_what_they_mean() {
        let early = Early::new();
        let fate = |text: &str, tag: &str| early.held().fate(&key(text), &[tag.into()]);
        assert_eq!(fate("http://a/1", "t"), Fate::Stays);
        drop(early.note(Purge::Address(b"http://a/1"), true));
        drop(early.note(Purge::Tag("soft"), true));
        drop(early.note(Purge::Beginning(b"http://b/"), false));
        assert_eq!(fate("http://a/1", "t"), Fate::Spent);
        assert_eq!(fate("http://a/2", "t"), Fate::Stays);
        assert_eq!(fate("http://a/2", "soft"), Fate::Spent);
        assert_eq!(fate("http://b/2", "soft"), Fate::Goes);
        drop(early.note(Purge::Address(b"http://a/1"), false));
        drop(early.note(Purge::Address(b"http://a/1"), true));
        assert_eq!(fate("http://a/1", "t"), Fate::Goes, "a soft one takes nothing back");
        early.note_given_up(&key("http://c/"));
        assert_eq!(fate("http://c/", "t"), Fate::Goes);
        drop(early.note(Purge::All, true));
        assert_eq!(fate("http://d/", "t"), Fate::Spent);
        drop(early.note(Purge::All, false));
        assert_eq!(fate("http://d/", "t"), Fate::Goes);
    }

    #[test]
    fn what_is_too_much_to_remember_takes_all_along() {
        let early = Early::new();
        for at in 0..NOTES_MAX {
            early.note_given_up(&key(&format!("http://a/{at}")));
        }
        assert_eq!(early.held().fate(&key("http://b/"), &[]), Fate::Stays);
        drop(early.note(Purge::Tag("one more"), true));
        assert_eq!(early.held().fate(&key("http://b/"), &[]), Fate::Goes);
    }

    #[test]
    fn whoever_waits_is_told_when_it_is_over_or_rests() {
        let early = Early::new();
        let soon = || Instant::now() + Duration::from_millis(20);
        let later = || Instant::now() + Duration::from_secs(20);
        assert!(!early.settle(soon()), "it goes on");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| early.settle(later()));
            early.rests();
            assert!(!waits.join().expect("no panic"));
            early.goes();
            let waits = scope.spawn(|| early.settle(later()));
            early.end();
            assert!(waits.join().expect("no panic"));
        });
        assert!(early.is_over() && early.note(Purge::All, false).is_none());
    }
}
