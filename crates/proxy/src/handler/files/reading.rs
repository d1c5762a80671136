//! What waits for a disk, on threads of its own and on few of them: a disk that hangs takes no more than these, and holds
//! up nothing else that the process does.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Threads of the process that may wait for disks at a time.
const THREADS_MAX: usize = 64;
/// How long a thread waits for something to read before it ends.
const IDLE: Duration = Duration::from_secs(10);

static READS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(THREADS_MAX)));
static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

/// What is to be read, and what says that somebody may read it.
type Job = (Box<dyn FnOnce() + Send>, OwnedSemaphorePermit);

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
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let permit = READS.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (tell, told) = oneshot::channel();
    let job = move || {
        // Whoever asked may have left.
        let _ = tell.send(read());
    };
    POOL.put((Box::new(job), permit))?;
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
            if let Some((read, permit)) = jobs.waiting.pop_front() {
                drop(jobs);
                // A panic is told by the channel that closes.
                let _ = catch_unwind(AssertUnwindSafe(read));
                jobs = self.lock();
                // Whoever waits for it then finds this thread.
                drop(permit);
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
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_is_an_error_and_takes_no_thread_with_it() {
        let broken = waiting(|| -> io::Result<()> { panic!("a disk of straw") }).await;
        assert!(broken.is_err());
        assert_eq!(waiting(|| Ok(7)).await.expect("read"), 7);
    }

    #[tokio::test]
    async fn many_reads_take_few_threads_and_all_are_done() {
        let all = (0..2000).map(|number| {
            waiting(move || {
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
