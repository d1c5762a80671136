//! Records on disk: files of them in their order, within a bound of bytes, that a later process goes on with.
//!
//! A file is a mark and then records, each with its length and a checksum before it. A record that is damaged is left
//! out, and so is what stands behind a length that cannot be. A file goes when all its records are done with: after a
//! crash those of one that was being read come again.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;

/// What a file begins with.
const MARK: &[u8; 8] = b"TGSPILL1";
/// Length and checksum.
const HEAD: usize = 8;
/// Bytes of one record.
pub(crate) const RECORD_BYTES_MAX: usize = 16 << 20;
/// Bytes after which a file is followed by another; an eighth of the bound where that is less.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The first number of a file: there is room below it.
const FIRST: u64 = 1 << 32;
const ENDING: &str = "spill";

/// A folder of records.
#[derive(Debug)]
pub struct Spill {
    folder: PathBuf,
    max: u64,
    file_max: u64,
    /// Held for as long as the folder is ours.
    _lock: File,
    /// Files that are full and were not read, oldest first.
    waiting: VecDeque<Numbered>,
    /// Files that were read and have records that are not done with.
    read: VecDeque<(Numbered, usize)>,
    /// The file that is being written.
    active: Option<(Numbered, File)>,
    next: u64,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Numbered {
    number: u64,
    bytes: u64,
}

/// What a file held.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub(crate) records: Vec<Bytes>,
    /// Records, or rests of a file, that could not be read.
    pub(crate) corrupt: u64,
}

