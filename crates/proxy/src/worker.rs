//! A worker: one OS thread with its own runtime, listener sockets and pools. Nothing of a request leaves it.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use telemetry::{Recorder, Telemetry};
use tokio::sync::{Notify, mpsc};

use crate::{
    call::Call,
    compiled::Compiled,
    conn::{h1, h2},
    listener::{
        accept::{self, Stream},
        sockets::Socket,
    },
    quic, timer,
    upstream::{pool::Pool, warm},
};

/// The snapshot as a worker holds it: cloning costs no atomic operation that workers contend for.
pub(crate) type Plan = Rc<Arc<Compiled>>;

/// How often pools are swept and records are flushed.
const SWEEP: Duration = Duration::from_secs(1);
const FLUSH: Duration = Duration::from_millis(100);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) compiled: ArcSwap<Compiled>,
    /// Counts snapshots, so that a worker sees a new one at the price of one relaxed load.
    pub(crate) generation: AtomicU64,
    pub(crate) draining: AtomicBool,
    pub(crate) telemetry: Telemetry,
    /// Open client connections of each worker.
    pub(crate) connections: Vec<AtomicUsize>,
    pub(crate) started: Instant,
    /// When each worker was last seen to do its housekeeping, in milliseconds after `started`.
    pub(crate) beats: Vec<AtomicU64>,
    pub(crate) max_connections: AtomicU64,
    pub(crate) inboxes: std::sync::OnceLock<Vec<mpsc::UnboundedSender<Command>>>,
    /// Traces that begin here are sampled when a random number is below this.
    pub(crate) trace_threshold: AtomicU64,
    /// Spans leave the process, so that each try of a sampled call is one.
    pub(crate) exports_traces: AtomicBool,
}

/// How client connections are spread over the workers, read at the time of a scrape.
pub(crate) struct WorkerMetrics(pub(crate) std::sync::Weak<Shared>);

impl telemetry::Collect for WorkerMetrics {
    fn collect(&self, out: &mut telemetry::Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        for (id, count) in shared.connections.iter().enumerate() {
            let help = "Open client connections of each worker.";
            let count = count.load(Ordering::Relaxed) as f64;
            out.gauge("tidegate_worker_connections", help, &[("worker", &id.to_string())], count);
        }
    }
}

/// What only a worker can do.
pub(crate) type Work = Box<dyn FnOnce(&Rc<Worker>) + Send>;

/// What the control side tells a worker.
pub(crate) enum Command {
    /// Take connections from this socket.
    Listen(Socket),
    /// Stop taking connections for a listener.
    Close(Arc<str>),
    /// A connection that another worker accepted, and that this one's count has room for.
    Adopt(Arc<str>, Stream, Reserved),
    /// No new connections, and the open ones end. The sender is dropped once nothing more is accepted.
    Drain(mpsc::UnboundedSender<()>),
    /// Serve QUIC on these sockets.
    Quic(quic::Share),
    /// Read what the next process sends back.
    #[cfg_attr(not(feature = "http3"), allow(dead_code, reason = "nothing is sent back"))]
    Heir(quic::Heir),
    /// Do this.
    Run(Work),
    /// End now.
    Stop,
}

/// A worker.
pub(crate) struct Worker {
    id: usize,
    pub(crate) shared: Arc<Shared>,
    plan: RefCell<(u64, Plan)>,
    pool: Rc<Pool>,
    recorder: RefCell<Recorder>,
    random: Cell<u64>,
    /// Told when the gateway begins to drain.
    leaving: Notify,
    http1: RefCell<Registry<h1::Conn>>,
    http2: RefCell<Registry<h2::Shared>>,
    #[cfg(feature = "http3")]
    http3: RefCell<Registry<crate::conn::h3::Shared>>,
}

thread_local! {
    /// The worker of this thread.
    static CURRENT: RefCell<Weak<Worker>> = const { RefCell::new(Weak::new()) };
}

/// The worker whose thread this is, for who sends requests of the gateway's own.
pub(crate) fn current() -> Option<Rc<Worker>> {
    CURRENT.with(|current| current.borrow().upgrade())
}

/// Connections that must be told of a drain.
struct Registry<T> {
    next: u64,
    entries: std::collections::HashMap<u64, Weak<T>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { next: 0, entries: Default::default() }
    }
}

impl<T> Registry<T> {
    fn add(&mut self, conn: &Rc<T>) -> u64 {
        self.next += 1;
        self.entries.insert(self.next, Rc::downgrade(conn));
        self.next
    }

    fn live(&self) -> impl Iterator<Item = Rc<T>> {
        self.entries.values().filter_map(Weak::upgrade)
    }
}

