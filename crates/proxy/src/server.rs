//! The gateway as a whole: its workers, its listening sockets, and the snapshot that they serve.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use model::{Diagnostics, Snapshot, resource::listener::ListenerProtocol};
use telemetry::Telemetry;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    broker::subscription,
    by_hand::{ByHand, ByHandStatus},
    compiled::Compiled,
    handler::ai::metrics::ProviderMetrics,
    ledger::{Ledger, Report, shared::Accounts},
    listener::sockets::{self, Bound, Inherited, take_inherited},
    policy::{cache::report as cache, mirror::report as mirror, strangler::report as strangler},
    quic::{Front, Fronts},
    upstream::cluster::{BreakerStatus, BreakerWish, Clusters, NoSuchBreaker, metrics::UpstreamMetrics},
    worker::{self, Command, Shared},
};

/// How often a snapshot that is no longer live is looked at.
const RETIRE_LOOK: Duration = Duration::from_millis(200);

/// A running data plane.
pub struct Gateway {
    shared: Arc<Shared>,
    clusters: Clusters,
    ledger: Arc<Ledger>,
    by_hand: ByHand,
    background: Handle,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// What is listened on, by the name of the listener.
    bound: Mutex<HashMap<Arc<str>, Bound>>,
    /// The UDP sockets of HTTP/3, by their address.
    fronts: Mutex<Fronts>,
    /// Subscriptions that a reload has stopped, until what they held has ended.
    replaced: Mutex<Vec<Weak<subscription::Subscription>>>,
}

/// What became of what an operator wanted.
#[derive(Debug)]
pub enum Operated<S> {
    /// How it stands then.
    Set(S),
    /// The same, and it cannot be kept: a restart forgets it, and this says why.
    Unkept(S, String),
    /// It is not there any more, and what was kept of it is forgotten; or that could not be written.
    Forgotten(Result<(), String>),
    /// It is not there, and nothing was kept of it.
    Nothing,
}

