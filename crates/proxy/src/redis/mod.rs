//! The client of Redis or Valkey, for whatever several gateways have in common: it knows scripts, keys and arguments,
//! and not what they are for.
//!
//! Connections belong to the background runtime and are used by all workers at once. No call ever waits for one: while
//! the server is away every question is answered so at once, and somebody in the background [connects](connect) again
//! with growing pauses. A server that does not answer within `timeout` is away.

mod connect;
mod report;

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ::redis::{
    ErrorKind, RedisError, Script, ServerErrorKind, ToRedisArgs, Value, aio::MultiplexedConnection,
    cluster_async::ClusterConnection,
};
use arc_swap::ArcSwapOption;
use serde::Serialize;
use telemetry::Histogram;
use tokio::{runtime::Handle, sync::Notify};

pub(crate) use self::{
    connect::{Connecting, client, identity},
    report::Report,
};

/// The first pause before connecting again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a server that nobody asks is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The server is away, or has answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Nothing was sent.
    Away,
    /// It was sent, and nobody knows whether it was done.
    Unknown,
    /// The server takes nothing new for now, as without memory or disk. Nothing was done.
    Full,
    /// The server refused it.
    Refused,
}

/// A client, shared by all workers.
pub(crate) struct Client {
    connecting: Connecting,
    timeout: Duration,
    link: ArcSwapOption<Link>,
    started: AtomicBool,
    /// The link was lost.
    lost: Notify,
    /// Why it is away, for the status.
    trouble: Mutex<Option<String>>,
    numbers: Numbers,
}

/// What is counted of a client.
#[derive(Default)]
struct Numbers {
    round_trips: Mutex<Histogram>,
    timeouts: AtomicU64,
    broken: AtomicU64,
    refused: AtomicU64,
    connects: AtomicU64,
}

/// Open connections.
struct Link {
    all: Vec<Connection>,
    next: AtomicUsize,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// How a store is, for the status page.
#[derive(Debug, Clone, Serialize)]
pub struct RedisStatus {
    /// `UP` or `AWAY`.
    pub state: &'static str,
    /// Its addresses, as configured.
    pub addresses: Vec<String>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Client {
    pub(crate) fn new(connecting: Connecting, timeout: Duration) -> Self {
        Self {
            connecting,
            timeout,
            link: ArcSwapOption::empty(),
            started: AtomicBool::new(false),
            lost: Notify::new(),
            trouble: Mutex::new(None),
            numbers: Numbers::default(),
        }
    }

    /// Starts to connect, once.
    pub(crate) fn start(this: &Arc<Self>, background: &Handle) {
        if !this.started.swap(true, Ordering::Relaxed) {
            background.spawn(keep(Arc::downgrade(this)));
        }
    }

    /// Whether keys of one question must be of one slot.
    pub(crate) fn is_cluster(&self) -> bool {
        self.connecting.is_cluster()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.link.load().is_some()
    }

    /// Runs a script: one round trip, within the timeout.
    pub(crate) async fn eval<A: ToRedisArgs + Sync>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[A],
    ) -> Result<Value, Unanswered> {
        let link = self.link.load_full().ok_or(Unanswered::Away)?;
        let mut invocation = script.prepare_invoke();
        keys.iter().for_each(|key| {
            invocation.key(key);
        });
        arguments.iter().for_each(|argument| {
            invocation.arg(argument);
        });
        let began = Instant::now();
        let asked = async {
            match link.connection() {
                Some(Connection::One(mut one)) => invocation.invoke_async::<Value>(&mut one).await,
                Some(Connection::Cluster(mut all)) => invocation.invoke_async::<Value>(&mut all).await,
                None => Err(RedisError::from((ErrorKind::Io, "no connection"))),
            }
        };
        let answer = tokio::time::timeout(self.timeout, asked).await;
        match answer {
            Ok(Ok(value)) => {
                let mut trips = self.numbers.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
                trips.observe(began.elapsed());
                Ok(value)
            }
            Ok(Err(error)) if breaks(&error) => {
                self.numbers.broken.fetch_add(1, Ordering::Relaxed);
                self.lose(&link, error.to_string());
                Err(Unanswered::Unknown)
            }
            Ok(Err(error)) => {
                let count = self.numbers.refused.fetch_add(1, Ordering::Relaxed);
                // Each call may meet it: the log is told now and then.
                if count.is_power_of_two() || count == 0 {
                    tracing::error!(%error, count, "redis refuses what it is asked: {error}");
                }
                Err(if is_full(&error) { Unanswered::Full } else { Unanswered::Refused })
            }
            Err(_) => {
                self.numbers.timeouts.fetch_add(1, Ordering::Relaxed);
                self.lose(&link, format!("no answer within {:?}", self.timeout));
                Err(Unanswered::Unknown)
            }
        }
    }

