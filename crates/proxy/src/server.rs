//! The gateway as a whole: its workers, its listening sockets, and the snapshot that they serve.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use model::{Diagnostics, Snapshot};
use telemetry::Telemetry;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    compiled::Compiled,
    listener::accept,
    upstream::cluster::{BreakerStatus, BreakerWish, Clusters, NoSuchBreaker, metrics::UpstreamMetrics},
    worker::{self, Command, Shared},
};

/// The sockets of a listener, one per worker: its name, its address, they.
type Bound = (Arc<str>, String, Vec<accept::Socket>);

/// A running data plane.
pub struct Gateway {
    shared: Arc<Shared>,
    clusters: Clusters,
    background: Handle,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// What is listened on: name of the listener to its address.
    bound: Mutex<HashMap<Arc<str>, String>>,
}

/// Why a gateway does not start or does not take a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be compiled.
    #[error("{0}")]
    Configuration(Diagnostics),
    /// An address cannot be listened on.
    #[error("listener `{listener}`: cannot listen on {address}: {error}")]
    Listen {
        /// Name of the listener.
        listener: String,
        /// Its address.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
}

impl Gateway {
    /// Starts workers and listens. `background` is the runtime for health checks, discovery and the like.
    pub fn start(snapshot: Arc<Snapshot>, telemetry: Telemetry, background: Handle) -> Result<Self, Error> {
        let clusters = Clusters::new(background.clone());
        let workers = worker_count(&snapshot);
        let compiled =
            Compiled::build(snapshot, &clusters, &background, None).map_err(Error::Configuration)?;
        let shared = Arc::new(Shared {
            compiled: ArcSwap::from_pointee(compiled),
            generation: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            telemetry,
            connections: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            max_connections: AtomicU64::new(u64::MAX),
            inboxes: OnceLock::new(),
            trace_threshold: AtomicU64::new(0),
        });
        let upstreams = Arc::new(UpstreamMetrics(Arc::downgrade(&shared)));
        shared.telemetry.register(upstreams);
        shared.telemetry.register(Arc::new(worker::WorkerMetrics(Arc::downgrade(&shared))));
        let gateway =
            Self { shared, clusters, background, threads: Mutex::default(), bound: Mutex::default() };
        gateway.settle();
        let compiled = gateway.shared.compiled.load_full();
        let sockets = gateway.bind(&compiled)?;
        gateway.spawn(workers)?;
        gateway.listen(sockets);
        Ok(gateway)
    }

