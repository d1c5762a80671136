//! What outlives the process, below `acme` in the data directory: accounts, certificates with their keys, orders under way,
//! and what failed.
//!
//! Each file is written beside its place, for its owner alone, and moved there: whoever reads finds a whole one.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{keys::Bundle, schedule::Failures};

const CERTIFICATE: &str = "certificate.pem";
const FAILURES: &str = "failures.json";
const ORDER: &str = "order.json";
/// Folders between a file and the data directory, that one included.
const FOLDERS: usize = 4;

/// An order that was begun.
#[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Begun {
    /// Where it is at the authority.
    pub(crate) url: String,
    /// The key that the certificate is for, as PEM.
    pub(crate) key: String,
}

// The key reaches no log by way of `{:?}`.
impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("url", &self.url).finish_non_exhaustive()
    }
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

    /// The order that is to be gone on with. One whose certificate is kept has come to its end: the process ended before it
    /// could say so.
    pub(crate) fn order(&self, id: &str) -> Option<Begun> {
        let begun: Begun = read(&self.of(id, ORDER))?;
        let kept = fs::read_to_string(self.of(id, CERTIFICATE)).unwrap_or_default();
        (!kept.contains(begun.key.trim())).then_some(begun)
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
            Ok(()) => {
                sweep(&self.root, FOLDERS);
                Ok(Some(file))
            }
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Takes away what processes left that ended while they wrote: keys are among it. Nobody else writes now.
fn sweep(folder: &Path, depth: usize) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_some_and(|kind| kind == "tmp") {
            let _ = remove(&path);
        } else if depth > 1 && path.is_dir() {
            sweep(&path, depth - 1);
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
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let fresh = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    remove(&fresh)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    // Certificates are limited: one must not be lost because the machine went down.
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The name is the folder's, whose own name may be as new, and is its folder's.
    for (depth, folder) in path.ancestors().skip(1).take(FOLDERS).enumerate() {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        if depth == 0 {
            synced?;
        }
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
        assert!(!format!("{order:?}").contains("secret"), "{order:?}");
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
    fn an_order_whose_certificate_is_kept_is_not_gone_on_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let key = crate::keys::generate(crate::KeyType::EcdsaP256).expect("a key");
        let begun = Begun { url: "https://ca.test/order/1".into(), key: key.serialize_pem() };
        store.keep_order("a", Some(&begun)).expect("kept");
        assert_eq!(store.order("a"), Some(begun.clone()));
        let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        let chain = params.self_signed(&key).expect("a certificate").pem();
        let bundle = Bundle::parse(format!("{}{chain}", key.serialize_pem()).as_bytes()).expect("a bundle");
        store.keep_certificate("a", &bundle).expect("kept");
        assert_eq!(store.order("a"), None, "the process ended in between");
        let other = crate::keys::generate(crate::KeyType::EcdsaP256).expect("a key");
        let next = Begun { key: other.serialize_pem(), ..begun };
        store.keep_order("a", Some(&next)).expect("kept");
        assert_eq!(store.order("a"), Some(next), "the one that renews it");
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
