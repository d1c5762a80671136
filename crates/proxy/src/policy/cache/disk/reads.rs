//! Answers that are read for requests that wait, bounded, and what a disk that hangs costs: one second for those who come
//! first, and nothing for those who come after until it has answered.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::oneshot;

use super::{
    super::{entry::Stored, key::Key},
    READ_PATIENCE, REST, Shared,
    crew::READERS,
    file,
    filed::Filed,
    folder::is_shortage,
    wall_millis,
};

/// So many answers may wait to be read.
const FILES_MAX: usize = 256;
/// Requests that wait for one file.
const WAITING_MAX: usize = 1_000;
/// So many threads read for one cache at once.
const AT_ONCE_MAX: usize = 4;
/// After so many files another cache has its turn.
const TURN_FILES: usize = 16;

/// What is to be read of one directory, and how it goes.
pub(super) struct Reads {
    waiting: Mutex<Waiting>,
    /// Files that were asked for and have not come.
    out: AtomicUsize,
    /// One of them took too long.
    is_late: AtomicBool,
    since: Instant,
    /// Milliseconds after `since` until which nothing is read.
    rests_until: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    files: VecDeque<(Key, Arc<Filed>)>,
    threads: usize,
}

impl Reads {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            out: AtomicUsize::new(0),
            is_late: AtomicBool::new(false),
            since: Instant::now(),
            rests_until: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A file took too long, or could not be read: for a while nobody waits for another.
    pub(super) fn rest(&self) {
        let rest = u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
        self.rests_until.store(self.millis().saturating_add(rest), Ordering::Relaxed);
    }

    /// A file did not come in time: nobody waits for another until one has come, and for a while.
    pub(super) fn is_late(&self) {
        self.is_late.store(true, Ordering::Relaxed);
        self.rest();
    }

    /// Whether nobody is to wait for a file now.
    fn rests(&self) -> bool {
        let hangs = self.is_late.load(Ordering::Relaxed) && self.out.load(Ordering::Relaxed) > 0;
        hangs || self.millis() < self.rests_until.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn rest_no_longer(&self) {
        self.rests_until.store(0, Ordering::Relaxed);
    }

    /// Ends all that waits.
    pub(super) fn end(&self) {
        let files = std::mem::take(&mut self.lock().files);
        self.out.fetch_sub(files.len(), Ordering::Relaxed);
    }
}

impl Shared {
    /// Has an answer read; none when too many wait, or the disk takes too long just now.
    pub(super) fn ask_for(
        self: &Arc<Self>,
        key: &Key,
        filed: &Arc<Filed>,
    ) -> Option<oneshot::Receiver<Option<Arc<Stored>>>> {
        if self.reads.rests() {
            return None;
        }
        let (tell, answer) = oneshot::channel();
        let mut readers = filed.readers();
        // Whoever comes when it should be there by now need not find out again.
        let is_overdue = readers.since.is_some_and(|since| since.elapsed() >= READ_PATIENCE);
        if is_overdue || readers.all.len() >= WAITING_MAX {
            return None;
        }
        // The others get what the first gets.
        if readers.since.is_none() {
            if !self.leave_to_read(key, filed) {
                return None;
            }
            readers.since = Some(Instant::now());
        }
        readers.all.push(tell);
        Some(answer)
    }

    fn leave_to_read(self: &Arc<Self>, key: &Key, filed: &Arc<Filed>) -> bool {
        let mut waiting = self.reads.lock();
        if waiting.files.len() >= FILES_MAX {
            return false;
        }
        waiting.files.push_back((key.clone(), filed.clone()));
        self.reads.out.fetch_add(1, Ordering::Relaxed);
        if waiting.threads < AT_ONCE_MAX {
            waiting.threads += 1;
            drop(waiting);
            let own = self.clone();
            READERS.leave(move || own.read_some());
        }
        true
    }

    fn read_some(self: Arc<Self>) {
        for _ in 0..TURN_FILES {
            let (key, filed) = {
                let mut waiting = self.reads.lock();
                let Some(next) = waiting.files.pop_front() else {
                    waiting.threads -= 1;
                    return;
                };
                next
            };
            let stored = self.read(&key, &filed);
            self.reads.is_late.store(false, Ordering::Relaxed);
            self.reads.out.fetch_sub(1, Ordering::Relaxed);
            let readers = std::mem::take(&mut *filed.readers());
            for reader in readers.all {
                // Whoever asked may have left.
                let _ = reader.send(stored.clone());
            }
        }
        READERS.leave(move || self.read_some());
    }

    /// The answer that lies there. What is not whole, or another's, or cannot be read, is removed.
    fn read(&self, key: &Key, filed: &Arc<Filed>) -> Option<Arc<Stored>> {
        let bytes = match self.folder.get()?.read(filed.name, filed.bytes) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.failed("read from", &self.counts.read_failures, &error);
                self.reads.rest();
                if !is_shortage(&error) {
                    self.index.drop_of(key, |other| Arc::ptr_eq(other, filed));
                }
                return None;
            }
        };
        let found = bytes.and_then(file::read).filter(|(meta, _)| {
            meta.fingerprint == self.fingerprint && meta.key == *key && meta.selecting == filed.selecting()
        });
        let Some((meta, body)) = found else {
            self.counts.torn.fetch_add(1, Ordering::Relaxed);
            self.index.drop_of(key, |other| Arc::ptr_eq(other, filed));
            return None;
        };
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        let stored = meta.with(body, wall_millis(), Instant::now());
        let is_spent = stored.is_spent() || filed.is_spent.load(Ordering::Relaxed);
        Some(Arc::new(stored.spent_if(is_spent)))
    }
}
