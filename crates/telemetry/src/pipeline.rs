//! From workers to sinks: batches of records go to the thread that hands them to the access logs and to the OTLP
//! exporter, each behind a bounded queue of its own, so that neither holds up the other or a worker. However many access
//! logs there are, a worker hands a batch over once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use model::{CallRecord, Snapshot};

use crate::{
    Error, Metrics,
    otlp::{Exporter, Ready, Routes, Wanted},
    outlet::{BATCHES_MAX, Opened, Outlet, Wish},
    receiver::TlsFor,
};

/// How long an exporter that is replaced may still send.
const REPLACED: Duration = Duration::from_secs(5);
/// What a sink that keeps the deadline itself gets on top, to say what it lost.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The sinks, seen from outside.
pub(crate) struct Pipeline {
    metrics: Arc<Metrics>,
    sender: Sender<Message>,
    /// Batches that wait for the thread that hands them out.
    waiting: Arc<AtomicUsize>,
    has_logs: AtomicBool,
    wants_records: AtomicBool,
    /// The access logs that are open, in the order in which the thread has them.
    logs: Mutex<Vec<Wish>>,
    /// Routes of the live configuration, for those who tell of them.
    routes: Arc<ArcSwap<Routes>>,
    exporter: ArcSwapOption<Exporter>,
    tls: TlsFor,
}

enum Message {
    Batch(Arc<Vec<CallRecord>>),
    Logs(Vec<Next>),
    Reopen,
    Finish(Duration, SyncSender<()>),
}

/// What an access log comes from.
enum Next {
    /// The one at this place goes on.
    Kept(usize),
    /// It is another one.
    New(Outlet),
}

/// Sinks that are open and wait to be used.
pub(crate) struct Prepared {
    /// None when the access logs stay as they are.
    logs: Option<Logs>,
    exporter: Change,
}

/// What access logs become.
struct Logs {
    wishes: Vec<Wish>,
    next: Vec<Result<usize, Opened>>,
}

enum Change {
    Stay,
    Stop,
    Start(Box<Ready>),
}

