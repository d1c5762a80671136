//! Threads that run programs, so that none holds up a worker.
//!
//! They are few, and so is what waits for them: a program that takes long costs others of its kind their turn, and
//! nobody else anything.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Instant,
};

/// Programs that wait for a thread.
const WAITING_MAX: usize = 128;
/// Values lie in each other a few thousand times at most, and each is a few frames when it is compared or let go of. It
/// is address space alone until it is used.
const STACK_BYTES: usize = 64 * 1024 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Threads: with more, programs would take the workers' cores.
fn threads() -> usize {
    thread::available_parallelism().map_or(2, usize::from).clamp(2, 4)
}

fn serve(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // Whoever waits for it is told by what it drops.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}

fn start() -> Option<SyncSender<Job>> {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let jobs = Arc::new(Mutex::new(receiver));
    let begun = (0..threads()).filter(|_| {
        let jobs = jobs.clone();
        let thread = thread::Builder::new().name("jq".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || serve(&jobs)).is_ok()
    });
    (begun.count() > 0).then_some(sender)
}

/// Runs it on one of the threads; none when too many wait already, or when it broke.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unrun> {
    static JOBS: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();
    let (told, result) = tokio::sync::oneshot::channel();
    let job = move || {
        // Whoever has gone by the time of its turn has no use for it.
        if !told.is_closed() {
            let _ = told.send(work());
        }
    };
    let jobs = JOBS.get_or_init(start).as_ref().ok_or(Unrun::Full)?;
    jobs.try_send(Box::new(job)).map_err(|_| Unrun::Full)?;
    result.await.map_err(|_| Unrun::Broke)
}

/// The same until a time. What cannot be halted in its thread holds nobody up.
pub(super) async fn run_until<T: Send + 'static>(
    until: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unrun> {
    let begun = Arc::new(AtomicBool::new(false));
    let is_begun = begun.clone();
    let held = run(move || {
        is_begun.store(true, Ordering::Relaxed);
        work()
    });
    match tokio::time::timeout_at(until.into(), held).await {
        Ok(done) => done,
        Err(_) if begun.load(Ordering::Relaxed) => Err(Unrun::Late),
        // It is none of its own fault that others were before it.
        Err(_) => Err(Unrun::Full),
    }
}

/// Why it was not run, or not to its end.
#[derive(Debug)]
pub(super) enum Unrun {
    /// Too many wait.
    Full,
    /// Its time was over before it ended.
    Late,
    /// It panicked.
    Broke,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "these threads are no workers")]
    fn rest(millis: u64) {
        thread::sleep(Duration::from_millis(millis));
    }

    #[tokio::test]
    async fn what_has_no_turn_in_its_time_is_not_told_that_it_takes_too_long() {
        let within = |millis| Instant::now() + Duration::from_millis(millis);
        let busy: Vec<_> = (0..2 * threads()).map(|_| tokio::spawn(run(|| rest(200)))).collect();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let unrun = run_until(within(20), || rest(0)).await;
        assert!(matches!(unrun, Err(Unrun::Full)), "{unrun:?}");
        for one in busy {
            one.await.expect("a task").expect("a place");
        }
        // Other tests have their programs here, too.
        let late = loop {
            match run_until(within(100), || rest(500)).await {
                Err(Unrun::Full) => {}
                late => break late,
            }
        };
        assert!(matches!(late, Err(Unrun::Late)), "{late:?}");
    }
}
