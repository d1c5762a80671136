//! The directory of one cache: who owns it, and files that are there whole or not at all.
//!
//! Whoever opens it last owns it: a process that takes over from another during an upgrade, and a configuration that
//! takes the place of another. The one before notices at its next file, writes none any more, and goes on with memory.
//! A lock that is held for a moment keeps the two apart, so that no file of the old owner comes after the new one's first
//! look.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::rand;

use super::file::{HEAD_BYTES, Lengths, Meta};

/// A link to the owner's name.
const OWNER: &str = "owner";
/// Locked while a file gets its place.
const LOCK: &str = "lock";
/// Where files lie until they are whole.
const UNFINISHED: &str = "unfinished";
/// What the name of an answer ends with that is asked about before it is given again.
const SPENT: &str = ".spent";
/// Hexadecimal digits of a name, of which the first two name the folder.
const NAME_DIGITS: usize = 32;

/// The name of a file: no other ever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name(u128);

impl Name {
    #[cfg(test)]
    pub(super) fn of(number: u128) -> Self {
        Self(number)
    }
}

/// The directory, opened.
pub(super) struct Folder {
    root: PathBuf,
    lock: File,
    token: String,
    seed: u64,
    next: AtomicU64,
}

/// Why a file is not there.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// Somebody else owns the directory.
    NotOurs,
    Failed(io::Error),
}

/// What was found of a file.
pub(super) enum Looked {
    Ours { meta: Box<Meta>, bytes: u64 },
    Torn,
}

/// Looks at a file; `false` says that it is none, but a pipe or the like, which nobody opens.
pub(super) type Look = Box<dyn Fn(&Path, bool) -> io::Result<Looked> + Send + Sync>;

