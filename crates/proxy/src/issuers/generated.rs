//! Keys that the gateway makes itself: kept in its data directory, in a file of each issuer's own that nobody else reads.
//!
//! The file is read and written under a lock, so that two processes that live beside each other during an upgrade make
//! one key, not two. Without a data directory keys live as long as the process.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use identity::{
    key::{Algorithm, SigningKey},
    ring::{self, Lack},
};
use model::resource::token_issuer::GeneratedKeys;
use serde::{Deserialize, Serialize};

use super::Held;

/// The folder in the data directory.
const FOLDER: &str = "token-keys";

/// Where the keys of an issuer are.
pub(super) struct Store {
    file: Option<PathBuf>,
    algorithm: Algorithm,
    every: Duration,
    before: Duration,
    /// How long a token counts after it was made.
    lasts: Duration,
    started: AtomicBool,
    /// Without a data directory.
    memory: Mutex<Document>,
}

/// What the file holds.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Document {
    keys: Vec<Kept>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// In seconds since 1970.
    from: u64,
    /// In base64.
    pkcs8: String,
}

impl ring::Timed for Kept {
    fn from(&self) -> u64 {
        self.from
    }
}

impl Store {
    pub(super) fn new(name: &str, algorithm: Algorithm, settings: &GeneratedKeys, lasts: Duration) -> Self {
        let folder = crate::handler::mcp::session::data_dir();
        let file = |folder: &Path| folder.join(FOLDER).join(format!("{name}-{}.json", algorithm.name()));
        Self {
            file: folder.map(file),
            algorithm,
            every: settings.rotate_every.get(),
            before: settings.publish_before.get(),
            lasts,
            started: AtomicBool::new(false),
            memory: Mutex::default(),
        }
    }

    /// Whether its background task is still to be started, by whoever asks first.
    pub(super) fn begins(&self) -> bool {
        !self.started.swap(true, Ordering::Relaxed)
    }

    /// The keys, those that were missing made, and when to look again.
    pub(super) fn refresh(&self, now: u64) -> Result<(Vec<Held>, u64), String> {
        let Some(file) = &self.file else {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let (_, until) = self.completed(&mut memory, now)?;
            return Ok((self.held(&memory)?, until));
        };
        let wrong = |error: std::io::Error| format!("{}: {error}", file.display());
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(file.with_extension("lock"))
            .map_err(wrong)?;
        // Given back when the file is closed.
        lock.lock().map_err(wrong)?;
        let mut document = match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| {
                format!("{} does not hold keys: move it away to have new ones made", file.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Document::default(),
            Err(error) => return Err(wrong(error)),
        };
        let (is_changed, until) = self.completed(&mut document, now)?;
        let held = self.held(&document)?;
        if is_changed {
            write(file, &document).map_err(wrong)?;
        }
        Ok((held, until))
    }

    /// Makes what a document lacks, and takes out what nobody needs any more: whether it did, and when to look again.
    fn completed(&self, document: &mut Document, now: u64) -> Result<(bool, u64), String> {
        let mut is_changed = false;
        let until = loop {
            match ring::lack(&document.keys, now, self.every, self.before) {
                Lack::Nothing { until } => break until,
                Lack::Key { from } => {
                    let (_, der) = SigningKey::generate(self.algorithm)?;
                    document.keys.push(Kept { from, pkcs8: STANDARD.encode(der) });
                    is_changed = true;
                }
            }
        };
        let published = ring::published(&document.keys, now, self.lasts);
        if published.len() < document.keys.len() {
            let all = std::mem::take(&mut document.keys);
            document.keys = all
                .into_iter()
                .enumerate()
                .filter(|(at, _)| published.contains(at))
                .map(|(_, key)| key)
                .collect();
            is_changed = true;
        }
        Ok((is_changed, until))
    }

    fn held(&self, document: &Document) -> Result<Vec<Held>, String> {
        let read = |kept: &Kept| {
            let der = STANDARD.decode(&kept.pkcs8).map_err(|_| "a key that was kept is none".to_owned())?;
            let key = SigningKey::from_der(&der, self.algorithm)?;
            Ok(Held { key: Arc::new(key), from: kept.from })
        };
        document.keys.iter().map(read).collect()
    }
}

/// Replaces the file whole.
fn write(file: &Path, document: &Document) -> std::io::Result<()> {
    let fresh = file.with_extension("tmp");
    let _ = fs::remove_file(&fresh);
    let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    open.write_all(&serde_json::to_vec(document)?)?;
    open.sync_all()?;
    fs::rename(&fresh, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(file: Option<PathBuf>) -> Store {
        Store {
            file,
            algorithm: Algorithm::EdDsa,
            every: Duration::from_secs(100),
            before: Duration::from_secs(20),
            lasts: Duration::from_secs(10),
            started: AtomicBool::new(false),
            memory: Mutex::default(),
        }
    }

    #[test]
    fn keys_follow_each_other_and_two_processes_have_the_same() {
        let folder = std::env::temp_dir().join(format!("tidegate-keys-{}", std::process::id()));
        let file = folder.join("a-EdDSA.json");
        let (one, other) = (store(Some(file.clone())), store(Some(file.clone())));
        let kids = |store: &Store, now| -> Vec<String> {
            let (keys, _) = store.refresh(now).expect("keys");
            keys.iter().map(|held| held.key.kid().to_owned()).collect()
        };
        let first = kids(&one, 1_000);
        assert_eq!((first.len(), kids(&other, 1_000)), (1, first.clone()));
        let both = kids(&other, 1_080);
        assert_eq!((both.len(), &both[0]), (2, &first[0]), "the next one is there before it signs");
        assert_eq!(kids(&one, 1_100), both, "and the old one after that");
        let last = kids(&one, 1_110);
        assert_eq!(last, both[1..], "until its last token has ended");
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, "nonsense").expect("written");
        assert!(one.refresh(1_120).is_err_and(|error| error.contains("move it away")));
        fs::remove_dir_all(folder).expect("removed");
    }
}