impl Spill {
    /// Opens a folder with what it holds; none while another process has it.
    ///
    /// # Errors
    /// When the folder cannot be made, read or locked.
    pub fn open(folder: &Path, max: u64) -> io::Result<Option<Self>> {
        make(folder)?;
        let lock = own().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut waiting = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            match (number, path.extension().and_then(|ending| ending.to_str())) {
                (Some(number), Some(ENDING)) => {
                    waiting.push(Numbered { number, bytes: entry.metadata()?.len() });
                }
                // What was being written when a process ended.
                (_, Some("tmp")) => drop(fs::remove_file(&path)),
                _ => {}
            }
        }
        waiting.sort_by_key(|one| one.number);
        let next = waiting.last().map_or(FIRST, |last| last.number.saturating_add(1));
        let bytes = waiting.iter().map(|one| one.bytes).sum();
        Ok(Some(Self {
            folder: folder.to_owned(),
            max,
            file_max: FILE_BYTES_MAX.min(max / 8),
            _lock: lock,
            waiting: waiting.into(),
            read: VecDeque::new(),
            active: None,
            next,
            bytes,
        }))
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are records that were not read.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.active.is_some()
    }

    /// Writes a record behind all others. False when there is no room for it.
    pub(crate) fn append(&mut self, record: &[u8]) -> io::Result<bool> {
        let size = (HEAD + record.len()) as u64;
        let begins = if self.active.is_some() { 0 } else { MARK.len() as u64 };
        if self.bytes + begins + size > self.max {
            return Ok(false);
        }
        let (mut numbered, mut file) = match self.active.take() {
            Some(active) => active,
            None => self.begin()?,
        };
        if let Err(error) = file.write_all(&framed(record)) {
            // What was written of it must not stand before the next one; where it does, the reader leaves it out.
            if file.set_len(numbered.bytes).is_ok() {
                self.active = Some((numbered, file));
            } else {
                self.waiting.push_back(numbered);
            }
            return Err(error);
        }
        numbered.bytes += size;
        self.bytes += size;
        match numbered.bytes >= self.file_max {
            true => self.waiting.push_back(numbered),
            false => self.active = Some((numbered, file)),
        }
        Ok(true)
    }

    fn begin(&mut self) -> io::Result<(Numbered, File)> {
        let number = self.next;
        let mut file = own().create_new(true).append(true).open(self.path(number))?;
        self.next += 1;
        let written = file.write_all(MARK);
        if let Err(error) = written {
            let _ = fs::remove_file(self.path(number));
            return Err(error);
        }
        self.bytes += MARK.len() as u64;
        Ok((Numbered { number, bytes: MARK.len() as u64 }, file))
    }

    /// The records of the oldest file that was not read; none when there is no such file. It stays until as many
    /// were [done](Self::done) with.
    pub(crate) fn read(&mut self) -> io::Result<Option<Found>> {
        let numbered = match self.waiting.pop_front() {
            Some(oldest) => oldest,
            None => match self.active.take() {
                Some((active, _)) => active,
                None => return Ok(None),
            },
        };
        let content = match fs::read(self.path(numbered.number)) {
            Ok(content) => content,
            Err(error) => {
                // It stays on disk for a later process.
                self.bytes = self.bytes.saturating_sub(numbered.bytes);
                return Err(error);
            }
        };
        let found = parse(&Bytes::from(content));
        match found.records.len() {
            0 => self.remove(numbered),
            count => self.read.push_back((numbered, count)),
        }
        Ok(Some(found))
    }

    /// So many of the records that were read are done with, the oldest first.
    pub(crate) fn done(&mut self, mut count: usize) {
        while count > 0
            && let Some((numbered, left)) = self.read.front_mut()
        {
            let now = count.min(*left);
            (count, *left) = (count - now, *left - now);
            if *left == 0 {
                let numbered = *numbered;
                self.read.pop_front();
                self.remove(numbered);
            }
        }
    }

    fn remove(&mut self, numbered: Numbered) {
        // One that stays comes again, which is better than to end here.
        let _ = fs::remove_file(self.path(numbered.number));
        self.bytes = self.bytes.saturating_sub(numbered.bytes);
    }

    /// Writes down what is left, before everything that was not read. Says how many records found no room; what was
    /// read is done with then.
    pub(crate) fn close<'r>(mut self, left: impl Iterator<Item = &'r Bytes>) -> io::Result<u64> {
        let read: u64 = self.read.iter().map(|(numbered, _)| numbered.bytes).sum();
        let room = self.max.saturating_sub(self.bytes.saturating_sub(read));
        let mut content = MARK.to_vec();
        let mut lost = 0;
        for record in left {
            if lost > 0 || (content.len() + HEAD + record.len()) as u64 > room {
                lost += 1;
            } else {
                content.extend_from_slice(&framed(record));
            }
        }
        let oldest = self.waiting.front().or(self.active.as_ref().map(|(active, _)| active));
        let mut number = oldest.map_or(self.next, |oldest| oldest.number - 1);
        // A file that could not be read is not written over.
        while self.path(number).exists() && self.read.iter().all(|(read, _)| read.number != number) {
            number -= 1;
        }
        if content.len() > MARK.len() {
            let fresh = self.folder.join("left.tmp");
            let mut file = own().create(true).truncate(true).write(true).open(&fresh)?;
            file.write_all(&content)?;
            file.sync_data()?;
            fs::rename(&fresh, self.path(number))?;
        }
        let wrote = content.len() > MARK.len();
        for (numbered, _) in std::mem::take(&mut self.read) {
            if numbered.number != number || !wrote {
                self.remove(numbered);
            }
        }
        if let Some((_, file)) = &self.active {
            file.sync_data()?;
        }
        Ok(lost)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.{ENDING}"))
    }
}