impl Pipeline {
    pub(crate) fn start(metrics: Arc<Metrics>, tls: TlsFor) -> Result<Self, Error> {
        let (sender, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let count = waiting.clone();
        std::thread::Builder::new()
            .name("telemetry".into())
            .spawn(move || hand_out(&receiver, &count))
            .map_err(|error| Error { place: "telemetry".into(), reason: error.to_string() })?;
        Ok(Self {
            metrics,
            sender,
            waiting,
            has_logs: AtomicBool::new(false),
            wants_records: AtomicBool::new(false),
            logs: Mutex::default(),
            routes: Arc::default(),
            exporter: ArcSwapOption::empty(),
            tls,
        })
    }

    /// Opens the sinks of a snapshot; what is open goes on.
    pub(crate) fn prepare(&self, snapshot: &Snapshot) -> Result<Prepared, Error> {
        let logs = self.prepare_logs(snapshot)?;
        let exporter = match (Wanted::of(snapshot), &*self.exporter.load()) {
            (None, None) => Change::Stay,
            (None, Some(_)) => Change::Stop,
            (Some(wanted), Some(running)) if running.is(&wanted) => Change::Stay,
            (Some(wanted), _) => Change::Start(Box::new(ready(wanted, snapshot, self.tls)?)),
        };
        Ok(Prepared { logs, exporter })
    }

    fn prepare_logs(&self, snapshot: &Snapshot) -> Result<Option<Logs>, Error> {
        let wishes = Wish::all(snapshot);
        let open = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if *open == wishes {
            return Ok(None);
        }
        let mut next = Vec::with_capacity(wishes.len());
        for (index, wish) in wishes.iter().enumerate() {
            next.push(match open.iter().position(|one| one == wish) {
                Some(place) => Ok(place),
                None => {
                    let reports = &self.metrics.reports;
                    let opened = Opened::open(wish, snapshot, self.tls, &self.routes, reports);
                    Err(opened.map_err(|reason| log_error(index, "", reason))?)
                }
            });
        }
        Ok(Some(Logs { wishes, next }))
    }

    /// Takes over the sinks that were prepared for a snapshot.
    pub(crate) fn apply(&self, snapshot: &Snapshot, prepared: Prepared) -> Result<(), Error> {
        self.routes.store(Arc::new(Routes::new(&snapshot.config)));
        if let Some(logs) = prepared.logs {
            self.apply_logs(logs)?;
        }
        let old = match prepared.exporter {
            Change::Stay => {
                if let Some(exporter) = &*self.exporter.load() {
                    exporter.follow(snapshot);
                }
                None
            }
            Change::Stop => self.exporter.swap(None),
            Change::Start(ready) => {
                let started = ready.start(&self.metrics);
                let started = started.map_err(|error| otlp_error(error.to_string()))?;
                self.exporter.swap(Some(Arc::new(started)))
            }
        };
        if let Some(old) = old {
            // It ends on its own; nobody waits for it.
            let _ = old.finish(REPLACED);
        }
        let exports = self.exporter.load().as_ref().is_some_and(|exporter| exporter.wants_records());
        let has_logs = self.has_logs.load(Ordering::Relaxed);
        self.wants_records.store(exports || has_logs, Ordering::Relaxed);
        Ok(())
    }

    fn apply_logs(&self, logs: Logs) -> Result<(), Error> {
        let is_alone = logs.wishes.len() == 1;
        let mut next = Vec::with_capacity(logs.next.len());
        for (index, one) in logs.next.into_iter().enumerate() {
            next.push(match one {
                Ok(place) => Next::Kept(place),
                Err(opened) => {
                    let started = Outlet::start(opened, is_alone);
                    Next::New(started.map_err(|error| log_error(index, "", error.to_string()))?)
                }
            });
        }
        let keys: Vec<_> = logs.wishes.iter().map(Wish::key).collect();
        self.metrics.reports.follow(&keys);
        self.has_logs.store(!next.is_empty(), Ordering::Relaxed);
        *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = logs.wishes;
        let _ = self.sender.send(Message::Logs(next));
        Ok(())
    }

    pub(crate) fn wants_records(&self) -> bool {
        self.wants_records.load(Ordering::Relaxed)
    }

    /// Hands a batch over. Never waits: a sink that is behind loses it, and the loss is counted.
    pub(crate) fn offer(&self, batch: Vec<CallRecord>) {
        let batch = Arc::new(batch);
        if let Some(exporter) = &*self.exporter.load()
            && exporter.wants_records()
        {
            exporter.offer(&batch);
        }
        if !self.has_logs.load(Ordering::Relaxed) {
            return;
        }
        let count = batch.len() as u64;
        let is_taken = self.waiting.fetch_add(1, Ordering::Relaxed) < BATCHES_MAX
            && self.sender.send(Message::Batch(batch)).is_ok();
        if !is_taken {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.reports.all_lost(sinks::Reason::Behind, count);
        }
    }

    pub(crate) fn reopen(&self) {
        let _ = self.sender.send(Message::Reopen);
    }

    /// Waits until everything handed over so far is written and sent, or the deadline is over.
    pub(crate) fn finish(&self, deadline: Duration) {
        let sent = self.exporter.swap(None).map(|exporter| exporter.finish(deadline));
        let (done, written) = sync_channel(1);
        if self.sender.send(Message::Finish(deadline, done)).is_ok() {
            let _ = written.recv_timeout(deadline + LAST_WORDS);
        }
        if let Some(sent) = sent {
            let _ = sent.recv_timeout(deadline + LAST_WORDS);
        }
    }
}

/// Whether the sinks of a snapshot could be opened, as far as that can be told without opening any.
pub(crate) fn check(snapshot: &Snapshot, tls: TlsFor) -> Result<(), Error> {
    let routes = Arc::default();
    for (index, wish) in Wish::all(snapshot).iter().enumerate() {
        wish.check(snapshot, tls, &routes).map_err(|(key, reason)| log_error(index, key, reason))?;
    }
    if let Some(wanted) = Wanted::of(snapshot) {
        ready(wanted, snapshot, tls)?;
    }
    Ok(())
}

fn ready(wanted: Wanted, snapshot: &Snapshot, tls: TlsFor) -> Result<Ready, Error> {
    Ready::new(wanted, snapshot, tls).map_err(otlp_error)
}

fn otlp_error(reason: String) -> Error {
    Error { place: "telemetry.otlp".into(), reason }
}

fn log_error(index: usize, key: &str, reason: String) -> Error {
    let dot = if key.is_empty() { "" } else { "." };
    Error { place: format!("accessLog[{index}]{dot}{key}"), reason }
}

/// The life of the thread that hands batches to the access logs.
fn hand_out(receiver: &Receiver<Message>, waiting: &AtomicUsize) {
    let mut outlets: Vec<Outlet> = Vec::new();
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Batch(batch) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                outlets.iter_mut().for_each(|outlet| outlet.take(&batch));
            }
            Message::Logs(next) => outlets = follow(outlets, next),
            Message::Reopen => outlets.iter_mut().for_each(Outlet::reopen),
            Message::Finish(within, done) => {
                let until = Instant::now() + within + LAST_WORDS;
                let ends: Vec<_> = outlets.iter().map(|outlet| outlet.finish(within)).collect();
                for end in ends {
                    let _ = end.recv_timeout(until.saturating_duration_since(Instant::now()));
                }
                let _ = done.send(());
            }
        }
    }
}

/// The access logs that come after others; those that do not go on end on their own.
fn follow(outlets: Vec<Outlet>, next: Vec<Next>) -> Vec<Outlet> {
    let is_alone = next.len() == 1;
    let mut old: Vec<Option<Outlet>> = outlets.into_iter().map(Some).collect();
    let mut kept = |place: usize| {
        let outlet = old.get_mut(place).and_then(Option::take)?;
        Some(if is_alone { outlet } else { outlet.apart() })
    };
    let outlets = next.into_iter().filter_map(|next| match next {
        Next::Kept(place) => kept(place),
        Next::New(outlet) => Some(outlet),
    });
    let outlets = outlets.collect();
    old.into_iter().flatten().for_each(Outlet::retire);
    outlets
}
