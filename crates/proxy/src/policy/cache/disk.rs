//! The second tier: answers in files, which the process does not take along when it ends.
//!
//! What memory keeps is written behind by threads that all caches share, and what memory has no longer is read by others
//! of them; no worker ever waits for the disk. An index in memory knows the files by key, so that a miss costs nothing;
//! when the process starts it is made anew by looking through the files, beside the traffic. The directory is opened
//! when the configuration is live: one that is only checked, or refused, leaves it alone.

mod attend;
mod crew;
mod early;
mod errands;
mod filed;
mod folder;
mod reads;
mod scan;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::HeaderMap;
use tokio::{sync::oneshot, time::timeout};

pub(super) use self::filed::Filed;
use self::{
    attend::Desk,
    early::Early,
    errands::{Errands, Writing},
    folder::{Folder, Look},
    reads::Reads,
};
use super::{
    entry::Stored,
    file::{self, Fingerprint},
    key::Key,
    store::{Epoch, Found, Purge, Store},
    tiers::Below,
};

/// How long a request waits for a file.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing is written after a disk failed or was full, and nothing read after it took too long.
const REST: Duration = Duration::from_secs(5);

/// How long until a directory is tried again that could not be opened or looked through, after so many tries.
fn again(tries: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(60);
    Duration::from_secs(1 << tries.min(6)).min(LONGEST)
}

/// What became of writing, reading and the like.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    /// Not written: too many waited, or the disk had failed just before.
    pub(super) dropped: AtomicU64,
    pub(super) write_failures: AtomicU64,
    pub(super) hits: AtomicU64,
    /// Files that were not what had been written.
    pub(super) torn: AtomicU64,
    /// Reads for which too many waited, or that took too long.
    pub(super) late: AtomicU64,
    pub(super) read_failures: AtomicU64,
    pub(super) remove_failures: AtomicU64,
    pub(super) open_failures: AtomicU64,
}

/// The answers of one policy on disk.
pub(super) struct Disk {
    shared: Arc<Shared>,
    is_begun: OnceLock<()>,
}

/// What its threads share.
struct Shared {
    /// Where its policy stands, for messages.
    place: String,
    root: PathBuf,
    fingerprint: Fingerprint,
    index: Store<Filed>,
    errands: Arc<Errands>,
    reads: Reads,
    folder: OnceLock<Folder>,
    /// How files are looked at.
    look: Look,
    /// What was purged before all files were looked at.
    early: Early,
    desk: Mutex<Desk>,
    /// Somebody else has the directory.
    is_lost: AtomicBool,
    /// A failure has been told, and nothing has gone well since.
    is_told: AtomicBool,
    counts: Counts,
}

/// An answer that is being read.
pub(super) struct Seeking {
    shared: Arc<Shared>,
    answer: oneshot::Receiver<Option<Arc<Stored>>>,
}

fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The name of the folder for a cache that stands at this place: no other place has the same.
pub(super) fn folder_name(place: &str) -> String {
    /// What a file system takes.
    const BYTES_MAX: usize = 200;
    let mut name = String::new();
    for byte in place.strip_suffix("/cache").unwrap_or(place).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'/' => name.push('.'),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    if name.len() > BYTES_MAX {
        return file::sum(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    }
    name
}

impl Disk {
    /// In this directory, which is left alone until somebody asks. Answers that were kept by other `settings` are none.
    pub(super) fn new(
        place: &str,
        root: PathBuf,
        bounds: &model::policy::cache::CacheDisk,
        settings: &str,
    ) -> Self {
        Self::looking(place, root, bounds, settings, Box::new(folder::look))
    }

    fn looking(
        place: &str,
        root: PathBuf,
        bounds: &model::policy::cache::CacheDisk,
        settings: &str,
        look: Look,
    ) -> Self {
        let shared = Arc::new_cyclic(|own| Shared {
            place: place.to_owned(),
            root,
            fingerprint: file::sum(format!("{place}\n{settings}").as_bytes()),
            index: Store::bounded([bounds.max_size.get(), bounds.max_index_size.get()]),
            errands: Arc::new(Errands::new(own.clone())),
            reads: Reads::new(),
            folder: OnceLock::new(),
            look,
            early: Early::new(),
            desk: Mutex::default(),
            is_lost: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            counts: Counts::default(),
        });
        Self { shared, is_begun: OnceLock::new() }
    }

    fn begun(&self) -> &Arc<Shared> {
        self.is_begun.get_or_init(|| self.shared.errands.call());
        &self.shared
    }

    /// Has the directory opened, unless it is.
    pub(super) fn begin(&self) {
        self.begun();
    }

    pub(super) fn epoch(&self, key: &Key) -> Epoch {
        self.begun().index.epoch(key)
    }

    /// What there is for a request of this key; an answer is being read from now on.
    pub(super) fn seek(&self, key: &Key, request: &HeaderMap) -> Below {
        let shared = self.begun();
        let filed = match shared.index.find(key, request) {
            Found::Answer(filed) => filed,
            Found::OtherVariants => return Below::OtherVariants,
            Found::Nothing => return Below::Nothing,
        };
        let Some(answer) = shared.ask_for(key, &filed) else {
            shared.counts.late.fetch_add(1, Ordering::Relaxed);
            return Below::Nothing;
        };
        Below::Answer(Seeking { shared: shared.clone(), answer })
    }

    /// Has an answer written, when its turn comes.
    pub(super) fn offer(&self, key: &Key, stored: Arc<Stored>, made_of: Option<&Arc<Stored>>, epoch: Epoch) {
        let shared = self.begun();
        let made_of = made_of.map(|source| source.selecting().to_vec());
        let writing = Box::new(Writing { key: key.clone(), stored, made_of, epoch });
        if let Err(writing) = shared.errands.write(writing) {
            shared.give_up(&writing, &shared.counts.dropped);
        }
    }

    /// Takes out, or has asked about before they are given again, all that are meant, also those that no one has looked
    /// at yet; how many they were of those for which `counts` holds.
    pub(super) fn purge(
        &self,
        what: Purge<'_>,
        is_soft: bool,
        counts: impl Fn(&Key, &Filed) -> bool,
    ) -> usize {
        let shared = self.begun();
        // No file is looked at between the two.
        let _meanwhile = shared.early.note(what, is_soft);
        shared.index.purge_counting(what, is_soft, counts)
    }

    /// Waits until the files of all that was purged are gone, those included that had not been looked at, but not longer
    /// than this; whether they are.
    pub(super) fn settle(&self, until: Instant) -> bool {
        let shared = self.begun();
        // One that could not be opened may be due again.
        shared.errands.call();
        let is_settled = shared.early.settle(until) && shared.errands.settle(until);
        if !is_settled {
            tracing::warn!(
                cache = shared.place, directory = %shared.root.display(),
                "purged answers may still be on disk: it is slow, fails, or has not been looked through yet",
            );
        }
        is_settled
    }

    /// Answers that are there, the bytes that they take, and those that the index takes in memory.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        let index = &self.shared.index;
        let [bytes, of_index] = index.in_use();
        (index.size().1, bytes, of_index)
    }

    /// Answers that had to go for others.
    pub(super) fn evicted(&self) -> u64 {
        self.shared.index.evicted.load(Ordering::Relaxed)
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Whether all files have been looked at.
    pub(super) fn is_known(&self) -> bool {
        self.shared.early.is_over()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.errands.end();
        self.shared.reads.end();
    }
}

impl Seeking {
    /// The answer, if it is whole and comes in time.
    pub(super) async fn found(self) -> Option<Arc<Stored>> {
        match timeout(READ_PATIENCE, self.answer).await {
            Ok(Ok(answer)) => answer,
            told => {
                self.shared.counts.late.fetch_add(1, Ordering::Relaxed);
                if told.is_err() {
                    self.shared.reads.is_late();
                }
                None
            }
        }
    }
}

impl Shared {
    /// Counts a failure, and tells it if it is the first since all went well.
    fn failed(&self, what: &str, count: &AtomicU64, error: &std::io::Error) {
        count.fetch_add(1, Ordering::Relaxed);
        if !self.is_told.swap(true, Ordering::Relaxed) {
            let directory = self.root.display();
            tracing::warn!(
                cache = self.place, %directory, %error,
                "cannot {what} the cache's directory: it goes on with memory, and this is told once until it works again",
            );
        }
    }
}

#[cfg(test)]
mod tests;
