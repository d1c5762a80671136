//! Answers that go to disk and come back, and those that must not.

use std::{
    path::Path,
    sync::{Weak, atomic::AtomicUsize, mpsc},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use model::{Size, policy::cache::CacheDisk};

use super::*;
use crate::policy::{
    cache::{
        freshness::{Clock, Terms},
        key::Keys,
    },
    testing::call,
};

/// A folder that goes when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidegate-cache-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn disk(root: &Path, settings: &str, size: Size) -> Disk {
    let bounds = CacheDisk { max_size: size, ..CacheDisk::default() };
    Disk::new("routes/r/cache", root.to_owned(), &bounds, settings)
}

/// The same over files that it has looked through.
fn open(root: &Path) -> Disk {
    let disk = disk(root, "{}", Size::mib(64));
    disk.begin();
    eventually(|| disk.is_known());
    disk
}

fn eventually(holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "it never held");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn key(path: &str) -> Key {
    Keys::new(&Default::default()).of(&call("GET", path))
}

fn stored(body: &str) -> Arc<Stored> {
    let mut headers = HeaderMap::new();
    headers.insert("surrogate-key", HeaderValue::from_static("x"));
    let terms = Terms {
        lifetime: 60,
        no_cache: false,
        must_revalidate: false,
        stale_while_revalidate: 0,
        stale_if_error: 0,
        age: 0,
        barred: Vec::new(),
    };
    let clock = Clock::of_age(Duration::from_secs(5), Instant::now());
    Arc::new(Stored::new(StatusCode::OK, headers, Bytes::from(body.to_owned()), terms, clock, Vec::new()))
}

fn put(disk: &Disk, path: &str, body: &str) {
    let key = key(path);
    let before = done(disk);
    disk.offer(&key, stored(body), None, disk.epoch(&key));
    eventually(|| done(disk) > before);
}

fn done(disk: &Disk) -> u64 {
    let counts = disk.counts();
    [&counts.written, &counts.dropped, &counts.write_failures]
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .sum()
}

fn get(disk: &Disk, path: &str) -> Option<Arc<Stored>> {
    let Below::Answer(seeking) = disk.seek(&key(path), &HeaderMap::new()) else { return None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(seeking.found())
}

fn body(disk: &Disk, path: &str) -> Option<Bytes> {
    Some(get(disk, path)?.body.clone())
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

/// Has all writes fail from now on.
fn fails(root: &Path) {
    let unfinished = root.join("unfinished");
    std::fs::remove_dir(&unfinished).expect("it is empty");
    std::fs::write(&unfinished, "no folder").expect("written");
}

fn looking(root: &Path, look: impl Fn(&Path) -> std::io::Result<()> + Send + Sync + 'static) -> Disk {
    let look = move |path: &Path, is_file| look(path).and_then(|()| folder::look(path, is_file));
    Disk::looking("routes/r/cache", root.to_owned(), &CacheDisk::default(), "{}", Box::new(look))
}

/// One that looks at no file before what comes with it is dropped.
fn held_up(root: &Path) -> (Disk, mpsc::Sender<()>) {
    let (gate, opened) = mpsc::channel();
    let opened = Mutex::new(opened);
    let disk = looking(root, move |_| {
        // It ends when nobody can send any more.
        let _ = opened.lock().expect("no panic").recv();
        Ok(())
    });
    disk.begin();
    eventually(|| disk.shared.folder.get().is_some());
    (disk, gate)
}

/// All files of answers.
fn files(root: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root).expect("the folder").flatten();
    let folders = folders.filter(|entry| entry.file_name().len() == 2);
    folders
        .flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder").flatten())
        .map(|file| file.path())
        .collect()
}

#[test]
fn what_is_written_is_there_for_the_next_and_older_by_the_time_between() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "first");
    put(&one, "/a", "second");
    put(&one, "/b", "other");
    assert_eq!(body(&one, "/a").as_deref(), Some(&b"second"[..]));
    drop(one);
    for file in files(&folder.0) {
        assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    }
    let next = open(&folder.0);
    assert_eq!(next.size().0, 2);
    eventually(|| files(&folder.0).len() == 2);
    let stored = get(&next, "/a").expect("it is there");
    assert_eq!(&stored.body[..], b"second");
    assert!((5..8).contains(&stored.age(Instant::now()).as_secs()), "{:?}", stored.age(Instant::now()));
    assert!(get(&next, "/c").is_none());
}

