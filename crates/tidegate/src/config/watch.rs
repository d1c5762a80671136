//! Notices when a configuration or anything it refers to changes.
//!
//! Looks at each file's state a few times a second rather than asking the kernel: that also sees what is swapped in
//! by a symbolic link (Kubernetes), on a network file system, or in a folder that did not exist yet.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Files;

/// How often files are looked at.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);

/// The state of the watched files when they were last looked at.
#[derive(Debug)]
pub(crate) struct Watch {
    files: Option<Files>,
    referenced: Vec<PathBuf>,
    seen: BTreeMap<PathBuf, Option<State>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl From<Metadata> for State {
    fn from(meta: Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            seconds: meta.mtime(),
            nanoseconds: meta.mtime_nsec(),
        }
    }
}

impl Watch {
    /// Begins to watch; what is there now is known.
    pub(crate) fn new(files: Option<Files>) -> Self {
        let mut watch = Self { files, referenced: Vec::new(), seen: BTreeMap::new() };
        watch.seen = watch.look();
        watch
    }

    /// Watches these files, too, in place of those before: certificates, keys, secrets.
    pub(crate) fn refer_to(&mut self, files: Vec<PathBuf>) {
        self.referenced = files;
        let now = self.look();
        // What was seen before the load keeps its state: a change during the load is not lost.
        for (path, state) in now {
            self.seen.entry(path).or_insert(state);
        }
    }

    /// Whether anything has changed since the last look.
    pub(crate) fn changed(&mut self) -> bool {
        let now = self.look();
        let changed = now != self.seen;
        self.seen = now;
        changed
    }

    fn look(&self) -> BTreeMap<PathBuf, Option<State>> {
        let listed = self.files.as_ref().and_then(|files| files.list().ok()).unwrap_or_default();
        listed.iter().chain(&self.referenced).map(|path| (path.clone(), state(path))).collect()
    }
}

fn state(path: &Path) -> Option<State> {
    std::fs::metadata(path).ok().map(State::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_by_symbolic_link_is_noticed() {
        let folder = std::env::temp_dir().join(format!("tidegate-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (one, two, link) = (folder.join("one"), folder.join("two"), folder.join("live.yaml"));
        std::fs::write(&one, "a: 1").expect("a file");
        std::fs::write(&two, "a: 2").expect("a file");
        std::os::unix::fs::symlink(&one, &link).expect("a link");
        let mut watch = Watch::new(Some(Files::new(&link)));
        assert!(!watch.changed());
        let fresh = folder.join("fresh");
        std::os::unix::fs::symlink(&two, &fresh).expect("a link");
        std::fs::rename(&fresh, &link).expect("a swap");
        assert!(watch.changed());
        assert!(!watch.changed());
        std::fs::remove_dir_all(&folder).expect("gone");
    }
}
