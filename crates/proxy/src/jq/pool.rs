//! Threads that run programs, so that none holds up a worker.
//!
//! They are few, and so is what waits for them: a program that takes long costs others of its kind their turn, and
//! nobody else anything.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
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

/// Why it was not run.
#[derive(Debug)]
pub(super) enum Unrun {
    /// Too many wait.
    Full,
    /// It panicked.
    Broke,
}