/// Takes a connection out of its registry when it ends.
pub(crate) struct Registered<'a, T> {
    registry: &'a RefCell<Registry<T>>,
    id: u64,
}

impl<T> Drop for Registered<'_, T> {
    fn drop(&mut self) {
        self.registry.borrow_mut().entries.remove(&self.id);
    }
}

impl Worker {
    fn new(id: usize, shared: Arc<Shared>) -> Rc<Self> {
        let generation = shared.generation.load(Ordering::Acquire);
        let plan = Rc::new(shared.compiled.load_full());
        let recorder = shared.telemetry.recorder(id);
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), id);
        Rc::new(Self {
            id,
            shared,
            plan: RefCell::new((generation, plan)),
            pool: Rc::default(),
            recorder: RefCell::new(recorder),
            random: Cell::new(seed | 1),
            leaving: Notify::new(),
            http1: RefCell::default(),
            http2: RefCell::default(),
            #[cfg(feature = "http3")]
            http3: RefCell::default(),
        })
    }

    /// The snapshot that is live now.
    pub(crate) fn plan(&self) -> Plan {
        let generation = self.shared.generation.load(Ordering::Acquire);
        let mut plan = self.plan.borrow_mut();
        if plan.0 != generation {
            *plan = (generation, Rc::new(self.shared.compiled.load_full()));
        }
        plan.1.clone()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Ready when the gateway drains and an idle connection has been kept for long enough.
    pub(crate) async fn left(&self) {
        let mut told = std::pin::pin!(self.leaving.notified());
        if !told.as_mut().enable() && !self.is_draining() {
            told.await;
        }
        tokio::time::sleep(self.idle_grace()).await;
    }

    /// How long an idle connection is kept while draining.
    pub(crate) fn idle_grace(&self) -> Duration {
        self.plan().snapshot.config.shutdown.idle_grace.get()
    }

    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// A number that is random enough for shares and ids, not for secrets (splitmix64).
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether a trace that begins here is sampled.
    pub(crate) fn samples_trace(&self) -> bool {
        let threshold = self.shared.trace_threshold.load(Ordering::Relaxed);
        threshold > 0 && self.random() < threshold
    }

    /// Records a finished call.
    pub(crate) fn finish(&self, mut call: Box<Call>) {
        call.record.timings.total = call.started.elapsed();
        call.trail.write(&mut call.record);
        self.recorder.borrow_mut().record(call.record);
    }

    /// Logs something that is no call of a client's.
    pub(crate) fn note(&self, record: model::CallRecord) {
        self.recorder.borrow_mut().note(record);
    }

    pub(crate) fn register(&self, conn: &Rc<h1::Conn>) -> Registered<'_, h1::Conn> {
        let id = self.http1.borrow_mut().add(conn);
        Registered { registry: &self.http1, id }
    }

    pub(crate) fn register_h2(&self, conn: &Rc<h2::Shared>) -> Registered<'_, h2::Shared> {
        let id = self.http2.borrow_mut().add(conn);
        Registered { registry: &self.http2, id }
    }

    #[cfg(feature = "http3")]
    pub(crate) fn register_h3(
        &self,
        conn: &Rc<crate::conn::h3::Shared>,
    ) -> Registered<'_, crate::conn::h3::Shared> {
        let id = self.http3.borrow_mut().add(conn);
        Registered { registry: &self.http3, id }
    }

    /// Its number.
    #[cfg(feature = "http3")]
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    /// Counts a client connection here, unless the process has as many as it may.
    pub(crate) fn open(self: &Rc<Self>, listener: &Arc<str>) -> Option<Opened> {
        let count = self.shared.connections[self.id].fetch_add(1, Ordering::Relaxed) + 1;
        let opened = Opened { worker: self.clone(), listener: listener.clone() };
        self.recorder.borrow_mut().connection_opened(listener);
        let max = self.shared.max_connections.load(Ordering::Relaxed);
        let all =
            || self.shared.connections.iter().map(|count| count.load(Ordering::Relaxed) as u64).sum::<u64>();
        (max == u64::MAX || count as u64 <= max / self.shared.connections.len() as u64 || all() <= max)
            .then_some(opened)
    }

    /// Counts a connection whose TLS handshake failed.
    pub(crate) fn handshake_failed(&self, listener: &Arc<str>) {
        self.recorder.borrow_mut().handshake_failed(listener);
    }

    /// The worker that should serve a new connection: another one when this one has more than its share.
    pub(crate) fn better_home(&self) -> Option<usize> {
        let counts = &self.shared.connections;
        let mine = counts[self.id].load(Ordering::Relaxed);
        let (least, fewest) = counts
            .iter()
            .enumerate()
            .map(|(id, count)| (id, count.load(Ordering::Relaxed)))
            .min_by_key(|(_, count)| *count)?;
        // A little unevenness costs less than moving a socket.
        (mine > fewest + 1 + fewest / 8).then_some(least)
    }

    /// Counts a connection at another worker while it is on its way there, so that those that come with it see it.
    pub(crate) fn reserve(&self, worker: usize) -> Reserved {
        self.shared.connections[worker].fetch_add(1, Ordering::Relaxed);
        Reserved { shared: self.shared.clone(), worker }
    }

    fn drain(&self) {
        self.leaving.notify_waiters();
        self.http1.borrow().live().for_each(|conn| conn.wake());
        self.http2.borrow().live().for_each(|conn| conn.wake());
        #[cfg(feature = "http3")]
        self.http3.borrow().live().for_each(|conn| conn.wake());
    }
}

