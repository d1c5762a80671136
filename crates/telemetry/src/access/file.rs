//! A log's file: opened anew when it was moved away, put aside when it is large or old, and what was put aside
//! compressed and counted.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use model::resource::access_log::rotation::{Rotation, RotationCompression};

use crate::json;

/// How often it is looked whether the file is still the one of its name.
const LOOK: Duration = Duration::from_secs(5);
/// Letters of the time in the name of a file that was put aside.
const STAMP: usize = "20240229T000000000Z".len();

/// A file that lines are appended to.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Which file that is.
    id: (u64, u64),
    size: u64,
    begun: SystemTime,
    looked: Instant,
    rotation: Option<Rotation>,
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let facts = file.metadata()?;
        let begun = match facts.len() {
            0 => SystemTime::now(),
            _ => facts.created().or_else(|_| facts.modified()).unwrap_or_else(|_| SystemTime::now()),
        };
        Ok(Self {
            path: path.to_owned(),
            id: (facts.dev(), facts.ino()),
            size: facts.len(),
            file,
            begun,
            looked: Instant::now(),
            rotation,
        })
    }

    /// Opens it anew; the old one goes on when that fails.
    pub(super) fn reopen(&mut self) {
        match Self::open(&self.path, self.rotation.clone()) {
            Ok(new) => *self = new,
            Err(error) => tracing::error!("cannot reopen the access log {}: {error}", self.path.display()),
        }
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_at(lines, Instant::now(), SystemTime::now())
    }

    fn write_at(&mut self, lines: &[u8], now: Instant, time: SystemTime) -> io::Result<()> {
        if now.saturating_duration_since(self.looked) >= LOOK {
            self.looked = now;
            if !self.is_in_place() {
                self.reopen();
            }
        }
        if self.is_due(lines.len() as u64, time) {
            self.put_aside(time);
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    /// Whether the file of this name is the one that is written.
    fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|facts| (facts.dev(), facts.ino()) == self.id)
    }

    fn is_due(&self, more: u64, time: SystemTime) -> bool {
        let Some(rotation) = &self.rotation else { return false };
        let is_large = rotation.size.is_some_and(|size| self.size + more > size.bytes());
        let age = time.duration_since(self.begun).unwrap_or_default();
        self.size > 0 && (is_large || rotation.age.is_some_and(|oldest| age >= oldest.get()))
    }

    fn put_aside(&mut self, time: SystemTime) {
        let Some(rotation) = self.rotation.clone() else { return };
        if !self.is_in_place() {
            // Another process has put it aside.
            return self.reopen();
        }
        let aside = free_name(&self.path, time);
        if let Err(error) = fs::rename(&self.path, &aside) {
            tracing::error!("cannot put the access log {} aside: {error}", self.path.display());
            // It is asked again when it has grown as much once more.
            (self.size, self.begun) = (0, time);
            return;
        }
        self.reopen();
        self.begun = time;
        let path = self.path.clone();
        // Compressing takes longer than lines may wait.
        let tidied = std::thread::Builder::new().name("rotate".into()).spawn(move || {
            if rotation.compression == RotationCompression::Gzip
                && let Err(error) = compress(&aside)
            {
                tracing::error!("cannot compress {}: {error}", aside.display());
            }
            forget(&path, rotation.keep);
        });
        if let Err(error) = tidied {
            tracing::error!("cannot tidy up access logs: {error}");
        }
    }
}

/// The name with the time, and a number behind it where that one is taken.
fn free_name(path: &Path, time: SystemTime) -> PathBuf {
    let mut stamp = Vec::new();
    json::time(time, &mut stamp);
    stamp.retain(|byte| !b"-:.".contains(byte));
    let named = |more: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}{more}", String::from_utf8_lossy(&stamp)));
        PathBuf::from(name)
    };
    let is_free = |name: &PathBuf| !name.exists() && !with(name, ".gz").exists();
    let mut names = std::iter::once(named("")).chain((1..1000).map(|number| named(&format!("-{number:03}"))));
    names.find(is_free).unwrap_or_else(|| named("-last"))
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn compress(path: &Path) -> io::Result<()> {
    let fresh = with(path, ".gz.tmp");
    let mut encoder = GzEncoder::new(File::create(&fresh)?, Compression::default());
    let copied = io::copy(&mut File::open(path)?, &mut encoder).and_then(|_| encoder.finish()?.sync_data());
    if let Err(error) = copied {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    fs::rename(&fresh, with(path, ".gz"))?;
    fs::remove_file(path)
}

/// Removes the oldest of those that were put aside.
fn forget(path: &Path, keep: usize) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let is_stamp = |text: &str| {
        let shape = |(at, byte): (usize, u8)| match at {
            8 => byte == b'T',
            18 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        };
        text.len() >= STAMP && text.bytes().take(STAMP).enumerate().all(shape)
    };
    let mut aside: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|one| !one.ends_with(".tmp"))
        .filter(|one| one.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')).is_some_and(is_stamp))
        .collect();
    aside.sort();
    for old in aside.iter().take(aside.len().saturating_sub(keep)) {
        // Another process may have been faster.
        let _ = fs::remove_file(folder.join(old));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn rotation(text: &str) -> Option<Rotation> {
        Some(serde_json::from_str(text).expect("settings"))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    fn until(mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(10), "it never came to pass");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_file_is_put_aside_when_it_is_full_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        fs::write(folder.path().join("access.log.1"), "somebody else's").expect("a file");
        let mut log = LogFile::open(&path, rotation(r#"{"size":10,"keep":2}"#)).expect("opens");
        let mut time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_164_800);
        for number in 0..5 {
            time += Duration::from_secs(1);
            log.write_at(format!("line {number}\n").as_bytes(), Instant::now(), time).expect("writes");
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), "line 4\n");
        let want = [
            "access.log",
            "access.log.1",
            "access.log.20240229T000004000Z",
            "access.log.20240229T000005000Z",
        ];
        until(|| names(folder.path()) == want);
        assert_eq!(fs::read_to_string(folder.path().join(want[3])).expect("a file"), "line 3\n");
    }

    #[test]
    fn a_file_is_put_aside_when_it_is_old_and_compressed_where_that_is_wanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let mut log = LogFile::open(&path, rotation(r#"{"age":"1h","compression":"gzip"}"#)).expect("opens");
        let begun = log.begun;
        let mut write = |minutes: u64, text: &str| {
            let time = begun + Duration::from_secs(60 * minutes);
            log.write_at(text.as_bytes(), Instant::now(), time).expect("writes");
        };
        write(59, "first\n");
        write(60, "second\n");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "second\n");
        until(|| names(folder.path()).len() == 2 && names(folder.path())[1].ends_with("Z.gz"));
        let file = File::open(folder.path().join(&names(folder.path())[1])).expect("a file");
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        assert_eq!(text, "first\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_noticed_after_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let mut log = LogFile::open(&path, None).expect("opens");
        let (opened, time) = (log.looked, SystemTime::now());
        log.write_at(b"1\n", opened, time).expect("writes");
        fs::rename(&path, folder.path().join("moved")).expect("moved");
        log.write_at(b"2\n", opened + LOOK / 2, time).expect("writes");
        log.write_at(b"3\n", opened + LOOK, time).expect("writes");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
        assert_eq!((read("moved"), read("access.log")), ("1\n2\n".into(), "3\n".into()));
    }
}
