//! An answer that lies on disk, as the index in memory knows it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use http::HeaderMap;
use tokio::sync::oneshot;

use super::{
    super::{
        entry::{Selecting, Stored, fits, weight_beside},
        store::{Entry, Weight},
    },
    errands::{Errand, Errands},
    folder::Name,
};

/// What an answer takes of the index beside its key, selecting fields and tags, roughly.
const ENTRY_BYTES: usize = 256;
/// Files take whole blocks.
const BLOCK_BYTES: usize = 4096;

/// Those who wait until an answer is read.
#[derive(Default)]
pub(super) struct Readers {
    pub(super) all: Vec<oneshot::Sender<Option<Arc<Stored>>>>,
    /// When the first of them came.
    pub(super) since: Option<Instant>,
}

/// An answer that lies on disk.
pub(in super::super) struct Filed {
    pub(super) name: Name,
    /// The length of its file.
    pub(super) bytes: u64,
    /// Milliseconds since 1970.
    pub(super) written: u64,
    selecting: Vec<Selecting>,
    tags: Vec<Box<str>>,
    pub(super) is_spent: AtomicBool,
    readers: Mutex<Readers>,
    errands: Arc<Errands>,
}

impl Filed {
    pub(super) fn new(
        name: Name,
        bytes: u64,
        written: u64,
        (selecting, tags): (Vec<Selecting>, Vec<Box<str>>),
        errands: &Arc<Errands>,
    ) -> Self {
        Self {
            name,
            bytes,
            written,
            selecting,
            tags,
            is_spent: AtomicBool::new(false),
            readers: Mutex::default(),
            errands: errands.clone(),
        }
    }

    /// What a request had to have to be given it.
    pub(in super::super) fn selecting(&self) -> &[Selecting] {
        &self.selecting
    }

    pub(super) fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry for Filed {
    const KEYS_COUNT_FOR: usize = 1;

    fn fits(&self, request: &HeaderMap) -> bool {
        fits(&self.selecting, request)
    }

    fn replaces(&self, other: &Self) -> bool {
        self.selecting == other.selecting
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|known| **known == *tag)
    }

    fn spend(&self) {
        if !self.is_spent.swap(true, Ordering::Relaxed) {
            self.errands.leave(Errand::Spend(self.name));
        }
    }

    /// Of the disk, and of the index.
    fn weight(&self) -> Weight {
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        let of_index = ENTRY_BYTES + weight_beside(&self.selecting, &self.tags);
        [bytes.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(usize::MAX), of_index]
    }

    fn gone(&self) {
        self.errands.leave(Errand::Remove(self.name));
    }
}
