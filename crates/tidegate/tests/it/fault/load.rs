//! A steady load: clients that ask on kept connections, check each answer and remember what failed.

use std::{
    io::{BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::super::harness::{Answer, pause};

/// How long a client waits for an answer; the gateway answers within its own timeouts.
const PATIENCE: Duration = Duration::from_secs(30);

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
    pub(super) fn start(address: SocketAddr, getters: usize, posters: usize, pace: Duration) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            next: AtomicU64::new(1),
            phase: Mutex::new("all is well"),
            outcome: Mutex::default(),
            started: Instant::now(),
        });
        let client = |at: usize| {
            let shared = shared.clone();
            std::thread::spawn(move || ask(&shared, address, if at < getters { "GET" } else { "POST" }, pace))
        };
        let threads = (0..getters + posters).map(client).collect();
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

fn ask(shared: &Shared, address: SocketAddr, method: &str, pace: Duration) {
    let mut connection = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let path = format!("/{}/{id}", if id.is_multiple_of(2) { "fixed" } else { "named" });
        let began = shared.started.elapsed();
        let result = exchange(&mut connection, address, method, &path);
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let is_unsafe = method == "POST";
        let mut outcome = shared.outcome.lock().expect("not poisoned");
        outcome.unsafe_requests += u64::from(is_unsafe);
        match result {
            Ok(()) if is_unsafe => outcome.acknowledged.push(id),
            Ok(()) => {}
            Err(error) => {
                connection = None;
                let phase = *shared.phase.lock().expect("not poisoned");
                let line =
                    format!("{began:?} +{:?} ({phase}) {path}: {error}", shared.started.elapsed() - began);
                if is_unsafe { &mut outcome.unsafe_failures } else { &mut outcome.failures }.push(line);
            }
        }
        drop(outcome);
        if !pace.is_zero() {
            pause(pace.as_millis() as u64);
        }
    }
}

/// One request and its answer, on the connection that is there or on a new one.
fn exchange(
    connection: &mut Option<BufReader<TcpStream>>,
    address: SocketAddr,
    method: &str,
    path: &str,
) -> Result<(), String> {
    let mut reader = match connection.take() {
        Some(reader) => reader,
        None => {
            let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
            stream
                .set_nodelay(true)
                .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
                .map_err(|e| e.to_string())?;
            BufReader::new(stream)
        }
    };
    let body = if method == "POST" { "content-length: 4\r\n\r\nbody" } else { "\r\n" };
    let request = format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n{body}");
    reader.get_mut().write_all(request.as_bytes()).map_err(|error| format!("write: {error}"))?;
    let answer = Answer::read(&mut reader, false).ok_or("the connection ended without an answer")?;
    if answer.status != 200 || answer.text() != path {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    *connection = (answer.header("connection") != Some("close")).then_some(reader);
    Ok(())
}
