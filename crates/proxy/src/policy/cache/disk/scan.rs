//! The first look through the files of a directory, beside the traffic.
//!
//! One bad file never ends it: what cannot be read goes like what is torn. Folders in which something could neither be
//! read nor removed are looked at again later, and until that has gone well what is purged is noted for them.

use std::sync::{Arc, atomic::Ordering};

use super::{
    super::{
        entry,
        store::{Entry, Placed},
    },
    Filed, Shared, again,
    crew::SCANNERS,
    early::Fate,
    file::Meta,
    folder::{Folder, Found, Looked, Name, is_shortage},
};

impl Shared {
    /// Looks through these of the directory's folders, and again later through those where that fails.
    pub(super) fn scan(self: &Arc<Self>, folders: Vec<u8>, tries: u32) {
        let Some(folder) = self.folder.get() else { return };
        self.early.goes();
        let mut removed = 0;
        let mut left = Vec::new();
        for first in folders {
            // Somebody else looks at them now, or nobody needs to.
            if self.is_lost.load(Ordering::Relaxed) || self.errands.is_over() {
                left.clear();
                break;
            }
            if !self.scan_folder(folder, first, &mut removed) {
                left.push(first);
            }
        }
        let (bytes, answers) = self.index.size();
        let is_complete = left.is_empty();
        tracing::info!(
            cache = self.place,
            answers,
            bytes,
            removed,
            is_complete,
            "the cache's directory has been looked through"
        );
        if is_complete {
            return self.early.end();
        }
        self.early.rests();
        let own = Arc::downgrade(self);
        SCANNERS.leave_for(again(tries), move || {
            if let Some(own) = own.upgrade() {
                own.scan(left, tries + 1);
            }
        });
    }

    /// Puts all files of a folder into the index that are whole and ours, and removes the others; whether nothing is left
    /// of which nobody knows what it is.
    fn scan_folder(&self, folder: &Folder, first: u8, removed: &mut u64) -> bool {
        let files = match folder.files(first) {
            Ok(files) => files,
            Err(error) => {
                self.failed("look through", &self.counts.read_failures, &error);
                return false;
            }
        };
        let mut is_whole = true;
        for found in files {
            if self.is_lost.load(Ordering::Relaxed) || self.errands.is_over() {
                break;
            }
            is_whole &= match found {
                Ok(found) => self.scan_file(folder, &found, removed),
                Err(error) => {
                    self.failed("look through", &self.counts.read_failures, &error);
                    // Whoever lists files may fail each time from now on.
                    return false;
                }
            };
        }
        is_whole
    }

    fn scan_file(&self, folder: &Folder, found: &Found, removed: &mut u64) -> bool {
        let is_kept = match (self.look)(&found.path, found.is_file) {
            Ok(Looked::Ours { meta, bytes }) if meta.fingerprint == self.fingerprint => {
                self.know(found.name, *meta, bytes, found.is_spent)
            }
            Ok(Looked::Ours { .. } | Looked::Torn) => false,
            // What is renamed or removed meanwhile is not there any more.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return true,
            Err(error) => {
                self.failed("read from", &self.counts.read_failures, &error);
                // It may well be whole where the gateway itself is short of something.
                if is_shortage(&error) {
                    return false;
                }
                false
            }
        };
        if is_kept {
            return true;
        }
        *removed += 1;
        match folder.remove(found.name) {
            Ok(()) => true,
            Err(error) => {
                self.failed("remove a file from", &self.counts.remove_failures, &error);
                false
            }
        }
    }

    /// Whether a file is to stay: nothing newer has its place, and nobody has purged it.
    fn know(&self, name: Name, meta: Meta, bytes: u64, is_spent: bool) -> bool {
        let tags = entry::tags(&meta.headers);
        // No purge comes between the look at the purges and the file's place in the index.
        let early = self.early.held();
        let fate = early.fate(&meta.key, &tags);
        if fate == Fate::Goes {
            return false;
        }
        let filed = Filed::new(name, bytes, meta.written, (meta.selecting, tags), &self.errands);
        filed.is_spent.store(is_spent, Ordering::Relaxed);
        let filed = Arc::new(filed);
        let epoch = self.index.epoch(&meta.key);
        // A second look finds what the first has found.
        let stays = |other: &Arc<Filed>| other.name == name || other.written >= meta.written;
        match self.index.place(&meta.key, filed.clone(), epoch, |_| false, stays) {
            Placed::Kept => {
                if fate == Fate::Spent {
                    filed.spend();
                }
                true
            }
            Placed::There(other) => other.name == name,
            Placed::TooLarge | Placed::Changed => false,
        }
    }
}