    fn spawn(&self, workers: usize) -> Result<(), Error> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let _ = self.shared.inboxes.set(senders);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, inbox) in receivers.into_iter().enumerate() {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || worker::run(id, shared, inbox))
                .map_err(Error::Worker)?;
            threads.push(thread);
        }
        Ok(())
    }

    /// Compiles a snapshot whole and then makes it live. When it cannot be, what runs goes on untouched.
    pub fn apply(&self, snapshot: Arc<Snapshot>) -> Result<(), Error> {
        let previous = self.shared.compiled.load_full();
        let compiled = Compiled::build(snapshot, &self.clusters, &self.background, Some(&previous))
            .map_err(Error::Configuration)?;
        let sockets = self.bind(&compiled)?;
        let gone: Vec<Arc<str>> = {
            let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = bound
                .keys()
                .filter(|name| !compiled.listeners.iter().any(|listener| listener.name == **name))
                .cloned()
                .collect::<Vec<_>>();
            for name in &gone {
                bound.remove(name);
            }
            gone
        };
        self.shared.compiled.store(Arc::new(compiled));
        self.shared.generation.fetch_add(1, Ordering::Release);
        self.settle();
        for name in gone {
            self.tell(|| Command::Close(name.clone()));
        }
        self.listen(sockets);
        Ok(())
    }

    /// Compiles a snapshot without making it live.
    pub fn check(snapshot: Arc<Snapshot>, background: &Handle) -> Result<Diagnostics, Error> {
        let clusters = Clusters::offline(background.clone());
        let compiled =
            Compiled::build(snapshot, &clusters, background, None).map_err(Error::Configuration)?;
        Ok(compiled.warnings)
    }

    /// The snapshot that is live.
    pub fn compiled(&self) -> Arc<Compiled> {
        self.shared.compiled.load_full()
    }

    /// Takes over what the snapshot says about the process as a whole.
    fn settle(&self) {
        let compiled = self.shared.compiled.load();
        self.clusters.publish(compiled.upstreams.values().map(|upstream| &upstream.cluster));
        let config = &compiled.snapshot.config;
        self.shared
            .max_connections
            .store(config.runtime.max_connections.unwrap_or(u64::MAX), Ordering::Relaxed);
        let ratio = config
            .telemetry
            .as_ref()
            .map_or(0.0, |telemetry| telemetry.otlp.as_ref().map_or(0.0, |otlp| otlp.sample.fraction()));
        self.shared.trace_threshold.store((ratio * u64::MAX as f64) as u64, Ordering::Relaxed);
    }

    /// Binds the sockets of listeners that are new or moved; nothing is changed when one cannot be bound.
    fn bind(&self, compiled: &Compiled) -> Result<Vec<Bound>, Error> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sockets = Vec::new();
        for listener in &compiled.listeners {
            if bound.get(&listener.name) == Some(&listener.address) {
                continue;
            }
            let wrong = |error| Error::Listen {
                listener: listener.name.to_string(),
                address: listener.address.clone(),
                error,
            };
            let is_ours = bound.values().any(|address| *address == listener.address);
            if !is_ours && accept::is_taken(&listener.address) {
                return Err(wrong(io::ErrorKind::AddrInUse.into()));
            }
            let made = accept::bind(&listener.name, &listener.address, self.shared.connections.len())
                .map_err(wrong)?;
            sockets.push((listener.name.clone(), listener.address.clone(), made));
        }
        Ok(sockets)
    }

    fn listen(&self, sockets: Vec<Bound>) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, address, sockets) in sockets {
            if bound.insert(name.clone(), address).is_some() {
                self.tell(|| Command::Close(name.clone()));
            }
            for (socket, inbox) in sockets.into_iter().zip(self.inboxes()) {
                let _ = inbox.send(Command::Listen(socket));
            }
        }
    }

    fn inboxes(&self) -> &[mpsc::UnboundedSender<Command>] {
        self.shared.inboxes.get().map_or(&[], Vec::as_slice)
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for inbox in self.inboxes() {
            let _ = inbox.send(command());
        }
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.shared.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The state of every upstream.
    pub fn status(&self) -> Vec<crate::upstream::cluster::ClusterStatus> {
        self.shared.compiled.load().status()
    }

    /// What an operator wants of an upstream's circuit breaker; its state then.
    pub fn operate_breaker(&self, upstream: &str, wish: BreakerWish) -> Result<BreakerStatus, NoSuchBreaker> {
        let compiled = self.shared.compiled.load();
        let upstream = compiled.upstreams.get(upstream).ok_or(NoSuchBreaker::Upstream)?;
        upstream.cluster.operate_breaker(wish, Instant::now()).ok_or(NoSuchBreaker::Breaker)
    }

    /// Whether the gateway is on its way out.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Stops accepting, lets what is in flight end, and returns when all has or the deadline is over. True when
    /// nothing was cut.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.tell(|| Command::Drain);
        let end = Instant::now() + deadline;
        while self.connections() > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let clean = self.connections() == 0;
        self.tell(|| Command::Stop);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        })
        .await;
        clean
    }
}

/// As many workers as the configuration says, or as there are cores.
fn worker_count(snapshot: &Snapshot) -> usize {
    snapshot
        .config
        .runtime
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
        .max(1)
}