    /// Gives up a link, unless somebody did before.
    fn lose(&self, link: &Arc<Link>, why: String) {
        let known = self.link.compare_and_swap(link, None);
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, link)) {
            tracing::warn!(error = %why, "redis is away: {why}");
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            self.lost.notify_one();
        }
    }

    pub(crate) fn status(&self) -> RedisStatus {
        let is_up = self.is_up();
        RedisStatus {
            state: if is_up { "UP" } else { "AWAY" },
            addresses: self.connecting.addresses().to_vec(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Link {
    fn connection(&self) -> Option<Connection> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.all.get(next % self.all.len().max(1)).cloned()
    }

    /// Whether every connection answers.
    async fn answers(&self) -> Result<(), String> {
        for connection in &self.all {
            let ping = ::redis::cmd("PING");
            let told: Result<Value, RedisError> = match connection.clone() {
                Connection::One(mut one) => ping.query_async(&mut one).await,
                Connection::Cluster(mut all) => ping.query_async(&mut all).await,
            };
            told.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Whether a connection is no use after an error: it broke, or there is another primary now.
fn breaks(error: &RedisError) -> bool {
    let is_elsewhere = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
        )
    );
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || error.is_cluster_error()
        || is_elsewhere
        || matches!(error.code(), Some("NOAUTH" | "UNKILLABLE" | "BUSY"))
}

/// What servers say that take nothing new for now: they have no memory, cannot write to their disk, or miss their copies.
const FULL: [&str; 3] = ["OOM", "MISCONF", "NOREPLICAS"];

/// Whether a server takes nothing new for now. A script is refused so before it has written anything, or not at all.
fn is_full(error: &RedisError) -> bool {
    // Before version 7 what goes wrong in a script is told in its text.
    let text = error.to_string();
    FULL.iter().any(|code| error.code() == Some(*code) || text.contains(&format!(": -{code} ")))
}

/// Connects, and connects again.
async fn keep(client: Weak<Client>) {
    let mut pause = PAUSE_FIRST;
    let mut is_told = false;
    loop {
        let Some(strong) = client.upgrade() else { return };
        match strong.connecting.connect().await {
            Ok(link) => {
                strong.numbers.connects.fetch_add(1, Ordering::Relaxed);
                *strong.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                strong.link.store(Some(Arc::new(link)));
                tracing::info!("connected to redis at {}", strong.connecting.addresses().join(", "));
                (pause, is_told) = (PAUSE_FIRST, false);
                drop(strong);
                if !watch(&client).await {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    let place = strong.connecting.addresses().join(", ");
                    tracing::warn!(%error, "cannot connect to redis at {place}, and it is tried again: {error}");
                }
                *strong.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                drop(strong);
                // All gateways lose a server at once: they do not come back in step.
                let share = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) % 50;
                tokio::time::sleep(pause.mul_f64(0.75 + share as f64 / 100.0)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Waits until the link is lost, and looks now and then whether it is. False when nobody needs the client any more.
async fn watch(client: &Weak<Client>) -> bool {
    loop {
        let Some(strong) = client.upgrade() else { return false };
        let Some(link) = strong.link.load_full() else { return true };
        tokio::select! {
            () = strong.lost.notified() => continue,
            () = tokio::time::sleep(LOOK) => {}
        }
        match tokio::time::timeout(strong.timeout, link.answers()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => strong.lose(&link, error),
            Err(_) => strong.lose(&link, format!("no answer within {:?}", strong.timeout)),
        }
    }
}