/// A connection on its way to a worker.
pub(crate) struct Reserved {
    shared: Arc<Shared>,
    worker: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.connections[self.worker].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A counted client connection.
pub(crate) struct Opened {
    worker: Rc<Worker>,
    listener: Arc<str>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.worker.shared.connections[self.worker.id].fetch_sub(1, Ordering::Relaxed);
        if let Ok(mut recorder) = self.worker.recorder.try_borrow_mut() {
            recorder.connection_closed(&self.listener);
        }
    }
}

/// Runs a worker on this thread until it is told to stop.
pub(crate) fn run(id: usize, shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(worker = id, "a worker cannot start: {error}");
            return;
        }
    };
    let local = tokio::task::LocalSet::new();
    let worker = local.block_on(&runtime, async move {
        let worker = Worker::new(id, shared);
        CURRENT.with(|current| *current.borrow_mut() = Rc::downgrade(&worker));
        tokio::task::spawn_local(timer::drive());
        tokio::task::spawn_local(housekeeping(worker.clone()));
        tokio::task::spawn_local(warm::keep(worker.clone()));
        let mut accepting: Vec<(Arc<str>, Rc<Notify>, tokio::task::JoinHandle<()>)> = Vec::new();
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Listen(socket) => {
                    let (name, closing) = (socket.listener.clone(), Rc::new(Notify::new()));
                    let task = accept::run(worker.clone(), socket, closing.clone());
                    accepting.push((name, closing, tokio::task::spawn_local(task)));
                }
                Command::Close(name) => accepting.retain(|(listener, closing, _)| {
                    if *listener == name {
                        closing.notify_one();
                    }
                    *listener != name
                }),
                Command::Adopt(listener, stream, reserved) => {
                    drop(reserved);
                    accept::adopt(&worker, &listener, stream);
                }
                Command::Drain(done) => {
                    let closing = std::mem::take(&mut accepting);
                    closing.iter().for_each(|(_, closing, _)| closing.notify_one());
                    let worker = worker.clone();
                    tokio::task::spawn_local(async move {
                        for (.., task) in closing {
                            let _ = task.await;
                        }
                        worker.drain();
                        drop(done);
                    });
                }
                #[cfg(feature = "http3")]
                Command::Quic(share) => {
                    tokio::task::spawn_local(quic::run(worker.clone(), share));
                }
                #[cfg(feature = "http3")]
                Command::Heir(heir) => {
                    tokio::task::spawn_local(quic::read_heir(heir));
                }
                #[cfg(not(feature = "http3"))]
                Command::Quic(none) => match none {},
                #[cfg(not(feature = "http3"))]
                Command::Heir(none) => match none {},
                Command::Run(what) => what(&worker),
                Command::Stop => break,
            }
        }
        worker.pool.close();
        worker
    });
    // What was still under way is cut here, and some of it has something to say.
    drop(local);
    worker.recorder.borrow_mut().flush();
    drop(worker);
    // A disk that hangs must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// Sweeps pools, hands records on, and lets go of a snapshot that is no longer live.
async fn housekeeping(worker: Rc<Worker>) {
    let mut swept = Instant::now();
    loop {
        tokio::time::sleep(FLUSH).await;
        worker.recorder.borrow_mut().flush();
        let now = Instant::now();
        let alive = now.saturating_duration_since(worker.shared.started).as_millis() as u64;
        worker.shared.beats[worker.id].store(alive, Ordering::Relaxed);
        if now.duration_since(swept) >= SWEEP {
            swept = now;
            let plan = worker.plan();
            worker.pool.sweep(now, |upstream, key| {
                let upstream = plan.upstreams.get(upstream)?;
                (upstream.way == key.way && upstream.cluster.has_endpoint(key.endpoint))
                    .then_some(upstream.pool)
            });
        }
    }
}
