//! What is to be done in one directory, in its order: files to remove, and answers to write. One thread at a time does it.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use super::{
    super::{
        entry::{Selecting, Stored},
        key::Key,
        store::{Entry, Epoch},
    },
    REST, Shared,
    crew::WRITERS,
    folder::Name,
};

/// Answers that wait to be written may take so much memory, beside what memory keeps.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// So many may wait.
const WAITING_MAX: usize = 4096;

/// What is to be done to a file that was purged, evicted or replaced. A file is spent once and removed once: there are
/// never more than twice the files that were indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    Remove(Name),
    Spend(Name),
}

/// An answer that waits to be written.
pub(super) struct Writing {
    pub(super) key: Key,
    pub(super) stored: Arc<Stored>,
    /// What selected the answer that it was made of.
    pub(super) made_of: Option<Vec<Selecting>>,
    pub(super) epoch: Epoch,
}

/// What is next.
pub(super) enum Task {
    Errand(Errand),
    Write(Box<Writing>),
    Nothing,
}

/// What is to be done.
pub(super) struct Errands {
    all: Mutex<All>,
    done: Condvar,
    owner: Weak<Shared>,
}

#[derive(Default)]
struct All {
    errands: VecDeque<Errand>,
    /// What the disk refused; it is tried again.
    failed: Vec<Errand>,
    asked: u64,
    done: u64,
    writings: VecDeque<Box<Writing>>,
    bytes: usize,
    begun: u64,
    ended: u64,
    /// A thread is at it, or will be.
    is_attended: bool,
    is_over: bool,
}

impl Errands {
    pub(super) fn new(owner: Weak<Shared>) -> Self {
        Self { all: Mutex::default(), done: Condvar::new(), owner }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a thread come, unless one does already.
    pub(super) fn call(&self) {
        self.call_for(self.lock());
    }

    fn call_for(&self, mut all: MutexGuard<'_, All>) {
        if std::mem::replace(&mut all.is_attended, true) {
            return;
        }
        drop(all);
        if let Some(owner) = self.owner.upgrade() {
            WRITERS.leave(move || owner.attend());
        }
    }

    pub(super) fn leave(&self, errand: Errand) {
        let mut all = self.lock();
        all.errands.push_back(errand);
        all.asked += 1;
        self.call_for(all);
    }

    /// Leaves an answer to be written; it comes back when too many wait.
    pub(super) fn write(&self, writing: Box<Writing>) -> Result<(), Box<Writing>> {
        let bytes = writing.stored.weight()[0];
        let mut all = self.lock();
        let is_full = all.writings.len() >= WAITING_MAX
            || (!all.writings.is_empty() && all.bytes.saturating_add(bytes) > WAITING_BYTES_MAX);
        if is_full || all.is_over {
            return Err(writing);
        }
        all.bytes += bytes;
        all.writings.push_back(writing);
        self.call_for(all);
        Ok(())
    }

    /// What is next: what goes before what comes. With nothing, the thread that asks is let go.
    pub(super) fn next(&self) -> Task {
        let mut all = self.lock();
        if let Some(errand) = all.errands.pop_front() {
            return Task::Errand(errand);
        }
        if let Some(writing) = all.writings.pop_front() {
            all.bytes = all.bytes.saturating_sub(writing.stored.weight()[0]);
            all.begun += 1;
            return Task::Write(writing);
        }
        all.is_attended = false;
        Task::Nothing
    }

    /// An errand has been run. One that failed is run again after a while.
    pub(super) fn ran(&self, errand: Errand, is_done: bool) {
        let mut all = self.lock();
        all.done += 1;
        if !is_done {
            self.keep(&mut all, errand);
        }
        drop(all);
        self.done.notify_all();
    }

    /// What was to be written is, or will not be; of what it left behind this could not be run.
    pub(super) fn wrote(&self, failed: Option<Errand>) {
        let mut all = self.lock();
        all.ended += 1;
        if let Some(errand) = failed {
            self.keep(&mut all, errand);
        }
        drop(all);
        self.done.notify_all();
    }

    fn keep(&self, all: &mut All, failed: Errand) {
        all.failed.push(failed);
        if all.failed.len() > 1 || all.is_over {
            return;
        }
        let owner = self.owner.clone();
        WRITERS.leave_for(REST, move || {
            if let Some(owner) = owner.upgrade() {
                owner.errands.try_again();
            }
        });
    }

    /// Has run again what failed.
    pub(super) fn try_again(&self) {
        let mut all = self.lock();
        let failed = std::mem::take(&mut all.failed);
        all.asked += failed.len() as u64;
        all.errands.extend(failed);
        self.call_for(all);
    }

    /// Waits until nothing is left of what there is to do to files now, and of what is being written, but not longer
    /// than this; whether all went well.
    pub(super) fn settle(&self, until: Instant) -> bool {
        let mut all = self.lock();
        let (asked, begun) = (all.asked, all.begun);
        while all.done < asked || all.ended < begun {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            all = self.done.wait_timeout(all, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        all.failed.is_empty()
    }

    /// Nobody wants anything written any more. What is to be removed still is.
    pub(super) fn end(&self) {
        let mut all = self.lock();
        all.is_over = true;
        let waiting = std::mem::take(&mut all.writings);
        all.bytes = 0;
        drop(all);
        drop(waiting);
    }

    /// How many errands there ever were.
    #[cfg(test)]
    pub(super) fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// Whether nobody wants anything any more.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }
}