#[test]
fn torn_foreign_and_other_caches_files_are_never_given() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    for path in ["/a", "/b", "/c"] {
        put(&one, path, "an answer");
    }
    let before = files(&folder.0);
    // The last byte of a body, which no look at the head finds.
    let mut bytes = std::fs::read(&before[0]).expect("a file");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::write(&before[0], &bytes).expect("written");
    std::fs::write(&before[1], &bytes[..bytes.len() - 3]).expect("written");
    let given = |disk: &Disk| ["/a", "/b", "/c"].iter().filter(|path| get(disk, path).is_some()).count();
    assert_eq!(given(&one), 1, "of the running one");
    one.settle(later());
    drop(one);
    std::fs::write(before[2].parent().expect("a folder").join("README"), "not ours").expect("written");
    let next = open(&folder.0);
    assert_eq!((next.size().0, given(&next)), (1, 1), "of the next");
    drop(next);
    let other = disk(&folder.0, "{other}", Size::mib(64));
    other.begin();
    eventually(|| other.is_known());
    assert_eq!((other.size().0, given(&other)), (0, 0), "of other settings");
    assert_eq!(files(&folder.0).len(), 1, "what has no name of ours stays");
}

#[test]
fn purges_remove_files_also_those_that_nobody_has_looked_at_yet() {
    let folder = Temporary::new();
    let fill = || {
        let one = open(&folder.0);
        for path in ["/a", "/a/b", "/c"] {
            put(&one, path, path);
        }
        one
    };
    let address = b"http://api.example.test/a".to_vec();
    let begin = b"http://api.example.test/a/".to_vec();
    for (what, left) in [
        (Purge::Address(&address), 2),
        (Purge::Beginning(&begin), 2),
        (Purge::Tag("x"), 0),
        (Purge::Tag("y"), 3),
        (Purge::All, 0),
    ] {
        let one = fill();
        assert_eq!(one.purge(what, false, |_, _| true), 3 - left);
        one.settle(later());
        assert_eq!(files(&folder.0).len(), left);
        drop(one);
        drop(fill());
        let early = disk(&folder.0, "{}", Size::mib(64));
        // Before it is opened it knows none, and notes what is to go.
        drop(early.shared.early.note(what, false));
        early.begin();
        eventually(|| early.is_known());
        assert_eq!(early.size().0, left);
        eventually(|| files(&folder.0).len() == left);
    }
}

#[test]
fn a_soft_purge_is_remembered_by_the_next() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "a");
    assert_eq!(one.purge(Purge::Tag("x"), true, |_, _| true), 1);
    one.settle(later());
    assert!(get(&one, "/a").expect("it stays").is_spent());
    drop(one);
    let next = open(&folder.0);
    assert!(get(&next, "/a").expect("it stays").is_spent());
}

#[test]
fn what_was_asked_for_before_a_purge_is_not_written_after_it() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    let key = key("/a");
    for what in [Purge::Address(key.address()), Purge::Tag("other")] {
        let before = one.epoch(&key);
        one.purge(what, false, |_, _| true);
        one.offer(&key, stored("old"), None, before);
        put(&one, "/b", "after it");
        assert!(get(&one, "/a").is_none());
        assert_eq!(files(&folder.0).len(), 1);
    }
}

#[test]
fn the_bound_of_size_holds_and_what_is_asked_for_stays() {
    let folder = Temporary::new();
    let one = disk(&folder.0, "{}", Size::kib(256));
    let body = "x".repeat(10_000);
    put(&one, "/often", &body);
    for at in 0..100 {
        put(&one, &format!("/{at}"), &body);
        assert!(get(&one, "/often").is_some(), "it went after {at} others");
        assert!(one.size().1 <= 256 * 1024);
    }
    one.settle(later());
    let bytes: u64 = files(&folder.0).iter().map(|file| file.metadata().expect("a file").len()).sum();
    assert!((150_000..=256 * 1024).contains(&bytes), "{bytes}");
    assert!(one.evicted() > 70);
}

#[test]
fn whoever_opens_last_has_it_and_the_other_writes_no_more() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "old");
    let two = open(&folder.0);
    assert_eq!(body(&two, "/a").as_deref(), Some(&b"old"[..]));
    let key = key("/b");
    one.offer(&key, stored("late"), None, one.epoch(&key));
    eventually(|| one.shared.is_lost.load(Ordering::Relaxed));
    put(&two, "/c", "new");
    assert_eq!(files(&folder.0).len(), 2);
    assert!(body(&one, "/a").is_some(), "what is there may be read");
}

