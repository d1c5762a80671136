//! What outlives the process, below `acme` in the data directory: accounts, certificates with their keys, orders under way,
//! and what failed.
//!
//! Each file is written beside its place, for its owner alone, and moved there: whoever reads finds a whole one.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{keys::Bundle, schedule::Failures};

const CERTIFICATE: &str = "certificate.pem";
const FAILURES: &str = "failures.json";
const ORDER: &str = "order.json";

/// An order that was begun.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Begun {
    /// Where it is at the authority.
    pub(crate) url: String,
    /// The key that the certificate is for, as PEM.
    pub(crate) key: String,
}

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { root: data_dir.join("acme") }
    }

    fn of(&self, id: &str, file: &str) -> PathBuf {
        self.root.join("certificates").join(id).join(file)
    }

    /// A certificate with its key, if there is one that can be read.
    pub(crate) fn certificate(&self, id: &str) -> Result<Option<Bundle>, String> {
        let path = self.of(id, CERTIFICATE);
        match fs::read(&path) {
            Ok(pem) => Bundle::parse(&pem).map(Some).map_err(|error| format!("{}: {error}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    pub(crate) fn keep_certificate(&self, id: &str, bundle: &Bundle) -> io::Result<()> {
        write(&self.of(id, CERTIFICATE), bundle.pem().as_bytes())
    }

    pub(crate) fn failures(&self, id: &str) -> Failures {
        read(&self.of(id, FAILURES)).unwrap_or_default()
    }

    pub(crate) fn keep_failures(&self, id: &str, failures: &Failures) -> io::Result<()> {
        match failures.count {
            0 => remove(&self.of(id, FAILURES)),
            _ => keep(&self.of(id, FAILURES), failures),
        }
    }

    pub(crate) fn order(&self, id: &str) -> Option<Begun> {
        read(&self.of(id, ORDER))
    }

    pub(crate) fn keep_order(&self, id: &str, order: Option<&Begun>) -> io::Result<()> {
        match order {
            Some(order) => keep(&self.of(id, ORDER), order),
            None => remove(&self.of(id, ORDER)),
        }
    }

    pub(crate) fn account<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        read(&self.root.join("accounts").join(name))
    }

    pub(crate) fn keep_account<T: Serialize>(&self, name: &str, account: Option<&T>) -> io::Result<()> {
        let path = self.root.join("accounts").join(name);
        match account {
            Some(account) => keep(&path, account),
            None => remove(&path),
        }
    }

    /// The right to order, which one process has at a time; none while another has it. It ends with the file.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        folder(&self.root)?;
        let path = self.root.join("lock");
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(
                "{} is not what it was written as, and counts as missing: {error}",
                path.display()
            );
            None
        }
    }
}

fn keep<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write(path, &serde_json::to_vec(value)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that nobody else could ever read, and that is whole or not there.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
    remove(&fresh)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    // Certificates are limited: one must not be lost because the machine went down.
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The name is the folder's, and the folder's name its own folder's.
    for folder in path.ancestors().skip(1).take(2) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::schedule::Cause;

    #[test]
    fn what_is_kept_is_its_owners_alone_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let order = Begun { url: "https://ca.test/1".into(), key: "secret".into() };
        store.keep_order("a", Some(&order)).expect("kept");
        assert_eq!(store.order("a"), Some(order));
        let path = folder.path().join("acme/certificates/a");
        let names: Vec<_> =
            fs::read_dir(&path).expect("a folder").flatten().map(|one| one.file_name()).collect();
        assert_eq!(names, ["order.json"], "nothing is left beside it");
        assert_eq!(
            fs::metadata(path.join("order.json")).expect("a file").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::metadata(&path).expect("a folder").permissions().mode() & 0o777, 0o700);
        store.keep_order("a", None).expect("removed");
        assert_eq!(store.order("a"), None);
    }

    #[test]
    fn a_file_that_was_spoilt_counts_as_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let mut failures = Failures::default();
        failures.add(
            std::time::SystemTime::now(),
            Cause::Other,
            "no".into(),
            (std::time::Duration::from_secs(1), std::time::Duration::from_secs(1)),
            0.0,
        );
        store.keep_failures("a", &failures).expect("kept");
        assert_eq!(store.failures("a").count, 1);
        fs::write(folder.path().join("acme/certificates/a/failures.json"), "{\"count\":").expect("spoilt");
        assert_eq!(store.failures("a"), Failures::default());
    }

    #[test]
    fn one_at_a_time_has_the_right_to_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let first = store.lock().expect("a lock");
        assert!(first.is_some());
        assert!(store.lock().expect("no error").is_none());
        drop(first);
        assert!(store.lock().expect("a lock").is_some());
    }
}
