//! What waits for a disk, on threads of its own and on few of them: a disk that hangs takes no more than its share of
//! these, and holds up no other disk and nothing else that the process does.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::unix::fs::MetadataExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Threads of the process that may wait for disks at a time.
const THREADS_MAX: usize = 64;
/// Those of them that may wait for one disk.
pub(super) const OF_ONE_DISK: usize = 24;
/// How long a thread waits for something to read before it ends.
const IDLE: Duration = Duration::from_secs(10);

static READS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(THREADS_MAX)));
static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

/// What is to be read, and what says that somebody may read it.
type Job = (Box<dyn FnOnce() + Send>, [OwnedSemaphorePermit; 2]);

/// The threads that may wait for one disk.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<Semaphore>);

impl Disk {
    /// The one that a directory lies on, also for other directories there. Waits for it.
    pub(super) fn of(directory: &Path) -> Self {
        static DISKS: Mutex<BTreeMap<u64, Weak<Semaphore>>> = Mutex::new(BTreeMap::new());
        let made = || Arc::new(Semaphore::new(OF_ONE_DISK));
        let Ok(device) = directory.metadata().map(|metadata| metadata.dev()) else { return Self(made()) };
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|_, disk| disk.strong_count() > 0);
        if let Some(known) = disks.get(&device).and_then(Weak::upgrade) {
            return Self(known);
        }
        let disk = made();
        disks.insert(device, Arc::downgrade(&disk));
        Self(disk)
    }
}

#[derive(Default)]
struct Pool {
    jobs: Mutex<Jobs>,
    more: Condvar,
}

#[derive(Default)]
struct Jobs {
    /// No more than there are permits.
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Runs what waits for a disk. Who no longer wants to know gives its thread back only when the disk has answered.
pub(super) async fn waiting<T: Send + 'static>(
    disk: Disk,
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    // Whoever waits for this disk has no thread that others could use.
    let of_disk = disk.0.acquire_owned().await.map_err(io::Error::other)?;
    let permit = READS.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (tell, told) = oneshot::channel();
    let job = move || {
        // Whoever asked may have left.
        let _ = tell.send(read());
    };
    POOL.put((Box::new(job), [permit, of_disk]))?;
    told.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&'static self, job: Job) -> io::Result<()> {
        let mut jobs = self.lock();
        jobs.waiting.push_back(job);
        if jobs.idle >= jobs.waiting.len() {
            self.more.notify_one();
            return Ok(());
        }
        // Each that runs holds a permit until it looks for the next, so that there are never more threads than permits.
        if jobs.threads < THREADS_MAX {
            let thread = std::thread::Builder::new().name("files".to_owned());
            match thread.spawn(move || self.work()) {
                Ok(_) => jobs.threads += 1,
                // The others come to it, if there are any.
                Err(error) if jobs.threads == 0 => {
                    jobs.waiting.pop_back();
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn work(&self) {
        let mut jobs = self.lock();
        loop {
            if let Some((read, permits)) = jobs.waiting.pop_front() {
                drop(jobs);
                // A panic is told by the channel that closes.
                let _ = catch_unwind(AssertUnwindSafe(read));
                jobs = self.lock();
                // Whoever waits for it then finds this thread.
                drop(permits);
                continue;
            }
            jobs.idle += 1;
            let waited = self.more.wait_timeout(jobs, IDLE).unwrap_or_else(PoisonError::into_inner);
            jobs = waited.0;
            jobs.idle -= 1;
            if waited.1.timed_out() && jobs.waiting.is_empty() {
                jobs.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A disk that nobody else has.
    pub(in crate::handler::static_files) fn disk() -> Disk {
        Disk(Arc::new(Semaphore::new(OF_ONE_DISK)))
    }

    #[tokio::test]
    async fn what_panics_is_an_error_and_takes_no_thread_with_it() {
        let broken = waiting(disk(), || -> io::Result<()> { panic!("a disk of straw") }).await;
        assert!(broken.is_err());
        assert_eq!(waiting(disk(), || Ok(7)).await.expect("read"), 7);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_no_other() {
        let (gate, hung) = (Arc::new((Mutex::new(false), Condvar::new())), disk());
        // More than there are threads, and none comes back before the test says so.
        let mut asked: Vec<_> = (0..2 * THREADS_MAX)
            .map(|number| {
                let gate = gate.clone();
                Box::pin(waiting(hung.clone(), move || {
                    let open = gate.0.lock().expect("whole");
                    drop(gate.1.wait_while(open, |open| !*open));
                    Ok(number)
                }))
            })
            .collect();
        for one in &mut asked {
            assert!(one.now_or_never().is_none());
        }
        let other = tokio::time::timeout(Duration::from_secs(5), waiting(disk(), || Ok(7)));
        assert_eq!(other.await.expect("it waits for nobody").expect("read"), 7);
        *gate.0.lock().expect("whole") = true;
        gate.1.notify_all();
        let done = futures_util::future::join_all(asked).await;
        assert!(done.into_iter().enumerate().all(|(at, number)| number.is_ok_and(|number| number == at)));
    }

    #[test]
    fn directories_of_one_disk_share_its_threads() {
        let one = Disk::of(&std::env::temp_dir());
        assert!(Arc::ptr_eq(&one.0, &Disk::of(&std::env::temp_dir()).0));
        assert!(!Arc::ptr_eq(&one.0, &Disk::of(Path::new("/proc")).0));
    }

    #[tokio::test]
    async fn many_reads_take_few_threads_and_all_are_done() {
        let disk = disk();
        let all = (0..2000).map(|number| {
            waiting(disk.clone(), move || {
                std::thread::yield_now();
                Ok(number)
            })
        });
        let done = futures_util::future::join_all(all).await;
        assert!(done.into_iter().enumerate().all(|(at, number)| number.is_ok_and(|number| number == at)));
        assert!(POOL.lock().threads <= THREADS_MAX);
        assert!(POOL.lock().waiting.is_empty());
    }
}