#[test]
fn a_disk_that_fails_is_told_and_an_older_answer_is_not_given_for_the_newer() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "old");
    fails(&folder.0);
    put(&one, "/a", "new");
    assert_eq!(one.counts().write_failures.load(Ordering::Relaxed), 1);
    eventually(|| get(&one, "/a").is_none());
    put(&one, "/b", "while it rests");
    assert_eq!(one.counts().write_failures.load(Ordering::Relaxed), 1, "it is left alone for a while");
}

#[test]
fn a_file_that_never_comes_costs_one_second_and_nobody_else_waits_until_it_has() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "stuck");
    put(&one, "/b", "whole");
    let stuck = files(&folder.0)
        .into_iter()
        .find(|file| std::fs::read(file).expect("a file").ends_with(b"stuck"))
        .expect("its file");
    std::fs::remove_file(&stuck).expect("removed");
    // Whoever opens a pipe waits for the other end.
    assert!(std::process::Command::new("mkfifo").arg(&stuck).status().expect("mkfifo").success());
    let took = |path: &str| {
        let begun = Instant::now();
        (body(&one, path), begun.elapsed())
    };
    let (found, patience) = took("/a");
    assert!(found.is_none() && patience >= READ_PATIENCE, "{patience:?}");
    for _ in 0..2 {
        // For a while, and then as long as it has not come.
        let (found, patience) = took("/b");
        assert!(found.is_none() && patience < READ_PATIENCE / 2, "{patience:?}");
        one.shared.reads.rest_no_longer();
    }
    assert_eq!(one.counts().late.load(Ordering::Relaxed), 3);
    drop(std::fs::OpenOptions::new().write(true).open(&stuck).expect("the other end"));
    eventually(|| {
        one.shared.reads.rest_no_longer();
        body(&one, "/b").as_deref() == Some(b"whole")
    });
}

#[test]
fn a_bad_file_or_folder_never_ends_the_look_through_the_others() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    (0..12).for_each(|at| put(&one, &format!("/{at}"), "an answer"));
    drop(one);
    let all = files(&folder.0);
    let (bad, whole) = (all[0].clone(), all[1].clone());
    let is_short = Arc::new(AtomicBool::new(true));
    let (sees_short, sees_bad) = (is_short.clone(), bad.clone());
    let is_free = |first: &u8| !folder.0.join(format!("{first:02x}")).exists();
    let taken = folder.0.join(format!("{:02x}", (0..=0xff).find(is_free).expect("one is free")));
    std::fs::write(&taken, "no folder").expect("written");
    let of_whole = whole.clone();
    let next = looking(&folder.0, move |path| match path {
        // The disk cannot read it; and no file can be opened just now.
        path if path == sees_bad => Err(std::io::Error::from_raw_os_error(5)),
        path if path == of_whole && sees_short.load(Ordering::Relaxed) => {
            Err(std::io::Error::from_raw_os_error(24))
        }
        _ => Ok(()),
    });
    next.begin();
    eventually(|| next.size().0 == 10);
    let begun = Instant::now();
    next.settle(later());
    assert!(begun.elapsed() < Duration::from_secs(10), "where it has failed nobody waits");
    assert!(!bad.exists(), "it is good for nothing");
    assert!(whole.exists(), "it is not its fault");
    assert!(!next.is_known());
    assert_eq!(next.purge(Purge::Tag("x"), false, |_, _| true), 10);
    assert!(!next.settle(soon()));
    is_short.store(false, Ordering::Relaxed);
    std::fs::remove_file(&taken).expect("removed");
    eventually(|| next.is_known());
    assert!(next.settle(later()));
    assert!(next.counts().read_failures.load(Ordering::Relaxed) >= 3);
    assert!(files(&folder.0).is_empty(), "the purge holds for what was looked at later");
}

#[test]
fn a_purge_while_files_are_looked_at_is_told_when_they_are_gone_and_a_kill_brings_none_back() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    (0..20).for_each(|at| put(&one, &format!("/{at}"), "an answer"));
    drop(one);
    let (next, gate) = held_up(&folder.0);
    assert_eq!(next.purge(Purge::Tag("x"), false, |_, _| true), 0, "nobody knows them yet");
    put(&next, "/0", "written after the purge");
    assert!(!next.settle(soon()), "they lie there");
    assert_eq!(files(&folder.0).len(), 21);
    drop(gate);
    assert!(next.settle(later()));
    assert_eq!(files(&folder.0).len(), 1);
    // Nobody ends it, as nobody ends what is killed.
    std::mem::forget(next);
    let last = open(&folder.0);
    assert_eq!(last.size().0, 1);
    assert_eq!(body(&last, "/0").as_deref(), Some(&b"written after the purge"[..]));
}

