//! Notices when a configuration or anything it refers to changes.
//!
//! Looks at each file's state a few times a second rather than asking the kernel: that also sees what is swapped in
//! by a symbolic link (Kubernetes), on a network file system, or in a folder that did not exist yet. A change counts
//! once it has settled: a file that is still being written is not one to load.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::Files;

/// How often files are looked at.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);

/// How long files must stay as they are before a change of theirs counts.
const SETTLED: Duration = Duration::from_millis(200);

/// What is known of the watched files.
#[derive(Debug)]
pub(crate) struct Watch {
    files: Option<Files>,
    referenced: Vec<PathBuf>,
    /// As they were when it was last said that they have changed.
    told: Seen,
    /// As they are, as far as known, and since when.
    seen: Seen,
    since: Instant,
}

type Seen = BTreeMap<PathBuf, Option<State>>;

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
        let (told, seen) = (Seen::new(), Seen::new());
        let mut watch = Self { files, referenced: Vec::new(), told, seen, since: Instant::now() };
        watch.catch_up();
        watch
    }

    /// Watches these files, too, in place of those before: certificates, keys, secrets.
    pub(crate) fn refer_to(&mut self, files: Vec<PathBuf>) {
        self.referenced = files;
        let now = self.look();
        // What was seen before the load keeps its state: a change during the load is not lost.
        for (path, state) in now {
            self.told.entry(path.clone()).or_insert(state);
            self.seen.entry(path).or_insert(state);
        }
    }

    /// Whether anything has changed since that was last said, and stays as it is now.
    pub(crate) fn changed(&mut self, now: Instant) -> bool {
        let seen = self.look();
        if seen != self.seen {
            self.seen = seen;
            self.since = now;
            return false;
        }
        let is_settled = now.saturating_duration_since(self.since) >= SETTLED;
        let changed = is_settled && self.seen != self.told;
        if changed {
            self.told.clone_from(&self.seen);
        }
        changed
    }

    /// Takes everything as it is for known: it is about to be loaded, settled or not.
    pub(crate) fn catch_up(&mut self) {
        self.seen = self.look();
        self.told.clone_from(&self.seen);
    }

    fn look(&self) -> Seen {
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
        let now = Instant::now();
        assert!(!watch.changed(now + SETTLED));
        let fresh = folder.join("fresh");
        std::os::unix::fs::symlink(&two, &fresh).expect("a link");
        std::fs::rename(&fresh, &link).expect("a swap");
        assert!(!watch.changed(now), "seen for the first time");
        assert!(!watch.changed(now + SETTLED / 2), "not settled");
        assert!(watch.changed(now + SETTLED));
        assert!(!watch.changed(now + SETTLED * 2), "said once");
        std::fs::write(&two, "a: 3, b").expect("a file");
        watch.catch_up();
        assert!(!watch.changed(now + SETTLED * 4), "known already");
        std::fs::remove_dir_all(&folder).expect("gone");
    }
}
