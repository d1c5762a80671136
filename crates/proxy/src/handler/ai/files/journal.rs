//! The file of what callers have made (`ai-made.jsonl`): a line for each change, written off the way of calls.
//!
//! It is written anew, as short as it can be, when it is read and has become twice as long as it was then.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::made::{Change, Shelves, locked};

/// Changes that wait to be written. What comes on top is written when all of it is.
const WAITING_MAX: usize = 4096;
/// Below this nothing is written anew.
const BYTES_MIN: u64 = 64 * 1024;
/// How often it is looked whether something was left out.
const LOOK: Duration = Duration::from_secs(1);

/// Whom changes are told, to be written.
pub(super) struct Journal {
    lines: mpsc::SyncSender<String>,
    /// Something was not taken.
    has_missed: Arc<AtomicBool>,
}

impl Journal {
    /// Reads what was written, and goes on with it.
    pub(super) fn open(path: &Path, shelves: &Arc<Mutex<Shelves>>) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut count = 0_usize;
        if let Ok(text) = fs::read_to_string(path) {
            let mut shelves = locked(shelves);
            count = text.lines().count();
            // A line that was cut off when a process was killed is no line.
            for mut change in text.lines().filter_map(|line| serde_json::from_str::<Change>(line).ok()) {
                shelves.apply(&mut change);
            }
        }
        let mut file = File::open(path, shelves)?;
        if count > locked(shelves).count() {
            file.renew()?;
        }
        let (lines, written) = mpsc::sync_channel(WAITING_MAX);
        let has_missed = Arc::new(AtomicBool::new(false));
        let missed = has_missed.clone();
        std::thread::Builder::new()
            .name("ai-made".to_owned())
            .spawn(move || file.write_all(&written, &missed))?;
        Ok(Self { lines, has_missed })
    }

    /// Writes a change, in a while.
    pub(super) fn write(&self, change: &Change) {
        let Ok(mut line) = serde_json::to_string(change) else { return };
        line.push('\n');
        if self.lines.try_send(line).is_err() {
            self.has_missed.store(true, Ordering::Relaxed);
        }
    }
}

struct File {
    path: PathBuf,
    file: fs::File,
    shelves: Arc<Mutex<Shelves>>,
    /// Bytes that it had when it was as short as it can be, and has now.
    least: u64,
    bytes: u64,
}

impl File {
    fn open(path: &Path, shelves: &Arc<Mutex<Shelves>>) -> std::io::Result<Self> {
        let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, shelves: shelves.clone(), least: bytes, bytes })
    }

    /// Writes lines as long as somebody sends them.
    fn write_all(mut self, lines: &mpsc::Receiver<String>, has_missed: &AtomicBool) {
        loop {
            let result = match lines.recv_timeout(LOOK) {
                Ok(line) => {
                    self.bytes += line.len() as u64;
                    self.file.write_all(line.as_bytes())
                }
                Err(mpsc::RecvTimeoutError::Timeout) => Ok(()),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let is_long = self.bytes > self.least.saturating_mul(2).max(BYTES_MIN);
            let result = match is_long || has_missed.swap(false, Ordering::Relaxed) {
                true => result.and_then(|()| self.renew()),
                false => result,
            };
            if let Err(error) = result {
                // It is tried again when it has doubled again.
                self.least = self.bytes;
                tracing::warn!(%error, "a change to lists of files and batches is not kept: {error}");
            }
        }
    }

    /// Writes all of it anew. What is still on its way comes after it, and changes nothing then.
    fn renew(&mut self) -> std::io::Result<()> {
        let changes: Vec<Change> = locked(&self.shelves).changes().collect();
        let path = self.path.with_extension("jsonl.new");
        let _ = fs::remove_file(&path);
        let new = fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        let mut out = std::io::BufWriter::new(&new);
        for change in &changes {
            serde_json::to_writer(&mut out, change)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        drop(out);
        new.sync_data()?;
        fs::rename(&path, &self.path)?;
        self.bytes = new.metadata()?.len();
        (self.file, self.least) = (new, self.bytes);
        Ok(())
    }
}
