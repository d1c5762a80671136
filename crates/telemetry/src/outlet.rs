//! An access log that runs: written by the thread that hands records out, by a thread of its own, or by a thread that
//! drives a lane to a receiver.
//!
//! The only access log there is, when this process writes it itself, needs no thread more. As soon as there are several
//! each has one, behind a bounded queue: none holds up another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use model::{
    AccessLog, CallRecord, Snapshot,
    resource::{access_log, broker::Broker},
};
use sinks::{Counts, Courier, Lane, Order, Reason, Rules};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    access::{self, Choice, Line, Log},
    otlp::Routes,
    receiver::TlsFor,
    reports::Reports,
    senders::{self, Building, Encode},
};

/// Batches that wait for a thread; beyond them records are lost and counted.
pub(crate) const BATCHES_MAX: usize = 64;
/// How long an access log that is replaced may still send.
const REPLACED: Duration = Duration::from_secs(5);

/// What a snapshot says of an access log; another one than before makes another outlet.
#[derive(Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) settings: AccessLog,
    broker: Option<Broker>,
    secrets: Vec<String>,
    files: Vec<Bytes>,
}

impl Wish {
    /// All that a snapshot wants.
    pub(crate) fn all(snapshot: &Snapshot) -> Vec<Self> {
        let all = access::settings(snapshot);
        let names = access_log::names(&all);
        let wish = |(settings, name): (AccessLog, String)| {
            let mut brokers = snapshot.config.brokers.iter();
            let broker =
                settings.broker().and_then(|named| brokers.find(|broker| broker.name == named)).cloned();
            let of_broker = broker.iter().flat_map(Broker::secrets);
            let secrets = settings.secrets().into_iter().chain(of_broker);
            let secrets = secrets.map(|secret| snapshot.secret(secret).to_owned()).collect();
            let of_broker = broker.iter().flat_map(Broker::files);
            let files = settings.files().into_iter().chain(of_broker);
            let files = files.map(|file| snapshot.file(file)).collect();
            Self { name, settings, broker, secrets, files }
        };
        all.into_iter().zip(names).map(wish).collect()
    }

    /// Its name and its kind.
    pub(crate) fn key(&self) -> (String, &'static str) {
        (self.name.clone(), self.settings.kind.as_str())
    }

    /// Whether it could be opened, as far as that can be told without opening it. The error names the key.
    pub(crate) fn check(
        &self,
        snapshot: &Snapshot,
        tls: TlsFor,
        routes: &Arc<ArcSwap<Routes>>,
    ) -> Result<(), (&'static str, String)> {
        let line = Line::of(&self.settings.format, self.settings.redact.clone());
        let line = line.map_err(|reason| ("format", reason))?;
        if self.settings.is_local() {
            return Ok(());
        }
        self.build(line, snapshot, tls, routes.clone()).map(drop).map_err(|reason| ("", reason))
    }

    fn build(
        &self,
        line: Line,
        snapshot: &Snapshot,
        tls: TlsFor,
        routes: Arc<ArcSwap<Routes>>,
    ) -> Result<senders::Built, String> {
        let redact = self.settings.redact.clone();
        senders::build(&self.settings, Building { snapshot, tls, line, redact, routes })
    }
}

/// An access log that is open and does not run yet.
pub(crate) enum Opened {
    Local(Box<Log>, Arc<Counts>),
    Lane(Box<Ready>),
}

/// What a lane's thread begins with.
pub(crate) struct Ready {
    rules: Rules,
    choice: Choice,
    encode: Encode,
    courier: Box<dyn Courier + Send>,
    counts: Arc<Counts>,
}

impl Opened {
    pub(crate) fn open(
        wish: &Wish,
        snapshot: &Snapshot,
        tls: TlsFor,
        routes: &Arc<ArcSwap<Routes>>,
        reports: &Reports,
    ) -> Result<Self, String> {
        let (name, kind) = wish.key();
        if wish.settings.is_local() {
            return Ok(Self::Local(Box::new(Log::open(&wish.settings)?), reports.counts(&name, kind)));
        }
        let line = Line::of(&wish.settings.format, wish.settings.redact.clone())?;
        let built = wish.build(line, snapshot, tls, routes.clone())?;
        Ok(Self::Lane(Box::new(Ready {
            rules: senders::rules(&wish.settings, &name, built.timeout),
            choice: Choice::of(&wish.settings),
            encode: built.encode,
            courier: built.courier,
            counts: reports.counts(&name, kind),
        })))
    }
}

/// An access log that runs.
pub(crate) enum Outlet {
    /// It is written where the batch is handed out.
    Here(Box<Log>, Arc<Counts>),
    There {
        sender: Sender<Written>,
        waiting: Arc<AtomicUsize>,
        counts: Arc<Counts>,
    },
    Lane {
        sender: UnboundedSender<Order<Batch>>,
        waiting: Arc<AtomicUsize>,
        counts: Arc<Counts>,
    },
}

type Batch = Arc<Vec<CallRecord>>;