/// What has a name of ours.
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) path: PathBuf,
    pub(super) is_spent: bool,
    pub(super) is_file: bool,
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn fresh(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

impl Folder {
    /// Takes the directory, whoever had it before.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        folder(root)?;
        folder(&root.join(UNFINISHED))?;
        let mut random = [0; 24];
        rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let (seed, token) = random.split_at(8);
        let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(root.join(LOCK))?;
        let seed = u64::from_be_bytes(seed.try_into().unwrap_or_default());
        let own = Self { root: root.to_owned(), lock, token, seed, next: AtomicU64::new(0) };
        own.lock.lock()?;
        let taken = own.take();
        own.lock.unlock()?;
        taken?;
        // What is not finished now never will be.
        for entry in fs::read_dir(own.root.join(UNFINISHED))?.flatten() {
            let _ = fs::remove_file(entry.path());
        }
        Ok(own)
    }

    /// Makes it ours. A link to nothing says whose it is: a full disk has room for that, where it has none for a file.
    fn take(&self) -> io::Result<()> {
        let aside = self.root.join(UNFINISHED).join(&self.token);
        symlink(&self.token, &aside)?;
        fs::rename(&aside, self.root.join(OWNER))
    }

    /// Makes anew what somebody has removed of it.
    pub(super) fn mend(&self) -> io::Result<()> {
        folder(&self.root.join(UNFINISHED))?;
        match self.is_ours() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.take(),
            other => other.map(|_| ()),
        }
    }

    fn is_ours(&self) -> io::Result<bool> {
        Ok(fs::read_link(self.root.join(OWNER))? == Path::new(&self.token))
    }

    fn path(&self, name: Name, is_spent: bool) -> PathBuf {
        let digits = format!("{:032x}", name.0);
        let (folder, _) = digits.split_at(2);
        self.root.join(folder).join(format!("{digits}{}", if is_spent { SPENT } else { "" }))
    }

    /// A name that no file has.
    pub(super) fn name(&self) -> Name {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // The number's last byte comes first, so that files spread over folders.
        Name((u128::from(number.swap_bytes() ^ self.seed.rotate_left(8)) << 64) | u128::from(self.seed))
    }

    /// Writes a file, which is there when this has returned and not before.
    pub(super) fn write(&self, name: Name, parts: &[&[u8]]) -> Result<(), Unwritten> {
        let aside = self.root.join(UNFINISHED).join(format!("{:032x}", name.0));
        let written = self.write_aside(&aside, parts).map_err(Unwritten::Failed);
        let placed = written.and_then(|()| self.place(&aside, &self.path(name, false)));
        if placed.is_err() {
            let _ = fs::remove_file(&aside);
        }
        placed
    }

    fn write_aside(&self, aside: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = fresh(aside)?;
        for part in parts {
            file.write_all(part)?;
        }
        Ok(())
    }

    fn place(&self, aside: &Path, path: &Path) -> Result<(), Unwritten> {
        self.lock.lock()?;
        let placed = match self.is_ours() {
            Ok(true) => self.rename(aside, path),
            Ok(false) => Err(Unwritten::NotOurs),
            Err(error) => Err(error.into()),
        };
        self.lock.unlock()?;
        placed
    }

    fn rename(&self, aside: &Path, path: &Path) -> Result<(), Unwritten> {
        match fs::rename(aside, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder(path.parent().unwrap_or(&self.root))?;
                Ok(fs::rename(aside, path)?)
            }
            other => Ok(other?),
        }
    }

    /// The bytes of a file of this length. None when there is none of this name.
    pub(super) fn read(&self, name: Name, length: u64) -> io::Result<Option<Vec<u8>>> {
        for is_spent in [false, true] {
            match File::open(self.path(name, is_spent)) {
                Ok(mut file) => {
                    if file.metadata()?.len() != length {
                        return Ok(Some(Vec::new()));
                    }
                    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
                    (&mut file).take(length).read_to_end(&mut bytes)?;
                    return Ok(Some(bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: Name) -> io::Result<()> {
        for is_spent in [false, true] {
            match fs::remove_file(self.path(name, is_spent)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Has an answer asked about before it is given again, by whoever reads it next.
    pub(super) fn spend(&self, name: Name) -> io::Result<()> {
        match fs::rename(self.path(name, false), self.path(name, true)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What lies in one of the 256 folders and has a name of ours, but not of this process: that is known.
    pub(super) fn files(&self, first: u8) -> io::Result<impl Iterator<Item = io::Result<Found>>> {
        let files = match fs::read_dir(self.root.join(format!("{first:02x}"))) {
            Ok(files) => Some(files),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (own, is_own) = (u128::from(self.seed), u128::from(u64::MAX));
        Ok(files.into_iter().flatten().filter_map(move |file| {
            let file = match file {
                Ok(file) => file,
                Err(error) => return Some(Err(error)),
            };
            let (name, is_spent) = file.file_name().to_str().and_then(named)?;
            let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
            (name.0 & is_own != own).then(|| Ok(Found { name, path: file.path(), is_spent, is_file }))
        }))
    }
}

/// Whether the process is short of something, which says nothing of the file.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR))
}

fn named(text: &str) -> Option<(Name, bool)> {
    let (digits, is_spent) = match text.strip_suffix(SPENT) {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let is_name = digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_name)?;
    Some((Name(number), is_spent))
}

/// The meta of a file.
pub(super) fn look(path: &Path, is_file: bool) -> io::Result<Looked> {
    if !is_file {
        return Ok(Looked::Torn);
    }
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes < HEAD_BYTES as u64 {
        return Ok(Looked::Torn);
    }
    let mut head = [0; HEAD_BYTES];
    file.read_exact(&mut head)?;
    let Some(lengths) = Lengths::read(&head, bytes) else { return Ok(Looked::Torn) };
    let mut meta = vec![0; lengths.meta];
    file.read_exact(&mut meta)?;
    Ok(match lengths.meta(&meta) {
        Some(meta) => Looked::Ours { meta: Box::new(meta), bytes },
        None => Looked::Torn,
    })
}