#[test]
fn what_could_not_be_written_lets_no_older_one_back_that_had_not_been_looked_at() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "old");
    put(&one, "/b", "other");
    drop(one);
    let (next, gate) = held_up(&folder.0);
    fails(&folder.0);
    put(&next, "/a", "new");
    assert_eq!(next.counts().write_failures.load(Ordering::Relaxed), 1);
    drop(gate);
    assert!(next.settle(later()));
    assert!(get(&next, "/a").is_none());
    assert!(get(&next, "/b").is_some());
    assert_eq!(files(&folder.0).len(), 1);
}

#[test]
fn a_file_that_cannot_be_removed_is_told_and_tried_again() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "a");
    let file = files(&folder.0).remove(0);
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir_all(file.join("in it")).expect("a folder");
    assert_eq!(one.purge(Purge::All, false, |_, _| true), 1);
    assert!(!one.settle(later()));
    assert_eq!(one.counts().remove_failures.load(Ordering::Relaxed), 1);
    std::fs::remove_dir_all(&file).expect("removed");
    assert!(!one.settle(soon()));
    one.shared.errands.try_again();
    assert!(one.settle(later()));
}

#[test]
fn a_directory_that_is_removed_while_it_is_used_is_made_anew() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "a");
    std::fs::remove_dir_all(&folder.0).expect("removed");
    put(&one, "/b", "the first fails");
    put(&one, "/c", "c");
    assert_eq!(body(&one, "/c").as_deref(), Some(&b"c"[..]));
    assert!(get(&one, "/a").is_none());
    assert_eq!(one.counts().write_failures.load(Ordering::Relaxed), 1);
}

#[test]
fn soft_purges_leave_one_errand_for_a_file() {
    let folder = Temporary::new();
    let one = open(&folder.0);
    put(&one, "/a", "a");
    let before = one.shared.errands.asked();
    (0..5).for_each(|_| assert_eq!(one.purge(Purge::Tag("x"), true, |_, _| true), 1));
    assert_eq!(one.shared.errands.asked() - before, 1);
}

#[test]
fn whoever_settles_waits_for_what_is_being_written_and_hears_of_what_failed() {
    use errands::{Errand, Task};
    let all = Errands::new(Weak::new());
    let writing = |body: &str| {
        Box::new(Writing { key: key("/a"), stored: stored(body), made_of: None, epoch: Epoch::default() })
    };
    assert!(all.write(writing("a")).is_ok());
    assert!(all.settle(soon()), "what has not begun finds out for itself");
    assert!(matches!(all.next(), Task::Write(_)));
    assert!(!all.settle(soon()));
    all.wrote(None);
    assert!(all.settle(soon()));
    let errand = Errand::Remove(folder::Name::of(1));
    all.leave(errand);
    assert!(!all.settle(soon()));
    assert!(matches!(all.next(), Task::Errand(next) if next == errand));
    assert!(!all.settle(soon()));
    all.ran(errand, true);
    assert!(all.settle(soon()));
    assert!(all.write(writing("a")).is_ok());
    assert!(matches!(all.next(), Task::Write(_)));
    all.wrote(Some(errand));
    assert!(!all.settle(soon()), "it is still there");
    all.try_again();
    assert!(matches!(all.next(), Task::Errand(_)));
    all.ran(errand, true);
    assert!(all.settle(soon()));
    // Answers that wait are bounded, and those that nobody wants are let go.
    let large = "x".repeat(10 << 20);
    assert!(all.write(writing(&large)).is_ok());
    assert!(all.write(writing(&large)).is_err());
    all.end();
    assert!(matches!(all.next(), Task::Nothing));
    assert!(all.write(writing("a")).is_err());
}

#[test]
fn places_have_folders_of_their_own() {
    let names: std::collections::HashSet<String> =
        ["routes/a/cache", "routes/a.b/cache", "routes.a/b/cache", "routes/A/cache", "routes/a b/cache"]
            .into_iter()
            .map(folder_name)
            .collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(names.contains("routes.a"));
    assert!(folder_name(&format!("routes/{}/cache", "ü".repeat(300))).len() <= 255);
}