/// What a thread that writes is told.
pub(crate) enum Written {
    Batch(Batch),
    Reopen,
    Flush(SyncSender<()>),
}

impl Outlet {
    /// Starts it. One that is alone needs no thread where this process writes it.
    pub(crate) fn start(opened: Opened, is_alone: bool) -> std::io::Result<Self> {
        match opened {
            Opened::Local(log, counts) if is_alone => Ok(Self::Here(log, counts)),
            Opened::Local(log, counts) => Self::there(log, counts),
            Opened::Lane(ready) => Self::lane(*ready),
        }
    }

    fn there(log: Box<Log>, counts: Arc<Counts>) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (count, of_thread) = (waiting.clone(), counts.clone());
        let thread = std::thread::Builder::new().name("access-log".into());
        thread.spawn(move || write(*log, &receiver, &count, &of_thread))?;
        Ok(Self::There { sender, waiting, counts })
    }

    fn lane(ready: Ready) -> std::io::Result<Self> {
        let (sender, receiver) = unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (count, counts) = (waiting.clone(), ready.counts.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("access-sink".into());
        thread.spawn(move || drive(&runtime, ready, receiver, &count))?;
        Ok(Self::Lane { sender, waiting, counts })
    }

    /// The same in a thread of its own, now that it is not alone any more.
    pub(crate) fn apart(self) -> Self {
        match self {
            Self::Here(log, counts) => Self::there(log, counts.clone()).unwrap_or_else(|error| {
                tracing::error!("an access log ends, for it gets no thread: {error}");
                let (sender, _) = channel();
                Self::There { sender, waiting: Arc::default(), counts }
            }),
            other => other,
        }
    }

    /// Hands a batch over; what does not fit is lost and counted.
    pub(crate) fn take(&mut self, batch: &Batch) {
        let count = batch.len() as u64;
        match self {
            Self::Here(log, counts) => written(log, counts, batch),
            Self::There { sender, waiting, counts } => {
                let is_taken = waiting.fetch_add(1, Ordering::Relaxed) < BATCHES_MAX
                    && sender.send(Written::Batch(batch.clone())).is_ok();
                if !is_taken {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    counts.lost(Reason::Behind, count);
                }
            }
            Self::Lane { sender, waiting, counts } => {
                let is_taken = waiting.fetch_add(1, Ordering::Relaxed) < BATCHES_MAX
                    && sender.send(Order::Take(batch.clone())).is_ok();
                if !is_taken {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    counts.lost(Reason::Behind, count);
                }
            }
        }
    }

    pub(crate) fn reopen(&mut self) {
        match self {
            Self::Here(log, _) => log.reopen(),
            Self::There { sender, .. } => drop(sender.send(Written::Reopen)),
            Self::Lane { .. } => {}
        }
    }

    /// Ends on its own, with what it has.
    pub(crate) fn retire(self) {
        if let Self::Lane { sender, .. } = &self {
            let (done, _) = sync_channel(1);
            let _ = sender.send(Order::Finish(REPLACED, done));
        }
    }

    /// Writes and sends what is there; something comes out, or the other end is gone, when it has.
    pub(crate) fn finish(&self, within: Duration) -> Receiver<()> {
        let (done, wait) = sync_channel(1);
        match self {
            Self::Here(..) => {}
            Self::There { sender, .. } => drop(sender.send(Written::Flush(done))),
            Self::Lane { sender, .. } => drop(sender.send(Order::Finish(within, done))),
        }
        wait
    }
}

fn written(log: &mut Log, counts: &Counts, batch: &[CallRecord]) {
    let (written, lost) = log.write(batch);
    counts.taken(written);
    counts.lost(Reason::WriteFailed, lost);
    if written + lost > 0 {
        counts.went(log.error());
    }
}

fn write(mut log: Log, receiver: &Receiver<Written>, waiting: &AtomicUsize, counts: &Counts) {
    while let Ok(message) = receiver.recv() {
        match message {
            Written::Batch(batch) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                written(&mut log, counts, &batch);
            }
            Written::Reopen => log.reopen(),
            Written::Flush(done) => drop(done.send(())),
        }
    }
}

fn drive(
    runtime: &tokio::runtime::Runtime,
    ready: Ready,
    receiver: UnboundedReceiver<Order<Batch>>,
    waiting: &AtomicUsize,
) {
    let Ready { rules, choice, encode, mut courier, counts } = ready;
    let mut buffer = Vec::with_capacity(1024);
    let encode = |batch: Batch, push: &mut dyn FnMut(Bytes)| {
        waiting.fetch_sub(1, Ordering::Relaxed);
        for call in batch.iter().filter(|call| choice.takes(call)) {
            buffer.clear();
            encode(call, &mut buffer);
            push(Bytes::copy_from_slice(&buffer));
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(runtime, async {
        let now = tokio::time::Instant::now().into_std();
        sinks::run(Lane::new(rules, counts, now), &mut *courier, receiver, encode).await;
    });
}