/// Records may tell of people: nobody else reads them.
fn make(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The same of files, whoever may look into a folder that was there before.
fn own() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn framed(record: &[u8]) -> Vec<u8> {
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(HEAD + record.len());
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
    framed.extend_from_slice(record);
    framed
}

/// What a file holds, as far as it can be read.
fn parse(content: &Bytes) -> Found {
    let mut found = Found::default();
    if content.is_empty() {
        return found;
    }
    if !content.starts_with(MARK) {
        found.corrupt = 1;
        return found;
    }
    let mut at = MARK.len();
    while at < content.len() {
        let head = content.get(at..at + HEAD).and_then(|head| head.split_first_chunk::<4>());
        let record = head.and_then(|(length, checksum)| {
            let length = u32::from_le_bytes(*length) as usize;
            let checksum = u32::from_le_bytes(checksum.try_into().ok()?);
            let end = at + HEAD + length;
            let is_whole = length <= RECORD_BYTES_MAX && end <= content.len();
            is_whole.then(|| (content.slice(at + HEAD..end), checksum))
        });
        let Some((record, checksum)) = record else {
            found.corrupt += 1;
            break;
        };
        at += HEAD + record.len();
        match crc32fast::hash(&record) == checksum {
            true => found.records.push(record),
            false => found.corrupt += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[&[u8]]) -> Vec<u8> {
        let mut content = MARK.to_vec();
        records.iter().for_each(|record| content.extend_from_slice(&framed(record)));
        content
    }

    #[test]
    fn a_damaged_record_is_left_out_and_what_stands_behind_it_is_read() {
        let mut content = file(&[b"one", b"two", b"three"]);
        content[MARK.len() + HEAD + 3 + HEAD] ^= 1;
        let found = parse(&content.into());
        assert_eq!((found.records, found.corrupt), (vec!["one".into(), "three".into()], 1));
    }

    #[test]
    fn a_tail_that_was_cut_off_costs_what_it_held_and_no_more() {
        let whole = file(&[b"one", b"two"]);
        for end in MARK.len()..whole.len() {
            let found = parse(&Bytes::copy_from_slice(&whole[..end]));
            let one = MARK.len() + HEAD + 3;
            let (records, is_cut) = (usize::from(end >= one), end != MARK.len() && end != one);
            assert_eq!((found.records.len(), found.corrupt), (records, u64::from(is_cut)), "{end}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_and_another_mark_end_the_reading() {
        let mut content = file(&[b"one"]);
        content.extend_from_slice(&u32::MAX.to_le_bytes());
        content.extend_from_slice(b"and more of it");
        assert_eq!(parse(&content.into()).corrupt, 1);
        assert_eq!(parse(&Bytes::from_static(b"something else")).corrupt, 1);
        assert_eq!(parse(&Bytes::new()), Found::default());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_no_more_comes_out_than_is_there(
            content in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            is_marked in proptest::bool::ANY,
        ) {
            let content = if is_marked { [&MARK[..], &content].concat() } else { content };
            let found = parse(&Bytes::from(content.clone()));
            let bytes: usize = found.records.iter().map(|record| HEAD + record.len()).sum();
            proptest::prop_assert!(bytes <= content.len());
        }
    }

    #[test]
    fn a_folder_has_one_owner_and_the_next_one_finds_what_was_left_in_its_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Spill::open(folder.path(), 1 << 20).expect("opens");
        let mut spill = open().expect("nobody else");
        assert!(open().is_none(), "another one has it");
        for record in ["b", "c"] {
            assert!(spill.append(record.as_bytes()).expect("writes"));
        }
        let left = [Bytes::from("a")];
        assert_eq!(spill.close(left.iter()).expect("writes"), 0);
        let mut spill = open().expect("it was given up");
        assert_eq!(spill.read().expect("reads").expect("a file").records, ["a"]);
        assert!(spill.append(b"d").expect("writes"));
        assert_eq!(spill.read().expect("reads").expect("a file").records, ["b", "c"]);
        assert_eq!(spill.read().expect("reads").expect("a file").records, ["d"]);
        spill.done(2);
        assert_eq!(spill.close([Bytes::from("c"), Bytes::from("d")].iter()).expect("writes"), 0);
        let mut spill = open().expect("it was given up");
        assert_eq!(spill.read().expect("reads").expect("a file").records, ["c", "d"]);
        spill.done(2);
        assert_eq!((spill.bytes(), spill.has_waiting()), (0, false));
        assert!(spill.read().expect("reads").is_none());
    }

    #[test]
    fn nobody_else_reads_what_is_kept_in_a_folder_that_others_may_open() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened for others");
        let mut spill = Spill::open(folder.path(), 1 << 20).expect("opens").expect("nobody else");
        assert!(spill.append(b"b").expect("writes"));
        assert_eq!(spill.close([Bytes::from("a")].iter()).expect("writes"), 0);
        let files: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
        assert_eq!(files.len(), 3);
        for file in files {
            let mode = file.metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?}", file.path());
        }
    }

    #[test]
    fn no_more_is_written_than_there_is_room_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spill = Spill::open(folder.path(), 200).expect("opens").expect("nobody else");
        let mut count = 0;
        while spill.append(b"twelve bytes").expect("writes") {
            count += 1;
        }
        let on_disk = |folder: &Path| -> u64 {
            let files = fs::read_dir(folder).expect("a folder").flatten();
            files.map(|file| file.metadata().expect("a file").len()).sum()
        };
        assert!((4..10).contains(&count), "{count}");
        assert_eq!(on_disk(folder.path()), spill.bytes());
        assert!(spill.bytes() <= 200);
        let left = vec![Bytes::from("twelve bytes"); 10];
        let lost = spill.close(left.iter()).expect("writes");
        assert!(lost >= 8, "{lost}");
        assert!(on_disk(folder.path()) <= 200);
    }
}
