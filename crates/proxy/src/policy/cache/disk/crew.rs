//! Threads that wait for disks, shared by all caches of the process: so many and not more, however many caches there are.
//!
//! A thread is started when there is work that none of those has time for, and stays. What a cache leaves is bounded by
//! the cache: one who writes, one who looks through its files, a few who read.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A piece of work, which may wait for a disk.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Who reads answers that a request waits for.
pub(super) static READERS: Crew = Crew::of("cache-read", 16);
/// Who writes and removes files: one for a cache at a time.
pub(super) static WRITERS: Crew = Crew::of("cache-write", 8);
/// Who looks through directories.
pub(super) static SCANNERS: Crew = Crew::of("cache-scan", 4);

/// Threads that do one kind of work.
pub(super) struct Crew {
    name: &'static str,
    threads_max: usize,
    state: Mutex<State>,
    more: Condvar,
}

struct State {
    now: VecDeque<Job>,
    later: Vec<(Instant, Job)>,
    threads: usize,
    idle: usize,
}

impl Crew {
    const fn of(name: &'static str, threads_max: usize) -> Self {
        let state = State { now: VecDeque::new(), later: Vec::new(), threads: 0, idle: 0 };
        Self { name, threads_max, state: Mutex::new(state), more: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it done when its turn comes.
    pub(super) fn leave(&'static self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        state.now.push_back(Box::new(job));
        self.call(state);
    }

    /// Has it done after this time.
    pub(super) fn leave_for(&'static self, after: Duration, job: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        state.later.push((Instant::now() + after, Box::new(job)));
        self.call(state);
    }

    fn call(&'static self, mut state: MutexGuard<'_, State>) {
        let is_short = state.idle < state.now.len().max(1) && state.threads < self.threads_max;
        if !is_short {
            drop(state);
            self.more.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let spawned = thread::Builder::new().name(self.name.to_owned()).spawn(move || self.work());
        if let Err(error) = spawned {
            self.lock().threads -= 1;
            tracing::warn!(%error, "cannot start a thread for the files of caches: they wait for the others");
        }
    }

    /// One thread's life.
    fn work(&'static self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(at) = state.later.iter().position(|(due, _)| *due <= now) {
                let (_, job) = state.later.swap_remove(at);
                state.now.push_back(job);
            }
            if let Some(job) = state.now.pop_front() {
                match state.later.is_empty() {
                    true => drop(state),
                    // It may wait for a disk that hangs: somebody else has to look for what is due meanwhile.
                    false => self.call(state),
                }
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a thread of the caches' files has panicked, and goes on");
                }
                state = self.lock();
                continue;
            }
            let due = state.later.iter().map(|(due, _)| *due).min();
            state.idle += 1;
            state = match due {
                Some(due) => {
                    let left = due.saturating_duration_since(now);
                    self.more.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.more.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    #[test]
    fn what_is_for_later_comes_though_whoever_waited_for_it_hangs() {
        static CREW: Crew = Crew::of("test", 2);
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        CREW.leave_for(Duration::from_millis(50), move || tell.send(()).expect("heard"));
        CREW.leave(move || {
            let _ = ended.recv();
        });
        told.recv_timeout(Duration::from_secs(5)).expect("it comes while the other hangs");
        drop(end);
    }

    #[test]
    fn so_many_threads_work_and_not_more_and_what_is_for_later_comes_later() {
        static CREW: Crew = Crew::of("test", 2);
        static AT_ONCE: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let (tell, told) = mpsc::channel();
        let begun = Instant::now();
        let late = tell.clone();
        CREW.leave_for(Duration::from_millis(150), move || {
            assert!(begun.elapsed() >= Duration::from_millis(150));
            late.send("late").expect("heard");
        });
        for _ in 0..6 {
            let tell = tell.clone();
            CREW.leave(move || {
                MOST.fetch_max(AT_ONCE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::park_timeout(Duration::from_millis(10));
                AT_ONCE.fetch_sub(1, Ordering::SeqCst);
                tell.send("done").expect("heard");
            });
        }
        CREW.leave(|| panic!("one that fails takes no thread along"));
        let all: Vec<_> = (0..7).map(|_| told.recv_timeout(Duration::from_secs(5)).expect("told")).collect();
        assert_eq!(all.iter().filter(|told| **told == "done").count(), 6);
        assert!(all.contains(&"late"));
        assert_eq!(MOST.load(Ordering::SeqCst), 2);
        assert_eq!(CREW.lock().threads, 2);
    }
}
