//! A steady load: clients that ask on kept connections, check each answer and remember what failed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::ways::{Asked, Doors, Way};

/// What the clients of each way ask for, one method each.
const METHODS: [&str; 4] = ["GET", "GET", "PUT", "POST"];
/// Ways to ask.
const WAYS: usize = 4;
/// The longest body of a PUT, well below what is kept for another try.
const BODY_BYTES_MAX: u64 = 3_000;

/// The body of a request: a PUT's can be told from any other, in length and in content.
pub(super) fn body_of(method: &str, id: u64) -> Vec<u8> {
    match method {
        "PUT" => (0..=id % BODY_BYTES_MAX).map(|at| (id + at) as u8).collect(),
        "POST" => b"body".to_vec(),
        _ => Vec::new(),
    }
}

/// What became of the load.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    /// Idempotent requests that failed.
    pub(super) failures: Vec<String>,
    pub(super) unsafe_requests: u64,
    /// Others that failed.
    pub(super) unsafe_failures: Vec<String>,
    /// Ids of others that succeeded.
    pub(super) acknowledged: Vec<u64>,
}

struct Shared {
    stop: AtomicBool,
    requests: AtomicU64,
    next: AtomicU64,
    phase: Mutex<&'static str>,
    outcome: Mutex<Outcome>,
    started: Instant,
}

/// A running load.
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients of all ways, each of which rests for a while after each request.
    pub(super) fn start(doors: &Doors, pace: Duration) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            next: AtomicU64::new(1),
            phase: Mutex::new("all is well"),
            outcome: Mutex::default(),
            started: Instant::now(),
        });
        let client = |at: usize| {
            let (shared, doors) = (shared.clone(), doors.clone());
            std::thread::spawn(move || {
                ask(&shared, Way::new(at % WAYS, &doors), METHODS[at / WAYS], pace);
            })
        };
        let threads = (0..WAYS * METHODS.len()).map(client).collect();
        Self { shared, threads }
    }

    /// What goes wrong from now on.
    pub(super) fn phase(&self, phase: &'static str) {
        *self.shared.phase.lock().expect("not poisoned") = phase;
    }

    /// Requests made so far.
    pub(super) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    pub(super) fn end(self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client"));
        let mut outcome = std::mem::take(&mut *self.shared.outcome.lock().expect("not poisoned"));
        outcome.requests = self.shared.requests.load(Ordering::Relaxed);
        outcome
    }
}

fn ask(shared: &Shared, mut way: Way, method: &str, pace: Duration) {
    let is_unsafe = method == "POST";
    while !shared.stop.load(Ordering::Relaxed) {
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let path = format!("/{}/{id}", if id.is_multiple_of(2) { "fixed" } else { "named" });
        let began = shared.started.elapsed();
        let asked = Asked { method, path: &path, body: &body_of(method, id) };
        let result = match way.ask(&asked) {
            Ok((200, text)) if text == path => Ok(()),
            Ok((status, text)) => Err(format!("{status} {text}")),
            Err(error) => Err(error),
        };
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let mut outcome = shared.outcome.lock().expect("not poisoned");
        outcome.unsafe_requests += u64::from(is_unsafe);
        match result {
            Ok(()) if is_unsafe => outcome.acknowledged.push(id),
            Ok(()) => {}
            Err(error) => {
                let phase = *shared.phase.lock().expect("not poisoned");
                let line = format!(
                    "{began:?} +{:?} ({phase}) {} {method} {path}: {error}",
                    shared.started.elapsed() - began,
                    way.name()
                );
                if is_unsafe { &mut outcome.unsafe_failures } else { &mut outcome.failures }.push(line);
            }
        }
        drop(outcome);
        if !pace.is_zero() {
            way.rest(pace);
        }
    }
}