impl<S> Operated<S> {
    fn of(status: Option<S>, kept: Result<bool, String>) -> Self {
        match (status, kept) {
            (Some(status), Ok(_)) => Self::Set(status),
            (Some(status), Err(error)) => Self::Unkept(status, error),
            (None, Ok(true)) => Self::Forgotten(Ok(())),
            (None, Ok(false)) => Self::Nothing,
            (None, Err(error)) => Self::Forgotten(Err(error)),
        }
    }
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
    /// Compiles a snapshot, and does nothing more yet. `background` is the runtime for health checks, discovery and
    /// the like; `ledger` what budgets have spent; `by_hand` what operators have set, which holds from the first call on.
    pub fn prepare(
        snapshot: Arc<Snapshot>,
        telemetry: Telemetry,
        ledger: Arc<Ledger>,
        by_hand: ByHand,
        background: Handle,
    ) -> Result<Self, Error> {
        let clusters = Clusters::new(background.clone());
        let workers = worker_count(&snapshot);
        let compiled =
            Compiled::build(snapshot, &clusters, &background, &ledger, None).map_err(Error::Configuration)?;
        by_hand.apply(&compiled);
        let shared = Arc::new(Shared {
            compiled: ArcSwap::from_pointee(compiled),
            generation: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            telemetry,
            connections: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            started: Instant::now(),
            beats: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            max_connections: AtomicU64::new(u64::MAX),
            inboxes: OnceLock::new(),
            trace_threshold: AtomicU64::new(0),
            exports_traces: AtomicBool::new(false),
        });
        let upstreams = Arc::new(UpstreamMetrics(Arc::downgrade(&shared)));
        shared.telemetry.register(upstreams);
        let providers = Arc::new(ProviderMetrics(Arc::downgrade(&shared)));
        shared.telemetry.register(providers);
        shared.telemetry.register(Arc::new(Report(Arc::downgrade(&ledger))));
        shared.telemetry.register(Arc::new(crate::postgres::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(crate::redis::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(crate::plugins::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(crate::broker::Report(Arc::downgrade(&shared))));
        let subscriptions = subscription::Report(Arc::downgrade(&shared));
        shared.telemetry.register(Arc::new(subscriptions));
        shared.telemetry.register(Arc::new(crate::stream::report::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(cache::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(crate::policy::waf::report::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(crate::policy::graphql::report::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(crate::handler::mcp::report::Report(Arc::downgrade(&shared))));
        shared
            .telemetry
            .register(Arc::new(crate::handler::static_files::report::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(mirror::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(strangler::Report(Arc::downgrade(&shared))));
        let places = crate::policy::priority::report::Report(Arc::downgrade(&shared));
        shared.telemetry.register(Arc::new(places));
        let paces = crate::policy::bandwidth::report::Report(Arc::downgrade(&shared));
        shared.telemetry.register(Arc::new(paces));
        shared.telemetry.register(Arc::new(crate::policy::counted::Report(Arc::downgrade(&shared))));
        shared.telemetry.register(Arc::new(worker::WorkerMetrics(Arc::downgrade(&shared))));
        #[cfg(feature = "http3")]
        shared.telemetry.register(Arc::new(crate::quic::Report));
        let gateway = Self {
            shared,
            clusters,
            ledger,
            by_hand,
            background,
            threads: Mutex::default(),
            bound: Mutex::default(),
            fronts: Mutex::default(),
            replaced: Mutex::default(),
        };
        gateway.settle();
        Ok(gateway)
    }

    /// Starts the workers and listens, on sockets of `inherited` where there are some for an address. What is left
    /// of them fits no listener.
    pub fn open(&self, inherited: &mut Vec<Inherited>) -> Result<(), Error> {
        let compiled = self.shared.compiled.load_full();
        let sockets = self.bind(&compiled, inherited)?;
        let fronts = self.open_fronts(&compiled, inherited)?;
        self.spawn(self.shared.connections.len())?;
        self.listen(sockets)?;
        self.serve_fronts(&compiled, fronts)?;
        cache::begin(&compiled);
        Ok(())
    }

    /// The listening sockets, for another process to take over.
    pub fn hand_over(&self) -> io::Result<Vec<Inherited>> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (listener, bound) in bound.iter() {
            all.extend(bound.hand_over(listener)?);
        }
        let (sockets, heirs) = self.fronts.lock().unwrap_or_else(PoisonError::into_inner).hand_over()?;
        all.extend(sockets);
        for heir in heirs {
            let _ = self.inboxes()[heir.worker()].send(Command::Heir(heir));
        }
        Ok(all)
    }

    /// Opens the UDP sockets of listeners that want HTTP/3 and have none; nothing is changed when one cannot be.
    fn open_fronts(&self, compiled: &Compiled, inherited: &mut Vec<Inherited>) -> Result<Vec<Front>, Error> {
        let fronts = self.fronts.lock().unwrap_or_else(PoisonError::into_inner);
        fronts
            .prepare(&with_http3(compiled), self.shared.connections.len(), inherited)
            .map_err(|(listener, address, error)| listen_error(&listener, &address, error))
    }

    /// Has the UDP sockets serve the listeners that are live now.
    fn serve_fronts(&self, compiled: &Compiled, made: Vec<Front>) -> Result<(), Error> {
        let mut fronts = self.fronts.lock().unwrap_or_else(PoisonError::into_inner);
        let shares = fronts
            .settle(made, &with_http3(compiled))
            .map_err(|error| listen_error("http3", "UDP", error))?;
        for share in shares {
            let _ = self.inboxes()[share.worker()].send(Command::Quic(share));
        }
        Ok(())
    }

    /// Whether every worker has done its housekeeping within this time.
    pub fn is_alive(&self, within: Duration) -> bool {
        let now = self.shared.started.elapsed().as_millis() as u64;
        let silent = |beat: &AtomicU64| u128::from(now.saturating_sub(beat.load(Ordering::Relaxed)));
        self.shared.beats.iter().all(|beat| silent(beat) <= within.as_millis())
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
        let compiled =
            Compiled::build(snapshot, &self.clusters, &self.background, &self.ledger, Some(&previous))
                .map_err(Error::Configuration)?;
        let sockets = self.bind(&compiled, &mut Vec::new())?;
        let fronts = self.open_fronts(&compiled, &mut Vec::new())?;
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
        crate::handler::mcp::reloaded(&compiled);
        // Of what is new in it, or there again.
        self.by_hand.apply(&compiled);
        self.shared.compiled.store(Arc::new(compiled));
        cache::begin(&self.shared.compiled.load());
        self.shared.generation.fetch_add(1, Ordering::Release);
        let stopped =
            subscription::reloaded(&previous.subscriptions, &self.shared.compiled.load().subscriptions);
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|one| !subscription::is_over(one));
        replaced.extend(stopped);
        drop(replaced);
        self.settle();
        for name in gone {
            self.tell(|| Command::Close(name.clone()));
        }
        self.listen(sockets)?;
        self.serve_fronts(&self.shared.compiled.load_full(), fronts)?;
        self.background.spawn(retire(previous));
        Ok(())
    }

    /// Compiles a snapshot without making it live.
    pub fn check(snapshot: Arc<Snapshot>, background: &Handle) -> Result<Diagnostics, Error> {
        let clusters = Clusters::offline(background.clone());
        let compiled = Compiled::build(snapshot, &clusters, background, &Ledger::default(), None)
            .map_err(Error::Configuration)?;
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
        if let Some(accounts) = &compiled.accounts {
            Accounts::start(accounts, &self.background);
        }
        if let Some(postgres) = &compiled.postgres {
            crate::postgres::Client::start(postgres);
        }
        for broker in compiled.brokers.values() {
            crate::broker::Broker::start(broker, &self.background);
        }
        for subscription in compiled.subscriptions.values() {
            subscription::Subscription::start(subscription, &self.shared, &self.background);
        }
        let config = &compiled.snapshot.config;
        self.shared
            .max_connections
            .store(config.runtime.max_connections.unwrap_or(u64::MAX), Ordering::Relaxed);
        let otlp = config.telemetry.as_ref().and_then(|telemetry| telemetry.otlp.as_ref());
        // Without an exporter the mark is for the services behind: unsampled, their own tracing would fall silent.
        let ratio = otlp.map_or(1.0, |otlp| otlp.sample.fraction());
        let exports = otlp.is_some_and(|otlp| otlp.signals.traces);
        self.shared.exports_traces.store(exports, Ordering::Relaxed);
        self.shared.trace_threshold.store((ratio * u64::MAX as f64) as u64, Ordering::Relaxed);
    }

    /// Takes over or binds the sockets of listeners that are new or moved; nothing is changed when one cannot be.
    fn bind(
        &self,
        compiled: &Compiled,
        inherited: &mut Vec<Inherited>,
    ) -> Result<Vec<(Arc<str>, Bound)>, Error> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = Vec::new();
        for listener in &compiled.listeners {
            let (name, address) = (&listener.name, &listener.address);
            let is_udp = listener.protocol == ListenerProtocol::Udp;
            let is_same = |bound: &Bound| {
                bound.address == *address && bound.sockets.iter().all(|socket| socket.is_udp() == is_udp)
            };
            if bound.get(name).is_some_and(is_same) {
                sockets::set_rights(address, listener.socket_file.as_ref())
                    .map_err(|error| listen_error(name, address, error))?;
                continue;
            }
            let mut taken = take_inherited(inherited, name, address);
            // A listener may have changed what it speaks.
            taken.retain(|socket| sockets::is_of_datagrams(socket) == is_udp);
            let is_ours = bound.values().any(is_same);
            let sockets = if !taken.is_empty() {
                sockets::set_rights(address, listener.socket_file.as_ref())
                    .and_then(|()| sockets::adopt(address, taken))
            } else if !is_ours && sockets::is_taken(address, is_udp) {
                Err(io::ErrorKind::AddrInUse.into())
            } else if is_udp {
                sockets::bind_udp(address, self.shared.connections.len())
            } else {
                sockets::bind(address, self.shared.connections.len(), listener.socket_file.as_ref())
            };
            made.push((name.clone(), sockets.map_err(|error| listen_error(name, address, error))?));
        }
        Ok(made)
    }

    fn listen(&self, sockets: Vec<(Arc<str>, Bound)>) -> Result<(), Error> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, made) in sockets {
            let shares = made
                .shares(&name, self.inboxes().len())
                .map_err(|error| listen_error(&name, &made.address, error))?;
            if bound.insert(name.clone(), made).is_some() {
                self.tell(|| Command::Close(name.clone()));
            }
            for (worker, socket) in shares {
                let _ = self.inboxes()[worker].send(Command::Listen(socket));
            }
        }
        Ok(())
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

    /// The state of every provider of models.
    pub fn providers(&self) -> Vec<crate::handler::ai::provider::ProviderStatus> {
        self.shared.compiled.load().provider_status()
    }

    /// The state of the store that several gateways share, where there is one.
    pub fn redis(&self) -> Option<crate::redis::RedisStatus> {
        self.shared.compiled.load().redis_status()
    }

    /// The state of every broker.
    pub fn brokers(&self) -> Vec<crate::BrokerStatus> {
        self.shared.compiled.load().broker_status()
    }

    /// What every issuer of tokens is like: its keys, and what is published of them.
    pub fn token_issuers(&self) -> Vec<crate::IssuerStatus> {
        self.shared.compiled.load().issuer_status()
    }

    /// The state of every subscription.
    pub fn subscriptions(&self) -> Vec<crate::SubscriptionStatus> {
        self.shared.compiled.load().subscription_status()
    }

    /// What budgets and limits of tokens have left.
    pub async fn budgets(&self, wish: &crate::ledger::Wish) -> Vec<crate::ledger::Statement> {
        let config = self.shared.compiled.load().snapshot.config.clone();
        crate::ledger::statement::all(&self.ledger, &config, wish).await
    }

    /// The state of every cache of answers.
    pub fn caches(&self) -> Vec<cache::CacheStatus> {
        cache::status(&self.shared.compiled.load())
    }

    /// What copies of requests came to, for each policy that sends some.
    pub fn mirrors(&self) -> Vec<mirror::MirrorStatus> {
        mirror::status(&self.shared.compiled.load())
    }

    /// How far moves from old systems to new ones have come.
    pub fn stranglers(&self) -> Vec<strangler::StranglerStatus> {
        strangler::status(&self.shared.compiled.load())
    }

    /// Does what an operator wants of such a move, and keeps it; how it stands then. Where the route has no such rule any more,
    /// what was kept of it can be forgotten. It writes a file.
    pub fn operate_strangler(
        &self,
        route: &str,
        rule: &str,
        wish: strangler::StranglerWish,
    ) -> Operated<strangler::StranglerStatus> {
        let _alone = self.by_hand.alone();
        let status = strangler::operate(&self.shared.compiled.load(), route, rule, wish);
        if status.is_none() && wish != strangler::StranglerWish::Auto {
            return Operated::Nothing;
        }
        Operated::of(status, self.by_hand.keep_strangler(route, rule, wish))
    }

    /// What operators have set by hand, here and before.
    pub fn by_hand(&self) -> Vec<ByHandStatus> {
        self.by_hand.status(&self.shared.compiled.load())
    }

    /// Takes up what an operator has set at the process before while this one was starting.
    ///
    /// # Errors
    /// It cannot be read; what was known at the start holds.
    pub fn set_by_hand_again(&self) -> Result<(), String> {
        self.by_hand.again(&self.shared.compiled.load())
    }

    /// Purges caches; how many answers went. An error says what is wrong with the wish.
    pub fn purge_caches(&self, wish: &cache::PurgeWish) -> Result<cache::Purged, String> {
        wish.fulfil(&self.shared.compiled.load())
    }

    /// What an operator wants of an upstream's circuit breaker, which is kept; its state then. Where there is none any more, what
    /// was kept of it can be forgotten. It writes a file.
    pub fn operate_breaker(
        &self,
        upstream: &str,
        wish: BreakerWish,
    ) -> Result<Operated<BreakerStatus>, NoSuchBreaker> {
        let _alone = self.by_hand.alone();
        let compiled = self.shared.compiled.load();
        let known = compiled.upstreams.get(upstream).ok_or(NoSuchBreaker::Upstream);
        let status = known.and_then(|known| {
            known.cluster.operate_breaker(wish, Instant::now()).ok_or(NoSuchBreaker::Breaker)
        });
        if let Err(lack) = &status
            && wish != BreakerWish::Closed
        {
            return Err(*lack);
        }
        match (Operated::of(status.as_ref().ok().cloned(), self.by_hand.keep_breaker(upstream, wish)), status)
        {
            (Operated::Nothing, Err(lack)) => Err(lack),
            (operated, _) => Ok(operated),
        }
    }

    /// Whether the gateway is on its way out.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Stops accepting, lets what is in flight end, and returns when all has or the deadline is over. True when
    /// nothing was cut.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.shared.draining.store(true, Ordering::Relaxed);
        let end = Instant::now() + deadline;
        let live = self.shared.compiled.load_full();
        subscription::stop(&live.subscriptions);
        let (closing, mut closed) = mpsc::unbounded_channel();
        // The workers' are the last handles then: what they leave in a queue is nobody's but another process's.
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.tell(|| Command::Drain(closing.clone()));
        drop(closing);
        let _ = tokio::time::timeout(deadline, closed.recv()).await;
        while self.connections() > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let replaced = std::mem::take(&mut *self.replaced.lock().unwrap_or_else(PoisonError::into_inner));
        while !subscription::have_ended(&live.subscriptions, &replaced) && Instant::now() < end {
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
        crate::handler::mcp::process::end_all().await;
        self.settle_accounts().await;
        clean
    }

    /// Waits until what calls cost is counted in the shared store, while that is there.
    async fn settle_accounts(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let Some(accounts) = self.shared.compiled.load().accounts.clone() else { return };
        let end = Instant::now() + PATIENCE;
        while accounts.unsettled() > 0 && accounts.client().is_up() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The listeners that speak HTTP/3, with their addresses.
fn with_http3(compiled: &Compiled) -> Vec<(Arc<str>, String)> {
    let speak = compiled.listeners.iter().filter(|listener| listener.http3.is_some());
    speak.map(|listener| (listener.name.clone(), listener.address.clone())).collect()
}

fn listen_error(listener: &str, address: &str, error: io::Error) -> Error {
    Error::Listen { listener: listener.to_owned(), address: address.to_owned(), error }
}

/// Holds a snapshot that is no longer live until no worker does, so that taking ten thousand routes apart is this
/// task's work and stalls no request.
async fn retire(old: Arc<Compiled>) {
    while Arc::strong_count(&old) > 1 {
        tokio::time::sleep(RETIRE_LOOK).await;
    }
    let _ = tokio::task::spawn_blocking(move || drop(old)).await;
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
