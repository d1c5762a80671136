//! Files whose names and bytes the system has in memory, opened and read without waiting for a disk: a worker does that
//! itself, and no thread has to be woken for it. Whatever might wait is an error of the kind `WouldBlock`.
//!
//! Only on file systems of this machine: those of a network or of another process (NFS, FUSE) may ask somebody else when a
//! file is opened, however much of it is in memory.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    path::Path,
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags, ResolveFlags, StatxFlags},
    io::{Errno, ReadWriteFlags},
};

/// ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, overlayfs: what `statfs` calls them.
const LOCAL: [u32; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994, 0x794C_7630];

/// A file system, by the numbers of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Device(u32, u32);

impl Device {
    /// That of a directory, where it is of this machine and can be opened so. Waits for the disk.
    pub(super) fn local(path: &Path) -> Option<Self> {
        let kind = u32::try_from(fs::statfs(path).ok()?.f_type).ok()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(path, flags, Mode::empty()).ok()?;
        // Kernels before 5.12 do not know the flag, and sandboxes may not know the call: then each try would be for nothing.
        let at_once = fs::openat2(fs::CWD, path, flags, Mode::empty(), ResolveFlags::CACHED);
        if matches!(at_once, Err(Errno::INVAL | Errno::NOSYS | Errno::PERM)) {
            return None;
        }
        LOCAL.contains(&kind).then(|| Self::of(&root)).flatten()
    }

    fn of(directory: impl AsFd) -> Option<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let told = fs::statx(directory, c"", flags, StatxFlags::empty()).ok()?;
        Some(Self(told.stx_dev_major, told.stx_dev_minor))
    }
}

/// A directory on that device.
pub(super) fn directory(path: &Path, device: Device) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::openat2(fs::CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).map_err(told)?;
    if Device::of(&root) == Some(device) { Ok(root) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// What lies at a path, and on the same device.
pub(super) fn open(root: &OwnedFd, name: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let resolve = resolve | ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
    fs::openat2(root, name, flags, Mode::empty(), resolve).map_err(told)
}

/// As many bytes of a file as there is room for.
pub(super) fn read(file: &File, from: u64, room: &mut [u8]) -> io::Result<()> {
    let wanted = room.len();
    let got = rustix::io::preadv2(file, &mut [IoSliceMut::new(room)], from, ReadWriteFlags::NOWAIT)
        .map_err(told)?;
    // The rest is on the disk, or is no longer there: who may wait finds out.
    if got == wanted { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// Whatever is no answer is left to those who may wait: what has to be fetched, another device, calls and flags that this
/// kernel, sandbox or file system does not know.
fn told(error: Errno) -> io::Error {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::ACCESS => error.into(),
        _ => io::ErrorKind::WouldBlock.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::handler::static_files::below::{Below, Found, Wait};

    #[test]
    fn what_is_in_memory_is_opened_and_read_and_the_rest_is_left_to_those_who_wait() {
        let folder = std::env::temp_dir().join(format!("tidegate-at-once-{}", std::process::id()));
        let root = folder.as_path();
        std::fs::create_dir_all(root.join("a")).expect("a folder");
        std::fs::write(root.join("a/in"), "within").expect("a file");
        symlink("/proc", root.join("elsewhere")).expect("a link");
        let device = Device::local(root).expect("tests run on a disk or in memory");
        let below = Below::of(root, Wait::Never(device)).expect("just written, and so in memory");
        let Found::File(file, _) = below.open(b"a/in").expect("in memory, too") else { panic!("no file") };
        let mut room = [0; 6];
        // tmpfs knows no reads that do not wait before Linux 6.6.
        match read(&file, 0, &mut room) {
            Ok(()) => assert_eq!(&room, b"within"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert_eq!(read(&file, 3, &mut room).expect_err("no six bytes").kind(), io::ErrorKind::WouldBlock);
        assert!(matches!(below.open(b"a"), Ok(Found::Directory)));
        for leads_away in ["elsewhere/self/environ", "../x"] {
            let Err(error) = below.open(leads_away.as_bytes()) else { panic!("{leads_away} was opened") };
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{leads_away}");
        }
        let other = Device(device.0, device.1 + 1);
        let Err(error) = Below::of(root, Wait::Never(other)) else { panic!("another device") };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(Device::local(Path::new("/proc")), None, "what others make up is never taken for local");
        std::fs::remove_dir_all(folder).expect("a folder");
    }
}
