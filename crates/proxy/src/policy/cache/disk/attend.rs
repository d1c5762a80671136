//! What a thread does that attends to a directory: opens it, writes what is kept, and removes what is not any more.

use std::{
    io::{Error, ErrorKind},
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    super::store::Placed,
    Filed, REST, Shared, again,
    crew::{SCANNERS, WRITERS},
    errands::{Errand, Task, Writing},
    file,
    folder::{Folder, Name, Unwritten},
    wall_millis,
};

/// After so much another cache has its turn.
const TURN_TASKS: usize = 64;
/// Where a disk is full, so many times the room of what should have been written is made.
const ROOM_TIMES: usize = 4;

/// What whoever attends has to remember.
#[derive(Default)]
pub(super) struct Desk {
    /// When the directory is tried again, and how often that has failed.
    opens_at: Option<Instant>,
    tries: u32,
    /// Until when nothing is written.
    rests_until: Option<Instant>,
}

/// What came of writing an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// It is there, or need not be.
    Done,
    /// The file is there, and nobody wants it any more.
    Void(Name),
    /// The disk failed, and is left alone for a while.
    Failed,
}

impl Shared {
    /// Only whoever attends has it, and one does at a time.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what there is to do, up to a bound.
    pub(super) fn attend(self: Arc<Self>) {
        if self.folder.get().is_none() {
            self.open();
        }
        let folder = self.folder.get();
        for _ in 0..TURN_TASKS {
            match self.errands.next() {
                Task::Nothing => return,
                Task::Errand(errand) => {
                    let is_done = folder.is_none_or(|folder| self.run(folder, errand));
                    self.errands.ran(errand, is_done);
                }
                Task::Write(writing) => {
                    let failed = self.write_if_possible(&writing);
                    self.errands.wrote(failed);
                }
            }
        }
        WRITERS.leave(move || self.attend());
    }

    fn open(self: &Arc<Self>) {
        let mut desk = self.desk();
        if self.errands.is_over() || desk.opens_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.early.goes();
        match Folder::open(&self.root) {
            Ok(folder) => {
                let _ = self.folder.set(folder);
                let own = self.clone();
                SCANNERS.leave(move || own.scan((0..=0xff).collect(), 0));
            }
            Err(error) => {
                self.failed("open", &self.counts.open_failures, &error);
                self.early.rests();
                let after = again(desk.tries);
                desk.tries += 1;
                desk.opens_at = Some(Instant::now() + after);
                let own = Arc::downgrade(self);
                WRITERS.leave_for(after, move || {
                    if let Some(own) = own.upgrade() {
                        own.errands.call();
                    }
                });
            }
        }
    }

    /// Runs an errand; false when the disk failed.
    fn run(&self, folder: &Folder, errand: Errand) -> bool {
        let ran = match errand {
            Errand::Remove(name) => folder.remove(name),
            Errand::Spend(name) => folder.spend(name),
        };
        match ran {
            Ok(()) => true,
            Err(error) => {
                self.failed("remove a file from", &self.counts.remove_failures, &error);
                false
            }
        }
    }

    /// Forgets what an answer would have taken the place of: an older one is not given for it.
    pub(super) fn give_up(&self, writing: &Writing, count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
        self.early.note_given_up(&writing.key);
        self.index.drop_of(&writing.key, |filed| {
            filed.selecting() == writing.stored.selecting()
                || writing.made_of.as_deref().is_some_and(|source| filed.selecting() == source)
        });
    }

    /// Writes an answer; what should have been run after it, and could not.
    fn write_if_possible(&self, writing: &Writing) -> Option<Errand> {
        let mut desk = self.desk();
        let rests = desk.rests_until.is_some_and(|until| Instant::now() < until);
        let folder = self.folder.get().filter(|_| !rests && !self.is_lost.load(Ordering::Relaxed));
        let Some(folder) = folder else {
            self.give_up(writing, &self.counts.dropped);
            return None;
        };
        let written = self.write(folder, writing);
        desk.rests_until = (written == Written::Failed).then(|| Instant::now() + REST);
        match written {
            // Whoever waits for a purge waits for this, too.
            Written::Void(name) => Some(Errand::Remove(name)).filter(|errand| !self.run(folder, *errand)),
            Written::Done | Written::Failed => None,
        }
    }

    fn write(&self, folder: &Folder, writing: &Writing) -> Written {
        let (key, stored) = (&writing.key, &writing.stored);
        // What has become void need not be written.
        if self.index.has_changed(key, writing.epoch) {
            return Written::Done;
        }
        let written = wall_millis();
        let Some(head) = file::head(stored, key, &self.fingerprint, written, Instant::now()) else {
            self.give_up(writing, &self.counts.dropped);
            return Written::Done;
        };
        let name = folder.name();
        let bytes = head.len() + stored.body.len();
        match folder.write(name, &[&head, &stored.body]) {
            Ok(()) => {}
            Err(Unwritten::NotOurs) => {
                self.is_lost.store(true, Ordering::Relaxed);
                tracing::info!(
                    cache = self.place, directory = %self.root.display(),
                    "another configuration or process has taken over the cache's directory: this one goes on with memory",
                );
                self.give_up(writing, &self.counts.dropped);
                return Written::Done;
            }
            Err(Unwritten::Failed(error)) => {
                self.failed("write to", &self.counts.write_failures, &error);
                self.give_up(writing, &self.counts.dropped);
                return match self.helps_itself(folder, &error, bytes) {
                    true => Written::Done,
                    false => Written::Failed,
                };
            }
        }
        self.is_told.store(false, Ordering::Relaxed);
        let beside = (stored.selecting().to_vec(), stored.tags().to_vec());
        let filed = Arc::new(Filed::new(name, bytes as u64, written, beside, &self.errands));
        let goes =
            |other: &Arc<Filed>| writing.made_of.as_deref().is_some_and(|source| other.selecting() == source);
        match self.index.place(key, filed.clone(), writing.epoch, goes, |_| false) {
            Placed::Kept => {
                self.counts.written.fetch_add(1, Ordering::Relaxed);
                Written::Done
            }
            Placed::TooLarge => {
                self.give_up(writing, &self.counts.dropped);
                Written::Void(name)
            }
            Placed::Changed | Placed::There(_) => Written::Void(name),
        }
    }

    /// Whether the next file may be written at once after one could not be: a full disk gets room from those that are not
    /// asked for, and a folder that somebody has removed is made anew.
    fn helps_itself(&self, folder: &Folder, error: &Error, bytes: usize) -> bool {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                self.index.free(bytes.saturating_mul(ROOM_TIMES))
            }
            ErrorKind::NotFound => folder.mend().is_ok(),
            _ => false,
        }
    }
}
