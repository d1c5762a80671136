//! Opens what lies below a directory, and nothing else: no path and no symbolic link leads out of it.

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::fs::{self, Mode, OFlags};

#[cfg(target_os = "linux")]
use super::at_once::{self, Device};

/// How often a directory that is changing is looked at again.
#[cfg(target_os = "linux")]
const TRIES: usize = 8;

/// Whether a disk is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    ForDisks,
    /// Only what the system has in memory is looked at; an error of the kind `WouldBlock` says that it has not. The
    /// directory lies on this device, which answers at once for what is in memory.
    #[cfg(target_os = "linux")]
    Never(Device),
}

/// An open directory.
pub(super) struct Below<'r> {
    #[cfg(target_os = "linux")]
    root: rustix::fd::OwnedFd,
    path: &'r Path,
    wait: Wait,
}

/// What lies at a path.
pub(super) enum Found {
    File(File, Metadata),
    Directory,
    Nothing,
}

impl<'r> Below<'r> {
    pub(super) fn of(path: &'r Path, wait: Wait) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = match wait {
                Wait::ForDisks => fs::open(path, flags, Mode::empty())?,
                Wait::Never(device) => at_once::directory(path, device)?,
            };
            Ok(Self { root, path, wait })
        }
        #[cfg(not(target_os = "linux"))]
        {
            std::fs::read_dir(path)?;
            Ok(Self { path, wait })
        }
    }

    pub(super) fn wait(&self) -> Wait {
        self.wait
    }

    /// What lies at a path below it, each step of which is a name. Neither a pipe nor a device is waited for.
    pub(super) fn open(&self, steps: &[u8]) -> io::Result<Found> {
        let name = Path::new(OsStr::from_bytes(if steps.is_empty() { b"." } else { steps }));
        let file = match self.open_path(name) {
            Ok(file) => file,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && is_nothing(&error) => {
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        Ok(match () {
            () if metadata.is_file() => Found::File(file, metadata),
            () if metadata.is_dir() => Found::Directory,
            () => Found::Nothing,
        })
    }

    #[cfg(target_os = "linux")]
    fn open_path(&self, name: &Path) -> io::Result<File> {
        use rustix::{fs::ResolveFlags, io::Errno};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if let Wait::Never(_) = self.wait {
            return Ok(at_once::open(&self.root, name, flags, resolve)?.into());
        }
        for _ in 0..TRIES {
            return match fs::openat2(&self.root, name, flags, Mode::empty(), resolve) {
                Ok(file) => Ok(file.into()),
                Err(Errno::AGAIN) => continue,
                // Kernels before 5.6, and sandboxes that do not know the call.
                Err(Errno::NOSYS | Errno::PERM) => open_resolved(self.path, name),
                Err(error) => Err(error.into()),
            };
        }
        Err(Errno::AGAIN.into())
    }

    #[cfg(not(target_os = "linux"))]
    fn open_path(&self, name: &Path) -> io::Result<File> {
        open_resolved(self.path, name)
    }
}

/// Where the system cannot keep a path below a directory, where it leads is looked at first. Whoever may write into the
/// directory could change it in between.
fn open_resolved(root: &Path, name: &Path) -> io::Result<File> {
    let root = root.canonicalize()?;
    let path = root.join(name).canonicalize()?;
    if !path.starts_with(&root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    Ok(fs::open(path, flags, Mode::empty())?.into())
}

/// Whether an error says that there is nothing at a path, or nothing below the directory.
fn is_nothing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let nothing = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::XDEV,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::INVAL,
        Errno::NXIO,
    ];
    let known = error.raw_os_error().map(Errno::from_raw_os_error);
    known.is_some_and(|known| nothing.contains(&known)) || error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_way_stays_below_too() {
        let folder = std::env::temp_dir().join(format!("tidegate-below-{}", std::process::id()));
        let root = folder.join("root");
        std::fs::create_dir_all(root.join("a")).expect("a folder");
        std::fs::write(root.join("a/in"), "in").expect("a file");
        std::fs::write(folder.join("out"), "out").expect("a file");
        std::os::unix::fs::symlink("a/in", root.join("good")).expect("a link");
        std::os::unix::fs::symlink("../out", root.join("bad")).expect("a link");
        let open = |name: &str| open_resolved(&root, Path::new(name)).is_ok();
        assert!(open("a/in") && open("good"));
        assert!(!open("bad") && !open("../out") && !open("none"));
        let below = Below::of(&root, Wait::ForDisks).expect("a directory");
        let is_file = |name: &str| matches!(below.open(name.as_bytes()), Ok(Found::File(..)));
        assert!(is_file("a/in") && is_file("good"));
        assert!(!is_file("bad") && !is_file("../out") && !is_file("none") && !is_file("a"));
        assert!(matches!(below.open(b""), Ok(Found::Directory)));
        std::fs::remove_dir_all(folder).expect("a folder");
    }
}
